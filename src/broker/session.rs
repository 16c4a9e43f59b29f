//! The state of one client that may outlive its connection.
//!
//! Why so little in it: most sessions are idle devices. What only some need (window, queues, will) is boxed or empty.
//!
//! Invariants:
//! - One session per client id. Source: [MQTT-3.1.3-2].
//! - A session without a link has an end: `ends_at`, which may be never.
//!
//! Source: MQTT 5.0 section 4.1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mqtt::QoS;
use stdx::Instant;

use crate::change::{Shipped, WillState};
use crate::link::Link;
use crate::message::StoredMessage;
use crate::waiting::Waiting;
use crate::window::Window;

/// Names a session of one core while it exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionKey(u32);

#[derive(Debug)]
pub(crate) struct Session {
    pub client_id: Arc<str>,
    /// The stable hash of the client id.
    pub origin: u64,
    /// Distinguishes this session from others that used the same key before or will after.
    pub serial: u64,
    pub link: Option<Box<Link>>,
    /// Sorted by filter.
    pub subscriptions: Vec<Subscription>,
    pub window: Option<Box<Window>>,
    pub waiting: Option<Box<Waiting>>,
    /// Of clients that publish with QoS 2.
    pub received: Option<Box<Received>>,
    pub will: Option<Box<Will>>,
    /// Session Expiry Interval in force; `u32::MAX` never expires.
    pub expiry_s: u32,
    pub ends_at: Instant,
    /// The highest place that was given to a message.
    pub seq: u64,
    /// Whether everything about it is written down: it could outlive a connection at some time.
    pub is_lasting: bool,
    /// Whether the store knows of it.
    pub is_written: bool,
}

/// QoS 2 messages that a client has published.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Ids that are not released yet. Source: [MQTT-4.3.3-10].
    pub ids: BTreeSet<u16>,
    /// Those whose messages a crash kept from some sessions of other cores.
    pub partial: BTreeMap<u16, Vec<Shipped>>,
}

/// How far apart the places of queued messages are. A retained message that overtakes a queue gets a place in between, so
/// that the order of places is always the order of sending.
pub(crate) const SEQ_STEP: u64 = 1 << 20;

/// One subscription as its session knows it.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// As the client wrote it, `$share/...` included.
    pub filter: Box<str>,
    /// Where the subscriber stands in the table's list for this filter; unused for shared subscriptions.
    pub slot: u32,
}

/// The will of a session.
#[derive(Debug)]
pub(crate) struct Will {
    /// Its expiry counts from publication, so the stored message has none yet.
    pub message: Arc<StoredMessage>,
    pub expiry_s: Option<u32>,
    pub delay_s: u32,
    /// When a delayed will is due; `Instant::NEVER` while the client is connected.
    pub due_at: Instant,
}

impl Will {
    /// As it is written down.
    pub fn state(&self) -> WillState {
        WillState {
            message: Arc::clone(&self.message),
            expiry_s: self.expiry_s,
            delay_s: self.delay_s,
            due_at: self.due_at,
        }
    }
}

impl SessionKey {
    pub(crate) fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("sessions are limited below four billion"))
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        stdx::widen(self.0)
    }
}

impl Session {
    /// The subscription with exactly this filter.
    pub fn subscription_mut(&mut self, filter: &str) -> Option<&mut Subscription> {
        let index = self.find(filter).ok()?;
        self.subscriptions.get_mut(index)
    }

    /// Where the subscription stands, or where it would.
    pub fn find(&self, filter: &str) -> Result<usize, usize> {
        self.subscriptions.binary_search_by(|subscription| (*subscription.filter).cmp(filter))
    }

    /// The full filters of the shared subscriptions.
    pub fn shared_filters(&self) -> impl Iterator<Item = &str> {
        let start = self.subscriptions.partition_point(|subscription| &*subscription.filter < "$share/");
        self.subscriptions[start..]
            .iter()
            .map(|subscription| &*subscription.filter)
            .take_while(|f| f.starts_with("$share/"))
    }

    /// Whether a QoS 2 message was received under this id and not released.
    pub fn has_received(&self, id: u16) -> bool {
        self.received.as_ref().is_some_and(|received| received.ids.contains(&id))
    }

    /// Notes that a QoS 2 message was received.
    pub fn receive(&mut self, id: u16) {
        self.received.get_or_insert_default().ids.insert(id);
    }

    /// Notes that a QoS 2 message was released; false if there was none.
    pub fn release(&mut self, id: u16) -> bool {
        self.received.as_mut().is_some_and(|received| {
            received.partial.remove(&id);
            received.ids.remove(&id)
        })
    }

    /// Whom the message received under this id has not reached, if a crash came in between; asked once.
    pub fn take_partial(&mut self, id: u16) -> Option<Vec<Shipped>> {
        self.received.as_mut()?.partial.remove(&id)
    }

    /// A place behind all others, if anyone writes it down.
    #[inline]
    pub fn next_seq(&mut self) -> u64 {
        self.seq += SEQ_STEP;
        self.seq
    }

    /// A place for a message that overtakes those that wait: behind everything sent, before everything queued.
    pub fn overtaking_seq(&mut self) -> u64 {
        if self.waiting.as_ref().is_none_or(|waiting| !waiting.has_acknowledged()) {
            return self.next_seq();
        }
        self.window.as_ref().map_or(0, |window| window.sent_seq()) + 1
    }

    /// Whether the session ends when its connection does.
    pub fn ends_with_link(&self) -> bool {
        self.expiry_s == 0
    }

    /// The smaller QoS of a message and a grant.
    pub fn qos_of(published: QoS, granted: QoS) -> QoS {
        published.min(granted)
    }
}
