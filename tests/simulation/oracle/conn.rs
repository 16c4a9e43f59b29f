//! One connection as the oracle sees it.
//!
//! Invariants:
//! - `session` is set once, when the CONNACK of success comes out; `ended` once, and nothing counts after it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use stdx::{Instant, Span};

use super::Step;
use crate::wire::{ClientPacket, Connect, Version, Will};

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub version: Version,
    pub connect: Option<Rc<Connect>>,
    pub client: usize,
    pub session: Option<usize>,
    pub core: usize,
    pub accepted_at: Instant,
    /// A SUBSCRIBE with this id waits for other cores, and what is behind it waits with it.
    pub held: Option<u16>,
    /// Packets that wait: before the connection is attached, or behind a SUBSCRIBE.
    pub queue: VecDeque<(Step, Rc<ClientPacket>)>,
    /// It broke the standard: codes that the DISCONNECT may carry, and whether the last byte was handed over.
    pub misdeed: Option<Misdeed>,
    pub ended: Option<Cause>,
    /// Whether its socket was closed by the shard or reported gone to it.
    pub is_over: bool,
    pub keep_alive_s: u16,
    /// When its last whole packet was handed over.
    pub last_packet_at: Instant,
    /// When packets that had to wait were let through.
    pub released_at: Instant,
    pub receive_maximum: u16,
    pub packet_bytes_max: usize,
    pub alias_max: u16,
    pub aliases: BTreeMap<u16, String>,
    pub owed: Owed,
    pub will: Option<Will>,
    /// The code of the server's DISCONNECT.
    pub said: Option<u8>,
    /// The code of the server's CONNACK.
    pub greeted: Option<u8>,
}

/// How a connection broke the standard.
#[derive(Clone, Debug)]
pub(super) struct Misdeed {
    pub what: &'static str,
    pub codes: &'static [u8],
    pub is_complete: bool,
}

/// Why a connection ended, as far as the session is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// DISCONNECT without the will.
    Goodbye,
    /// DISCONNECT that keeps the will.
    GoodbyeWithWill,
    /// The network ended it.
    Gone,
    /// Another connection took the session.
    TakenOver,
    /// The client broke the standard.
    Misdeed,
    /// The shard closed it for another reason.
    Closed,
}

/// What the server owes, oldest first.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub pubacks: VecDeque<(u16, usize)>,
    pub pubrecs: VecDeque<(u16, usize)>,
    pub pubrels: VecDeque<u16>,
    pub pubcomps: VecDeque<u16>,
    pub subacks: VecDeque<OwedSubAck>,
    pub unsubacks: VecDeque<OwedUnsubAck>,
    pub pings: usize,
}

/// A SUBACK that is due.
#[derive(Debug)]
pub(super) struct OwedSubAck {
    pub id: u16,
    /// For each request the subscription it made or changed, which of its options it set, and the QoS it asked for.
    pub requests: Vec<(usize, usize, u8)>,
}

/// An UNSUBACK that is due.
#[derive(Debug)]
pub(super) struct OwedUnsubAck {
    pub id: u16,
    /// The code of each filter, or nothing if it may be either.
    pub codes: Vec<Option<u8>>,
    /// The subscriptions that it ends.
    pub indexes: Vec<usize>,
}

impl Conn {
    pub fn new(core: usize, now: Instant) -> Self {
        Self {
            version: Version::V5,
            connect: None,
            client: usize::MAX,
            session: None,
            core,
            accepted_at: now,
            held: None,
            queue: VecDeque::new(),
            misdeed: None,
            ended: None,
            is_over: false,
            keep_alive_s: 0,
            last_packet_at: now,
            released_at: now,
            receive_maximum: u16::MAX,
            packet_bytes_max: usize::MAX,
            alias_max: 0,
            aliases: BTreeMap::new(),
            owed: Owed::default(),
            will: None,
            said: None,
            greeted: None,
        }
    }

    /// Attached and not ended.
    pub fn is_live(&self) -> bool {
        self.session.is_some() && self.ended.is_none()
    }

    /// When silence has lasted long enough for the server to close. Source: [MQTT-3.1.2-22].
    pub fn silence_ends(&self) -> Option<Instant> {
        let is_limited = self.session.is_some() && self.keep_alive_s > 0;
        is_limited.then(|| self.last_packet_at + self.silence_max())
    }

    /// When it must.
    pub fn silence_must_end(&self) -> Option<Instant> {
        let end = self.silence_ends()?;
        Some(end.max(self.released_at + self.silence_max()))
    }

    fn silence_max(&self) -> Span {
        Span::from_ms(u64::from(self.keep_alive_s) * 1500)
    }
}

impl Owed {
    /// What is still due, for a report; empty if nothing.
    pub fn describe(&self) -> String {
        let ids = |queue: &VecDeque<(u16, usize)>| queue.iter().map(|owed| owed.0).collect::<Vec<_>>();
        let all = [
            ("PUBACK", ids(&self.pubacks)),
            ("PUBREC", ids(&self.pubrecs)),
            ("PUBREL", self.pubrels.iter().copied().collect()),
            ("PUBCOMP", self.pubcomps.iter().copied().collect()),
            ("SUBACK", self.subacks.iter().map(|owed| owed.id).collect()),
            ("UNSUBACK", self.unsubacks.iter().map(|owed| owed.id).collect()),
            ("PINGRESP", vec![1; self.pings]),
        ];
        let due = all.iter().filter(|(_, ids)| !ids.is_empty());
        due.map(|(name, ids)| format!("{name} {ids:?}")).collect::<Vec<_>>().join(", ")
    }
}
