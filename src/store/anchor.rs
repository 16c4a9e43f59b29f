//! Translates between the process's clock and the one on the wall.
//!
//! Why: an instant counts from the start of a process, so on disk it would mean nothing to the next one. What has to
//! expire while the broker is down must be known as a wall-clock time.
//!
//! Invariants:
//! - `Instant::NEVER` stays never. A time that has passed before the process began becomes its beginning.

use stdx::{Instant, Span, WallMs};

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    /// On the process's clock.
    pub at: Instant,
    /// On the wall.
    pub wall: WallMs,
}

const NEVER_MS: u64 = u64::MAX;

impl Anchor {
    /// Milliseconds since the Unix epoch, rounded up; `u64::MAX` is never.
    pub(crate) fn wall_ms(self, instant: Instant) -> u64 {
        if instant == Instant::NEVER {
            return NEVER_MS;
        }
        if instant >= self.at {
            let after_ms = instant.since(self.at).ns().div_ceil(1_000_000);
            return self.wall.0.saturating_add(after_ms).min(NEVER_MS - 1);
        }
        self.wall.0.saturating_sub(self.at.since(instant).ms())
    }

    /// The other way round.
    pub(crate) fn instant(self, wall_ms: u64) -> Instant {
        if wall_ms == NEVER_MS {
            return Instant::NEVER;
        }
        if wall_ms >= self.wall.0 {
            // Far beyond any life of a process, but not never.
            return (self.at + Span::from_ms(wall_ms - self.wall.0)).min(Instant::from_ns(u64::MAX - 1));
        }
        self.at - Span::from_ms(self.wall.0 - wall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHOR: Anchor = Anchor { at: Instant::from_ns(5_000_000_000), wall: WallMs(1_700_000_000_000) };

    #[test]
    fn a_moment_keeps_its_place_on_the_other_clock() {
        for ms in [0, 1, 4_999, 5_000, 5_001, 1_000_000] {
            let instant = Instant::START + Span::from_ms(ms);
            assert_eq!(ANCHOR.wall_ms(instant), 1_700_000_000_000 + ms - 5_000);
            assert_eq!(ANCHOR.instant(ANCHOR.wall_ms(instant)), instant);
        }
    }

    #[test]
    fn never_is_never_and_long_ago_is_the_beginning() {
        assert_eq!(ANCHOR.instant(ANCHOR.wall_ms(Instant::NEVER)), Instant::NEVER);
        assert_eq!(ANCHOR.instant(0), Instant::START);
        assert!(ANCHOR.instant(NEVER_MS - 1) < Instant::NEVER);
        assert!(ANCHOR.wall_ms(Instant::from_ns(u64::MAX - 1)) < NEVER_MS);
    }

    #[test]
    fn what_ends_while_the_broker_is_down_has_ended() {
        let later = Anchor { at: Instant::from_ns(7), wall: WallMs(1_700_000_060_000) };
        let ends_at = ANCHOR.at + Span::from_s(30);
        assert!(later.instant(ANCHOR.wall_ms(ends_at)) <= later.at);
        let ends_at = ANCHOR.at + Span::from_s(90);
        assert_eq!(later.instant(ANCHOR.wall_ms(ends_at)), later.at + Span::from_s(30));
    }
}
