//! One life of one session as the oracle sees it.
//!
//! Invariants:
//! - A session that has ended stays in the list, for late output of its last connection, and changes no more.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stdx::Instant;

use super::Step;
use super::slots::Slots;

/// One life of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub client: usize,
    pub core: usize,
    pub born: Step,
    pub ended: Option<Step>,
    /// The connection it is attached to.
    pub conn: Option<usize>,
    /// When the present connection attached.
    pub online_since: Step,
    pub expiry_s: u32,
    pub away_since: Option<Instant>,
    pub subscriptions: Vec<Subscription>,
    pub flows: BTreeMap<u16, Flow>,
    pub flows_opened: u64,
    /// QoS 2 ids that the client has open towards the server.
    pub received: BTreeMap<u16, usize>,
    /// What came, by topic, and by which right.
    pub slots: BTreeMap<Rc<str>, Slots>,
    /// Messages of which an ordinary copy surely came.
    pub arrived: BTreeSet<usize>,
    /// Copies that may be on their way here or in the queue, by message: QoS 0, and QoS 1 and 2.
    pub waiting: [BTreeMap<usize, usize>; 2],
    /// Retained replays that may wait beside them.
    pub waiting_replays: usize,
    /// Messages that a limit may have dropped.
    pub forgiven: BTreeSet<usize>,
    /// Messages that must come when the client returns.
    pub due: BTreeSet<usize>,
    /// The last message of each order that was delivered live.
    pub latest: BTreeMap<OrderKey, usize>,
    /// The last retained message delivered, live or replayed.
    pub latest_retained: BTreeMap<(usize, Rc<str>, u8), usize>,
    pub replays: Vec<Replay>,
    /// Nobody can know whether it continues an earlier session, so nothing is required of it.
    pub is_uncertain: bool,
}

/// Messages that must keep their order: publisher, topic, QoS as published, QoS as delivered.
pub(super) type OrderKey = (usize, Rc<str>, u8, u8);

/// A subscription from its SUBSCRIBE to its UNSUBACK.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    /// As the client wrote it.
    pub filter: String,
    /// Without `$share/group/`.
    pub inner: String,
    pub group: Option<String>,
    /// The connection of its first SUBSCRIBE.
    pub socket: usize,
    pub begun: Step,
    pub acked: Option<Step>,
    /// UNSUBSCRIBE handed over.
    pub ended: Option<Step>,
    /// UNSUBACK came out.
    pub gone: Option<Step>,
    pub is_refused: bool,
    /// Options, oldest first; a later SUBSCRIBE adds one.
    pub options: Vec<Options>,
}

/// The options of a subscription from one SUBSCRIBE on.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub begun: Step,
    pub acked: Option<Step>,
    pub qos: u8,
    pub is_no_local: bool,
    pub keeps_retain: bool,
    pub id: Option<u32>,
}

/// An open QoS 1 or 2 message towards the client.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub message: usize,
    pub qos: u8,
    pub is_retained: bool,
    /// PUBREC was handed over.
    pub is_released: bool,
    /// It was too large for some connection since, where it may have counted as delivered. Source: [MQTT-3.1.2-25].
    pub is_excused: bool,
    pub order: u64,
    /// The connection that carried its last PUBLISH.
    pub socket: usize,
    /// The connection that carried its last PUBREL.
    pub released_on: Option<usize>,
}

/// The retained messages that one request of a SUBSCRIBE asks for.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub socket: usize,
    pub inner: String,
    pub begun: Step,
    pub qos: u8,
    pub id: Option<u32>,
    pub is_no_local: bool,
    pub is_checked: bool,
}

impl Session {
    pub fn new(client: usize, core: usize, born: Step) -> Self {
        Self {
            client,
            core,
            born,
            ended: None,
            conn: None,
            online_since: born,
            expiry_s: 0,
            away_since: None,
            subscriptions: Vec::new(),
            flows: BTreeMap::new(),
            flows_opened: 0,
            received: BTreeMap::new(),
            slots: BTreeMap::new(),
            arrived: BTreeSet::new(),
            waiting: [BTreeMap::new(), BTreeMap::new()],
            waiting_replays: 0,
            forgiven: BTreeSet::new(),
            due: BTreeSet::new(),
            latest: BTreeMap::new(),
            latest_retained: BTreeMap::new(),
            replays: Vec::new(),
            is_uncertain: false,
        }
    }

    /// The subscription with exactly this filter that is in force.
    pub fn active(&self, filter: &str) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|known| known.filter == filter && known.ended.is_none() && !known.is_refused)
    }

    /// Whether a subscription may not have been made because its connection ended before its SUBACK came out.
    pub fn is_doubtful(&self, index: usize, socket: usize) -> bool {
        self.subscriptions[index].acked.is_none() && self.subscriptions[index].socket != socket
    }

    /// Open messages whose last PUBLISH went over `socket`.
    pub fn open_on(&self, socket: usize) -> usize {
        self.flows.values().filter(|flow| flow.socket == socket).count()
    }
}
