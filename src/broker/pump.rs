//! The pump: sends what waits for a session when its socket or its window has room again.
//!
//! Why bounded: one client with a million retained messages must not hold up a core, so a pump takes some steps and the
//! session stands in line for the next turn.
//!
//! Invariants:
//! - What was sent before goes first (resends), then queued messages and replays by turns, so that neither starves.

use mqtt::{AckKind, PacketId, ReasonCode};
use stdx::Instant;

use crate::change::{Change, MessageCopy};
use crate::deliver::{Grant, Outbound};
use crate::exchange::Exchange;
use crate::session::SessionKey;
use crate::window::Resend;

/// Messages that one session may be sent in one go.
const STEPS_MAX: u32 = 256;

impl Exchange {
    /// Sends what may go now.
    pub(crate) fn pump(&mut self, now: Instant, key: SessionKey) {
        self.resend(now, key, false);
        let Some(session) = self.sessions.get(key.index()) else { return };
        if session.waiting.is_none() {
            return;
        }
        for _ in 0..STEPS_MAX {
            if !self.pump_step(now, key) {
                self.refill(now, key);
                self.drop_empty_waiting(key);
                return;
            }
        }
        if !self.pumping.contains(&key) {
            self.pumping.push_back(key);
        }
    }

    fn pump_step(&mut self, now: Instant, key: SessionKey) -> bool {
        let (sessions, _, mut delivery) = self.delivery(now);
        let Some(session) = sessions.get_mut(key.index()) else { return false };
        let can_send = delivery.has_room(session);
        let Some(waiting) = &mut session.waiting else { return false };
        let replays = can_send && !waiting.replays.is_empty();
        waiting.replay_next = replays && !waiting.replay_next;
        if !waiting.replay_next && delivery.send_next(key, session) {
            return true;
        }
        replays && self.replay_step(now, key)
    }

    fn refill(&mut self, now: Instant, key: SessionKey) {
        let (sessions, _, mut delivery) = self.delivery(now);
        if let Some(session) = sessions.get_mut(key.index()) {
            delivery.refill(session);
        }
    }

    fn drop_empty_waiting(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key.index())
            && session.waiting.as_ref().is_some_and(|waiting| waiting.is_empty())
        {
            session.waiting = None;
        }
    }

    /// Whether sessions stand in line for another turn.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.pumping.is_empty()
    }

    /// Goes on with the sessions in line, each once.
    pub fn work(&mut self, now: Instant) {
        for _ in 0..self.pumping.len() {
            let Some(key) = self.pumping.pop_front() else { return };
            self.pump(now, key);
        }
    }

    /// The socket took `count` bytes; goes on with what waited for that.
    pub fn sent(&mut self, now: Instant, key: SessionKey, count: usize) {
        self.counters.bytes_sent += u64::from(stdx::narrow(count));
        let low = stdx::widen(self.limits.out_bytes_high) / 2;
        let Some(session) = self.sessions.get_mut(key.index()) else { return };
        let Some(link) = &mut session.link else { return };
        link.sent(count);
        let is_waiting = session.waiting.is_some() || session.window.as_ref().is_some_and(|w| w.is_waiting());
        if is_waiting && link.backlog() <= low {
            self.pump(now, key);
        }
    }

    /// Sends again what an earlier connection left open, as far as the window allows. Source: [MQTT-4.4.0-1].
    pub(crate) fn resend(&mut self, now: Instant, key: SessionKey, releases: bool) {
        let mut releases = releases;
        let mut resends = Vec::new();
        loop {
            let Some(session) = self.sessions.get_mut(key.index()) else { return };
            let (Some(link), Some(window)) = (&session.link, &mut session.window) else { return };
            if releases || window.is_waiting() {
                window.resend(link.window_max, releases, &mut resends);
            }
            if resends.is_empty() {
                return;
            }
            releases = false;
            for resend in resends.drain(..) {
                match resend {
                    Resend::Release(id) => self.write_ack(key, AckKind::PubRel, id, ReasonCode::Success),
                    Resend::Publish(id, sent) => self.resend_publish(now, key, id, &sent),
                }
            }
        }
    }

    /// A message that is too large for the new connection counts as delivered; source: [MQTT-3.1.2-25]. So does one that its
    /// receiver may not have any more.
    fn resend_publish(&mut self, now: Instant, key: SessionKey, id: PacketId, sent: &MessageCopy) {
        let (sessions, _, mut delivery) = self.delivery(now);
        let session = &mut sessions[key.index()];
        let link = session.link.as_mut().expect("a session without a link resends nothing");
        let message = sent.message.message(now);
        let grant = Grant { qos: sent.qos, retain: sent.retain, ids: &sent.ids };
        let is_barred = !delivery.holders.may_receive(key, sent.message.topic());
        if !is_barred && delivery.fits(link, &message, grant) {
            delivery.templates.reset(false);
            delivery.write(key, link, &message, Outbound { grant, id: Some(id), dup: true });
            return;
        }
        delivery.counters.dropped_barred += u64::from(is_barred);
        delivery.counters.dropped_too_large += u64::from(!is_barred);
        delivery.counters.inflight_messages -= 1;
        let window = session.window.as_mut().expect("it gave the message");
        if let Some(seq) = window.forget(id) {
            self.note(key, |client_id| Change::Settled { client_id, seq, packet_id: id });
        }
    }
}
