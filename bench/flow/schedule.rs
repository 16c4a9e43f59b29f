//! The open loop: when each message is due, whatever the broker does.
//!
//! Why arithmetic instead of tables: the intended time of any message follows from its publisher's number and its own,
//! also for a million devices that each keep a period of their own. A generator that falls behind sends late but
//! never forgets when it should have sent; latencies count from there (no coordinated omission).
//!
//! Invariants:
//! - Evenly spread publishers divide the interval among them, also when several threads share them.
//! - The same number has the same period and the same start in every run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::number::{place, wide};

/// How publishers share an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spread {
    /// All keep the same interval and start one after the other.
    Even,
    /// Each keeps a period of its own, up to so many thousandths shorter or longer, and starts somewhere in it.
    Jittered {
        /// Thousandths of the interval, below 1,000.
        permille: u64,
    },
}

/// The timetable of a whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    /// When the first publisher's first message is due.
    pub(crate) start_ns: u64,
    /// Between two messages of one publisher, on average.
    pub(crate) interval_ns: u64,
    /// Publishers in the whole run.
    pub(crate) publishers: u32,
    /// How they share the interval.
    pub(crate) spread: Spread,
}

impl Schedule {
    /// When message `count` of publisher `number` is due.
    #[inline]
    pub(crate) fn intended_ns(&self, number: u32, count: u64) -> u64 {
        self.start_ns + self.offset_ns(number) + count * self.period_ns(number)
    }

    /// How many messages of publisher `number` are due at `now_ns`.
    #[inline]
    pub(crate) fn due(&self, number: u32, now_ns: u64) -> u64 {
        match now_ns.checked_sub(self.start_ns + self.offset_ns(number)) {
            Some(elapsed_ns) => elapsed_ns / self.period_ns(number) + 1,
            None => 0,
        }
    }

    #[inline]
    fn period_ns(&self, number: u32) -> u64 {
        match self.spread {
            Spread::Even => self.interval_ns,
            Spread::Jittered { permille } => {
                let drawn = draw(number, PERIOD_SALT) % (2 * permille + 1);
                part(self.interval_ns, 1_000 - permille + drawn, 1_000).max(1)
            }
        }
    }

    #[inline]
    fn offset_ns(&self, number: u32) -> u64 {
        match self.spread {
            Spread::Even => part(self.interval_ns, u64::from(number), u64::from(self.publishers)),
            Spread::Jittered { .. } => draw(number, START_SALT) % self.period_ns(number),
        }
    }
}

const PERIOD_SALT: u64 = 0x9e37_79b9_7f4a_7c15;
const START_SALT: u64 = 0xd1b5_4a32_d192_ed03;

fn part(whole: u64, numerator: u64, denominator: u64) -> u64 {
    let scaled = u128::from(whole) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(scaled).expect("intervals are below 2^62 and parts below twice the whole")
}

/// A number that looks random and is the same in every run. Source: the finaliser of splitmix64.
fn draw(number: u32, salt: u64) -> u64 {
    let mut mixed = u64::from(number).wrapping_add(1).wrapping_mul(salt);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One thread's finger on the timetable: which of its publishers is due next.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    schedule: Schedule,
    numbers: Box<[u32]>,
    turn: Turn,
}

#[derive(Clone, Debug)]
enum Turn {
    /// With one interval for all, the order is a circle, and the next one is the one behind.
    Circle(u64),
    /// Due time, local place and message count of everybody's next message.
    Queue(BinaryHeap<Reverse<(u64, usize, u64)>>),
}

impl Cursor {
    /// A finger over the publishers `numbers`, in rising order.
    pub(crate) fn new(schedule: Schedule, numbers: Box<[u32]>) -> Self {
        let first = |(local, &number): (usize, &u32)| Reverse((schedule.intended_ns(number, 0), local, 0));
        let turn = match schedule.spread {
            Spread::Even => Turn::Circle(0),
            Spread::Jittered { .. } => Turn::Queue(numbers.iter().enumerate().map(first).collect()),
        };
        Self { schedule, numbers, turn }
    }

    /// The local place of the next publisher that is due at `now_ns`, and moves on.
    pub(crate) fn next_due(&mut self, now_ns: u64) -> Option<usize> {
        if self.next_due_ns()? > now_ns {
            return None;
        }
        match &mut self.turn {
            Turn::Circle(position) => {
                let local = *position % wide(self.numbers.len());
                *position += 1;
                Some(place(local))
            }
            Turn::Queue(queue) => {
                let mut next = queue.peek_mut()?;
                let Reverse((_, local, count)) = *next;
                *next =
                    Reverse((self.schedule.intended_ns(self.numbers[local], count + 1), local, count + 1));
                Some(local)
            }
        }
    }

    /// When the next message of this thread is due; `None` for a thread without publishers.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        match &self.turn {
            Turn::Circle(position) => {
                let publishers = wide(self.numbers.len());
                let round = position.checked_div(publishers)?;
                Some(self.schedule.intended_ns(self.numbers[place(position % publishers)], round))
            }
            Turn::Queue(queue) => queue.peek().map(|Reverse((due_ns, ..))| *due_ns),
        }
    }

    /// The whole timetable.
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule =
        Schedule { start_ns: 1_000, interval_ns: 100, publishers: 4, spread: Spread::Even };
    const DEVICES: Schedule = Schedule { spread: Spread::Jittered { permille: 200 }, ..SCHEDULE };

    #[test]
    fn devices_keep_periods_of_their_own_within_the_jitter() {
        let periods: Vec<u64> = (0..1_000)
            .map(|number| DEVICES.intended_ns(number, 1) - DEVICES.intended_ns(number, 0))
            .collect();
        assert!(periods.iter().all(|period| (80..=120).contains(period)), "{periods:?}");
        assert!(periods.iter().any(|&period| period < 85) && periods.iter().any(|&period| period > 115));
        let starts: Vec<u64> = (0..1_000).map(|number| DEVICES.intended_ns(number, 0) - 1_000).collect();
        assert!(starts.iter().zip(&periods).all(|(start, period)| start < period));
        let early = starts.iter().filter(|&&start| start < 50).count();
        assert!((400..600).contains(&early), "{early} of 1,000 start in the first half");
    }

    #[test]
    fn a_queue_of_devices_gives_every_message_once_and_in_the_order_of_time() {
        let mut cursor = Cursor::new(DEVICES, (0..50).collect());
        let mut counts = [0_u64; 50];
        let mut last_ns = 0;
        while let Some(due_ns) = cursor.next_due_ns().filter(|&due_ns| due_ns < 11_000) {
            assert!(due_ns >= last_ns);
            last_ns = due_ns;
            let local = cursor.next_due(11_000).expect("it is due");
            let number = u32::try_from(local).expect("a small number");
            assert_eq!(due_ns, DEVICES.intended_ns(number, counts[local]));
            counts[local] += 1;
            assert_eq!(DEVICES.due(number, due_ns), counts[local]);
        }
        assert!(counts.iter().all(|count| (80..=130).contains(count)), "{counts:?}");
    }

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
