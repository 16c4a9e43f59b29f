//! What was accepted and is not committed: for each record its last state.
//!
//! Why a map and no log: a message that is queued and acknowledged while the disk is busy with the batch before it never
//! has to be written. Most messages to clients that are connected go that way.
//!
//! Why messages inflight stand apart: each message to a client that is connected comes and goes there, and nobody asks for
//! them in order before they are written.
//!
//! Invariants:
//! - A record that the disk cannot have is not removed from it, and one that it may have always is.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use ahash::RandomState;

use crate::anchor::Anchor;
use crate::engine::Batch;
use crate::record::{Key, Record};

use super::handovers::{Handovers, Settled};

/// About what an entry costs besides the message that it shares with its session.
const ENTRY_BYTES: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Pending {
    slots: BTreeMap<Key, Slot>,
    /// Those of [`Key::Inflight`], by session and packet id.
    inflight: HashMap<u64, HashMap<u16, Slot, RandomState>, RandomState>,
    inflight_len: usize,
    /// Whose records they are.
    pub handovers: Handovers,
    /// Bytes of messages in it.
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    /// Nothing: it is to be removed.
    record: Option<Record>,
    /// Whether the disk may have a record under this key.
    is_on_disk: bool,
    bytes: usize,
    /// The handover for which it counts.
    handover: u64,
}

/// Whether the disk may already have a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Before {
    /// Certainly not: it was made just now, and what stood there before was removed.
    Nothing,
    /// Perhaps.
    Anything,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.slots.len() + self.inflight_len
    }

    /// About what it holds in memory.
    pub fn bytes(&self) -> usize {
        self.bytes + self.len() * ENTRY_BYTES
    }

    /// What will be under a key: a record, nothing, or (none) what the disk has.
    pub fn find(&self, key: &Key) -> Option<Option<&Record>> {
        let slot = match key {
            Key::Inflight(number, packet_id) => self.inflight.get(number)?.get(packet_id),
            other => self.slots.get(other),
        };
        slot.map(|slot| slot.record.as_ref())
    }

    pub fn put(&mut self, key: Key, record: Record, before: Before) {
        let bytes = cost_bytes(&record);
        self.bytes += bytes;
        match self.slot(&key) {
            Some(slot) => {
                slot.record = Some(record);
                let replaced = std::mem::replace(&mut slot.bytes, bytes);
                self.bytes -= replaced;
            }
            None => self.add(key, Some(record), before == Before::Anything, bytes),
        }
    }

    pub fn remove(&mut self, key: Key) {
        match self.slot(&key) {
            Some(slot) if slot.is_on_disk => {
                slot.record = None;
                let removed = std::mem::take(&mut slot.bytes);
                self.bytes -= removed;
            }
            Some(_never_on_disk) => {
                let slot = self.take(&key);
                self.forget(slot);
            }
            None => self.add(key, None, true, 0),
        }
    }

    /// Removes a message inflight. Returns whether it is known that nothing of it stands under [`Key::Message`]. As
    /// [`Pending::find`] and [`Pending::remove`], in one step: every message to a client that is connected ends here.
    pub fn settle(&mut self, number: u64, packet_id: u16) -> bool {
        let slots = self.inflight.entry(number).or_default();
        let Entry::Occupied(mut entry) = slots.entry(packet_id) else {
            self.add(Key::Inflight(number, packet_id), None, true, 0);
            return false;
        };
        let slot = entry.get_mut();
        let has_no_body = is_without_body(slot.record.as_ref());
        self.bytes -= std::mem::take(&mut slot.bytes);
        if slot.is_on_disk {
            slot.record = None;
        } else {
            self.handovers.settle(entry.remove().handover);
            self.inflight_len -= 1;
        }
        has_no_body
    }

    fn slot(&mut self, key: &Key) -> Option<&mut Slot> {
        match key {
            Key::Inflight(number, packet_id) => self.inflight.get_mut(number)?.get_mut(packet_id),
            other => self.slots.get_mut(other),
        }
    }

    fn add(&mut self, key: Key, record: Option<Record>, is_on_disk: bool, bytes: usize) {
        let slot = Slot { record, is_on_disk, bytes, handover: self.handovers.current() };
        self.handovers.add();
        match key {
            Key::Inflight(number, packet_id) => {
                self.inflight.entry(number).or_default().insert(packet_id, slot);
                self.inflight_len += 1;
            }
            other => drop(self.slots.insert(other, slot)),
        }
    }

    fn take(&mut self, key: &Key) -> Option<Slot> {
        match key {
            Key::Inflight(number, packet_id) => {
                let slot = self.inflight.get_mut(number)?.remove(packet_id);
                self.inflight_len -= usize::from(slot.is_some());
                slot
            }
            other => self.slots.remove(other),
        }
    }

    fn forget(&mut self, slot: Option<Slot>) {
        if let Some(Slot { bytes, handover, .. }) = slot {
            self.bytes -= bytes;
            self.handovers.settle(handover);
        }
    }

    /// Forgets what was to happen to the keys of a range, which are not those of messages inflight.
    pub fn forget_range(&mut self, range: RangeInclusive<Key>) {
        assert!(!matches!(range.start(), Key::Inflight(..)));
        let keys: Vec<Key> = self.slots.range(range).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let slot = self.take(&key);
            self.forget(slot);
        }
    }

    /// Forgets what was to happen to the messages inflight of one session.
    pub fn forget_inflight(&mut self, number: u64) {
        let slots = self.inflight.remove(&number).unwrap_or_default();
        self.inflight_len -= slots.len();
        slots.into_values().for_each(|slot| self.forget(Some(slot)));
    }

    /// What will be under the keys of a range, where the disk does not say.
    pub fn range(&self, range: RangeInclusive<Key>) -> impl Iterator<Item = (&Key, Option<&Record>)> {
        self.slots.range(range).map(|(key, slot)| (key, slot.record.as_ref()))
    }

    /// Adds everything to a batch, in an order that does not depend on hashes.
    pub fn encode(&self, anchor: Anchor, batch: &mut Batch) {
        let mut bytes = Vec::new();
        let mut encode = |key: &Key, slot: &Slot| {
            key.encode(&mut bytes);
            match &slot.record {
                Some(record) => batch.put(&bytes, |value| record.encode(anchor, value)),
                None => batch.remove(&bytes),
            }
        };
        self.slots.iter().for_each(|(key, slot)| encode(key, slot));
        let by_session = self.inflight.iter();
        let mut inflight: Vec<((u64, u16), &Slot)> = by_session
            .flat_map(|(number, slots)| slots.iter().map(|(packet_id, slot)| ((*number, *packet_id), slot)))
            .collect();
        inflight.sort_unstable_by_key(|(place, _)| *place);
        inflight
            .iter()
            .for_each(|((number, packet_id), slot)| encode(&Key::Inflight(*number, *packet_id), slot));
    }

    /// A commit was tried: from now on the disk may have all of it, whether or not it said so.
    pub fn note_tried(&mut self) {
        let inflight = self.inflight.values_mut().flat_map(HashMap::values_mut);
        self.slots.values_mut().chain(inflight).for_each(|slot| slot.is_on_disk = true);
    }

    /// Everything is on disk: of whom that is news.
    pub fn clear(&mut self) -> Settled {
        self.slots.clear();
        self.inflight.clear();
        self.inflight_len = 0;
        self.bytes = 0;
        self.handovers.take_all()
    }
}

/// Whether a message inflight was never queued, or its body has been removed.
pub(super) fn is_without_body(record: Option<&Record>) -> bool {
    matches!(
        record,
        Some(Record::Inflight { copy: Some(_), .. } | Record::Inflight { is_released: true, .. })
    )
}

fn cost_bytes(record: &Record) -> usize {
    match record {
        Record::Message(copy) | Record::Inflight { copy: Some(copy), .. } => copy.message.cost_bytes(),
        Record::Retained { message, .. } => message.cost_bytes(),
        Record::Session(session) => session.will.as_ref().map_or(0, |will| will.message.cost_bytes()),
        Record::Inflight { copy: None, .. }
        | Record::Handled { .. }
        | Record::Received { .. }
        | Record::Subscription { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use broker::CoreId;
    use stdx::{Instant, WallMs};

    use super::super::handovers::Giver;
    use super::*;

    const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(0) };

    fn writes(pending: &Pending) -> (usize, bool) {
        let mut batch = Batch::default();
        pending.encode(ANCHOR, &mut batch);
        (batch.len(), batch.only_removes())
    }

    fn record() -> Record {
        Record::Handled { turn: 1 }
    }

    fn begun() -> Pending {
        let mut pending = Pending::default();
        pending.handovers.begin(Giver::Core(CoreId::new(0), 1), true);
        pending
    }

    #[test]
    fn what_comes_and_goes_between_two_commits_is_never_written() {
        let mut pending = begun();
        pending.put(Key::Message(1, 1), record(), Before::Nothing);
        pending.remove(Key::Message(1, 1));
        assert_eq!(writes(&pending), (0, true));
        assert_eq!(pending.handovers.take_settled().turns, [(CoreId::new(0), 1)]);
    }

    #[test]
    fn messages_inflight_of_an_ended_session_are_never_written() {
        let mut pending = begun();
        pending.put(Key::Inflight(1, 2), record(), Before::Nothing);
        pending.put(Key::Inflight(2, 1), record(), Before::Nothing);
        pending.put(Key::Inflight(1, 1), record(), Before::Nothing);
        pending.put(Key::Inflight(1, 1), record(), Before::Anything);
        assert_eq!(writes(&pending), (3, false));
        pending.forget_inflight(1);
        assert_eq!(writes(&pending), (1, false));
        pending.remove(Key::Inflight(2, 1));
        assert!(pending.is_empty());
        assert_eq!(pending.handovers.take_settled().turns, [(CoreId::new(0), 1)]);
    }

    #[test]
    fn what_the_disk_may_have_is_removed_from_it() {
        let mut pending = begun();
        pending.put(Key::Message(1, 1), record(), Before::Nothing);
        pending.note_tried();
        pending.remove(Key::Message(1, 1));
        assert_eq!(writes(&pending), (1, true));
        assert_eq!(pending.handovers.take_settled().turns, []);
        assert_eq!(pending.clear().turns, [(CoreId::new(0), 1)]);

        let mut pending = begun();
        pending.remove(Key::Inflight(1, 1));
        pending.put(Key::Inflight(1, 1), record(), Before::Nothing);
        assert_eq!(writes(&pending), (1, false));
        pending.remove(Key::Inflight(1, 1));
        assert_eq!(writes(&pending), (1, true));
    }
}
