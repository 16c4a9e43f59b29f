//! Connections whose MQTT wears coats: bytes of the socket become bytes of MQTT on the way in and back on the way out.
//!
//! Why here and not in the driver: a coat answers by itself (a handshake, a pong), has limits before authentication, and
//! moves home with its connection, all of which the shard decides for plain connections too.
//!
//! Invariants:
//! - The exchange counts bytes of MQTT, the driver bytes of the socket; the bytes of a buffer count as sent for the
//!   exchange when all of the buffer is.
//! - At most [`HANDSHAKE_STEPS_PER_TURN`] steps of TLS handshakes are taken in a turn, chains of devices that are verified
//!   included; more wait for the next, behind the work for everybody else, and are not read meanwhile.
//! - MQTT that came before a coat's fault is handled before the connection ends.

use broker::{Level, NoticeKind};
use stdx::Instant;
use wire::{CoatFault, Coats};

use crate::connections::State;
use crate::effects::{Closing, ConnId, Pace};
use crate::shard::Shard;

/// Steps of TLS handshakes per core and turn: each may cost a signature, about half a millisecond with RSA.
pub(crate) const HANDSHAKE_STEPS_PER_TURN: u32 = 4;
/// Bytes that coats may take before the CONNECT is complete, besides what MQTT may: handshakes with certificate chains.
const COAT_BYTES_MAX: usize = 65_536;

/// The coats of a connection and what passes through them.
#[derive(Debug)]
pub(crate) struct Coating {
    pub coats: Box<Coats>,
    /// Bytes of MQTT in the buffer that the driver has.
    plain_taken: usize,
    /// Bytes of that buffer that the socket has not taken.
    raw_left: usize,
    /// Bytes of the socket received before the CONNECT was complete.
    lobby_bytes: usize,
    /// Received, but the handshakes of the turn were used up.
    postponed: Vec<u8>,
    /// Stands in the effects of this turn.
    pub is_dirty: bool,
    is_broken: bool,
    /// Its CONNECT is complete, and is judged when there is a step for that.
    awaits_step: bool,
    /// Whether the device was made or changed for this connection, so that CONNACK waits until that is kept.
    pub rests_on_change: bool,
}

impl Coating {
    pub fn new(coats: Box<Coats>) -> Self {
        Self {
            coats,
            plain_taken: 0,
            raw_left: 0,
            lobby_bytes: 0,
            postponed: Vec::new(),
            is_dirty: false,
            is_broken: false,
            awaits_step: false,
            rests_on_change: false,
        }
    }

    /// Leaves for another core: nothing of the sockets' accounts matters there, nor who waits for steps here.
    pub fn pack(mut self: Box<Self>) -> Box<Self> {
        (self.plain_taken, self.raw_left, self.is_dirty, self.awaits_step) = (0, 0, false, false);
        self
    }

    /// Everything that is still to be sent when the connection ends, `last` of MQTT included.
    pub fn finish(mut self, last: &[u8]) -> Vec<u8> {
        if !self.is_broken {
            if !last.is_empty() {
                self.coats.put_on(last);
            }
            self.coats.close();
        }
        self.coats.take_raw(Vec::new())
    }
}

impl Shard {
    /// Bytes for a connection with coats.
    pub(crate) fn coated_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let Some(coating) = self.coating_mut(conn) else { return };
        if !coating.postponed.is_empty() {
            return coating.postponed.extend_from_slice(bytes);
        }
        if coating.coats.is_shaking_hands() && !self.take_step() {
            return self.postpone(conn, bytes);
        }
        self.undress(now, conn, bytes);
    }

    /// Takes one of the turn's steps, if any is left.
    fn take_step(&mut self) -> bool {
        let is_left = self.handshake_steps < HANDSHAKE_STEPS_PER_TURN;
        self.handshake_steps += u32::from(is_left);
        is_left
    }

    /// Takes a step to judge a CONNECT that has come. Without one the connection stays in the lobby, where it is judged again
    /// when its turn has come.
    pub(crate) fn take_step_or_wait(&mut self, conn: ConnId) -> bool {
        self.take_step() || {
            self.wait_for_step(conn);
            false
        }
    }

    /// The connection's CONNECT is judged again.
    pub(crate) fn wait_for_step(&mut self, conn: ConnId) {
        let Some(coating) = self.coating_mut(conn) else { return };
        if !std::mem::replace(&mut coating.awaits_step, true) {
            self.line_up(conn);
        }
    }

    fn postpone(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(coating) = self.coating_mut(conn) {
            coating.postponed.extend_from_slice(bytes);
            self.line_up(conn);
        }
    }

    /// It waits for a step and is not read until then: after that step it may leave for its home, and what would be received
    /// here meanwhile could not follow it.
    fn line_up(&mut self, conn: ConnId) {
        self.postponed.push_back(conn);
        self.effects.paces.push((conn, Pace::Pause));
    }

    /// Takes the next steps of handshakes that had to wait.
    pub(crate) fn shake_hands(&mut self, now: Instant) {
        self.handshake_steps = 0;
        while self.handshake_steps < HANDSHAKE_STEPS_PER_TURN {
            let Some(conn) = self.postponed.pop_front() else { return };
            let Some(coating) = self.coating_mut(conn) else { continue };
            let is_judged = std::mem::take(&mut coating.awaits_step);
            let bytes = if is_judged { Vec::new() } else { std::mem::take(&mut coating.postponed) };
            self.effects.paces.push((conn, Pace::Go));
            if is_judged {
                self.judge_again(now, conn);
            } else {
                self.handshake_steps += 1;
                self.undress(now, conn, &bytes);
            }
            self.settle_ends(now);
        }
    }

    fn judge_again(&mut self, now: Instant, conn: ConnId) {
        let connection = self.connections.get_mut(conn);
        if connection.is_some_and(|connection| matches!(connection.state, State::Lobby { .. })) {
            self.knock(now, conn, None);
        }
    }

    fn undress(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let Some(coating) = self.coating_mut(conn) else { return };
        let outcome = coating.coats.take_off(bytes, &mut plain);
        coating.is_broken |= outcome.is_err();
        let is_dirty = coating.coats.has_raw() && !std::mem::replace(&mut coating.is_dirty, true);
        let told_peer = coating.coats.told_peer();
        if is_dirty {
            self.effects.dirty.push(conn);
            self.dirty_coats += 1;
        }
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.peer = told_peer.unwrap_or(connection.peer);
        if !connection.has_arrived && !connection.awaits_peer() {
            connection.has_arrived = true;
            let (listener, peer) = (connection.listener, connection.peer);
            if self.arrive(now, listener, peer).is_err() {
                self.plain = plain;
                return self.turn_away(conn);
            }
        }
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match connection.state {
            State::Lobby { .. } => self.lobby_coated(now, conn, bytes.len(), &plain),
            State::Home { key, version } if !plain.is_empty() => {
                self.home_bytes(now, conn, key, version, &plain);
            }
            State::Home { .. } => {}
        }
        self.plain = plain;
        self.settle_ends(now);
        if let Err(fault) = outcome {
            self.end_coated(now, conn, &fault);
        }
    }

    fn lobby_coated(&mut self, now: Instant, conn: ConnId, raw_len: usize, plain: &[u8]) {
        if !plain.is_empty() {
            self.lobby_bytes(now, conn, plain);
        }
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let (State::Lobby { .. }, Some(coating)) = (connection.state, &mut connection.coating) else {
            return;
        };
        coating.lobby_bytes += raw_len;
        let bytes_max = COAT_BYTES_MAX + stdx::widen(self.settings.limits.pre_auth_bytes_max);
        if coating.lobby_bytes > bytes_max {
            let text =
                format!("connection from {} sent {bytes_max} bytes without a CONNECT", connection.peer);
            self.exchange.counters_mut().connects_refused += 1;
            self.exchange.notice(Level::Info, NoticeKind::Limit, text);
            self.close(conn, Vec::new());
        }
    }

    /// The stream is broken or over below MQTT: the client is gone without a DISCONNECT.
    fn end_coated(&mut self, now: Instant, conn: ConnId, fault: &CoatFault) {
        let Some(mut connection) = self.dismiss(conn) else { return };
        let counters = self.exchange.counters_mut();
        if *fault != CoatFault::Closed {
            counters.coat_faults += 1;
            let text = format!("connection from {} {fault}", connection.peer);
            self.exchange.notice(Level::Info, NoticeKind::Violation, text);
        }
        if let State::Home { key, .. } = connection.state {
            self.exchange.gone(now, key);
        }
        let last = connection.coating.take().map(|coating| coating.finish(&[])).unwrap_or_default();
        self.effects.closing.push(Closing { conn, last });
        self.settle_ends(now);
    }

    /// As [`Shard::take_out`], for a connection with coats.
    pub(crate) fn take_out_coated(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        let Some(connection) = self.connections.get_mut(conn) else { return spare };
        let Some(coating) = &mut connection.coating else { return spare };
        if std::mem::take(&mut coating.is_dirty) {
            self.dirty_coats -= 1;
        }
        // What an idle connection has said last must not leave it a buffer.
        coating.coats.lend(spare);
        if let State::Home { key, .. } = connection.state {
            let mut plain = self.exchange.take_out(key, std::mem::take(&mut self.plain_out));
            if !plain.is_empty() {
                coating.coats.put_on(&plain);
                coating.plain_taken += plain.len();
            }
            plain.clear();
            self.plain_out = plain;
        }
        let raw = coating.coats.take_raw(Vec::new());
        coating.raw_left += raw.len();
        raw
    }

    /// As [`Shard::handle_sent`], for a connection with coats.
    pub(crate) fn sent_coated(&mut self, now: Instant, conn: ConnId, count: usize) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let (state, Some(coating)) = (connection.state, &mut connection.coating) else { return };
        coating.raw_left = coating.raw_left.saturating_sub(count);
        if coating.raw_left > 0 {
            return;
        }
        let plain_len = std::mem::take(&mut coating.plain_taken);
        if let State::Home { key, .. } = state
            && plain_len > 0
        {
            self.exchange.sent(now, key, plain_len);
        }
    }

    /// A connection with coats has arrived at home: what the coats have to say goes out from here.
    pub(crate) fn unpack(&mut self, conn: ConnId) {
        let Some(coating) = self.coating_mut(conn) else { return };
        if coating.coats.has_raw() {
            coating.is_dirty = true;
            self.effects.dirty.push(conn);
            self.dirty_coats += 1;
        }
    }

    pub(crate) fn coating_mut(&mut self, conn: ConnId) -> Option<&mut Coating> {
        self.connections.get_mut(conn)?.coating.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use broker::CoreId;
    use stdx::WallMs;
    use wire::{Wardrobe, WebSocketTerms};

    use super::*;
    use crate::{Accepted, ListenerId, Settings, Setup};

    const NOW: Instant = Instant::START;
    const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
    const PING: &[u8] = b"\x89\x80\0\0\0\0";
    const PONG: &[u8] = b"\x8a\x00";
    const CLOSE: &[u8] = b"\x88\x80\0\0\0\0";

    /// A client's binary frame; masked with zeros, so that it can be read.
    fn frame(payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).unwrap();
        [&[0x82, 0x80 | len, 0, 0, 0, 0], payload].concat()
    }

    fn shard(core: u16, cores: u16) -> Shard {
        let websocket = Some(WebSocketTerms::default());
        let wardrobes = Arc::new([Wardrobe { websocket, ..Wardrobe::default() }]);
        let settings = Arc::new(Settings { wardrobes, sys_interval_s: 0, ..Settings::default() });
        Shard::new(Setup { core: CoreId::new(core), cores, seed: 1, settings, wall: WallMs(0) }, NOW)
    }

    fn accept(shard: &mut Shard) -> ConnId {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        shard.handle_accepted(NOW, Accepted { listener: ListenerId(0), peer }).unwrap()
    }

    /// What the connection is sent after a turn; no connection may stand in the effects twice.
    fn out(shard: &mut Shard, conn: ConnId) -> Vec<u8> {
        shard.end_turn(NOW);
        let stands = shard.effects().dirty.iter().filter(|dirty| **dirty == conn).count();
        shard.effects().dirty.clear();
        let out = shard.take_out(conn, Vec::new());
        assert_eq!(stands, usize::from(!out.is_empty()));
        shard.handle_sent(NOW, conn, out.len());
        out
    }

    #[test]
    fn a_client_speaks_mqtt_inside_websocket_however_its_bytes_are_cut() {
        let stream = [&frame(&CONNECT[..5]), PING, &frame(&CONNECT[5..]), &frame(b"\xc0\x00")].concat();
        for piece_len in [1, 11, stream.len()] {
            let mut shard = shard(0, 1);
            let conn = accept(&mut shard);
            UPGRADE.chunks(piece_len).for_each(|piece| shard.handle_bytes(NOW, conn, piece));
            assert!(out(&mut shard, conn).starts_with(b"HTTP/1.1 101 "));
            let mut heard = Vec::new();
            for piece in stream.chunks(piece_len) {
                shard.handle_bytes(NOW, conn, piece);
                heard.extend(out(&mut shard, conn));
            }
            let (pong, mqtt) = heard.split_at(PONG.len());
            assert_eq!(pong, PONG);
            let one_by_one = b"\x82\x04\x20\x02\x00\x00\x82\x02\xd0\x00";
            let together = b"\x82\x06\x20\x02\x00\x00\xd0\x00";
            assert!(mqtt == one_by_one || mqtt == together, "{mqtt:02x?}");
        }
    }

    #[test]
    fn a_connection_moves_home_in_its_coats() {
        let mut shards = [shard(0, 2), shard(1, 2)];
        let home = CoreId::home_of(b"a", 2).index();
        let away = 1 - home;
        let conn = accept(&mut shards[away]);
        shards[away].handle_bytes(NOW, conn, UPGRADE);
        shards[away].handle_bytes(NOW, conn, &[PING, &frame(CONNECT), &frame(b"\xc0\x00")].concat());
        shards[away].end_turn(NOW);
        let moved = shards[away].effects().moved.pop().unwrap();
        let conn = shards[home].handle_arrival(NOW, *moved.arrival).unwrap();
        let heard = out(&mut shards[home], conn);
        assert!(heard.starts_with(b"HTTP/1.1 101 "));
        assert!(heard.ends_with(b"\r\n\r\n\x8a\x00\x82\x06\x20\x02\x00\x00\xd0\x00"), "{heard:02x?}");
    }

    #[test]
    fn what_came_before_a_close_counts_and_the_close_is_answered() {
        let mut shard = shard(0, 1);
        let conn = accept(&mut shard);
        shard.handle_bytes(NOW, conn, UPGRADE);
        shard.handle_bytes(NOW, conn, &frame(CONNECT));
        assert_eq!((out(&mut shard, conn).is_empty(), shard.counters().clients_connected), (false, 1));
        shard.handle_bytes(NOW, conn, &[&frame(b"\x30\x05\x00\x01thi"), CLOSE].concat());
        shard.end_turn(NOW);
        let closing = shard.effects().closing.pop().unwrap();
        assert_eq!((closing.conn, closing.last.as_slice()), (conn, &b"\x88\x00"[..]));
        let counters = shard.counters();
        assert_eq!((counters.publish_received, counters.clients_connected, counters.coat_faults), (1, 0, 0));
    }

    #[test]
    fn a_refused_upgrade_is_answered_in_http_and_counted() {
        let mut shard = shard(0, 1);
        let conn = accept(&mut shard);
        shard.handle_bytes(NOW, conn, b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n");
        shard.end_turn(NOW);
        let closing = shard.effects().closing.pop().unwrap();
        assert!(closing.last.starts_with(b"HTTP/1.1 400 "));
        assert_eq!((shard.connections(), shard.counters().coat_faults), (0, 1));
    }

    #[test]
    fn a_client_that_never_gets_to_its_connect_is_cut_off() {
        let mut shard = shard(0, 1);
        let conn = accept(&mut shard);
        shard.handle_bytes(NOW, conn, UPGRADE);
        out(&mut shard, conn);
        let pings = PING.repeat(100);
        let sent = (0..1_000).take_while(|_| {
            shard.handle_bytes(NOW, conn, &pings);
            shard.connections() == 1
        });
        assert!(sent.count() * pings.len() < 300_000);
        assert_eq!(shard.counters().connects_refused, 1);
    }
}
