//! The routes: one table from which the router and its documentation are made.
//!
//! Why one table: what is documented exists, and what exists is documented.
//!
//! Invariants:
//! - A path and a method stand in the table once; the router refuses to be built otherwise.
//! - Every body has a limit.

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::header::{AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::routing::MethodRouter;
use axum::{Router, http, routing};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::house::Api;
use super::refusal::Refusal;

/// Bytes of a body if its route says nothing else.
const BODY_BYTES_MAX: usize = 16 << 20;

/// One route.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub says: &'static str,
    pub query: &'static [&'static str],
    pub body: Body,
    /// Whether it may be called without a token.
    pub is_open: bool,
    handler: MethodRouter<Api>,
}

/// Its method.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Method {
    Get,
    Post,
    Delete,
}

/// Its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    None,
    /// JSON, with an example.
    Json(&'static str),
    /// A form with a file.
    File,
}

/// Something is read.
pub(super) fn get<H: Handler<T, Api>, T: 'static>(
    path: &'static str,
    says: &'static str,
    handler: H,
) -> Route {
    Route::new(Method::Get, path, says, routing::get(handler))
}

/// Something is written or done.
pub(super) fn post<H: Handler<T, Api>, T: 'static>(
    path: &'static str,
    says: &'static str,
    handler: H,
) -> Route {
    Route::new(Method::Post, path, says, routing::post(handler))
}

/// Something is deleted.
pub(super) fn delete<H: Handler<T, Api>, T: 'static>(
    path: &'static str,
    says: &'static str,
    handler: H,
) -> Route {
    Route::new(Method::Delete, path, says, routing::delete(handler))
}

impl Route {
    fn new(method: Method, path: &'static str, says: &'static str, handler: MethodRouter<Api>) -> Self {
        Self { method, path, says, query: &[], body: Body::None, is_open: false, handler }
    }

    /// With these parameters behind the question mark.
    pub fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    /// With a JSON body.
    pub fn body(self, example: &'static str) -> Self {
        Self { body: Body::Json(example), ..self }
    }

    /// With a file.
    pub fn file(self) -> Self {
        Self { body: Body::File, ..self }
    }

    /// Without a token.
    pub fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// With a body of at most so many bytes.
    pub fn limit(self, bytes: usize) -> Self {
        Self { handler: self.handler.layer(DefaultBodyLimit::max(bytes)), ..self }
    }
}

/// All routes, by what they are about.
pub(super) fn table() -> Vec<(&'static str, Vec<Route>)> {
    vec![
        ("login", super::login::routes()),
        ("devices", super::devices::routes()),
        ("device pages", super::device_pages::routes()),
        ("credentials", super::credentials::routes()),
        ("telemetry", super::telemetry::routes()),
        ("history", super::history::routes()),
        ("attributes", super::attributes::routes()),
        ("commands", super::commands::routes()),
        ("persistent commands", super::persistent::routes()),
        ("packages", super::packages::routes()),
        ("profiles", super::profiles::routes()),
        ("customers", super::customers::routes()),
        ("claims", super::claims::routes()),
        ("users", super::users::routes()),
        ("device API", super::device_api::routes()),
        ("device API, long polls", super::polls::routes()),
    ]
}

/// The router of an API.
pub(crate) fn router(api: Api) -> Router {
    let routes = table().into_iter().flat_map(|(_, routes)| routes);
    let mut router = Router::new();
    for route in routes {
        router = router.route(route.path, route.handler);
    }
    let unknown = || async { Refusal::nothing() };
    let cors = cors(&api.settings().allowed_origins);
    let router = router
        .route("/api/{*rest}", routing::any(unknown))
        .merge(super::document::routes())
        .method_not_allowed_fallback(|| async { Refusal::method() })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// What browsers are told that ask for a page of another origin; nothing if no origin may.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let token = HeaderName::from_static("x-authorization");
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([http::Method::GET, http::Method::POST, http::Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, token])
        .expose_headers([CONTENT_DISPOSITION, HeaderName::from_static("x-filename")]);
    (!origins.is_empty()).then_some(layer)
}
