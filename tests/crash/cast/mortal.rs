//! Clients with delayed wills, and the one who waits for those wills.
//!
//! Why: the will of a lasting session is a promise of CONNACK. A broker that falls takes its clients' connections with it,
//! so every will of a client that does not come back is due after the delay.
//!
//! Invariants:
//! - A mortal stays away until its will has been read; then it lives again with a new one.

use std::collections::BTreeSet;

use super::seat::{Actor, Known, Moment, Phase, Seat, Want};
use crate::book::{Book, Rule};
use crate::wire::{self, Ack, Answer, Version, Will};

/// A client with a will.
#[derive(Debug)]
pub struct Mortal {
    seat: Seat,
    number: usize,
    life: u64,
    delay_s: u32,
    ends_ms: u64,
    is_mourned: bool,
    /// Cycles in which its life began and ended.
    cycles: (u64, u64),
}

impl Mortal {
    /// The mortal of this number, with a will delay.
    #[must_use]
    pub fn new(client_id: String, number: usize, delay_s: u32) -> Self {
        let seat = Seat::new(client_id, Version::V5);
        Self { seat, number, life: 0, delay_s, ends_ms: 0, is_mourned: true, cycles: (0, 0) }
    }

    fn testament(&self) -> String {
        format!("{} {}", self.number, self.life)
    }

    /// Looks for its will among those read.
    fn ask(&mut self, book: &mut Book, read: &BTreeSet<String>) {
        if !self.is_mourned && !self.seat.is_online && read.contains(&self.testament()) {
            self.is_mourned = true;
            book.sums.wills += 1;
        }
    }
}

impl Actor for Mortal {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn want(&mut self, moment: &mut Moment, book: &mut Book) -> Want {
        let read = std::mem::take(&mut book.wills);
        self.ask(book, &read);
        book.wills = read;
        if !self.is_mourned || !book.is_mourned || moment.phase != Phase::Load {
            return Want::Away;
        }
        self.life += 1;
        let mut terms = self.seat.resume();
        let topic = format!("w/{}", self.number);
        terms.will = Some(Will { topic, payload: self.testament().into_bytes(), delay_s: self.delay_s });
        Want::Here(terms)
    }

    fn welcome(&mut self, _: bool, _: &mut Vec<u8>, book: &mut Book, moment: &mut Moment) {
        self.seat.known = Known::Surely;
        self.is_mourned = false;
        self.cycles = (book.cycle, book.cycle);
        self.ends_ms = moment.now_ms + moment.dice.below(6000);
    }

    fn hear(&mut self, answer: &Answer<'_>, _: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        book.accuse(Rule::Protocol, format!("{}: {answer:?}", self.seat.client_id));
    }

    fn act(&mut self, _: &mut Vec<u8>, _: &mut Book, moment: &mut Moment) {
        if moment.phase == Phase::Drain || moment.now_ms >= self.ends_ms {
            self.seat.is_cut = true;
        }
    }

    fn lose(&mut self, _: &mut Moment, book: &mut Book) {
        // A life that nobody confirmed is not mourned, and not lived again.
        if self.seat.is_online {
            self.cycles.1 = book.cycle;
        }
    }

    fn is_done(&self, book: &Book) -> bool {
        self.is_mourned || book.wills.contains(&self.testament())
    }

    fn write_off(&mut self, book: &mut Book) {
        if !self.is_done(book) {
            let (Self { life, delay_s, cycles: (born, died), .. }, client_id) =
                (&*self, &self.seat.client_id);
            let text = format!(
                "{client_id}: will {life}, delay {delay_s} s, from cycle {born}, due since cycle {died}"
            );
            book.accuse(Rule::WillLost, text);
            self.is_mourned = true;
        }
    }
}

/// The client that reads all wills; its session lasts.
#[derive(Debug)]
pub struct Mourner {
    seat: Seat,
    is_subscribed: bool,
}

impl Mourner {
    /// The mourner.
    #[must_use]
    pub fn new(client_id: String) -> Self {
        Self { seat: Seat::new(client_id, Version::V5), is_subscribed: false }
    }
}

impl Actor for Mourner {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn want(&mut self, _: &mut Moment, _: &mut Book) -> Want {
        Want::Here(self.seat.resume())
    }

    fn welcome(&mut self, is_present: bool, out: &mut Vec<u8>, _: &mut Book, _: &mut Moment) {
        self.seat.known = Known::Surely;
        self.is_subscribed &= is_present;
        if !self.is_subscribed {
            wire::subscribe(out, self.seat.version, 1, "w/+", 1);
        }
    }

    fn hear(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        match *answer {
            Answer::SubAck { .. } => self.is_subscribed = true,
            Answer::Publish(ref publish) => {
                book.wills.insert(String::from_utf8_lossy(publish.payload).into_owned());
                wire::ack(out, Ack::PubAck, publish.packet_id);
            }
            ref other => book.accuse(Rule::Protocol, format!("{}: {other:?}", self.seat.client_id)),
        }
    }

    fn act(&mut self, _: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        book.is_mourned |= self.is_subscribed;
    }

    fn lose(&mut self, _: &mut Moment, _: &mut Book) {}

    fn is_done(&self, _: &Book) -> bool {
        self.seat.is_online
    }

    fn write_off(&mut self, _: &mut Book) {}
}
