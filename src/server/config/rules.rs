//! What the values must satisfy together.
//!
//! Invariants:
//! - A configuration that passes can be started, as far as can be told without trying.

use broker::Limits;
use device::{DoorQuirks, NAME_CHARS_MAX};

use super::authentication::check_authentication;
use super::complaint::{Complaint, Place, guess};
use super::sections::{Config, ControlPlane, Listener};
use super::transport::{ClientCertificate, is_web_address};

/// Checks everything that is more than one value.
pub(super) fn check(config: &Config, dialects: &[&'static str], complaints: &mut Vec<Complaint>) {
    if config.listener.is_empty() {
        complaints.push(Place::Default.complain("there is no [[listener]], so nobody could connect"));
    }
    for (index, listener) in config.listener.iter().enumerate() {
        complaints.extend(check_listener(listener, dialects));
        complaints.extend(check_transport(listener));
        if config.listener[..index].iter().any(|other| other.bind.collides(&listener.bind)) {
            complaints
                .push(listener.place.complain(format!("two listeners have the address {}", listener.bind)));
        }
    }
    if u16::try_from(config.listener.len()).is_err() {
        complaints.push(Place::Default.complain("there are more than 65,535 listeners"));
    }
    check_authentication(config, complaints);
    complaints.extend(check_control(&config.control));
    if config.devices.tenant.trim().is_empty() {
        complaints.push(Place::Default.complain("devices.tenant must not be empty"));
    }
    if config.devices.tenant.chars().count() > NAME_CHARS_MAX {
        let text = format!("devices.tenant must have at most {NAME_CHARS_MAX} characters");
        complaints.push(Place::Default.complain(text));
    }
    complaints.extend(check_limits(&config.limits));
}

fn check_listener(listener: &Listener, dialects: &[&'static str]) -> Option<Complaint> {
    if dialects.contains(&listener.dialect.as_str()) {
        let has_vain_quirks = listener.quirks != DoorQuirks::default() && !listener.has_devices;
        return has_vain_quirks.then(|| {
            let text = format!(
                "`quirks` needs a dialect with devices; `dialect = \"{}\"` has none",
                listener.dialect
            );
            listener.place_of("quirks").complain(text)
        });
    }
    let hint = guess(&listener.dialect, dialects.iter().copied());
    Some(listener.place.complain(format!("unknown dialect `{}`{hint}", listener.dialect)))
}

/// What belongs together: protocol, certificates, client certificates. A key that would do nothing is refused, because
/// whoever wrote it believes that it protects somebody.
fn check_transport(listener: &Listener) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |key: &str, text: String| complaints.push(listener.place_of(key).complain(text));
    let (tls, protocol) = (&listener.tls, listener.protocol.name());
    if !listener.protocol.has_tls() {
        for key in tls.set_keys() {
            let hint = if listener.protocol.has_websocket() { "wss" } else { "mqtts" };
            complain(
                key,
                format!("`{key}` needs TLS: set `protocol = \"{hint}\"` instead of \"{protocol}\""),
            );
        }
    } else if tls.certificate.is_some() != tls.private_key.is_some() {
        let (set, missing) = match tls.certificate {
            Some(_) => ("certificate", "private_key"),
            None => ("private_key", "certificate"),
        };
        complain(set, format!("`{set}` is set and `{missing}` is not; they belong together"));
    } else if tls.pairs().is_empty() {
        let text = "needs `certificate` and `private_key`; `ringmq cert DIR` makes some for a first try";
        complain("protocol", format!("`protocol = \"{protocol}\"` {text}"));
    }
    complaints.extend(check_any_certificate(listener));
    let mut complain = |key: &str, text: String| complaints.push(listener.place_of(key).complain(text));
    match (tls.client_certificate(), &tls.client_ca) {
        (ClientCertificate::Optional | ClientCertificate::Required, None) => {
            let text = "`client_certificate` needs `client_ca`, the authorities that are believed";
            complain("client_certificate", text.to_owned());
        }
        (ClientCertificate::None, Some(_)) => {
            complain("client_ca", "`client_ca` is not used with `client_certificate = \"none\"`".to_owned());
        }
        (ClientCertificate::Any, _) | (ClientCertificate::None, None) | (_, Some(_)) => {}
    }
    let takes_any = tls.client_certificate() == ClientCertificate::Any;
    if tls.crl.is_some() && tls.client_ca.is_none() && !takes_any {
        complain("crl", "`crl` needs `client_ca`, the authorities whose list it is".to_owned());
    }
    if !listener.websocket_path.starts_with('/') || listener.websocket_path.contains(['?', '#', ' ']) {
        let path = &listener.websocket_path;
        complain("websocket_path", format!("`websocket_path` wants a path such as \"/mqtt\", not `{path}`"));
    }
    complaints
}

/// Any certificate will do only where somebody else knows whose it is.
fn check_any_certificate(listener: &Listener) -> Vec<Complaint> {
    if listener.tls.client_certificate() != ClientCertificate::Any {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    if !listener.has_devices {
        let text = format!(
            "`client_certificate = \"any\"` believes nobody's signature and needs a dialect that knows certificates of \
             devices; `dialect = \"{}\"` does not",
            listener.dialect
        );
        complaints.push(listener.place_of("client_certificate").complain(text));
    }
    let stray = [("client_ca", listener.tls.client_ca.is_some()), ("crl", listener.tls.crl.is_some())];
    for (key, _) in stray.into_iter().filter(|(_, is_set)| *is_set) {
        let text = format!("`{key}` is not used with `client_certificate = \"any\"`");
        complaints.push(listener.place_of(key).complain(text));
    }
    complaints
}

fn check_control(control: &ControlPlane) -> Vec<Complaint> {
    let mut texts = Vec::new();
    for (key, name) in [("admin", &control.admin), ("tenant_admin", &control.tenant_admin)] {
        if name.trim().is_empty() {
            texts.push(format!("control.{key} must not be empty"));
        }
    }
    if control.admin.eq_ignore_ascii_case(&control.tenant_admin) {
        texts.push("control.admin and control.tenant_admin must not be the same".to_owned());
    }
    if control.rpc_webhook.as_deref().is_some_and(|url| !is_web_address(url)) {
        texts.push("control.rpc_webhook must begin with http:// or https://".to_owned());
    }
    if control.rpc_webhook.is_some() && control.listen.is_none() {
        texts.push("control.rpc_webhook needs control.listen, whose thread posts to it".to_owned());
    }
    let is_origin = |origin: &&String| {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        *origin == "*" || is_web_address(origin) && !host.is_empty() && !host.contains(['/', '?', '#', ' '])
    };
    if let Some(wrong) = control.allowed_origins.0.iter().find(|origin| !is_origin(origin)) {
        texts.push(format!(
            "control.allowed_origins has \"{wrong}\": an origin is http:// or https:// and a host, without anything behind it"
        ));
    }
    texts.into_iter().map(|text| Place::Default.complain(text)).collect()
}

fn check_limits(limits: &Limits) -> Option<Complaint> {
    if limits.out_bytes_high <= limits.out_bytes_max {
        return None;
    }
    let text = format!(
        "limits.out_bytes_high ({}) must not be above limits.out_bytes_max ({})",
        limits.out_bytes_high, limits.out_bytes_max
    );
    Some(Place::Default.complain(text))
}
