//! The HTTP API of devices: what a device says and asks without MQTT.
//!
//! Invariants:
//! - A device speaks for itself only; what it says is kept before the answer.
//! - Nothing of a body is read before its sender is known.
//!
//! Source: section 13.3 of the vectors.

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use device::{Content, Downlink, Offer, PackageKind, Sample, Uplink, Wanted};
use dialect::http;

use super::asked::{Asked, Object, Payload, spelled};
use super::clock::chance;
use super::commands::COMMAND_BYTES_MAX;
use super::house::{ANSWER_MAX, Api};
use super::packages::file_name;
use super::refusal::Refusal;
use super::responder;
use super::routes::{Route, get, post};
use super::seat::{Owner, Seat};
use super::shape::{Answer, empty_answer, text_answer};

/// Bytes of a body that is no command.
const BODY_BYTES_MAX: usize = 50 << 20;

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
            .body(r#"{"secretKey":"abc","durationMs":60000}"#),
        get("/api/v1/{deviceToken}/firmware", "The device's firmware, or a part of it.", firmware)
            .open()
            .query(&["title", "version", "size", "chunk"]),
        get("/api/v1/{deviceToken}/software", "The device's software, or a part of it.", software)
            .open()
            .query(&["title", "version", "size", "chunk"]),
        post("/api/v1/provision", "Asks for credentials with the key and secret of a profile.", provision)
            .open()
            .body(r#"{"deviceName":"th-001","provisionDeviceKey":"k1","provisionDeviceSecret":"s1"}"#),
    ]
}

async fn telemetry_said(State(api): State<Api>, Owner(device): Owner, body: Payload) -> Answer {
    let (typing, text) = (api.typing_of(&device).0, api.lawful_of(&device, &body)?);
    let samples = http::telemetry(&text, api.now_ms(), &typing).map_err(unreadable)?;
    let samples = samples.into_iter().map(Sample::into_owned).collect();
    Seat::take(&api, &device).await?.say(&api, Uplink::Telemetry(samples)).await?;
    empty_answer()
}

async fn attributes_said(State(api): State<Api>, Owner(device): Owner, body: Payload) -> Answer {
    let (typing, text) = (api.typing_of(&device).0, api.lawful_of(&device, &body)?);
    let samples = http::attributes(&text, api.now_ms(), &typing).map_err(unreadable)?;
    let samples = samples.into_iter().map(Sample::into_owned).collect();
    Seat::take(&api, &device).await?.say(&api, Uplink::Attributes(samples)).await?;
    empty_answer()
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
    Seat::take(&api, &device).await?.say(&api, uplink).await?;
    empty_answer()
}

async fn call(State(api): State<Api>, Owner(device): Owner, body: Payload) -> Answer {
    let text = api.lawful_of(&device, &body)?;
    let body = Object::read(text.as_bytes())?;
    let (Some(method), Some(_)) = (body.text("method")?, body.get("params")) else {
        return Err(Refusal::bad("A call has a method and params"));
    };
    let params = spelled(text.as_bytes(), "params");
    Seat::take(&api, &device).await?.say(&api, Uplink::Alive).await?;
    let packet_bytes_max = u32::try_from(api.settings().packet_bytes_max).unwrap_or(u32::MAX);
    let offer = Offer { packet_bytes_max, ..Offer::default() };
    if let Some(answer) = http::call_answer(method, &offer, device.is_gateway(), api.now_ms()) {
        return text_answer(answer);
    }
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
    Seat::take(&api, &device).await?.say(&api, uplink).await?;
    empty_answer()
}

async fn firmware(State(api): State<Api>, Owner(device): Owner, asked: Asked) -> Answer {
    package(&api, &device, &asked, PackageKind::Firmware)
}

async fn software(State(api): State<Api>, Owner(device): Owner, asked: Asked) -> Answer {
    package(&api, &device, &asked, PackageKind::Software)
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
    let name = file_name(&package);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment;filename={name}")),
        (HeaderName::from_static("x-filename"), name),
    ];
    Ok((headers, chunk.bytes().to_vec()).into_response())
}

async fn provision(State(api): State<Api>, body: Payload) -> Answer {
    let text = body.text()?;
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
    let answer = http::provisioned(&reply);
    text_answer(answer.ok_or_else(|| Refusal::fault("The profile takes certificates, not requests"))?)
}

/// Whether a change is the business of a device's home.
fn is_fact(change: &device::Change) -> bool {
    matches!(change, device::Change::Attribute { .. })
}
