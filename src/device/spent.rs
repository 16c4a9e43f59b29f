//! What the devices of one core have spent of their rates, over all their connections.
//!
//! Why not with the connection: a device that comes back would find full buckets, and one with two connections would have
//! twice as much. Why a device is forgotten when its buckets are full again: nobody can tell the difference.
//!
//! Invariants:
//! - A device that is connected is known, if anything of it is limited.
//! - At most [`REMEMBERED_MAX`] devices are remembered that are not connected. One more replaces the one whose buckets will
//!   be full soonest, which loses the least.
//!
//! Source: section 11.2 of the device API's vectors.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::allowance::DeviceAllowance;
use crate::dialect::Offer;
use crate::ids::DeviceId;

/// Devices that are remembered without a connection, per core.
const REMEMBERED_MAX: usize = 65_536;
/// How many of those whose time is over are forgotten at one time.
const FORGOTTEN_AT_ONCE: usize = 8;

/// What each device may still say.
#[derive(Debug, Default)]
pub struct DeviceAllowances {
    known: HashMap<DeviceId, Box<Account>, RandomState>,
    /// Those that are not connected, by when all that they have spent is there again, in Unix milliseconds.
    away: BTreeSet<(i64, DeviceId)>,
    dropped: u64,
}

#[derive(Debug)]
struct Account {
    allowance: DeviceAllowance,
    /// Whose rates it was made of.
    offer: Arc<Offer>,
    connections: u32,
    full_ms: i64,
}

impl DeviceAllowances {
    /// A device has another connection, at what is offered to it. Its buckets are full if it is not known, or was offered
    /// something else. Cost: one look into a map; nothing, if there are no limits.
    pub fn open(&mut self, device: DeviceId, offer: &Arc<Offer>) {
        if !offer.has_limits() {
            return;
        }
        let account = self.known.entry(device).or_insert_with(|| {
            let (allowance, offer) = (DeviceAllowance::new(offer), Arc::clone(offer));
            Box::new(Account { allowance, offer, connections: 0, full_ms: i64::MIN })
        });
        if account.connections == 0 {
            self.away.remove(&(account.full_ms, device));
        }
        let is_same = account.offer.own == offer.own && account.offer.children == offer.children;
        if !is_same {
            account.allowance = DeviceAllowance::new(offer);
            account.offer = Arc::clone(offer);
        }
        account.connections += 1;
    }

    /// What a connected device may still say; none if it has no limits.
    pub fn of(&mut self, device: DeviceId) -> Option<&mut DeviceAllowance> {
        Some(&mut self.known.get_mut(&device)?.allowance)
    }

    /// A device has one connection less.
    pub fn close(&mut self, device: DeviceId, now_ms: i64) {
        self.forget_some(now_ms);
        let Some(account) = self.known.get_mut(&device).filter(|account| account.connections > 0) else {
            return;
        };
        account.connections -= 1;
        if account.connections > 0 {
            return;
        }
        let after_ms = account.allowance.full_after_ms(now_ms);
        if after_ms == 0 {
            self.known.remove(&device);
            return;
        }
        account.full_ms = now_ms.saturating_add(after_ms);
        self.away.insert((account.full_ms, device));
        if self.away.len() > REMEMBERED_MAX
            && let Some((_, soonest)) = self.away.pop_first()
        {
            self.known.remove(&soonest);
            self.dropped += 1;
        }
    }

    /// How many were forgotten before their buckets were full, because too many are remembered.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many devices are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget_some(&mut self, now_ms: i64) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((_, device)) = self.away.first().copied().filter(|(full_ms, _)| *full_ms <= now_ms)
            else {
                return;
            };
            self.away.pop_first();
            self.known.remove(&device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowance::{Cost, Within};
    use crate::rate::Rate;

    const ONE: Cost = Cost { messages: 1, telemetry_messages: 0, telemetry_values: 0 };

    fn offer(messages: &str) -> Arc<Offer> {
        let mut offer = Offer::default();
        offer.own.messages = Rate::read(messages).unwrap();
        Arc::new(offer)
    }

    fn device(number: u32) -> DeviceId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        DeviceId::from_bytes(bytes)
    }

    fn says(all: &mut DeviceAllowances, device: DeviceId, now_ms: i64) -> bool {
        let within = &mut Within { tenant: None, device: all.of(device), meets: None };
        within.take(ONE, Cost::default(), now_ms).is_ok()
    }

    #[test]
    fn who_comes_back_finds_what_he_left_and_a_second_connection_gives_nothing() {
        let (mut all, offer, one) = (DeviceAllowances::default(), offer("2:60"), device(1));
        all.open(one, &offer);
        assert!(says(&mut all, one, 0));
        all.open(one, &offer);
        assert!(says(&mut all, one, 0) && !says(&mut all, one, 0), "two for both connections");
        all.close(one, 0);
        all.close(one, 0);
        all.open(one, &offer);
        assert!(!says(&mut all, one, 29_999) && says(&mut all, one, 30_000));
        all.close(one, 30_000);
        all.open(one, &offer_of_another_rate());
        assert!(says(&mut all, one, 30_000), "another rate begins anew");
    }

    fn offer_of_another_rate() -> Arc<Offer> {
        offer("1:60")
    }

    #[test]
    fn who_has_spent_nothing_or_has_it_all_back_is_forgotten() {
        let (mut all, offer) = (DeviceAllowances::default(), offer("2:60"));
        all.open(device(1), &offer);
        all.close(device(1), 0);
        assert!(all.is_empty(), "nothing was spent");
        all.open(device(1), &offer);
        assert!(says(&mut all, device(1), 0));
        all.close(device(1), 0);
        assert_eq!(all.len(), 1);
        all.open(device(2), &offer);
        all.close(device(2), 29_999);
        assert_eq!(all.len(), 1, "it is owed for another millisecond");
        all.open(device(2), &offer);
        all.close(device(2), 30_000);
        assert_eq!((all.len(), all.dropped()), (0, 0));
        all.open(device(3), &Arc::new(Offer::default()));
        assert!(all.is_empty() && all.of(device(3)).is_none(), "without limits nobody is known");
    }

    #[test]
    fn memory_is_bounded_and_whoever_is_forgotten_loses_the_least() {
        let (mut all, offer) = (DeviceAllowances::default(), offer("2:60"));
        for number in 0..=u32::try_from(REMEMBERED_MAX).unwrap() {
            all.open(device(number), &offer);
            assert!(says(&mut all, device(number), 0));
            all.close(device(number), i64::from(number == 7) - 1);
        }
        assert_eq!((all.len(), all.dropped()), (REMEMBERED_MAX, 1));
        assert!(all.of(device(7)).is_some(), "its time is the latest");
    }
}
