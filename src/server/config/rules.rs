//! What the values must satisfy together.
//!
//! Invariants:
//! - A configuration that passes can be started, as far as can be told without trying.

use broker::Limits;

use super::authentication::check_authentication;
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
    check_authentication(config, complaints);
    complaints.extend(check_limits(&config.limits));
}

fn check_listener(listener: &Listener, dialects: &[&'static str]) -> Option<Complaint> {
    if dialects.contains(&listener.dialect.as_str()) {
        return None;
    }
    let hint = guess(&listener.dialect, dialects.iter().copied());
    Some(listener.place.complain(format!("unknown dialect `{}`{hint}", listener.dialect)))
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
