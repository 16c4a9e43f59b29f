//! Restoring: a new exchange takes over what an earlier process promised.
//!
//! Why through changes: the store keeps them in order, and the number of cores may differ from last time, so each core
//! replays the changes of the clients that are at home here now, and every core those of retained messages.
//!
//! Invariants:
//! - Restoring happens before the first connection, and no client is let in before every core knows what the sessions of
//!   all cores want.
//! - A client that was connected when the process ended counts as gone from then on: its will and its expiry run.

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt::PacketId;
use stdx::{Instant, Span};

use crate::change::{Change, MessageCopy, Shipped, WillState};
use crate::core_id::CoreId;
use crate::exchange::Exchange;
use crate::holders::Holder;
use crate::parcel::Parcel;
use crate::rights::Rights;
use crate::session::{Session, SessionKey, Will};
use crate::timers::Timer;
use crate::waiting::Spilled;
use crate::window::Window;

impl Exchange {
    /// Takes over one change, if its client is at home here. Call in the order in which changes were taken, then
    /// [`Exchange::finish_restore`]. `home_of` decides where a client is at home, as the connections will.
    pub fn restore(&mut self, change: &Change) {
        let Some(client_id) = change.client_id() else {
            self.restore_retained(change);
            return;
        };
        if CoreId::home_of(client_id.as_bytes(), self.cores) != self.core {
            return;
        }
        match change {
            Change::Session { expiry_s, ends_at, is_connected, will, .. } => {
                let key = self.restored(client_id);
                let session = &mut self.sessions[key.index()];
                session.expiry_s = *expiry_s;
                session.is_lasting |= *expiry_s > 0;
                session.is_written = true;
                session.ends_at = if *is_connected { Instant::NEVER } else { *ends_at };
                session.will = will.as_ref().map(|will| Box::new(restored_will(will)));
            }
            Change::SessionEnded { .. } => self.restore_end(client_id),
            Change::Subscribed { filter, terms, .. } => {
                let key = self.restored(client_id);
                self.apply(key, filter, *terms);
            }
            Change::Unsubscribed { filter, .. } => {
                let key = self.restored(client_id);
                if let Ok(index) = self.sessions[key.index()].find(filter) {
                    let subscription = self.sessions[key.index()].subscriptions.remove(index);
                    self.withdraw(key, &subscription);
                }
            }
            Change::Received { packet_id, shipped, .. } => {
                let session = self.restored_session(client_id);
                session.receive(packet_id.get());
                session.take_partial(packet_id.get());
                if let Some(received) = session.received.as_mut().filter(|_| !shipped.is_empty()) {
                    received.partial.insert(packet_id.get(), shipped.clone());
                }
            }
            Change::Completed { packet_id, .. } => {
                let session = self.restored_session(client_id);
                session.release(packet_id.get());
            }
            Change::Queued { .. }
            | Change::Dropped { .. }
            | Change::Spilled { .. }
            | Change::Sent { .. }
            | Change::Released { .. }
            | Change::Settled { .. } => self.restore_message(client_id, change),
            Change::Retained { .. } | Change::RetainedCleared { .. } | Change::Handled { .. } => {
                unreachable!("they name no client")
            }
        }
    }

    /// Gives back the rights of a session that was restored, if its client is at home here. Before the first event.
    pub fn entrust_restored(
        &mut self,
        client_id: &str,
        listener: Option<Arc<str>>,
        rights: Option<Arc<dyn Rights>>,
    ) {
        if let Some(key) = self.by_client.get(client_id).copied() {
            self.entrust(key, Holder::new(rights, listener));
        }
    }

    /// Takes over a change of a message on its way to a client.
    fn restore_message(&mut self, client_id: &str, change: &Change) {
        match change {
            Change::Queued { seq, copy, .. } => self.restore_queued(client_id, *seq, copy),
            Change::Dropped { seq, .. } => {
                self.restore_taken(client_id, *seq);
            }
            Change::Spilled { first_seq, last_seq, messages, bytes, .. } => {
                let (first_seq, last_seq, messages, bytes) = (*first_seq, *last_seq, *messages, *bytes);
                let spilled = Spilled { first_seq, last_seq, messages, bytes, is_fetching: false };
                self.restore_spilled(client_id, spilled);
            }
            Change::Sent { seq, packet_id, copy, .. } => {
                let taken = self.restore_taken(client_id, *seq);
                self.restore_sent(client_id, *seq, *packet_id, copy.clone().or(taken));
            }
            Change::Released { packet_id, .. } => {
                if let Some(window) = &mut self.restored_session(client_id).window {
                    window.pubrec(*packet_id, false);
                }
            }
            Change::Settled { packet_id, .. } => self.restore_settled(client_id, *packet_id),
            _other_changes_are_sorted_out_by_the_caller => {}
        }
    }

    /// Starts the timers of what was restored and tells the other cores who is subscribed here.
    pub fn finish_restore(&mut self, now: Instant) {
        let keys: Vec<SessionKey> = self.sessions.iter().map(|(index, _)| SessionKey::new(index)).collect();
        for key in keys {
            let session = &mut self.sessions[key.index()];
            let mut is_changed = false;
            if session.ends_at == Instant::NEVER && session.expiry_s != u32::MAX {
                // A session that ended with its connection is here only for its will; that one must wait, too.
                session.ends_at = now + Span::from_s(u64::from(session.expiry_s.max(1)));
                is_changed = true;
            }
            // A will waits although it was due meanwhile: the other cores must hear first who is subscribed where.
            let soonest = now + Span::from_s(1);
            if session.expiry_s != u32::MAX {
                if session.will.is_some() {
                    session.ends_at = session.ends_at.max(soonest);
                }
                self.timers.insert(session.ends_at, Timer::SessionEnd(key, session.serial));
            }
            if let Some(will) = &mut session.will {
                if will.due_at == Instant::NEVER {
                    will.due_at = now + Span::from_s(u64::from(will.delay_s));
                    is_changed = true;
                }
                will.due_at = will.due_at.max(soonest);
                self.timers.insert(will.due_at, Timer::Will(key, session.serial));
            }
            self.announce_interest_of(key);
            self.announce_groups_of(key);
            if is_changed {
                self.note_session(key);
            }
            self.resolve_partial(key);
        }
        self.outgoing.tell_others(|| Parcel::Restored);
        self.awaits_restored = true;
        let turn = self.handled.values().max().copied().unwrap_or(0);
        self.journal.gate.go_on_behind(turn);
        self.handled.clear();
        self.expire_retained(now);
    }

    /// Finds out which cores have not got the messages under the QoS 2 ids that this client has open.
    fn resolve_partial(&mut self, key: SessionKey) {
        let handled = &self.handled;
        let session = &mut self.sessions[key.index()];
        let Some(received) = &mut session.received else { return };
        let mut left = BTreeMap::new();
        for (id, mut shipped) in std::mem::take(&mut received.partial) {
            for step in shipped.iter_mut().filter(|step| step.turn != Shipped::NOBODY && !step.is_for_group())
            {
                for core in step.to.iter() {
                    if handled.get(&(core, step.core)).is_some_and(|turn| *turn >= step.turn) {
                        step.to.remove(core);
                    }
                }
                step.turn = Shipped::NOBODY;
            }
            let is_for_group = shipped.iter().any(Shipped::is_for_group);
            if is_for_group || shipped.iter().all(|step| !step.to.is_empty()) {
                left.insert(id, shipped);
            }
        }
        for (id, shipped) in &left {
            let packet_id = PacketId::new(*id).expect("it was an id when it was received");
            let client_id = Arc::clone(&session.client_id);
            self.journal.record(|| Change::Received { client_id, packet_id, shipped: shipped.clone() });
        }
        received.partial = left;
    }

    fn announce_interest_of(&mut self, key: SessionKey) {
        if self.cores == 1 {
            return;
        }
        let filters: Vec<Box<str>> = self.sessions[key.index()]
            .subscriptions
            .iter()
            .map(|subscription| subscription.filter.clone())
            .collect();
        for filter in filters.iter().filter(|filter| !mqtt::topic::is_shared(filter)) {
            self.tell_interest(filter, true);
        }
    }

    fn restored(&mut self, client_id: &str) -> SessionKey {
        match self.by_client.get(client_id) {
            Some(key) => *key,
            None => self.new_session(client_id),
        }
    }

    fn restored_session(&mut self, client_id: &str) -> &mut Session {
        let key = self.restored(client_id);
        &mut self.sessions[key.index()]
    }

    fn restore_end(&mut self, client_id: &str) {
        if let Some(key) = self.by_client.get(client_id).copied() {
            self.sessions[key.index()].will = None;
            self.end_session(Instant::START, key);
        }
    }

    fn restore_taken(&mut self, client_id: &str, seq: u64) -> Option<MessageCopy> {
        let session = self.restored_session(client_id);
        let taken = session.waiting.as_mut().and_then(|waiting| waiting.take(seq));
        if session.waiting.as_ref().is_some_and(|waiting| waiting.is_empty()) {
            session.waiting = None;
        }
        if let Some(copy) = &taken {
            self.counters.queue_shrank(copy.message.cost_bytes());
        }
        taken
    }

    /// Keeps a queued message in memory as long as there is room for all sessions; else it is only counted.
    fn restore_queued(&mut self, client_id: &str, seq: u64, copy: &MessageCopy) {
        let cost = copy.message.cost_bytes();
        let bytes = u64::try_from(cost).expect("a length fits 64 bits");
        let in_memory = self.counters.queued_bytes - self.counters.spilled_bytes;
        let has_room = in_memory + bytes <= self.limits.queue_memory_bytes_total_max;
        let session = self.restored_session(client_id);
        session.seq = session.seq.max(seq);
        let waiting = session.waiting.get_or_insert_default();
        if has_room && waiting.spilled.is_none() {
            waiting.push(seq, copy.clone());
            self.counters.queue_grew(cost);
            return;
        }
        let (first_seq, last_seq) = (seq, seq);
        self.restore_spilled(
            client_id,
            Spilled { first_seq, last_seq, messages: 1, bytes, is_fetching: false },
        );
    }

    fn restore_spilled(&mut self, client_id: &str, more: Spilled) {
        if more.messages == 0 {
            return;
        }
        let session = self.restored_session(client_id);
        session.seq = session.seq.max(more.last_seq);
        let waiting = session.waiting.get_or_insert_default();
        match &mut waiting.spilled {
            None => waiting.spilled = Some(more),
            Some(spilled) => {
                spilled.last_seq = more.last_seq;
                spilled.messages += more.messages;
                spilled.bytes += more.bytes;
            }
        }
        self.counters.queued_messages += more.messages;
        self.counters.queued_bytes += more.bytes;
        self.counters.spilled_messages += more.messages;
        self.counters.spilled_bytes += more.bytes;
    }

    fn restore_sent(&mut self, client_id: &str, seq: u64, packet_id: PacketId, copy: Option<MessageCopy>) {
        let session = self.restored_session(client_id);
        session.seq = session.seq.max(seq);
        session.window.get_or_insert_with(|| Box::new(Window::new())).restore(packet_id, seq, copy);
        self.counters.inflight_messages += 1;
    }

    fn restore_settled(&mut self, client_id: &str, packet_id: PacketId) {
        if let Some(window) = &mut self.restored_session(client_id).window
            && window.forget(packet_id).is_some()
        {
            self.counters.inflight_messages -= 1;
        }
    }

    fn restore_retained(&mut self, change: &Change) {
        match change {
            Change::Retained { message, version } => {
                let message = Arc::clone(message);
                self.replicate(&message.message(Instant::START), *version);
            }
            Change::RetainedCleared { topic, version } => {
                self.retained_counter = self.retained_counter.max(version.counter);
                self.retained.clear(topic, *version);
            }
            Change::Handled { core, from, turn } => {
                self.handled.insert((*core, *from), *turn);
            }
            _other_changes_name_a_client => {}
        }
    }
}

fn restored_will(will: &WillState) -> Will {
    Will {
        message: Arc::clone(&will.message),
        expiry_s: will.expiry_s,
        delay_s: will.delay_s,
        due_at: will.due_at,
    }
}
