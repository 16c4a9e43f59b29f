//! What a shard is told and what it asks for: the vocabulary between a shard and whoever drives it.
//!
//! Invariants:
//! - Nothing in here holds a socket: whoever drives a shard keeps them, by connection.

use std::net::SocketAddr;

use broker::{Batch, CoreId, Counters, Fetch, Notice, Written};
use device::{HubReply, News};
use stdx::Instant;

use crate::coating::Coating;
use crate::doorkeeper::Question;

/// Names one connection of one core. Packs into 64 bits for a completion's user data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    /// Slot in the connection table.
    pub index: u32,
    /// How often the slot was used before; a late event of an earlier life does not match.
    pub generation: u32,
}

/// Which listener of the configuration a connection came through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(pub u16);

/// A connection that was just accepted on this core; nothing was read from it yet.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The listener.
    pub listener: ListenerId,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// A connection on its way from the core that accepted it to its home core. The socket travels beside it.
#[derive(Debug)]
pub struct Arrival {
    /// The listener.
    pub listener: ListenerId,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Whether the doorkeeper has counted it in.
    pub has_arrived: bool,
    /// When it was accepted: the connect timeout counts from here.
    pub accepted_at: Instant,
    /// Everything read so far: a whole CONNECT and perhaps bytes behind it.
    pub bytes: Vec<u8>,
    /// What it wears; none for plain TCP.
    pub coating: Option<Packed>,
}

/// The coats of a connection on its way.
#[derive(Debug)]
pub struct Packed(pub(crate) Box<Coating>);

/// A connection whose home is another core: stop reading, take the socket, and ship both.
#[derive(Debug)]
pub struct Moved {
    /// Its name here, dead from now on.
    pub conn: ConnId,
    /// Its home.
    pub to: CoreId,
    /// What the home core needs.
    pub arrival: Box<Arrival>,
}

/// A connection to be closed gently: send `last` behind everything taken before, shut down the write side, drain reads
/// for a moment, then close.
#[derive(Debug)]
pub struct Closing {
    /// Its name, dead from now on.
    pub conn: ConnId,
    /// The last bytes; may be empty.
    pub last: Vec<u8>,
}

/// What must be done after a turn, in this order: written, fetches, moves, sends, closes, batches;
/// questions whenever it suits. The store must have
/// taken `written` before a batch of this turn leaves, for what other cores write because of it must come behind.
#[derive(Debug, Default)]
pub struct Effects {
    /// Connections that have found their home on this core: read them continuously from now on.
    pub adopted: Vec<ConnId>,
    /// Connections that leave for another core.
    pub moved: Vec<Moved>,
    /// Connections with bytes to send; fetch them with `Shard::take_out`. No connection stands here twice.
    pub dirty: Vec<ConnId>,
    /// Connections that must not be read from now on, or may be again, in this order. Only if publishing has a limit.
    pub paces: Vec<(ConnId, Pace)>,
    /// Connections to close.
    pub closing: Vec<Closing>,
    /// One batch at most for each other core, to be handed over in order.
    pub batches: Vec<(CoreId, Batch)>,
    /// What must be found out about clients before they are let in; each is answered by `Shard::handle_answer`, in any order
    /// and at any time, or never: then the connect timeout ends the connection.
    pub questions: Vec<Question>,
    /// What a human may want to know.
    pub notices: Vec<Notice>,
    /// What must be written down; answered by `Shard::handle_durable`. Only if the settings ask for a journal.
    pub written: Option<Written>,
    /// What must be written down of devices, in one commit with `written`, which is there whenever this is not empty.
    pub device_changes: Vec<device::Change>,
    /// What must be read back, behind everything written; answered by `Shard::handle_fetched`.
    pub fetches: Vec<Fetch>,
    /// Replies to `Shard::handle_device_call`, by the numbers of the calls.
    pub device_replies: Vec<(u64, HubReply)>,
    /// For whoever is outside.
    pub news: Vec<News>,
}

/// Whether a connection may be read. Bytes that come all the same are kept, so whoever drives a shard that is metered must
/// receive once at a time: then they are few.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// It must not.
    Pause,
    /// It may again.
    Go,
}

/// A connection that is not taken: a limit is reached, or the broker is closing. Close its socket at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// A question of the control plane to one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// What it has counted.
    Counters,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// To [`Call::Counters`].
    Counters(Box<Counters>),
}
