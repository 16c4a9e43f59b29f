//! The HTTP API of devices: what a device says and asks without MQTT.
//!
//! Invariants:
//! - A device speaks for itself only; what it says is kept before the answer.
//! - Nothing of a body is read before its sender is known.
//!
//! Source: section 13.3 of the vectors.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use device::{
    Change, Chunk, ChunkWanted, Content, Downlink, PackageKind, ProvisionReply, Sample, Uplink, Wanted,
};
use dialect::http;

use super::asked::{Asked, Object, Payload, spelled};
use super::caller::Peer;
use super::clock::chance;
use super::commands::COMMAND_BYTES_MAX;
use super::house::{ANSWER_MAX, Api};
use super::packages::file_headers;
use super::refusal::Refusal;
use super::responder;
use super::routes::{Route, get, post};
use super::seat::{Owner, Seat};
use super::settings::ApiSettings;
use super::shape::{Answer, empty_answer, text_answer};

/// Bytes of a body that is no command.
const BODY_BYTES_MAX: usize = 50 << 20;
/// Values that a core is told at one time.
const SAMPLES_AT_ONCE: usize = 4_096;

pub(super) fn routes() -> Vec<Route> {
    let telemetry = r#"{"temperature":21.5}"#;
    vec![
        post("/api/v1/{deviceToken}/telemetry", "Telemetry of the device.", telemetry_said)
            .open()
            .body(telemetry)
            .limit(BODY_BYTES_MAX),
        post("/api/v1/{deviceToken}/attributes", "Attributes of the device.", attributes_said)
            .open()
            .body(r#"{"serial":"A-17"}"#)
            .limit(BODY_BYTES_MAX),
        get("/api/v1/{deviceToken}/attributes", "Attributes that the device asks for.", attributes)
            .open()
            .query(&["clientKeys", "sharedKeys"]),
        post("/api/v1/{deviceToken}/rpc/{requestId}", "The device's answer to a command.", answer)
            .open()
            .body(r#"{"ok":true}"#)
            .limit(COMMAND_BYTES_MAX),
        post("/api/v1/{deviceToken}/rpc", "The device calls; the answer is whoever answers calls.", call)
            .open()
            .body(r#"{"method":"getCurrentTime","params":{}}"#)
            .limit(COMMAND_BYTES_MAX),
        post("/api/v1/{deviceToken}/claim", "Whoever knows the secret may own the device.", claim)
            .open()
            .body(r#"{"secretKey":"abc","durationMs":60000}"#)
            .limit(COMMAND_BYTES_MAX),
        get("/api/v1/{deviceToken}/firmware", "The device's firmware, or a part of it.", firmware)
            .open()
            .query(&["title", "version", "size", "chunk"]),
        get("/api/v1/{deviceToken}/software", "The device's software, or a part of it.", software)
            .open()
            .query(&["title", "version", "size", "chunk"]),
        post("/api/v1/provision", "Asks for credentials with the key and secret of a profile.", provision)
            .open()
            .body(r#"{"deviceName":"th-001","provisionDeviceKey":"k1","provisionDeviceSecret":"s1"}"#)
            .limit(COMMAND_BYTES_MAX),
    ]
}

async fn telemetry_said(State(api): State<Api>, Owner(device): Owner, body: Payload) -> Answer {
    let ((typing, _), (topic, _), now_ms) = (api.typing_of(&device), api.topics_of(&device), api.now_ms());
    let (own, (terms, _)) = (api.clone(), api.terms_of(&device));
    let read = move |body: &str| {
        let text = http::lawful(body, terms.as_ref());
        let samples = http::telemetry(&text, now_ms, &typing).map_err(unreadable)?;
        Ok((in_parts(samples), own.forward(topic, body)))
    };
    let (parts, mut forward) = body.read_text(read).await?;
    for samples in parts {
        api.say(&device, Uplink::Telemetry(samples), forward.take()).await?;
    }
    empty_answer()
}

async fn attributes_said(State(api): State<Api>, Owner(device): Owner, body: Payload) -> Answer {
    let ((typing, _), (_, topic), now_ms) = (api.typing_of(&device), api.topics_of(&device), api.now_ms());
    let (own, (terms, _)) = (api.clone(), api.terms_of(&device));
    let read = move |body: &str| {
        let text = http::lawful(body, terms.as_ref());
        let samples = http::attributes(&text, now_ms, &typing).map_err(unreadable)?;
        Ok((in_parts(samples), own.forward(topic, body)))
    };
    let (parts, mut forward) = body.read_text(read).await?;
    for samples in parts {
        api.say(&device, Uplink::Attributes(samples), forward.take()).await?;
    }
    empty_answer()
}

/// Values in parts that no core needs long for; at least one part, for a device that says nothing is there all the same.
pub(super) fn in_parts(samples: Vec<Sample<'_>>) -> Vec<Vec<Sample<'static>>> {
    let mut parts = vec![Vec::new()];
    for sample in samples {
        if parts.last().is_none_or(|part| part.len() >= SAMPLES_AT_ONCE) {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(sample.into_owned());
        }
    }
    parts
}

/// Bodies that cannot be read are this API's own failures.
fn unreadable(why: Box<str>) -> Refusal {
    Refusal::fault(why.into_string())
}

async fn attributes(State(api): State<Api>, Owner(device): Owner, asked: Asked) -> Answer {
    let wanted = |name| match asked.list(name, name) {
        Some(keys) => Wanted::Keys(keys.into_iter().map(|key| key.into_string().into()).collect()),
        None => Wanted::Nothing,
    };
    let (client, shared) = match (wanted("clientKeys"), wanted("sharedKeys")) {
        (Wanted::Nothing, Wanted::Nothing) => (Wanted::All, Wanted::All),
        some => some,
    };
    let seat = Seat::take(&api, &device).await?;
    seat.say(&api, Uplink::AttributesWanted { cookie: device::Cookie(0), client, shared }).await?;
    match tokio::time::timeout(ANSWER_MAX, seat.heard().recv_async()).await {
        Ok(Ok(Downlink::Attributes { client, shared, .. })) => {
            text_answer(http::attributes_answer(client.as_deref(), shared.as_deref()))
        }
        Ok(_) | Err(_) => Err(Refusal::silence()),
    }
}

async fn answer(
    State(api): State<Api>,
    Owner(device): Owner,
    Path((_token, number)): Path<(String, String)>,
    body: Payload,
) -> Answer {
    let number = number.parse().map_err(|_| Refusal::bad(format!("'{number}' is no number of a command")))?;
    let uplink = Uplink::CommandAnswered { number, answer: body.bytes.to_vec().into() };
    api.say(&device, uplink, None).await?;
    empty_answer()
}

async fn call(State(api): State<Api>, Owner(device): Owner, body: Payload) -> Answer {
    let text = api.lawful_of(&device, &body)?;
    let body = Object::read(text.as_bytes())?;
    let (Some(method), Some(_)) = (body.text("method")?, body.0.get("params")) else {
        return Err(Refusal::bad("A call has a method and params"));
    };
    let params = spelled(text.as_bytes(), "params");
    let ApiSettings { offer, gateway_offer, .. } = api.settings();
    let offer = if device.is_gateway() { gateway_offer } else { offer };
    if let Some(answer) = http::call_answer(method, offer, device.is_gateway(), api.now_ms()) {
        api.say(&device, Uplink::Alive, None).await?;
        return text_answer(answer);
    }
    // Its home does no more than count it.
    let (cookie, counted) = (device::Cookie(0), method.to_owned().into());
    api.say(&device, Uplink::Called { cookie, method: counted, params: "".into() }, None).await?;
    let _place = api.limits().answers.enter().await?;
    match responder::answer(&api, device.id, None, (method, &params)).await {
        Ok(json) => text_answer(json.into()),
        Err(why) if &*why == responder::TIMEOUT => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            Ok((StatusCode::REQUEST_TIMEOUT, kind, responder::error_json(&why)).into_response())
        }
        Err(why) => text_answer(responder::error_json(&why)),
    }
}

async fn claim(State(api): State<Api>, Owner(device): Owner, body: Payload) -> Answer {
    let body = if body.bytes.is_empty() {
        Object(serde_json::Map::new())
    } else {
        Object::read(api.lawful_of(&device, &body)?.as_bytes())?
    };
    let secret = body.text("secretKey")?.unwrap_or_default().to_owned();
    let uplink = Uplink::Claimable { secret: secret.into(), duration_ms: body.whole("durationMs")? };
    api.say(&device, uplink, None).await?;
    empty_answer()
}

async fn firmware(State(api): State<Api>, Owner(device): Owner, asked: Asked) -> Answer {
    count_download(&api, &device, PackageKind::Firmware).await?;
    package(&api, &device, &asked, PackageKind::Firmware)
}

async fn software(State(api): State<Api>, Owner(device): Owner, asked: Asked) -> Answer {
    count_download(&api, &device, PackageKind::Software).await?;
    package(&api, &device, &asked, PackageKind::Software)
}

/// Whoever asks for a part says a message. Its home does no more than count it.
async fn count_download(api: &Api, device: &device::Device, kind: PackageKind) -> Result<(), Refusal> {
    let wanted =
        ChunkWanted { cookie: device::Cookie(0), kind, index: 0, bytes_max: 0, package: None, ends: false };
    api.say(device, Uplink::ChunkWanted(wanted), None).await
}

fn package(api: &Api, device: &device::Device, asked: &Asked, kind: PackageKind) -> Answer {
    let (title, version) = (asked.needed("title")?, asked.needed("version")?);
    let package = api.read(|registry| registry.package_of(device.id, kind).cloned());
    let package = package.ok_or_else(|| Refusal::bare(StatusCode::NOT_FOUND))?;
    let is_here = matches!(package.content, Content::Here { .. });
    if *package.title != *title || *package.version != *version || !is_here {
        return Err(Refusal::bare(StatusCode::BAD_REQUEST));
    }
    let (size, index) =
        (asked.number("size")?.unwrap_or_default(), asked.number("chunk")?.unwrap_or_default());
    let chunk = package.chunk(index, size).map_err(|_| Refusal::bare(StatusCode::BAD_REQUEST))?;
    Ok((file_headers(&package), Bytes::from_owner(Part(chunk))).into_response())
}

/// A part of a package on its way: it is not copied.
struct Part(Chunk);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

async fn provision(State(api): State<Api>, Peer(peer): Peer, body: Payload) -> Answer {
    api.trusts(peer)?;
    let text = std::str::from_utf8(&body.bytes).map_err(Refusal::bad_body)?;
    let request = http::provision(text).map_err(unreadable)?;
    let now_ms = api.now_ms();
    let (reply, facts) = api
        .change(|registry, changes| {
            let reply = registry.provision(&request, now_ms, &mut chance, changes);
            let facts: Vec<_> = changes.iter().filter(|change| is_fact(change)).cloned().collect();
            Ok((reply, facts))
        })
        .await?;
    for fact in facts {
        if let Some(device) = fact.device() {
            api.ask(device, device::HubCall::Restore(Box::new(fact))).await?;
        }
    }
    api.note_shown(peer, reply != ProvisionReply::NotFound);
    let answer = http::provisioned(&reply);
    text_answer(answer.ok_or_else(|| Refusal::fault("The profile takes certificates, not requests"))?)
}

/// Whether a change is the business of a device's home.
fn is_fact(change: &Change) -> bool {
    !change.is_of_registry()
}
