//! Changes: what must be written down so that a broker that starts again knows what it promised.
//!
//! Why a vocabulary rather than a dump: a store can write changes as they happen, in batches, and hold an
//! acknowledgement until its change is safe. Replaying them in order through [`crate::Exchange::restore`] gives the same
//! sessions, queues, windows and retained messages, on any number of cores.
//!
//! Invariants:
//! - Changes of one client come in the order in which they happened.
//! - What one core hands over in one [`Written`] is committed whole or not at all; and whoever commits one also commits
//!   everything that any core handed over before it. Exactly once over several cores rests on that.
//! - What a change does not say is not durable: links, aliases, QoS 0 queues, replays, timers.
//! - Instants are this process's; a store keeps wall-clock times and translates.

use std::sync::Arc;

use mqtt::{PacketId, QoS};
use stdx::Instant;

use crate::core_id::{CoreId, CoreSet};
use crate::message::StoredMessage;
use crate::retained::RetainedVersion;

/// One change of the durable state.
#[derive(Clone, Debug)]
pub enum Change {
    /// A session began, or its terms changed.
    Session {
        /// Whose.
        client_id: Arc<str>,
        /// Its expiry interval in seconds.
        expiry_s: u32,
        /// When it ends; `Instant::NEVER` while its client is connected or if it never expires.
        ends_at: Instant,
        /// Whether its client is connected.
        is_connected: bool,
        /// Its will, as long as that may have to be published.
        will: Option<WillState>,
        /// Who it belongs to; none where nobody asks for rights.
        owner: Option<SessionOwner>,
    },
    /// A session ended, with all that belonged to it.
    SessionEnded {
        /// Whose.
        client_id: Arc<str>,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// Whose.
        client_id: Arc<str>,
        /// The filter as the client wrote it.
        filter: Box<str>,
        /// Its terms.
        terms: SubscriptionTerms,
    },
    /// A subscription was given up.
    Unsubscribed {
        /// Whose.
        client_id: Arc<str>,
        /// The filter as the client wrote it.
        filter: Box<str>,
    },
    /// A message joined the end of a session's queue.
    Queued {
        /// Whose.
        client_id: Arc<str>,
        /// Its place; rises within a session and is never used twice. Places have gaps.
        seq: u64,
        /// What.
        copy: MessageCopy,
    },
    /// A message left a session's queue unsent: it had expired, made room for a newer one, or was too large.
    Dropped {
        /// Whose.
        client_id: Arc<str>,
        /// Its place.
        seq: u64,
    },
    /// A message was sent under a packet id and waits for its acknowledgement. What a session has sent was sent in the
    /// order of `seq`.
    Sent {
        /// To whom.
        client_id: Arc<str>,
        /// Its place: that of the [`Change::Queued`] with which it came, or a new one if it never waited.
        seq: u64,
        /// Under which id.
        packet_id: PacketId,
        /// What; none if it was queued under the same `seq`. At recovery also none if only PUBREL and PUBCOMP are left.
        copy: Option<MessageCopy>,
    },
    /// PUBREC came: only PUBREL and PUBCOMP are left, and nobody needs the message itself.
    Released {
        /// From whom.
        client_id: Arc<str>,
        /// Its place.
        seq: u64,
        /// For which id.
        packet_id: PacketId,
    },
    /// The id is free, and the message is gone.
    Settled {
        /// Whose.
        client_id: Arc<str>,
        /// Its place.
        seq: u64,
        /// Which.
        packet_id: PacketId,
    },
    /// A QoS 2 message was received and its id is open. Said again for an open id, it replaces what was said before.
    Received {
        /// From whom.
        client_id: Arc<str>,
        /// Which id.
        packet_id: PacketId,
        /// To which other cores the message went; mostly empty.
        shipped: Vec<Shipped>,
    },
    /// PUBREL came for an id received before.
    Completed {
        /// From whom.
        client_id: Arc<str>,
        /// Which id.
        packet_id: PacketId,
    },
    /// A core wrote down what a turn of another core had shipped to it. The last one of each pair of cores counts.
    Handled {
        /// Which core.
        core: CoreId,
        /// Whose turn.
        from: CoreId,
        /// Everything up to that turn.
        turn: u64,
    },
    /// A retained message was set.
    Retained {
        /// The message; its topic says where.
        message: Arc<StoredMessage>,
        /// Its place among the writes of all cores.
        version: RetainedVersion,
    },
    /// A retained message was cleared.
    RetainedCleared {
        /// Where.
        topic: Box<str>,
        /// Its place among the writes of all cores.
        version: RetainedVersion,
    },
    /// Only at recovery, behind the last [`Change::Queued`] of a client: further queued messages stay on disk until they
    /// are fetched.
    Spilled {
        /// Whose.
        client_id: Arc<str>,
        /// The place of the first of them.
        first_seq: u64,
        /// The place of the last of them.
        last_seq: u64,
        /// How many.
        messages: u64,
        /// What they cost, as [`StoredMessage::cost_bytes`] counts.
        bytes: u64,
    },
}

/// What one core wants written down after a turn: all of it in one atomic commit, or nothing.
#[derive(Clone, Debug)]
pub struct Written {
    /// The turn of that core; rises.
    pub turn: u64,
    /// The changes, oldest first; may be none, if only the sync is wanted.
    pub changes: Vec<Change>,
    /// Whether an acknowledgement waits for the sync of this turn and of all before it.
    pub is_urgent: bool,
}

/// Queued messages that are on disk only and are wanted back, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Whose.
    pub client_id: Arc<str>,
    /// To be repeated in the answer.
    pub serial: u64,
    /// The first place that may be answered; the message there may have been dropped.
    pub from_seq: u64,
    /// How many at most.
    pub messages_max: u32,
    /// Stop once they cost this much; one message is answered in any case.
    pub bytes_max: u32,
}

/// The answer to a [`Fetch`].
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whose.
    pub client_id: Arc<str>,
    /// As asked.
    pub serial: u64,
    /// Place and message, oldest first; empty if there are none from `from_seq` on.
    pub messages: Vec<(u64, MessageCopy)>,
}

/// How the store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StoreHealth {
    /// It writes.
    #[default]
    Good,
    /// It has no space: what needs disk is refused.
    Full,
}

/// One step of a QoS 2 message on its way to other cores: who has it is known from [`Change::Handled`], so that after a
/// crash its publisher's repetition reaches those, and only those, that have not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shipped {
    /// The core that shipped it.
    pub core: CoreId,
    /// In which turn; [`Shipped::NOBODY`] once it is known that the cores in `to` have not got it.
    pub turn: u64,
    /// How many cores there were, which says where a client was at home; [`Shipped::FOR_GROUP`] if the message went to members
    /// of shared groups, of which nobody says whether they have it.
    pub cores: u16,
    /// To which cores.
    pub to: CoreSet,
}

impl Shipped {
    /// The turn that no core ever handles.
    pub const NOBODY: u64 = u64::MAX;
    /// Stands in place of the number of cores.
    pub const FOR_GROUP: u16 = 0;

    /// Whether it went to members of shared groups.
    #[must_use]
    pub fn is_for_group(&self) -> bool {
        self.cores == Self::FOR_GROUP
    }
}

/// A message on its way to one session.
#[derive(Clone, Debug)]
pub struct MessageCopy {
    /// The message, shared by all its receivers.
    pub message: Arc<StoredMessage>,
    /// The QoS for this receiver.
    pub qos: QoS,
    /// RETAIN for this receiver.
    pub retain: bool,
    /// Subscription Identifiers for this receiver.
    pub ids: Option<Arc<[u32]>>,
}

/// The terms of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionTerms {
    /// The granted QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub keeps_retain: bool,
    /// Subscription Identifier; 0 is none.
    pub id: u32,
}

/// A will that waits.
#[derive(Clone, Debug)]
pub struct WillState {
    /// The message; its expiry begins when it is published.
    pub message: Arc<StoredMessage>,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// When it is due; `Instant::NEVER` while its client is connected.
    pub due_at: Instant,
}

/// Who a session belongs to, so that its rights are known while its client is away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionOwner {
    /// The name of the listener through which its client came; none if it is not known.
    pub listener: Option<Arc<str>>,
    /// As [`crate::Rights::user`] said.
    pub user: Option<Box<str>>,
}

impl Change {
    /// The client whose state changes; none for what belongs to all cores.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::Session { client_id, .. }
            | Self::SessionEnded { client_id }
            | Self::Subscribed { client_id, .. }
            | Self::Unsubscribed { client_id, .. }
            | Self::Queued { client_id, .. }
            | Self::Dropped { client_id, .. }
            | Self::Spilled { client_id, .. }
            | Self::Sent { client_id, .. }
            | Self::Released { client_id, .. }
            | Self::Settled { client_id, .. }
            | Self::Received { client_id, .. }
            | Self::Completed { client_id, .. } => Some(client_id),
            Self::Retained { .. } | Self::RetainedCleared { .. } | Self::Handled { .. } => None,
        }
    }
}
