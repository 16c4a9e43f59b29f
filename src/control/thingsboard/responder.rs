//! Answers calls of devices by asking an address that the operator names.
//!
//! Why a few workers: calls are all waiting; and an address that hangs must not collect calls without end.
//!
//! Invariants:
//! - Every call gets one answer, within the time that the operator gives.
//! - At most [`CALLS_MAX`] calls are being asked at one time; of others the oldest wait, and too many are told so by whoever
//!   passes them on.
//!
//! Source: section 4.2.2 of the vectors.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use device::{DeviceId, HubCall, write_text};
use dialect::http;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use platform::Called;
use tokio::sync::Semaphore;
use tracing::warn;

use super::house::Api;

/// Calls that are asked at one time.
const CALLS_MAX: usize = 64;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 65_536;
/// What is told if there is no answer in time.
pub(super) const TIMEOUT: &str = "timeout";

/// Starts answering calls, if there is an address to ask.
pub(super) fn start(api: &Api) {
    if api.settings().webhook.is_none() {
        return;
    }
    let api = api.clone();
    tokio::spawn(async move {
        let (calls, places) = (api.platform().calls(), Arc::new(Semaphore::new(CALLS_MAX)));
        while let Ok(called) = calls.recv_async().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let api = api.clone();
            tokio::spawn(async move {
                let Called { device, ear, cookie, method, params } = called;
                let request = Some(http::number_of_call(cookie));
                let answer = answer(&api, device, request, (&method, &params)).await;
                // The connection may be gone, and then nobody waits for the answer.
                let _gone = api.ask(device, HubCall::AnswerCall { ear, cookie, answer }).await;
                drop(place);
            });
        }
    });
}

/// Asks for the answer to a call, which has a number unless it came over HTTP: JSON, or what went wrong.
pub(super) async fn answer(
    api: &Api,
    device: DeviceId,
    request: Option<i32>,
    (method, params): (&str, &str),
) -> Result<Box<str>, Box<str>> {
    let Some(address) = api.settings().webhook.clone() else {
        return Err(format!("unknown method: {method}").into());
    };
    let body = letter(api, device, request, (method, params));
    let patience = Duration::from_millis(api.settings().webhook_ms);
    match tokio::time::timeout(patience, ask(api.asker(), &address, body)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Trouble::Unknown)) => Err(format!("unknown method: {method}").into()),
        Ok(Err(Trouble::Failed(why))) => {
            warn!("calls of devices: {address} {why}");
            Err("no answer".into())
        }
        Err(_) => Err(TIMEOUT.into()),
    }
}

/// What went wrong, in the form in which devices read it.
pub(super) fn error_json(why: &str) -> String {
    let mut out = String::from("{\"error\":");
    write_text(why, &mut out);
    out.push('}');
    out
}

/// Why there is no answer.
enum Trouble {
    /// Whoever was asked does not know the method.
    Unknown,
    /// It cannot be asked, or answers nonsense.
    Failed(String),
}

fn letter(api: &Api, device: DeviceId, request: Option<i32>, (method, params): (&str, &str)) -> String {
    let (name, kind) = api.read(|registry| {
        let known = registry.device(device);
        let profile = known.and_then(|known| registry.profile(known.profile));
        (known.map(|known| known.name.clone()), profile.map(|profile| profile.name.clone()))
    });
    let mut out = String::from("{");
    let mut member = |key: &str, json: &str| {
        out.push_str(if out.len() > 1 { ",\"" } else { "\"" });
        out.push_str(key);
        out.push_str("\":");
        out.push_str(json);
    };
    let text = |text: &str| {
        let mut out = String::new();
        write_text(text, &mut out);
        out
    };
    member("requestId", &request.map_or_else(|| "null".to_owned(), |number| number.to_string()));
    member("deviceId", &text(&device.to_string()));
    member("deviceName", &text(&name.unwrap_or_default()));
    member("deviceType", &text(&kind.unwrap_or_default()));
    member("method", &text(method));
    // As the device spelled it: it is JSON already.
    member("params", if params.is_empty() { "null" } else { params });
    out.push('}');
    out
}

async fn ask(asker: &Asker, address: &str, body: String) -> Result<Box<str>, Trouble> {
    let failed = |what: &str, why: &dyn std::fmt::Display| Trouble::Failed(format!("{what}: {why}"));
    let request = Request::builder()
        .method(Method::POST)
        .uri(address)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, "ringmq")
        .body(Full::new(Bytes::from(body)))
        .map_err(|fault| failed("cannot be asked", &fault))?;
    let answer = asker.send(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|fault| failed("answered with a body that cannot be read", &fault))?.to_bytes();
    match status.as_u16() {
        200 => {}
        404 => return Err(Trouble::Unknown),
        other => return Err(failed("answered with status", &other)),
    }
    let text = std::str::from_utf8(&body).map_err(|fault| failed("answered with no text", &fault))?;
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text);
    is_json.map_err(|fault| failed("answered with no JSON", &fault))?;
    Ok(text.into())
}

/// The client for calls, made when it is first needed.
#[derive(Default)]
pub(crate) struct Asker(OnceLock<Result<HttpClient, String>>);

/// Only an encrypted address needs the certificates of the machine's authorities.
enum HttpClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Encrypted(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Asker {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Trouble> {
        let is_encrypted = request.uri().scheme_str() == Some("https");
        let refuse = |fault: String| Trouble::Failed(format!("cannot be asked: {fault}"));
        let client = self.0.get_or_init(|| client(is_encrypted)).as_ref();
        let answer = match client.map_err(|fault| refuse(fault.clone()))? {
            HttpClient::Plain(client) => client.request(request).await,
            HttpClient::Encrypted(client) => client.request(request).await,
        };
        answer.map_err(|fault| refuse(fault.to_string()))
    }
}

fn client(is_encrypted: bool) -> Result<HttpClient, String> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    if !is_encrypted {
        return Ok(HttpClient::Plain(builder.build(HttpConnector::new())));
    }
    let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(|fault| fault.to_string())?;
    Ok(HttpClient::Encrypted(builder.build(connector.https_only().enable_http1().build())))
}
