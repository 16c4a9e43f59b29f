//! Removes, along with a flush, some of what is gone.
//!
//! Why one kind of work per flush: each looks at the disk as it was before the flush, so two of them might remove the same
//! record, and a record may stand in a batch only once.
//!
//! Invariants:
//! - Nothing is removed before what says that it is gone is durable; that goes with the last of what it means.
//! - Records that the flush writes or removes anyhow are left to it.

use std::ops::{ControlFlow, Range};

use device::DeviceId;

use crate::devices::{BELONGINGS, DeviceKey, Series, kind, range_of_device};
use crate::engine::{Batch, Engine};
use crate::fault::Fault;

use super::expiry::Progress;
use super::shelf::Shelf;

/// How much is removed when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keeper) struct Pace {
    /// So many records are removed with the flush that says that they are gone.
    pub at_once_max: usize,
    /// Of more, so many are removed along with each flush that follows.
    pub sweep_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once_max: 256, sweep_max: 2_000 }
    }
}

/// What a flush has swept, to be noted when it has succeeded.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Swept {
    pub(super) sweep: Sweep,
    /// How far the first of its kind is.
    pub(super) reached: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) enum Sweep {
    #[default]
    Nothing,
    Gone {
        is_done: bool,
    },
    Swath {
        is_done: bool,
    },
    Expiry(Progress),
}

impl Shelf {
    /// Adds removals to a batch.
    pub fn sweep<E: Engine>(&self, engine: &E, batch: &mut Batch) -> Result<Swept, Fault> {
        if let Some(device) = self.gone.first() {
            return self.sweep_gone(engine, *device, batch);
        }
        if let Some((series, spans)) = self.swaths.first_key_value() {
            return self.sweep_swath(engine, series, spans[0], batch);
        }
        if self.expiry.is_due() {
            let progress = self.expire(engine, batch)?;
            return Ok(Swept { sweep: Sweep::Expiry(progress), reached: Vec::new() });
        }
        Ok(Swept::default())
    }

    fn sweep_gone<E: Engine>(&self, engine: &E, device: DeviceId, batch: &mut Batch) -> Result<Swept, Fault> {
        let mut own = Vec::new();
        DeviceKey::Gone(device).encode(&mut own);
        let (mut left, mut reached) = (self.pace.sweep_max, self.reached.clone());
        if self.slots.contains(&own) {
            return Ok(Swept { sweep: Sweep::Gone { is_done: false }, reached });
        }
        for kind in BELONGINGS {
            let range = range_of_device(kind, device);
            // What was reached lies in one of the kinds; of those before it nothing is left.
            let start = if range.contains(&reached) { reached.clone() } else { range.start };
            let found = self.remove_some(engine, start..range.end, &mut left, batch)?;
            if let Some(last) = found {
                reached = last;
            }
            if left == 0 {
                return Ok(Swept { sweep: Sweep::Gone { is_done: false }, reached });
            }
        }
        batch.remove(&own);
        Ok(Swept { sweep: Sweep::Gone { is_done: true }, reached: Vec::new() })
    }

    fn sweep_swath<E: Engine>(
        &self,
        engine: &E,
        series: &Series,
        span: (i64, i64),
        batch: &mut Batch,
    ) -> Result<Swept, Fault> {
        let (mut own, mut left) = (Vec::new(), self.pace.sweep_max);
        series.encode_swath(span, &mut own);
        let range = series.range(span);
        let reached = if range.contains(&self.reached) { self.reached.clone() } else { range.start };
        if self.slots.contains(&own) {
            return Ok(Swept { sweep: Sweep::Swath { is_done: false }, reached });
        }
        let found = self.remove_some(engine, reached.clone()..range.end, &mut left, batch)?;
        if left == 0 {
            let reached = found.unwrap_or(reached);
            return Ok(Swept { sweep: Sweep::Swath { is_done: false }, reached });
        }
        batch.remove(&own);
        Ok(Swept { sweep: Sweep::Swath { is_done: true }, reached: Vec::new() })
    }

    /// Removes records of a range, as many as are left to be removed; returns the last one.
    pub(super) fn remove_some<E: Engine>(
        &self,
        engine: &E,
        range: Range<Vec<u8>>,
        left: &mut usize,
        batch: &mut Batch,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let mut last = None;
        engine.scan(&range.start..&range.end, &mut |key, _value| {
            if *left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            if !self.slots.contains(key) {
                batch.remove(key);
                if key[0] == kind::COMMAND {
                    let mut index = Vec::new();
                    index_of(key, &mut index);
                    if !self.slots.contains(&index) {
                        batch.remove(&index);
                    }
                }
                *left -= 1;
                last = Some(key.to_vec());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(last)
    }
}

/// The key of the index of a command, by the key of the command.
pub(super) fn index_of(command: &[u8], index: &mut Vec<u8>) {
    index.clear();
    index.push(kind::INDEX);
    index.extend_from_slice(command.get(17..).unwrap_or_default());
}
