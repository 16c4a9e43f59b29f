//! How long a connection below 5.0 may be left unread because its device says too much.
//!
//! Why not for ever: while it is left unread nobody reads its PINGREQ, and a device that hears no answer ends the connection,
//! comes back and says it again. Half of its keep alive leaves it the other half to hear from us. That is a third of the
//! silence after which we would end the connection.
//!
//! Why patience grows again while the connection is read, as fast as it was used up: then whatever is sent is read within that
//! time, however much is said, and a device that is above its limit now and then never feels the end of it.
//!
//! Invariants:
//! - What is left is never above [`Patience::max_ms`].

use stdx::{Instant, Span};

/// The longest time, and that of a connection that may be silent for ever, in milliseconds.
const LONGEST_MS: u64 = 300_000;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Patience {
    max_ms: u64,
    left_ms: u64,
    /// Until when it is used up already.
    at: Instant,
    /// Whether it was told that there was none, since it was full.
    is_told: bool,
}

/// What to do with something that may not be said now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counsel {
    /// Leave the connection unread for so long.
    Wait(Span),
    /// Do without it; whether that is the first time in a while.
    Drop { is_first: bool },
}

impl Patience {
    /// All of it, for a connection that ends after so much silence; zero is never.
    pub fn new(silence_max: Span) -> Self {
        let third_ms = silence_max.ms() / 3;
        let max_ms = if third_ms == 0 { LONGEST_MS } else { third_ms.min(LONGEST_MS) };
        Self { max_ms, left_ms: max_ms, at: Instant::START, is_told: false }
    }

    /// Something may be said in `wanted_ms` and not before.
    pub fn ask(&mut self, now: Instant, wanted_ms: u64) -> Counsel {
        let read_ms = if now > self.at { now.since(self.at).ms() } else { 0 };
        self.left_ms = self.left_ms.saturating_add(read_ms).min(self.max_ms);
        self.at = self.at.max(now);
        self.is_told &= self.left_ms < self.max_ms;
        // Crumbs are not worth it: once it is used up, half of it must have grown again.
        if self.left_ms < wanted_ms.min(self.max_ms / 2).max(1) {
            let is_first = !std::mem::replace(&mut self.is_told, true);
            return Counsel::Drop { is_first };
        }
        let given_ms = wanted_ms.min(self.left_ms);
        self.left_ms -= given_ms;
        self.at = now + Span::from_ms(given_ms);
        Counsel::Wait(Span::from_ms(given_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Counsel = Counsel::Drop { is_first: true };
    const AGAIN: Counsel = Counsel::Drop { is_first: false };

    fn wait(ms: u64) -> Counsel {
        Counsel::Wait(Span::from_ms(ms))
    }

    fn at(ms: u64) -> Instant {
        Instant::START + Span::from_ms(ms)
    }

    #[test]
    fn it_lasts_for_half_a_keep_alive_and_grows_while_the_connection_is_read() {
        let mut patience = Patience::new(Span::from_s(90));
        assert_eq!(patience.ask(at(0), 20_000), wait(20_000));
        assert_eq!(patience.ask(at(20_000), 20_000), FIRST, "ten seconds are left, and fifteen are half");
        assert_eq!(patience.ask(at(20_000), 20_000), AGAIN);
        assert_eq!(patience.ask(at(20_000), 9_000), wait(9_000), "what is short enough may still wait");
        assert_eq!(patience.ask(at(29_000), 20_000), AGAIN);
        assert_eq!(patience.ask(at(43_000), 20_000), wait(15_000), "it has grown for fourteen seconds");
        assert_eq!(patience.ask(at(58_000), 20_000), AGAIN);
        assert_eq!(patience.ask(at(88_000), 90_000), wait(30_000));
        assert_eq!(patience.ask(at(118_000), 60_000), FIRST, "it had been full in between");
    }

    #[test]
    fn what_would_wait_longer_than_it_lasts_waits_and_is_dropped() {
        let mut patience = Patience::new(Span::from_s(15));
        assert_eq!(patience.ask(at(0), 3_600_000), wait(5_000));
        assert_eq!(patience.ask(at(5_000), 3_595_000), FIRST);
        assert_eq!(patience.ask(at(5_001), 3_594_999), AGAIN);
        assert_eq!(patience.ask(at(7_500), 3_592_500), wait(2_500));
    }

    #[test]
    fn without_a_keep_alive_or_with_a_long_one_it_is_five_minutes() {
        for silence_s in [0, 100_000] {
            assert_eq!(Patience::new(Span::from_s(silence_s)).ask(at(0), u64::MAX), wait(LONGEST_MS));
        }
        assert_eq!(Patience::new(Span::from_ms(1_500)).ask(at(0), u64::MAX), wait(500));
    }
}
