//! Commands that have ended: of each device so many are kept, and the oldest go.
//!
//! Why counted and not looked up: a device's commands lie in the order of their ids, so nothing but a look at all of them says
//! how many have ended and which are the oldest. A count that is never too low says when such a look is worth it, and a look
//! makes room for some more.
//!
//! Invariants:
//! - A command goes only if as many younger ones of its device stay as a look leaves.
//! - One look reads and removes a bounded number of commands that have ended.
//! - What a flush writes or removes anyhow is left to it.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use ahash::RandomState;
use device::DeviceId;

use crate::devices::{DeviceRecord, ended_created_ms, judge_device, kind, range_of_device};
use crate::engine::{Batch, Engine};
use crate::fault::Fault;

use super::shelf::Shelf;
use super::sweep::index_of;

/// What is known of commands that have ended.
#[derive(Debug)]
pub(in crate::keeper) struct Ended {
    /// Of one device.
    pub kept_max: usize,
    /// How many of each device there are, or fewer.
    counts: HashMap<DeviceId, usize, RandomState>,
    /// Devices that may have too many.
    crowded: BTreeSet<DeviceId>,
}

/// What a look at a device's commands has found.
#[derive(Debug)]
pub(super) struct Look {
    device: DeviceId,
    /// So many that have ended are left, or fewer.
    left: usize,
    /// There are some that it has not seen.
    has_more: bool,
    removed: usize,
}

impl Default for Ended {
    fn default() -> Self {
        Self { kept_max: 1_000, counts: HashMap::default(), crowded: BTreeSet::new() }
    }
}

impl Ended {
    /// A command of a device has ended, or had.
    pub fn count(&mut self, device: DeviceId) {
        let count = self.counts.entry(device).or_default();
        *count += 1;
        if *count > self.kept_max {
            self.crowded.insert(device);
        }
    }

    /// Nothing of a device is looked for any more.
    pub fn forget(&mut self, device: DeviceId) {
        self.counts.remove(&device);
        self.crowded.remove(&device);
    }

    /// Whether no device has too many.
    pub fn is_content(&self) -> bool {
        self.crowded.is_empty()
    }

    /// Takes over what a look has found and removed; returns how many went.
    pub(super) fn note(&mut self, look: &Look) -> usize {
        match look.left {
            0 => drop(self.counts.remove(&look.device)),
            left => drop(self.counts.insert(look.device, left)),
        }
        if !look.has_more && look.left <= self.kept_max {
            self.crowded.remove(&look.device);
        }
        look.removed
    }

    /// How many a look leaves: fewer than may be kept, so that the next one is not due with the next command.
    const fn spared(&self) -> usize {
        self.kept_max - self.kept_max / 8
    }
}

impl Shelf {
    /// Removes commands that have ended of devices that have too many: of as many devices as one flush may look at.
    pub(super) fn thin_out<E: Engine>(&self, engine: &E, batch: &mut Batch) -> Result<Vec<Look>, Fault> {
        let (mut looks, mut reads, mut removals) = (Vec::new(), 0, self.pace.sweep_max);
        for device in &self.ended.crowded {
            if reads >= self.pace.sweep_max || removals == 0 {
                break;
            }
            let look = self.look_at_ended(engine, *device, removals, batch)?;
            reads += look.left + look.removed;
            removals -= look.removed;
            looks.push(look);
        }
        Ok(looks)
    }

    /// Removes the oldest commands of a device that have ended, if it has too many. Of the first ones that it reads the oldest
    /// are too old whatever comes behind: as many younger ones as are spared are among those that it has read.
    fn look_at_ended<E: Engine>(
        &self,
        engine: &E,
        device: DeviceId,
        removals: usize,
        batch: &mut Batch,
    ) -> Result<Look, Fault> {
        let range = range_of_device(kind::COMMAND, device);
        let spared = self.ended.spared();
        let (mut found, mut has_more) = (Vec::new(), false);
        engine.scan(&range.start..&range.end, &mut |key, value| {
            if found.len() > self.ended.kept_max && found.len() >= spared + removals {
                has_more = true;
                return Ok(ControlFlow::Break(()));
            }
            if !self.slots.contains(key)
                && let Some(created_ms) = ended_created_ms(value)?
            {
                found.push((created_ms, key.to_vec()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut removed = 0;
        if found.len() > self.ended.kept_max {
            removed = (found.len() - spared).min(removals);
            found.sort_unstable();
            for (_, key) in &found[..removed] {
                self.remove_command(engine, device, key, batch)?;
            }
        }
        let mut left = found.len() - removed;
        for key in self.slots.keys(&range.start..&range.end) {
            if let Some(Some(value)) = self.slots.find(&key)
                && ended_created_ms(value)?.is_some()
            {
                left += 1;
            }
        }
        Ok(Look { device, left, has_more, removed })
    }

    /// Removes a command, and the index that leads to it.
    fn remove_command<E: Engine>(
        &self,
        engine: &E,
        device: DeviceId,
        key: &[u8],
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        batch.remove(key);
        let mut index = Vec::new();
        index_of(key, &mut index);
        let Some(value) = engine.read(&index)?.filter(|_| !self.slots.contains(&index)) else {
            return Ok(());
        };
        if let DeviceRecord::Index(_, owner) = judge_device(&index, &value)?
            && owner == device
        {
            batch.remove(&index);
        }
        Ok(())
    }
}
