//! Claiming: a customer's user shows the secret of a device, and it is the customer's.
//!
//! Why the home of the device judges: it knows what the device offered, and of two who claim at once it lets one in.
//!
//! Invariants:
//! - A device that somebody owns is not claimed.
//! - A wrong secret ends the offer.
//!
//! Source: section 5.2 of the vectors.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use device::{
    Authority, Customer, Device, DeviceId, HubCall, HubReply, Redeemed, Sample, Scope, TenantId, Value,
};
use serde_json::json;

use super::asked::{Object, Payload};
use super::caller::Caller;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, delete, post};
use super::shape::{Answer, empty_answer, json_answer};

/// The server attributes with which a tenant takes part.
const ALLOWED: &str = "claimingAllowed";
const OFFER: &str = "claimingData";

pub(super) fn routes() -> Vec<Route> {
    let path = "/api/customer/device/{deviceName}/claim";
    vec![
        post(path, "Claims a device for the caller's customer.", claim).body(r#"{"secretKey":"abc"}"#),
        delete(path, "Gives a claimed device back.", reclaim),
    ]
}

async fn claim(State(api): State<Api>, caller: Caller, Path(name): Path<String>, body: Payload) -> Answer {
    let tenant = caller.tenant()?;
    let customer = match (caller.user.authority, caller.user.customer) {
        (Authority::CustomerUser, Some(customer)) => customer,
        (Authority::SystemAdmin | Authority::TenantAdmin | Authority::CustomerUser, _) => {
            return Err(Refusal::forbidden());
        }
    };
    let body =
        if body.bytes.is_empty() { Object(serde_json::Map::new()) } else { Object::read(&body.bytes)? };
    let secret = body.text("secretKey")?.unwrap_or_default();
    let device = named(&api, tenant, &name)?;
    if device.customer.is_some() {
        return Err(Refusal::quoted(StatusCode::BAD_REQUEST, "CLAIMED"));
    }
    redeem(&api, device.id, secret).await?;
    let device = api.give_unowned(device.id, customer).await?;
    api.ask(device.0, forget_offer()).await?;
    json_answer(json!({"device": device.1, "response": "SUCCESS"}))
}

async fn reclaim(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    let device = named(&api, caller.tenant()?, &name)?;
    if !caller.may_see(&device) {
        return Err(Refusal::forbidden());
    }
    if device.customer.is_some() {
        api.give(device.id, None).await?;
    }
    if !api.settings().claiming_allowed {
        let sample = Sample { key: ALLOWED.into(), value: Value::Bool(true), at_ms: api.now_ms() };
        api.ask(device.id, HubCall::WriteAttributes { scope: Scope::Server, samples: vec![sample] }).await?;
    }
    empty_answer()
}

/// Shows a secret to the device's home, or compares it with what the tenant has written.
async fn redeem(api: &Api, device: DeviceId, secret: &str) -> Result<(), Refusal> {
    let failed = || Refusal::quoted(StatusCode::BAD_REQUEST, "FAILURE");
    match api.ask(device, HubCall::Redeem { secret: secret.into() }).await? {
        HubReply::Redeemed(Redeemed::Granted) => return Ok(()),
        HubReply::Redeemed(Redeemed::WrongSecret) => return Err(failed()),
        HubReply::Redeemed(Redeemed::NoClaim) => {}
        _no_other_answer => return Err(Refusal::fault("A core gave another answer")),
    }
    let call = HubCall::Attributes { scope: Scope::Server, keys: Some(vec![OFFER.into()]) };
    let HubReply::Facts(facts) = api.ask(device, call).await? else { return Err(failed()) };
    let Some(Sample { value: Value::Json(text) | Value::Text(text), .. }) = facts.first() else {
        return Err(failed());
    };
    let offer = Object::read(text.as_bytes()).map_err(|_| failed())?;
    let is_over = offer.whole("expirationTime")?.is_none_or(|expires_ms| expires_ms <= api.now_ms());
    if !is_over && offer.text("secretKey")?.unwrap_or_default() == secret {
        return Ok(());
    }
    // One wrong secret ends this offer too.
    api.ask(device, forget_offer()).await?;
    Err(failed())
}

fn forget_offer() -> HubCall {
    HubCall::DeleteAttributes { scope: Scope::Server, keys: vec![ALLOWED.into(), OFFER.into()] }
}

fn named(api: &Api, tenant: TenantId, name: &str) -> Result<Device, Refusal> {
    api.read(|registry| registry.device_named(tenant, name).cloned()).ok_or_else(Refusal::nothing)
}

impl Api {
    /// Gives a device that nobody owns to a customer.
    async fn give_unowned(
        &self,
        device: DeviceId,
        customer: device::CustomerId,
    ) -> Result<(DeviceId, serde_json::Value), Refusal> {
        self.change(|registry, changes| {
            let known = registry.device(device).ok_or_else(Refusal::nothing)?;
            if known.customer.is_some() {
                return Err(Refusal::quoted(StatusCode::BAD_REQUEST, "CLAIMED"));
            }
            let is_there = |customer: &Customer| customer.tenant == known.tenant;
            registry
                .customer(customer)
                .filter(|customer| is_there(customer))
                .ok_or_else(Refusal::forbidden)?;
            let given = Device { customer: Some(customer), ..known.clone() };
            registry.save(given, changes)?;
            let given = registry.device(device).ok_or_else(Refusal::nothing)?;
            Ok((device, super::device_shape::device_json(registry, given)))
        })
        .await
    }
}
