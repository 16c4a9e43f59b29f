//! What the values must satisfy together.
//!
//! Invariants:
//! - A configuration that passes can be started, as far as can be told without trying.

use broker::Limits;

use super::complaint::{Complaint, Place, guess};
use super::sections::{Config, Listener};

/// Checks everything that is more than one value.
pub(super) fn check(config: &Config, dialects: &[&'static str], complaints: &mut Vec<Complaint>) {
    if config.listener.is_empty() {
        complaints.push(Place::Default.complain("there is no [[listener]], so nobody could connect"));
    }
    for (index, listener) in config.listener.iter().enumerate() {
        complaints.extend(check_listener(listener, dialects));
        let same = |other: &&Listener| other.bind == listener.bind && listener.bind.port() != 0;
        if config.listener[..index].iter().any(|other| same(&other)) {
            complaints
                .push(listener.place.complain(format!("two listeners have the address {}", listener.bind)));
        }
    }
    if u16::try_from(config.listener.len()).is_err() {
        complaints.push(Place::Default.complain("there are more than 65,535 listeners"));
    }
    complaints.extend(check_limits(&config.limits));
}

fn check_listener(listener: &Listener, dialects: &[&'static str]) -> Vec<Complaint> {
    let mut texts = Vec::new();
    if !dialects.contains(&listener.dialect.as_str()) {
        let hint = guess(&listener.dialect, dialects.iter().copied());
        texts.push(format!("unknown dialect `{}`{hint}", listener.dialect));
    }
    match listener.allow_anonymous {
        None if !listener.bind.ip().to_canonical().is_loopback() => texts.push(format!(
            "{} can be reached by others and there is no authentication yet; if anybody who reaches it may publish and \
             subscribe, set `allow_anonymous = true` for this listener (or RINGMQ_LISTENER_ALLOW_ANONYMOUS=true)",
            listener.bind
        )),
        Some(false) => {
            texts.push(format!("nobody could connect to {}: there is no authentication yet", listener.bind));
        }
        None | Some(true) => {}
    }
    texts.into_iter().map(|text| listener.place.complain(text)).collect()
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
