//! A client that survives every power cut of the broker and does exactly what the standard asks of it.
//!
//! Invariants:
//! - What was written and not acknowledged is written again, in order, with every new connection.
//! - A QoS 2 message is handed to the application once per id that is open.
//!
//! Source: MQTT 5.0 section 4.4; 3.1.1 section 4.4.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::ledger::{ActorId, Ledger};
use crate::message;
use crate::wire::{
    ClientPacket, Connect, Delivery, Meta, Publish, Request, ServerPacket, Subscribe, Version,
};

/// One client.
#[derive(Debug)]
pub(super) struct Actor {
    pub id: ActorId,
    pub name: String,
    pub version: Version,
    pub receive_maximum: u16,
    pub socket: Option<usize>,
    pub is_greeted: bool,
    /// Bytes that make no whole packet yet.
    pub partial: Vec<u8>,
    /// CONNECTs written.
    pub connects: u32,
    /// Whether it has read a CONNACK, so that its session must last.
    is_established: bool,
    out: VecDeque<Flight>,
    id_next: u16,
    /// QoS 2 ids that are open towards it, and their messages.
    open: BTreeMap<u16, usize>,
    asked: Option<Asked>,
    /// What the last replay brought, by topic.
    pub retained: BTreeMap<String, usize>,
}

/// A message on its way to the broker.
#[derive(Debug)]
struct Flight {
    id: u16,
    message: usize,
    topic: Rc<str>,
    qos: u8,
    is_retained: bool,
    is_released: bool,
}

/// A SUBSCRIBE or UNSUBSCRIBE without an answer.
#[derive(Debug)]
struct Asked {
    id: u16,
    filter: String,
    qos: u8,
    is_subscribe: bool,
}

impl Actor {
    pub fn new(id: ActorId, name: String, version: Version, receive_maximum: u16) -> Self {
        Self {
            id,
            name,
            version,
            receive_maximum,
            socket: None,
            is_greeted: false,
            partial: Vec::new(),
            connects: 0,
            is_established: false,
            out: VecDeque::new(),
            id_next: 0,
            open: BTreeMap::new(),
            asked: None,
            retained: BTreeMap::new(),
        }
    }

    /// The CONNECT of a session that never ends.
    pub fn connect(&mut self) -> ClientPacket {
        self.connects += 1;
        self.is_greeted = false;
        self.partial.clear();
        let is_5 = self.version == Version::V5;
        ClientPacket::Connect(Box::new(Connect {
            version: self.version,
            client_id: self.name.clone(),
            is_clean: false,
            keep_alive_s: 0,
            expiry_s: is_5.then_some(u32::MAX),
            receive_maximum: is_5.then_some(self.receive_maximum),
            packet_bytes_max: None,
            alias_max: None,
            will: None,
        }))
    }

    /// The connection is gone.
    pub fn drop_line(&mut self) {
        self.socket = None;
        self.is_greeted = false;
    }

    /// Whether it waits for no acknowledgement.
    pub fn is_content(&self) -> bool {
        self.out.is_empty() && self.asked.is_none() && self.is_greeted
    }

    /// Messages it waits for.
    pub fn in_flight(&self) -> usize {
        self.out.len()
    }

    /// Whether it may ask for another subscription.
    pub fn may_ask(&self) -> bool {
        self.asked.is_none() && self.is_greeted
    }

    fn take_id(&mut self) -> u16 {
        loop {
            self.id_next = self.id_next % 40 + 1;
            let id = self.id_next;
            let is_asked = self.asked.as_ref().is_some_and(|asked| asked.id == id);
            if !is_asked && self.out.iter().all(|flight| flight.id != id) {
                return id;
            }
        }
    }

    /// A new message.
    pub fn publish(&mut self, ledger: &mut Ledger, topic: &str, qos: u8, is_retained: bool) -> ClientPacket {
        let id = self.take_id();
        let message = ledger.publish(self.id, topic, qos, is_retained);
        let flight = Flight { id, message, topic: topic.into(), qos, is_retained, is_released: false };
        let packet = publish_packet(&flight, false);
        self.out.push_back(flight);
        packet
    }

    /// A subscription, or the end of one.
    pub fn ask(&mut self, ledger: &mut Ledger, filter: &str, qos: u8, is_subscribe: bool) -> ClientPacket {
        let id = self.take_id();
        self.asked = Some(Asked { id, filter: filter.into(), qos, is_subscribe });
        if is_subscribe {
            ledger.subscribe(self.id, filter, qos);
        } else {
            ledger.unsubscribe(self.id, filter);
        }
        self.asked.as_ref().map(ask_packet).expect("set above")
    }

    /// What it answers to a packet.
    pub fn hear(&mut self, ledger: &mut Ledger, packet: ServerPacket) -> Vec<ClientPacket> {
        match packet {
            ServerPacket::ConnAck(connack) => {
                if connack.code != 0 {
                    ledger.complain(format!("a{} was refused with {:#04x}", self.id, connack.code));
                }
                return self.greeted(ledger, connack.is_session_present);
            }
            ServerPacket::Publish(delivery) => return self.delivered(ledger, &delivery),
            ServerPacket::PubAck(id, code) | ServerPacket::PubRec(id, code) if code >= 0x80 => {
                ledger.complain(format!("a{} was refused id {id} with {code:#04x}", self.id));
            }
            ServerPacket::PubAck(id, _) => {
                if let Some(flight) = self.take_flight(id, 1) {
                    ledger.publish_acked(flight.message);
                }
            }
            ServerPacket::PubRec(id, _) => {
                let known = self.out.iter_mut().find(|flight| flight.id == id && flight.qos == 2);
                if let Some(flight) = known {
                    flight.is_released = true;
                    ledger.publish_acked(flight.message);
                }
                return vec![ClientPacket::PubRel(id)];
            }
            ServerPacket::PubComp(id, _) => drop(self.take_flight(id, 2)),
            ServerPacket::PubRel(id, _) => {
                ledger.heard(self.id, "PUBREL");
                self.open.remove(&id);
                return vec![ClientPacket::PubComp(id)];
            }
            ServerPacket::SubAck(id, _) | ServerPacket::UnsubAck(id, _) => self.answered(ledger, id),
            ServerPacket::Disconnect(code) => {
                ledger.complain(format!("a{} was sent away with {code:#04x}", self.id));
            }
            ServerPacket::PingResp | ServerPacket::Auth(_) => {}
        }
        Vec::new()
    }

    fn take_flight(&mut self, id: u16, qos: u8) -> Option<Flight> {
        let index = self.out.iter().position(|flight| flight.id == id && flight.qos == qos)?;
        self.out.remove(index)
    }

    fn greeted(&mut self, ledger: &mut Ledger, is_present: bool) -> Vec<ClientPacket> {
        if self.is_established && !is_present {
            ledger.complain(format!("the session of a{} was promised and is gone", self.id));
        }
        if is_present && self.connects == 1 {
            ledger.complain(format!("a{} found a session that it never had", self.id));
        }
        self.is_established = true;
        self.is_greeted = true;
        let again = self.out.iter().map(|flight| match flight.is_released {
            true => ClientPacket::PubRel(flight.id),
            false => publish_packet(flight, true),
        });
        let mut packets: Vec<ClientPacket> = again.collect();
        packets.extend(self.asked.as_ref().map(ask_packet));
        packets
    }

    fn delivered(&mut self, ledger: &mut Ledger, delivery: &Delivery) -> Vec<ClientPacket> {
        let Some(number) = message::number(&delivery.payload) else { return Vec::new() };
        ledger.heard(self.id, "PUBLISH");
        let is_replay = delivery.topic.starts_with("r/");
        if is_replay {
            self.retained.insert(delivery.topic.clone(), number);
        }
        match delivery.qos {
            0 => Vec::new(),
            1 => {
                if !is_replay {
                    ledger.received(self.id, number);
                }
                vec![ClientPacket::PubAck(delivery.id, 0)]
            }
            _two => {
                match self.open.insert(delivery.id, number) {
                    None if is_replay => {}
                    None => ledger.received(self.id, number),
                    Some(open) if open == number && delivery.is_dup => {}
                    Some(open) => ledger.complain(format!(
                        "a{} got m{number} under id {}, which m{open} has",
                        self.id, delivery.id
                    )),
                }
                vec![ClientPacket::PubRec(delivery.id, 0)]
            }
        }
    }

    fn answered(&mut self, ledger: &mut Ledger, id: u16) {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else { return };
        if asked.is_subscribe {
            ledger.subscribe_acked(self.id, &asked.filter);
        } else {
            ledger.unsubscribe_acked(self.id, &asked.filter);
        }
    }
}

fn publish_packet(flight: &Flight, is_dup: bool) -> ClientPacket {
    ClientPacket::Publish(Box::new(Publish {
        message: flight.message,
        topic: Rc::clone(&flight.topic),
        is_topic_omitted: false,
        alias: None,
        qos: flight.qos,
        is_retained: flight.is_retained,
        is_dup,
        id: flight.id,
        expiry_s: None,
        meta: Rc::new(Meta::default()),
        payload: message::payload(flight.message, false, 0),
    }))
}

fn ask_packet(asked: &Asked) -> ClientPacket {
    if !asked.is_subscribe {
        return ClientPacket::Unsubscribe(asked.id, vec![asked.filter.clone()]);
    }
    let request = Request {
        filter: asked.filter.clone(),
        qos: asked.qos,
        is_no_local: false,
        keeps_retain: false,
        retain_handling: 0,
    };
    ClientPacket::Subscribe(Subscribe { id: asked.id, subscription_id: None, requests: vec![request] })
}
