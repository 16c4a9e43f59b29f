//! Changes: what must be written down so that a broker that starts again knows what it promised.
//!
//! Why a vocabulary rather than a dump: a store can write changes as they happen, in batches, and hold an
//! acknowledgement until its change is safe. Replaying them in order through [`crate::Exchange::restore`] gives the same
//! sessions, queues, windows and retained messages, on any number of cores.
//!
//! Invariants:
//! - Changes of one client come in the order in which they happened.
//! - What a change does not say is not durable: links, aliases, QoS 0 queues, replays, timers.

use std::sync::Arc;

use mqtt::{PacketId, QoS};
use stdx::Instant;

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
        /// What.
        copy: MessageCopy,
    },
    /// The oldest message left a session's queue: it was sent, dropped, or had expired.
    Dequeued {
        /// Whose.
        client_id: Arc<str>,
    },
    /// A message was sent under a packet id and waits for its acknowledgement.
    Sent {
        /// To whom.
        client_id: Arc<str>,
        /// Under which id.
        packet_id: PacketId,
        /// What.
        copy: MessageCopy,
    },
    /// PUBREC came: only PUBREL and PUBCOMP are left.
    Released {
        /// From whom.
        client_id: Arc<str>,
        /// For which id.
        packet_id: PacketId,
    },
    /// The id is free.
    Settled {
        /// Whose.
        client_id: Arc<str>,
        /// Which.
        packet_id: PacketId,
    },
    /// A QoS 2 message was received and its id is open.
    Received {
        /// From whom.
        client_id: Arc<str>,
        /// Which id.
        packet_id: PacketId,
    },
    /// PUBREL came for an id received before.
    Completed {
        /// From whom.
        client_id: Arc<str>,
        /// Which id.
        packet_id: PacketId,
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

/// The changes of a turn, if anyone wants them.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub is_on: bool,
    pub changes: Vec<Change>,
}

impl Journal {
    /// Writes a change down; it is not even made if nobody wants it.
    #[inline]
    pub fn record(&mut self, change: impl FnOnce() -> Change) {
        if self.is_on {
            self.changes.push(change());
        }
    }
}

impl Change {
    /// The client whose state changes; none for retained messages, which belong to all cores.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::Session { client_id, .. }
            | Self::SessionEnded { client_id }
            | Self::Subscribed { client_id, .. }
            | Self::Unsubscribed { client_id, .. }
            | Self::Queued { client_id, .. }
            | Self::Dequeued { client_id }
            | Self::Sent { client_id, .. }
            | Self::Released { client_id, .. }
            | Self::Settled { client_id, .. }
            | Self::Received { client_id, .. }
            | Self::Completed { client_id, .. } => Some(client_id),
            Self::Retained { .. } | Self::RetainedCleared { .. } => None,
        }
    }
}
