//! The judge: a naive model of a broker that watches every byte and every turn and knows the rules.
//!
//! Why a model of what *may* be rather than of what *is*: batches between cores take any time, so several outcomes are
//! right. For each message and session the oracle knows the earliest and the latest step at which the message can have
//! been routed there, and from that what must, may and must not be delivered.
//!
//! Invariants:
//! - It shares no code with the broker; it sees packets as its own codec reads them.
//! - It judges what a shard was told, in the order in which it was told, and what the shard then handed out; what
//!   happens to bytes behind that is the network's matter.
//! - The first broken rule is kept; after it nothing is judged any more.
//!
//! Source: MQTT 5.0 and 3.1.1 as named at each check.

mod closing;
mod conn;
mod delivery;
mod inbound;
mod matching;
mod outbound;
mod rest;
mod retained;
mod rights;
mod routing;
mod session;
mod slots;
mod turn;
mod wills;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use broker::{CoreId, Limits};
use stdx::{Instant, Span};

use crate::wire::{ClientPacket, Framed};
use conn::Conn;
use routing::Fate;
use session::Session;
use turn::When;
use wills::PendingWill;

/// A point in the one order of everything that happens in a run.
pub type Step = u64;

/// What a core was told during a turn.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connection was accepted.
    Accepted(usize),
    /// A connection came from another core.
    Arrived(usize),
    /// The last byte of a packet was handed over.
    Packet(usize, Rc<ClientPacket>),
    /// The first byte of a packet that breaks the standard was handed over.
    Misdeed(usize),
    /// The connection was reported gone.
    Gone(usize),
    /// A batch from this core was handed over.
    Batch(usize),
    /// The timers were fired.
    Timers,
}

/// One turn of one core.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Which core.
    pub core: usize,
    /// Its time.
    pub now: Instant,
    /// What it was told, each with its step.
    pub events: Vec<(Step, Event)>,
    /// The step of everything that came out of it.
    pub end: Step,
    /// What came out, per socket; those of closing sockets first.
    pub output: Vec<(usize, Vec<Framed>)>,
    /// Sockets that found their home on this core.
    pub adopted: Vec<usize>,
    /// Sockets that were closed.
    pub closed: Vec<usize>,
    /// Batches that had been enqueued from this core to each core before this turn.
    pub enqueued: Rc<[usize]>,
}

/// The rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// Every packet of the server is legal in its version and state.
    Legal,
    /// An accepted message reaches every session that must get it.
    Loss,
    /// No message is delivered more often than it may.
    Duplicate,
    /// Messages of one publisher, topic and QoS keep their order; resends come first and in order.
    Order,
    /// Nothing is delivered without a matching subscription.
    Unmatched,
    /// No Local holds.
    NoLocal,
    /// Retained messages are complete, current and flagged.
    Retained,
    /// Packet ids are free when used.
    PacketId,
    /// Receive Maximum and Maximum Packet Size hold.
    Window,
    /// Session Present is truthful.
    SessionPresent,
    /// Exactly one member of a group gets a message.
    Share,
    /// Wills are published when due and never else.
    Will,
    /// Keep alive closes neither early nor never.
    KeepAlive,
    /// Connections are closed for a reason, and then with the right code.
    Close,
    /// What asks for an answer gets it, in order.
    Answer,
    /// Topic, payload, QoS and properties arrive as they must.
    Content,
    /// Nothing is delivered after its expiry.
    Expiry,
    /// Nothing is left when all clients are gone.
    Leak,
    /// The broker comes to rest when the world does.
    Rest,
    /// The broker does not panic.
    Panic,
}

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// When.
    pub step: Step,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {:?} at step {}: {}", self.rule, self.step, self.text)
    }
}

/// The judge of one run.
#[derive(Debug)]
pub struct Oracle {
    limits: Limits,
    cores: usize,
    now: Instant,
    step: Step,
    /// Between which steps the present event counted.
    span: When,
    conns: BTreeMap<usize, Conn>,
    /// Client keys by client id.
    clients: BTreeMap<String, usize>,
    /// The session of each client, if it has one.
    current: BTreeMap<usize, usize>,
    sessions: Vec<Session>,
    fates: BTreeMap<usize, Fate>,
    /// Messages with RETAIN by topic, in the order in which they were first routed.
    retained: BTreeMap<Rc<str>, Vec<usize>>,
    /// Steps at which batches were handled, by sender and receiver.
    handled: BTreeMap<(usize, usize), Vec<Step>>,
    rests: Vec<Step>,
    /// Messages routed since the last rest.
    fresh: BTreeSet<usize>,
    /// Copies handed to members of each group, by message.
    groups: BTreeMap<(String, String), BTreeMap<usize, Vec<GroupCopy>>>,
    pending_wills: Vec<PendingWill>,
    wills_void: BTreeSet<usize>,
    is_shut: bool,
    /// The broker has ended under open connections. Their wills are doubtful then: no change speaks of the will of a
    /// session that does not last, and one that is due at once may be routed before the cores know of each other's
    /// subscriptions. Both are wrong: the standard lets a server put wills off until it has started again, not drop them.
    /// Source: MQTT 3.1.1 section 3.1.2.5.
    is_broker_gone: bool,
    /// Messages may come from a store.
    has_store: bool,
    violation: Option<Violation>,
}

/// One copy of a message for one group.
#[derive(Clone, Copy, Debug)]
struct GroupCopy {
    socket: usize,
    qos: u8,
    /// It cannot be anything else.
    is_certain: bool,
}

/// How late a timer may be without a complaint: one tick of the wheel and a little.
const TIMER_SLACK: Span = Span::from_ms(50);

impl Oracle {
    /// A judge of a broker with these limits.
    #[must_use]
    pub fn new(limits: Limits, cores: usize) -> Self {
        Self {
            limits,
            cores,
            now: Instant::START,
            step: 0,
            span: When { from: 0, by: 0 },
            conns: BTreeMap::new(),
            clients: BTreeMap::new(),
            current: BTreeMap::new(),
            sessions: Vec::new(),
            fates: BTreeMap::new(),
            retained: BTreeMap::new(),
            handled: BTreeMap::new(),
            rests: Vec::new(),
            fresh: BTreeSet::new(),
            groups: BTreeMap::new(),
            pending_wills: Vec::new(),
            wills_void: BTreeSet::new(),
            is_shut: false,
            is_broker_gone: false,
            has_store: false,
            violation: None,
        }
    }

    /// The first broken rule.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes a broken rule that somebody else has found.
    pub fn accuse(&mut self, rule: Rule, text: String) {
        self.fail(rule, text);
    }

    /// How many messages the oracle saw routed, for the report.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.fates.len()
    }

    /// The broker has ended, and whatever connection was open ends with it.
    pub fn broker_gone(&mut self) {
        self.is_broker_gone = true;
    }

    /// Messages may come from a store, which keeps times in milliseconds.
    pub fn expect_store(&mut self) {
        self.has_store = true;
    }

    /// Another broker with so many cores has taken over, at rest: what was routed has been routed everywhere.
    pub fn start_again(&mut self, cores: usize) {
        let count = u16::try_from(cores).expect("a few cores");
        self.cores = cores;
        self.is_broker_gone = false;
        self.handled.clear();
        let names: BTreeMap<usize, &String> = self.clients.iter().map(|(id, key)| (*key, id)).collect();
        for session in &mut self.sessions {
            session.core = CoreId::home_of(names[&session.client].as_bytes(), count).index();
        }
        for will in &mut self.pending_wills {
            will.core = self.sessions[will.session].core;
        }
    }

    fn fail(&mut self, rule: Rule, text: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { rule, step: self.step, text });
        }
    }

    fn client_key(&mut self, id: &str) -> usize {
        let next = self.clients.len();
        *self.clients.entry(id.to_string()).or_insert(next)
    }

    fn client_name(&self, key: usize) -> &str {
        self.clients.iter().find(|(_, known)| **known == key).map_or("?", |(id, _)| id)
    }

    /// Whether a connection waits for a SUBACK.
    #[must_use]
    pub fn owes_suback(&self, socket: usize) -> bool {
        self.conns.get(&socket).is_some_and(|conn| !conn.owed.subacks.is_empty() || !conn.queue.is_empty())
    }

    /// Whether a connection of this core waits for other cores.
    #[must_use]
    pub fn has_held(&self, core: usize) -> bool {
        self.conns.values().any(|conn| conn.core == core && conn.held.is_some() && conn.is_live())
    }
}
