//! The HTTP server: health, readiness, metrics, reading files again, and beside them the API of devices.
//!
//! Invariants:
//! - The address is bound before [`start`] returns, so that a failure stops the start of the broker.
//! - A request waits at most [`ANSWER_MAX`] for the cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use broker::Counters;
use flume::Receiver;
use platform::Platform;
use shard::Reply;
use thiserror::Error;

use crate::doorman::Doorman;
use crate::thingsboard::{self, Api, ApiSettings};

/// How long a core may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Asks every core for its counters; the answers come through the receivers, one per core, in the order of the cores.
pub type Ask = Arc<dyn Fn() -> Vec<Receiver<Reply>> + Send + Sync>;

/// Why the control plane does not run.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for the control plane: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The thread or its runtime cannot be started.
    #[error("cannot start the control plane: {0}")]
    Thread(#[from] std::io::Error),
}

/// What the control plane asks.
#[derive(Clone)]
pub struct Sources {
    /// The cores.
    pub ask: Ask,
    /// What keeps the broker from being ready though its cores answer, in one line.
    pub ailment: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Metrics of what is not a core, in Prometheus' text format.
    pub more_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Reads certificates and lists again; may take seconds.
    pub reload: Arc<dyn Fn() -> Reloaded + Send + Sync>,
    /// Devices, and the ways to them.
    pub platform: Platform,
    /// Counts those who guess tokens.
    pub doorman: Arc<dyn Doorman>,
    /// How the HTTP API of devices behaves.
    pub api: ApiSettings,
}

/// What came of reading files again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloaded {
    /// One line for each of them.
    pub text: String,
    /// Whether everything is in use; otherwise what is broken was left as it had been.
    pub is_whole: bool,
}

#[derive(Clone)]
struct Plane {
    sources: Sources,
    api: Api,
    version: Arc<str>,
}

/// Starts the control plane on its own thread; it ends with the process. Returns the address bound.
///
/// # Errors
/// The address is taken or not ours, or the thread cannot be started.
pub fn start(address: SocketAddr, version: &str, sources: Sources) -> Result<SocketAddr, ControlError> {
    let failed = |source| ControlError::Bind { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let api = Api::on(&sources);
    let router = router(Plane { sources, api: api.clone(), version: version.into() });
    // Failed logins are counted by address.
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            // The socket was bound and made non-blocking above; what fails later fails per connection.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                api.start();
                let _ends_with_the_process = axum::serve(listener, service).await;
            }
        });
    })?;
    Ok(bound)
}

fn router(plane: Plane) -> Router {
    let api = thingsboard::router(plane.api.clone());
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/reload", post(reload))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here; see /\n") })
        .with_state(plane)
        .merge(api)
}

async fn index(State(plane): State<Plane>) -> String {
    format!(
        "ringmq {}\n/healthz  the process lives\n/readyz   every core answers, and what must be kept is kept\n/metrics  counters for Prometheus\n/reload   POST: read certificates and lists again\n/api      devices: what can be asked, to browse\n",
        plane.version
    )
}

async fn readyz(State(plane): State<Plane>) -> Response {
    match plane.counters().await {
        Ok(_) => match (plane.sources.ailment)() {
            None => "ready\n".into_response(),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("degraded: {why}\n")).into_response(),
        },
        Err(core) => silent(core),
    }
}

async fn metrics(State(plane): State<Plane>) -> Response {
    match plane.counters().await {
        Ok(cores) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            let mut text = crate::metrics::render(&plane.version, &cores);
            text.push_str(&plane.api.metrics());
            text.push_str(&(plane.sources.more_metrics)());
            (kind, text).into_response()
        }
        Err(core) => silent(core),
    }
}

async fn reload(State(plane): State<Plane>) -> Response {
    let ask = Arc::clone(&plane.sources.reload);
    match tokio::task::spawn_blocking(move || ask()).await {
        Ok(Reloaded { text, is_whole: true }) => text.into_response(),
        Ok(Reloaded { text, is_whole: false }) => (StatusCode::UNPROCESSABLE_ENTITY, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn silent(core: usize) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("core {core} does not answer\n")).into_response()
}

impl Plane {
    /// The counters of all cores, or the first core that does not answer in time.
    async fn counters(&self) -> Result<Vec<Counters>, usize> {
        let mut cores = Vec::new();
        for (core, answer) in (self.sources.ask)().into_iter().enumerate() {
            match tokio::time::timeout(ANSWER_MAX, answer.recv_async()).await {
                Ok(Ok(Reply::Counters(counters))) => cores.push(*counters),
                Ok(Err(_)) | Err(_) => return Err(core),
            }
        }
        Ok(cores)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    fn answered(path: &str, ask: Ask) -> (StatusCode, String) {
        let more_metrics = || "more_of_them 1\n".to_owned();
        answered_by(path, Sources { ask, more_metrics: Arc::new(more_metrics), ..sources() })
    }

    struct Trusting;

    impl Doorman for Trusting {
        fn shuts_out(&self, _from: IpAddr) -> bool {
            false
        }

        fn failed(&self, _from: IpAddr) {}

        fn succeeded(&self, _from: IpAddr) {}
    }

    fn sources() -> Sources {
        let nothing = || Reloaded { text: String::new(), is_whole: true };
        Sources {
            ask: two_cores(),
            ailment: Arc::new(|| None),
            more_metrics: Arc::new(String::new),
            reload: Arc::new(nothing),
            platform: Platform::new(Box::new(|_| Ok(None))),
            doorman: Arc::new(Trusting),
            api: ApiSettings {
                jwt_secret: Vec::new(),
                token_s: 9_000,
                refresh_s: 604_800,
                webhook: None,
                webhook_ms: 1_000,
                packet_bytes_max: 65_536,
                offer: device::Offer::default(),
                gateway_offer: device::Offer::default(),
                command_ms: 10_000,
                command_ms_min: 5_000,
                claiming_allowed: true,
                allowed_origins: Vec::new(),
            },
        }
    }

    fn answered_by(path: &str, sources: Sources) -> (StatusCode, String) {
        asked(Request::get(path), sources)
    }

    fn asked(request: axum::http::request::Builder, sources: Sources) -> (StatusCode, String) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let request = request.body(Body::empty()).unwrap();
            let api = Api::on(&sources);
            let plane = Plane { sources, api, version: "1.0".into() };
            let response = router(plane).oneshot(request).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        })
    }

    fn two_cores() -> Ask {
        Arc::new(|| {
            let answer = |sessions| {
                let (sender, receiver) = flume::bounded(1);
                sender.send(Reply::Counters(Box::new(Counters { sessions, ..Counters::default() }))).unwrap();
                receiver
            };
            vec![answer(1), answer(2)]
        })
    }

    #[test]
    fn metrics_come_from_every_core() {
        let (status, body) = answered("/metrics", two_cores());
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("ringmq_sessions{core=\"1\"} 2\n"));
        assert!(body.ends_with("more_of_them 1\n"));
    }

    #[test]
    fn an_ailment_makes_the_broker_not_ready_and_is_told() {
        let ailment = || Some("the disk is full".to_owned());
        let sources = Sources { ailment: Arc::new(ailment), ..sources() };
        let told = (StatusCode::SERVICE_UNAVAILABLE, "degraded: the disk is full\n".to_owned());
        assert_eq!(answered_by("/readyz", sources.clone()), told);
        assert_eq!(answered_by("/healthz", sources.clone()).0, StatusCode::OK);
        assert_eq!(answered_by("/metrics", sources).0, StatusCode::OK);
    }

    #[test]
    fn a_core_that_does_not_answer_makes_the_broker_not_ready_but_it_still_lives() {
        let (_sender, receiver) = flume::bounded(1);
        let ask: Ask = Arc::new(move || vec![receiver.clone()]);
        assert_eq!(
            answered("/readyz", ask.clone()),
            (StatusCode::SERVICE_UNAVAILABLE, "core 0 does not answer\n".into())
        );
        assert_eq!(answered("/healthz", ask).0, StatusCode::OK);
    }

    #[test]
    fn a_reload_that_kept_something_is_no_success_and_says_what() {
        let told = |is_whole| {
            let reloaded = Reloaded { text: "a.pem\n".to_owned(), is_whole };
            let sources = Sources { reload: Arc::new(move || reloaded.clone()), ..sources() };
            asked(Request::post("/reload"), sources)
        };
        assert_eq!(told(true), (StatusCode::OK, "a.pem\n".to_owned()));
        assert_eq!(told(false), (StatusCode::UNPROCESSABLE_ENTITY, "a.pem\n".to_owned()));
        assert_eq!(answered_by("/reload", sources()).0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn ready_and_unknown_paths_say_so() {
        assert_eq!(answered("/readyz", two_cores()), (StatusCode::OK, "ready\n".into()));
        assert_eq!(answered("/nowhere", two_cores()).0, StatusCode::NOT_FOUND);
    }
}
