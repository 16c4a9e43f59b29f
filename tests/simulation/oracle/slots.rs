//! By which right each delivery came: a matching of deliveries with the rights that a session has on a topic.
//!
//! Why a matching: a message with RETAIN may be a live copy (Retain As Published) or the replay that a SUBSCRIBE asked
//! for, an empty one may be any of several clears, and one that a client gets twice may be its ordinary copy and its
//! share of a group. Which is which is nowhere written, so the judge may only complain if no way of reading it is right.
//!
//! Invariants:
//! - Every delivery holds one right, and no right is held more often than it may be.

use std::collections::{BTreeMap, BTreeSet};

/// A right to get a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Slot {
    /// The ordinary copy of a message.
    Plain(usize),
    /// A message as member of a group.
    Shared(usize, String, String),
    /// A retained message for the request with this index.
    Replayed(usize),
}

/// The deliveries of one topic to one session.
#[derive(Debug, Default)]
pub(super) struct Slots {
    deliveries: Vec<Taken>,
    holders: BTreeMap<Slot, Vec<usize>>,
}

#[derive(Debug)]
struct Taken {
    message: usize,
    choices: Vec<Slot>,
}

impl Slots {
    /// Gives a delivery one of the rights it may have, moving others to their other choices if need be. Returns false,
    /// and forgets the delivery, if there is no way.
    pub fn take(&mut self, message: usize, choices: Vec<Slot>, capacity: &impl Fn(&Slot) -> usize) -> bool {
        self.deliveries.push(Taken { message, choices });
        let newest = self.deliveries.len() - 1;
        if self.settle(newest, capacity, &mut BTreeSet::new()) {
            return true;
        }
        self.deliveries.pop();
        false
    }

    /// One step of the augmenting path; its depth is bounded by the number of slots.
    fn settle(
        &mut self,
        delivery: usize,
        capacity: &impl Fn(&Slot) -> usize,
        seen: &mut BTreeSet<Slot>,
    ) -> bool {
        for slot in self.deliveries[delivery].choices.clone() {
            if !seen.insert(slot.clone()) {
                continue;
            }
            let holders = self.holders.entry(slot.clone()).or_default().clone();
            if holders.len() < capacity(&slot) {
                self.holders.entry(slot).or_default().push(delivery);
                return true;
            }
            for (place, holder) in holders.into_iter().enumerate() {
                if self.settle(holder, capacity, seen) {
                    self.holders.entry(slot).or_default()[place] = delivery;
                    return true;
                }
            }
        }
        false
    }

    /// The first of `due` that no reading of the deliveries can have served, each by another delivery.
    pub fn unserved<'a>(&self, due: &'a [Slot]) -> Option<&'a Slot> {
        let mut servants: BTreeMap<usize, &'a Slot> = BTreeMap::new();
        due.iter().find(|slot| !self.serve(slot, &mut servants, &mut BTreeSet::new()))
    }

    fn serve<'a>(
        &self,
        slot: &'a Slot,
        servants: &mut BTreeMap<usize, &'a Slot>,
        seen: &mut BTreeSet<usize>,
    ) -> bool {
        for (delivery, taken) in self.deliveries.iter().enumerate() {
            if !taken.choices.contains(slot) || !seen.insert(delivery) {
                continue;
            }
            let other = servants.get(&delivery).copied();
            if other.is_none_or(|other| self.serve(other, servants, seen)) {
                servants.insert(delivery, slot);
                return true;
            }
        }
        false
    }

    /// The messages that surely or possibly answered the request with this index.
    pub fn replayed(&self, replay: usize) -> impl Iterator<Item = usize> {
        let holders = self.holders.get(&Slot::Replayed(replay)).into_iter().flatten();
        holders.map(|delivery| self.deliveries[*delivery].message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_guess_is_corrected_when_a_later_delivery_leaves_no_other_reading() {
        let mut slots = Slots::default();
        let once = |_: &Slot| 1;
        assert!(slots.take(7, vec![Slot::Plain(7), Slot::Replayed(0)], &once));
        assert!(slots.take(7, vec![Slot::Plain(7)], &once));
        assert!(!slots.take(7, vec![Slot::Plain(7), Slot::Replayed(0)], &once));
        assert_eq!(slots.replayed(0).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn one_delivery_cannot_serve_two_rights() {
        let mut slots = Slots::default();
        assert!(slots.take(7, vec![Slot::Plain(7), Slot::Replayed(0)], &|_| 1));
        assert_eq!(slots.unserved(&[Slot::Replayed(0)]), None);
        let due = [Slot::Plain(7), Slot::Replayed(0)];
        assert_eq!(slots.unserved(&due), Some(&due[1]));
    }
}
