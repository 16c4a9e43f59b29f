//! Who dials next and when.
//!
//! Why bounded: more simultaneous handshakes than the broker's accept queue holds are answered by silence and a
//! one-second retry, which would measure the kernel and not the broker.
//!
//! Invariants:
//! - At most `handshakes_max` clients of one thread are between dialling and ready.

use std::collections::VecDeque;

/// How much lateness may be made up by dialling faster; after a longer pause the rate simply begins again.
const CATCH_UP_NS: u64 = 100_000_000;

/// One thread's order of dialling.
#[derive(Debug)]
pub(crate) struct Dialer {
    next: usize,
    again: VecDeque<usize>,
    under_way: usize,
    handshakes_max: usize,
    gap_ns: u64,
    next_ns: u64,
}

/// Who is to be dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    /// The client.
    pub(crate) client: usize,
    /// When it should have been dialled; now, when there is no rate to keep.
    pub(crate) due_ns: u64,
}

impl Dialer {
    /// Dials every `gap_ns`, first at `start_ns`; a gap of 0 dials as fast as handshakes end. At most
    /// `handshakes_max` clients are on their way at once.
    pub(crate) fn new(gap_ns: u64, start_ns: u64, handshakes_max: usize) -> Self {
        Self { next: 0, again: VecDeque::new(), under_way: 0, handshakes_max, gap_ns, next_ns: start_ns }
    }

    /// The next client to dial, of those that come again and then of the first `allowed`, if its time has come.
    pub(crate) fn next(&mut self, allowed: usize, now_ns: u64) -> Option<Due> {
        let due_ns = self.next_due_ns(allowed)?;
        if due_ns > now_ns {
            return None;
        }
        let client = self.again.pop_front().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.under_way += 1;
        self.next_ns = (self.next_ns + self.gap_ns).max(now_ns.saturating_sub(CATCH_UP_NS));
        Some(Due { client, due_ns: if self.gap_ns == 0 { now_ns } else { due_ns } })
    }

    /// Dials a client that has been dialled before once more.
    pub(crate) fn again(&mut self, client: usize) {
        self.again.push_back(client);
    }

    /// A handshake ended, well or badly.
    pub(crate) fn settle(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// When the next client may be dialled; `None` when somebody else has to finish first.
    pub(crate) fn next_due_ns(&self, allowed: usize) -> Option<u64> {
        let waiting = !self.again.is_empty() || self.next < allowed;
        (waiting && self.under_way < self.handshakes_max).then_some(self.next_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(dialer: &mut Dialer, allowed: usize, now_ns: u64) -> Vec<usize> {
        std::iter::from_fn(|| dialer.next(allowed, now_ns)).map(|due| due.client).collect()
    }

    #[test]
    fn clients_are_dialled_at_the_given_rate_and_told_when_they_were_due() {
        let mut dialer = Dialer::new(10, 100, 64);
        assert_eq!(dialer.next(3, 99), None);
        assert_eq!(dialer.next(3, 115), Some(Due { client: 0, due_ns: 100 }));
        assert_eq!(dialer.next(3, 115), Some(Due { client: 1, due_ns: 110 }));
        assert_eq!((dialer.next(3, 115), dialer.next_due_ns(3)), (None, Some(120)));
    }

    #[test]
    fn handshakes_under_way_are_bounded() {
        let mut dialer = Dialer::new(0, 0, 5);
        assert_eq!(clients(&mut dialer, 10_000, 1), [0, 1, 2, 3, 4]);
        dialer.settle();
        assert_eq!(dialer.next(10_000, 7), Some(Due { client: 5, due_ns: 7 }));
    }

    #[test]
    fn a_long_pause_is_not_made_up_by_a_burst() {
        let mut dialer = Dialer::new(CATCH_UP_NS / 2, 0, 64);
        assert_eq!(clients(&mut dialer, 10_000, 1_000 * CATCH_UP_NS).len(), 4);
    }

    #[test]
    fn the_allowance_is_a_limit_but_not_for_those_who_come_again() {
        let mut dialer = Dialer::new(0, 0, 64);
        assert_eq!(clients(&mut dialer, 1, 1), [0]);
        dialer.again(0);
        assert_eq!(clients(&mut dialer, 2, 1), [0, 1]);
    }
}
