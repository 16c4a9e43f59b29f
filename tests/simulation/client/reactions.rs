//! How a simulated client answers what it reads.
//!
//! Invariants:
//! - Acknowledgements of one connection leave in the order in which they became due.

use super::{Client, Desk, Line};
use crate::wire::{ClientPacket, ConnAck, ServerPacket, Version, decode};

impl Client {
    /// Reads bytes that arrived and returns the answers.
    ///
    /// # Errors
    /// What makes a packet illegal.
    pub fn read(&mut self, desk: &mut Desk, bytes: &[u8]) -> Result<Vec<ClientPacket>, String> {
        let Some(line) = &mut self.line else { return Ok(Vec::new()) };
        line.partial.extend_from_slice(bytes);
        let version = line.connect.version;
        let mut stream = std::mem::take(&mut line.partial);
        let mut answers = Vec::new();
        while let Some(framed) = decode(version, &stream)? {
            stream.drain(..framed.bytes);
            self.answer(desk, &framed.packet, &mut answers);
        }
        if let Some(line) = &mut self.line {
            line.partial = stream;
        }
        Ok(answers)
    }

    fn answer(&mut self, desk: &mut Desk, packet: &ServerPacket, answers: &mut Vec<ClientPacket>) {
        match packet {
            ServerPacket::ConnAck(connack) => self.greet(connack, answers),
            ServerPacket::Publish(delivery) => {
                let code = self.verdict(desk);
                match delivery.qos {
                    0 => {}
                    1 => self.owe(desk, ClientPacket::PubAck(delivery.id, code), answers),
                    _two => self.owe(desk, ClientPacket::PubRec(delivery.id, code), answers),
                }
            }
            ServerPacket::PubRel(id, _) => self.owe(desk, ClientPacket::PubComp(*id), answers),
            ServerPacket::PubAck(id, _) | ServerPacket::PubComp(id, _) => self.forget(*id),
            ServerPacket::PubRec(id, code) if *code >= 0x80 => self.forget(*id),
            ServerPacket::PubRec(id, _) => {
                let known = self.outgoing.iter_mut().find(|outgoing| outgoing.publish.id == *id);
                if let Some(outgoing) = known {
                    outgoing.is_released = true;
                    self.owe(desk, ClientPacket::PubRel(*id), answers);
                }
            }
            ServerPacket::SubAck(id, _) | ServerPacket::UnsubAck(id, _) => {
                self.ids_pending.remove(id);
            }
            ServerPacket::Disconnect(_) => self.drop_line(),
            ServerPacket::PingResp | ServerPacket::Auth(_) => {}
        }
    }

    fn forget(&mut self, id: u16) {
        self.outgoing.retain(|outgoing| outgoing.publish.id != id);
    }

    /// Rarely a 5.0 client refuses what it gets; the server must take it as settled. Source: [MQTT-4.4.0-2].
    fn verdict(&self, desk: &mut Desk) -> u8 {
        if self.version == Version::V5 && desk.dice.percent(4) { 0x80 } else { 0 }
    }

    fn owe(&mut self, desk: &mut Desk, packet: ClientPacket, answers: &mut Vec<ClientPacket>) {
        let Some(line) = &mut self.line else { return };
        if !line.due.is_empty() || desk.dice.percent(desk.habits.withholds) {
            line.due.push_back(packet);
        } else {
            answers.push(packet);
        }
    }

    /// CONNACK: what the server kept is sent again, what it lost is forgotten.
    fn greet(&mut self, connack: &ConnAck, answers: &mut Vec<ClientPacket>) {
        let Some(line) = &mut self.line else { return };
        if connack.code != 0 {
            return self.drop_line();
        }
        learn(line, connack);
        let is_kept =
            connack.is_session_present || (line.connect.version == Version::V31 && !line.connect.is_clean);
        let pipelined = line.may_pipeline;
        if !is_kept {
            if !pipelined {
                self.outgoing.clear();
            }
            return;
        }
        if pipelined {
            return;
        }
        for outgoing in &mut self.outgoing {
            let publish = &mut outgoing.publish;
            if outgoing.is_released {
                answers.push(ClientPacket::PubRel(publish.id));
                continue;
            }
            publish.is_dup = true;
            answers.push(ClientPacket::Publish(Box::new(publish.clone())));
        }
    }
}

fn learn(line: &mut Line, connack: &ConnAck) {
    line.is_greeted = true;
    line.alias_max = connack.alias_max;
    line.receive_maximum = usize::from(connack.receive_maximum.unwrap_or(20)).min(20);
    line.keep_alive_s = connack.keep_alive_s.unwrap_or(line.connect.keep_alive_s);
}
