//! Failed logins by address: whoever guesses is made to wait.
//!
//! Why by address and not by user: a limit by user lets anybody lock anybody out.
//!
//! Invariants:
//! - At most [`ADDRESSES_MAX`] addresses are remembered; of more the one whose failures are oldest is forgotten.
//! - An IPv6 network of 64 bits counts as one address.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Failures in a row after which an address must wait.
const FAILURES_MAX: u32 = 10;
/// How long it must wait, in milliseconds.
const PAUSE_MS: i64 = 60_000;
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4_096;

/// Failed logins.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: BTreeMap<IpAddr, (u32, i64)>,
}

impl Attempts {
    /// Whether an address may try.
    pub fn may_try(&self, address: IpAddr, now_ms: i64) -> bool {
        self.failed.get(&network(address)).is_none_or(|(failures, last_ms)| {
            *failures < FAILURES_MAX || now_ms.saturating_sub(*last_ms) >= PAUSE_MS
        })
    }

    /// A login failed.
    pub fn note_failure(&mut self, address: IpAddr, now_ms: i64) {
        let address = network(address);
        if self.failed.len() >= ADDRESSES_MAX && !self.failed.contains_key(&address) {
            let oldest = self.failed.iter().min_by_key(|(_, (_, last_ms))| *last_ms).map(|(known, _)| *known);
            oldest.map(|oldest| self.failed.remove(&oldest));
        }
        let (failures, last_ms) = self.failed.entry(address).or_insert((0, now_ms));
        if now_ms.saturating_sub(*last_ms) >= PAUSE_MS {
            *failures = 0;
        }
        *failures = failures.saturating_add(1);
        *last_ms = now_ms;
    }

    /// A login succeeded.
    pub fn note_success(&mut self, address: IpAddr) {
        self.failed.remove(&network(address));
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_guesses_waits_a_minute_and_so_does_the_network() {
        let mut attempts = Attempts::default();
        let [one, neighbour, other] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|text| text.parse::<IpAddr>().unwrap());
        for failure in 0..10 {
            assert!(attempts.may_try(one, failure), "{failure}");
            attempts.note_failure(one, failure);
        }
        assert!(!attempts.may_try(one, 10) && !attempts.may_try(neighbour, 10));
        assert!(attempts.may_try(other, 10));
        assert!(attempts.may_try(one, 9 + PAUSE_MS));
        attempts.note_failure(one, 9 + PAUSE_MS);
        assert!(attempts.may_try(one, 10 + PAUSE_MS), "after a pause it counts anew");
    }

    #[test]
    fn a_success_forgets_and_memory_is_bounded() {
        let mut attempts = Attempts::default();
        let address = |number: u32| IpAddr::V4(number.into());
        for _ in 0..10 {
            attempts.note_failure(address(1), 5);
        }
        assert!(!attempts.may_try(address(1), 6));
        attempts.note_success(address(1));
        assert!(attempts.may_try(address(1), 6));
        for number in 0..=4_096 {
            attempts.note_failure(address(number), i64::from(number));
        }
        assert_eq!(attempts.failed.len(), ADDRESSES_MAX);
        assert!(!attempts.failed.contains_key(&address(0)), "the oldest is forgotten");
    }
}
