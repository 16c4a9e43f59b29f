//! Facts: the values of keys, as attributes and as latest telemetry.
//!
//! Why a sorted list and no map: a device has a few dozen keys, which are mostly read all at once and in order; and a list
//! of a few dozen is searched faster than it is hashed.
//!
//! Invariants:
//! - One value per key, in order of keys.
//! - Of two values of telemetry the one with the later time stays; of two with one time, the one that came later.
//! - `bytes` is the sum of all keys and of what their values hold outside of their entries.

use std::cmp::Ordering;

use crate::value::{Sample, Value};

/// Values by key.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Facts {
    entries: Vec<Entry>,
    bytes: usize,
}

/// How much there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    /// Keys.
    pub keys: usize,
    /// Bytes, as [`Facts::bytes`] counts them.
    pub bytes: usize,
}

#[derive(Clone, PartialEq, Debug)]
struct Entry {
    key: Box<str>,
    value: Value<'static>,
    at_ms: i64,
}

/// What came of writing a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Written {
    /// There is another value now, or one of another time where that counts.
    Changed,
    /// Nothing is new.
    Same,
    /// There is one of a later time.
    Late,
    /// There are as many keys as may be, and this is another.
    TooMany,
    /// There are not as many bytes left as it takes.
    TooLarge,
}

impl Room {
    /// For what is taken in any case.
    pub const ENDLESS: Self = Self { keys: usize::MAX, bytes: usize::MAX };
}

impl Facts {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all keys, texts, objects and arrays.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key and its time.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<(&Value<'static>, i64)> {
        let entry = &self.entries[self.place(key).ok()?];
        Some((&entry.value, entry.at_ms))
    }

    /// All of them, in order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'static>, i64)> {
        self.entries.iter().map(|entry| (&*entry.key, &entry.value, entry.at_ms))
    }

    /// Writes a value. Returns whether it is another than before.
    pub fn write(&mut self, sample: &Sample<'_>) -> bool {
        self.write_within(sample, Room::ENDLESS) == Written::Changed
    }

    /// Writes a value unless there is one of a later time. Returns whether it was written.
    pub fn write_newer(&mut self, sample: &Sample<'_>) -> bool {
        self.write_newer_within(sample, Room::ENDLESS) == Written::Changed
    }

    /// As [`Facts::write`], but refuses what there is no room for. A value that is not larger than the one before is always
    /// taken.
    pub(crate) fn write_within(&mut self, sample: &Sample<'_>, room: Room) -> Written {
        match self.place(&sample.key) {
            Ok(index) => {
                let entry = &mut self.entries[index];
                if is_same(&entry.value, &sample.value) {
                    entry.at_ms = sample.at_ms;
                    return Written::Same;
                }
                exchange_within(entry, &mut self.bytes, sample, room)
            }
            Err(index) => self.insert_within(index, sample, room),
        }
    }

    /// As [`Facts::write_newer`], but refuses what there is no room for, as [`Facts::write_within`] does.
    pub(crate) fn write_newer_within(&mut self, sample: &Sample<'_>, room: Room) -> Written {
        match self.place(&sample.key) {
            Ok(index) => {
                let entry = &mut self.entries[index];
                if entry.at_ms > sample.at_ms {
                    return Written::Late;
                }
                if is_same(&entry.value, &sample.value) {
                    entry.at_ms = sample.at_ms;
                    return Written::Changed;
                }
                exchange_within(entry, &mut self.bytes, sample, room)
            }
            Err(index) => self.insert_within(index, sample, room),
        }
    }

    /// Deletes a value. Returns whether there was one.
    pub fn delete(&mut self, key: &str) -> bool {
        let place = self.place(key);
        if let Ok(index) = place {
            let gone = self.entries.remove(index);
            self.bytes -= gone.key.len() + gone.value.heap_bytes();
        }
        place.is_ok()
    }

    fn insert_within(&mut self, index: usize, sample: &Sample<'_>, room: Room) -> Written {
        if self.entries.len() >= room.keys {
            return Written::TooMany;
        }
        let bytes = self.bytes + sample.key.len() + sample.value.heap_bytes();
        if bytes > room.bytes {
            return Written::TooLarge;
        }
        self.bytes = bytes;
        self.insert(index, sample);
        Written::Changed
    }

    fn insert(&mut self, index: usize, sample: &Sample<'_>) {
        let entry = Entry {
            key: sample.key.as_ref().into(),
            value: sample.value.clone().into_owned(),
            at_ms: sample.at_ms,
        };
        self.entries.insert(index, entry);
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| -> Ordering { (*entry.key).cmp(key) })
    }
}

/// Whether two values are the same, whatever holds their text.
/// Writes another value of a key that is there.
#[inline]
fn exchange_within(entry: &mut Entry, bytes: &mut usize, sample: &Sample<'_>, room: Room) -> Written {
    let value = match sample.value {
        Value::Bool(value) => Value::Bool(value),
        Value::Long(value) => Value::Long(value),
        Value::Double(value) => Value::Double(value),
        Value::Text(_) | Value::Json(_) => return exchange_text_within(entry, bytes, sample, room),
    };
    // What takes no bytes is never larger than what was there.
    *bytes -= entry.value.heap_bytes();
    (entry.at_ms, entry.value) = (sample.at_ms, value);
    Written::Changed
}

fn exchange_text_within(entry: &mut Entry, bytes: &mut usize, sample: &Sample<'_>, room: Room) -> Written {
    let (before, after) = (entry.value.heap_bytes(), sample.value.heap_bytes());
    let sum = *bytes - before + after;
    if after > before && sum > room.bytes {
        return Written::TooLarge;
    }
    *bytes = sum;
    (entry.at_ms, entry.value) = (sample.at_ms, sample.value.clone().into_owned());
    Written::Changed
}

fn is_same(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Long(one), Value::Long(other)) => one == other,
        (Value::Double(one), Value::Double(other)) => one.to_bits() == other.to_bits(),
        (Value::Text(one), Value::Text(other)) | (Value::Json(one), Value::Json(other)) => one == other,
        (Value::Bool(_) | Value::Long(_) | Value::Double(_) | Value::Text(_) | Value::Json(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(key: &'static str, value: i64, at_ms: i64) -> Sample<'static> {
        Sample { key: key.into(), value: Value::Long(value), at_ms }
    }

    #[test]
    fn keys_stand_in_order_and_have_one_value() {
        let mut facts = Facts::default();
        assert!(facts.write(&sample("b", 1, 0)));
        assert!(facts.write(&sample("a", 2, 0)));
        assert!(!facts.write(&sample("b", 1, 5)), "the same value is no change");
        assert!(facts.write(&sample("b", 3, 6)));
        let all: Vec<_> = facts.iter().map(|(key, value, at)| (key, value.clone(), at)).collect();
        assert_eq!(all, [("a", Value::Long(2), 0), ("b", Value::Long(3), 6)]);
        assert!(facts.delete("a") && !facts.delete("a"));
        assert_eq!((facts.len(), facts.get("a")), (1, None));
    }

    #[test]
    fn a_long_and_a_double_of_one_size_are_different_values() {
        let mut facts = Facts::default();
        facts.write(&sample("a", 5, 0));
        let double = Sample { key: "a".into(), value: Value::Double(5.0), at_ms: 0 };
        assert!(facts.write(&double));
        assert_eq!(facts.get("a"), Some((&Value::Double(5.0), 0)));
    }

    #[test]
    fn bytes_are_counted_whatever_becomes_of_values_and_what_is_smaller_is_always_taken() {
        let text = |key: &'static str, len| Sample {
            key: key.into(),
            value: Value::Text("x".repeat(len).into()),
            at_ms: 0,
        };
        let room = Room { keys: 2, bytes: 10 };
        let mut facts = Facts::default();
        assert_eq!(facts.write_within(&text("a", 5), room), Written::Changed);
        assert_eq!(facts.write_newer_within(&text("b", 4), room), Written::TooLarge);
        assert_eq!(facts.write_newer_within(&text("b", 3), room), Written::Changed);
        assert_eq!((facts.len(), facts.bytes()), (2, 10));
        assert_eq!(facts.write_within(&text("c", 0), room), Written::TooMany);
        assert_eq!(facts.write_within(&text("a", 6), room), Written::TooLarge);
        assert_eq!(facts.write_newer_within(&text("b", 4), room), Written::TooLarge);
        assert_eq!(facts.get("a"), Some((&Value::Text("xxxxx".into()), 0)), "as it was");
        let less = Room { bytes: 0, ..room };
        assert_eq!(facts.write_within(&text("a", 4), less), Written::Changed, "smaller than before");
        assert_eq!(facts.write_newer_within(&sample("b", 7, 1), less), Written::Changed);
        assert_eq!(facts.bytes(), 6);
        assert_eq!(facts.write_within(&text("b", 4), room), Written::Changed, "there is room again");
        assert!(facts.delete("a") && facts.delete("b"));
        assert_eq!(facts.bytes(), 0);
    }

    #[test]
    fn telemetry_that_comes_late_does_not_replace_what_is_newer() {
        let mut facts = Facts::default();
        assert!(facts.write_newer(&sample("t", 1, 100)));
        assert!(!facts.write_newer(&sample("t", 2, 99)));
        assert_eq!(facts.get("t"), Some((&Value::Long(1), 100)));
        assert!(facts.write_newer(&sample("t", 3, 100)));
        assert_eq!(facts.get("t"), Some((&Value::Long(3), 100)));
    }
}
