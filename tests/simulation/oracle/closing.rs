//! The beginning and the end of connections and sessions: attach, takeover, detach, expiry, closes and their reasons.
//!
//! Invariants:
//! - A client has one session at most, and a session one connection at most.
//! - Every close by the shard has a reason that the oracle knows.
//!
//! Source: MQTT 5.0 sections 3.1.2.4, 3.1.2.11.2, 3.1.4, 4.1; 3.1.1 sections 3.1.2.4, 3.1.4.

use std::rc::Rc;

use stdx::Span;

use super::conn::Cause;
use super::session::Session;
use super::turn::Foresight;
use super::{Oracle, Rule, TIMER_SLACK};
use crate::wire::{ConnAck, Connect, Version};

/// What becomes of the state that a client left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inheritance {
    Resumed,
    Afresh,
    /// The expiry was about now: the server's word is taken.
    AsSaid,
}

impl Oracle {
    /// A connection attaches to its session. There is no CONNACK if it was gone before the turn ended.
    pub(super) fn attach(&mut self, socket: usize, connack: Option<&ConnAck>, foresight: &Foresight) {
        let connect = Rc::clone(self.conns[&socket].connect.as_ref().expect("only a CONNECT attaches"));
        let name = connack.and_then(|connack| connack.assigned_id.clone());
        let name = name.unwrap_or_else(|| connect.client_id.clone());
        let name = if name.is_empty() { format!("anonymous of c{socket}") } else { name };
        let client = self.client_key(&name);
        if let Some(old) = self.current.get(&client).and_then(|session| self.sessions[*session].conn) {
            self.detach(old, Cause::TakenOver, foresight);
        }
        let inheritance = self.inheritance(client, &connect);
        let is_resumed = match inheritance {
            Inheritance::Resumed => true,
            Inheritance::Afresh => false,
            Inheritance::AsSaid => connack.is_some_and(|connack| connack.is_session_present),
        };
        let said =
            connack.filter(|_| connect.version != Version::V31).map(|connack| connack.is_session_present);
        if said.is_some_and(|said| said != is_resumed) {
            self.fail(Rule::SessionPresent, format!("CONNACK to c{socket} ({name}) says {said:?}"));
        }
        let is_uncertain = inheritance == Inheritance::AsSaid && said.is_none();
        let session = self.resume_or_begin(client, is_resumed, foresight);
        self.sessions[session].is_uncertain |= is_uncertain;
        self.bind(socket, session, &connect, connack);
    }

    fn inheritance(&self, client: usize, connect: &Connect) -> Inheritance {
        let Some(session) = self.current.get(&client).map(|session| &self.sessions[*session]) else {
            return Inheritance::Afresh;
        };
        if connect.is_clean {
            return Inheritance::Afresh;
        }
        let away_since = session.away_since.expect("a session that was taken over has been detached");
        if session.expiry_s == u32::MAX {
            return Inheritance::Resumed;
        }
        let end = away_since + Span::from_s(u64::from(session.expiry_s));
        if self.now < end {
            Inheritance::Resumed
        } else if self.now > end + TIMER_SLACK {
            Inheritance::Afresh
        } else {
            Inheritance::AsSaid
        }
    }

    fn resume_or_begin(&mut self, client: usize, is_resumed: bool, foresight: &Foresight) -> usize {
        self.wills_left_by(client, foresight);
        let known = self.current.get(&client).copied();
        if let (Some(session), true) = (known, is_resumed) {
            self.cancel_will(session);
            return session;
        }
        if let Some(session) = known {
            self.end_session(session, foresight);
        }
        self.sessions.push(Session::new(client, foresight.core, self.step));
        self.current.insert(client, self.sessions.len() - 1);
        self.sessions.len() - 1
    }

    fn bind(&mut self, socket: usize, index: usize, connect: &Connect, connack: Option<&ConnAck>) {
        let is_5 = connect.version == Version::V5;
        let expiry_s = match connack.and_then(|connack| connack.expiry_s) {
            Some(granted) => granted,
            None if is_5 => connect.expiry_s.unwrap_or(0),
            None if connect.is_clean => 0,
            None => u32::MAX,
        };
        let session = &mut self.sessions[index];
        session.expiry_s = expiry_s.min(self.limits.session_expiry_max_s);
        session.away_since = None;
        session.conn = Some(socket);
        session.online_since = self.step;
        let window = if is_5 {
            connect.receive_maximum.unwrap_or(u16::MAX).min(self.limits.inflight_max)
        } else {
            self.limits.inflight_3x_max
        };
        let conn = self.conns.get_mut(&socket).expect("it was accepted");
        conn.client = session.client;
        conn.session = Some(index);
        conn.released_at = self.now;
        // Silence begins anew when a connection that was long on its way is at home.
        conn.last_packet_at = self.now;
        conn.receive_maximum = window;
        conn.keep_alive_s = connack.and_then(|connack| connack.keep_alive_s).unwrap_or(connect.keep_alive_s);
        conn.packet_bytes_max =
            connect.packet_bytes_max.map_or(usize::MAX, |most| most.try_into().expect("32 bits"));
        conn.alias_max = connect.alias_max.unwrap_or(0).min(self.limits.topic_alias_out_max);
        conn.will.clone_from(&connect.will);
        self.forgive_large(index);
        self.excuse_large(socket, index);
        if let Some(connack) = connack {
            self.expect_announced(connect, connack);
        }
    }

    /// Open messages that the new connection's Maximum Packet Size forbids need never be sent again.
    fn excuse_large(&mut self, socket: usize, index: usize) {
        let flows = self.sessions[index].flows.iter();
        let large = flows.filter(|(_, flow)| self.may_be_too_large(socket, &self.fates[&flow.message]));
        let large: Vec<u16> = large.map(|(id, _)| *id).collect();
        for (_, flow) in self.sessions[index].flows.iter_mut().filter(|(id, _)| large.contains(id)) {
            flow.is_excused = true;
        }
    }

    /// What the broker grants differently from what was asked is announced. Source: section 3.2.2.3.
    fn expect_announced(&mut self, connect: &Connect, connack: &ConnAck) {
        if connect.version != Version::V5 {
            return;
        }
        let (expiry_max, keep_alive_max) = (self.limits.session_expiry_max_s, self.limits.keep_alive_max_s);
        if connect.expiry_s.unwrap_or(0) > expiry_max && connack.expiry_s != Some(expiry_max) {
            self.fail(Rule::Answer, format!("a cut session expiry was announced as {:?}", connack.expiry_s));
        }
        let is_cut =
            keep_alive_max > 0 && (connect.keep_alive_s == 0 || connect.keep_alive_s > keep_alive_max);
        if is_cut && connack.keep_alive_s != Some(keep_alive_max) {
            self.fail(Rule::Answer, format!("a cut keep alive was announced as {:?}", connack.keep_alive_s));
        }
    }

    /// The connection is no more: its session goes away or ends, its will becomes due.
    pub(super) fn detach(&mut self, socket: usize, cause: Cause, foresight: &Foresight) {
        let now = self.now;
        let conn = self.conns.get_mut(&socket).expect("it was accepted");
        if conn.ended.is_some() {
            return;
        }
        conn.ended = Some(cause);
        let Some(index) = conn.session else { return };
        let will = conn.will.take().filter(|_| cause != Cause::Goodbye);
        let session = &mut self.sessions[index];
        session.conn = None;
        session.away_since = Some(now);
        let ends_now = session.expiry_s == 0;
        if let Some(will) = will {
            self.note_will(index, &will, foresight);
        }
        if ends_now {
            self.end_session(index, foresight);
        }
    }

    /// The session ends: nothing of it is left, and a delayed will is due at once.
    pub(super) fn end_session(&mut self, index: usize, foresight: &Foresight) {
        let step = self.step;
        let session = &mut self.sessions[index];
        if session.ended.is_some() {
            return;
        }
        session.ended = Some(step);
        for subscription in session.subscriptions.iter_mut().filter(|known| known.ended.is_none()) {
            subscription.ended = Some(step);
            subscription.gone = Some(step);
        }
        if self.current.get(&session.client) == Some(&index) {
            self.current.remove(&session.client);
        }
        if !self.is_broker_gone {
            self.will_of_ended_session(index, foresight);
        }
    }

    /// The shard closed a connection: whether it had a reason, after all its output was read.
    pub(super) fn closed(&mut self, socket: usize) {
        let conn = self.conns.get_mut(&socket).expect("it was accepted");
        if conn.is_over {
            return;
        }
        conn.is_over = true;
        if let Err((rule, text)) = self.judge_close(socket) {
            self.fail(rule, text);
        }
    }

    /// Whether a close had a reason, and the right code was said.
    fn judge_close(&self, socket: usize) -> Result<(), (Rule, String)> {
        let conn = &self.conns[&socket];
        let said = conn.said;
        let is_5 = conn.version == Version::V5;
        let right_code = |codes: &[u8]| {
            let is_right = said.is_some_and(|code| codes.contains(&code)) || !is_5;
            let text =
                || format!("c{socket} was told {said:02x?} and should have been told one of {codes:02x?}");
            if is_right { Ok(()) } else { Err((Rule::Close, text())) }
        };
        if self.is_shut {
            return Ok(());
        }
        match conn.ended {
            Some(Cause::Goodbye | Cause::GoodbyeWithWill) => {
                return match said {
                    None => Ok(()),
                    Some(code) => Err((Rule::Close, format!("c{socket} left and was told {code:#04x}"))),
                };
            }
            Some(Cause::TakenOver) if conn.misdeed.is_none() => return right_code(&[0x8e]),
            Some(Cause::TakenOver | Cause::Gone | Cause::Misdeed | Cause::Closed) | None => {}
        }
        if conn.greeted.is_some_and(|code| code != 0) {
            return Ok(());
        }
        if let Some(misdeed) = &conn.misdeed {
            let is_asked = conn.session.is_some() && !misdeed.codes.is_empty();
            return if is_asked { right_code(misdeed.codes) } else { Ok(()) };
        }
        let timeout = Span::from_s(u64::from(self.limits.connect_timeout_s));
        if conn.session.is_none() && self.now >= conn.accepted_at + timeout {
            return Ok(());
        }
        match conn.silence_ends() {
            Some(end) if self.now >= end => right_code(&[0x8d]),
            Some(end) if said == Some(0x8d) => {
                let early = end.since(self.now).ms();
                Err((Rule::KeepAlive, format!("c{socket} was closed {early} ms too early")))
            }
            Some(_) | None => {
                Err((Rule::Close, format!("c{socket} was closed for no reason, told {said:02x?}")))
            }
        }
    }
}
