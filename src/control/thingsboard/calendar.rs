//! Intervals of the calendar: weeks, months and quarters, as they are where somebody lives.
//!
//! Why a library's time zones and not the machine's: an answer must not depend on which package is installed there.
//!
//! Invariants:
//! - An interval ends at the beginning of a day; the first one may have begun before the time that was asked for.
//!
//! Source: rank 12 of section 13.2 of the vectors.

use jiff::civil::{Date, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

use super::asked::Asked;
use super::refusal::Refusal;

/// A part of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// From Sunday on.
    Week,
    /// From Monday on.
    IsoWeek,
    Month,
    Quarter,
}

/// The ends of intervals, as a question names them, from a time in Unix milliseconds on; none if its intervals are so many
/// milliseconds.
pub(super) fn ends(asked: &Asked, from_ms: i64) -> Result<Option<impl Iterator<Item = i64>>, Refusal> {
    let part = match asked.get("intervalType") {
        None | Some("MILLISECONDS") => return Ok(None),
        Some("WEEK") => Part::Week,
        Some("WEEK_ISO") => Part::IsoWeek,
        Some("MONTH") => Part::Month,
        Some("QUARTER") => Part::Quarter,
        Some(other) => return Err(Refusal::bad(format!("'{other}' is no type of intervals"))),
    };
    let zone = zone(asked.get("timeZone").unwrap_or("UTC"))?;
    let far = |_| Refusal::bad("startTs is not in any calendar");
    let from = Timestamp::from_millisecond(from_ms).map_err(far)?.to_zoned(zone.clone()).date();
    let mut begin = part.begin(from);
    let ends = std::iter::from_fn(move || {
        begin = part.next(begin?);
        Some(begin?.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
    });
    // Where clocks go back over midnight, the day begins twice, and `from_ms` may lie between.
    Ok(Some(ends.filter(move |end| *end > from_ms)))
}

impl Part {
    /// When the part around a day begins.
    fn begin(self, day: Date) -> Option<Date> {
        let since = |first| i64::from(day.weekday().since(first));
        match self {
            Self::Week => day.checked_sub(since(Weekday::Sunday).days()).ok(),
            Self::IsoWeek => day.checked_sub(since(Weekday::Monday).days()).ok(),
            Self::Month => Some(day.first_of_month()),
            Self::Quarter => {
                let before = i64::from((day.month() - 1) % 3);
                day.first_of_month().checked_sub(before.months()).ok()
            }
        }
    }

    /// When the part behind one that begins on a day begins; none behind the last year that there is.
    fn next(self, begin: Date) -> Option<Date> {
        let length = match self {
            Self::Week | Self::IsoWeek => 7.days(),
            Self::Month => 1.month(),
            Self::Quarter => 3.months(),
        };
        begin.checked_add(length).ok()
    }
}

/// A time zone by its name, such as `Europe/Berlin`, or by how far it is from UTC, such as `+02:00` and `GMT+2`.
fn zone(name: &str) -> Result<TimeZone, Refusal> {
    let bare = ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let fixed = if bare == "Z" { Some(TimeZone::UTC) } else { offset(bare).map(TimeZone::fixed) };
    let unknown = || Refusal::bad(format!("'{name}' is no time zone"));
    // A plus behind a question mark is a space to whoever reads forms.
    fixed.map_or_else(|| TimeZone::get(name).map_err(|_| unknown()), Ok)
}

fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+" | " ", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _no_sign => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let number = |digits: &str, end: i32| digits.parse::<u8>().ok().map(i32::from).filter(|n| *n < end);
    Offset::from_seconds(sign * (number(hours, 19)? * 3_600 + number(minutes, 60)? * 60)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: &str, zone: &str, from: &str) -> Vec<String> {
        let pairs = [("intervalType", kind), ("timeZone", zone)];
        let asked = Asked(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let from: Timestamp = from.parse().unwrap();
        let ends = ends(&asked, from.as_millisecond()).unwrap().unwrap().take(3);
        ends.map(|ms| Timestamp::from_millisecond(ms).unwrap().to_string()).collect()
    }

    #[test]
    fn parts_of_the_calendar_end_where_somebody_lives() {
        let rows: [(&str, &str, &str, [&str; 3]); 9] = [
            (
                "WEEK",
                "",
                "2026-03-25T12:00:00Z",
                ["2026-03-29T00:00:00Z", "2026-04-05T00:00:00Z", "2026-04-12T00:00:00Z"],
            ),
            (
                "WEEK_ISO",
                "UTC",
                "2026-03-23T00:00:00Z",
                ["2026-03-30T00:00:00Z", "2026-04-06T00:00:00Z", "2026-04-13T00:00:00Z"],
            ),
            // On the 29th clocks go forward.
            (
                "WEEK_ISO",
                "Europe/Berlin",
                "2026-03-25T12:00:00Z",
                ["2026-03-29T22:00:00Z", "2026-04-05T22:00:00Z", "2026-04-12T22:00:00Z"],
            ),
            (
                "MONTH",
                "Europe/Berlin",
                "2026-01-31T23:30:00Z",
                ["2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z"],
            ),
            (
                "MONTH",
                "+02:00",
                "2026-01-31T21:30:00Z",
                ["2026-01-31T22:00:00Z", "2026-02-28T22:00:00Z", "2026-03-31T22:00:00Z"],
            ),
            (
                "MONTH",
                "GMT-5",
                "2026-01-31T21:30:00Z",
                ["2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z", "2026-04-01T05:00:00Z"],
            ),
            // There, in that night, Sunday began twice: at 02:30, and at 03:30 once more.
            (
                "WEEK",
                "America/St_Johns",
                "2010-11-07T03:00:00Z",
                ["2010-11-14T03:30:00Z", "2010-11-21T03:30:00Z", "2010-11-28T03:30:00Z"],
            ),
            (
                "QUARTER",
                "Z",
                "2026-05-31T00:00:00Z",
                ["2026-07-01T00:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"],
            ),
            (
                "QUARTER",
                "America/New_York",
                "2026-12-31T00:00:00Z",
                ["2027-01-01T05:00:00Z", "2027-04-01T04:00:00Z", "2027-07-01T04:00:00Z"],
            ),
        ];
        for (kind, zone, from, expected) in rows {
            assert_eq!(shown(kind, zone, from), expected, "{kind} {zone} {from}");
        }
    }

    #[test]
    fn unknown_parts_and_zones_are_refused_and_the_calendar_has_an_end() {
        let told = |kind: &str, zone: &str, from_ms| {
            let pairs = [("intervalType", kind), ("timeZone", zone)];
            let asked = Asked(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
            ends(&asked, from_ms).map(|ends| ends.map(Iterator::count))
        };
        assert_eq!(told("MILLISECONDS", "UTC", 0), Ok(None));
        for (kind, zone, from_ms) in
            [("YEAR", "UTC", 0), ("WEEK", "Mars/Base", 0), ("WEEK", "+25:00", 0), ("WEEK", "UTC", i64::MAX)]
        {
            assert!(told(kind, zone, from_ms).is_err(), "{kind} {zone} {from_ms}");
        }
        let last: Timestamp = "9999-11-01T00:00:00Z".parse().unwrap();
        assert_eq!(told("MONTH", "UTC", last.as_millisecond()), Ok(Some(1)));
    }
}
