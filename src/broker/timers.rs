//! Timers of one core: silence, rights that end, session ends, delayed wills, expiring retained messages, `$SYS`.
//!
//! Why lazily: a timer only says when to look. Whoever it was set for may have moved on; then it is set again or
//! forgotten.
//!
//! Invariants:
//! - A keep alive never ends a connection before 1.5 times its length has passed. Source: [MQTT-3.1.2-22].

use mqtt::Violation;
use stdx::Instant;

use crate::exchange::Exchange;
use crate::link::{Hold, LinkId};
use crate::session::SessionKey;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    /// Look whether a client has been silent too long.
    Silence(SessionKey, LinkId),
    /// A client that has published too much may be read again.
    Quota(SessionKey, LinkId),
    /// A session without a connection may have come to its end; with the session's serial.
    SessionEnd(SessionKey, u64),
    /// A delayed will may be due; with the session's serial.
    Will(SessionKey, u64),
    /// What let a client in runs out.
    RightsEnd(SessionKey, LinkId),
    /// A retained message expires.
    RetainedExpiry,
    /// `$SYS` is due.
    Sys,
}

impl Exchange {
    /// When [`Exchange::handle_timers`] should be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// Does what is due.
    pub fn handle_timers(&mut self, now: Instant) {
        let mut fired = std::mem::take(&mut self.fired);
        self.timers.advance(now, &mut fired);
        for timer in fired.drain(..) {
            match timer {
                Timer::Silence(key, link) => self.check_silence(now, key, link),
                Timer::Quota(key, link) => self.check_quota(now, key, link),
                Timer::SessionEnd(key, serial) => self.check_session_end(now, key, serial),
                Timer::Will(key, serial) => self.check_will(now, key, serial),
                Timer::RightsEnd(key, link) => self.check_rights(now, key, link),
                Timer::RetainedExpiry => self.expire_retained(now),
                Timer::Sys => self.sys_tick(now),
            }
        }
        self.fired = fired;
    }

    fn check_silence(&mut self, now: Instant, key: SessionKey, id: LinkId) {
        let Some(link) = self.link(key).filter(|link| link.id == id) else { return };
        let is_unread = link.hold == Hold::Quota;
        let deadline = if is_unread { now } else { link.last_seen } + link.silence_max.max();
        if deadline <= now && link.silence_max.is_ours() {
            self.idled(now, key);
        } else if deadline <= now {
            self.violated(now, key, Violation::KeepAliveTimeout);
        } else {
            self.timers.insert(deadline, Timer::Silence(key, id));
        }
    }

    fn check_rights(&mut self, now: Instant, key: SessionKey, id: LinkId) {
        if self.link(key).is_none_or(|link| link.id != id) {
            return;
        }
        let Some(ends_at) = self.holders.expires_at(key) else { return };
        if ends_at <= self.wall_at(now) {
            self.rights_ended(now, key);
        } else {
            self.timers.insert(self.instant_of(ends_at), Timer::RightsEnd(key, id));
        }
    }

    fn check_session_end(&mut self, now: Instant, key: SessionKey, serial: u64) {
        let Some(session) = self.sessions.get(key.index()).filter(|session| session.serial == serial) else {
            return;
        };
        if session.link.is_none() && session.ends_at <= now {
            self.counters.sessions_expired += 1;
            self.end_session(now, key);
        }
    }

    fn check_will(&mut self, now: Instant, key: SessionKey, serial: u64) {
        let Some(session) = self.sessions.get(key.index()).filter(|session| session.serial == serial) else {
            return;
        };
        let is_due = session.will.as_ref().is_some_and(|will| will.due_at <= now);
        if session.link.is_none() && is_due {
            self.publish_will(now, key);
        }
    }
}
