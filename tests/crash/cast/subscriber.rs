//! A subscriber with a lasting session: comes and goes, subscribes and unsubscribes, and knows what it is owed.
//!
//! Why acknowledgements are held back now and then: what is in flight when the broker falls must come again under the same
//! packet id, and only a client that has not acknowledged can tell.
//!
//! Invariants:
//! - A stream is matched by at most one of its filters, so one copy of each message is right.
//! - A message counts as received when its PUBLISH is read, at QoS 2 once until its PUBREL.

use std::collections::{BTreeMap, VecDeque};

use super::seat::{Actor, Known, Moment, Phase, Seat, Want};
use crate::book::{Book, Rule};
use crate::payload;
use crate::track::{Arrival, Duty, Track};
use crate::wire::{self, Ack, Answer, PacketId, Publish, Version};

/// How long acknowledgements are held back at most, in milliseconds.
const HOLD_MS_MAX: u64 = 40;

/// Where a subscription to the topics of one publisher stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    Absent,
    /// SUBSCRIBE is to be sent, or was sent.
    Coming(Option<PacketId>),
    Held,
    /// UNSUBSCRIBE is to be sent, or was sent.
    Leaving(Option<PacketId>),
}

/// A subscriber.
#[derive(Debug)]
pub struct Subscriber {
    seat: Seat,
    qos: u8,
    /// Whether it stays away for the time being.
    pub is_away: bool,
    /// Whether its next CONNECT ends its session.
    pub is_ending: bool,
    stands: BTreeMap<usize, Stand>,
    tracks: BTreeMap<usize, Track>,
    /// Received and not yet settled from our side: stream and number under each packet id.
    flying: BTreeMap<PacketId, (usize, u64)>,
    /// Acknowledgements that are held back, and until when.
    held: VecDeque<(u64, Ack, PacketId)>,
    packet_id: PacketId,
    pings: u32,
}

impl Subscriber {
    /// A subscriber to the topics of these publishers.
    #[must_use]
    pub fn new(client_id: String, version: Version, qos: u8, publishers: &[usize], book: &Book) -> Self {
        let numbered = book.streams.iter().enumerate();
        let tracks = numbered
            .filter(|(_, stream)| publishers.contains(&stream.publisher))
            .map(|(number, _)| (number, Track::default()))
            .collect();
        Self {
            seat: Seat::new(client_id, version),
            qos,
            is_away: false,
            is_ending: false,
            stands: publishers.iter().map(|publisher| (*publisher, Stand::Coming(None))).collect(),
            tracks,
            flying: BTreeMap::new(),
            held: VecDeque::new(),
            packet_id: 0,
            pings: 0,
        }
    }

    /// Changes one of its subscriptions, if none is being changed.
    pub fn change(&mut self, moment: &mut Moment) {
        let settled = |stand: &Stand| matches!(stand, Stand::Absent | Stand::Held);
        if !self.stands.values().all(settled) {
            return;
        }
        let place = moment.dice.below(u64::try_from(self.stands.len()).expect("64 bits"));
        let place = usize::try_from(place).expect("an index");
        if let Some(stand) = self.stands.values_mut().nth(place) {
            *stand = if *stand == Stand::Absent { Stand::Coming(None) } else { Stand::Leaving(None) };
        }
    }

    /// Sends what is to be sent for the subscriptions.
    fn ask(&mut self, out: &mut Vec<u8>, book: &Book) {
        let asking: Vec<(usize, Stand)> =
            self.stands.iter().map(|(publisher, stand)| (*publisher, *stand)).collect();
        for (publisher, stand) in asking {
            let filter = format!("c/{publisher}/+");
            // Ids of our own requests are far from those of messages only by direction, so any will do.
            let packet_id = self.packet_id % 1000 + 1;
            match stand {
                Stand::Coming(None) => {
                    wire::subscribe(out, self.seat.version, packet_id, &filter, self.qos);
                    self.stands.insert(publisher, Stand::Coming(Some(packet_id)));
                }
                Stand::Leaving(None) => {
                    wire::unsubscribe(out, self.seat.version, packet_id, &filter);
                    self.stands.insert(publisher, Stand::Leaving(Some(packet_id)));
                }
                Stand::Absent | Stand::Held | Stand::Coming(Some(_)) | Stand::Leaving(Some(_)) => continue,
            }
            self.packet_id = packet_id;
            self.turn(book, publisher, Duty::Optional);
        }
    }

    /// A duty begins for all streams of a publisher: an uncertain one with what is not acknowledged yet, a certain one
    /// with what is sent from now on.
    fn turn(&mut self, book: &Book, publisher: usize, duty: Duty) {
        for (number, track) in &mut self.tracks {
            let stream = &book.streams[*number];
            if stream.publisher == publisher {
                let from = if duty == Duty::Optional { stream.settled() } else { stream.sent };
                track.turn(from, duty);
            }
        }
    }

    fn answered(&mut self, packet_id: PacketId, code: u8, book: &mut Book) {
        let asked = |stand: &Stand| match stand {
            Stand::Coming(id) | Stand::Leaving(id) => *id == Some(packet_id),
            Stand::Absent | Stand::Held => false,
        };
        let Some((publisher, stand)) = self.stands.iter().find(|(_, stand)| asked(stand)) else {
            book.accuse(Rule::Protocol, format!("{}: an answer {packet_id} to nothing", self.seat.client_id));
            return;
        };
        let (publisher, is_coming) = (*publisher, matches!(stand, Stand::Coming(_)));
        let is_held = is_coming && code == self.qos;
        if is_coming && !is_held && code != 0x97 {
            book.accuse(Rule::Protocol, format!("{}: SUBACK {code:#04x}", self.seat.client_id));
        }
        book.sums.subscriptions += 1;
        self.stands.insert(publisher, if is_held { Stand::Held } else { Stand::Absent });
        self.turn(book, publisher, if is_held { Duty::Owed } else { Duty::Forbidden });
    }

    fn receive(&mut self, publish: &Publish<'_>, book: &mut Book, moment: &mut Moment) {
        let client_id = &self.seat.client_id;
        let Some((stream, counter)) = payload::read(book.run, publish.payload) else {
            book.accuse(
                Rule::Unwanted,
                format!("{client_id}: {} with a payload that nobody sent", publish.topic),
            );
            return;
        };
        let stream = usize::try_from(stream).expect("an index");
        let is_ours = book.streams.get(stream).is_some_and(|known| known.topic == publish.topic);
        let (true, Some(track)) = (is_ours, self.tracks.get_mut(&stream)) else {
            book.accuse(Rule::Unwanted, format!("{client_id}: {} is not for us", publish.topic));
            return;
        };
        let qos = self.qos.min(book.streams[stream].qos);
        if publish.qos != qos {
            let text = format!("{client_id}: {} at QoS {}", book.name(stream, counter), publish.qos);
            book.accuse(Rule::Protocol, text);
            return;
        }
        let due_ms = if moment.dice.one_in(40) { moment.now_ms + moment.dice.below(HOLD_MS_MAX) } else { 0 };
        self.held.push_back((due_ms, if qos == 2 { Ack::PubRec } else { Ack::PubAck }, publish.packet_id));
        let earlier = self.flying.insert(publish.packet_id, (stream, counter));
        if let Some(earlier) = earlier {
            if earlier != (stream, counter) {
                let (old, new) = (book.name(earlier.0, earlier.1), book.name(stream, counter));
                let text = format!("{client_id}: id {} was {old} and is {new}", publish.packet_id);
                book.accuse(Rule::PacketIdReused, text);
            } else if qos == 2 {
                return;
            }
        }
        let arrival = track.arrive(&book.streams[stream], counter);
        let dup = if publish.is_dup { ", DUP" } else { "" };
        let text = |book: &Book| {
            format!("{client_id}: {}{dup}, id {}", book.name(stream, counter), publish.packet_id)
        };
        match arrival {
            Arrival::New => {}
            Arrival::Again if qos == 2 => book.accuse(Rule::Duplicated, text(book)),
            Arrival::Again => {
                book.sums.repeated += 1;
                return;
            }
            Arrival::Late => book.accuse(Rule::Disordered, text(book)),
            Arrival::Unwanted => book.accuse(Rule::Unwanted, text(book)),
        }
        book.sums.received += 1;
        if !publish.is_dup {
            book.judge_expiry(stream, counter, moment.now_ms);
        }
    }

    /// Everything acknowledged that is still owed is lost.
    fn count_lost(&mut self, book: &mut Book) {
        for (number, track) in &mut self.tracks {
            let stream = &book.streams[*number];
            let lost: Vec<u64> =
                track.outstanding(stream).filter(|counter| !stream.open.contains(counter)).collect();
            track.write_off(stream);
            if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
                let (first, last) = (book.name(*number, *first), book.name(*number, *last));
                let text = format!("{}: {} messages, {first} to {last}", self.seat.client_id, lost.len());
                book.accuse_many(Rule::Lost, u64::try_from(lost.len()).expect("64 bits"), text);
            }
        }
    }

    /// Says what was held back long enough; nothing overtakes.
    fn acknowledge(&mut self, out: &mut Vec<u8>, now_ms: u64) {
        while let Some((due_ms, ack, packet_id)) = self.held.front().copied() {
            if due_ms > now_ms {
                return;
            }
            self.held.pop_front();
            wire::ack(out, ack, packet_id);
            if ack == Ack::PubAck {
                self.flying.remove(&packet_id);
            }
        }
    }
}

impl Actor for Subscriber {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn want(&mut self, moment: &mut Moment, _: &mut Book) -> Want {
        if self.is_away && moment.phase == Phase::Load {
            return Want::Away;
        }
        let mut terms = self.seat.resume();
        if self.is_ending {
            terms.is_clean = true;
            // From here on nobody can know what is left of the old session.
            self.seat.known = Known::Maybe;
            for track in self.tracks.values_mut() {
                track.turn(0, Duty::Optional);
            }
            for stand in self.stands.values_mut() {
                *stand = Stand::Coming(None);
            }
        }
        Want::Here(terms)
    }

    fn welcome(&mut self, is_present: bool, out: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        if self.is_ending && is_present {
            book.accuse(
                Rule::SessionUntrue,
                format!("{}: a clean start found a session", self.seat.client_id),
            );
        }
        if !is_present {
            if self.seat.known == Known::Surely {
                self.count_lost(book);
            }
            self.flying.clear();
            for (number, track) in &mut self.tracks {
                *track = Track::from(book.streams[*number].settled());
            }
            for stand in self.stands.values_mut() {
                *stand = Stand::Coming(None);
            }
        }
        if self.is_ending {
            book.sums.ended += 1;
            self.is_ending = false;
            // A clean session of 3.1.1 does not last: the one after it does.
            if self.seat.version == Version::V311 {
                self.seat.known = Known::Nothing;
                self.seat.is_cut = true;
                return;
            }
        }
        self.seat.known = Known::Surely;
        self.ask(out, book);
    }

    fn hear(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>, book: &mut Book, moment: &mut Moment) {
        match *answer {
            Answer::Publish(ref publish) if publish.qos > 0 => self.receive(publish, book, moment),
            Answer::Ack { ack: Ack::PubRel, packet_id, .. } => {
                self.flying.remove(&packet_id);
                wire::ack(out, Ack::PubComp, packet_id);
            }
            Answer::SubAck { packet_id, codes } => {
                self.answered(packet_id, codes.first().copied().unwrap_or(0x80), book)
            }
            Answer::UnsubAck { packet_id } => self.answered(packet_id, 0, book),
            Answer::Pong => self.pings += 1,
            ref other => book.accuse(Rule::Protocol, format!("{}: {other:?}", self.seat.client_id)),
        }
    }

    fn act(&mut self, out: &mut Vec<u8>, book: &mut Book, moment: &mut Moment) {
        self.ask(out, book);
        self.acknowledge(out, moment.now_ms);
    }

    fn lose(&mut self, _: &mut Moment, book: &mut Book) {
        self.held.clear();
        // A receiver of QoS 1 remembers no ids beyond its connection.
        self.flying.retain(|_, (stream, _)| self.qos.min(book.streams[*stream].qos) == 2);
        for stand in self.stands.values_mut() {
            *stand = match *stand {
                Stand::Coming(_) => Stand::Coming(None),
                Stand::Leaving(_) => Stand::Leaving(None),
                settled @ (Stand::Absent | Stand::Held) => settled,
            };
        }
    }

    fn as_subscriber(&mut self) -> Option<&mut Subscriber> {
        Some(self)
    }

    fn is_done(&self, book: &Book) -> bool {
        let asks = |stand: &Stand| matches!(stand, Stand::Coming(_) | Stand::Leaving(_));
        self.seat.is_online
            && !self.stands.values().any(asks)
            && self
                .tracks
                .iter()
                .all(|(number, track)| track.outstanding(&book.streams[*number]).next().is_none())
    }

    fn write_off(&mut self, book: &mut Book) {
        self.count_lost(book);
        if !self.seat.is_online {
            book.accuse(
                Rule::Broker,
                format!("{}: not connected at the end of a drain", self.seat.client_id),
            );
        }
    }
}
