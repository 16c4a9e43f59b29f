//! Failed logins by address and by the name that was tried there: whoever guesses is made to wait.
//!
//! Why not by name alone: that lets anybody lock anybody out. Why not by address alone: behind a proxy all users have one
//! address, and one who guesses would lock out the others; so an address as a whole may fail more often.
//!
//! Invariants:
//! - At most [`COUNTS_MAX`] counts are remembered; of more the one whose failures are oldest is forgotten.
//! - An IPv6 network of 64 bits counts as one address.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Failures in a row with one name after which an address must wait before it tries that name.
const FAILURES_MAX: u32 = 10;
/// Failures in a row with all names after which it must wait before it tries any.
const ALL_FAILURES_MAX: u32 = 100;
/// How long it must wait, in milliseconds.
const PAUSE_MS: i64 = 60_000;
/// Counts that are remembered.
const COUNTS_MAX: usize = 4_096;
/// Letters of a name that are told apart.
const NAME_LETTERS_MAX: usize = 128;

/// An address and a name, or the address with all names.
type Whose = (IpAddr, Option<Box<str>>);

/// Failed logins.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: BTreeMap<Whose, (u32, i64)>,
}

impl Attempts {
    /// Whether an address may try a name.
    pub fn may_try(&self, address: IpAddr, name: &str, now_ms: i64) -> bool {
        both(address, name).iter().all(|(whose, failures_max)| {
            self.failed.get(whose).is_none_or(|(failures, last_ms)| {
                failures < failures_max || now_ms.saturating_sub(*last_ms) >= PAUSE_MS
            })
        })
    }

    /// A login failed.
    pub fn note_failure(&mut self, address: IpAddr, name: &str, now_ms: i64) {
        for (whose, _) in both(address, name) {
            self.count(whose, now_ms);
        }
    }

    /// A login succeeded: that name is no guess. The others that were tried there still count.
    pub fn note_success(&mut self, address: IpAddr, name: &str) {
        let [(own, _), _] = both(address, name);
        self.failed.remove(&own);
    }

    fn count(&mut self, whose: Whose, now_ms: i64) {
        if self.failed.len() >= COUNTS_MAX && !self.failed.contains_key(&whose) {
            let oldest = self.failed.iter().min_by_key(|(_, (_, last_ms))| *last_ms);
            let oldest = oldest.map(|(known, _)| known.clone());
            oldest.map(|oldest| self.failed.remove(&oldest));
        }
        let (failures, last_ms) = self.failed.entry(whose).or_insert((0, now_ms));
        if now_ms.saturating_sub(*last_ms) >= PAUSE_MS {
            *failures = 0;
        }
        *failures = failures.saturating_add(1);
        *last_ms = now_ms;
    }
}

/// What a try counts for, and how many failures that allows.
fn both(address: IpAddr, name: &str) -> [(Whose, u32); 2] {
    let (address, name) = (network(address), name.trim().to_lowercase());
    let name: String = name.chars().take(NAME_LETTERS_MAX).collect();
    [((address, Some(name.into())), FAILURES_MAX), ((address, None), ALL_FAILURES_MAX)]
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
            assert!(attempts.may_try(one, "a", failure), "{failure}");
            attempts.note_failure(one, "a", failure);
        }
        assert!(!attempts.may_try(one, "a", 10) && !attempts.may_try(neighbour, " A ", 10));
        assert!(attempts.may_try(other, "a", 10));
        assert!(attempts.may_try(one, "a", 9 + PAUSE_MS));
        attempts.note_failure(one, "a", 9 + PAUSE_MS);
        assert!(attempts.may_try(one, "a", 10 + PAUSE_MS), "after a pause it counts anew");
    }

    #[test]
    fn whoever_guesses_one_name_leaves_the_others_alone_until_it_is_too_much() {
        let mut attempts = Attempts::default();
        let proxy = IpAddr::V4(1.into());
        for name in 0..10 {
            for failure in 0..10 {
                assert!(attempts.may_try(proxy, "right", failure), "{name}");
                attempts.note_failure(proxy, &format!("guessed {name}"), failure);
            }
            assert!(!attempts.may_try(proxy, &format!("guessed {name}"), 10));
            attempts.note_success(proxy, "right");
        }
        assert!(!attempts.may_try(proxy, "right", 10), "a hundred failures");
        assert!(attempts.may_try(proxy, "right", 9 + PAUSE_MS));
    }

    #[test]
    fn a_success_forgets_and_memory_is_bounded() {
        let mut attempts = Attempts::default();
        let address = |number: u32| IpAddr::V4(number.into());
        for _ in 0..10 {
            attempts.note_failure(address(1), "a", 5);
        }
        assert!(!attempts.may_try(address(1), "a", 6));
        attempts.note_success(address(1), "a");
        assert!(attempts.may_try(address(1), "a", 6));
        for number in 0..=4_096 {
            attempts.note_failure(address(number), &"n".repeat(1_000), i64::from(number));
        }
        assert_eq!(attempts.failed.len(), COUNTS_MAX);
        let is_old = |(of, _): &Whose| *of == address(0);
        assert!(!attempts.failed.keys().any(is_old), "the oldest is forgotten");
        let longest = attempts.failed.keys().filter_map(|(_, name)| Some(name.as_ref()?.len())).max();
        assert_eq!(longest, Some(NAME_LETTERS_MAX));
    }
}
