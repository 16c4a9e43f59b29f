//! Failed logins by address, forgotten one after the other.
//!
//! Why a success forgives so little: whoever has one account could otherwise guess the passwords of all others between two
//! logins of its own. Why the table cannot be flushed: of those in it the one that is forgotten soonest has to go, so whoever
//! wants a shut-out address to be forgotten must get as many others shut out.
//!
//! Invariants:
//! - At most [`FAILED_ADDRESSES_MAX`] addresses are kept; one that is shut out is evicted by none that is not.
//! - A success forgives one failure, and of all failures of an address at most half of the limit.

use std::collections::BTreeMap;

use stdx::{Bucket, Instant, Rate, Span};

use super::address::{Address, SHELVES};

/// Addresses with failed logins that are kept, in all.
pub(super) const FAILED_ADDRESSES_MAX: usize = 65_536;
/// In this span all failures that an address may have are forgotten.
const FORGET_SPAN: Span = Span::from_s(300);

/// The failures on one shelf.
#[derive(Debug, Default)]
pub(super) struct Failures {
    by_address: BTreeMap<Address, Record>,
}

/// How many failures an address may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    rate: Rate,
    forgiven_max: u32,
}

#[derive(Clone, Copy, Default, Debug)]
struct Record {
    left: Bucket,
    forgiven: u32,
    /// Until then it is known how much was forgiven.
    kept_until: Instant,
}

impl Patience {
    /// None if there is no limit.
    pub(super) fn of(failed_logins_max: u32) -> Option<Self> {
        (failed_logins_max > 0).then(|| Self {
            rate: Rate::new(failed_logins_max.into(), FORGET_SPAN),
            forgiven_max: failed_logins_max / 2,
        })
    }
}

impl Failures {
    /// Addresses kept.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether an address has failed too often lately.
    pub(super) fn shut_out(&mut self, patience: Patience, address: Address, now: Instant) -> bool {
        let Some(record) = self.by_address.get(&address) else { return false };
        let is_out = record.left.ready_at(patience.rate) > now;
        if record.is_over(now) {
            self.by_address.remove(&address);
        }
        is_out
    }

    /// A login has failed.
    pub(super) fn note(&mut self, patience: Patience, address: Address, now: Instant) {
        let mut record = self.by_address.get(&address).copied().unwrap_or_default();
        record.left.spend(patience.rate, now, 1);
        record.kept_until = now + FORGET_SPAN;
        if self.by_address.contains_key(&address) || self.has_room_for(record, now) {
            self.by_address.insert(address, record);
        }
    }

    /// A login has succeeded.
    pub(super) fn forgive(&mut self, patience: Patience, address: Address) {
        let Some(record) = self.by_address.get_mut(&address) else { return };
        if record.forgiven < patience.forgiven_max {
            record.forgiven += 1;
            record.left.give_back(patience.rate);
        }
    }

    fn has_room_for(&mut self, newcomer: Record, now: Instant) -> bool {
        const LEN_MAX: usize = FAILED_ADDRESSES_MAX / SHELVES;
        if self.by_address.len() < LEN_MAX {
            return true;
        }
        self.by_address.retain(|_, record| !record.is_over(now));
        if self.by_address.len() < LEN_MAX {
            return true;
        }
        let soonest = self.by_address.iter().min_by_key(|(_, record)| record.left.full_at());
        let Some((address, record)) = soonest else { return true };
        let is_lighter = record.left.full_at() <= newcomer.left.full_at();
        let address = *address;
        if is_lighter {
            self.by_address.remove(&address);
        }
        is_lighter
    }
}

impl Record {
    fn is_over(&self, now: Instant) -> bool {
        self.left.is_full(now) && self.kept_until <= now
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const START: Instant = Instant::from_ns(1_000_000_000_000);

    fn address(number: u32) -> Address {
        Address::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    fn patience() -> Patience {
        Patience::of(10).unwrap()
    }

    /// Fails until it is shut out; how often that was.
    fn fail_out(failures: &mut Failures, address: Address, now: Instant) -> u32 {
        let mut count = 0;
        while !failures.shut_out(patience(), address, now) {
            failures.note(patience(), address, now);
            count += 1;
        }
        count
    }

    #[test]
    fn an_address_is_shut_out_after_its_failures_and_let_in_one_by_one_later() {
        let mut failures = Failures::default();
        assert_eq!(fail_out(&mut failures, address(1), START), 10);
        assert!(!failures.shut_out(patience(), address(2), START));
        let later = START + Span::from_s(30);
        assert!(failures.shut_out(patience(), address(1), later - Span::from_ns(1)));
        assert_eq!(fail_out(&mut failures, address(1), later), 1);
        let much_later = later + FORGET_SPAN;
        assert!(!failures.shut_out(patience(), address(1), much_later));
        assert_eq!(failures.len(), 0, "what is forgotten takes no room");
    }

    #[test]
    fn successes_forgive_and_do_not_open_the_door_to_guessing() {
        let mut failures = Failures::default();
        let mut guesses = 0;
        while !failures.shut_out(patience(), address(1), START) {
            failures.note(patience(), address(1), START);
            failures.forgive(patience(), address(1));
            guesses += 1;
        }
        assert_eq!(guesses, 15, "ten, and half as many forgiven");
    }

    #[test]
    fn a_flood_of_addresses_evicts_none_that_is_shut_out() {
        let mut failures = Failures::default();
        fail_out(&mut failures, address(1), START);
        for number in 2..3 * u32::try_from(FAILED_ADDRESSES_MAX / SHELVES).unwrap() {
            failures.note(patience(), address(number), START + Span::from_ns(number.into()));
        }
        assert_eq!(failures.len(), FAILED_ADDRESSES_MAX / SHELVES);
        assert!(failures.shut_out(patience(), address(1), START + Span::from_s(1)));
        // When the others are forgotten, there is room again.
        failures.note(patience(), address(0), START + FORGET_SPAN + Span::from_s(1));
        assert_eq!(failures.len(), 1);
    }
}
