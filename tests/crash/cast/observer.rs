//! An observer of retained messages: a new client each time, that subscribes to all of them and compares.
//!
//! Why a floor and not a value: while writers write, any value from the last settled one on is right; in a drain that is
//! exactly one.
//!
//! Invariants:
//! - A retained value below the floor at SUBSCRIBE is stale; a topic that must have a value and shows none is lost.

use std::collections::BTreeMap;

use super::seat::{Actor, Known, Moment, Phase, Seat, Want};
use crate::book::{Book, Kind, Rule, Stream};
use crate::payload;
use crate::wire::{self, Ack, Answer, Publish, Version};

/// An observer.
#[derive(Debug)]
pub struct Observer {
    seat: Seat,
    serial: u64,
    /// Per retained stream: the first number that was not settled at SUBSCRIBE, and what was seen.
    topics: BTreeMap<usize, (u64, Option<u64>)>,
    is_subscribed: bool,
    is_seen: bool,
}

impl Observer {
    /// An observer.
    #[must_use]
    pub fn new(client_id: String, version: Version) -> Self {
        Self {
            seat: Seat::new(client_id, version),
            serial: 0,
            topics: BTreeMap::new(),
            is_subscribed: false,
            is_seen: false,
        }
    }

    /// Whether a topic must show a value: it was settled with one and nothing after that clears.
    fn must_show(stream: &Stream, settled: u64) -> bool {
        let last = settled.checked_sub(1);
        last.is_some_and(|last| (last..stream.sent).all(|counter| !Stream::is_clear(counter)))
    }

    fn lacking<'a>(&'a self, book: &'a Book) -> impl Iterator<Item = usize> + 'a {
        let lacks = |(number, (settled, seen)): (&usize, &(u64, Option<u64>))| {
            let is_lacking = seen.is_none() && Self::must_show(&book.streams[*number], *settled);
            is_lacking.then_some(*number)
        };
        self.topics.iter().filter_map(lacks)
    }

    fn receive(&mut self, publish: &Publish<'_>, book: &mut Book) {
        if publish.payload.is_empty() {
            return;
        }
        let Some((number, counter)) = payload::read(book.run, publish.payload) else {
            book.accuse(
                Rule::Unwanted,
                format!("retained {} with a payload that nobody sent", publish.topic),
            );
            return;
        };
        let number = usize::try_from(number).expect("an index");
        let Some((settled, seen)) = self.topics.get_mut(&number) else {
            book.accuse(Rule::Unwanted, format!("retained {}", publish.topic));
            return;
        };
        *seen = Some(counter);
        let settled = *settled;
        if book.streams[number].topic != publish.topic || counter >= book.streams[number].sent {
            book.accuse(Rule::Unwanted, format!("retained {} #{counter}", publish.topic));
        } else if publish.is_retained && counter + 1 < settled {
            let text = format!("{} although #{} was settled", book.name(number, counter), settled - 1);
            book.accuse(Rule::RetainedLost, text);
        }
        book.sums.retained_seen += 1;
    }
}

impl Actor for Observer {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn want(&mut self, _: &mut Moment, _: &mut Book) -> Want {
        self.serial += 1;
        self.seat.known = Known::Nothing;
        let mut terms = self.seat.resume();
        terms.client_id = format!("{}-{}", self.seat.client_id, self.serial);
        terms.is_clean = true;
        terms.expiry_s = 0;
        Want::Here(terms)
    }

    fn welcome(&mut self, _: bool, out: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        let numbered = book.streams.iter().enumerate();
        let retained = numbered.filter(|(_, stream)| stream.kind == Kind::Retained);
        self.topics = retained.map(|(number, stream)| (number, (stream.settled(), None))).collect();
        (self.is_subscribed, self.is_seen) = (false, false);
        wire::subscribe(out, self.seat.version, 1, "r/#", 1);
    }

    fn hear(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        match *answer {
            Answer::SubAck { .. } => self.is_subscribed = true,
            Answer::Publish(ref publish) => {
                self.receive(publish, book);
                if publish.qos == 1 {
                    wire::ack(out, Ack::PubAck, publish.packet_id);
                }
            }
            ref other => book.accuse(Rule::Protocol, format!("{}: {other:?}", self.seat.client_id)),
        }
    }

    fn act(&mut self, _: &mut Vec<u8>, book: &mut Book, moment: &mut Moment) {
        let is_complete = self.is_subscribed && self.lacking(book).next().is_none();
        // Looks again and again under load, and once more after everything is settled.
        if is_complete && moment.phase == Phase::Load && moment.dice.one_in(200) {
            self.seat.is_cut = true;
        }
        if is_complete && moment.phase == Phase::Drain && !self.is_seen && book.is_settled() {
            let is_fresh =
                self.topics.iter().all(|(number, (settled, _))| *settled == book.streams[*number].sent);
            self.is_seen = is_fresh;
            self.seat.is_cut = !is_fresh;
        }
    }

    fn lose(&mut self, _: &mut Moment, _: &mut Book) {
        (self.is_subscribed, self.is_seen) = (false, false);
    }

    fn is_done(&self, _: &Book) -> bool {
        self.is_seen
    }

    fn write_off(&mut self, book: &mut Book) {
        let lacking: Vec<usize> = self.lacking(book).collect();
        for number in lacking {
            let last = self.topics[&number].0.saturating_sub(1);
            book.accuse(Rule::RetainedLost, format!("nothing for {}", book.name(number, last)));
        }
        self.seat.is_cut = true;
    }
}
