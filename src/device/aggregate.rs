//! Aggregation of history: many points become one per interval.
//!
//! Why point by point: a year of one sensor does not fit into memory, its intervals do.
//!
//! Invariants:
//! - Points come in order of time; memory grows with intervals, never with points.
//! - There are at most [`INTERVALS_MAX`] intervals, in order of time; the last one may be shorter than it should be.
//! - No sum wraps: one that is too large for 64 bits becomes a double.
//!
//! Source: rank 12 of the HTTP section of the device API.

use crate::value::Value;

/// Intervals of one question.
pub const INTERVALS_MAX: u64 = 700;

/// What becomes of the points of an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregation {
    /// The smallest number; without numbers the first text, or false.
    Min,
    /// The largest number; without numbers the last text, or true.
    Max,
    /// The mean of the numbers.
    Avg,
    /// The sum of the numbers.
    Sum,
    /// How many points there are, of any kind.
    Count,
}

/// A question has more intervals than it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyIntervals(pub u64);

/// Aggregates points of one key.
#[derive(Debug)]
pub struct Aggregator {
    what: Aggregation,
    from_ms: i64,
    to_ms: i64,
    intervals: Intervals,
    /// The interval that is being filled.
    filling: (i128, i128),
    tally: Tally,
    done: Vec<(i64, Value<'static>)>,
}

/// Where intervals end.
#[derive(Debug)]
enum Intervals {
    /// Each after so many milliseconds.
    Even(i128),
    /// At these times; the last one with all.
    At(Box<[i64]>),
}

/// What is known of an interval.
#[derive(Debug, Default)]
struct Tally {
    points: i64,
    numbers: i64,
    has_doubles: bool,
    longs: i128,
    doubles: f64,
    long_range: Option<(i64, i64)>,
    double_range: Option<(f64, f64)>,
    flag_range: Option<(bool, bool)>,
    text_range: Option<(Box<str>, Box<str>)>,
}

impl Aggregation {
    /// The aggregation of a name; none for no aggregation and for unknown names.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "MIN" => Some(Self::Min),
            "MAX" => Some(Self::Max),
            "AVG" => Some(Self::Avg),
            "SUM" => Some(Self::Sum),
            "COUNT" => Some(Self::Count),
            _unknown => None,
        }
    }
}

impl Aggregator {
    /// For points from `from_ms` up to `to_ms`, in intervals of `interval_ms`, all in milliseconds; an interval of less than
    /// one is one of all points.
    ///
    /// # Errors
    /// There would be too many intervals.
    pub fn new(
        what: Aggregation,
        (from_ms, to_ms): (i64, i64),
        interval_ms: i64,
    ) -> Result<Self, TooManyIntervals> {
        let length = (i128::from(to_ms) - i128::from(from_ms)).max(0);
        let interval_ms = if interval_ms < 1 { length.max(1) } else { interval_ms.into() };
        let intervals = (length + interval_ms - 1) / interval_ms;
        if intervals > i128::from(INTERVALS_MAX) {
            return Err(TooManyIntervals(u64::try_from(intervals).unwrap_or(u64::MAX)));
        }
        Ok(Self::along(what, (from_ms, to_ms), Intervals::Even(interval_ms)))
    }

    /// For points from `from_ms` up to `to_ms`, in intervals that end at the times of `ends`; the last one ends with all. A time
    /// that is not behind the one before it ends nothing.
    ///
    /// # Errors
    /// There would be too many intervals.
    pub fn until(
        what: Aggregation,
        times: (i64, i64),
        ends: impl IntoIterator<Item = i64>,
    ) -> Result<Self, TooManyIntervals> {
        let most = usize::try_from(INTERVALS_MAX).unwrap_or(usize::MAX);
        let mut rising: Vec<i64> = Vec::new();
        for end in ends.into_iter().take_while(|end| *end < times.1) {
            if end <= *rising.last().unwrap_or(&times.0) {
                continue;
            }
            rising.push(end);
            if rising.len() >= most {
                return Err(TooManyIntervals(INTERVALS_MAX + 1));
            }
        }
        Ok(Self::along(what, times, Intervals::At(rising.into())))
    }

    fn along(what: Aggregation, (from_ms, to_ms): (i64, i64), intervals: Intervals) -> Self {
        let filling = (from_ms.into(), from_ms.into());
        Self { what, from_ms, to_ms, intervals, filling, tally: Tally::default(), done: Vec::new() }
    }

    /// Adds a point; one outside the time that was asked for is passed over.
    pub fn push(&mut self, at_ms: i64, value: &Value<'_>) {
        if at_ms < self.from_ms || at_ms >= self.to_ms {
            return;
        }
        let at_ms = i128::from(at_ms);
        if at_ms >= self.filling.1 {
            self.close();
            self.filling = self.around(at_ms);
        }
        self.tally.add(value);
    }

    /// The interval around a time that was asked for.
    fn around(&self, at_ms: i128) -> (i128, i128) {
        let (from_ms, to_ms) = (i128::from(self.from_ms), i128::from(self.to_ms));
        match &self.intervals {
            Intervals::Even(length) => {
                let start = from_ms + (at_ms - from_ms) / length * length;
                (start, (start + length).min(to_ms))
            }
            Intervals::At(ends) => {
                let next = ends.partition_point(|end| i128::from(*end) <= at_ms);
                let start = next.checked_sub(1).map_or(from_ms, |before| ends[before].into());
                (start, ends.get(next).map_or(to_ms, |end| (*end).into()))
            }
        }
    }

    /// What came of the points: one for each interval that had any, at the middle of the interval.
    #[must_use]
    pub fn finish(mut self) -> Vec<(i64, Value<'static>)> {
        self.close();
        self.done
    }

    fn close(&mut self) {
        let tally = std::mem::take(&mut self.tally);
        if let Some(value) = tally.value(self.what) {
            let (start, end) = self.filling;
            let middle = start + (end - start) / 2;
            self.done.push((i64::try_from(middle).expect("between two times"), value));
        }
    }
}

impl Tally {
    fn add(&mut self, value: &Value<'_>) {
        self.points += 1;
        match value {
            Value::Long(value) => {
                self.numbers += 1;
                self.longs += i128::from(*value);
                let (min, max) = self.long_range.unwrap_or((*value, *value));
                self.long_range = Some((min.min(*value), max.max(*value)));
            }
            Value::Double(value) => {
                self.numbers += 1;
                self.has_doubles = true;
                self.doubles += value;
                let (min, max) = self.double_range.unwrap_or((*value, *value));
                self.double_range = Some((min.min(*value), max.max(*value)));
            }
            Value::Bool(value) => {
                let (all, any) = self.flag_range.unwrap_or((*value, *value));
                self.flag_range = Some((all && *value, any || *value));
            }
            Value::Text(value) => match &mut self.text_range {
                None => self.text_range = Some((value.as_ref().into(), value.as_ref().into())),
                Some((first, last)) => {
                    if **value < **first {
                        *first = value.as_ref().into();
                    }
                    if **value > **last {
                        *last = value.as_ref().into();
                    }
                }
            },
            // An object is counted and nothing else.
            Value::Json(_) => {}
        }
    }

    fn value(self, what: Aggregation) -> Option<Value<'static>> {
        if self.points == 0 {
            return None;
        }
        match what {
            Aggregation::Count => Some(Value::Long(self.points)),
            Aggregation::Sum if self.numbers > 0 => Some(self.sum()),
            Aggregation::Avg if self.numbers > 0 => {
                Some(Value::Double((self.doubles + as_double(self.longs)) / as_double(self.numbers.into())))
            }
            Aggregation::Sum | Aggregation::Avg => None,
            Aggregation::Min => self.end(|range| range.0, |range| range.0, |range| range.0, |range| range.0),
            Aggregation::Max => self.end(|range| range.1, |range| range.1, |range| range.1, |range| range.1),
        }
    }

    fn sum(&self) -> Value<'static> {
        match i64::try_from(self.longs) {
            Ok(sum) if !self.has_doubles => Value::Long(sum),
            Ok(_) | Err(_) => Value::Double(self.doubles + as_double(self.longs)),
        }
    }

    /// One end of the ranges, of the best kind that there is.
    fn end(
        self,
        long: fn((i64, i64)) -> i64,
        double: fn((f64, f64)) -> f64,
        flag: fn((bool, bool)) -> bool,
        text: PickText,
    ) -> Option<Value<'static>> {
        match (self.long_range, self.double_range) {
            (Some(range), None) => return Some(Value::Long(long(range))),
            (None, Some(range)) => return Some(Value::Double(double(range))),
            (Some((low, high)), Some((min, max))) => {
                let both = (as_double(low.into()).min(min), as_double(high.into()).max(max));
                return Some(Value::Double(double(both)));
            }
            (None, None) => {}
        }
        let flags = self.flag_range.map(|range| Value::Bool(flag(range)));
        flags.or_else(|| self.text_range.map(|range| Value::Text(text(range).into_string().into())))
    }
}

/// Which of two texts.
type PickText = fn((Box<str>, Box<str>)) -> Box<str>;

/// The nearest double.
#[allow(clippy::cast_precision_loss, reason = "a mean of whole numbers is a double")]
fn as_double(number: i128) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use stdx::Prng;

    use super::*;

    const ALL: [(&str, Aggregation); 5] = [
        ("MIN", Aggregation::Min),
        ("MAX", Aggregation::Max),
        ("AVG", Aggregation::Avg),
        ("SUM", Aggregation::Sum),
        ("COUNT", Aggregation::Count),
    ];

    fn aggregated(
        what: Aggregation,
        times: (i64, i64),
        interval_ms: i64,
        points: &[(i64, Value<'_>)],
    ) -> Vec<String> {
        let mut aggregator = Aggregator::new(what, times, interval_ms).unwrap();
        points.iter().for_each(|(at_ms, value)| aggregator.push(*at_ms, value));
        aggregator.finish().iter().map(|(at_ms, value)| format!("{at_ms}={}", value.to_json())).collect()
    }

    #[test]
    fn every_aggregation_has_its_name_and_its_value_for_every_kind() {
        let longs = [Value::Long(1), Value::Long(4), Value::Long(-2)];
        let mixed = [Value::Long(1), Value::Double(2.5), Value::Text("x".into())];
        let texts = [Value::Text("b".into()), Value::Text("a".into()), Value::Json("{}".into())];
        let flags = [Value::Bool(true), Value::Bool(false)];
        let rows: [(&[Value<'_>], [Option<&str>; 5]); 4] = [
            (&longs, [Some("-2"), Some("4"), Some("1.0"), Some("3"), Some("3")]),
            (&mixed, [Some("1.0"), Some("2.5"), Some("1.75"), Some("3.5"), Some("3")]),
            (&texts, [Some("\"a\""), Some("\"b\""), None, None, Some("3")]),
            (&flags, [Some("false"), Some("true"), None, None, Some("2")]),
        ];
        for (values, expected) in rows {
            let points: Vec<_> = (0..).zip(values.iter().cloned()).collect();
            for ((name, what), expected) in ALL.into_iter().zip(expected) {
                assert_eq!(Aggregation::named(name), Some(what));
                let expected: Vec<_> = expected.map(|value| format!("50={value}")).into_iter().collect();
                assert_eq!(aggregated(what, (0, 100), 0, &points), expected, "{name} of {values:?}");
            }
        }
        assert_eq!(Aggregation::named("NONE"), None);
    }

    #[test]
    fn points_fall_into_intervals_and_the_last_one_may_be_short() {
        let points: Vec<_> = [10, 19, 20, 44, 45].map(|at_ms| (at_ms, Value::Long(1))).into();
        assert_eq!(aggregated(Aggregation::Count, (10, 45), 10, &points), ["15=2", "25=1", "42=1"]);
    }

    #[test]
    fn intervals_may_end_at_any_times_and_the_last_one_ends_with_all() {
        let count = |times, ends: &[i64], points: &[i64]| {
            let mut aggregator = Aggregator::until(Aggregation::Count, times, ends.to_vec()).unwrap();
            points.iter().for_each(|at_ms| aggregator.push(*at_ms, &Value::Long(1)));
            let shown = aggregator.finish();
            shown.iter().map(|(at_ms, value)| format!("{at_ms}={}", value.to_json())).collect::<Vec<_>>()
        };
        assert_eq!(count((10, 100), &[20, 50, 200], &[9, 10, 19, 20, 49, 99, 100]), ["15=2", "35=2", "75=1"]);
        assert_eq!(count((10, 100), &[], &[10, 99]), ["55=2"]);
        let many = |ends| Aggregator::until(Aggregation::Sum, (0, 9_999), 1..ends).err();
        assert_eq!(many(700), None);
        assert_eq!(many(9_000), Some(TooManyIntervals(701)));
    }

    #[test]
    fn sums_do_not_wrap_and_intervals_are_limited() {
        let points = [(0, Value::Long(i64::MAX)), (1, Value::Long(i64::MAX))];
        assert_eq!(aggregated(Aggregation::Sum, (0, 2), 2, &points), ["1=1.8446744073709552e+19"]);
        let new = |times, interval_ms| Aggregator::new(Aggregation::Sum, times, interval_ms).err();
        assert_eq!(new((0, 700), 1), None);
        assert_eq!(new((0, 701), 1), Some(TooManyIntervals(701)));
        assert_eq!(new((i64::MIN, i64::MAX), 1), Some(TooManyIntervals(u64::MAX)));
        assert_eq!(new((5, 0), 1), None, "nothing is no interval");
    }

    /// The same by the book: all points of each interval, gathered and then reckoned.
    fn oracle(
        what: Aggregation,
        (from, to): (i64, i64),
        interval: i64,
        points: &[(i64, i64)],
    ) -> Vec<String> {
        let mut told = Vec::new();
        let mut start = from;
        while start < to {
            let end = (start + interval).min(to);
            let inside: Vec<i64> =
                points.iter().filter(|(at, _)| (start..end).contains(at)).map(|(_, value)| *value).collect();
            if !inside.is_empty() {
                let sum: i64 = inside.iter().sum();
                let count = i64::try_from(inside.len()).unwrap();
                let value = match what {
                    Aggregation::Min => inside.iter().min().unwrap().to_string(),
                    Aggregation::Max => inside.iter().max().unwrap().to_string(),
                    Aggregation::Avg => {
                        Value::Double(as_double(sum.into()) / as_double(count.into())).to_json()
                    }
                    Aggregation::Sum => sum.to_string(),
                    Aggregation::Count => count.to_string(),
                };
                told.push(format!("{}={value}", start + (end - start) / 2));
            }
            start = end;
        }
        told
    }

    #[test]
    fn random_points_come_out_as_the_naive_reckoning_says() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let mut below = |end: u64| i64::try_from(prng.next_u64() % end).unwrap();
            let (from, length, interval) = (below(2_000) - 1_000, below(3_000), below(200) + 5);
            let times = (from, from + length);
            let mut points: Vec<_> =
                (0..below(200)).map(|_| (from - 100 + below(3_200), below(2_000) - 1_000)).collect();
            points.sort_unstable();
            let typed: Vec<_> = points.iter().map(|(at, value)| (*at, Value::Long(*value))).collect();
            for (name, what) in ALL {
                let expected = oracle(what, times, interval, &points);
                assert_eq!(aggregated(what, times, interval, &typed), expected, "{name}, seed {seed}");
            }
        }
    }
}
