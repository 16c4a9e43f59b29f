//! What was accepted and is not committed: for each record its last state.
//!
//! Why a map and no log: a message that is queued and acknowledged while the disk is busy with the batch before it never
//! has to be written. Most messages to clients that are connected go that way.
//!
//! Invariants:
//! - A record that the disk cannot have is not removed from it, and one that it may have always is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;

use broker::CoreId;

use crate::anchor::Anchor;
use crate::engine::Batch;
use crate::record::{Key, Record};

use super::handovers::Handovers;

/// About what an entry costs besides the message that it shares with its session.
const ENTRY_BYTES: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Pending {
    slots: BTreeMap<Key, Slot>,
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
        self.slots.is_empty()
    }

    /// About what it holds in memory.
    pub fn bytes(&self) -> usize {
        self.bytes + self.slots.len() * ENTRY_BYTES
    }

    /// What will be under a key: a record, nothing, or (none) what the disk has.
    pub fn find(&self, key: &Key) -> Option<Option<&Record>> {
        self.slots.get(key).map(|slot| slot.record.as_ref())
    }

    pub fn put(&mut self, key: Key, record: Record, before: Before) {
        let bytes = cost_bytes(&record);
        self.bytes += bytes;
        match self.slots.entry(key) {
            Entry::Vacant(entry) => {
                let (is_on_disk, handover) = (before == Before::Anything, self.handovers.current());
                entry.insert(Slot { record: Some(record), is_on_disk, bytes, handover });
                self.handovers.add();
            }
            Entry::Occupied(mut entry) => {
                let slot = entry.get_mut();
                self.bytes -= slot.bytes;
                slot.record = Some(record);
                slot.bytes = bytes;
            }
        }
    }

    pub fn remove(&mut self, key: Key) {
        match self.slots.entry(key) {
            Entry::Vacant(entry) => {
                let handover = self.handovers.current();
                entry.insert(Slot { record: None, is_on_disk: true, bytes: 0, handover });
                self.handovers.add();
            }
            Entry::Occupied(mut entry) => {
                let slot = entry.get_mut();
                self.bytes -= slot.bytes;
                if slot.is_on_disk {
                    slot.record = None;
                    slot.bytes = 0;
                } else {
                    self.handovers.settle(entry.remove().handover);
                }
            }
        }
    }

    /// Forgets what was to happen to the keys of a range.
    pub fn forget_range(&mut self, range: RangeInclusive<Key>) {
        let keys: Vec<Key> = self.slots.range(range).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(forgotten) = self.slots.remove(&key) {
                self.bytes -= forgotten.bytes;
                self.handovers.settle(forgotten.handover);
            }
        }
    }

    /// What will be under the keys of a range, where the disk does not say.
    pub fn range(&self, range: RangeInclusive<Key>) -> impl Iterator<Item = (&Key, Option<&Record>)> {
        self.slots.range(range).map(|(key, slot)| (key, slot.record.as_ref()))
    }

    /// Adds everything to a batch.
    pub fn encode(&self, anchor: Anchor, batch: &mut Batch) {
        let mut bytes = Vec::new();
        for (key, slot) in &self.slots {
            key.encode(&mut bytes);
            match &slot.record {
                Some(record) => batch.put(&bytes, |value| record.encode(anchor, value)),
                None => batch.remove(&bytes),
            }
        }
    }

    /// A commit was tried: from now on the disk may have all of it, whether or not it said so.
    pub fn note_tried(&mut self) {
        self.slots.values_mut().for_each(|slot| slot.is_on_disk = true);
    }

    /// Everything is on disk: the last turn of each core of which that is news.
    pub fn clear(&mut self) -> Vec<(CoreId, u64)> {
        self.slots.clear();
        self.bytes = 0;
        self.handovers.take_all()
    }
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
    use stdx::{Instant, WallMs};

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
        pending.handovers.begin(CoreId::new(0), 1, true);
        pending
    }

    #[test]
    fn what_comes_and_goes_between_two_commits_is_never_written() {
        let mut pending = begun();
        pending.put(Key::Message(1, 1), record(), Before::Nothing);
        pending.remove(Key::Message(1, 1));
        assert_eq!(writes(&pending), (0, true));
        assert_eq!(pending.handovers.take_settled(), [(CoreId::new(0), 1)]);
    }

    #[test]
    fn what_the_disk_may_have_is_removed_from_it() {
        let mut pending = begun();
        pending.put(Key::Message(1, 1), record(), Before::Nothing);
        pending.note_tried();
        pending.remove(Key::Message(1, 1));
        assert_eq!(writes(&pending), (1, true));
        assert_eq!(pending.handovers.take_settled(), []);
        assert_eq!(pending.clear(), [(CoreId::new(0), 1)]);

        let mut pending = begun();
        pending.remove(Key::Inflight(1, 1));
        pending.put(Key::Inflight(1, 1), record(), Before::Nothing);
        assert_eq!(writes(&pending), (1, false));
        pending.remove(Key::Inflight(1, 1));
        assert_eq!(writes(&pending), (1, true));
    }
}
