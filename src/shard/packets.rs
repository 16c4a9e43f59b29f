//! Packets of admitted clients: from bytes to the verbs of the exchange.
//!
//! Invariants:
//! - A violation ends this connection and no other.
//! - A client that has published too much is not read on, and nothing that it sent is lost.
//! - Nothing behind a DISCONNECT, or behind the end of a connection, is processed. Source: [MQTT-3.14.4-2].

use broker::{Exchange, SessionKey};
use mqtt::{Frame, Packet, ReasonCode, Version, Violation, decode, decode_publish};
use stdx::Instant;
use wire::Flow;

use crate::connections::{State, conn_of};
use crate::effects::{ConnId, Pace};
use crate::shard::Shard;

impl Shard {
    /// Any part of the byte stream of a connection, cut anywhere.
    #[inline]
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.look_at_rules();
        let Some(connection) = self.connections.get_mut(conn) else { return };
        self.exchange.counters_mut().bytes_received += stdx::count(bytes.len());
        match connection.state {
            _ if connection.coating.is_some() => self.coated_bytes(now, conn, bytes),
            State::Lobby { .. } => self.lobby_bytes(now, conn, bytes),
            State::Home { key, version } => self.home_bytes(now, conn, key, version, bytes),
        }
        self.settle_ends(now);
    }

    #[inline]
    pub(crate) fn home_bytes(
        &mut self,
        now: Instant,
        conn: ConnId,
        key: SessionKey,
        version: Version,
        bytes: &[u8],
    ) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if self.exchange.is_held(key) {
            connection.inlet.keep(bytes);
            // Its packets wait because of us, so it is not silent.
            self.exchange.seen(key, now);
            // Who has published too much is left unread, so little can come.
            let is_too_much = connection.inlet.len() > stdx::widen(self.settings.limits.held_bytes_max);
            if is_too_much && !self.exchange.is_over_quota(key) {
                let why = "sent too much behind a SUBSCRIBE";
                self.exchange.evict(now, key, ReasonCode::QuotaExceeded, why);
            }
            return self.set_pace(conn, key);
        }
        if connection.device.is_some() {
            return self.device_bytes(now, conn, (key, version), Some(bytes));
        }
        let mut reader = Reader::new(&mut self.exchange, now, key, version);
        let packet_bytes_max = self.settings.limits.packet_bytes_max;
        let result = connection.inlet.feed(bytes, packet_bytes_max, |frame| reader.read(frame));
        let (packets, is_metered) = (reader.packets, reader.is_metered);
        self.after_reading(now, key, packets, result);
        if is_metered {
            self.set_pace(conn, key);
        }
    }

    /// Goes on with a connection that need not wait any longer.
    pub(crate) fn resume(&mut self, now: Instant, link: broker::LinkId) {
        let conn = conn_of(link);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let State::Home { key, version } = connection.state else { return };
        // It may have been read already and be held again, by a later SUBSCRIBE.
        if self.exchange.is_held(key) {
            return;
        }
        if connection.device.is_some() {
            return self.device_bytes(now, conn, (key, version), None);
        }
        let mut reader = Reader::new(&mut self.exchange, now, key, version);
        let packet_bytes_max = self.settings.limits.packet_bytes_max;
        let result = connection.inlet.resume(packet_bytes_max, |frame| reader.read(frame));
        let (packets, is_metered) = (reader.packets, reader.is_metered);
        self.after_reading(now, key, packets, result);
        if is_metered {
            self.set_pace(conn, key);
        }
    }

    /// Tells the driver whether a connection may be read, if that has changed.
    pub(crate) fn set_pace(&mut self, conn: ConnId, key: SessionKey) {
        let is_over = self.exchange.is_over_quota(key);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.is_paused != is_over {
            connection.is_paused = is_over;
            self.effects.paces.push((conn, if is_over { Pace::Pause } else { Pace::Go }));
        }
    }

    /// Whether publishing has a limit, so that connections must be read once at a time. See [`Pace`].
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.exchange.is_metered() || self.is_metered_by_offers
    }

    #[inline]
    pub(crate) fn after_reading(
        &mut self,
        now: Instant,
        key: SessionKey,
        packets: u64,
        result: Result<(), Violation>,
    ) {
        if packets > 0 {
            self.exchange.counters_mut().packets_received += packets;
            self.exchange.seen(key, now);
        }
        if let Err(violation) = result {
            self.exchange.violated(now, key, violation);
        } else if self.exchange.backlog(key) > stdx::widen(self.settings.limits.out_bytes_max) {
            let why = "does not read what it is sent";
            self.exchange.evict(now, key, ReasonCode::QuotaExceeded, why);
        }
    }
}

/// Reads the packets of one client.
pub(crate) struct Reader<'a> {
    exchange: &'a mut Exchange,
    now: Instant,
    key: SessionKey,
    version: Version,
    packets: u64,
    is_metered: bool,
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn new(exchange: &'a mut Exchange, now: Instant, key: SessionKey, version: Version) -> Self {
        let is_metered = exchange.is_metered();
        Self { exchange, now, key, version, packets: 0, is_metered }
    }

    #[inline]
    fn read(&mut self, frame: Frame<'_>) -> Flow {
        self.packets += 1;
        match self.packet(frame) {
            Ok(flow) => flow,
            Err(violation) => {
                self.exchange.violated(self.now, self.key, violation);
                Flow::End
            }
        }
    }

    #[inline]
    pub fn packet(&mut self, frame: Frame<'_>) -> Result<Flow, Violation> {
        let (now, key) = (self.now, self.key);
        if frame.is_publish() {
            // Looked at where it was decoded: the question mark would move it.
            match &decode_publish(frame, self.version) {
                Ok(publish) => self.exchange.publish(now, key, publish)?,
                Err(violation) => return Err(*violation),
            }
            let is_over = self.is_metered && self.exchange.overdraws(now, key, frame.bytes.len());
            return Ok(if is_over { Flow::Wait } else { Flow::More });
        }
        match decode(frame, self.version)? {
            Packet::Publish(publish) => self.exchange.publish(now, key, &publish)?,
            Packet::PubAck(ack) => self.exchange.puback(now, key, ack)?,
            Packet::PubRec(ack) => self.exchange.pubrec(now, key, ack)?,
            Packet::PubRel(ack) => self.exchange.pubrel(key, ack),
            Packet::PubComp(ack) => self.exchange.pubcomp(now, key, ack)?,
            Packet::Subscribe(subscribe) => {
                self.exchange.subscribe(now, key, &subscribe)?;
                if self.exchange.is_held(key) {
                    return Ok(Flow::Wait);
                }
            }
            Packet::Unsubscribe(unsubscribe) => self.exchange.unsubscribe(key, &unsubscribe)?,
            Packet::PingReq => self.exchange.ping(key),
            Packet::Disconnect(disconnect) => {
                self.exchange.disconnect(now, key, &disconnect)?;
                return Ok(Flow::End);
            }
            // No method is offered at CONNECT, so no exchange can be under way.
            Packet::Auth(_) => return Err(Violation::AuthUnexpected),
            Packet::Connect => return Err(Violation::SecondConnect),
        }
        Ok(Flow::More)
    }
}
