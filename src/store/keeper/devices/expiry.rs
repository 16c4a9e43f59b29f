//! Points that are older than their profile allows vanish by and by.
//!
//! Why a round over all devices and no index by age: points come a million times more often than anybody asks how old they
//! are, and must not cost a second record. A round looks at a few devices at a time, in the order of their ids; how soon the
//! next slice follows is for whoever has a clock.
//!
//! Invariants:
//! - One slice looks at a bounded number of devices and series, and removes a bounded number of records.
//! - A round looks into every series of every device that is there from its beginning to its end.
//! - Devices whose profile keeps everything cost a glance at their record.

use std::ops::{ControlFlow, Range};

use device::DeviceId;

use crate::devices::{Series, count_points, device_of, kind, profile_of_device, range_of_device};
use crate::engine::{Batch, Engine};
use crate::fault::Fault;
use crate::record::range_of;

use super::shelf::Shelf;

/// Where the round is.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Expiry {
    /// The time for which a slice is due, in Unix milliseconds.
    due_ms: Option<i64>,
    /// The key of the device that is next; empty at the beginning of a round.
    next: Vec<u8>,
    /// Where to go on in its points, if a slice ended within them.
    within: Vec<u8>,
}

/// How far a slice came.
#[derive(Debug, Default)]
pub(super) struct Progress {
    next: Vec<u8>,
    within: Vec<u8>,
    expired: usize,
    /// It ended because it may not remove more at once.
    has_more: bool,
}

/// A device whose points can be too old.
struct Candidate {
    key: Vec<u8>,
    device: DeviceId,
    retention_ms: u64,
}

/// What a slice may still do.
struct Budget {
    looks: usize,
    removals: usize,
    /// Points that were removed.
    expired: usize,
}

impl Expiry {
    pub fn is_due(&self) -> bool {
        self.due_ms.is_some()
    }

    /// Takes over what a slice has done; returns how many points were too old.
    pub(super) fn note(&mut self, progress: Progress) -> usize {
        self.next = progress.next;
        self.within = progress.within;
        if !progress.has_more {
            self.due_ms = None;
        }
        progress.expired
    }

    /// Whether a round is neither begun nor due.
    pub fn is_between_rounds(&self) -> bool {
        self.due_ms.is_none() && self.next.is_empty()
    }
}

impl Shelf {
    /// A slice is due, if anything can be too old at all.
    pub fn begin_expiry(&mut self, now_ms: i64) {
        if !self.retention.is_empty() {
            self.expiry.due_ms = Some(now_ms);
        }
    }

    /// Whether anything can be too old at all.
    pub fn can_expire(&self) -> bool {
        !self.retention.is_empty()
    }

    pub(super) fn expire<E: Engine>(&self, engine: &E, batch: &mut Batch) -> Result<Progress, Fault> {
        let Some(now_ms) = self.expiry.due_ms else { return Ok(Progress::default()) };
        let (devices, next) = self.glance(engine)?;
        let mut budget = Budget { looks: self.pace.looks_max, removals: self.pace.sweep_max, expired: 0 };
        for Candidate { key, device, retention_ms } in devices {
            let before_ms = now_ms.saturating_sub(i64::try_from(retention_ms).unwrap_or(i64::MAX));
            let points = range_of_device(kind::POINT, device);
            let is_resumed = key == self.expiry.next && points.contains(&self.expiry.within);
            let start = if is_resumed { self.expiry.within.clone() } else { points.start };
            if let Some(within) =
                self.expire_device(engine, start, &points.end, before_ms, &mut budget, batch)?
            {
                let has_more = budget.removals == 0;
                return Ok(Progress { next: key, within, expired: budget.expired, has_more });
            }
        }
        Ok(Progress { next, within: Vec::new(), expired: budget.expired, has_more: false })
    }

    /// The devices that are next and have points that can be too old, and the key behind them.
    fn glance<E: Engine>(&self, engine: &E) -> Result<(Vec<Candidate>, Vec<u8>), Fault> {
        let (mut devices, mut glances, mut next) = (Vec::new(), 0, Vec::new());
        let range = range_of(kind::DEVICE);
        let start = range.start.max(self.expiry.next.clone());
        engine.scan(&start..&range.end, &mut |key, value| {
            if glances == self.pace.glances_max || devices.len() == self.pace.looks_max {
                next = key.to_vec();
                return Ok(ControlFlow::Break(()));
            }
            glances += 1;
            if let (Some(device), Some(retention_ms)) =
                (device_of(key), self.retention.get(&profile_of_device(value)?))
            {
                devices.push(Candidate { key: key.to_vec(), device, retention_ms: *retention_ms });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((devices, next))
    }

    /// Removes points of one device; returns where it had to stop.
    fn expire_device<E: Engine>(
        &self,
        engine: &E,
        mut start: Vec<u8>,
        end: &[u8],
        before_ms: i64,
        budget: &mut Budget,
        batch: &mut Batch,
    ) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            if budget.looks == 0 || budget.removals == 0 {
                return Ok(Some(start));
            }
            let Some(first) = first_key(engine, &start, end)? else { return Ok(None) };
            budget.looks -= 1;
            let (series, _time) = Series::split(&first)?;
            let too_old = series.range((i64::MIN, before_ms));
            if first >= too_old.end {
                start = series.end();
                continue;
            }
            let last = self.remove_points(engine, first..too_old.end, budget, batch)?;
            if budget.removals == 0
                && let Some(last) = last
            {
                return Ok(Some(last));
            }
            start = series.end();
        }
    }

    /// Removes points of a range, as many as may be removed; returns the last one.
    fn remove_points<E: Engine>(
        &self,
        engine: &E,
        range: Range<Vec<u8>>,
        budget: &mut Budget,
        batch: &mut Batch,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let mut last = None;
        engine.scan(&range.start..&range.end, &mut |key, value| {
            if budget.removals == 0 {
                return Ok(ControlFlow::Break(()));
            }
            if !self.slots.contains(key) {
                batch.remove(key);
                budget.removals -= 1;
                budget.expired += count_points(key, value)?;
                last = Some(key.to_vec());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(last)
    }
}

fn first_key<E: Engine>(engine: &E, start: &[u8], end: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut first = None;
    engine.scan(start..end, &mut |key, _value| {
        first = Some(key.to_vec());
        Ok(ControlFlow::Break(()))
    })?;
    Ok(first)
}
