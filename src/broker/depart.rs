//! The end of a connection, of a session, and the will between them.
//!
//! Invariants:
//! - A will is published at most once: whoever publishes it takes it out of the session first.
//! - A will is published when its delay has passed or its session ends, whichever is first. Source: [MQTT-3.1.2-8],
//!   section 3.1.3.2.2.
//! - A session that ends leaves no subscription, no timer that acts, and no count behind.

use mqtt::{Disconnect, ReasonCode, Version, Violation, encode};
use stdx::{Instant, Span};

use crate::change::Change;
use crate::exchange::{Exchange, LinkEnd};
use crate::notice::{Level, NoticeKind};
use crate::session::{SessionKey, Will};
use crate::timers::Timer;

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'a> {
    /// What a 5.0 client is told; nothing if it is gone or left by itself.
    farewell: Option<ReasonCode>,
    detail: Option<&'a str>,
    will_is_due: bool,
}

impl<'a> Departure<'a> {
    /// The server ends it, and the will is due.
    pub fn with_will(reason: ReasonCode) -> Self {
        Self { farewell: Some(reason), detail: None, will_is_due: true }
    }

    /// The server ends it, perhaps without a word, and the will is due.
    pub fn told(farewell: Option<ReasonCode>, detail: Option<&'a str>) -> Self {
        Self { farewell, detail, will_is_due: true }
    }
}

impl Exchange {
    /// The connection broke: no DISCONNECT came.
    pub fn gone(&mut self, now: Instant, key: SessionKey) {
        self.depart(now, key, Departure { farewell: None, detail: None, will_is_due: true });
    }

    /// The client broke a statement: it is told (5.0), and the connection ends.
    pub fn violated(&mut self, now: Instant, key: SessionKey, violation: Violation) {
        self.violated_as(now, key, violation, violation.facts().reason);
    }

    /// The same, where somebody else says with which code it is told.
    pub fn violated_as(&mut self, now: Instant, key: SessionKey, violation: Violation, reason: ReasonCode) {
        let facts = violation.facts();
        self.counters.violations += 1;
        match violation {
            Violation::KeepAliveTimeout => self.counters.keep_alive_timeouts += 1,
            Violation::PacketTooLarge => self.counters.packets_too_large += 1,
            Violation::TopicTooDeep | Violation::FilterTooDeep => self.counters.topics_too_deep += 1,
            Violation::ReceiveMaximumExceeded => self.counters.receive_maximum_exceeded += 1,
            // What else a client does wrong is no limit of ours.
            _ => {}
        }
        let text = format_args!("{} ({})", facts.text, facts.id);
        self.notice_of(key, Level::Info, NoticeKind::Violation, text);
        let departure = Departure { farewell: Some(reason), detail: Some(facts.text), will_is_due: true };
        self.depart(now, key, departure);
    }

    /// It was silent for longer than its listener lets anybody be.
    pub(crate) fn idled(&mut self, now: Instant, key: SessionKey) {
        self.counters.idle_timeouts += 1;
        let why = "was silent for too long";
        self.notice_of(key, Level::Info, NoticeKind::Limit, why);
        self.depart(now, key, Departure::told(Some(ReasonCode::ImplementationSpecificError), Some(why)));
    }

    /// A limit of ours ends the connection.
    pub fn evict(&mut self, now: Instant, key: SessionKey, reason: ReasonCode, why: &'static str) {
        self.counters.clients_evicted += 1;
        self.notice_of(key, Level::Warn, NoticeKind::Limit, why);
        self.depart(now, key, Departure { farewell: Some(reason), detail: Some(why), will_is_due: true });
    }

    /// What let a client in, a token, has run out.
    pub(crate) fn rights_ended(&mut self, now: Instant, key: SessionKey) {
        self.counters.rights_expired += 1;
        let why = "its authentication has expired";
        let text = format_args!("is sent away: {why}");
        self.notice_of(key, Level::Info, NoticeKind::Refused, text);
        let farewell = Some(ReasonCode::NotAuthorized);
        self.depart(now, key, Departure { farewell, detail: Some(why), will_is_due: true });
    }

    /// DISCONNECT from the client.
    ///
    /// # Errors
    /// It raised a session expiry that was zero. Source: section 3.14.2.2.2.
    pub fn disconnect(
        &mut self,
        now: Instant,
        key: SessionKey,
        packet: &Disconnect<'_>,
    ) -> Result<(), Violation> {
        let session_expiry_max_s = self.limits.session_expiry_max_s;
        let Some(session) = self.sessions.get_mut(key.index()) else { return Ok(()) };
        if let Some(expiry_s) = packet.session_expiry_s {
            if session.expiry_s == 0 && expiry_s != 0 {
                return Err(Violation::SessionExpiryRaisedFromZero);
            }
            session.expiry_s = expiry_s.min(session_expiry_max_s);
        }
        let will_is_due = packet.reason != ReasonCode::Success;
        self.depart(now, key, Departure { farewell: None, detail: None, will_is_due });
        Ok(())
    }

    /// Ends a connection, whoever wanted it.
    pub(crate) fn depart(&mut self, now: Instant, key: SessionKey, departure: Departure<'_>) {
        let Some(session) = self.sessions.get_mut(key.index()) else { return };
        let Some(mut link) = session.link.take() else { return };
        // What is not safe yet is never promised.
        let is_greeted = link.cut_closed(self.journal.gate.safe());
        // CONNACK may be among what was cut off, and nothing comes before it.
        if let Some(reason) = departure.farewell
            && link.version == Version::V5
            && is_greeted
        {
            let _trimmed_if_need_be = encode::disconnect(
                &mut link.out,
                link.version,
                reason,
                departure.detail,
                link.packet_bytes_max,
            );
            self.counters.packets_sent += 1;
        }
        self.counters.clients_connected -= 1;
        self.ended.push(LinkEnd { link: link.id, last: std::mem::take(&mut link.out) });
        if let Some(window) = &mut session.window {
            window.link_lost();
        }
        let hold = link.hold;
        self.end_metering(now, key, hold);
        self.forget_unkept(key);
        let session = &mut self.sessions[key.index()];
        if !departure.will_is_due {
            session.will = None;
        }
        if session.ends_with_link() {
            self.end_session(now, key);
            return;
        }
        let serial = session.serial;
        if session.expiry_s != u32::MAX {
            session.ends_at = now + Span::from_s(u64::from(session.expiry_s));
            self.timers.insert(session.ends_at, Timer::SessionEnd(key, serial));
        }
        self.schedule_will(now, key);
        self.note_session(key);
        self.announce_groups_of(key);
    }

    /// Notes the terms of a session as they are now. Of one that ends with its connection, only the will is worth it.
    pub(crate) fn note_session(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.index()).filter(|_| self.journal.is_on) else { return };
        if session.is_lasting || session.is_written || session.will.is_some() {
            session.is_written = true;
            self.journal.record(|| Change::Session {
                client_id: std::sync::Arc::clone(&session.client_id),
                expiry_s: session.expiry_s,
                ends_at: session.ends_at,
                is_connected: session.link.is_some(),
                will: session.will.as_deref().map(Will::state),
                owner: self.holders.owner(key),
            });
        }
    }

    /// Drops what waits only for a connection: replays, and QoS 0 messages unless they are to be kept.
    fn forget_unkept(&mut self, key: SessionKey) {
        let keeps_qos0 = self.limits.queue_qos0_offline;
        let Some(waiting) = &mut self.sessions[key.index()].waiting else { return };
        waiting.replays.clear();
        while let Some(copy) = (!keeps_qos0).then(|| waiting.pop_qos0()).flatten() {
            self.counters.queue_shrank(copy.message.cost_bytes());
            self.counters.dropped_offline_qos0 += 1;
        }
        if waiting.is_empty() {
            self.sessions[key.index()].waiting = None;
        }
    }

    fn schedule_will(&mut self, now: Instant, key: SessionKey) {
        let session = &mut self.sessions[key.index()];
        let Some(will) = &mut session.will else { return };
        if will.delay_s == 0 {
            self.publish_will(now, key);
            return;
        }
        will.due_at = now + Span::from_s(u64::from(will.delay_s));
        // If the session ends sooner, its end publishes the will.
        self.timers.insert(will.due_at, Timer::Will(key, session.serial));
    }

    /// Ends a session, connected or not; its will, if one is due, is published.
    pub(crate) fn end_session(&mut self, now: Instant, key: SessionKey) {
        for subscription in std::mem::take(&mut self.sessions[key.index()].subscriptions) {
            self.withdraw(key, &subscription);
        }
        let session = self.sessions.remove(key.index());
        debug_assert!(session.link.is_none());
        if session.is_written {
            let client_id = std::sync::Arc::clone(&session.client_id);
            self.journal.record(|| Change::SessionEnded { client_id });
        }
        self.by_client.remove(&session.client_id);
        self.counters.sessions -= 1;
        if let Some(waiting) = &session.waiting {
            self.counters.queued_messages -= waiting.len();
            self.counters.queued_bytes -= waiting.bytes_total();
            self.counters.dropped_session_ended += waiting.len();
            if let Some(spilled) = waiting.spilled {
                self.counters.spilled_messages -= spilled.messages;
                self.counters.spilled_bytes -= spilled.bytes;
            }
        }
        if let Some(window) = &session.window {
            self.counters.inflight_messages -= u64::from(window.open());
            self.counters.dropped_session_ended += u64::from(window.open());
        }
        if let Some(will) = session.will {
            self.send_will(now, key, &will);
        }
        self.holders.remove(key);
    }

    /// Publishes the will of a session that goes on without its client.
    pub(crate) fn publish_will(&mut self, now: Instant, key: SessionKey) {
        if let Some(will) = self.sessions[key.index()].will.take() {
            self.send_will(now, key, &will);
            self.note_session(key);
        }
    }

    /// Sends a will as its session is allowed to now; the session may have ended, its rights not.
    fn send_will(&mut self, now: Instant, key: SessionKey, will: &Will) {
        let mut message = will.message.message(now);
        let topic = will.message.topic();
        let is_full = message.retain
            && !message.payload.is_empty()
            && self.retained_is_full(will.message.origin(), topic.as_bytes(), message.payload.len());
        if is_full || !self.holders.may_publish(key, topic) {
            self.counters.dropped_refused += 1;
            return;
        }
        let levels_max = stdx::widen(self.limits.topic_levels_max);
        let Ok((route, _)) = self.table.route(topic.as_bytes(), levels_max, &self.holders) else { return };
        if will.expiry_s.is_some() {
            // The expiry counts from now, so the stored form must be made anew. Source: section 3.1.3.2.4.
            message.expiry_s = will.expiry_s;
            message.stored = std::cell::OnceCell::new();
        }
        self.counters.wills_published += 1;
        self.route_message(now, route, &message);
    }

    /// Tells the other cores when this session's shared subscriptions gained or lost a connected member.
    pub(crate) fn announce_groups_of(&mut self, key: SessionKey) {
        if self.cores == 1 {
            return;
        }
        let filters: Vec<Box<str>> = self.sessions[key.index()].shared_filters().map(Into::into).collect();
        for full in filters {
            if let Some((name, filter)) = crate::subscribe::split_share(&full) {
                self.announce_group(name, filter);
            }
        }
    }

    /// Begins the graceful end: wills first, so that they still find their readers, then every connection.
    pub fn shut_down(&mut self, now: Instant) {
        self.is_closing = true;
        let connected: Vec<SessionKey> = self.connected_keys();
        for key in &connected {
            if self.sessions[key.index()].will.as_ref().is_some_and(|will| will.delay_s == 0) {
                self.publish_will(now, *key);
            }
        }
        for key in connected {
            self.depart(now, key, Departure::with_will(ReasonCode::ServerShuttingDown));
        }
    }

    fn connected_keys(&self) -> Vec<SessionKey> {
        let connected = self.sessions.iter().filter(|(_, session)| session.link.is_some());
        connected.map(|(index, _)| SessionKey::new(index)).collect()
    }
}
