//! One client that waits for its answers: for scenarios with few clients and a plot.
//!
//! Why besides the cast: a scenario reads as a list of steps.
//!
//! Invariants:
//! - Every wait has an end.

use std::net::SocketAddr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::{now_ms, until};
use crate::link::{Flow, Link};
use crate::wire::{self, Ack, Answer, Connect, PacketId, Publish, Version};

/// How long an answer may take.
const ANSWER_MS: u64 = 10_000;

/// A client.
#[derive(Debug)]
pub struct Probe {
    link: Link,
    version: Version,
    packet_id: PacketId,
    is_open: bool,
    /// Topics and payloads that have come, in order.
    pub inbox: Vec<(String, Vec<u8>)>,
}

/// What became of a PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was acknowledged.
    Acknowledged,
    /// It was refused with this reason code.
    Refused(u8),
    /// Nothing was said.
    Silence,
    /// The connection ended.
    Ended,
}

/// What a client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Connected(bool, u8),
    Acked(Ack, PacketId, u8),
    Subscribed(u8),
    Pong,
    Received,
    Other,
}

impl Probe {
    /// Connects; says whether a session was present. A lasting session lasts an hour.
    ///
    /// # Errors
    /// A sentence, if there is no CONNACK that says yes.
    pub fn connect(
        address: SocketAddr,
        version: Version,
        client_id: &str,
        is_clean: bool,
    ) -> Result<(Self, bool), String> {
        let link = Link::open(address).map_err(|failure| format!("{client_id}: {failure}"))?;
        let mut probe = Self { link, version, packet_id: 0, is_open: true, inbox: Vec::new() };
        let terms = Connect {
            client_id: client_id.to_owned(),
            is_clean,
            expiry_s: if is_clean { 0 } else { 3600 },
            receive_maximum: 100,
            will: None,
        };
        wire::connect(&mut probe.link.output, version, &terms);
        match probe.wait(ANSWER_MS, |heard| matches!(heard, Heard::Connected(..))) {
            Some(Heard::Connected(is_present, 0)) => Ok((probe, is_present)),
            other => Err(format!("{client_id}: {other:?} instead of a CONNACK")),
        }
    }

    /// Subscribes; returns the QoS that was granted.
    ///
    /// # Errors
    /// A sentence, if there is no SUBACK or it refuses.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Result<u8, String> {
        let packet_id = self.fresh();
        wire::subscribe(&mut self.link.output, self.version, packet_id, filter, qos);
        match self.wait(ANSWER_MS, |heard| matches!(heard, Heard::Subscribed(_))) {
            Some(Heard::Subscribed(granted)) if granted < 0x80 => Ok(granted),
            Some(Heard::Subscribed(code)) => {
                Err(format!("the subscription to {filter} is refused with {code:#x}"))
            }
            other => Err(format!("{other:?} instead of a SUBACK")),
        }
    }

    /// Publishes at QoS 0 or 1 and waits so long for the answer; QoS 0 has none.
    pub fn publish(&mut self, topic: &str, qos: u8, is_retained: bool, payload: &[u8], wait_ms: u64) -> Fate {
        let packet_id = if qos > 0 { self.fresh() } else { 0 };
        let publish = Publish { is_dup: false, qos, is_retained, topic, packet_id, expiry_s: None, payload };
        wire::publish(&mut self.link.output, self.version, &publish);
        if qos == 0 {
            self.link.flush();
            return Fate::Silence;
        }
        self.fate(packet_id, wait_ms)
    }

    fn fate(&mut self, packet_id: PacketId, wait_ms: u64) -> Fate {
        let ours = |heard: Heard| matches!(heard, Heard::Acked(Ack::PubAck, id, _) if id == packet_id);
        match self.wait(wait_ms, ours) {
            Some(Heard::Acked(_, _, code)) if code >= 0x80 => Fate::Refused(code),
            Some(_) => Fate::Acknowledged,
            None if self.is_open => Fate::Silence,
            None => Fate::Ended,
        }
    }

    /// Whether PINGREQ is answered.
    pub fn is_alive(&mut self) -> bool {
        wire::ping(&mut self.link.output);
        self.wait(ANSWER_MS, |heard| heard == Heard::Pong).is_some()
    }

    /// Waits for a message, so long; whether one came.
    pub fn receive(&mut self, wait_ms: u64) -> bool {
        self.wait(wait_ms, |heard| heard == Heard::Received).is_some()
    }

    /// Receives until so many messages are there, or none comes for so long.
    pub fn receive_until(&mut self, messages: usize, pause_ms: u64) {
        while self.inbox.len() < messages && self.receive(pause_ms) {}
    }

    fn fresh(&mut self) -> PacketId {
        self.packet_id = self.packet_id % 60_000 + 1;
        self.packet_id
    }

    fn wait(&mut self, wait_ms: u64, is_it: impl Fn(Heard) -> bool) -> Option<Heard> {
        let end_ms = now_ms() + wait_ms;
        loop {
            while let Some(heard) = self.next() {
                if is_it(heard) {
                    return Some(heard);
                }
            }
            if now_ms() >= end_ms || !self.is_open {
                return None;
            }
            self.link.flush();
            self.poll(end_ms);
            if self.link.read() == Flow::Ended {
                self.is_open = false;
            }
        }
    }

    fn poll(&self, end_ms: u64) {
        let left = until(end_ms).min(std::time::Duration::from_millis(50));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let write = if self.link.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        // Interrupted or not: the caller looks again.
        let _ = poll(&mut [PollFd::new(&self.link.socket, PollFlags::IN | write)], Some(&timeout));
    }

    /// Understands one packet, and answers it.
    fn next(&mut self) -> Option<Heard> {
        let Ok(Some((answer, length))) = wire::decode(self.version, &self.link.input) else { return None };
        let heard = match answer {
            Answer::ConnAck { is_present, code } => Heard::Connected(is_present, code),
            Answer::Ack { ack, packet_id, code } => Heard::Acked(ack, packet_id, code),
            Answer::SubAck { codes, .. } => Heard::Subscribed(codes.first().copied().unwrap_or(0x80)),
            Answer::Pong => Heard::Pong,
            Answer::Publish(publish) => {
                self.inbox.push((publish.topic.to_owned(), publish.payload.to_vec()));
                if publish.qos == 1 {
                    wire::ack(&mut self.link.output, Ack::PubAck, publish.packet_id);
                }
                Heard::Received
            }
            Answer::UnsubAck { .. } | Answer::Disconnect { .. } => Heard::Other,
        };
        self.link.input.drain(..length);
        Some(heard)
    }
}
