//! One client of a scenario: its connection, what it has heard and not yet looked at, and what it remembers.

use std::collections::VecDeque;

use crate::hear::{Breach, frame_length};
use crate::packet::{Heard, Kind, Version};
use crate::say::Ids;
use crate::watch::{Ledgers, Watch};
use crate::world::{Arrived, LineId};

/// What a client hears.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A packet that breaks no rule.
    Packet(Box<Heard>),
    /// Bytes that break one.
    Broken(Breach, Vec<u8>),
    /// The server has ended the connection.
    Ended,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// The version of its next packet.
    pub version: Version,
    /// Whether it acknowledges by itself.
    pub is_auto_ack: bool,
    /// The core to be accepted on.
    pub core: Option<u16>,
    /// Its connection.
    pub line: Option<LineId>,
    /// What it has heard and the file has not yet asked for.
    pub inbox: VecDeque<Event>,
    /// The rules of its connection.
    pub watch: Watch,
    /// Its packet identifiers.
    pub ids: Ids,
    /// What `part` held back.
    pub held: Vec<u8>,
    /// Whether it has said DISCONNECT, so that a close is no surprise.
    pub said_farewell: bool,
    undecoded: Vec<u8>,
}

impl Client {
    /// A client that has not yet said anything.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            is_auto_ack: false,
            core: None,
            line: None,
            inbox: VecDeque::new(),
            watch: Watch::new(version),
            ids: Ids::default(),
            held: Vec::new(),
            said_farewell: false,
            undecoded: Vec::new(),
        }
    }

    /// Begins a new connection.
    pub fn begin(&mut self, line: LineId) {
        self.forget();
        self.line = Some(line);
    }

    /// Ends the connection; what was heard and not asked for is forgotten.
    pub fn forget(&mut self) {
        self.line = None;
        self.inbox.clear();
        self.undecoded.clear();
        self.held.clear();
        self.said_farewell = false;
        self.watch = Watch::new(self.version);
    }

    /// Takes what has arrived; returns the packets to be said at once by a client that acknowledges by itself.
    pub fn take(&mut self, arrived: Arrived, ledgers: &mut Ledgers) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        match arrived {
            Arrived::Ended if !self.undecoded.is_empty() => {
                let rest = std::mem::take(&mut self.undecoded);
                let text = "the connection ends inside of a packet".to_owned();
                self.inbox.push_back(Event::Broken(Breach { statement: "2.1", text }, rest));
                self.inbox.push_back(Event::Ended);
            }
            Arrived::Ended => self.inbox.push_back(Event::Ended),
            Arrived::Bytes(bytes) => {
                self.undecoded.extend(bytes);
                self.decode(ledgers, &mut answers);
            }
        }
        answers
    }

    fn decode(&mut self, ledgers: &mut Ledgers, answers: &mut Vec<Vec<u8>>) {
        let mut start = 0;
        loop {
            let rest = &self.undecoded[start..];
            let event = match frame_length(rest) {
                Ok(Some(length)) if length <= rest.len() => {
                    let frame = &self.undecoded[start..start + length];
                    start += length;
                    match self.watch.hear(frame, ledgers) {
                        Ok(heard) => Event::Packet(Box::new(heard)),
                        Err(breach) => Event::Broken(breach, frame.to_vec()),
                    }
                }
                Ok(_) => break,
                Err(breach) => {
                    let event = Event::Broken(breach, rest.to_vec());
                    start = self.undecoded.len();
                    event
                }
            };
            let answer = match &event {
                Event::Packet(heard) if self.is_auto_ack => auto_ack(heard),
                _ => None, // Nothing that a client answers by itself.
            };
            let is_hidden =
                answer.is_some() && matches!(&event, Event::Packet(heard) if heard.kind == Kind::PubRel);
            if let Some(answer) = answer {
                self.watch.note_said(&answer, ledgers);
                answers.push(answer);
            }
            if !is_hidden {
                self.inbox.push_back(event);
            }
        }
        self.undecoded.drain(..start);
    }

    /// Remembers the identifiers that the next acknowledgement goes to.
    pub fn remember(&mut self, heard: &Heard) {
        match heard.kind {
            Kind::Publish if heard.qos > 0 => self.ids.publish = heard.id,
            Kind::PubRec => self.ids.pubrec = heard.id,
            Kind::PubRel => self.ids.pubrel = heard.id,
            _ => {} // Nothing that is answered.
        }
    }
}

fn auto_ack(heard: &Heard) -> Option<Vec<u8>> {
    let first = match (heard.kind, heard.qos) {
        (Kind::Publish, 1) => 0x40,
        (Kind::Publish, 2) => 0x50,
        (Kind::PubRel, _) => 0x70,
        _ => return None, // Nothing that is answered.
    };
    let [high, low] = heard.id.to_be_bytes();
    Some(vec![first, 2, high, low])
}
