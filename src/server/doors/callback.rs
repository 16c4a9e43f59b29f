//! Asking services over HTTP.
//!
//! Why one thread: a question is all waiting, and one thread waits for hundreds. Why a limit on those under way: a service
//! that hangs must not collect connections without end.
//!
//! Invariants:
//! - Every question ends within its time limit, and every end that is not an agreed answer is a refusal and is counted.
//! - Failures are said in the log, but not once per client.

use std::io;
use std::sync::{Arc, PoisonError, Weak};
use std::thread;

use access::{Opinion, Visitor, letter};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use mqtt::ReasonCode;
use stdx::WallMs;
use tokio::sync::Semaphore;
use tracing::warn;

use super::chain::{Caller, Finding, Member, Service};
use super::desk::{Desk, Errand};
use super::pass::Person;
use super::pool::Tasks;

/// Questions under way at once; the others wait in the queue.
const CALLS_MAX: usize = 256;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 65_536;
/// How long a service's failures are summed up in one line.
const SILENCE_MS: u64 = 10_000;

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Starts the thread. With `is_encrypted` it needs the certificates of the machine's authorities.
pub(super) fn start(tasks: Tasks<Errand>, desk: Weak<Desk>, is_encrypted: bool) -> io::Result<()> {
    let client = client(is_encrypted)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || runtime.block_on(serve(tasks, desk, client));
    thread::Builder::new().name("doors-http".to_owned()).spawn(work).map(drop)
}

fn client(is_encrypted: bool) -> io::Result<HttpClient> {
    let provider = rustls::crypto::ring::default_provider();
    let connector = if is_encrypted {
        HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?
    } else {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        HttpsConnectorBuilder::new().with_tls_config(config)
    };
    let connector = connector.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
}

async fn serve(tasks: Tasks<Errand>, desk: Weak<Desk>, client: HttpClient) {
    let places = Arc::new(Semaphore::new(CALLS_MAX));
    while let Some(errand) = tasks.next().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (desk, client) = (desk.clone(), client.clone());
        tokio::spawn(async move {
            if let Some(desk) = desk.upgrade() {
                let finding = ask(&desk, &client, &errand).await;
                desk.go_on_after(errand, finding);
            }
            drop(place);
        });
    }
}

/// What the service at this step of the chain says about the client.
async fn ask(desk: &Desk, client: &HttpClient, errand: &Errand) -> Finding {
    let question = &errand.question;
    let Some(chain) = desk.chain(question.listener) else {
        return Finding::Refused(ReasonCode::NotAuthorized);
    };
    let Some(Member::Service(service)) = chain.members.get(question.step) else { return Finding::PassedOn };
    let asked_at = desk.wall();
    let caller = Caller::of_question(question, asked_at);
    let body = body(&caller, &chain.listener);
    desk.figures().calls.up();
    let outcome = tokio::time::timeout(service.timeout, call(client, service, body)).await;
    let told = match outcome {
        Ok(Ok(opinion)) => {
            let finding = finding(opinion, &caller);
            service.remember(&caller, &finding);
            return finding;
        }
        Ok(Err(told)) => told,
        Err(_) => format!("gave no answer within {} ms", service.timeout.as_millis()),
    };
    desk.figures().call_failures.up();
    complain(service, asked_at, &told);
    Finding::Refused(ReasonCode::ServerUnavailable)
}

fn body(caller: &Caller<'_>, listener: &str) -> String {
    let peer = caller.from.to_string();
    let visitor = Visitor {
        client_id: caller.client_id,
        user: caller.user,
        password: None,
        password_base64: None,
        peer: &peer,
        listener,
    };
    letter(visitor, caller.password)
}

async fn call(client: &HttpClient, service: &Service, body: String) -> Result<Opinion, String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(&service.url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, "ringmq")
        .body(Full::new(Bytes::from(body)))
        .map_err(|fault| format!("cannot be asked: {fault}"))?;
    let answer = client.request(request).await.map_err(|fault| explain(&fault))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|fault| format!("answered with a body that cannot be read: {fault}"))?;
    Opinion::read(status, &body.to_bytes()).map_err(|fault| fault.to_string())
}

/// The library tells causes one in the other.
fn explain(fault: &dyn std::error::Error) -> String {
    let mut text = format!("cannot be asked: {fault}");
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

fn finding(opinion: Opinion, caller: &Caller<'_>) -> Finding {
    match opinion {
        Opinion::Allowed { is_admin, rights } => Finding::Admitted(Person {
            user: caller.user.map(Into::into),
            is_admin,
            rights: rights.map(Arc::new),
            expires_at: None,
        }),
        Opinion::WrongCredentials => Finding::Refused(ReasonCode::BadUserNameOrPassword),
        Opinion::Forbidden => Finding::Refused(ReasonCode::NotAuthorized),
        Opinion::Unknown => Finding::PassedOn,
    }
}

fn complain(service: &Service, now: WallMs, told: &str) {
    let mut told_at = service.told_at.lock().unwrap_or_else(PoisonError::into_inner);
    if told_at.0 == 0 || now.0.abs_diff(told_at.0) >= SILENCE_MS {
        *told_at = now;
        warn!("authenticator `{}`: {} {told}; its clients are refused", service.name, service.url);
    }
}
