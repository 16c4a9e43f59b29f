//! A simulated client: what it does when it is its turn, and how it answers.
//!
//! Why it follows the protocol strictly except when it misbehaves on purpose: the oracle may then demand that everything
//! lawful is answered lawfully.
//!
//! Invariants:
//! - Messages under way survive a reconnect exactly if the server says that the session did.
//! - At most one connection of a client is in use; earlier ones are abandoned without a word.

mod choices;
mod misdeeds;
mod reactions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use stdx::{Instant, Span};

use crate::dice::Dice;
use crate::plan::Habits;
use crate::rig::ClientEnd;
use crate::wire::{ClientPacket, Connect, Publish, Version};

/// What all clients share: chance, habits, the clock, the numbering of messages.
#[derive(Debug)]
pub struct Desk {
    /// Chance.
    pub dice: Dice,
    /// The seed's habits.
    pub habits: Habits,
    /// Virtual time.
    pub now: Instant,
    /// The number of the next message.
    pub messages: usize,
}

/// One client id and whoever uses it.
#[derive(Debug)]
pub struct Client {
    /// Its client identifier; empty for one that lets the server choose.
    pub name: String,
    line: Option<Line>,
    version: Version,
    outgoing: VecDeque<Outgoing>,
    ids_pending: BTreeSet<u16>,
    last_id: u16,
}

/// The connection in use.
#[derive(Debug)]
struct Line {
    socket: usize,
    connect: Rc<Connect>,
    is_greeted: bool,
    is_reading: bool,
    may_pipeline: bool,
    /// Received bytes that make no whole packet yet.
    partial: Vec<u8>,
    /// Acknowledgements held back.
    due: VecDeque<ClientPacket>,
    filters: Vec<String>,
    aliases: BTreeMap<Rc<str>, u16>,
    alias_max: u16,
    receive_maximum: usize,
    keep_alive_s: u16,
    last_sent: Instant,
}

/// A QoS 1 or 2 message on its way to the server.
#[derive(Debug)]
struct Outgoing {
    publish: Publish,
    is_released: bool,
}

/// What a client does when it is its turn.
#[derive(Debug)]
pub enum Deed {
    /// Nothing.
    Wait,
    /// Opens a connection and begins it with these packets.
    Open(Vec<ClientPacket>),
    /// Writes packets.
    Write(Vec<ClientPacket>),
    /// Writes packets, if any, and ends its side.
    Leave(Vec<ClientPacket>, ClientEnd),
}

/// Packet ids in use; few, so that they come again soon.
const IDS: u16 = 60;

impl Client {
    /// A client that is not connected.
    #[must_use]
    pub fn new(name: String, desk: &mut Desk) -> Self {
        let version = choices::version(desk);
        Self {
            name,
            line: None,
            version,
            outgoing: VecDeque::new(),
            ids_pending: BTreeSet::new(),
            last_id: 0,
        }
    }

    /// The socket of its connection.
    #[must_use]
    pub fn socket(&self) -> Option<usize> {
        self.line.as_ref().map(|line| line.socket)
    }

    /// Whether it reads what it is sent at present.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.is_reading)
    }

    /// From now on it reads and acknowledges everything; returns the acknowledgements it held back.
    pub fn relent(&mut self) -> Vec<ClientPacket> {
        let Some(line) = &mut self.line else { return Vec::new() };
        line.is_reading = true;
        line.due.drain(..).collect()
    }

    /// Its connection is gone.
    pub fn drop_line(&mut self) {
        self.line = None;
        self.ids_pending.clear();
    }

    /// When it must have sent something to be kept.
    #[must_use]
    pub fn ping_due_at(&self) -> Option<Instant> {
        let line = self.line.as_ref().filter(|line| line.keep_alive_s > 0)?;
        Some(line.last_sent + Span::from_ms(u64::from(line.keep_alive_s) * 900))
    }

    /// Its turn.
    pub fn act(&mut self, desk: &mut Desk) -> Deed {
        let weights = desk.habits.weights;
        let Some(line) = &mut self.line else {
            return if desk.dice.percent(60) { self.open(desk) } else { Deed::Wait };
        };
        if !line.due.is_empty() && desk.dice.percent(50) {
            return self.flush_due(desk);
        }
        if !line.is_reading && desk.dice.percent(20) {
            line.is_reading = true;
        }
        if !line.is_greeted && !line.may_pipeline {
            return if desk.dice.percent(3) { self.open(desk) } else { Deed::Wait };
        }
        let has_ids = self.outgoing.len() + self.ids_pending.len() < usize::from(IDS) - 5;
        match desk.dice.weighted(&weights) {
            1..=3 if !has_ids => Deed::Wait,
            0 if desk.dice.percent(20) => self.open(desk),
            0 => Deed::Write(vec![ClientPacket::PingReq]),
            1 => self.subscribe(desk),
            2 => self.unsubscribe(desk),
            3 => self.publish(desk),
            4 => self.leave(desk),
            _five if self.is_greeted() => self.misbehave(desk),
            _five => Deed::Wait,
        }
    }

    fn is_greeted(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.is_greeted)
    }

    /// Opens a connection, whether or not another one is open.
    pub fn open(&mut self, desk: &mut Desk) -> Deed {
        let connect = choices::connect(self, desk);
        self.open_with(connect, desk)
    }

    /// Comes back to whatever session it left.
    pub fn come_back(&mut self, desk: &mut Desk) -> Deed {
        let mut connect = choices::connect(self, desk);
        connect.is_clean = self.name.is_empty();
        connect.will = None;
        let is_too_old = self.name.is_empty() && self.version == Version::V31;
        connect.version = if is_too_old { Version::V311 } else { self.version };
        connect.expiry_s = (connect.version == Version::V5 && !self.name.is_empty()).then_some(1000);
        if connect.version != Version::V5 {
            (connect.receive_maximum, connect.packet_bytes_max, connect.alias_max) = (None, None, None);
        }
        let deed = self.open_with(connect, desk);
        if let Some(line) = &mut self.line {
            line.is_reading = true;
        }
        deed
    }

    /// Opens a connection that reads and answers at once.
    pub fn begin(&mut self, connect: Connect, desk: &Desk) -> Deed {
        let deed = self.open_as(connect, desk);
        if let Some(line) = &mut self.line {
            line.is_reading = true;
        }
        deed
    }

    fn open_with(&mut self, connect: Connect, desk: &mut Desk) -> Deed {
        let deed = self.open_as(connect, desk);
        if let Some(line) = &mut self.line {
            line.is_reading = !desk.dice.percent(10);
            line.may_pipeline = desk.dice.percent(desk.habits.pipelines);
        }
        deed
    }

    fn open_as(&mut self, connect: Connect, desk: &Desk) -> Deed {
        self.version = connect.version;
        self.ids_pending.clear();
        if connect.is_clean {
            self.outgoing.clear();
        }
        let connect = Rc::new(connect);
        self.line = Some(Line {
            socket: usize::MAX,
            connect: Rc::clone(&connect),
            is_greeted: false,
            is_reading: true,
            may_pipeline: false,
            partial: Vec::new(),
            due: VecDeque::new(),
            filters: Vec::new(),
            aliases: BTreeMap::new(),
            alias_max: 0,
            receive_maximum: 20,
            keep_alive_s: connect.keep_alive_s,
            last_sent: desk.now,
        });
        Deed::Open(vec![ClientPacket::Connect(Box::new((*connect).clone()))])
    }

    /// Tells the client which socket its new connection has.
    pub fn opened(&mut self, socket: usize) {
        if let Some(line) = &mut self.line {
            line.socket = socket;
        }
    }

    /// Notes that it has just written something.
    pub fn wrote(&mut self, now: Instant) {
        if let Some(line) = &mut self.line {
            line.last_sent = now;
        }
    }

    fn flush_due(&mut self, desk: &mut Desk) -> Deed {
        let Some(line) = &mut self.line else { return Deed::Wait };
        let count = desk.dice.below(line.due.len()) + 1;
        Deed::Write(line.due.drain(..count).collect())
    }

    fn subscribe(&mut self, desk: &mut Desk) -> Deed {
        let id = self.free_id();
        let subscribe = choices::subscribe(id, self.version, desk);
        self.ids_pending.insert(id);
        if let Some(line) = &mut self.line {
            line.filters.extend(subscribe.requests.iter().map(|request| request.filter.clone()));
        }
        Deed::Write(vec![ClientPacket::Subscribe(subscribe)])
    }

    fn unsubscribe(&mut self, desk: &mut Desk) -> Deed {
        let id = self.free_id();
        let known = self.line.as_ref().map_or(&[][..], |line| &line.filters);
        let mut filters = Vec::new();
        for _ in 0..desk.dice.below(3) + 1 {
            let is_known = !known.is_empty() && desk.dice.percent(85);
            filters.push(if is_known { desk.dice.pick(known).clone() } else { choices::filter(desk) });
        }
        self.ids_pending.insert(id);
        Deed::Write(vec![ClientPacket::Unsubscribe(id, filters)])
    }

    fn publish(&mut self, desk: &mut Desk) -> Deed {
        let mut publish = choices::publish(self.version, desk);
        let Some(line) = &self.line else { return Deed::Wait };
        if self.outgoing.len() >= line.receive_maximum {
            publish.qos = 0;
        }
        if publish.qos > 0 {
            publish.id = self.free_id();
            self.outgoing.push_back(Outgoing { publish: publish.clone(), is_released: false });
        }
        self.alias(&mut publish, desk);
        Deed::Write(vec![ClientPacket::Publish(Box::new(publish))])
    }

    /// Uses a topic alias sometimes, as the server allows.
    fn alias(&mut self, publish: &mut Publish, desk: &mut Desk) {
        let Some(line) = self.line.as_mut().filter(|line| line.alias_max > 0) else { return };
        if !desk.dice.percent(50) {
            return;
        }
        if let Some(alias) = line.aliases.get(&publish.topic) {
            publish.alias = Some(*alias);
            publish.is_topic_omitted = desk.dice.percent(80);
            return;
        }
        let alias = u16::try_from(desk.dice.between(1, u64::from(line.alias_max))).expect("a small alias");
        line.aliases.retain(|_, known| *known != alias);
        line.aliases.insert(Rc::clone(&publish.topic), alias);
        publish.alias = Some(alias);
    }

    fn leave(&mut self, desk: &mut Desk) -> Deed {
        let Some(line) = &self.line else { return Deed::Wait };
        let deed = choices::leave(line.connect.version, line.connect.expiry_s, desk);
        self.drop_line();
        deed
    }

    fn misbehave(&mut self, desk: &mut Desk) -> Deed {
        let bad = misdeeds::misdeed(self.version, desk);
        self.drop_line();
        // What a client sends in the same breath must have no effect.
        let after = ClientPacket::PingReq;
        Deed::Leave(vec![ClientPacket::Bad(bad), after], ClientEnd::Fin)
    }

    /// A packet id that is not in use.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % IDS + 1;
            let is_outgoing = self.outgoing.iter().any(|outgoing| outgoing.publish.id == self.last_id);
            if !is_outgoing && !self.ids_pending.contains(&self.last_id) {
                return self.last_id;
            }
        }
    }
}
