//! Retained messages: set and cleared on every core, replayed to new subscriptions.
//!
//! Why a replica per core: a replay then sees the store at the same point of the stream at which live messages arrive,
//! so it needs no question to other cores and never shows an older value after a newer live one. The price is one
//! parcel per core for each retained PUBLISH.
//!
//! Invariants:
//! - All replicas agree once all batches have arrived: the highest version of a topic wins everywhere.
//! - A retained message that another core took before it answered a subscriber's barrier is in the replica before that
//!   subscriber's replay begins.

use std::cmp::Ordering;
use std::sync::Arc;

use stdx::Instant;

use crate::change::Change;
use crate::core_id::{CoreId, CoreSet};
use crate::deliver::Grant;
use crate::exchange::Exchange;
use crate::message::{Message, StoredMessage};
use crate::parcel::{Parcel, Shipping};
use crate::retained::{RetainedVersion, Scan, SetOutcome};
use crate::session::{Session, SessionKey};

/// When a retained message must be removed; the earliest first in a max-heap.
#[derive(Debug)]
pub(crate) struct Expiry {
    at: Instant,
    message: Arc<StoredMessage>,
}

impl Exchange {
    /// Whether one more retained message of this size would exceed the limits, of all clients or of this one.
    pub(crate) fn retained_is_full(&self, owner: u64, topic: &[u8], payload_bytes: usize) -> bool {
        let Ok(topic) = std::str::from_utf8(topic) else { return true };
        !self.retained.has_room(topic, size_of::<StoredMessage>() + topic.len() + payload_bytes, owner)
    }

    /// Keeps (or clears) a retained message here and on all other cores; cores in `remote` also deliver it.
    pub(crate) fn retain_everywhere(&mut self, message: &Message<'_>, remote: CoreSet) {
        // All cores read one clock, so a write that begins after another was acknowledged gets the higher version.
        self.retained_counter = (self.retained_counter + 1).max(message.at.ns());
        let version = RetainedVersion { counter: self.retained_counter, core: self.core.get() };
        // Only what this core accepts is offered to the others, who do not judge limits again.
        let store = self.retain_here(message, version).then_some(version);
        for core in self.outgoing.others() {
            let deliver = remote.iter().any(|wanted| wanted == core);
            let shipping = Shipping { deliver, store, ..Shipping::default() };
            if deliver {
                self.ship(core, message, shipping);
            } else if store.is_some() {
                // This core writes it down for all.
                self.outgoing.to(core).publish(message, shipping);
            }
        }
    }

    fn retain_here(&mut self, message: &Message<'_>, version: RetainedVersion) -> bool {
        if message.payload.is_empty() {
            self.retained.clear(message.topic_text(), version);
        } else {
            let stored = Arc::clone(message.stored());
            if self.retained.set(Arc::clone(&stored), version) == SetOutcome::Full {
                self.counters.dropped_refused += 1;
                self.counters.retained_refused += 1;
                return false;
            }
            self.watch_expiry(stored);
        }
        // The broker's own figures are as old as the process.
        if !message.topic.starts_with(b"$SYS/") {
            self.journal.record(|| match message.payload.is_empty() {
                true => Change::RetainedCleared { topic: message.topic_text().into(), version },
                false => Change::Retained { message: Arc::clone(message.stored()), version },
            });
        }
        self.count_retained();
        true
    }

    /// Keeps (or clears) what another core, or an earlier process, has accepted.
    pub(crate) fn replicate(&mut self, message: &Message<'_>, version: RetainedVersion) {
        // Lamport's rule: whoever has seen a version makes later ones.
        self.retained_counter = self.retained_counter.max(version.counter);
        if message.payload.is_empty() {
            self.retained.clear(message.topic_text(), version);
        } else {
            let stored = Arc::clone(message.stored());
            if self.retained.replicate(Arc::clone(&stored), version) != SetOutcome::Older {
                self.watch_expiry(stored);
            }
        }
        self.count_retained();
    }

    fn watch_expiry(&mut self, message: Arc<StoredMessage>) {
        let at = message.expires_at();
        if at != Instant::NEVER {
            self.timers.insert(at, crate::timers::Timer::RetainedExpiry);
            self.retained_expiries.push(Expiry { at, message });
        }
    }

    /// Another core will write under counters above `counter` only; clears older than what all others may still write
    /// need not be remembered.
    pub(crate) fn writes_above(&mut self, core: CoreId, counter: u64) {
        self.writes_above[core.index()] = counter;
        let others = self.outgoing.others();
        let least = others.map(|core| self.writes_above[core.index()]).min().unwrap_or(u64::MAX);
        self.retained.forget_tombstones_before(least);
    }

    /// Tells the other cores which writes they need not expect from this one any more.
    pub(crate) fn tell_writes_above(&mut self) {
        let counter = self.retained_counter;
        self.outgoing.tell_others(|| Parcel::WritesAbove(counter));
        if self.cores == 1 {
            self.writes_above(self.core, counter);
        }
    }

    fn count_retained(&mut self) {
        self.counters.retained_messages = u64::from(stdx::narrow(self.retained.len()));
        self.counters.retained_bytes = self.retained.bytes().try_into().unwrap_or(u64::MAX);
    }

    /// Removes the retained messages that have expired. Source: section 3.3.2.3.3.
    pub(crate) fn expire_retained(&mut self, now: Instant) {
        while self.retained_expiries.peek().is_some_and(|expiry| expiry.at <= now) {
            let expiry = self.retained_expiries.pop().expect("peeked one line above");
            let topic = expiry.message.topic();
            let is_current =
                self.retained.get(topic).is_some_and(|message| Arc::ptr_eq(message, &expiry.message));
            if is_current {
                self.retained.expire(topic);
                self.counters.dropped_expired += 1;
            }
        }
        self.count_retained();
    }

    /// Goes one step on in a session's oldest replay; false if it has none or its next message must wait.
    pub(crate) fn replay_step(&mut self, now: Instant, key: SessionKey) -> bool {
        let session = &mut self.sessions[key.index()];
        let Some(replay) = session.waiting.as_mut().and_then(|waiting| waiting.replays.front_mut()) else {
            return false;
        };
        self.found.clear();
        let found = &mut self.found;
        let scan = self
            .retained
            .scan(&replay.filter, &mut replay.cursor, 1, |message| found.push(Arc::clone(message)));
        let (qos, no_local, ids) = (replay.qos, replay.no_local, replay.ids.clone());
        if scan == Scan::Done
            && let Some(waiting) = &mut session.waiting
        {
            waiting.replays.pop_front();
        }
        let Some(stored) = self.found.pop() else { return true };
        let is_own = no_local && stored.origin() == session.origin;
        if is_own || stored.is_expired(now) || !self.holders.may_receive(key, stored.topic()) {
            return true;
        }
        let (sessions, _, mut delivery) = self.delivery(now);
        let grant = Grant { qos: Session::qos_of(stored.qos(), qos), retain: true, ids: &ids };
        delivery.templates.reset(false);
        delivery.deliver_now(key, &mut sessions[key.index()], &stored.message(now), grant);
        true
    }
}

impl PartialEq for Expiry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Expiry {}

impl PartialOrd for Expiry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expiry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}
