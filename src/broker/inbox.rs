//! What other cores say.
//!
//! Invariants:
//! - A message from another core is matched here and goes no further; only a message for a group whose member has just
//!   left may be handed on, a bounded number of times.

use stdx::Instant;

use crate::change::Change;
use crate::core_id::{CoreId, CoreSet};
use crate::exchange::Exchange;
use crate::parcel::{Batch, Parcel, PublishParcel};

/// What has become of the batch in hand.
#[derive(Debug, Default)]
struct Hand {
    /// What had been written down before it.
    before: usize,
    /// Whether a QoS 2 message was among its parcels.
    is_once: bool,
    /// Where messages for groups went on to.
    handed_on: CoreSet,
}

impl Exchange {
    /// What this turn has written down so far, to be compared with later.
    #[must_use]
    pub fn written(&self) -> usize {
        self.journal.written()
    }

    /// Handles a batch of another core, in order. What was beside its messages has been taken out and handled; `before` is what
    /// [`Exchange::written`] said before that.
    pub fn handle_batch(&mut self, now: Instant, from: CoreId, batch: Batch, before: usize) {
        let Batch { mut parcels, bytes, beside } = batch;
        debug_assert!(beside.is_empty(), "taken out by whoever it is for");
        let mut arena = bytes.as_slice();
        let mut only = None;
        if self.journal.is_on {
            self.journal.gate.take_shipped();
        }
        let mut hand = Hand { before, ..Hand::default() };
        for parcel in parcels.drain(..) {
            match parcel {
                Parcel::Publish(publish) => {
                    if self.journal.is_on {
                        self.journal.only = only.take();
                        hand.is_once |= publish.is_once();
                    }
                    self.message_from_core(now, &publish, &mut arena);
                    if self.journal.is_on {
                        self.journal.only = None;
                        hand.handed_on.merge(self.journal.gate.take_shipped().all());
                    }
                }
                Parcel::Ask(turn) => self.asked_by(from, turn, &hand),
                Parcel::Kept(turn) => self.journal.gate.kept_by(from, turn),
                Parcel::Restored => self.restored_by.insert(from),
                Parcel::Only(rest) => only = Some(rest),
                Parcel::Interest { filter, wanted } => self.table.set_remote(&filter, from, wanted),
                Parcel::Members { name, filter, online, offline } => {
                    self.table.group_set_remote(&name, &filter, from, online, offline);
                }
                Parcel::Barrier(barrier) => self.outgoing.to(from).parcels.push(Parcel::BarrierAck(barrier)),
                Parcel::BarrierAck(barrier) => self.barrier_acked(now, from, barrier),
                Parcel::WritesAbove(counter) => self.writes_above(from, counter),
                Parcel::Counters(counters) => self.sys.counters_of(from, *counters),
            }
        }
        debug_assert!(arena.is_empty());
        self.outgoing.keep(Batch { parcels, bytes, beside });
    }

    /// Another core wants to know when everything so far in its batch is kept.
    fn asked_by(&mut self, from: CoreId, turn: u64, hand: &Hand) {
        let has_written = self.journal.written() > hand.before;
        if has_written && hand.is_once {
            let core = self.core;
            self.journal.record(|| Change::Handled { core, from, turn });
        }
        self.journal.gate.asked_by(from, turn, has_written, hand.handed_on);
    }

    fn message_from_core(&mut self, now: Instant, parcel: &PublishParcel, arena: &mut &[u8]) {
        let mut unpacked = parcel.unpack(arena);
        let is_alive = unpacked.message.grow_older(now);
        let message = &unpacked.message;
        if let Some((name, filter)) = unpacked.group {
            if let Some(group) = self.table.group_of(name, filter).filter(|_| is_alive) {
                let barred = match self.holders.is_on {
                    true => self.table.barred(message.topic, &self.holders),
                    false => Ok(None),
                };
                // The sender has checked the topic under the same limits.
                let Ok(barred) = barred else { return };
                self.give_to_group(now, group, message, barred.as_deref(), parcel.hops);
            }
            return;
        }
        if parcel.deliver && is_alive {
            // The sender has checked the topic under the same limits.
            if let Ok((route, was_cached)) =
                self.table.route_near(message.topic, usize::MAX, &mut self.route_near, &self.holders)
            {
                self.counters.route_hits += u64::from(was_cached);
                self.counters.route_misses += u64::from(!was_cached);
                self.fan_out(now, route, message);
            }
        }
        self.counters.dropped_expired += u64::from(!is_alive);
        // Even an expired message replaces the retained one before it.
        if let Some(version) = parcel.store {
            self.replicate(message, version);
        }
    }
}
