//! Random histories: changes such as an exchange makes, in an order in which it may make them.
//!
//! Why driven by the model: what may come next depends on what is queued, sent and received.
//!
//! Invariants:
//! - The same seed makes the same history.

use std::sync::Arc;

use broker::{
    Change, CoreId, CoreSet, MessageCopy, RetainedVersion, SessionOwner, Shipped, SubscriptionTerms,
    WillState,
};
use mqtt::{PacketId, QoS};
use stdx::{Instant, Prng, Span};

use super::model::{Model, Newest, message};

const CLIENTS: [&str; 4] = ["a", "meter/7", "ü", "a longer client id than a key would like to carry"];
const TOPICS: [&str; 3] = ["t", "t/1", "retained/topic"];

pub struct History {
    pub prng: Prng,
    pub model: Model,
    pub newest: Newest,
    seq: u64,
    counter: u64,
    /// Writes of retained messages that another core hands over late.
    late: Vec<Change>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        let (model, newest) = (Model::default(), Newest::default());
        Self { prng: Prng::new(seed), model, newest, seq: 0, counter: 0, late: Vec::new() }
    }

    /// The next change; the model has it already.
    pub fn change(&mut self) -> Change {
        let change = self.draw();
        self.model.apply(&change, &mut self.newest);
        change
    }

    /// A process ended: what it had not handed over is lost, and the model is what the next one found.
    pub fn restart(&mut self, model: Model) {
        self.late.clear();
        self.newest = Newest::default();
        for (version, message) in model.retained.values() {
            self.counter = self.counter.max(version.counter);
            let change = Change::Retained { message: Arc::clone(message), version: *version };
            Model::default().apply(&change, &mut self.newest);
        }
        self.model = model;
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.prng.next_u64() % bound
    }

    fn draw(&mut self) -> Change {
        let client_id: Arc<str> = CLIENTS[self.below(4) as usize].into();
        if !self.model.sessions.contains_key(&client_id) {
            return match self.below(3) {
                0 => self.retained(),
                _mostly => self.session(client_id),
            };
        }
        match self.below(40) {
            0 => Change::SessionEnded { client_id },
            1 => self.session(client_id),
            2..=4 => self.subscription(client_id),
            5..=8 => self.received(client_id),
            9..=12 => self.retained(),
            13 => {
                let (core, from) = (self.core(), self.core());
                Change::Handled { core, from, turn: self.below(100) }
            }
            _mostly => self.message(client_id),
        }
    }

    fn core(&mut self) -> CoreId {
        CoreId::new(self.below(3) as u16)
    }

    fn instant(&mut self) -> Instant {
        match self.below(3) {
            0 => Instant::NEVER,
            _mostly => Instant::START + Span::from_ms(self.below(1_000_000)),
        }
    }

    fn session(&mut self, client_id: Arc<str>) -> Change {
        let will = (self.below(2) == 0).then(|| WillState {
            message: message("will", b"gone", Instant::NEVER),
            expiry_s: (self.below(2) == 0).then_some(9),
            delay_s: 5,
            due_at: self.instant(),
        });
        let owner = (self.below(2) == 0).then(|| SessionOwner {
            listener: (self.below(2) == 0).then(|| "here".into()),
            user: (self.below(2) == 0).then(|| "ann".into()),
        });
        let (ends_at, is_connected) = (self.instant(), self.below(2) == 0);
        Change::Session { client_id, expiry_s: 100, ends_at, is_connected, will, owner }
    }

    fn subscription(&mut self, client_id: Arc<str>) -> Change {
        let filter: Box<str> = ["+/x", "#", "$share/g/t"][self.below(3) as usize].into();
        if self.below(3) == 0 {
            return Change::Unsubscribed { client_id, filter };
        }
        let terms = SubscriptionTerms {
            qos: QoS::ExactlyOnce,
            no_local: true,
            keeps_retain: false,
            id: self.below(9) as u32,
        };
        Change::Subscribed { client_id, filter, terms }
    }

    fn received(&mut self, client_id: Arc<str>) -> Change {
        let packet_id = PacketId::new(1 + self.below(3) as u16).expect("not zero");
        if self.below(2) == 0 {
            return Change::Completed { client_id, packet_id };
        }
        let step = Shipped { core: self.core(), turn: self.below(50), cores: 3, to: CoreSet::from_bits(6) };
        Change::Received { client_id, packet_id, shipped: vec![step; self.below(3) as usize] }
    }

    fn retained(&mut self) -> Change {
        if self.below(3) == 0
            && let Some(late) = self.late.pop()
        {
            return late;
        }
        self.counter += 1;
        let version = RetainedVersion { counter: self.counter, core: self.below(3) as u16 };
        let topic = TOPICS[self.below(3) as usize];
        let change = match self.below(3) {
            0 => Change::RetainedCleared { topic: topic.into(), version },
            _mostly => Change::Retained {
                message: message(topic, &version.counter.to_be_bytes(), self.instant()),
                version,
            },
        };
        if self.below(4) == 0 {
            self.late.push(change);
            return self.retained();
        }
        change
    }

    fn copy(&mut self) -> MessageCopy {
        let len = self.below(40) as usize;
        let payload: Vec<u8> = (0..len).map(|_| self.below(256) as u8).collect();
        let message = message("some/topic", &payload, self.instant());
        let ids = (self.below(3) == 0).then(|| [1, 70_000].into());
        MessageCopy { message, qos: QoS::AtLeastOnce, retain: self.below(2) == 0, ids }
    }

    /// Something about a message on its way to a session.
    fn message(&mut self, client_id: Arc<str>) -> Change {
        let session = &self.model.sessions[&client_id];
        let first = session.queue.keys().next().copied();
        let sent: Vec<(u16, u64, bool)> =
            session.sent.iter().map(|(id, sent)| (*id, sent.seq, sent.is_released)).collect();
        let free =
            (1..).find(|id| !session.sent.contains_key(id)).and_then(PacketId::new).expect("an id is free");
        self.seq += 1;
        let seq = self.seq;
        match (self.below(10), first) {
            (0, Some(seq)) => Change::Dropped { client_id, seq },
            (1..=3, Some(seq)) => Change::Sent { client_id, seq, packet_id: free, copy: None },
            (1..=3, None) => Change::Sent { client_id, seq, packet_id: free, copy: Some(self.copy()) },
            (4..=6, _) if !sent.is_empty() => {
                let (id, seq, is_released) = sent[self.below(sent.len() as u64) as usize];
                let packet_id = PacketId::new(id).expect("ids are not zero");
                match self.below(3) {
                    0 if !is_released => Change::Released { client_id, seq, packet_id },
                    _mostly => Change::Settled { client_id, seq, packet_id },
                }
            }
            _mostly => Change::Queued { client_id, seq, copy: self.copy() },
        }
    }
}
