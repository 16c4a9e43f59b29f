//! Devices and parts of history that are gone, as they are accepted.
//!
//! Why little is removed at once and much by and by: most deletions mean a few records, which the flush takes along; for
//! the others a record of its own says what is gone until a sweep has removed it.
//!
//! Invariants:
//! - No swath reaches a point that was accepted after it.

use std::ops::{ControlFlow, Range};

use device::DeviceId;

use crate::devices::{
    BELONGINGS, DeviceKey, RowKind, Series, Without, encode_swath, kind, range_of_device,
    range_of_latest_rows, range_of_rows, row_of, set_in, sets_of, time_of, without,
};
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

/// What is left of a record; nothing if it is to be removed.
type Rest = Option<Box<[u8]>>;

/// What a look at points on disk found, with what is left of each.
enum FoundPoints {
    All(Vec<(Vec<u8>, Rest)>),
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
        self.ended.forget(device);
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
        self.reached.forget(&self.key);
        self.value.clear();
        encode_swath(&mut self.value);
        self.slots.put(handovers, &self.key, &self.value);
        self.note_gone(device);
    }

    /// Something of a device is on disk that is not there, or is there no longer.
    pub(super) fn note_gone(&mut self, device: DeviceId) {
        self.late.insert(device);
        self.ended.forget(device);
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
        (device, name): (DeviceId, &str),
        (from_ms, to_ms): (i64, i64),
    ) -> Result<(), Fault> {
        if from_ms >= to_ms {
            return Ok(());
        }
        let series = Series::new(device, name);
        let range = series.range((from_ms, to_ms));
        for key in self.slots.keys(&range.start..&range.end) {
            self.slots.remove(handovers, &key);
        }
        let rows = range_of_rows(device);
        for key in self.slots.keys(&rows.start..&rows.end) {
            if row_of(&key)?.is_some_and(|(_, at_ms)| (from_ms..to_ms).contains(&at_ms)) {
                self.empty_slot(handovers, RowKind::Points, &key, name)?;
            }
        }
        let mut ranges = vec![range];
        for set in sets_on(engine, device, name)? {
            ranges.push(Series::of_rows(device, set).range((from_ms, to_ms)));
        }
        match self.look_at_points(engine, &ranges, name)? {
            FoundPoints::All(found) => {
                for (key, rest) in found {
                    self.slots.set(handovers, &key, rest);
                }
            }
            FoundPoints::TooMany => {
                // Not beyond what is there now, so that what a device goes on saying does not cut it in pieces.
                let mut last = None;
                for range in ranges {
                    last = last.max(last_time(engine, range)?);
                }
                let to_ms = last.map_or(to_ms, |last| last.saturating_add(1).min(to_ms));
                self.put_swath(handovers, &series, (from_ms, to_ms));
            }
        }
        Ok(())
    }

    /// The latest value of a key is gone.
    pub(super) fn accept_latest_gone<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        device: DeviceId,
        name: &str,
    ) -> Result<(), Fault> {
        self.remove(handovers, DeviceKey::Latest(device, name));
        let rows = range_of_latest_rows(device);
        for key in self.slots.keys(&rows.start..&rows.end) {
            self.empty_slot(handovers, RowKind::Latest, &key, name)?;
        }
        let mut found = Vec::new();
        engine.scan(&rows.start..&rows.end, &mut |key, value| {
            if !self.slots.contains(key) {
                found.extend(rest_of(RowKind::Latest, value, name)?.map(|rest| (key.to_vec(), rest)));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for (key, rest) in found {
            self.slots.set(handovers, &key, rest);
        }
        Ok(())
    }

    /// Takes the value of a name out of a row that is on its way to the disk.
    fn empty_slot(
        &mut self,
        handovers: &mut Handovers,
        kind: RowKind,
        key: &[u8],
        name: &str,
    ) -> Result<(), Fault> {
        let Some(Some(value)) = self.slots.find(key) else { return Ok(()) };
        if let Some(rest) = rest_of(kind, value, name)? {
            self.slots.set(handovers, key, rest);
        }
        Ok(())
    }

    /// Points on disk, and what is to become of each.
    fn look_at_points<E: Engine>(
        &self,
        engine: &E,
        ranges: &[Range<Vec<u8>>],
        name: &str,
    ) -> Result<FoundPoints, Fault> {
        let (mut found, mut looks, mut has_more) = (Vec::new(), 0, false);
        for range in ranges {
            engine.scan(&range.start..&range.end, &mut |key, value| {
                if looks == self.pace.at_once_max {
                    has_more = true;
                    return Ok(ControlFlow::Break(()));
                }
                looks += 1;
                if row_of(key)?.is_none() {
                    found.push((key.to_vec(), None));
                } else if !self.slots.contains(key)
                    && let Some(rest) = rest_of(RowKind::Points, value, name)?
                {
                    found.push((key.to_vec(), rest));
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(if has_more { FoundPoints::TooMany } else { FoundPoints::All(found) })
    }

    fn put_swath(&mut self, handovers: &mut Handovers, series: &Series, span: (i64, i64)) {
        let spans = self.swaths.entry(series.clone()).or_default();
        if spans.contains(&span) {
            return;
        }
        spans.push(span);
        series.encode_swath(span, &mut self.key);
        self.reached.forget(&self.key);
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

/// The sets of names with which a device said a name, as far as the disk knows.
pub(super) fn sets_on<E: Engine>(engine: &E, device: DeviceId, name: &str) -> Result<Vec<u64>, Fault> {
    sets_of(device, |range| {
        let mut found = None;
        engine.scan(&range.start..&range.end, &mut |key, value| {
            found = Some(set_in(key, value, name)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    })
}

/// What is left of a row without a value, if it has that: bytes, or nothing at all.
pub(super) fn rest_of(kind: RowKind, value: &[u8], name: &str) -> Result<Option<Rest>, Fault> {
    Ok(match without(kind, value, name)? {
        Without::Same => None,
        Without::Rest(rest) => Some(Some(rest.into())),
        Without::Nothing => Some(None),
    })
}

/// The time of the last point of a range on disk.
fn last_time<E: Engine>(engine: &E, range: Range<Vec<u8>>) -> Result<Option<i64>, Fault> {
    let mut last = None;
    engine.scan_back(&range.start..&range.end, &mut |key, _value| {
        last = Some(time_of(&key[key.len().saturating_sub(8)..])?);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(last)
}
