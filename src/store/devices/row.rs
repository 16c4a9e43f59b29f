//! Rows: what a device said at one time of several keys, in one record.
//!
//! Why: what a record costs, in the engine's journal, its memory and its tables, depends little on how long it is. A device
//! mostly says the same keys together, so a message is one record of history and one of latest values instead of two for
//! each key. Why a row names its keys although others of its set do, too: it can be read, copied, checked and written anew
//! without anything beside it, and tables are compressed.
//!
//! Why numbers of writes: a point may be written again alone, or with other keys, and then stands in two records; the one
//! with the higher number counts.
//!
//! Invariants:
//! - The names of a row are different, and together they are what its key says.
//! - A value that is gone leaves its name; a row without values is removed.

use std::ops::Range;

use device::{DeviceId, Sample, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{Garbled, Input, Output};
use crate::fault::Fault;

use super::field::{begin_numbered, begun_numbered, i64_of, push_i64, push_value, value_of};
use super::key::{DeviceKey, Series, range_of_rows, row_of};

/// Values in one row.
pub(crate) const ROW_LEN_MAX: usize = 64;
/// Bytes of a name in a row.
const ROW_NAME_BYTES_MAX: usize = 255;

/// What a row is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RowKind {
    /// Points of history, whose time is in the key.
    Points,
    /// Latest values.
    Latest,
}

/// A row, read.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub number: u64,
    pub at_ms: i64,
    /// Names and values; none for a value that is gone.
    pub items: Vec<(&'a str, Option<Value<'a>>)>,
}

impl<'a> Row<'a> {
    /// Reads a row; of points, `at_ms` is what the key says.
    pub fn decode(kind: RowKind, at_ms: i64, value: &'a [u8]) -> Result<Self, Garbled> {
        let mut reading = Reading::begin(kind, at_ms, value)?;
        let mut items = Vec::with_capacity(usize::from(reading.left));
        while let Some((name, item)) = reading.next()? {
            items.push((name, read_item(item)?));
        }
        let is_plain = reading.number > 0
            && items.iter().any(|(_, value)| value.is_some())
            && items.iter().enumerate().all(|(at, (name, _))| items[..at].iter().all(|(one, _)| one != name));
        if !is_plain || !reading.input.0.is_empty() {
            return Err(Garbled("a row is not as one is written"));
        }
        Ok(Self { number: reading.number, at_ms: reading.at_ms, items })
    }

    pub fn encode(&self, kind: RowKind, out: &mut Vec<u8>) {
        begin_row(kind, self.number, self.at_ms, self.items.len(), out);
        for (name, value) in &self.items {
            push_item(name, value.as_ref(), out);
        }
    }

    /// Where it stands.
    pub fn key(&self, kind: RowKind, device: DeviceId) -> DeviceKey<'static> {
        let mut names = Vec::new();
        self.items.iter().for_each(|(name, _)| push_row_name(name, &mut names));
        let set = xxh3_64(&names);
        match kind {
            RowKind::Points => DeviceKey::PointRow(device, set, self.at_ms),
            RowKind::Latest => DeviceKey::LatestRow(device, set),
        }
    }

    /// What it has, as single values.
    pub fn samples(self) -> impl Iterator<Item = Sample<'a>> {
        let at_ms = self.at_ms;
        let there = |(name, value): (&'a str, Option<Value<'a>>)| Some((name, value?));
        self.items.into_iter().filter_map(there).map(move |(name, value)| Sample {
            key: name.into(),
            value,
            at_ms,
        })
    }
}

/// Makes rows. Its memory is used again.
#[derive(Debug, Default)]
pub(crate) struct RowDraft {
    /// Which samples are in it, by the place in what was given.
    picked: Vec<usize>,
    names: Vec<u8>,
    items: Vec<u8>,
    set: u64,
}

impl RowDraft {
    /// Begins one of samples of one time; the last of a name counts. Returns whether they can be a row at all, and whether
    /// that would be less to write than they are.
    pub fn begin(&mut self, samples: &[Sample<'_>]) -> bool {
        self.picked.clear();
        self.names.clear();
        self.items.clear();
        if !(2..=ROW_LEN_MAX).contains(&samples.len()) {
            return false;
        }
        for (place, sample) in samples.iter().enumerate() {
            if sample.key.len() > ROW_NAME_BYTES_MAX {
                return false;
            }
            match self.picked.iter_mut().find(|picked| samples[**picked].key == sample.key) {
                Some(picked) => *picked = place,
                None => self.picked.push(place),
            }
        }
        self.picked.iter().for_each(|place| push_row_name(&samples[*place].key, &mut self.names));
        self.set = xxh3_64(&self.names);
        self.picked.len() > 1
    }

    /// The set of names of what was begun.
    pub fn set(&self) -> u64 {
        self.set
    }

    /// Appends the value of the row; `samples` are those with which it was begun.
    pub fn encode(&mut self, kind: RowKind, number: u64, samples: &[Sample<'_>], out: &mut Vec<u8>) {
        if self.items.is_empty() {
            for place in &self.picked {
                push_item(&samples[*place].key, Some(&samples[*place].value), &mut self.items);
            }
        }
        begin_row(kind, number, samples[0].at_ms, self.picked.len(), out);
        out.extend_from_slice(&self.items);
    }
}

/// Gathers the latest values of one device after the other.
#[derive(Debug, Default)]
pub(crate) struct LatestOf {
    device: Option<DeviceId>,
    samples: Vec<(u64, Sample<'static>)>,
}

impl LatestOf {
    /// Takes one over; gives back those of the device before, if this is the first one of another.
    pub fn add(
        &mut self,
        device: DeviceId,
        number: u64,
        sample: Sample<'_>,
    ) -> Option<(DeviceId, Vec<Sample<'static>>)> {
        let before = if self.device == Some(device) { None } else { self.take() };
        self.device = Some(device);
        // The same key may be there alone, and in rows of several sets.
        match self.samples.iter_mut().find(|(_, known)| known.key == sample.key) {
            Some((known, _)) if *known > number => {}
            Some(known) => *known = (number, sample.into_owned()),
            None => self.samples.push((number, sample.into_owned())),
        }
        before
    }

    /// Those of the last device.
    pub fn take(&mut self) -> Option<(DeviceId, Vec<Sample<'static>>)> {
        let samples = self.samples.drain(..).map(|(_, sample)| sample).collect();
        self.device.take().map(|device| (device, samples))
    }
}

/// A row without the value of one name.
pub(crate) enum Without {
    /// As it was: it has no such value.
    Same,
    /// So much is left.
    Rest(Vec<u8>),
    /// No value is left.
    Nothing,
}

/// Takes the value of a name out of a row.
pub(crate) fn without(kind: RowKind, value: &[u8], name: &str) -> Result<Without, Garbled> {
    let mut row = Row::decode(kind, 0, value)?;
    let Some(item) = row.items.iter_mut().find(|(one, value)| *one == name && value.is_some()) else {
        return Ok(Without::Same);
    };
    item.1 = None;
    if row.items.iter().all(|(_, value)| value.is_none()) {
        return Ok(Without::Nothing);
    }
    let mut out = Vec::with_capacity(value.len());
    row.encode(kind, &mut out);
    Ok(Without::Rest(out))
}

/// Number and value of one name in a row of points, if it is there.
pub(crate) fn read_in_row<'a>(value: &'a [u8], name: &str) -> Result<Option<(u64, Value<'a>)>, Garbled> {
    let mut reading = Reading::begin(RowKind::Points, 0, value)?;
    while let Some((one, item)) = reading.next()? {
        if one == name {
            return Ok(read_item(item)?.map(|value| (reading.number, value)));
        }
    }
    Ok(None)
}

/// How many points a record of them has.
pub(crate) fn count_points(key: &[u8], value: &[u8]) -> Result<usize, Garbled> {
    if row_of(key)?.is_none() {
        return Ok(1);
    }
    let (mut reading, mut count) = (Reading::begin(RowKind::Points, 0, value)?, 0);
    while let Some((_, item)) = reading.next()? {
        count += usize::from(!item.is_empty());
    }
    Ok(count)
}

/// Whether rows of the set of a row of points have a name.
fn is_of_row(value: &[u8], name: &str) -> Result<bool, Garbled> {
    let mut reading = Reading::begin(RowKind::Points, 0, value)?;
    while let Some((one, _)) = reading.next()? {
        if one == name {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The sets of names with which a device said a name. `first` looks at the first record of a range.
pub(crate) fn sets_of(
    device: DeviceId,
    mut first: impl FnMut(Range<Vec<u8>>) -> Result<Option<(u64, bool)>, Fault>,
) -> Result<Vec<u64>, Fault> {
    let (mut sets, mut rows) = (Vec::new(), range_of_rows(device));
    while let Some((set, has_name)) = first(rows.clone())? {
        if has_name {
            sets.push(set);
        }
        rows.start = Series::of_rows(device, set).end();
    }
    Ok(sets)
}

/// The set of a row of points, and whether it has a name.
pub(crate) fn set_in(key: &[u8], value: &[u8], name: &str) -> Result<(u64, bool), Garbled> {
    let (set, _) = row_of(key)?.ok_or(Garbled("a point stands among rows"))?;
    Ok((set, is_of_row(value, name)?))
}

/// Reads a row of points under its key.
pub(super) fn decode_points<'a>(key: &[u8], value: &'a [u8]) -> Result<Option<Row<'a>>, Garbled> {
    let Some((_, at_ms)) = row_of(key)? else { return Ok(None) };
    Row::decode(RowKind::Points, at_ms, value).map(Some)
}

fn begin_row(kind: RowKind, number: u64, at_ms: i64, len: usize, out: &mut Vec<u8>) {
    begin_numbered(number, out);
    if kind == RowKind::Latest {
        push_i64(out, at_ms);
    }
    out.push(u8::try_from(len).expect("at most ROW_LEN_MAX"));
}

fn push_row_name(name: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(name.len()).expect("at most ROW_NAME_BYTES_MAX"));
    out.extend_from_slice(name.as_bytes());
}

fn push_item(name: &str, value: Option<&Value<'_>>, out: &mut Vec<u8>) {
    push_row_name(name, out);
    let at = out.len();
    out.push_u32(0);
    if let Some(value) = value {
        push_value(out, value);
    }
    let len = u32::try_from(out.len() - at - 4).expect("no value has 4 GiB");
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

fn read_item(item: &[u8]) -> Result<Option<Value<'_>>, Garbled> {
    if item.is_empty() { Ok(None) } else { value_of(&mut Input(item)).map(Some) }
}

/// Goes through the values of a row.
struct Reading<'a> {
    number: u64,
    at_ms: i64,
    left: u8,
    input: Input<'a>,
}

impl<'a> Reading<'a> {
    fn begin(kind: RowKind, at_ms: i64, value: &'a [u8]) -> Result<Self, Garbled> {
        let (number, mut input) = begun_numbered(value)?;
        let at_ms = match kind {
            RowKind::Points => at_ms,
            RowKind::Latest => i64_of(&mut input)?,
        };
        let left = input.u8()?;
        Ok(Self { number, at_ms, left, input })
    }

    /// The next name, and the bytes of its value; none if it is gone.
    fn next(&mut self) -> Result<Option<(&'a str, &'a [u8])>, Garbled> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let len = self.input.u8()?;
        let name = std::str::from_utf8(self.input.take(usize::from(len))?)
            .map_err(|_| Garbled("a name is not UTF-8"))?;
        Ok(Some((name, self.input.bytes()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(key: &'static str, value: Value<'static>) -> Sample<'static> {
        Sample { key: key.into(), value, at_ms: 7 }
    }

    fn written(kind: RowKind, samples: &[Sample<'_>]) -> Vec<u8> {
        let (mut draft, mut out) = (RowDraft::default(), Vec::new());
        assert!(draft.begin(samples));
        draft.encode(kind, 5, samples, &mut out);
        out
    }

    #[test]
    fn a_row_gives_back_what_it_was_made_of_and_of_one_name_the_last() {
        let samples = [
            sample("a", Value::Long(1)),
            sample("b", Value::Text("x".into())),
            sample("a", Value::Bool(true)),
            sample("", Value::Text("".into())),
        ];
        for kind in [RowKind::Points, RowKind::Latest] {
            let value = written(kind, &samples);
            let row = Row::decode(kind, 7, &value).unwrap();
            assert_eq!(row.number, 5);
            let mut again = Vec::new();
            row.encode(kind, &mut again);
            assert_eq!(again, value);
            let found: Vec<_> = row.samples().collect();
            assert_eq!(found, [samples[2].clone(), samples[1].clone(), samples[3].clone()]);
        }
    }

    #[test]
    fn a_value_that_is_gone_leaves_the_set_as_it_was_and_the_last_one_leaves_nothing() {
        let device = DeviceId::from_bytes([1; 16]);
        let value = written(RowKind::Points, &[sample("a", Value::Long(1)), sample("b", Value::Long(2))]);
        let key = |value: &[u8]| {
            let mut key = Vec::new();
            Row::decode(RowKind::Points, 7, value).unwrap().key(RowKind::Points, device).encode(&mut key);
            key
        };
        assert!(matches!(without(RowKind::Points, &value, "c").unwrap(), Without::Same));
        let Without::Rest(rest) = without(RowKind::Points, &value, "a").unwrap() else { panic!() };
        assert_eq!(key(&rest), key(&value));
        assert_eq!(read_in_row(&rest, "a"), Ok(None));
        assert_eq!(read_in_row(&rest, "b"), Ok(Some((5, Value::Long(2)))));
        assert_eq!(is_of_row(&rest, "a"), Ok(true));
        assert!(matches!(without(RowKind::Points, &rest, "a").unwrap(), Without::Same));
        assert!(matches!(without(RowKind::Points, &rest, "b").unwrap(), Without::Nothing));
    }

    #[test]
    fn what_cannot_be_a_row_is_none() {
        let mut draft = RowDraft::default();
        let long = "x".repeat(256);
        let long = Sample { key: long.as_str().into(), value: Value::Long(1), at_ms: 7 };
        let one = sample("a", Value::Long(1));
        assert!(!draft.begin(std::slice::from_ref(&one)));
        assert!(!draft.begin(&[one.clone(), one.clone()]));
        assert!(!draft.begin(&[one.clone(), long]));
        assert!(!draft.begin(&vec![one.clone(); ROW_LEN_MAX + 1]));
        let value = written(RowKind::Points, &[one.clone(), sample("b", Value::Long(2))]);
        for len in 0..value.len() {
            assert!(Row::decode(RowKind::Points, 7, &value[..len]).is_err(), "{len}");
        }
        let twice = Row { number: 5, at_ms: 7, items: vec![("a", Some(Value::Long(1))); 2] };
        let mut value = Vec::new();
        twice.encode(RowKind::Points, &mut value);
        assert!(Row::decode(RowKind::Points, 7, &value).is_err());
    }
}
