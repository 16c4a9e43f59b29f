//! The guard: who is let in, who is turned away, and the counts that say so.
//!
//! Why the order of the questions: those about the address come first, so that a crowd from one address uses up nothing of
//! what others may; the rate comes last, so that only those who are let in are counted against it.
//!
//! Invariants:
//! - Who is turned away leaves no trace but a count.
//! - Addresses with connections are as many as there are connections at most; those with failed logins have a limit of
//!   their own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shard::Turned;
use stdx::{Bucket, Instant, Rate, Span};

use super::address::{Address, SHELVES};
use super::failures::{Failures, Patience};
use super::rules::{Crowd, Rules};

/// Lets connections in, or does not. Shared by all cores.
#[derive(Debug)]
pub struct Guard {
    rules: Rules,
    patience: Option<Patience>,
    counts_addresses: bool,
    broker: Door,
    listeners: Box<[Door]>,
    shelves: [Mutex<Shelf>; SHELVES],
    turned: [AtomicU64; REASONS.len()],
    failed_logins: AtomicU64,
}

/// One listener, or all of them.
#[derive(Debug, Default)]
struct Door {
    open: AtomicU32,
    pace: Mutex<Bucket>,
}

/// Some of the addresses.
#[derive(Debug, Default)]
struct Shelf {
    open: BTreeMap<Address, Open>,
    failures: Failures,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Open {
    count: u32,
    /// Those of each listener that has any.
    by_listener: Vec<(u16, u32)>,
}

/// What the guard has counted, for whoever shows it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) turned: [u64; REASONS.len()],
    pub(super) failed_logins: u64,
    pub(super) open: Vec<u32>,
    pub(super) addresses_open: usize,
    pub(super) addresses_failed: usize,
}

impl Guard {
    /// A guard who has seen nobody yet.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            patience: Patience::of(rules.failed_logins_max),
            counts_addresses: rules.count_addresses(),
            broker: Door::default(),
            listeners: rules.listeners.iter().map(|_| Door::default()).collect(),
            shelves: Default::default(),
            turned: Default::default(),
            failed_logins: AtomicU64::new(0),
            rules,
        }
    }

    /// A connection was accepted on a listener, counted from 0. If it is let in, [`Guard::leave`] must be called when it is
    /// gone.
    ///
    /// # Errors
    /// A limit is reached: close it without a word.
    pub fn arrive(&self, listener: u16, ip: IpAddr, now: Instant) -> Result<(), Turned> {
        let outcome = self.judge(listener, Address::of(ip), now);
        if let Err(turned) = outcome {
            self.turned[place_of(turned)].fetch_add(1, Relaxed);
        }
        outcome
    }

    /// A connection that was let in is gone.
    pub fn leave(&self, listener: u16, ip: IpAddr) {
        if let Some((door, _)) = self.door(listener) {
            door.leave();
        }
        self.broker.leave();
        if self.counts_addresses {
            let address = Address::of(ip);
            self.shelf(address).leave(listener, address);
        }
    }

    /// A login from this address has failed.
    pub fn failed(&self, ip: IpAddr, now: Instant) {
        self.failed_logins.fetch_add(1, Relaxed);
        if let Some(patience) = self.patience {
            let address = Address::of(ip);
            self.shelf(address).failures.note(patience, address, now);
        }
    }

    /// Whether an address has failed too often lately, for those who come in another way.
    #[must_use]
    pub fn shuts_out(&self, ip: IpAddr, now: Instant) -> bool {
        let address = Address::of(ip);
        self.patience.is_some_and(|patience| self.shelf(address).failures.shut_out(patience, address, now))
    }

    /// A login from this address has succeeded: some of its failures are forgiven.
    pub fn succeeded(&self, ip: IpAddr) {
        if let Some(patience) = self.patience {
            let address = Address::of(ip);
            self.shelf(address).failures.forgive(patience, address);
        }
    }

    fn judge(&self, listener: u16, address: Address, now: Instant) -> Result<(), Turned> {
        let no_rules = (&Door::default(), Crowd::default());
        let (door, crowd) = self.door(listener).unwrap_or(no_rules);
        let mut shelf = self.shelf(address);
        let is_out = |patience| shelf.failures.shut_out(patience, address, now);
        if self.patience.filter(|_| !crowd.forgets_failures).is_some_and(is_out) {
            return Err(Turned::TooManyFailures);
        }
        if self.counts_addresses {
            let (here, everywhere) = shelf.open_of(listener, address);
            if !is_below(here, crowd.per_address_max)
                || !is_below(everywhere, self.rules.broker.per_address_max)
            {
                return Err(Turned::AddressFull);
            }
        }
        self.broker.enter(self.rules.broker, now)?;
        if let Err(turned) = door.enter(crowd, now) {
            self.broker.take_back(self.rules.broker);
            return Err(turned);
        }
        if self.counts_addresses {
            shelf.enter(listener, address);
        }
        Ok(())
    }

    fn door(&self, listener: u16) -> Option<(&Door, Crowd)> {
        let index = usize::from(listener);
        Some((self.listeners.get(index)?, *self.rules.listeners.get(index)?))
    }

    fn shelf(&self, address: Address) -> MutexGuard<'_, Shelf> {
        locked(&self.shelves[address.shelf()])
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally {
            turned: std::array::from_fn(|index| self.turned[index].load(Relaxed)),
            failed_logins: self.failed_logins.load(Relaxed),
            open: self.listeners.iter().map(|door| door.open.load(Relaxed)).collect(),
            ..Tally::default()
        };
        for shelf in &self.shelves {
            let shelf = locked(shelf);
            tally.addresses_open += shelf.open.len();
            tally.addresses_failed += shelf.failures.len();
        }
        tally
    }
}

/// Whether one more is allowed.
fn is_below(count: u32, count_max: u32) -> bool {
    count_max == 0 || count < count_max
}

/// Nothing in here can be left half done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    fn enter(&self, crowd: Crowd, now: Instant) -> Result<(), Turned> {
        let one_more = |open| is_below(open, crowd.connections_max).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, one_more).map_err(|_| Turned::ListenerFull)?;
        let is_slow = crowd.rate().is_none_or(|rate| locked(&self.pace).take(rate, now));
        if !is_slow {
            self.leave();
            return Err(Turned::TooFast);
        }
        Ok(())
    }

    /// Undoes [`Door::enter`].
    fn take_back(&self, crowd: Crowd) {
        self.leave();
        if let Some(rate) = crowd.rate() {
            locked(&self.pace).give_back(rate);
        }
    }

    fn leave(&self) {
        let before = self.open.fetch_sub(1, Relaxed);
        debug_assert!(before > 0);
    }
}

impl Crowd {
    fn rate(self) -> Option<Rate> {
        (self.per_s_max > 0).then(|| Rate::new(self.per_s_max.into(), Span::from_s(1)))
    }
}

impl Shelf {
    /// Connections of an address on a listener, and on all of them.
    fn open_of(&self, listener: u16, address: Address) -> (u32, u32) {
        let Some(open) = self.open.get(&address) else { return (0, 0) };
        let here = open.by_listener.iter().find(|(known, _)| *known == listener);
        (here.map_or(0, |(_, count)| *count), open.count)
    }

    fn enter(&mut self, listener: u16, address: Address) {
        let open = self.open.entry(address).or_default();
        open.count += 1;
        match open.by_listener.iter_mut().find(|(known, _)| *known == listener) {
            Some((_, count)) => *count += 1,
            None => open.by_listener.push((listener, 1)),
        }
    }

    fn leave(&mut self, listener: u16, address: Address) {
        let Some(open) = self.open.get_mut(&address) else { return };
        open.count -= 1;
        if let Some((_, count)) = open.by_listener.iter_mut().find(|(known, _)| *known == listener) {
            *count -= 1;
        }
        if open.count == 0 {
            self.open.remove(&address);
        }
    }
}

/// Every reason, in the order of the counts.
pub(super) const REASONS: [Turned; 4] =
    [Turned::ListenerFull, Turned::AddressFull, Turned::TooFast, Turned::TooManyFailures];

fn place_of(turned: Turned) -> usize {
    match turned {
        Turned::ListenerFull => 0,
        Turned::AddressFull => 1,
        Turned::TooFast => 2,
        Turned::TooManyFailures => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_ns(1_000_000_000_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guard(broker: Crowd, listeners: &[Crowd]) -> Guard {
        Guard::new(Rules { broker, listeners: listeners.to_vec(), failed_logins_max: 3 })
    }

    fn let_in(guard: &Guard, listener: u16, from: &str, tries: usize) -> usize {
        (0..tries).filter(|_| guard.arrive(listener, ip(from), START).is_ok()).count()
    }

    #[test]
    fn each_listener_and_the_broker_have_their_limit_and_who_leaves_makes_room() {
        let crowd = |connections_max| Crowd { connections_max, ..Crowd::default() };
        let guard = guard(crowd(10), &[crowd(6), crowd(0)]);
        assert_eq!(let_in(&guard, 0, "192.0.2.1", 100), 6);
        assert_eq!(guard.arrive(0, ip("192.0.2.1"), START), Err(Turned::ListenerFull));
        assert_eq!(let_in(&guard, 1, "192.0.2.1", 100), 4);
        guard.leave(0, ip("192.0.2.1"));
        assert_eq!(let_in(&guard, 0, "192.0.2.1", 100), 1);
        assert_eq!((guard.tally().open, guard.tally().turned[0]), (vec![6, 4], 94 + 1 + 96 + 99));
    }

    #[test]
    fn an_address_has_its_limit_on_a_listener_and_on_all_and_takes_nothing_from_others() {
        let here = Crowd { per_address_max: 2, per_s_max: 100, ..Crowd::default() };
        let everywhere = Crowd { per_address_max: 3, ..Crowd::default() };
        let guard = guard(everywhere, &[here, Crowd::default()]);
        assert_eq!(let_in(&guard, 0, "2001:db8::1", 1_000), 2);
        assert_eq!(let_in(&guard, 0, "2001:db8::2", 1_000), 0, "the same network");
        assert_eq!(let_in(&guard, 1, "2001:db8::3", 1_000), 1);
        assert_eq!(guard.arrive(1, ip("2001:db8::3"), START), Err(Turned::AddressFull));
        assert_eq!((1..=49).map(|n| let_in(&guard, 0, &format!("192.0.2.{n}"), 9)).sum::<usize>(), 98);
        assert_eq!(guard.arrive(0, ip("192.0.2.200"), START), Err(Turned::TooFast));
        assert_eq!(guard.tally().addresses_open, 50);
        guard.leave(0, ip("2001:db8::9"));
        guard.leave(0, ip("2001:db8::9"));
        guard.leave(1, ip("2001:db8::9"));
        assert_eq!(guard.tally().addresses_open, 49);
    }

    #[test]
    fn connections_come_no_faster_than_they_may() {
        let crowd = |per_s_max| Crowd { per_s_max, ..Crowd::default() };
        let guard = guard(crowd(15), &[crowd(10), crowd(10)]);
        assert_eq!(let_in(&guard, 0, "192.0.2.1", 100), 10);
        assert_eq!(guard.arrive(0, ip("192.0.2.1"), START), Err(Turned::TooFast));
        assert_eq!(let_in(&guard, 1, "192.0.2.1", 100), 5, "what one listener refuses the other may have");
        let later = START + Span::from_ms(200);
        let again =
            |listener| (0..100).filter(|_| guard.arrive(listener, ip("192.0.2.1"), later).is_ok()).count();
        assert_eq!((again(0), again(1)), (2, 1));
        assert_eq!(guard.tally().open, [12, 6]);
    }

    #[test]
    fn failed_logins_of_others_close_no_listener_that_forgets_them() {
        let devices = Crowd { forgets_failures: true, ..Crowd::default() };
        let guard = guard(Crowd::default(), &[Crowd::default(), devices]);
        (0..100).for_each(|_| guard.failed(ip("192.0.2.1"), START));
        assert_eq!(guard.arrive(0, ip("192.0.2.1"), START), Err(Turned::TooManyFailures));
        assert_eq!(guard.arrive(1, ip("192.0.2.1"), START), Ok(()));
    }

    #[test]
    fn who_fails_too_often_is_turned_away_and_nobody_else() {
        let guard = guard(Crowd::default(), &[Crowd::default()]);
        (0..3).for_each(|_| guard.failed(ip("2001:db8::1"), START));
        assert_eq!(guard.arrive(0, ip("2001:db8::2"), START), Err(Turned::TooManyFailures));
        assert_eq!(guard.arrive(0, ip("2001:db8:1::"), START), Ok(()));
        guard.succeeded(ip("2001:db8::1"));
        assert_eq!(guard.arrive(0, ip("2001:db8::2"), START), Ok(()));
        assert_eq!((guard.tally().failed_logins, guard.tally().addresses_failed), (3, 1));
    }

    #[test]
    fn a_listener_that_nobody_knows_is_counted_in_the_broker() {
        let guard = guard(Crowd { connections_max: 1, ..Crowd::default() }, &[]);
        assert_eq!(guard.arrive(7, ip("192.0.2.1"), START), Ok(()));
        assert_eq!(guard.arrive(7, ip("192.0.2.1"), START), Err(Turned::ListenerFull));
        guard.leave(7, ip("192.0.2.1"));
        assert_eq!(guard.arrive(7, ip("192.0.2.1"), START), Ok(()));
    }
}
