//! The lobby: connections whose CONNECT has not been read yet, or not been decided.
//!
//! Why: only the CONNECT says on which core a client is at home. A connection that belongs elsewhere leaves with
//! everything read so far, and nothing of it stays here.
//!
//! Invariants:
//! - A connection in the lobby holds at most `pre_auth_bytes_max` bytes.
//! - A connection leaves the lobby within `connect_timeout_s`, one way or another.
//! - Nothing is sent before CONNACK. Source: [MQTT-3.1.0-1], [MQTT-3.14.0-1].

use broker::{Admission, CoreId, Guest, Level, NoticeKind};
use device::Welcome;
use mqtt::{ConnAck, Connect, ConnectViolation, Frame, Framing, Violation, decode_connect, encode, frame};
use stdx::{Instant, Span};
use wire::Inlet;

use crate::coating::Coating;
use crate::connections::{Connection, State, link_of};
use crate::door::{Entry, Visitor};
use crate::doorkeeper::{Answer, Question};
use crate::effects::{Accepted, Arrival, Closing, ConnId, ListenerId, Moved, Packed, Refused};
use crate::settings::Durability;
use crate::shard::Shard;

/// What the bytes of a connection in the lobby amount to.
pub(crate) enum Outcome {
    /// No whole CONNECT yet, or one that is judged again in another turn.
    Partial,
    /// Not a CONNECT, or a broken one: the bytes to answer with, perhaps none.
    Broken(Violation, Vec<u8>),
    /// Its home is another core.
    Elsewhere(CoreId),
    /// Who the client is must be found out first.
    Asked(Box<Question>),
    /// Admitted or refused here; so many bytes were the CONNECT.
    Judged(Admission, mqtt::Version, usize),
}

impl Shard {
    /// A connection was accepted on this core.
    ///
    /// # Errors
    /// A limit is reached or the broker is closing: close the socket at once.
    pub fn handle_accepted(&mut self, now: Instant, accepted: Accepted) -> Result<ConnId, Refused> {
        let coating = match self.wardrobes.get(usize::from(accepted.listener.0)) {
            None => None,
            Some(wardrobe) if !wardrobe.admits(accepted.peer.ip()) => {
                let text = format!("connection from {} refused: not a trusted proxy", accepted.peer);
                return Err(self.refuse(text));
            }
            Some(wardrobe) => match wardrobe.dress() {
                Ok(coats) => coats.map(|coats| Box::new(Coating::new(coats))),
                Err(fault) => {
                    return Err(self.refuse(format!("connection from {} refused: it {fault}", accepted.peer)));
                }
            },
        };
        let Accepted { listener, peer } = accepted;
        self.enter(
            now,
            now,
            Connection {
                listener,
                peer,
                inlet: Inlet::default(),
                coating,
                has_arrived: false,
                state: State::Lobby { accepted_at: now },
                is_paused: false,
                device: None,
            },
        )
    }

    /// A connection arrived from the core that accepted it. It stands in `adopted` or `closing` after this turn, unless a
    /// question about its client is open then.
    ///
    /// # Errors
    /// As [`Shard::handle_accepted`].
    pub fn handle_arrival(&mut self, now: Instant, arrival: Arrival) -> Result<ConnId, Refused> {
        self.look_at_rules();
        let Arrival { listener, peer, has_arrived, accepted_at, bytes, coating } = arrival;
        let conn = self.enter(
            now,
            accepted_at,
            Connection {
                listener,
                peer,
                inlet: Inlet::with(bytes),
                coating: coating.map(|packed| packed.0),
                has_arrived,
                state: State::Lobby { accepted_at },
                is_paused: false,
                device: None,
            },
        )?;
        self.unpack(conn);
        if self.exchange.is_ready() {
            self.knock(now, conn, None);
            self.settle_ends(now);
        } else {
            self.early.push(conn);
        }
        Ok(conn)
    }

    /// Goes on with connections that came too early.
    pub(crate) fn let_in(&mut self, now: Instant) {
        for conn in std::mem::take(&mut self.early) {
            self.knock(now, conn, None);
        }
    }

    fn enter(
        &mut self,
        now: Instant,
        accepted_at: Instant,
        mut connection: Connection,
    ) -> Result<ConnId, Refused> {
        let share = self.settings.limits.connections_max.div_ceil(u32::from(self.cores));
        if self.is_closing || stdx::narrow(self.connections.len()) >= share {
            self.take_leave(&connection);
            let peer = connection.peer;
            let text = format!("connection from {peer} refused: too many connections or shutting down");
            return Err(self.refuse(text));
        }
        if !connection.has_arrived && !connection.awaits_peer() {
            self.arrive(now, connection.listener, connection.peer)?;
            connection.has_arrived = true;
        }
        let conn = self.connections.insert(connection);
        let timeout = Span::from_s(u64::from(self.settings.limits.connect_timeout_s));
        self.lobby_timers.insert((accepted_at + timeout).max(now), conn);
        let counters = self.exchange.counters_mut();
        counters.connections_accepted += u64::from(accepted_at == now);
        counters.connections_open += 1;
        Ok(conn)
    }

    /// Bytes for a connection in the lobby.
    pub(crate) fn lobby_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let is_asked_about = self.is_asked_about(conn);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.inlet.keep(bytes);
        if !is_asked_about {
            return self.knock(now, conn, None);
        }
        if connection.inlet.len() > stdx::widen(self.settings.limits.pre_auth_bytes_max) {
            let text = format!("connection from {} sent too much before it was let in", connection.peer);
            self.exchange.counters_mut().connects_refused += 1;
            self.exchange.notice(Level::Info, NoticeKind::Limit, text);
            self.close(conn, Vec::new());
        }
    }

    /// Looks at what a connection in the lobby has sent. `answer` is to the question about its client, if one was open.
    pub(crate) fn knock(&mut self, now: Instant, conn: ConnId, answer: Option<Answer>) {
        match self.judge_knock(now, conn, answer) {
            Outcome::Partial => {}
            Outcome::Broken(violation, answer) => {
                self.note_broken(conn, violation);
                self.close(conn, answer);
            }
            Outcome::Elsewhere(to) => self.send_home(conn, to),
            Outcome::Asked(question) => self.ask(conn, *question),
            Outcome::Judged(Admission::Refused(answer), _, _) => self.close(conn, answer),
            Outcome::Judged(Admission::Admitted(key), version, connect_len) => {
                let Some(connection) = self.connections.get_mut(conn) else { return };
                connection.state = State::Home { key, version };
                let mut rest = std::mem::take(&mut connection.inlet).into_kept();
                rest.drain(..connect_len);
                self.effects.adopted.push(conn);
                // It may have been ended again already.
                if !rest.is_empty() && self.exchange.is_on(key, link_of(conn)) {
                    self.home_bytes(now, conn, key, version, &rest);
                }
            }
        }
    }

    fn judge_knock(&mut self, now: Instant, conn: ConnId, answer: Option<Answer>) -> Outcome {
        let Some(connection) = self.connections.get_mut(conn) else { return Outcome::Partial };
        // Lent out for the call: while a CONNECT is judged, nobody else looks at its bytes.
        let inlet = std::mem::take(&mut connection.inlet);
        let limits = &self.settings.limits;
        let outcome =
            match whole_connect(inlet.kept(), limits.pre_auth_bytes_max.min(limits.packet_bytes_max)) {
                Err(broken) => broken,
                Ok(whole) => {
                    let len = whole.bytes.len();
                    match decode_connect(whole) {
                        Err(refusal) => Outcome::Broken(refusal.violation, refusal_bytes(refusal)),
                        Ok(mut connect) => match self.welcome_or_make(now, conn, &connect) {
                            None => Outcome::Partial,
                            Some(Welcome::Anyone) => self.judge_connect(now, conn, &connect, len, answer),
                            Some(welcome) => self.judge_device(now, conn, &mut connect, len, welcome),
                        },
                    }
                }
            };
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.inlet = inlet;
        }
        outcome
    }

    fn judge_connect(
        &mut self,
        now: Instant,
        conn: ConnId,
        connect: &Connect<'_>,
        len: usize,
        answer: Option<Answer>,
    ) -> Outcome {
        let doorkeeper = self.settings.doorkeeper.clone();
        let Some(connection) = self.connections.get_mut(conn) else { return Outcome::Partial };
        let listener = connection.listener;
        let visitor = doorkeeper.as_ref().map(|_| Visitor::new(connection, self.exchange.wall_at(now)));
        let door = doorkeeper.as_deref().zip(visitor.as_ref());
        let given = door.and_then(|(doorkeeper, visitor)| {
            doorkeeper.client_id(&visitor.knock(connect, connect.client_id))
        });
        let dialect = self.settings.dialects.get(usize::from(listener.0));
        let placement_key = match (&given, dialect) {
            (Some(given), _) => &**given,
            (None, Some(dialect)) => dialect.introduce(connect).placement_key,
            (None, None) => connect.client_id,
        };
        if !placement_key.is_empty() {
            let home = CoreId::home_of(placement_key.as_bytes(), self.cores);
            if home != self.core {
                return Outcome::Elsewhere(home);
            }
        }
        let asked = self.withdraw_question(conn);
        self.exchange.counters_mut().packets_received += u64::from(asked.is_none());
        let client_id = match asked.or(given) {
            Some(client_id) => client_id,
            None if connect.client_id.is_empty() => self.exchange.assign_client_id().into(),
            None => connect.client_id.into(),
        };
        let rights = match door {
            None => None,
            Some((doorkeeper, visitor)) => {
                match self.judge(doorkeeper, &visitor.knock(connect, &client_id), conn, answer) {
                    Entry::Open(rights) => rights,
                    Entry::Closed(bytes) => {
                        return Outcome::Judged(Admission::Refused(bytes), connect.version, len);
                    }
                    Entry::Asked(question) => return Outcome::Asked(question),
                }
            }
        };
        let guest = Guest {
            link: link_of(conn),
            client_id: &client_id,
            is_gated: self.durability_of(listener) == Durability::Fsync,
            listener: door.map(|_| self.name_of(listener)),
            rights,
            packet_bytes_max: None,
            is_fleeting: false,
            silence_max: None,
            echoes_session: false,
            shown_as: None,
        };
        Outcome::Judged(self.exchange.connect(now, connect, guest), connect.version, len)
    }

    pub(crate) fn durability_of(&self, listener: ListenerId) -> Durability {
        self.settings.durabilities.get(usize::from(listener.0)).copied().unwrap_or_default()
    }

    fn send_home(&mut self, conn: ConnId, to: CoreId) {
        let Some(connection) = self.forget(conn) else { return };
        let State::Lobby { accepted_at } = connection.state else { return };
        let arrival = Box::new(Arrival {
            listener: connection.listener,
            peer: connection.peer,
            has_arrived: connection.has_arrived,
            accepted_at,
            bytes: connection.inlet.into_kept(),
            coating: connection.coating.map(|coating| Packed(coating.pack())),
        });
        self.effects.moved.push(Moved { conn, to, arrival });
    }

    fn note_broken(&mut self, conn: ConnId, violation: Violation) {
        let counters = self.exchange.counters_mut();
        counters.connects_refused += 1;
        counters.packets_too_large += u64::from(violation == Violation::PacketTooLarge);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let facts = violation.facts();
        let text = format!("connection from {} {} ({})", connection.peer, facts.text, facts.id);
        self.exchange.notice(Level::Info, NoticeKind::Violation, text);
    }

    /// Closes connections that have not sent their CONNECT in time.
    pub(crate) fn lobby_timeouts(&mut self, now: Instant) {
        let mut fired = Vec::new();
        self.lobby_timers.advance(now, &mut fired);
        for conn in fired {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            if matches!(connection.state, State::Lobby { .. }) {
                self.exchange.counters_mut().connect_timeouts += 1;
                self.note_broken(conn, Violation::ConnectTimeout);
                self.close(conn, Vec::new());
            }
        }
    }

    /// Forgets a connection and asks for its socket to be closed behind `last`.
    pub(crate) fn close(&mut self, conn: ConnId, last: Vec<u8>) {
        let Some(connection) = self.dismiss(conn) else { return };
        let last = match connection.coating {
            None => last,
            Some(coating) => coating.finish(&last),
        };
        self.effects.closing.push(Closing { conn, last });
    }
}

/// The CONNECT in front of `kept`, or what is to be made of the bytes without one.
fn whole_connect(kept: &[u8], bytes_max: u32) -> Result<Frame<'_>, Outcome> {
    match kept.first() {
        None => return Err(Outcome::Partial),
        Some(first) if first >> 4 != 1 => {
            return Err(Outcome::Broken(Violation::FirstPacketNotConnect, Vec::new()));
        }
        Some(_) => {}
    }
    match frame(kept, bytes_max) {
        Err(violation) => Err(Outcome::Broken(violation, Vec::new())),
        Ok(Framing::Partial) => Err(Outcome::Partial),
        Ok(Framing::Whole(whole)) => Ok(whole),
    }
}

/// The CONNACK for a CONNECT that is refused for its bytes, if there is one.
fn refusal_bytes(refusal: ConnectViolation) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some((version, reason)) = refusal.answer() {
        let connack = ConnAck { reason, ..ConnAck::default() };
        let _nothing_means_close_bare = encode::connack(&mut out, version, &connack, u32::MAX);
    }
    out
}
