//! The lobby: connections whose CONNECT has not been read yet.
//!
//! Why: only the CONNECT says on which core a client is at home. A connection that belongs elsewhere leaves with
//! everything read so far, and nothing of it stays here.
//!
//! Invariants:
//! - A connection in the lobby holds at most `pre_auth_bytes_max` bytes.
//! - A connection leaves the lobby within `connect_timeout_s`, one way or another.
//! - Nothing is sent before CONNACK. Source: [MQTT-3.1.0-1], [MQTT-3.14.0-1].

use broker::{Admission, CoreId, Level, NoticeKind};
use mqtt::{ConnAck, Connect, ConnectViolation, Framing, Violation, decode_connect, encode, frame};
use stdx::{Instant, Span};
use wire::Inlet;

use crate::coating::Coating;
use crate::connections::{Connection, State, link_of};
use crate::effects::{Accepted, Arrival, Closing, ConnId, Moved, Packed, Refused};
use crate::settings::Durability;
use crate::shard::Shard;

/// What the bytes of a connection in the lobby amount to.
enum Knock {
    /// No whole CONNECT yet.
    Partial,
    /// Not a CONNECT, or a broken one: the bytes to answer with, perhaps none.
    Broken(Violation, Vec<u8>),
    /// Its home is another core.
    Elsewhere(CoreId),
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
                state: State::Lobby { accepted_at: now },
                is_paused: false,
            },
        )
    }

    /// A connection arrived from the core that accepted it. It stands in `adopted` or `closing` after this turn.
    ///
    /// # Errors
    /// As [`Shard::handle_accepted`].
    pub fn handle_arrival(&mut self, now: Instant, arrival: Arrival) -> Result<ConnId, Refused> {
        let Arrival { listener, peer, accepted_at, bytes, coating } = arrival;
        let conn = self.enter(
            now,
            accepted_at,
            Connection {
                listener,
                peer,
                inlet: Inlet::with(bytes),
                coating: coating.map(|packed| packed.0),
                state: State::Lobby { accepted_at },
                is_paused: false,
            },
        )?;
        self.unpack(conn);
        if self.exchange.is_ready() {
            self.knock(now, conn);
            self.settle_ends(now);
        } else {
            self.early.push(conn);
        }
        Ok(conn)
    }

    /// Goes on with connections that came too early.
    pub(crate) fn let_in(&mut self, now: Instant) {
        for conn in std::mem::take(&mut self.early) {
            self.knock(now, conn);
        }
    }

    fn enter(
        &mut self,
        now: Instant,
        accepted_at: Instant,
        connection: Connection,
    ) -> Result<ConnId, Refused> {
        let share = self.settings.limits.connections_max.div_ceil(u32::from(self.cores));
        if self.is_closing || stdx::narrow(self.connections.len()) >= share {
            let peer = connection.peer;
            let text = format!("connection from {peer} refused: too many connections or shutting down");
            return Err(self.refuse(text));
        }
        let conn = self.connections.insert(connection);
        let timeout = Span::from_s(u64::from(self.settings.limits.connect_timeout_s));
        self.lobby_timers.insert((accepted_at + timeout).max(now), conn);
        let counters = self.exchange.counters_mut();
        counters.connections_accepted += u64::from(accepted_at == now);
        counters.connections_open += 1;
        Ok(conn)
    }

    fn refuse(&mut self, text: String) -> Refused {
        self.exchange.counters_mut().connections_refused += 1;
        self.exchange.notice(Level::Warn, NoticeKind::Limit, text);
        Refused
    }

    /// Bytes for a connection in the lobby.
    pub(crate) fn lobby_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.inlet.keep(bytes);
            self.knock(now, conn);
        }
    }

    fn knock(&mut self, now: Instant, conn: ConnId) {
        match self.judge_knock(now, conn) {
            Knock::Partial => {}
            Knock::Broken(violation, answer) => {
                self.note_broken(conn, violation);
                self.close(conn, answer);
            }
            Knock::Elsewhere(to) => self.send_home(conn, to),
            Knock::Judged(Admission::Refused(answer), _, _) => self.close(conn, answer),
            Knock::Judged(Admission::Admitted(key), version, connect_len) => {
                let Some(connection) = self.connections.get_mut(conn) else { return };
                connection.state = State::Home { key, version };
                let mut rest = std::mem::take(&mut connection.inlet).into_kept();
                rest.drain(..connect_len);
                self.effects.adopted.push(conn);
                if !rest.is_empty() {
                    self.home_bytes(now, conn, key, version, &rest);
                }
            }
        }
    }

    fn judge_knock(&mut self, now: Instant, conn: ConnId) -> Knock {
        let Some(connection) = self.connections.get_mut(conn) else { return Knock::Partial };
        let kept = connection.inlet.kept();
        match kept.first() {
            None => return Knock::Partial,
            Some(first) if first >> 4 != 1 => {
                return Knock::Broken(Violation::FirstPacketNotConnect, Vec::new());
            }
            Some(_) => {}
        }
        let limits = &self.settings.limits;
        let whole = match frame(kept, limits.pre_auth_bytes_max.min(limits.packet_bytes_max)) {
            Err(violation) => return Knock::Broken(violation, Vec::new()),
            Ok(Framing::Partial) => return Knock::Partial,
            Ok(Framing::Whole(whole)) => whole,
        };
        let connect_len = whole.bytes.len();
        let connect = match decode_connect(whole) {
            Err(refusal) => return Knock::Broken(refusal.violation, answer(refusal)),
            Ok(connect) => connect,
        };
        let dialect = self.settings.dialects.get(usize::from(connection.listener.0));
        let placement_key =
            dialect.map_or(connect.client_id, |dialect| dialect.introduce(&connect).placement_key);
        if !placement_key.is_empty() {
            let home = CoreId::home_of(placement_key.as_bytes(), self.cores);
            if home != self.core {
                return Knock::Elsewhere(home);
            }
        }
        let listener = usize::from(connection.listener.0);
        let durability = self.settings.durabilities.get(listener).copied().unwrap_or_default();
        let is_gated = durability == Durability::Fsync;
        let admission = admit(&mut self.exchange, now, conn, &connect, is_gated);
        Knock::Judged(admission, connect.version, connect_len)
    }

    fn send_home(&mut self, conn: ConnId, to: CoreId) {
        let Some(connection) = self.connections.remove(conn) else { return };
        let State::Lobby { accepted_at } = connection.state else { return };
        self.exchange.counters_mut().connections_open -= 1;
        let arrival = Box::new(Arrival {
            listener: connection.listener,
            peer: connection.peer,
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
        let Some(connection) = self.connections.remove(conn) else { return };
        self.exchange.counters_mut().connections_open -= 1;
        let last = match connection.coating {
            None => last,
            Some(coating) => {
                self.dirty_coats -= usize::from(coating.is_dirty);
                coating.finish(&last)
            }
        };
        self.effects.closing.push(Closing { conn, last });
    }
}

fn admit(
    exchange: &mut broker::Exchange,
    now: Instant,
    conn: ConnId,
    connect: &Connect<'_>,
    is_gated: bool,
) -> Admission {
    let assigned = connect.client_id.is_empty().then(|| exchange.assign_client_id());
    exchange.counters_mut().packets_received += 1;
    exchange.connect(now, link_of(conn), connect, assigned.as_deref(), is_gated)
}

/// The CONNACK for a CONNECT that is refused for its bytes, if there is one.
fn answer(refusal: ConnectViolation) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some((version, reason)) = refusal.answer() {
        let connack = ConnAck { reason, ..ConnAck::default() };
        let _nothing_means_close_bare = encode::connack(&mut out, version, &connack, u32::MAX);
    }
    out
}
