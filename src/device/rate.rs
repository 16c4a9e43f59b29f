//! Rates: how much a device may say, as text, and as buckets that fill with time.
//!
//! Why several windows at once: a burst is fine and a burst every second is not, so a rate names both; something is allowed
//! only if all of them allow it, and takes nothing from any otherwise. What is more than a full bucket holds is allowed when the
//! bucket is full, and owed afterwards: otherwise it could never be said, however slowly.
//!
//! Why not the buckets of `stdx::quota`: those are spent by what has already arrived and paid back by waiting; here nothing
//! may be taken unless all of it is there in all windows of several rates, which takes a look that changes nothing. These
//! count wall-clock milliseconds, the time that devices are told to come back after, and can be divided among cores.
//!
//! Invariants:
//! - A bucket is full at first, fills evenly, and never holds more than its capacity.
//! - Arithmetic is exact: levels are counted in parts of a token, one part per millisecond of the window and token.
//!
//! Source: section 11.1 of the device API's vectors.

/// The most windows of one rate.
const WINDOWS_MAX: usize = 8;

/// A rate, as `capacity:seconds` and further ones behind commas; empty is no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    text: Box<str>,
    windows: Box<[Window]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    capacity: u32,
    seconds: u32,
    /// Among how many it is divided.
    shares: u16,
}

/// A rate in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    levels: Box<[Level]>,
    at_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Level {
    window: Window,
    /// Below zero if more was taken than was there.
    parts: i64,
}

/// A text is no rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRate;

/// Something is not allowed now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMuch {
    /// It is, after so many milliseconds of silence.
    pub after_ms: i64,
}

impl Rate {
    /// Reads a rate.
    ///
    /// # Errors
    /// It is not `capacity:seconds`, both above zero, or a list of those.
    pub fn read(text: &str) -> Result<Self, BadRate> {
        let above_zero =
            |digits: &str| digits.trim().parse::<u32>().ok().filter(|number| *number > 0).ok_or(BadRate);
        let window = |part: &str| {
            let (capacity, seconds) = part.split_once(':').ok_or(BadRate)?;
            Ok(Window { capacity: above_zero(capacity)?, seconds: above_zero(seconds)?, shares: 1 })
        };
        let parts = text.split(',').filter(|_| !text.trim().is_empty());
        let windows = parts.map(window).collect::<Result<Box<[_]>, _>>()?;
        if windows.len() > WINDOWS_MAX {
            return Err(BadRate);
        }
        Ok(Self { text: text.trim().into(), windows })
    }

    /// The rate as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The part of each of so many that share this rate. A part holds one token at least, or it would never give any.
    #[must_use]
    pub fn shared_by(&self, shares: u16) -> Self {
        let part = |window: &Window| Window { shares: shares.max(1), ..*window };
        Self { text: self.text.clone(), windows: self.windows.iter().map(part).collect() }
    }

    /// A full bucket of this rate.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        let full = |window: &Window| Level { window: *window, parts: window.parts_max() };
        Bucket { levels: self.windows.iter().map(full).collect(), at_ms: i64::MIN }
    }
}

impl Window {
    /// The parts of so many tokens: one has as many as the window has milliseconds, times the shares.
    fn parts_of(self, tokens: u64) -> i64 {
        let parts = u64::from(self.seconds) * 1000 * u64::from(self.shares);
        i64::try_from(parts.saturating_mul(tokens)).unwrap_or(i64::MAX)
    }

    fn parts_max(self) -> i64 {
        let whole = u64::from(self.seconds).saturating_mul(1000).saturating_mul(u64::from(self.capacity));
        i64::try_from(whole).unwrap_or(i64::MAX).max(self.parts_of(1))
    }
}

impl Bucket {
    /// Whether so many tokens are there; takes nothing.
    ///
    /// # Errors
    /// They are not: when they will be.
    pub fn check(&mut self, tokens: u64, now_ms: i64) -> Result<(), TooMuch> {
        self.fill(now_ms);
        let mut after_ms = 0;
        for level in &self.levels {
            let wanted = level.window.parts_of(tokens).min(level.window.parts_max());
            let missing = wanted.saturating_sub(level.parts).max(0);
            let per_ms = i64::from(level.window.capacity);
            after_ms = after_ms.max(missing / per_ms + i64::from(missing % per_ms > 0));
        }
        if after_ms > 0 { Err(TooMuch { after_ms }) } else { Ok(()) }
    }

    /// Takes so many tokens.
    pub fn take(&mut self, tokens: u64) {
        for level in &mut self.levels {
            level.parts = level.parts.saturating_sub(level.window.parts_of(tokens));
        }
    }

    /// After how many milliseconds of silence it is full.
    pub fn full_after_ms(&mut self, now_ms: i64) -> i64 {
        self.fill(now_ms);
        let after_ms = |level: &Level| {
            let missing = level.window.parts_max().saturating_sub(level.parts).max(0);
            let per_ms = i64::from(level.window.capacity);
            missing / per_ms + i64::from(missing % per_ms > 0)
        };
        self.levels.iter().map(after_ms).max().unwrap_or(0)
    }

    fn fill(&mut self, now_ms: i64) {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms).max(0);
        self.at_ms = self.at_ms.max(now_ms);
        for level in &mut self.levels {
            let filled = elapsed_ms.saturating_mul(i64::from(level.window.capacity));
            level.parts = level.parts.saturating_add(filled).min(level.window.parts_max());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(after_ms: i64) -> Result<(), TooMuch> {
        Err(TooMuch { after_ms })
    }

    #[test]
    fn a_rate_is_a_list_of_windows() {
        for text in ["", " ", "1:1", "100:1,2000:60", " 20:1 , 600:60 "] {
            assert_eq!(Rate::read(text).map(|rate| rate.text().to_owned()), Ok(text.trim().to_owned()));
        }
        for text in [
            "1",
            "1:",
            ":1",
            "0:1",
            "1:0",
            "-1:1",
            "1:1,",
            "a:b",
            "1:1;2:2",
            "1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1",
        ] {
            assert_eq!(Rate::read(text), Err(BadRate), "{text}");
        }
    }

    #[test]
    fn a_bucket_is_full_at_first_and_fills_evenly() {
        let mut bucket = Rate::read("10:2").unwrap().bucket();
        assert_eq!(bucket.check(10, 1000), Ok(()));
        bucket.take(10);
        assert_eq!(bucket.check(1, 1000), later(200));
        assert_eq!(bucket.check(1, 1199), later(1));
        assert_eq!(bucket.check(1, 1200), Ok(()));
        assert_eq!(bucket.check(10, 2999), later(1));
        assert_eq!(bucket.check(10, 3000), Ok(()));
        assert_eq!(bucket.check(10, 9_000_000), Ok(()));
        bucket.take(10);
        assert_eq!(bucket.check(1, 9_000_000), later(200), "it never holds more than its capacity");
    }

    #[test]
    fn a_bucket_says_when_it_is_full_again() {
        let mut bucket = Rate::read("2:1,3:60").unwrap().bucket();
        assert_eq!(bucket.full_after_ms(0), 0);
        bucket.take(1);
        assert_eq!((bucket.full_after_ms(0), bucket.full_after_ms(5_000)), (20_000, 15_000));
        assert_eq!(bucket.full_after_ms(20_000), 0);
        assert_eq!(Rate::default().bucket().full_after_ms(0), 0);
    }

    #[test]
    fn every_window_must_allow() {
        let mut bucket = Rate::read("2:1,3:60").unwrap().bucket();
        let mut take = |now_ms| {
            let allowed = bucket.check(1, now_ms);
            if allowed.is_ok() {
                bucket.take(1);
            }
            allowed
        };
        assert_eq!([take(0), take(0), take(0)], [Ok(()), Ok(()), later(500)]);
        assert_eq!(take(1000), Ok(()));
        assert_eq!(take(2000), later(18_000), "the minute's are used up");
        assert_eq!(take(20_000), Ok(()));
    }

    #[test]
    fn what_is_more_than_a_bucket_holds_passes_when_it_is_full_and_is_owed() {
        let mut bucket = Rate::read("2:1").unwrap().bucket();
        assert_eq!(bucket.check(1, 0), Ok(()));
        bucket.take(1);
        assert_eq!(bucket.check(6, 0), later(500));
        assert_eq!(bucket.check(6, 500), Ok(()));
        bucket.take(6);
        assert_eq!(bucket.check(1, 500), later(2500), "four are owed");
    }

    #[test]
    fn no_rate_is_no_limit_and_a_clock_that_jumps_back_fills_nothing() {
        assert_eq!(Rate::default().bucket().check(u64::MAX, 0), Ok(()));
        let mut bucket = Rate::read("1:1").unwrap().bucket();
        assert_eq!(bucket.check(1, 5000), Ok(()));
        bucket.take(1);
        assert_eq!(bucket.check(1, 0), later(1000));
        assert_eq!(bucket.check(1, 5999), later(1));
        assert_eq!(bucket.check(1, 6000), Ok(()));
    }
}
