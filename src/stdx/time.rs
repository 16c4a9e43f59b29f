//! Time as a value: monotonic instants, spans, and wall-clock milliseconds.
//!
//! Why not `std::time`: the simulator owns time, so an instant must be constructible, and eight bytes are enough for
//! a field that every session carries.
//!
//! Invariants:
//! - `Instant` is nanoseconds since the process (or the simulation) began; all cores of one process share the origin.
//! - Arithmetic saturates; a deadline in the far future never wraps into the past.

use std::ops::{Add, Sub};

/// A point on the monotonic clock, in nanoseconds since the process began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(u64);

/// Milliseconds since the Unix epoch, for people and for disk; never for deadlines, because it may jump.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallMs(pub u64);

impl Instant {
    /// The beginning of the process or of the simulation.
    pub const START: Instant = Instant(0);
    /// A deadline that never comes.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// Makes an instant from nanoseconds since the beginning.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the beginning.
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Instant) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// Makes a span from nanoseconds.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Makes a span from milliseconds, saturating.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Makes a span from seconds, saturating.
    #[must_use]
    pub const fn from_s(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn s(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl Add<Span> for Instant {
    type Output = Instant;
    fn add(self, span: Span) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Instant {
    type Output = Instant;
    fn sub(self, span: Span) -> Instant {
        Instant(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_past_the_end_of_time_never_wraps() {
        assert_eq!(Instant::from_ns(u64::MAX - 1) + Span::from_s(10), Instant::NEVER);
        assert_eq!(Span::from_s(u64::MAX).ns(), u64::MAX);
    }

    #[test]
    fn since_is_zero_when_time_runs_backwards() {
        assert_eq!(Instant::from_ns(1).since(Instant::from_ns(5)), Span::ZERO);
    }
}
