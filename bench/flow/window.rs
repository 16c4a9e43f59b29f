//! The closed loop of one publisher, as the subscribers of one thread see it: which messages all of them have behind
//! them.
//!
//! Why counted per message: a fan-out publisher may go on only when the slowest subscriber has followed, and a total
//! would let ninety-nine fast ones hide one slow one.
//!
//! Invariants:
//! - At most `limit` messages are between `done` and the newest one sent.
//! - A message overtaken by a later one counts as passed, so one lost message never closes the window.

use crate::number::place;

/// Messages of one publisher that wait for some of this thread's subscribers.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    done: u64,
    subscribers: u32,
    mask: u64,
    missing: Box<[u32]>,
}

impl Window {
    /// A window of `limit` messages towards `subscribers` subscribers of this thread.
    pub(crate) fn new(limit: u64, subscribers: u32) -> Self {
        assert!(limit > 0, "a closed loop needs a window");
        assert!(subscribers > 0, "a window watches at least one subscriber");
        let slots = limit.next_power_of_two();
        Self { done: 0, subscribers, mask: slots - 1, missing: vec![subscribers; place(slots)].into() }
    }

    /// Notes that one subscriber has the messages `first..=last` behind it; tells whether `done` advanced.
    #[inline]
    pub(crate) fn pass(&mut self, first: u64, last: u64) -> bool {
        for message in first.max(self.done)..=last {
            let missing = &mut self.missing[place(message & self.mask)];
            *missing = missing.saturating_sub(1);
        }
        let before = self.done;
        while self.done <= last && self.missing[place(self.done & self.mask)] == 0 {
            self.missing[place(self.done & self.mask)] = self.subscribers;
            self.done += 1;
        }
        self.done != before
    }

    /// Gives up waiting for everything below `sent`: it was lost.
    pub(crate) fn forgive(&mut self, sent: u64) {
        self.done = self.done.max(sent);
        self.missing.fill(self.subscribers);
    }

    /// Messages that all subscribers have behind them.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_done_when_the_last_subscriber_has_it() {
        let mut window = Window::new(4, 3);
        assert!(!window.pass(0, 0));
        assert!(!window.pass(0, 0));
        assert!(window.pass(0, 0));
        assert_eq!(window.done(), 1);
    }

    #[test]
    fn a_fast_subscriber_does_not_stand_in_for_a_slow_one() {
        let mut window = Window::new(4, 2);
        for message in 0..4 {
            assert!(!window.pass(message, message));
        }
        assert_eq!(window.done(), 0);
        assert!(window.pass(0, 0));
        assert!(window.pass(1, 3));
        assert_eq!(window.done(), 4);
    }

    #[test]
    fn slots_are_used_again_after_the_window_moved_on() {
        let mut window = Window::new(3, 2);
        for message in 0..1_000 {
            assert!(!window.pass(message, message));
            assert!(window.pass(message, message));
        }
        assert_eq!(window.done(), 1_000);
    }

    #[test]
    fn an_overtaken_message_does_not_close_the_window() {
        let mut window = Window::new(4, 1);
        assert!(window.pass(0, 2));
        assert_eq!(window.done(), 3);
    }

    #[test]
    fn forgiving_reopens_the_window_and_late_comers_do_no_harm() {
        let mut window = Window::new(4, 2);
        window.pass(0, 3);
        window.forgive(4);
        assert_eq!(window.done(), 4);
        assert!(!window.pass(0, 4), "the slow subscriber catches up and has the next one too");
        assert!(window.pass(4, 4));
        assert_eq!(window.done(), 5);
    }
}
