//! One client of a scenario.
//!
//! Why it remembers its subscriptions: what it is owed depends on which of them the broker has confirmed, and on whether
//! they outlive a connection.
//!
//! Invariants:
//! - `filters` holds confirmed subscriptions only.

use std::collections::{BTreeMap, VecDeque};

use super::books::Record;
use crate::codec::{Credentials, Lasting, Qos};
use crate::engine::connection::{Connection, Duties, Stage};
use crate::flow::Inflight;

/// Packet ids of SUBSCRIBE and UNSUBSCRIBE, above those of messages.
const ASKING_IDS: std::ops::RangeInclusive<u16> = 60_001..=65_000;
/// Unacknowledged messages of one client.
pub(super) const INFLIGHT_MAX: u16 = 64;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    /// Its client id.
    pub(super) id: String,
    /// Its number in its group.
    pub(super) number: u32,
    /// Its connection, of which there is one at a time.
    pub(super) connection: Connection,
    /// Whether it waits for its turn to be dialled.
    pub(super) is_awaited: bool,
    /// What becomes of its session.
    pub(super) lasting: Lasting,
    /// User name and password.
    pub(super) credentials: Credentials,
    /// Packet ids of its messages.
    pub(super) inflight: Inflight,
    /// Messages whose time has come and that could not leave yet, as source and number.
    pub(super) backlog: VecDeque<(u32, u64)>,
    /// Steps that came before its CONNACK.
    pub(super) waiting: Vec<usize>,
    /// Confirmed subscriptions.
    pub(super) filters: Vec<(String, Qos)>,
    /// SUBSCRIBE packets that wait for their answer.
    pub(super) asked: VecDeque<(u16, String, Qos)>,
    /// What it should receive, by source.
    pub(super) records: BTreeMap<u32, Record>,
    /// When it was last welcomed.
    pub(super) connected_ns: u64,
    /// When it last left.
    pub(super) left_ns: u64,
    next_id: u16,
}

impl Client {
    /// A client that has not connected; `seat` is its place among all.
    pub(super) fn new(id: String, number: u32, seat: u32) -> Self {
        Self {
            id,
            number,
            connection: Connection::seated(seat, Duties::default()),
            is_awaited: false,
            lasting: Lasting::Never,
            credentials: Credentials::default(),
            inflight: Inflight::new(INFLIGHT_MAX),
            backlog: VecDeque::new(),
            waiting: vec![],
            filters: vec![],
            asked: VecDeque::new(),
            records: BTreeMap::new(),
            connected_ns: 0,
            left_ns: 0,
            next_id: *ASKING_IDS.start(),
        }
    }

    /// Whether it is at work.
    pub(super) fn is_ready(&self) -> bool {
        self.connection.stage == Stage::Ready
    }

    /// Whether it is on its way to be.
    pub(super) fn is_coming(&self) -> bool {
        self.is_awaited || matches!(self.connection.stage, Stage::Dialling | Stage::Opening | Stage::Greeting)
    }

    /// A packet id for a SUBSCRIBE or an UNSUBSCRIBE.
    pub(super) fn asking_id(&mut self) -> u16 {
        let packet_id = self.next_id;
        self.next_id = if packet_id == *ASKING_IDS.end() { *ASKING_IDS.start() } else { packet_id + 1 };
        packet_id
    }
}
