//! A publisher: a window of messages at QoS 1 or 2, repeated after each fall as the standard says.
//!
//! Why the lowest free packet id: it is used again at once, so an id that the broker remembers wrongly is found out.
//!
//! Invariants:
//! - `pending` is in the order of first sending, and is repeated in that order.
//! - A message that was sent is repeated until it is acknowledged or refused.

use std::collections::{BTreeSet, VecDeque};

use super::seat::{Actor, Known, Moment, Phase, Seat, Want};
use crate::book::{Book, Kind, Rule, Stream};
use crate::payload;
use crate::wire::{self, Ack, Answer, PacketId, Publish, Version};

/// Unsent bytes above which a publisher waits.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// A message on its way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    packet_id: PacketId,
    stream: usize,
    counter: u64,
    is_released: bool,
}

/// A publisher with a lasting session.
#[derive(Debug)]
pub struct Publisher {
    seat: Seat,
    streams: Vec<usize>,
    window: usize,
    pending: VecDeque<Pending>,
    free: BTreeSet<PacketId>,
    payload: Vec<u8>,
}

impl Publisher {
    /// A publisher of these streams.
    #[must_use]
    pub fn new(client_id: String, version: Version, streams: Vec<usize>, window: u16) -> Self {
        Self {
            seat: Seat::new(client_id, version),
            streams,
            window: usize::from(window),
            pending: VecDeque::new(),
            free: (1..=window).collect(),
            payload: Vec::new(),
        }
    }

    fn write(&mut self, pending: Pending, is_dup: bool, out: &mut Vec<u8>, book: &Book) {
        let stream = &book.streams[pending.stream];
        let is_retained = stream.kind == Kind::Retained;
        let number = u32::try_from(pending.stream).expect("few streams");
        if is_retained && Stream::is_clear(pending.counter) {
            self.payload.clear();
        } else {
            let bytes = 64 + usize::try_from(pending.counter % 13 * 16).expect("small");
            payload::write(&mut self.payload, book.run, number, pending.counter, bytes);
        }
        let expiry_s = if let Kind::Expiring(expiry_s) = stream.kind { Some(expiry_s) } else { None };
        let publish = Publish {
            is_dup,
            qos: stream.qos,
            is_retained,
            topic: &stream.topic,
            packet_id: pending.packet_id,
            expiry_s,
            payload: &self.payload,
        };
        wire::publish(out, self.seat.version, &publish);
    }

    fn settle(&mut self, index: usize) {
        if let Some(pending) = self.pending.remove(index) {
            self.free.insert(pending.packet_id);
        }
    }

    fn answered(
        &mut self,
        ack: Ack,
        packet_id: PacketId,
        code: u8,
        out: &mut Vec<u8>,
        book: &mut Book,
        now_ms: u64,
    ) {
        let known = self.pending.iter().position(|pending| pending.packet_id == packet_id);
        let Some(index) = known else {
            book.accuse(Rule::Protocol, format!("{}: {ack:?} {packet_id} for nothing", self.seat.client_id));
            return;
        };
        let pending = self.pending[index];
        let qos = book.streams[pending.stream].qos;
        match (ack, qos, pending.is_released) {
            (Ack::PubAck, 1, _) | (Ack::PubRec, 2, _) if code >= 0x80 => {
                book.refuse(pending.stream, pending.counter);
                self.settle(index);
            }
            (Ack::PubAck, 1, _) => {
                book.acknowledge(pending.stream, pending.counter, now_ms);
                self.settle(index);
            }
            (Ack::PubRec, 2, _) => {
                book.acknowledge(pending.stream, pending.counter, now_ms);
                self.pending[index].is_released = true;
                wire::ack(out, Ack::PubRel, packet_id);
            }
            (Ack::PubComp, 2, true) => self.settle(index),
            _ => book
                .accuse(Rule::Protocol, format!("{}: {ack:?} {packet_id} at QoS {qos}", self.seat.client_id)),
        }
    }
}

impl Actor for Publisher {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn want(&mut self, _: &mut Moment, _: &mut Book) -> Want {
        Want::Here(self.seat.resume())
    }

    fn welcome(&mut self, _: bool, out: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        self.seat.known = Known::Surely;
        for index in 0..self.pending.len() {
            let pending = self.pending[index];
            if pending.is_released {
                wire::ack(out, Ack::PubRel, pending.packet_id);
            } else {
                self.write(pending, true, out, book);
            }
        }
    }

    fn hear(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>, book: &mut Book, moment: &mut Moment) {
        match *answer {
            Answer::Ack { ack, packet_id, code } => {
                self.answered(ack, packet_id, code, out, book, moment.now_ms);
            }
            ref other => book.accuse(Rule::Protocol, format!("{}: {other:?}", self.seat.client_id)),
        }
    }

    fn act(&mut self, out: &mut Vec<u8>, book: &mut Book, moment: &mut Moment) {
        if moment.phase != Phase::Load {
            return;
        }
        while self.pending.len() < self.window && moment.allowance > 0 && out.len() < OUT_BYTES_MAX {
            let Some(packet_id) = self.free.pop_first() else { return };
            let place = moment.dice.below(u64::try_from(self.streams.len()).expect("64 bits"));
            let stream = self.streams[usize::try_from(place).expect("an index")];
            let pending = Pending { packet_id, stream, counter: book.send(stream), is_released: false };
            self.pending.push_back(pending);
            self.write(pending, false, out, book);
            moment.allowance -= 1;
        }
    }

    fn lose(&mut self, _: &mut Moment, _: &mut Book) {}

    fn is_done(&self, _: &Book) -> bool {
        self.pending.is_empty()
    }

    fn write_off(&mut self, book: &mut Book) {
        if !self.pending.is_empty() {
            let text = format!("{}: {} messages without an answer", self.seat.client_id, self.pending.len());
            book.accuse(Rule::Broker, text);
        }
    }
}
