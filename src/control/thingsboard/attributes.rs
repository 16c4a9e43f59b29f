//! Attributes, read, written and deleted.
//!
//! Why the server's scope has more than was written there: how a device is, is told as attributes of it.
//!
//! Invariants:
//! - Nobody writes in the name of the device: its own scope is read and deleted only.
//! - Types are those of the JSON that was written; nothing is cast.
//!
//! Source: ranks 14 to 17 of section 13.2 and section 12.2 of the vectors.

use axum::extract::{Path, State};
use device::{DeviceId, Fact, HubCall, HubReply, Sample, Scope, Typing, Value, write_text};
use dialect::http;

use super::asked::{Asked, Object, Payload};
use super::caller::Caller;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, delete, get, post};
use super::shape::{Answer, empty_answer, json_answer, text_answer};

/// The server attribute of devices that have been provisioned; without it one that was created in advance may be so again.
const PROVISIONED: &str = "provisionState";
const SCOPES: [Scope; 3] = [Scope::Client, Scope::Shared, Scope::Server];

pub(super) fn routes() -> Vec<Route> {
    let written = "Writes attributes in SHARED_SCOPE, of which the device is told, or SERVER_SCOPE.";
    let deleted = "Deletes attributes of a scope.";
    let example = r#"{"interval":60}"#;
    vec![
        get(
            "/api/plugins/telemetry/DEVICE/{deviceId}/values/attributes",
            "Attributes of all scopes.",
            read_all,
        )
        .query(&["keys"]),
        get(
            "/api/plugins/telemetry/DEVICE/{deviceId}/values/attributes/{scope}",
            "Attributes of a scope: CLIENT_SCOPE, SHARED_SCOPE or SERVER_SCOPE.",
            read_scope,
        )
        .query(&["keys"]),
        get("/api/plugins/telemetry/DEVICE/{deviceId}/keys/attributes", "The keys of all scopes.", keys),
        get(
            "/api/plugins/telemetry/DEVICE/{deviceId}/keys/attributes/{scope}",
            "The keys of a scope.",
            keys_of_scope,
        ),
        post("/api/plugins/telemetry/{deviceId}/{scope}", written, write).body(example),
        post("/api/plugins/telemetry/DEVICE/{deviceId}/{scope}", written, write).body(example),
        post("/api/plugins/telemetry/DEVICE/{deviceId}/attributes/{scope}", written, write).body(example),
        delete("/api/plugins/telemetry/{deviceId}/{scope}", deleted, remove).query(&["keys"]),
        delete("/api/plugins/telemetry/DEVICE/{deviceId}/{scope}", deleted, remove).query(&["keys"]),
    ]
}

async fn read_all(State(api): State<Api>, caller: Caller, Path(id): Path<String>, asked: Asked) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    values(&api.attributes(device, &SCOPES, asked.list("keys", "key")).await?)
}

async fn read_scope(
    State(api): State<Api>,
    caller: Caller,
    Path((id, scope)): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    values(&api.attributes(device, &[scope_named(&scope)?], asked.list("keys", "key")).await?)
}

async fn keys(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    let mut known = api.attributes(device, &SCOPES, None).await?;
    known.sort_by(|one, other| one.key.cmp(&other.key));
    known.dedup_by(|one, other| one.key == other.key);
    json_answer(known.iter().map(|fact| fact.key.as_ref()).collect())
}

async fn keys_of_scope(
    State(api): State<Api>,
    caller: Caller,
    Path((id, scope)): Path<(String, String)>,
) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    let known = api.attributes(device, &[scope_named(&scope)?], None).await?;
    json_answer(known.iter().map(|fact| fact.key.as_ref()).collect())
}

async fn write(
    State(api): State<Api>,
    caller: Caller,
    Path((id, scope)): Path<(String, String)>,
    body: Payload,
) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    let scope = match scope_named(&scope)? {
        Scope::Client => return Err(Refusal::bad(format!("Invalid scope: {scope}"))),
        other @ (Scope::Shared | Scope::Server) => other,
    };
    let now_ms = api.now_ms();
    let samples = body.read_text(move |body| samples_of(body, now_ms)).await?;
    let marks = scope == Scope::Server && samples.iter().any(|sample| sample.key == PROVISIONED);
    api.ask(device, HubCall::WriteAttributes { scope, samples }).await?;
    if marks {
        api.mark_provisioned(device, true).await?;
    }
    empty_answer()
}

fn samples_of(body: &str, now_ms: i64) -> Result<Vec<Sample<'static>>, Refusal> {
    if let Some((key, _)) = Object::read(body.as_bytes())?.0.iter().find(|(_, value)| value.is_null()) {
        return Err(Refusal::bad(format!("Attribute '{key}' has no value: delete it instead")));
    }
    let typing = Typing { casts: false, ..Typing::default() };
    let samples = http::attributes(body, now_ms, &typing).map_err(Refusal::bad_body)?;
    if samples.is_empty() {
        return Err(Refusal::bad("No attributes data found in request body!"));
    }
    Ok(samples.into_iter().map(Sample::into_owned).collect())
}

async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((id, scope)): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    let scope = scope_named(&scope)?;
    let keys = asked.list("keys", "key").ok_or_else(|| Refusal::bad("Empty keys: ."))?;
    let unmarks = scope == Scope::Server && keys.iter().any(|key| **key == *PROVISIONED);
    api.ask(device, HubCall::DeleteAttributes { scope, keys }).await?;
    if unmarks {
        api.mark_provisioned(device, false).await?;
    }
    empty_answer()
}

impl Api {
    /// Attributes of some scopes of a device, in order of scopes and keys.
    pub async fn attributes(
        &self,
        device: DeviceId,
        scopes: &[Scope],
        keys: Option<Vec<Box<str>>>,
    ) -> Result<Vec<Fact>, Refusal> {
        let mut found = Vec::new();
        for scope in scopes {
            let call = HubCall::Attributes { scope: *scope, keys: keys.clone() };
            let HubReply::Facts(mut facts) = self.ask(device, call).await? else {
                return Err(Refusal::fault("A core gave another answer"));
            };
            if *scope == Scope::Server {
                self.add_presence(device, keys.as_deref(), &mut facts).await?;
            }
            found.append(&mut facts);
        }
        Ok(found)
    }

    /// Provisioning asks the registry, so what somebody makes of the attribute is noted there.
    async fn mark_provisioned(&self, device: DeviceId, is_provisioned: bool) -> Result<(), Refusal> {
        self.change(|registry, changes| {
            let Some(mut device) = registry.device(device).cloned() else { return Ok(()) };
            let was_provisioned = device.rare.as_ref().is_some_and(|rare| rare.is_provisioned);
            if was_provisioned != is_provisioned {
                device.rare_mut().is_provisioned = is_provisioned;
                registry.replace(device, changes)?;
            }
            Ok(())
        })
        .await
    }

    async fn add_presence(
        &self,
        device: DeviceId,
        keys: Option<&[Box<str>]>,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Refusal> {
        let HubReply::Presence(presence) = self.ask(device, HubCall::Presence).await? else {
            return Err(Refusal::fault("A core gave another answer"));
        };
        let mut told = presence.samples();
        let at_ms = presence.connected_ms.max(presence.disconnected_ms);
        told.push(Sample { key: "connected".into(), value: Value::Bool(presence.is_connected()), at_ms });
        told.retain(|sample| keys.is_none_or(|keys| keys.iter().any(|key| **key == *sample.key)));
        facts.retain(|fact| told.iter().all(|sample| sample.key != fact.key));
        facts.append(&mut told);
        facts.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(())
    }
}

fn values(facts: &[Fact]) -> Answer {
    let mut out = String::from("[");
    for (index, fact) in facts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&format!("{{\"lastUpdateTs\":{},\"key\":", fact.at_ms));
        write_text(&fact.key, &mut out);
        out.push_str(",\"value\":");
        fact.value.write_json(&mut out);
        out.push('}');
    }
    out.push(']');
    text_answer(out)
}

fn scope_named(name: &str) -> Result<Scope, Refusal> {
    match name {
        "CLIENT_SCOPE" => Ok(Scope::Client),
        "SHARED_SCOPE" => Ok(Scope::Shared),
        "SERVER_SCOPE" => Ok(Scope::Server),
        other => Err(Refusal::bad(format!("Invalid scope: {other}"))),
    }
}
