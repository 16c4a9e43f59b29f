//! What a broker would know: the changes applied one by one to plain maps.
//!
//! Why so naive: it is the judge, so it must be plain to see that it is right.
//!
//! Invariants:
//! - It forgets nothing and orders nothing by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::{
    Change, MessageCopy, RetainedVersion, SessionOwner, Shipped, StoredMessage, StoredParts,
    SubscriptionTerms,
};
use mqtt::QoS;
use stdx::Instant;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Model {
    pub sessions: BTreeMap<Arc<str>, Session>,
    pub retained: BTreeMap<String, (RetainedVersion, Arc<StoredMessage>)>,
    pub handled: BTreeMap<(u16, u16), u64>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Session {
    pub expiry_s: u32,
    pub ends_at: Instant,
    pub is_connected: bool,
    pub will: Option<(Arc<StoredMessage>, Option<u32>, u32, Instant)>,
    pub owner: Option<SessionOwner>,
    pub subscriptions: BTreeMap<Box<str>, SubscriptionTerms>,
    pub queue: BTreeMap<u64, Copy>,
    pub sent: BTreeMap<u16, Sent>,
    pub received: BTreeMap<u16, Vec<Shipped>>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Sent {
    pub seq: u64,
    /// Nothing once it is released.
    pub copy: Option<Copy>,
    pub is_released: bool,
}

pub type Copy = (Arc<StoredMessage>, QoS, bool, Option<Arc<[u32]>>);

pub fn plain(copy: &MessageCopy) -> Copy {
    (Arc::clone(&copy.message), copy.qos, copy.retain, copy.ids.clone())
}

pub fn message(topic: &str, payload: &[u8], expires_at: Instant) -> Arc<StoredMessage> {
    let forward = if payload.len().is_multiple_of(2) { &[1, 1][..] } else { &[] };
    let (qos, retain) = (QoS::AtLeastOnce, false);
    Arc::new(StoredMessage::of(&StoredParts { topic, forward, payload, qos, retain, expires_at, origin: 7 }))
}

/// Which write of each retained topic was the newest; kept apart, because nobody recovers it.
#[derive(Clone, Debug, Default)]
pub struct Newest(BTreeMap<String, RetainedVersion>);

impl Newest {
    fn admits(&mut self, topic: &str, version: RetainedVersion) -> bool {
        let newest = self.0.entry(topic.to_owned()).or_insert(version);
        let admits = version >= *newest;
        *newest = version.max(*newest);
        admits
    }
}

impl Model {
    /// What a recovery gave back.
    pub fn of(changes: &[Change]) -> Self {
        let (mut model, mut newest) = (Self::default(), Newest::default());
        changes.iter().for_each(|change| model.apply(change, &mut newest));
        model
    }

    pub fn apply(&mut self, change: &Change, newest: &mut Newest) {
        match change {
            Change::Session { client_id, expiry_s, ends_at, is_connected, will, owner } => {
                let will = will.as_ref();
                let will =
                    will.map(|will| (Arc::clone(&will.message), will.expiry_s, will.delay_s, will.due_at));
                let session = self.sessions.entry(Arc::clone(client_id)).or_insert_with(Session::empty);
                session.expiry_s = *expiry_s;
                session.ends_at = *ends_at;
                session.is_connected = *is_connected;
                session.will = will;
                session.owner = owner.clone();
            }
            Change::SessionEnded { client_id } => drop(self.sessions.remove(client_id)),
            Change::Retained { message, version } => {
                if newest.admits(message.topic(), *version) {
                    self.retained.insert(message.topic().to_owned(), (*version, Arc::clone(message)));
                }
            }
            Change::RetainedCleared { topic, version } => {
                if newest.admits(topic, *version) {
                    self.retained.remove(&**topic);
                }
            }
            Change::Handled { core, from, turn } => {
                self.handled.insert((core.get(), from.get()), *turn);
            }
            Change::Spilled { .. } => {}
            of_a_session => {
                let client_id = of_a_session.client_id().expect("all others name a client");
                self.sessions.get_mut(client_id).expect("sessions come first").apply(of_a_session);
            }
        }
    }
}

impl Session {
    fn empty() -> Self {
        Self {
            expiry_s: 0,
            ends_at: Instant::NEVER,
            is_connected: false,
            will: None,
            owner: None,
            subscriptions: BTreeMap::new(),
            queue: BTreeMap::new(),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Subscribed { filter, terms, .. } => {
                self.subscriptions.insert(filter.clone(), *terms);
            }
            Change::Unsubscribed { filter, .. } => drop(self.subscriptions.remove(filter)),
            Change::Queued { seq, copy, .. } => drop(self.queue.insert(*seq, plain(copy))),
            Change::Dropped { seq, .. } => drop(self.queue.remove(seq)),
            Change::Sent { seq, packet_id, copy, .. } => {
                let copy = copy.as_ref().map(plain).or_else(|| self.queue.remove(seq));
                self.sent.insert(packet_id.get(), Sent { seq: *seq, copy, is_released: false });
            }
            Change::Released { packet_id, .. } => {
                let sent = self.sent.get_mut(&packet_id.get()).expect("it was sent");
                (sent.copy, sent.is_released) = (None, true);
            }
            Change::Settled { packet_id, .. } => drop(self.sent.remove(&packet_id.get())),
            Change::Received { packet_id, shipped, .. } => {
                self.received.insert(packet_id.get(), shipped.clone());
            }
            Change::Completed { packet_id, .. } => drop(self.received.remove(&packet_id.get())),
            of_no_session => panic!("{of_no_session:?}"),
        }
    }
}
