//! The open loop: when each message is due, whatever the broker does.
//!
//! Why arithmetic instead of timers: all publishers share one interval, so the order in which they fall due is a
//! circle, and the intended time of any message follows from its number. A generator that falls behind sends late but
//! never forgets when it should have sent; latencies count from there (no coordinated omission).
//!
//! Invariants:
//! - Publishers are spread evenly over the interval, also when several threads share them.

use crate::number::{place, wide};

/// The timetable of a whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    /// When the first publisher's first message is due.
    pub(crate) start_ns: u64,
    /// Between two messages of one publisher.
    pub(crate) interval_ns: u64,
    /// Publishers in the whole run.
    pub(crate) publishers: u32,
}

impl Schedule {
    /// When message `count` of publisher `number` is due.
    #[inline]
    pub(crate) fn intended_ns(&self, number: u32, count: u64) -> u64 {
        self.start_ns + self.offset_ns(number) + count * self.interval_ns
    }

    /// How many messages of publisher `number` are due at `now_ns`.
    #[inline]
    pub(crate) fn due(&self, number: u32, now_ns: u64) -> u64 {
        match now_ns.checked_sub(self.start_ns + self.offset_ns(number)) {
            Some(elapsed_ns) => elapsed_ns / self.interval_ns + 1,
            None => 0,
        }
    }

    fn offset_ns(&self, number: u32) -> u64 {
        let scaled = u128::from(self.interval_ns) * u128::from(number) / u128::from(self.publishers);
        u64::try_from(scaled).expect("an offset is shorter than the interval")
    }
}

/// One thread's finger on the timetable: which of its publishers is due next.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    schedule: Schedule,
    numbers: Box<[u32]>,
    position: u64,
}

impl Cursor {
    /// A finger over the publishers `numbers`, in rising order.
    pub(crate) fn new(schedule: Schedule, numbers: Box<[u32]>) -> Self {
        Self { schedule, numbers, position: 0 }
    }

    /// The local place of the next publisher that is due at `now_ns`, and moves on.
    pub(crate) fn next_due(&mut self, now_ns: u64) -> Option<usize> {
        let due_ns = self.next_due_ns()?;
        if due_ns > now_ns {
            return None;
        }
        let local = self.position % wide(self.numbers.len());
        self.position += 1;
        Some(place(local))
    }

    /// When the next message of this thread is due; `None` for a thread without publishers.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        let publishers = wide(self.numbers.len());
        let round = self.position.checked_div(publishers)?;
        let number = self.numbers[place(self.position % publishers)];
        Some(self.schedule.intended_ns(number, round))
    }

    /// The whole timetable.
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { start_ns: 1_000, interval_ns: 100, publishers: 4 };

    #[test]
    fn publishers_are_spread_over_the_interval() {
        assert_eq!([0, 1, 2, 3].map(|number| SCHEDULE.intended_ns(number, 0)), [1_000, 1_025, 1_050, 1_075]);
        assert_eq!(SCHEDULE.intended_ns(1, 3), 1_325);
    }

    #[test]
    fn a_message_is_due_from_its_intended_time_on() {
        assert_eq!(SCHEDULE.due(1, 1_024), 0);
        assert_eq!(SCHEDULE.due(1, 1_025), 1);
        assert_eq!(SCHEDULE.due(1, 1_324), 3);
        assert_eq!(SCHEDULE.due(1, 1_325), 4);
    }

    #[test]
    fn a_late_cursor_catches_up_in_order_and_skips_nobody() {
        let mut cursor = Cursor::new(SCHEDULE, [1, 3].into());
        assert_eq!(cursor.next_due(1_000), None);
        let mut order = vec![];
        while let Some(local) = cursor.next_due(1_225) {
            order.push(local);
        }
        assert_eq!(order, [0, 1, 0, 1, 0]);
        assert_eq!(cursor.next_due_ns(), Some(1_275));
    }

    #[test]
    fn a_thread_without_publishers_has_nothing_due() {
        let mut cursor = Cursor::new(SCHEDULE, [].into());
        assert_eq!(cursor.next_due(u64::MAX / 2), None);
        assert_eq!(cursor.next_due_ns(), None);
    }
}
