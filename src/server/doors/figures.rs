//! What the doors have counted.
//!
//! Invariants:
//! - Counters only go up.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// One counter, shared by all cores and threads. Logins are rare beside messages, so sharing costs nothing.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// CONNECTs let in.
    pub(super) admitted: Count,
    /// CONNECTs refused for what they showed.
    pub(super) refused: Count,
    /// CONNECTs refused because too many others are being looked at.
    pub(super) busy: Count,
    /// Passwords hashed.
    pub(super) hashes: Count,
    /// Passwords known from a moment ago.
    pub(super) remembered: Count,
    /// Tokens looked at.
    pub(super) tokens: Count,
    /// Questions to services.
    pub(super) calls: Count,
    /// Questions to services that got no usable answer, all of which refused a client.
    pub(super) call_failures: Count,
    /// Answers of services known from a moment ago.
    pub(super) calls_saved: Count,
    /// Files that were to be read again and were not good.
    pub(super) reload_failures: Count,
}

impl Figures {
    /// Everything in Prometheus' text format.
    pub(super) fn metrics(&self) -> String {
        let rows = [
            ("admitted", &self.admitted),
            ("refused", &self.refused),
            ("busy", &self.busy),
            ("password_hashes", &self.hashes),
            ("passwords_remembered", &self.remembered),
            ("tokens_checked", &self.tokens),
            ("calls", &self.calls),
            ("call_failures", &self.call_failures),
            ("calls_saved", &self.calls_saved),
            ("reload_failures", &self.reload_failures),
        ];
        let mut text = String::new();
        for (name, count) in rows {
            let name = format!("ringmq_doors_{name}_total");
            let _writing_to_a_string_cannot_fail =
                writeln!(text, "# TYPE {name} counter\n{name} {}", count.value());
        }
        text
    }
}
