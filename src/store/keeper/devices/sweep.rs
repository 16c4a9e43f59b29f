//! Removes, along with a flush, some of what is gone.
//!
//! Why one kind of work per flush, beside commands that have ended: each looks at the disk as it was before the flush, so two of them might remove the same
//! record, and a record may stand in a batch only once.
//!
//! Invariants:
//! - Nothing is removed before what says that it is gone is durable; that goes with the last of what it means.
//! - Records that the flush writes or removes anyhow are left to it.

use std::ops::{ControlFlow, Range};

use device::DeviceId;

use crate::devices::{BELONGINGS, DeviceKey, RowKind, Series, kind, range_of_device, range_of_rows};
use crate::engine::{Batch, Engine};
use crate::fault::Fault;

use super::clearing::{rest_of, sets_on};
use super::ended::Look;
use super::expiry::Progress;
use super::shelf::Shelf;

/// How much is removed when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keeper) struct Pace {
    /// So many records are removed with the flush that says that they are gone.
    pub at_once_max: usize,
    /// Of more, so many are removed along with each flush that follows.
    pub sweep_max: usize,
    /// What was said together so often is written together.
    pub row_after: u8,
    /// Records of devices glanced at in one slice of a round of expiry.
    pub glances_max: usize,
    /// Series looked into in one slice.
    pub looks_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once_max: 256, sweep_max: 2_000, row_after: 8, glances_max: 512, looks_max: 128 }
    }
}

/// What a flush has swept, to be noted when it has succeeded.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Swept {
    pub(super) sweep: Sweep,
    pub(super) reached: Reached,
    pub(super) looks: Vec<Look>,
}

/// How far a sweep is that takes several flushes.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached {
    /// The key of what says that something is gone.
    of: Vec<u8>,
    /// What lies before it is done.
    key: Vec<u8>,
}

impl Reached {
    /// How far the sweep is that belongs to a key; nothing if it has not begun.
    fn within(&self, of: &[u8]) -> &[u8] {
        if self.of == of { &self.key } else { &[] }
    }

    /// What a key says begins anew.
    pub fn forget(&mut self, of: &[u8]) {
        if self.of == of {
            *self = Self::default();
        }
    }
}

impl Swept {
    fn with(sweep: Sweep, reached: Reached) -> Self {
        Self { sweep, reached, looks: Vec::new() }
    }
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
        // Commands are no points: what follows removes other records than this.
        let looks = self.thin_out(engine, batch)?;
        if let Some((series, spans)) = self.swaths.first_key_value() {
            let swept = self.sweep_swath(engine, series, spans[0], batch)?;
            return Ok(Swept { looks, ..swept });
        }
        if self.expiry.is_due() {
            let progress = self.expire(engine, batch)?;
            return Ok(Swept { sweep: Sweep::Expiry(progress), looks, ..Swept::default() });
        }
        Ok(Swept { looks, ..Swept::default() })
    }

    fn sweep_gone<E: Engine>(&self, engine: &E, device: DeviceId, batch: &mut Batch) -> Result<Swept, Fault> {
        let mut own = Vec::new();
        DeviceKey::Gone(device).encode(&mut own);
        if self.slots.contains(&own) {
            return Ok(Swept::with(Sweep::Gone { is_done: false }, self.reached.clone()));
        }
        let (mut left, mut reached) = (self.pace.sweep_max, self.reached.within(&own).to_vec());
        for kind in BELONGINGS {
            let range = range_of_device(kind, device);
            // What was reached lies in one of the kinds; of those before it nothing is left.
            let start = if range.contains(&reached) { reached.clone() } else { range.start };
            let found = self.remove_some(engine, start..range.end, &mut left, batch)?;
            if let Some(last) = found {
                reached = last;
            }
            if left == 0 {
                return Ok(Swept::with(Sweep::Gone { is_done: false }, Reached { of: own, key: reached }));
            }
        }
        batch.remove(&own);
        Ok(Swept::with(Sweep::Gone { is_done: true }, Reached::default()))
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
        if self.slots.contains(&own) {
            return Ok(Swept::with(Sweep::Swath { is_done: false }, self.reached.clone()));
        }
        let (range, device) = (series.range(span), series.device());
        let reached = self.reached.within(&own).to_vec();
        let unfinished = |own, key| Swept::with(Sweep::Swath { is_done: false }, Reached { of: own, key });
        // Rows come behind all single points of their device.
        let is_in_rows = range_of_rows(device).contains(&reached);
        if !is_in_rows {
            let start = if range.contains(&reached) { reached.clone() } else { range.start };
            let found = self.remove_some(engine, start.clone()..range.end, &mut left, batch)?;
            if left == 0 {
                return Ok(unfinished(own, found.unwrap_or(start)));
            }
        }
        let sets = series.name().map_or(Ok(Vec::new()), |name| sets_on(engine, device, name))?;
        for set in sets {
            let rows = Series::of_rows(device, set).range(span);
            if is_in_rows && rows.end <= reached {
                continue;
            }
            let start = if rows.contains(&reached) { reached.clone() } else { rows.start };
            if let Some(next) = self.empty_some(engine, start..rows.end, series, &mut left, batch)? {
                return Ok(unfinished(own, next));
            }
        }
        batch.remove(&own);
        Ok(Swept::with(Sweep::Swath { is_done: true }, Reached::default()))
    }

    /// Takes the values of a name out of rows of a range, of as many as are left to be looked at; returns the last one, if
    /// there are more.
    fn empty_some<E: Engine>(
        &self,
        engine: &E,
        range: Range<Vec<u8>>,
        series: &Series,
        left: &mut usize,
        batch: &mut Batch,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let (mut next, name) = (None, series.name().unwrap_or_default());
        engine.scan(&range.start..&range.end, &mut |key, value| {
            if *left == 0 {
                next = Some(key.to_vec());
                return Ok(ControlFlow::Break(()));
            }
            *left -= 1;
            if !self.slots.contains(key) {
                match rest_of(RowKind::Points, value, name)? {
                    Some(Some(rest)) => batch.put(key, |out| out.extend_from_slice(&rest)),
                    Some(None) => batch.remove(key),
                    None => {}
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(next)
    }

    /// Removes records of a range, as many as are left to be removed; returns the last one.
    fn remove_some<E: Engine>(
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
