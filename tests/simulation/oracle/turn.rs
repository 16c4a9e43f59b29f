//! Judging one turn: first what the shard was told, in order, then what came out.
//!
//! Why the outcome is looked at before the events: whether a CONNECT was accepted, and whether a SUBSCRIBE had to wait
//! for other cores, shows only in what came out, and decides at which event the later packets of that turn counted.
//!
//! Invariants:
//! - A connection attaches at the event that brought its CONNECT to its home core.
//! - Packets behind a SUBSCRIBE without its SUBACK wait; they count when the SUBACK comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stdx::Span;

use super::conn::{Cause, Conn, Misdeed};
use super::{Event, Oracle, Rule, Step, TIMER_SLACK, Turn};
use crate::wire::{ClientPacket, ConnAck, ServerPacket, Version};

/// What the output of a turn says about its events.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    pub connacks: BTreeMap<usize, ConnAck>,
    pub subacks: BTreeSet<(usize, u16)>,
    pub adopted: BTreeSet<usize>,
    pub closed: BTreeSet<usize>,
    /// Who was told that it kept silent for too long.
    pub silenced: BTreeSet<usize>,
    pub core: usize,
    pub enqueued: Rc<[usize]>,
}

/// The steps between which something was routed.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub from: Step,
    pub by: Step,
}

impl Oracle {
    /// Judges one turn.
    pub fn turn(&mut self, turn: &Turn) {
        self.now = turn.now;
        let foresight = foresee(turn);
        let mut overdue = Vec::new();
        for (step, event) in &turn.events {
            self.step = *step;
            self.span = When { from: *step, by: *step };
            if matches!(event, Event::Timers) {
                overdue = self.overdue(turn.core);
                self.silence_closed(turn.core, &foresight);
                self.fire_wills(turn.core, &foresight);
            }
            self.event(event, turn.core, &foresight);
        }
        self.step = turn.end;
        self.release_held(turn, &foresight);
        let begun = turn.events.first().map_or(turn.end, |(step, _)| *step);
        self.span = When { from: begun, by: turn.end };
        for socket in &turn.closed {
            self.detach(*socket, Cause::Closed, &foresight);
        }
        for (socket, packets) in &turn.output {
            for framed in packets {
                self.emitted(*socket, framed);
            }
        }
        for socket in &turn.closed {
            self.closed(*socket);
        }
        self.expect_closed(turn, &overdue);
    }

    fn event(&mut self, event: &Event, core: usize, foresight: &Foresight) {
        let step = self.step;
        match event {
            Event::Accepted(socket) => {
                self.conns.insert(*socket, Conn::new(core, self.now));
            }
            Event::Arrived(socket) => self.arrived(*socket, core, foresight),
            Event::Packet(socket, packet) => self.packet(*socket, packet, foresight),
            Event::Misdeed(socket) => {
                let conn = self.conns.get_mut(socket).expect("it was accepted");
                conn.misdeed = Some(Misdeed { what: "", codes: &[], is_complete: false });
            }
            Event::Gone(socket) => {
                self.detach(*socket, Cause::Gone, foresight);
                self.conns.get_mut(socket).expect("it was accepted").is_over = true;
            }
            Event::Batch(from) => self.handled.entry((*from, core)).or_default().push(step),
            Event::Timers => {}
        }
    }

    fn arrived(&mut self, socket: usize, core: usize, foresight: &Foresight) {
        self.conns.get_mut(&socket).expect("it was accepted").core = core;
        self.try_attach(socket, foresight);
        self.drain(socket, When { from: self.step, by: self.step }, foresight);
    }

    fn packet(&mut self, socket: usize, packet: &Rc<ClientPacket>, foresight: &Foresight) {
        let (step, now) = (self.step, self.now);
        let conn = self.conns.get_mut(&socket).expect("it was accepted");
        if conn.is_over || conn.ended.is_some() {
            return;
        }
        conn.last_packet_at = now;
        if let (ClientPacket::Connect(connect), None) = (&**packet, &conn.connect) {
            conn.version = connect.version;
            conn.connect = Some(Rc::new((**connect).clone()));
            return self.try_attach(socket, foresight);
        }
        conn.queue.push_back((step, Rc::clone(packet)));
        if conn.session.is_some() && conn.held.is_none() {
            self.drain(socket, When { from: step, by: step }, foresight);
        }
    }

    fn try_attach(&mut self, socket: usize, foresight: &Foresight) {
        let conn = &self.conns[&socket];
        if conn.connect.is_some() && conn.session.is_none() && foresight.adopted.contains(&socket) {
            self.attach(socket, foresight.connacks.get(&socket), foresight);
        }
    }

    /// Lets the waiting packets of a connection count, until one has to wait again.
    fn drain(&mut self, socket: usize, when: When, foresight: &Foresight) {
        loop {
            let Some(conn) = self.conns.get_mut(&socket) else { return };
            if conn.session.is_none() || conn.held.is_some() || conn.ended.is_some() {
                return;
            }
            let Some((handed, packet)) = conn.queue.pop_front() else { return };
            let when = When { from: when.from.max(handed), by: when.by };
            self.span = when;
            self.obey(socket, &packet, when, foresight);
        }
    }

    /// SUBACKs that came out of this turn let the packets behind their SUBSCRIBEs count.
    fn release_held(&mut self, turn: &Turn, foresight: &Foresight) {
        for (socket, id) in &foresight.subacks {
            let conn = self.conns.get_mut(socket).expect("only accepted connections have output");
            if conn.held == Some(*id) {
                conn.held = None;
                conn.released_at = turn.now;
                self.drain(*socket, When { from: 0, by: turn.end }, foresight);
            }
        }
    }

    /// Whoever was closed in this turn and had been silent for too long was closed by the timers, so what is handed over
    /// after them has no effect.
    fn silence_closed(&mut self, core: usize, foresight: &Foresight) {
        let now = self.now;
        let silent = self.conns.iter().filter(|(socket, conn)| {
            let is_due = conn.silence_ends().is_some_and(|end| end <= now);
            // A 3.x client is not told why, so another reason in the same turn may be taken for silence.
            let is_told = conn.version != Version::V5 || foresight.silenced.contains(socket);
            conn.core == core && conn.is_live() && is_due && is_told && foresight.closed.contains(socket)
        });
        let silent: Vec<usize> = silent.map(|(socket, _)| *socket).collect();
        for socket in silent {
            self.detach(socket, Cause::Closed, foresight);
        }
    }

    /// Connections that the timers must close now.
    fn overdue(&self, core: usize) -> Vec<(usize, Rule)> {
        let connect_timeout = Span::from_s(u64::from(self.limits.connect_timeout_s));
        let here = self.conns.iter().filter(|(_, conn)| conn.core == core && !conn.is_over);
        let overdue = here.filter_map(|(socket, conn)| {
            let silent = conn.silence_must_end().filter(|_| conn.is_live() && conn.held.is_none());
            let is_mute =
                conn.connect.is_none() && self.now > conn.accepted_at + connect_timeout + TIMER_SLACK;
            if silent.is_some_and(|end| self.now > end + TIMER_SLACK) {
                return Some((*socket, Rule::KeepAlive));
            }
            is_mute.then_some((*socket, Rule::Close))
        });
        overdue.collect()
    }

    /// After a turn: whoever had to be closed was.
    fn expect_closed(&mut self, turn: &Turn, overdue: &[(usize, Rule)]) {
        for (socket, rule) in overdue {
            if !turn.closed.contains(socket) && !self.conns[socket].is_over {
                self.fail(*rule, format!("c{socket} was silent for too long and is still open"));
            }
        }
        let open = self.conns.iter().filter(|(_, conn)| !conn.is_over);
        let guilty = open.filter_map(|(socket, conn)| {
            let misdeed = conn.misdeed.as_ref().filter(|misdeed| misdeed.is_complete)?;
            Some(format!("c{socket} is still open after {:?}", misdeed.what))
        });
        let left = self.conns.iter().find(|(_, conn)| !conn.is_over && conn.ended == Some(Cause::Goodbye));
        let left = left.map(|(socket, _)| format!("c{socket} is still open after its DISCONNECT"));
        let complaint = guilty.into_iter().next().or(left);
        if let Some(text) = complaint {
            self.fail(Rule::Close, text);
        }
    }
}

fn foresee(turn: &Turn) -> Foresight {
    let mut foresight = Foresight {
        core: turn.core,
        enqueued: Rc::clone(&turn.enqueued),
        adopted: turn.adopted.iter().copied().collect(),
        closed: turn.closed.iter().copied().collect(),
        ..Foresight::default()
    };
    for (socket, packets) in &turn.output {
        for framed in packets {
            match &framed.packet {
                ServerPacket::ConnAck(connack) => {
                    foresight.connacks.insert(*socket, connack.clone());
                }
                ServerPacket::SubAck(id, _) => {
                    foresight.subacks.insert((*socket, *id));
                }
                ServerPacket::Disconnect(0x8d) => {
                    foresight.silenced.insert(*socket);
                }
                // No other packet decides about events.
                _ => {}
            }
        }
    }
    foresight
}
