//! By what devices are recognized, read and changed.
//!
//! Invariants:
//! - A new credential ends the device's connections before the answer.
//!
//! Source: ranks 8 and 9 of section 13.2 of the vectors.

use axum::extract::{Path, State};
use device::{BasicCredential, Credential, Device, DeviceId, HubCall, NoCredential};
use serde_json::{Value, json};

use super::asked::Object;
use super::caller::Caller;
use super::clock::chance;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, get, post};
use super::shape::{Answer, entity, json_answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/api/device/{deviceId}/credentials", "The credentials of a device.", read),
        post("/api/device/credentials", "Changes the credentials of a device; its connections end.", write).body(
            r#"{"deviceId":{"entityType":"DEVICE","id":"784f394c-42b6-435a-983c-b7beff2784f9"},"credentialsType":"ACCESS_TOKEN","credentialsId":"T"}"#,
        ),
    ]
}

async fn read(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer {
    json_answer(credential_json(&api.device_of(&caller, &id)?))
}

async fn write(State(api): State<Api>, caller: Caller, body: Object) -> Answer {
    let tenant = caller.admin()?;
    let id = body
        .id("deviceId", DeviceId::parse)?
        .ok_or_else(|| Refusal::bad("Parameter 'deviceId' can't be empty!"))?;
    let known = api.device_in(tenant, &id.to_string())?;
    let credential = credential_of(&body)?;
    let is_new = known.credential != credential;
    let version = body.whole("version")?;
    let device = api
        .change(|registry, changes| {
            let known = registry.device(id).filter(|device| device.tenant == tenant);
            let known = known.ok_or_else(|| Refusal::missing("Device", id))?;
            if version.is_some_and(|version| version != i64::from(known.credential_version())) {
                return Err(Refusal::outdated("Entity"));
            }
            let device = Device { credential, ..known.clone() };
            if is_new {
                registry.save(device.clone(), changes)?;
            }
            Ok(registry.device(id).cloned().unwrap_or(device))
        })
        .await?;
    if is_new {
        api.ask(id, HubCall::Evict).await?;
    }
    json_answer(credential_json(&device))
}

/// Reads a credential as it is sent.
pub(super) fn credential_of(body: &Object) -> Result<Credential, Refusal> {
    let refuse = |why: NoCredential| Refusal::bad(why.text());
    let value = || Ok::<_, Refusal>(body.text("credentialsValue")?.unwrap_or_default());
    match body.text("credentialsType")?.unwrap_or("ACCESS_TOKEN") {
        "ACCESS_TOKEN" => match body.text("credentialsId")?.filter(|token| !token.is_empty()) {
            Some(token) => Credential::token(token).map_err(refuse),
            None => Ok(Credential::random_token(&mut chance)),
        },
        "MQTT_BASIC" => {
            let names = Object::read(value()?.as_bytes())
                .map_err(|_| Refusal::bad("Invalid credentials body for simple mqtt credentials!"))?;
            let name = |name| Ok::<_, Refusal>(names.text(name)?.unwrap_or_default());
            Credential::basic(name("clientId")?, name("userName")?, name("password")?).map_err(refuse)
        }
        "X509_CERTIFICATE" => Credential::certificate(value()?).map_err(refuse),
        other => Err(Refusal::bad(format!("Credentials of type {other} are not for MQTT"))),
    }
}

fn credential_json(device: &Device) -> Value {
    let (kind, value) = match &device.credential {
        Credential::Token(_) => ("ACCESS_TOKEN", None),
        Credential::Basic(basic) => ("MQTT_BASIC", Some(names_json(basic))),
        Credential::Certificate(certificate) => ("X509_CERTIFICATE", Some(certificate.text().to_owned())),
    };
    json!({
        // A device has one credential, which has the id of its device.
        "id": {"id": device.id.to_string()},
        "createdTime": device.created_ms,
        "deviceId": entity("DEVICE", device.id),
        "credentialsType": kind,
        "credentialsId": device.credential.id(),
        "credentialsValue": value,
        "version": device.credential_version(),
    })
}

/// Names as the text in which this API holds them.
fn names_json(basic: &BasicCredential) -> String {
    let (client, user, password) = (basic.client_id(), basic.user_name(), basic.password());
    json!({"clientId": client, "userName": user, "password": password}).to_string()
}
