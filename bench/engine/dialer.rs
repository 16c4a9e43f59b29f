//! Who dials next and when.
//!
//! Why bounded: more simultaneous handshakes than the broker's accept queue holds are answered by silence and a
//! one-second retry, which would measure the kernel and not the broker.
//!
//! Invariants:
//! - At most `HANDSHAKES_MAX` clients of one thread are between dialling and ready.

/// Clients of one thread that may be between dialling and ready.
/// Mosquitto's accept queue holds 100.
const HANDSHAKES_MAX: usize = 64;
/// How much lateness may be made up by dialling faster; after a longer pause the rate simply begins again.
const CATCH_UP_NS: u64 = 100_000_000;

/// One thread's order of dialling.
#[derive(Debug)]
pub(crate) struct Dialer {
    next: usize,
    under_way: usize,
    gap_ns: u64,
    next_ns: u64,
}

impl Dialer {
    /// Dials every `gap_ns`, first at `start_ns`; a gap of 0 dials as fast as handshakes end.
    pub(crate) fn new(gap_ns: u64, start_ns: u64) -> Self {
        Self { next: 0, under_way: 0, gap_ns, next_ns: start_ns }
    }

    /// The next client to dial, of the first `allowed`, if its time has come.
    pub(crate) fn next(&mut self, allowed: usize, now_ns: u64) -> Option<usize> {
        if self.next_due_ns(allowed)? > now_ns {
            return None;
        }
        let client = self.next;
        self.next += 1;
        self.under_way += 1;
        self.next_ns = (self.next_ns + self.gap_ns).max(now_ns.saturating_sub(CATCH_UP_NS));
        Some(client)
    }

    /// A handshake ended, well or badly.
    pub(crate) fn settle(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// When the next client may be dialled; `None` when somebody else has to finish first.
    pub(crate) fn next_due_ns(&self, allowed: usize) -> Option<u64> {
        (self.next < allowed && self.under_way < HANDSHAKES_MAX).then_some(self.next_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_dialled_at_the_given_rate() {
        let mut dialer = Dialer::new(10, 100);
        assert_eq!(dialer.next(3, 99), None);
        assert_eq!((dialer.next(3, 115), dialer.next(3, 115), dialer.next(3, 115)), (Some(0), Some(1), None));
        assert_eq!(dialer.next_due_ns(3), Some(120));
    }

    #[test]
    fn handshakes_under_way_are_bounded() {
        let mut dialer = Dialer::new(0, 0);
        let dialled = std::iter::from_fn(|| dialer.next(10_000, 1)).count();
        assert_eq!(dialled, HANDSHAKES_MAX);
        dialer.settle();
        assert_eq!(dialer.next(10_000, 1), Some(HANDSHAKES_MAX));
    }

    #[test]
    fn a_long_pause_is_not_made_up_by_a_burst() {
        let mut dialer = Dialer::new(CATCH_UP_NS / 2, 0);
        let later_ns = 1_000 * CATCH_UP_NS;
        let dialled = std::iter::from_fn(|| dialer.next(10_000, later_ns)).count();
        assert_eq!(dialled, 4);
    }

    #[test]
    fn the_allowance_is_a_limit() {
        let mut dialer = Dialer::new(0, 0);
        assert_eq!((dialer.next(1, 1), dialer.next(1, 1), dialer.next(2, 1)), (Some(0), None, Some(1)));
    }
}
