//! The description of the API, as OpenAPI and as pages to browse.
//!
//! Invariants:
//! - It is made of the table of routes and of nothing else; the pages need no network.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, HttpMethod, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathItem,
    Paths, Required, ResponseBuilder, Type,
};
use utoipa_swagger_ui::Config;

use super::house::Api;
use super::routes::{Body, Method, Route, table};

const JSON_PATH: &str = "/api/openapi.json";
const TOKEN: &str = "X-Authorization";

/// Where the description is.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api", get(|| async { Redirect::temporary("/api/browse/") }))
        .route(JSON_PATH, get(as_json))
        .route("/api/browse/", get(|| browse(Path(String::new()))))
        .route("/api/browse/{*file}", get(browse))
}

async fn as_json() -> Response {
    match document().to_json() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn browse(Path(file): Path<String>) -> Response {
    match utoipa_swagger_ui::serve(&file, Arc::new(Config::from(JSON_PATH))) {
        Ok(Some(file)) => {
            ([(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The whole description.
pub(super) fn document() -> OpenApi {
    let mut paths = Paths::new();
    for (tag, routes) in table() {
        for route in &routes {
            let method = match route.method {
                Method::Get => HttpMethod::Get,
                Method::Post => HttpMethod::Post,
                Method::Delete => HttpMethod::Delete,
            };
            let item = PathItem::new(method, operation(tag, route));
            match paths.paths.get_mut(route.path) {
                Some(known) => known.merge_operations(item),
                None => {
                    paths.paths.insert(route.path.to_owned(), item);
                }
            }
        }
    }
    let says = "Devices, telemetry, attributes, commands and updates, as ThingsBoard's HTTP API has them.";
    let about = InfoBuilder::new().title("RingMQ").version(env!("CARGO_PKG_VERSION")).description(Some(says));
    let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        TOKEN,
        "`Bearer ` and the token of a login",
    )));
    let parts = ComponentsBuilder::new().security_scheme("token", scheme).build();
    OpenApiBuilder::new().info(about.build()).paths(paths).components(Some(parts)).build()
}

fn operation(tag: &str, route: &Route) -> utoipa::openapi::path::Operation {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| (name, ParameterIn::Path, Required::True));
    let in_query = route.query.iter().map(|name| (*name, ParameterIn::Query, Required::False));
    let parameters = in_path.chain(in_query).map(|(name, place, required)| {
        ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(text())).build()
    });
    let answer = |says: &str| ResponseBuilder::new().description(says).build();
    let mut operation = OperationBuilder::new()
        .tag(tag)
        .summary(Some(route.says))
        .parameters(Some(parameters))
        .request_body(body(route.body))
        .response("200", answer("Done, and kept"))
        .response("default", answer("An error: status, message, errorCode, timestamp"));
    if !route.is_open {
        operation = operation.security(SecurityRequirement::new("token", [""; 0]));
    }
    operation.build()
}

fn body(body: Body) -> Option<RequestBody> {
    let (kind, content) = match body {
        Body::None => return None,
        Body::Json(example) => {
            let mut content = Content::new(Some(ObjectBuilder::new()));
            content.example = serde_json::from_str(example).ok();
            ("application/json", content)
        }
        Body::File => {
            let file = ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
            ("multipart/form-data", Content::new(Some(ObjectBuilder::new().property("file", file))))
        }
    };
    Some(RequestBodyBuilder::new().content(kind, content).required(Some(Required::True)).build())
}
