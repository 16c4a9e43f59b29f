//! Token buckets over time as a value: so many per so many seconds, several such rates at once.
//!
//! Why one instant per bucket: the moment at which it will be full again says everything, needs no timer to refill it, and
//! is eight bytes (the generic cell rate algorithm). A bucket may be overdrawn by what had already arrived when it was
//! judged; that is paid back before anything else, so the mean never exceeds the rate.
//!
//! Invariants:
//! - A bucket that is full holds the whole count of its rate, and never more.
//! - In any span that begins with a full bucket, at most its count plus what has flowed in since is given out, one
//!   overdraft aside.

use std::fmt;
use std::str::FromStr;

use crate::{Instant, Span};

/// Rates that may hold at once.
pub const RATES_MAX: usize = 8;
/// Largest count of a rate.
const COUNT_MAX: u64 = 1_000_000_000_000;
/// Longest span of a rate: thirty days.
const SPAN_S_MAX: u64 = 30 * 86_400;

/// So many per span of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    count: u64,
    span: Span,
}

/// Several rates that hold at once; none of them is no limit.
///
/// Written as `100:1,2000:60`: at most 100 per second and 2000 per minute. Source: ThingsBoard's rate limit syntax.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rates(Vec<Rate>);

/// Why a text is no list of rates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RatesError(String);

/// How much of one rate is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    full_at: Instant,
}

/// How much of each of several rates is left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allowance {
    buckets: Box<[Bucket]>,
}

impl Rate {
    /// `count` per `span`; neither may be zero.
    #[must_use]
    pub const fn new(count: u64, span: Span) -> Self {
        assert!(count > 0);
        assert!(span.ns() > 0);
        Self { count, span }
    }

    /// How long it takes until `count` have flowed in.
    fn cost(self, count: u64) -> Span {
        // Rounded down, or the last of a full bucket would be a nanosecond late.
        let ns = u128::from(count) * u128::from(self.span.ns()) / u128::from(self.count);
        Span::from_ns(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

impl Bucket {
    /// Takes `count`, whether they are there or not.
    pub fn spend(&mut self, rate: Rate, now: Instant, count: u64) {
        self.full_at = self.full_at.max(now) + rate.cost(count);
    }

    /// From when on at least one is there; in the past if one is.
    #[must_use]
    pub fn ready_at(self, rate: Rate) -> Instant {
        self.full_at + rate.cost(1) - rate.span
    }

    /// Takes one if it is there.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let is_there = self.ready_at(rate) <= now;
        if is_there {
            self.spend(rate, now, 1);
        }
        is_there
    }

    /// Gives back one that was taken.
    pub fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at - rate.cost(1);
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// When nothing will be missing, if nothing more is taken.
    #[must_use]
    pub fn full_at(self) -> Instant {
        self.full_at
    }
}

impl Rates {
    /// Whether there is no limit.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole of each rate.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        Allowance { buckets: self.0.iter().map(|_| Bucket::default()).collect() }
    }
}

impl Allowance {
    /// Takes `count` of each rate, whether they are there or not, and returns [`Allowance::ready_at`].
    pub fn spend(&mut self, rates: &Rates, now: Instant, count: u64) -> Instant {
        self.buckets.iter_mut().zip(&rates.0).for_each(|(bucket, rate)| bucket.spend(*rate, now, count));
        self.ready_at(rates)
    }

    /// From when on there is at least one of each; in the past if there is. `rates` are those that it was made for.
    #[must_use]
    pub fn ready_at(&self, rates: &Rates) -> Instant {
        let each = self.buckets.iter().zip(&rates.0).map(|(bucket, rate)| bucket.ready_at(*rate));
        each.max().unwrap_or(Instant::START)
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.buckets.iter().all(|bucket| bucket.is_full(now))
    }
}

impl FromStr for Rates {
    type Err = RatesError;

    fn from_str(text: &str) -> Result<Self, RatesError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let rates: Vec<Rate> = text.split(',').map(|part| rate(part.trim())).collect::<Result<_, _>>()?;
        if rates.len() > RATES_MAX {
            return Err(RatesError(format!("wants at most {RATES_MAX} rates, not {}", rates.len())));
        }
        Ok(Self(rates))
    }
}

fn rate(text: &str) -> Result<Rate, RatesError> {
    let wanted = || {
        RatesError(format!(
            "wants rates such as \"100:1,2000:60\" (at most 100 per 1 s and 2000 per 60 s), not `{text}`"
        ))
    };
    let (count, span_s) = text.split_once(':').ok_or_else(wanted)?;
    let number = |text: &str, max: u64| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|value| is_plain && (1..=max).contains(value))
    };
    let count = number(count.trim(), COUNT_MAX).ok_or_else(wanted)?;
    let span_s = number(span_s.trim(), SPAN_S_MAX).ok_or_else(wanted)?;
    Ok(Rate::new(count, Span::from_s(span_s)))
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, rate) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}:{}", rate.count, rate.span.s())?;
        }
        Ok(())
    }
}

impl fmt::Display for RatesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RatesError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prng;

    const START: Instant = Instant::from_ns(7_000_000_000);

    fn rates(text: &str) -> Rates {
        text.parse().expect("rates")
    }

    #[test]
    fn what_is_read_is_written_back() {
        for text in ["", "100:1", "100:1,2000:60", "1:2592000", "1000000000000:1"] {
            assert_eq!(rates(text).to_string(), text);
        }
        assert_eq!(rates(" 100:1 , 2000 : 60 ").to_string(), "100:1,2000:60");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["100", ":", "1:", ":1", "0:1", "1:0", "-1:1", "+1:1", "1:1,", "1:1;2:2", "1:2592001", "a:b"]
        {
            assert!(text.parse::<Rates>().is_err(), "{text}");
        }
        let refused = "1:1,1:2,1:3,1:4,1:5,1:6,1:7,1:8,1:9".parse::<Rates>().unwrap_err().to_string();
        assert_eq!(refused, "wants at most 8 rates, not 9");
    }

    #[test]
    fn a_full_bucket_gives_its_count_at_once_and_then_one_by_one() {
        for count in [1, 3, 7, 100, 333] {
            let rate = Rate::new(count, Span::from_s(1));
            let mut bucket = Bucket::default();
            let taken = (0..10 * count).take_while(|_| bucket.take(rate, START)).count();
            assert_eq!(crate::count(taken), count);
            let ready_at = bucket.ready_at(rate);
            assert!(!bucket.take(rate, ready_at - Span::from_ns(1)));
            assert!(bucket.take(rate, ready_at));
            assert!(!bucket.take(rate, ready_at));
            assert!(ready_at.since(START) <= Span::from_ns(1_000_000_000 / count));
        }
    }

    #[test]
    fn however_time_goes_no_rate_is_exceeded_by_more_than_its_count() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let rates = rates("20:1,100:10");
            let mut allowance = rates.allowance();
            let (mut now, mut given) = (START, 0);
            while now < START + Span::from_s(100) {
                given += 1;
                let ready_at = allowance.spend(&rates, now, 1);
                now = ready_at.max(now) + Span::from_ns(prng.below(30_000_000));
            }
            let seconds = now.since(START).s() + 1;
            assert!(given <= 100 + 10 * seconds, "{given} in {seconds} s");
            assert!(given > 5 * seconds, "{given} in {seconds} s");
        }
    }

    #[test]
    fn an_overdraft_is_paid_back_first() {
        let rates = rates("1000:1");
        let mut allowance = rates.allowance();
        let ready_at = allowance.spend(&rates, START, 5_000);
        assert_eq!(ready_at.since(START), Span::from_ms(4_001));
        assert!(!allowance.is_full(ready_at));
        assert!(allowance.is_full(START + Span::from_s(5)));
    }

    #[test]
    fn a_clock_that_leaps_fills_a_bucket_and_no_more() {
        let rate = Rate::new(5, Span::from_s(1));
        let mut bucket = Bucket::default();
        bucket.spend(rate, START, 5);
        let later = START + Span::from_s(10 * 365 * 86_400);
        assert_eq!((0..100).filter(|_| bucket.take(rate, later)).count(), 5);
        bucket.spend(rate, Instant::NEVER, u64::MAX);
        assert!(!bucket.take(rate, later));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let rate = Rate::new(2, Span::from_s(60));
        let mut bucket = Bucket::default();
        assert!(bucket.take(rate, START) && bucket.take(rate, START) && !bucket.take(rate, START));
        bucket.give_back(rate);
        assert!(bucket.take(rate, START) && !bucket.take(rate, START));
    }
}
