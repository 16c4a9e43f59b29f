//! What was accepted of devices and is not committed: for each record its last state, as bytes.
//!
//! Invariants:
//! - A record counts for the oldest handover that a commit of it would make durable.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, Range};

use crate::engine::Batch;
use crate::keeper::handovers::Handovers;

/// About what an entry costs besides its bytes.
const ENTRY_BYTES: usize = 96;

#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<Box<[u8]>, Slot>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    /// Nothing: it is to be removed.
    value: Option<Box<[u8]>>,
    handover: u64,
}

impl Slots {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// About what it holds in memory.
    pub fn bytes(&self) -> usize {
        self.bytes + self.slots.len() * ENTRY_BYTES
    }

    /// Whether it decides about a record, whatever the disk has.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.slots.contains_key(key)
    }

    /// What it decides about a record: its value, or that it is removed.
    pub fn find(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.slots.get(key).map(|slot| slot.value.as_deref())
    }

    pub fn put(&mut self, handovers: &mut Handovers, key: &[u8], value: &[u8]) {
        self.set(handovers, key, Some(value.into()));
    }

    pub fn remove(&mut self, handovers: &mut Handovers, key: &[u8]) {
        self.set(handovers, key, None);
    }

    /// Writes a record, or removes it.
    pub fn set(&mut self, handovers: &mut Handovers, key: &[u8], value: Option<Box<[u8]>>) {
        self.bytes += value.as_ref().map_or(0, |value| value.len());
        match self.slots.entry(key.into()) {
            Entry::Occupied(mut slot) => {
                let before = std::mem::replace(&mut slot.get_mut().value, value);
                self.bytes -= before.map_or(0, |before| before.len());
            }
            Entry::Vacant(place) => {
                self.bytes += key.len();
                place.insert(Slot { value, handover: handovers.current() });
                handovers.add();
            }
        }
    }

    /// Forgets what was to happen to the keys of a range; returns which they were.
    pub fn forget(&mut self, handovers: &mut Handovers, range: Range<&[u8]>) -> Vec<Box<[u8]>> {
        let keys = self.keys(range);
        for key in &keys {
            let Some(slot) = self.slots.remove(key) else { continue };
            self.bytes -= key.len() + slot.value.map_or(0, |value| value.len());
            handovers.settle(slot.handover);
        }
        keys
    }

    /// The keys of a range about which it decides.
    pub fn keys(&self, range: Range<&[u8]>) -> Vec<Box<[u8]>> {
        let range = (Bound::Included(range.start), Bound::Excluded(range.end));
        self.slots.range::<[u8], _>(range).map(|(key, _)| key.clone()).collect()
    }

    /// Adds everything to a batch, in order of keys.
    pub fn encode(&self, batch: &mut Batch) {
        for (key, slot) in &self.slots {
            match &slot.value {
                Some(value) => batch.put(key, |out| out.extend_from_slice(value)),
                None => batch.remove(key),
            }
        }
    }

    /// Everything is on disk.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
