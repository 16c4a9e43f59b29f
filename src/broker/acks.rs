//! Acknowledgements from a client, and the QoS 2 flows of both directions.
//!
//! Invariants:
//! - A stray acknowledgement changes nothing and ends nothing, except where its kind contradicts the message's QoS.
//! - PUBREL is answered by PUBCOMP, known or not. Source: [MQTT-4.3.3-11], section 3.7.2.1.

use mqtt::{Ack, AckKind, PacketId, ReasonCode, Version, Violation};
use stdx::Instant;

use crate::change::Change;
use crate::exchange::Exchange;
use crate::session::SessionKey;
use crate::window::Settled;

impl Exchange {
    /// PUBACK.
    ///
    /// # Errors
    /// The message was not sent with QoS 1.
    #[inline]
    pub fn puback(&mut self, now: Instant, key: SessionKey, ack: Ack) -> Result<(), Violation> {
        let window = self.sessions.get_mut(key.index()).and_then(|session| session.window.as_mut());
        match window.map_or(Settled::Unknown, |window| window.puback(ack.packet_id)) {
            Settled::Done(seq) => self.settled(now, key, ack.packet_id, seq),
            Settled::Mismatch => return Err(Violation::AckStateMismatch),
            Settled::Release(_) | Settled::Unknown => {}
        }
        Ok(())
    }

    /// PUBREC.
    ///
    /// # Errors
    /// The message was not sent with QoS 2.
    pub fn pubrec(&mut self, now: Instant, key: SessionKey, ack: Ack) -> Result<(), Violation> {
        let window = self.sessions.get_mut(key.index()).and_then(|session| session.window.as_mut());
        let failed = ack.reason.is_failure();
        match window.map_or(Settled::Unknown, |window| window.pubrec(ack.packet_id, failed)) {
            Settled::Release(seq) => {
                let (packet_id, stamp) = (ack.packet_id, self.stamp());
                self.note(key, |client_id| Change::Released { client_id, seq, packet_id });
                self.mark_since(key, stamp);
                self.write_ack(key, AckKind::PubRel, ack.packet_id, ReasonCode::Success);
            }
            Settled::Done(seq) => self.settled(now, key, ack.packet_id, seq),
            Settled::Unknown if failed => {}
            Settled::Unknown => {
                self.write_ack(key, AckKind::PubRel, ack.packet_id, ReasonCode::PacketIdNotFound)
            }
            Settled::Mismatch => return Err(Violation::AckStateMismatch),
        }
        Ok(())
    }

    /// PUBCOMP.
    ///
    /// # Errors
    /// The message's PUBREC has not been received.
    pub fn pubcomp(&mut self, now: Instant, key: SessionKey, ack: Ack) -> Result<(), Violation> {
        let window = self.sessions.get_mut(key.index()).and_then(|session| session.window.as_mut());
        match window.map_or(Settled::Unknown, |window| window.pubcomp(ack.packet_id)) {
            Settled::Done(seq) => self.settled(now, key, ack.packet_id, seq),
            Settled::Mismatch => return Err(Violation::AckStateMismatch),
            Settled::Release(_) | Settled::Unknown => {}
        }
        Ok(())
    }

    /// PUBREL: the client's QoS 2 message is finished, its id free.
    pub fn pubrel(&mut self, key: SessionKey, ack: Ack) {
        let session = &mut self.sessions[key.index()];
        let was_open = session.release(ack.packet_id.get());
        let mut reason = ReasonCode::Success;
        if let Some(link) = &mut session.link {
            if was_open {
                // An id of an earlier connection was never counted here, hence saturating.
                link.inbound_open = link.inbound_open.saturating_sub(1);
            } else if link.version == Version::V5 {
                reason = ReasonCode::PacketIdNotFound;
            }
        }
        if was_open {
            let stamp = self.stamp();
            self.note(key, |client_id| Change::Completed { client_id, packet_id: ack.packet_id });
            self.mark_since(key, stamp);
        }
        self.write_ack(key, AckKind::PubComp, ack.packet_id, reason);
    }

    #[inline]
    fn settled(&mut self, now: Instant, key: SessionKey, packet_id: PacketId, seq: u64) {
        self.counters.inflight_messages -= 1;
        self.note(key, |client_id| Change::Settled { client_id, seq, packet_id });
        let session = &self.sessions[key.index()];
        if session.waiting.is_some() || session.window.as_ref().is_some_and(|window| window.is_waiting()) {
            self.pump(now, key);
        }
    }
}
