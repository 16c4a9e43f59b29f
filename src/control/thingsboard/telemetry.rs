//! Telemetry, written and deleted in a device's name.
//!
//! Invariants:
//! - A key is at its new state, in memory and on disk, before the answer.
//!
//! Source: ranks 18 and 19 of section 13.2 of the vectors.

use axum::extract::{Path, State};
use device::{Device, HubCall, Keeping, Sample, Terms};
use dialect::http;

use super::asked::{Asked, Payload};
use super::caller::Caller;
use super::device_api::in_parts;
use super::history::newest_before;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, delete, post};
use super::shape::{Answer, empty_answer};

/// Keys of one deletion.
const KEYS_MAX: usize = 1_000;

pub(super) fn routes() -> Vec<Route> {
    let example = r#"[{"ts":1760000000000,"values":{"temperature":21.5}}]"#;
    vec![
        post(
            "/api/plugins/telemetry/DEVICE/{deviceId}/timeseries/{scope}",
            "Writes telemetry in a device's name; the scope says nothing.",
            write,
        )
        .body(example),
        post(
            "/api/plugins/telemetry/DEVICE/{deviceId}/timeseries/{scope}/{ttl}",
            "As above; how long values are kept is said by the profile.",
            write_for_a_time,
        )
        .body(example),
        delete(
            "/api/plugins/telemetry/DEVICE/{deviceId}/timeseries/delete",
            "Deletes telemetry of some keys, all of it or that between startTs and endTs.",
            remove,
        )
        .query(&[
            "keys",
            "deleteAllDataForKeys",
            "startTs",
            "endTs",
            "deleteLatest",
            "rewriteLatestIfDeleted",
        ]),
    ]
}

async fn write(
    State(api): State<Api>,
    caller: Caller,
    Path((id, _scope)): Path<(String, String)>,
    body: Payload,
) -> Answer {
    keep(&api, &api.device_of(&caller, &id)?, body).await
}

async fn write_for_a_time(
    State(api): State<Api>,
    caller: Caller,
    Path((id, _scope, _ttl)): Path<(String, String, String)>,
    body: Payload,
) -> Answer {
    keep(&api, &api.device_of(&caller, &id)?, body).await
}

async fn keep(api: &Api, device: &Device, body: Payload) -> Answer {
    let ((typing, keeping), (topic, _), now_ms) =
        (api.typing_of(device), api.topics_of(device), api.now_ms());
    let own = api.clone();
    let read = move |body: &str| {
        let samples = http::telemetry(body, now_ms, &typing).map_err(Refusal::bad_body)?;
        if samples.is_empty() {
            return Err(Refusal::bad("No timeseries data found in request body!"));
        }
        Ok((in_parts(samples), own.forward(topic, body)))
    };
    let (parts, mut forward) = body.read_text(read).await?;
    for samples in parts {
        api.ask(device.id, HubCall::Keep { samples, keeping, forward: forward.take() }).await?;
    }
    empty_answer()
}

async fn remove(State(api): State<Api>, caller: Caller, Path(id): Path<String>, asked: Asked) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    let keys = asked.list("keys", "key").ok_or_else(|| Refusal::bad("Empty keys: ."))?;
    if keys.len() > KEYS_MAX {
        return Err(Refusal::bad(format!("More than {KEYS_MAX} keys")));
    }
    let (from_ms, to_ms) =
        match (asked.flag("deleteAllDataForKeys"), asked.number("startTs")?, asked.number("endTs")?) {
            (Some(true), _, _) => (i64::MIN, i64::MAX),
            (Some(false) | None, Some(from_ms), Some(to_ms)) => (from_ms, to_ms),
            (Some(false) | None, _, _) => {
                return Err(Refusal::bad(
                    "When deleteAllDataForKeys is false, start and end timestamp values shouldn't be empty",
                ));
            }
        };
    let deletes_latest = asked.flag("deleteLatest").unwrap_or(true);
    let rewrites = asked.flag("rewriteLatestIfDeleted").unwrap_or(false);
    for key in keys {
        let rewritten = if rewrites {
            let name = key.clone();
            let newest = api.archive(move |archive| newest_before(archive, (device, &name), from_ms)).await?;
            newest.flatten().map(|(at_ms, value)| Sample { key: key.to_string().into(), value, at_ms })
        } else {
            None
        };
        let call = HubCall::DeleteTelemetry { key, from_ms, to_ms, deletes_latest, rewritten };
        api.ask(device, call).await?;
    }
    empty_answer()
}

impl Api {
    /// What a device's profile says of its payloads, and what is kept of its telemetry.
    pub fn terms_of(&self, device: &Device) -> (Option<Terms>, Keeping) {
        let of_profile = |profile: &device::Profile| (profile.terms.clone(), profile.keeping);
        self.read(|registry| registry.profile(device.profile).map(of_profile)).unwrap_or_default()
    }
}
