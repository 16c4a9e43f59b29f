//! Long polls: a device that speaks HTTP waits for changes of attributes and for commands.
//!
//! Invariants:
//! - A poll ends at its time at the latest, and everybody who polls holds a place behind a gate.
//! - A poll ends at once when its device is deleted or gets another credential.
//! - A command that was handed to a poll counts as delivered; a poll hands over one.
//!
//! Source: section 13.3 of the vectors.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use device::{Device, Downlink, HubCall, Uplink, write_text};
use dialect::http;
use mqtt::QoS;

use super::asked::Asked;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, get};
use super::seat::{Owner, Seat};
use super::shape::{Answer, text_answer};

/// How long a poll lasts if the device does not say, in milliseconds.
const POLL_MS: u64 = 60_000;
/// How long a poll may last, in milliseconds.
const POLL_MS_MAX: u64 = 300_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/{deviceToken}/attributes/updates",
            "Waits for a change of shared attributes.",
            attributes,
        )
        .open()
        .query(&["timeout"]),
        get("/api/v1/{deviceToken}/rpc", "Waits for a command.", commands).open().query(&["timeout"]),
    ]
}

async fn attributes(State(api): State<Api>, Owner(device): Owner, asked: Asked) -> Answer {
    let wanted = Uplink::Listens { attributes: true, commands: None };
    let read = |_: &Api, downlink: Downlink| match downlink {
        Downlink::SharedWritten(samples) => Some(Heard { json: http::object(&samples), command: None }),
        Downlink::SharedDeleted(keys) => Some(Heard { json: http::deleted(&keys), command: None }),
        _not_what_is_waited_for => None,
    };
    poll(&api, &device, &asked, wanted, read).await
}

async fn commands(State(api): State<Api>, Owner(device): Owner, asked: Asked) -> Answer {
    let wanted = Uplink::Listens { attributes: false, commands: Some(QoS::AtMostOnce) };
    let read = |_: &Api, downlink: Downlink| match downlink {
        Downlink::Command { number, method, params, .. } => {
            let mut json = format!("{{\"id\":{number},\"method\":");
            write_text(&method, &mut json);
            json.push_str(&format!(",\"params\":{params}}}"));
            Some(Heard { json, command: Some(number) })
        }
        _not_what_is_waited_for => None,
    };
    poll(&api, &device, &asked, wanted, read).await
}

/// What a poll waited for.
struct Heard {
    json: String,
    command: Option<i32>,
}

async fn poll(
    api: &Api,
    device: &Device,
    asked: &Asked,
    wanted: Uplink<'static>,
    read: impl Fn(&Api, Downlink) -> Option<Heard>,
) -> Result<Response, Refusal> {
    let patience_ms =
        asked.number("timeout")?.filter(|timeout| *timeout > 0).unwrap_or(POLL_MS).min(POLL_MS_MAX);
    let _place = api.limits().polls.enter().await?;
    let until = tokio::time::Instant::now() + Duration::from_millis(patience_ms);
    let seat = Seat::take(api, device).await?;
    seat.say(api, wanted).await?;
    seat.still_theirs(api, device)?;
    loop {
        let Ok(Ok(downlink)) = tokio::time::timeout_at(until, seat.heard().recv_async()).await else {
            api.still_there(device.id)?;
            return Err(Refusal::bare(StatusCode::REQUEST_TIMEOUT));
        };
        if let Some(heard) = read(api, downlink) {
            if let Some(number) = heard.command {
                api.ask(device.id, HubCall::Delivered { number }).await?;
            }
            return text_answer(heard.json);
        }
    }
}
