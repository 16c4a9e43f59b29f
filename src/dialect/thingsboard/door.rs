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

use device::{
    Dialect, DoorQuirks, Guest, Hello, Interpreter, Introduction, Registry, Terms, Transport, Welcome,
};
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

    fn has_devices(&self) -> bool {
        true
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

    fn takes_chains(&self) -> bool {
        true
    }

    fn read_settings(&self, settings: &str) -> Result<Option<Terms>, String> {
        let settings = Settings::read(settings)?;
        Ok(Some(Arc::new(settings)))
    }

    fn interpreter(&self, guest: &Guest<'_>) -> Option<Box<dyn Interpreter>> {
        Some(Box::new(Session::new(guest, Settings::of(guest.profile))))
    }

    fn registrar(&self, version: Version, door: DoorQuirks) -> Option<Box<dyn Interpreter>> {
        Some(Box::new(Registrar::new(version, door)))
    }

    fn farewell(&self, refused: ReasonCode) -> ReasonCode {
        match refused {
            ReasonCode::ServerUnavailable => ReasonCode::ServerBusy,
            ReasonCode::ConnectionRateExceeded => ReasonCode::MessageRateTooHigh,
            other => other,
        }
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

#[cfg(test)]
mod tests {
    use device::{
        Change, Credential, DeviceId, NewDevice, Profile, ProfileId, Role, Shown, Tenant, TenantId,
        fingerprint,
    };
    use mqtt::ConnectProperties;

    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const DER: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0xff];

    /// A registry with device `x`, which shows a certificate, device `t` with token T, and a device of another transport.
    fn registry() -> (Registry, DeviceId, DeviceId) {
        let mut registry = Registry::default();
        let mut changes: Vec<Change> = Vec::new();
        registry.put_tenant(Tenant::named(TENANT, "t"), &mut changes);
        let profile = Profile::named(ProfileId::from_bytes([2; 16]), TENANT, "default");
        let foreign = ProfileId::from_bytes([3; 16]);
        let coap = Profile { transport: Transport::Foreign, ..Profile::named(foreign, TENANT, "coap") };
        registry.put_profile(profile, &mut changes).unwrap();
        registry.put_profile(coap, &mut changes).unwrap();
        let mut number = 0;
        let mut create = |name, credential, profile| {
            let new = NewDevice {
                tenant: TENANT,
                profile,
                customer: None,
                role: Role::Ordinary,
                name,
                credential: Some(credential),
            };
            let mut chance = || {
                number += 1;
                number
            };
            registry.create(new, 0, &mut chance, &mut changes).unwrap()
        };
        let x = create("x", Credential::certificate("MAMCAf8=").unwrap(), None);
        let t = create("t", Credential::token("T").unwrap(), None);
        create("coap", Credential::token("C").unwrap(), Some(foreign));
        (registry, x, t)
    }

    fn welcome(
        version: Version,
        names: (&str, Option<&str>, Option<&str>),
        certificate: Option<Shown>,
    ) -> Welcome {
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: names.0,
            will: None,
            user_name: names.1,
            password: names.2.map(str::as_bytes),
            properties: ConnectProperties::default(),
        };
        ThingsBoard.welcome(&Hello { connect: &connect, certificate }, &registry().0)
    }

    #[test]
    fn a_certificate_wins_over_names() {
        let (_, x, t) = registry();
        let shown = |der: &[u8], is_current| Some(Shown { fingerprint: fingerprint(der), is_current });
        let refused = Welcome::Refused(ReasonCode::NotAuthorized);
        for version in [Version::V311, Version::V5] {
            let with = |names, certificate| welcome(version, names, certificate);
            assert_eq!(with(("", None, None), shown(&DER, true)), Welcome::Device(x));
            assert_eq!(with(("", Some("T"), None), shown(&DER, true)), Welcome::Device(x));
            assert_eq!(with(("", Some("T"), None), None), Welcome::Device(t));
            assert_eq!(
                with(("", Some("T"), None), shown(b"another", true)),
                refused,
                "names are not looked at"
            );
            assert_eq!(with(("", None, None), shown(&DER, false)), refused, "not of today");
            assert_eq!(with(("provision", None, None), shown(&DER, true)), Welcome::Unregistered);
        }
    }

    #[test]
    fn every_refusal_has_its_code() {
        use ReasonCode::{BadUserNameOrPassword, ClientIdNotValid, NotAuthorized, ServerUnavailable};
        let rows = [
            (("x", Some("bad"), None), NotAuthorized, BadUserNameOrPassword),
            (("", Some("bad"), Some("bad")), NotAuthorized, BadUserNameOrPassword),
            (("", None, Some("bad")), NotAuthorized, BadUserNameOrPassword),
            (("x", None, None), ClientIdNotValid, ClientIdNotValid),
            (("x", Some(""), None), ClientIdNotValid, ClientIdNotValid),
            (("", None, None), NotAuthorized, NotAuthorized),
            ((" ", None, None), NotAuthorized, NotAuthorized),
            (("", Some("C"), None), ServerUnavailable, ServerUnavailable),
        ];
        for (names, below, v5) in rows {
            assert_eq!(welcome(Version::V311, names, None), Welcome::Refused(below), "{names:?}");
            assert_eq!(welcome(Version::V31, names, None), Welcome::Refused(below), "{names:?}");
            assert_eq!(welcome(Version::V5, names, None), Welcome::Refused(v5), "{names:?}");
            assert_ne!(below.connack_return_code(), Some(4), "no device knows return code 4");
        }
    }
}
