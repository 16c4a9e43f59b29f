//! What one subscriber is owed of one stream, and what it has got.
//!
//! Why edges: a subscriber's right to a message changes only when it subscribes or unsubscribes, so the numbers of a stream
//! fall into few stretches, each forbidden, optional or owed.
//!
//! Invariants:
//! - `next` is one more than the highest number received.
//! - `missing` holds numbers below `next` that were owed when a later one came; they are lost, or late.

use std::collections::BTreeSet;

use crate::book::Stream;

/// More than any window.
const PASSED_OVER_MAX: usize = 256;

/// What a subscriber may expect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// It must not come: the subscriber had left, or had not come yet.
    Forbidden,
    /// It may come.
    Optional,
    /// It must come.
    Owed,
}

/// What to think of an arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It came for the first time, in its order.
    New,
    /// It came for the first time, after a later one.
    Late,
    /// It has come before.
    Again,
    /// It should not have come.
    Unwanted,
}

/// One subscriber and one stream.
#[derive(Clone, Debug)]
pub struct Track {
    /// From which number on which duty holds, rising.
    edges: Vec<(u64, Duty)>,
    next: u64,
    missing: BTreeSet<u64>,
    /// Numbers that were passed over while they were neither owed nor acknowledged: their publisher may repeat them.
    passed_over: BTreeSet<u64>,
    /// Numbers below belong to an earlier session.
    floor: u64,
}

impl Default for Track {
    fn default() -> Self {
        Self::from(0)
    }
}

impl Track {
    /// A track of a session that begins now: nothing is owed, and nothing below `floor` may come.
    #[must_use]
    pub fn from(floor: u64) -> Self {
        Self {
            edges: vec![(0, Duty::Forbidden)],
            next: floor,
            missing: BTreeSet::new(),
            passed_over: BTreeSet::new(),
            floor,
        }
    }

    /// From number `from` on `duty` holds.
    pub fn turn(&mut self, from: u64, duty: Duty) {
        self.edges.retain(|(start, _)| *start < from);
        if duty != Duty::Owed {
            self.missing.retain(|counter| *counter < from);
        }
        // Stretches that have passed are forgotten, except the last, which holds now.
        let passed = self.edges.iter().filter(|(start, _)| *start <= self.next).count();
        self.edges.drain(..passed.saturating_sub(1));
        self.edges.push((from, duty));
    }

    fn duty(&self, counter: u64) -> Duty {
        let after = self.edges.partition_point(|(start, _)| *start <= counter);
        // What lies before everything remembered has passed: nothing was owed there any more.
        after.checked_sub(1).map_or(Duty::Optional, |index| self.edges[index].1)
    }

    /// A message has arrived.
    pub fn arrive(&mut self, stream: &Stream, counter: u64) -> Arrival {
        if counter >= stream.sent || counter < self.floor {
            return Arrival::Unwanted;
        }
        if counter < self.next {
            if self.passed_over.remove(&counter) {
                return Arrival::New;
            }
            return if self.missing.remove(&counter) { Arrival::Late } else { Arrival::Again };
        }
        if self.duty(counter) == Duty::Forbidden {
            return Arrival::Unwanted;
        }
        self.missing.extend(owed(self, stream, self.next, counter).collect::<Vec<_>>());
        let open = stream.open.range(self.next..counter).copied();
        self.passed_over.extend(open.filter(|counter| !self.missing.contains(counter)));
        // A publisher repeats no more than its window holds.
        while self.passed_over.len() > PASSED_OVER_MAX {
            self.passed_over.pop_first();
        }
        self.next = counter + 1;
        Arrival::New
    }

    /// Everything that is owed now and has not come, in order.
    pub fn outstanding<'a>(&'a self, stream: &'a Stream) -> impl Iterator<Item = u64> + 'a {
        self.missing.iter().copied().chain(owed(self, stream, self.next, stream.sent))
    }

    /// Forgets what is outstanding, after it has been counted as lost.
    pub fn write_off(&mut self, stream: &Stream) {
        self.missing.clear();
        self.next = stream.sent;
    }
}

fn owed<'a>(track: &'a Track, stream: &'a Stream, from: u64, to: u64) -> impl Iterator<Item = u64> + 'a {
    let is_plain = stream.kind == crate::book::Kind::Plain;
    (from..to).filter(move |counter| {
        is_plain && track.duty(*counter) == Duty::Owed && !stream.refused.contains(counter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{Book, Kind};

    fn book(sent: u64) -> Book {
        let mut book = Book::default();
        let stream = book.open(0, "t".into(), 2, Kind::Plain);
        for _ in 0..sent {
            book.send(stream);
        }
        book
    }

    fn arrivals(track: &mut Track, book: &Book, counters: &[u64]) -> Vec<Arrival> {
        counters.iter().map(|counter| track.arrive(&book.streams[0], *counter)).collect()
    }

    #[test]
    fn a_gap_in_what_is_owed_is_seen_and_stays_outstanding() {
        let book = book(5);
        let mut track = Track::default();
        track.turn(0, Duty::Owed);
        assert_eq!(arrivals(&mut track, &book, &[0, 2]), [Arrival::New, Arrival::New]);
        assert_eq!(track.outstanding(&book.streams[0]).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(arrivals(&mut track, &book, &[1, 1, 2]), [Arrival::Late, Arrival::Again, Arrival::Again]);
        assert_eq!(track.outstanding(&book.streams[0]).collect::<Vec<_>>(), [3, 4]);
        track.write_off(&book.streams[0]);
        assert_eq!(track.outstanding(&book.streams[0]).count(), 0);
    }

    #[test]
    fn what_was_never_sent_or_never_subscribed_is_unwanted() {
        let book = book(4);
        let mut track = Track::default();
        assert_eq!(arrivals(&mut track, &book, &[0, 4]), [Arrival::Unwanted, Arrival::Unwanted]);
        track.turn(1, Duty::Optional);
        track.turn(2, Duty::Owed);
        assert_eq!(arrivals(&mut track, &book, &[0, 2]), [Arrival::Unwanted, Arrival::New]);
        track.turn(3, Duty::Forbidden);
        assert_eq!(arrivals(&mut track, &book, &[3]), [Arrival::Unwanted]);
        assert_eq!(track.outstanding(&book.streams[0]).count(), 0);
    }

    #[test]
    fn an_end_takes_back_what_was_owed_and_not_acknowledged() {
        let mut book = book(4);
        let mut track = Track::default();
        track.turn(0, Duty::Owed);
        assert_eq!(arrivals(&mut track, &book, &[3]), [Arrival::New]);
        book.acknowledge(0, 0, 0);
        track.turn(book.streams[0].settled(), Duty::Optional);
        assert_eq!(track.outstanding(&book.streams[0]).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_new_session_takes_what_is_repeated_and_nothing_older() {
        let mut book = book(3);
        book.acknowledge(0, 0, 0);
        let mut track = Track::from(book.streams[0].settled());
        track.turn(1, Duty::Optional);
        assert_eq!(arrivals(&mut track, &book, &[0, 2]), [Arrival::Unwanted, Arrival::New]);
        assert_eq!(arrivals(&mut track, &book, &[1, 1]), [Arrival::New, Arrival::Again]);
    }

    #[test]
    fn a_refused_message_is_not_owed() {
        let mut book = book(2);
        book.refuse(0, 0);
        let mut track = Track::default();
        track.turn(0, Duty::Owed);
        assert_eq!(arrivals(&mut track, &book, &[1]), [Arrival::New]);
    }
}
