//! Devices and parts of history that are gone, as they are accepted.
//!
//! Why little is removed at once and much by and by: most deletions mean a few records, which the flush takes along; for
//! the others a record of its own says what is gone until a sweep has removed it.
//!
//! Invariants:
//! - No swath reaches a point that was accepted after it.

use std::ops::{ControlFlow, Range};

use device::DeviceId;

use crate::devices::{BELONGINGS, DeviceKey, Series, encode_swath, kind, range_of_device};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::keeper::handovers::Handovers;

use super::shelf::Shelf;
use super::sweep::index_of;

/// What a look at the disk found.
enum Found {
    All(Vec<Vec<u8>>),
    TooMany,
}

impl Shelf {
    /// A device is gone with all that belongs to it.
    pub(super) fn accept_gone<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        device: DeviceId,
    ) -> Result<(), Fault> {
        self.late.insert(device);
        for kind in BELONGINGS {
            let range = range_of_device(kind, device);
            for key in self.slots.forget(handovers, &range.start..&range.end) {
                self.remove_index(handovers, &key);
            }
        }
        let series: Vec<Series> =
            self.swaths.range(Series::range_of_device(device)).map(|(series, _)| series.clone()).collect();
        series.iter().for_each(|series| drop(self.swaths.remove(series)));
        self.remove(handovers, DeviceKey::Device(device));
        let mut keys = Vec::new();
        for kind in BELONGINGS {
            match look(engine, range_of_device(kind, device), self.pace.at_once_max - keys.len())? {
                Found::All(found) => keys.extend(found),
                Found::TooMany => {
                    self.put_mark(handovers, device);
                    return Ok(());
                }
            }
        }
        self.remove_keys(handovers, &keys);
        Ok(())
    }

    /// More is left of it than one flush shall remove.
    fn put_mark(&mut self, handovers: &mut Handovers, device: DeviceId) {
        DeviceKey::Gone(device).encode(&mut self.key);
        self.value.clear();
        encode_swath(&mut self.value);
        self.slots.put(handovers, &self.key, &self.value);
        self.note_gone(device);
    }

    /// Something of a device is on disk that is not there, or is there no longer.
    pub(super) fn note_gone(&mut self, device: DeviceId) {
        self.late.insert(device);
        self.gone.insert(device);
    }

    /// A device has the id of one that is gone: nothing of that one may be left.
    pub(super) fn revive<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        device: DeviceId,
    ) -> Result<(), Fault> {
        self.late.remove(device);
        if !self.gone.remove(&device) {
            return Ok(());
        }
        for kind in BELONGINGS {
            self.remove_all(engine, handovers, range_of_device(kind, device))?;
        }
        self.remove(handovers, DeviceKey::Gone(device));
        Ok(())
    }

    /// A part of a series is gone.
    pub(super) fn accept_swath<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        series: &Series,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<(), Fault> {
        if from_ms >= to_ms {
            return Ok(());
        }
        let range = series.range((from_ms, to_ms));
        for key in self.slots.keys(&range.start..&range.end) {
            self.slots.remove(handovers, &key);
        }
        match look(engine, range.clone(), self.pace.at_once_max)? {
            Found::All(keys) => self.remove_keys(handovers, &keys),
            Found::TooMany => {
                // Not beyond what is there now, so that what a device goes on saying does not cut it in pieces.
                let to_ms = last_time(engine, range)?.map_or(to_ms, |last| last.saturating_add(1).min(to_ms));
                self.put_swath(handovers, series, (from_ms, to_ms));
            }
        }
        Ok(())
    }

    fn put_swath(&mut self, handovers: &mut Handovers, series: &Series, span: (i64, i64)) {
        let spans = self.swaths.entry(series.clone()).or_default();
        if spans.contains(&span) {
            return;
        }
        spans.push(span);
        series.encode_swath(span, &mut self.key);
        self.value.clear();
        encode_swath(&mut self.value);
        self.slots.put(handovers, &self.key, &self.value);
    }

    /// A point is written now: swaths end before it and go on behind it.
    pub(super) fn spare_point(&mut self, handovers: &mut Handovers, series: &Series, at_ms: i64) {
        if self.swaths.is_empty() {
            return;
        }
        let Some(spans) = self.swaths.get_mut(series) else { return };
        let (hit, missed): (Vec<_>, Vec<_>) =
            spans.drain(..).partition(|(from_ms, to_ms)| (*from_ms..*to_ms).contains(&at_ms));
        *spans = missed;
        if spans.is_empty() {
            self.swaths.remove(series);
        }
        for (from_ms, to_ms) in hit {
            series.encode_swath((from_ms, to_ms), &mut self.key);
            self.slots.remove(handovers, &self.key);
            for (from_ms, to_ms) in [(from_ms, at_ms), (at_ms.saturating_add(1), to_ms)] {
                if from_ms < to_ms {
                    self.put_swath(handovers, series, (from_ms, to_ms));
                }
            }
        }
    }

    /// Removes everything in a range, on disk and on its way there, however much it is.
    pub(super) fn remove_all<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        range: Range<Vec<u8>>,
    ) -> Result<(), Fault> {
        for key in self.slots.keys(&range.start..&range.end) {
            self.slots.remove(handovers, &key);
        }
        if let Found::All(keys) = look(engine, range, usize::MAX)? {
            self.remove_keys(handovers, &keys);
        }
        Ok(())
    }

    fn remove_keys(&mut self, handovers: &mut Handovers, keys: &[Vec<u8>]) {
        for key in keys {
            self.slots.remove(handovers, key);
            self.remove_index(handovers, key);
        }
    }

    /// A command is removed, so its index is.
    fn remove_index(&mut self, handovers: &mut Handovers, key: &[u8]) {
        if key[0] == kind::COMMAND {
            index_of(key, &mut self.key);
            self.slots.remove(handovers, &self.key);
        }
    }
}

fn look<E: Engine>(engine: &E, range: Range<Vec<u8>>, most: usize) -> Result<Found, Fault> {
    let (mut keys, mut has_more) = (Vec::new(), false);
    engine.scan(&range.start..&range.end, &mut |key, _value| {
        if keys.len() == most {
            has_more = true;
            return Ok(ControlFlow::Break(()));
        }
        keys.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(if has_more { Found::TooMany } else { Found::All(keys) })
}

/// The time of the last point of a range on disk.
fn last_time<E: Engine>(engine: &E, range: Range<Vec<u8>>) -> Result<Option<i64>, Fault> {
    let mut last = None;
    engine.scan_back(&range.start..&range.end, &mut |key, value| {
        last = Some(crate::devices::read_point(key, value)?.0);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(last)
}
