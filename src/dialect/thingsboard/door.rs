//! Who is let in: the order of questions at a CONNECT, and the codes for those who are not.
//!
//! Why a certificate wins: who shows one has proved more than whoever knows a word, and a device that shows both means the
//! certificate.
//!
//! Invariants:
//! - The same CONNECT gets the same answer as long as the registry is the same.
//! - Below 5.0 return code 4 is never sent: devices know 5 for every credential that is refused.
//!
//! Source: sections 1.2 and 1.6 of the vectors.

use std::sync::Arc;

use device::{Dialect, Guest, Hello, Interpreter, Introduction, Registry, Terms, Transport, Welcome};
use mqtt::{Connect, ReasonCode, Version};

use super::registrar::Registrar;
use super::session::Session;
use super::settings::Settings;

/// The user name or client id of those that have no credentials yet.
const PROVISION: &str = "provision";

/// ThingsBoard's device API.
#[derive(Clone, Copy, Debug)]
pub struct ThingsBoard;

impl Dialect for ThingsBoard {
    fn name(&self) -> &'static str {
        "thingsboard"
    }

    fn introduce<'a>(&self, connect: &Connect<'a>) -> Introduction<'a> {
        // A token names its device whatever the client id is.
        let user_name = connect.user_name.filter(|name| !name.is_empty());
        Introduction { placement_key: user_name.unwrap_or(connect.client_id) }
    }

    fn welcome(&self, hello: &Hello<'_>, registry: &Registry) -> Welcome {
        let connect = hello.connect;
        if connect.user_name == Some(PROVISION) || connect.client_id == PROVISION {
            return Welcome::Unregistered;
        }
        let known = match hello.certificate {
            Some(shown) if shown.is_current => registry.log_in_with_certificate(&shown.fingerprint),
            Some(_expired) => None,
            None => registry.log_in(
                connect.client_id,
                connect.user_name.unwrap_or_default(),
                connect.password.unwrap_or_default(),
            ),
        };
        let Some(device) = known else { return Welcome::Refused(refusal(hello)) };
        let profile = registry.device(device).and_then(|device| registry.profile(device.profile));
        match profile.map(|profile| profile.transport) {
            Some(Transport::Default | Transport::Mqtt) => Welcome::Device(device),
            Some(Transport::Foreign) | None => Welcome::Refused(ReasonCode::ServerUnavailable),
        }
    }

    fn read_settings(&self, settings: &str) -> Result<Option<Terms>, String> {
        let settings = Settings::read(settings)?;
        Ok(Some(Arc::new(settings)))
    }

    fn interpreter(&self, guest: &Guest<'_>) -> Option<Box<dyn Interpreter>> {
        let terms = guest.profile.terms.clone();
        let settings = terms.and_then(|terms| terms.downcast::<Settings>().ok()).unwrap_or_default();
        Some(Box::new(Session::new(guest, settings)))
    }

    fn registrar(&self, version: Version) -> Option<Box<dyn Interpreter>> {
        Some(Box::new(Registrar::new(version)))
    }
}

fn refusal(hello: &Hello<'_>) -> ReasonCode {
    let connect = hello.connect;
    let has_names = connect.user_name.is_some_and(|name| !name.is_empty()) || connect.password.is_some();
    if hello.certificate.is_some() {
        return ReasonCode::NotAuthorized;
    }
    match connect.version {
        Version::V5 if has_names => ReasonCode::BadUserNameOrPassword,
        Version::V31 | Version::V311 if has_names => ReasonCode::NotAuthorized,
        Version::V5 | Version::V31 | Version::V311 if !connect.client_id.trim().is_empty() => {
            ReasonCode::ClientIdNotValid
        }
        Version::V5 | Version::V31 | Version::V311 => ReasonCode::NotAuthorized,
    }
}
