//! What each subscriber should have received, in a world where everybody comes and goes.
//!
//! Why intervals: a subscriber is owed the messages between the moment when its subscription was confirmed and the
//! moment when it gave it up; what was under way at either end may or may not come.
//!
//! Invariants:
//! - Messages of a source are numbered by their place in its timetable, also those that could not be sent.

use crate::ledger::{Arrival, Seen};

/// Messages of one client and one line of the scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// When the first message is due.
    pub(super) start_ns: u64,
    /// Between two messages.
    pub(super) every_ns: u64,
    /// Messages whose time has come.
    pub(super) passed: u64,
    /// Ranges of messages that were not sent, or that a cut may have swallowed.
    doubtful: Vec<(u64, u64)>,
}

impl Source {
    /// A source with this time between messages; when it starts is said later.
    pub(super) fn every(every_ns: u64) -> Self {
        Self { every_ns, ..Self::default() }
    }

    /// When message `number` is due.
    pub(super) fn due_ns(&self, number: u64) -> u64 {
        self.start_ns + number * self.every_ns
    }

    /// Messages whose time had come at `at_ns`.
    pub(super) fn passed_at(&self, at_ns: u64) -> u64 {
        let due =
            at_ns.checked_sub(self.start_ns).map_or(0, |elapsed_ns| elapsed_ns / self.every_ns.max(1) + 1);
        due.min(self.passed)
    }

    /// Nobody is owed the messages `from..to`.
    pub(super) fn doubt(&mut self, from: u64, to: u64) {
        match self.doubtful.last_mut() {
            Some((_, last)) if *last >= from => *last = to.max(*last),
            _ if from < to => self.doubtful.push((from, to)),
            _ => {} // An empty range.
        }
    }

    fn is_doubtful(&self, number: u64) -> bool {
        let at = self.doubtful.partition_point(|&(_, to)| to <= number);
        self.doubtful.get(at).is_some_and(|&(from, _)| from <= number)
    }
}

/// One source as one subscriber sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Confirmed subscriptions of the client that match the source.
    pub(super) depth: u32,
    open_since: Option<u64>,
    owed: Vec<(u64, u64)>,
    seen: Seen,
    newest: u64,
}

impl Record {
    /// From message `from` on, everything is owed.
    pub(super) fn open(&mut self, from: u64) {
        self.open_since.get_or_insert(from);
    }

    /// From message `to` on, nothing is owed.
    pub(super) fn close(&mut self, to: u64) {
        if let Some(from) = self.open_since.take()
            && from < to
        {
            self.owed.push((from, to));
        }
    }

    /// Whether messages are owed now.
    pub(super) fn is_open(&self) -> bool {
        self.open_since.is_some()
    }

    /// Enters one arrival; what several subscriptions brought in several copies is not a repetition.
    pub(super) fn note(&mut self, sequence: u32, passed: u64) -> Arrival {
        match self.seen.note(sequence, passed) {
            Arrival::Newest { last, .. } if last < self.newest => Arrival::Late,
            Arrival::Newest { first, last } => {
                self.newest = last + 1;
                Arrival::Newest { first, last }
            }
            other => other,
        }
    }

    /// Messages that are owed.
    pub(super) fn owed(&self, source: &Source) -> u64 {
        self.count(source, |_| true)
    }

    /// Messages that are owed and have not come.
    pub(super) fn lost(&self, source: &Source) -> u64 {
        self.count(source, |number| !self.seen.has(number))
    }

    fn count(&self, source: &Source, counts: impl Fn(u64) -> bool) -> u64 {
        let owed = self.owed.iter().flat_map(|&(from, to)| from..to);
        crate::number::wide(owed.filter(|&number| !source.is_doubtful(number) && counts(number)).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(passed: u64) -> Source {
        Source { start_ns: 1_000, every_ns: 100, passed, ..Source::default() }
    }

    #[test]
    fn a_subscriber_is_owed_what_lies_between_its_subscriptions_and_nothing_else() {
        let source = source(20);
        let mut record = Record::default();
        assert!(matches!(record.note(1, 20), Arrival::Newest { .. }), "a retained one, before");
        record.open(3);
        for number in [3, 4, 6, 9] {
            record.note(number, 20);
        }
        record.close(8);
        record.close(19);
        assert_eq!((record.owed(&source), record.lost(&source)), (5, 2), "5 and 7");
        assert_eq!(record.note(5, 20), Arrival::Late);
        assert_eq!(record.note(5, 20), Arrival::Duplicate);
        assert_eq!(record.lost(&source), 1);
    }

    #[test]
    fn nobody_is_owed_what_was_not_sent() {
        let mut source = source(10);
        source.doubt(2, 3);
        source.doubt(3, 5);
        source.doubt(7, 7);
        source.doubt(8, 9);
        let mut record = Record::default();
        record.open(0);
        record.close(10);
        assert_eq!((record.owed(&source), record.lost(&source)), (6, 6));
    }

    #[test]
    fn the_timetable_tells_what_had_passed_when() {
        let source = source(5);
        assert_eq!([999, 1_000, 1_099, 1_100, 9_999].map(|at_ns| source.passed_at(at_ns)), [0, 1, 1, 2, 5]);
        assert_eq!(source.due_ns(3), 1_300);
    }
}
