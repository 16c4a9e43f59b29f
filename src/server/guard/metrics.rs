//! What the guard has counted, in Prometheus' text format.
//!
//! Invariants:
//! - Every reason for turning somebody away is one line, also if it never came up.
//!
//! Source: Prometheus exposition format, version 0.0.4.

use std::fmt::Write;

use shard::Turned;

use super::turnstile::{Guard, REASONS};

impl Guard {
    /// All figures, one family after the other.
    #[must_use]
    pub fn metrics(&self) -> String {
        let tally = self.tally();
        let mut text = String::new();
        line(&mut text, format_args!("# TYPE ringmq_connections_turned_away_total counter"));
        for (turned, count) in REASONS.into_iter().zip(tally.turned) {
            let reason = label(turned);
            line(
                &mut text,
                format_args!("ringmq_connections_turned_away_total{{reason=\"{reason}\"}} {count}"),
            );
        }
        line(&mut text, format_args!("# TYPE ringmq_listener_connections gauge"));
        for (listener, count) in tally.open.into_iter().enumerate() {
            line(&mut text, format_args!("ringmq_listener_connections{{listener=\"{listener}\"}} {count}"));
        }
        line(&mut text, format_args!("# TYPE ringmq_failed_logins_total counter"));
        line(&mut text, format_args!("ringmq_failed_logins_total {}", tally.failed_logins));
        line(&mut text, format_args!("# TYPE ringmq_addresses gauge"));
        let (open, failed) = (tally.addresses_open, tally.addresses_failed);
        line(&mut text, format_args!("ringmq_addresses{{kept_for=\"connections\"}} {open}"));
        line(&mut text, format_args!("ringmq_addresses{{kept_for=\"failed_logins\"}} {failed}"));
        text
    }
}

fn label(turned: Turned) -> &'static str {
    match turned {
        Turned::ListenerFull => "listener_full",
        Turned::AddressFull => "address_full",
        Turned::TooFast => "too_fast",
        Turned::TooManyFailures => "failed_logins",
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _writing_to_a_string_cannot_fail = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use stdx::Instant;

    use super::*;
    use crate::guard::rules::{Crowd, Rules};

    #[test]
    fn who_was_turned_away_and_why_can_be_read() {
        let crowd = Crowd { connections_max: 1, ..Crowd::default() };
        let guard = Guard::new(Rules { listeners: vec![crowd], failed_logins_max: 5, ..Rules::default() });
        let ip = "192.0.2.1".parse().unwrap();
        assert!(guard.arrive(0, ip, Instant::START).is_ok());
        assert!(guard.arrive(0, ip, Instant::START).is_err());
        guard.failed(ip, Instant::START);
        let text = guard.metrics();
        for line in [
            "ringmq_connections_turned_away_total{reason=\"listener_full\"} 1",
            "ringmq_connections_turned_away_total{reason=\"failed_logins\"} 0",
            "ringmq_listener_connections{listener=\"0\"} 1",
            "ringmq_failed_logins_total 1",
            "ringmq_addresses{kept_for=\"failed_logins\"} 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
