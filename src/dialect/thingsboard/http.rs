//! What the HTTP API shares with the MQTT API: how payloads are read and answers written.
//!
//! Why a façade: two readers of one format would come apart. Whoever serves HTTP knows this file and nothing behind it.
//!
//! Invariants:
//! - Nothing is read or written in another way than over MQTT.

use std::borrow::Cow;
use std::sync::Arc;

use device::{Cookie, Offer, ProvisionReply, ProvisionRequest, Sample, Terms, Typing};

use super::canonical::Canonical;
use super::quirks::Quirks;
use super::session::of_cookie;
use super::settings::Settings;
use super::{calls, json, registrar, render};

/// How values are typed for devices of a profile with these terms.
#[must_use]
pub fn typing(terms: Option<&Terms>) -> Typing {
    let settings = terms.and_then(|terms| terms.downcast_ref::<Settings>());
    settings.map_or_else(Typing::default, |settings| settings.typing.clone())
}

/// A body as JSON, if it can be made so and devices of a profile with these terms may write it so.
#[must_use]
pub fn lawful<'a>(text: &'a str, terms: Option<&Terms>) -> Cow<'a, str> {
    let settings = terms.and_then(|terms| terms.downcast_ref::<Settings>());
    let is_lenient = settings.map_or_else(|| Quirks::default().lenient_json, |own| own.quirks.lenient_json);
    json::lawful_text(text.as_bytes(), is_lenient)
}

/// A value as it stands, without white space between its parts.
#[must_use]
pub fn compact(raw: &str) -> Cow<'_, str> {
    json::compact(raw)
}

/// Reads telemetry in any of its forms.
///
/// # Errors
/// What is wrong with it.
pub fn telemetry<'a>(text: &'a str, now_ms: i64, typing: &Typing) -> Result<Vec<Sample<'a>>, Box<str>> {
    let mut samples = Vec::new();
    json::telemetry(text, now_ms, typing, &mut samples).map_err(|malformed| malformed.why)?;
    Ok(samples)
}

/// The canonical topics of a device: that of its telemetry, and that of its attributes.
#[must_use]
pub fn topics(tenant: &str, device: &str) -> (Arc<str>, Arc<str>) {
    let own = Canonical::new(tenant, device).own;
    (own.telemetry, own.attributes)
}

/// Reads attributes: one object.
///
/// # Errors
/// What is wrong with it.
pub fn attributes<'a>(text: &'a str, now_ms: i64, typing: &Typing) -> Result<Vec<Sample<'a>>, Box<str>> {
    let mut samples = Vec::new();
    json::attributes(text, now_ms, typing, &mut samples).map_err(|malformed| malformed.why)?;
    Ok(samples)
}

/// Reads a request for credentials.
///
/// # Errors
/// What is wrong with it.
pub fn provision(text: &str) -> Result<ProvisionRequest<'static>, Box<str>> {
    let text = json::lawful_text(text.as_bytes(), true);
    let members = json::Members::read(&text).map_err(|malformed| malformed.why)?;
    let request = registrar::of_text(&members).map_err(|malformed| malformed.why)?;
    Ok(request.into_owned())
}

/// What came of a request for credentials; nothing if the profile takes none.
#[must_use]
pub fn provisioned(reply: &ProvisionReply) -> Option<String> {
    render::provisioned(reply)
}

/// Attributes that a device asked for.
#[must_use]
pub fn attributes_answer(client: Option<&[Sample<'_>]>, shared: Option<&[Sample<'_>]>) -> String {
    render::attributes(client, shared)
}

/// Values as one object.
#[must_use]
pub fn object(samples: &[Sample<'_>]) -> String {
    render::object(samples)
}

/// Names of what was deleted.
#[must_use]
pub fn deleted(keys: &[Box<str>]) -> String {
    render::deleted(keys)
}

/// The number that a device gave to its call.
#[must_use]
pub fn number_of_call(cookie: Cookie) -> i32 {
    of_cookie(cookie).1
}

/// The answer to a call that needs nobody's help.
#[must_use]
pub fn call_answer(method: &str, offer: &Offer, is_gateway: bool, now_ms: i64) -> Option<String> {
    calls::answer(method, offer, is_gateway, now_ms)
}
