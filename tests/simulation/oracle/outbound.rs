//! Checks of every server packet but PUBLISH.
//!
//! Invariants:
//! - An acknowledgement is legal only if it is the oldest of its kind that is due.
//!
//! Source: [MQTT-3.2.0-1], [MQTT-4.6.0-2] to [MQTT-4.6.0-4] of 3.1.1, [MQTT-3.8.4-1], [MQTT-3.10.4-4], section 3.14.

use super::{Oracle, Rule};
use crate::wire::{ConnAck, Framed, ServerPacket, Version};

type Verdict = Result<(), (Rule, String)>;

impl Oracle {
    /// A packet came out of a shard.
    pub(super) fn emitted(&mut self, socket: usize, framed: &Framed) {
        let verdict = self.judge(socket, framed);
        if let Err((rule, text)) = verdict {
            self.fail(rule, format!("{text}; to c{socket}: {}", framed.packet.brief()));
        }
    }

    fn judge(&mut self, socket: usize, framed: &Framed) -> Verdict {
        let conn = self.conn_mut(socket);
        let is_first = conn.greeted.is_none();
        if is_first != matches!(framed.packet, ServerPacket::ConnAck(_)) {
            return Err((Rule::Legal, "CONNACK must be the first packet and only that".into()));
        }
        if conn.said.is_some() || conn.greeted.is_some_and(|code| code != 0) {
            return Err((Rule::Legal, "a packet after the last".into()));
        }
        if framed.bytes > conn.packet_bytes_max {
            return Err((Rule::Window, format!("{} bytes exceed the client's maximum", framed.bytes)));
        }
        match &framed.packet {
            ServerPacket::ConnAck(connack) => self.greeted(socket, connack),
            ServerPacket::Publish(delivery) => self.delivered(socket, delivery),
            ServerPacket::PubAck(id, code) => self.acknowledged(socket, *id, *code, 1),
            ServerPacket::PubRec(id, code) => self.acknowledged(socket, *id, *code, 2),
            ServerPacket::PubRel(id, code) => self.released(socket, *id, *code),
            ServerPacket::PubComp(id, code) => self.completed(socket, *id, *code),
            ServerPacket::SubAck(id, codes) => self.subscribed(socket, *id, codes),
            ServerPacket::UnsubAck(id, codes) => self.unsubscribed(socket, *id, codes),
            ServerPacket::PingResp if conn.owed.pings == 0 => Err((Rule::Answer, "nobody asked".into())),
            ServerPacket::PingResp => {
                conn.owed.pings -= 1;
                Ok(())
            }
            ServerPacket::Disconnect(code) => {
                conn.said = Some(*code);
                Ok(())
            }
            ServerPacket::Auth(_) => Err((Rule::Legal, "AUTH to a client that names no method".into())),
        }
    }

    fn greeted(&mut self, socket: usize, connack: &ConnAck) -> Verdict {
        let conn = self.conn_mut(socket);
        conn.greeted = Some(connack.code);
        if connack.code == 0 {
            return if conn.session.is_some() {
                Ok(())
            } else {
                Err((Rule::Legal, "accepted without a CONNECT".into()))
            };
        }
        let is_asked = conn.misdeed.is_some();
        if is_asked { Ok(()) } else { Err((Rule::Close, "a lawful CONNECT was refused".into())) }
    }

    fn acknowledged(&mut self, socket: usize, id: u16, code: u8, qos: u8) -> Verdict {
        let step = self.step;
        let conn = self.conn_mut(socket);
        let due = if qos == 1 { &mut conn.owed.pubacks } else { &mut conn.owed.pubrecs };
        let Some((expected, message)) = due.pop_front() else {
            return Err((Rule::Answer, "an acknowledgement of nothing".into()));
        };
        if expected != id {
            return Err((Rule::Answer, format!("out of order, {expected} is due first")));
        }
        if qos == 2 && code >= 0x80 {
            let session = conn.session.expect("only attached connections owe");
            self.sessions[session].received.remove(&id);
        }
        let fate = self.fates.get_mut(&message).expect("it was routed when it was handed over");
        fate.has_no_match |= code == 0x10 && fate.sends.len() == 1;
        if code >= 0x80 {
            fate.is_refused = true;
            return Err((Rule::Answer, format!("a lawful message was refused with {code:#04x}")));
        }
        fate.acked = fate.acked.or(Some(step));
        self.fresh.insert(message);
        Ok(())
    }

    fn released(&mut self, socket: usize, id: u16, code: u8) -> Verdict {
        let conn = self.conn_mut(socket);
        let session = conn.session.expect("only attached connections have output");
        if conn.owed.pubrels.front() == Some(&id) {
            conn.owed.pubrels.pop_front();
            let flow = self.sessions[session].flows.get_mut(&id);
            let is_known = flow.map(|flow| flow.released_on = Some(socket)).is_some();
            return if is_known == (code == 0) || self.conns[&socket].version != Version::V5 {
                Ok(())
            } else {
                Err((Rule::Answer, "PUBREL with the wrong code".into()))
            };
        }
        match self.sessions[session].flows.get_mut(&id) {
            Some(flow) if flow.is_released && flow.released_on != Some(socket) && flow.socket != socket => {
                flow.released_on = Some(socket);
                Ok(())
            }
            Some(_) | None => Err((Rule::Answer, "PUBREL that nothing asks for".into())),
        }
    }

    fn completed(&mut self, socket: usize, id: u16, code: u8) -> Verdict {
        match self.conn_mut(socket).owed.pubcomps.pop_front() {
            Some(expected) if expected == id && code == 0 => Ok(()),
            // A client that lost the PUBCOMP sends PUBREL again, and the server knows the id no more.
            Some(expected) if expected == id => Ok(()),
            Some(_) | None => Err((Rule::Answer, "PUBCOMP that nothing asks for".into())),
        }
    }

    fn subscribed(&mut self, socket: usize, id: u16, codes: &[u8]) -> Verdict {
        let step = self.step;
        let conn = self.conn_mut(socket);
        let session = conn.session.expect("only attached connections have output");
        let Some(owed) = conn.owed.subacks.pop_front().filter(|owed| owed.id == id) else {
            return Err((Rule::Answer, "SUBACK that nothing asks for".into()));
        };
        if owed.requests.len() != codes.len() {
            return Err((
                Rule::Answer,
                format!("{} requests have {} codes", owed.requests.len(), codes.len()),
            ));
        }
        for ((index, options, qos), code) in owed.requests.iter().zip(codes) {
            let subscription = &mut self.sessions[session].subscriptions[*index];
            if code != qos {
                return Err((
                    Rule::Answer,
                    format!("a lawful request for QoS {qos} was answered {code:#04x}"),
                ));
            }
            subscription.acked = subscription.acked.or(Some(step));
            subscription.options[*options].acked = Some(step);
        }
        Ok(())
    }

    fn unsubscribed(&mut self, socket: usize, id: u16, codes: &[u8]) -> Verdict {
        let step = self.step;
        let conn = self.conn_mut(socket);
        let session = conn.session.expect("only attached connections have output");
        let Some(owed) = conn.owed.unsubacks.pop_front().filter(|owed| owed.id == id) else {
            return Err((Rule::Answer, "UNSUBACK that nothing asks for".into()));
        };
        let is_right = owed.codes.len() == codes.len()
            && owed.codes.iter().zip(codes).all(|(due, code)| due.is_none_or(|due| due == *code));
        if conn.version == Version::V5 && !is_right {
            return Err((Rule::Answer, format!("UNSUBACK with {:02x?} is due", owed.codes)));
        }
        for index in owed.indexes {
            self.sessions[session].subscriptions[index].gone = Some(step);
        }
        Ok(())
    }
}
