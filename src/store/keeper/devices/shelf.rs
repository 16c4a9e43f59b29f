//! The state behind it all.
//!
//! Invariants:
//! - `gone` and `swaths` are what the disk has of them, with what is pending applied.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use ahash::RandomState;
use device::{DeviceId, PackageId, ProfileId};

use crate::devices::{RowDraft, Series};
use crate::engine::Batch;

use super::ended::Ended;
use super::expiry::Expiry;
use super::slots::Slots;
use super::sweep::{Pace, Reached, Sweep, Swept};
use super::telemetry::{Habits, Numbers};

/// Devices that went last are remembered: something that a core had under way may still come.
const LATE_MAX: usize = 65_536;

/// What the keeper knows of devices.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Shelf {
    pub(super) slots: Slots,
    /// Devices that are gone and of which something is left on disk.
    pub(super) gone: BTreeSet<DeviceId>,
    /// Parts of series that are gone and of which something is left on disk.
    pub(super) swaths: BTreeMap<Series, Vec<(i64, i64)>>,
    pub(super) late: Late,
    /// Packages whose bytes are on disk, or will be with the next flush, by their checksum.
    pub(super) uploaded: HashMap<PackageId, Box<str>, RandomState>,
    /// How long history is kept, where it is not for ever, in milliseconds.
    pub(super) retention: HashMap<ProfileId, u64, RandomState>,
    pub(super) expiry: Expiry,
    pub(in crate::keeper) ended: Ended,
    pub(in crate::keeper) pace: Pace,
    /// How far the clearing is.
    pub(super) reached: Reached,
    pub(super) numbers: Numbers,
    pub(super) habits: Habits,
    pub(super) draft: RowDraft,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// How much a flush has removed because it was too old.
#[derive(Debug)]
pub(in crate::keeper) struct TooOld {
    pub points: usize,
    /// That had ended.
    pub commands: usize,
}

/// Devices that went last.
#[derive(Debug, Default)]
pub(super) struct Late {
    devices: HashSet<DeviceId, RandomState>,
    order: VecDeque<DeviceId>,
}

impl Late {
    pub fn contains(&self, device: DeviceId) -> bool {
        !self.devices.is_empty() && self.devices.contains(&device)
    }

    pub fn insert(&mut self, device: DeviceId) {
        if self.devices.insert(device) {
            self.order.push_back(device);
        }
        if self.order.len() > LATE_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.devices.remove(&oldest);
        }
    }

    pub fn remove(&mut self, device: DeviceId) {
        if self.devices.remove(&device) {
            self.order.retain(|other| *other != device);
        }
    }
}

impl Shelf {
    /// Whether a flush has nothing to do for devices.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty()
            && self.gone.is_empty()
            && self.swaths.is_empty()
            && self.ended.is_content()
            && !self.expiry.is_due()
    }

    /// Where the round over points that may be too old is.
    pub fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    /// Bytes accepted and not yet durable, roughly.
    pub fn bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// Adds what was accepted to a batch.
    pub fn encode(&self, batch: &mut Batch) {
        self.slots.encode(batch);
    }

    /// What was accepted and what was swept is on disk. Returns how much had grown too old.
    pub fn clear(&mut self, swept: Swept) -> TooOld {
        self.slots.clear();
        let Swept { sweep, reached, looks } = swept;
        self.reached = reached;
        let commands = looks.iter().map(|look| self.ended.note(look)).sum();
        TooOld { points: self.note_sweep(sweep), commands }
    }

    fn note_sweep(&mut self, sweep: Sweep) -> usize {
        match sweep {
            Sweep::Nothing => {}
            Sweep::Gone { is_done } => {
                if is_done {
                    self.gone.pop_first();
                }
            }
            Sweep::Swath { is_done } => {
                if is_done && let Some(mut first) = self.swaths.first_entry() {
                    first.get_mut().remove(0);
                    if first.get().is_empty() {
                        first.remove();
                    }
                }
            }
            Sweep::Expiry(progress) => return self.expiry.note(progress),
        }
        0
    }
}
