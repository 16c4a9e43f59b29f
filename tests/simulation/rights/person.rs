//! A client that publishes and subscribes without a thought for what it may do.
//!
//! Invariants:
//! - It writes nothing before CONNACK and nothing while it waits for SUBACK, so what it writes is judged when it is handed
//!   over.

use std::rc::Rc;

use super::reference::Who;
use crate::message;
use crate::wire::{ClientPacket, Connect, Meta, Publish, Request, Subscribe, Version, Will};

/// One client.
#[derive(Debug)]
pub(super) struct Person {
    pub who: Who,
    pub version: Version,
    pub receive_maximum: u16,
    pub socket: Option<usize>,
    pub is_greeted: bool,
    /// The version of the rules when its CONNECT was written, and whether its will was allowed then.
    pub at_connect: (u64, bool),
    /// Bytes that make no whole packet yet.
    pub partial: Vec<u8>,
    /// The id of a SUBSCRIBE or UNSUBSCRIBE without an answer, and whether it must be accepted, once that is known.
    pub asked: Option<(u16, Option<bool>)>,
    /// QoS 1 and 2 messages without an answer: id and message.
    pub sent: Vec<(u16, usize)>,
    /// Acknowledgements that it has not written yet.
    pub unacked: Vec<ClientPacket>,
    id_next: u16,
}

/// What is special about a CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub is_clean: bool,
    pub expiry_s: u32,
    /// Message, topic, QoS, RETAIN and delay of the will.
    pub will: Option<(usize, &'static str, u8, bool, u32)>,
}

impl Person {
    pub fn new(who: Who, version: Version, receive_maximum: u16) -> Self {
        Self {
            who,
            version,
            receive_maximum,
            socket: None,
            is_greeted: false,
            at_connect: (0, true),
            partial: Vec::new(),
            asked: None,
            sent: Vec::new(),
            unacked: Vec::new(),
            id_next: 0,
        }
    }

    /// Its next CONNECT.
    pub fn connect(&mut self, manner: Manner) -> ClientPacket {
        self.is_greeted = false;
        self.partial.clear();
        self.asked = None;
        self.sent.clear();
        self.unacked.clear();
        let is_5 = self.version == Version::V5;
        let will = manner.will.map(|(number, topic, qos, is_retained, delay_s)| {
            let publish = publish(Parcel { number, topic, qos, is_retained, id: 0, is_will: true });
            Will { message: number, publish, delay_s: if is_5 { delay_s } else { 0 } }
        });
        ClientPacket::Connect(Box::new(Connect {
            version: self.version,
            client_id: self.who.client_id.to_owned(),
            is_clean: manner.is_clean,
            keep_alive_s: 0,
            expiry_s: is_5.then_some(manner.expiry_s),
            receive_maximum: is_5.then_some(self.receive_maximum),
            packet_bytes_max: None,
            alias_max: None,
            will,
        }))
    }

    /// The connection is gone.
    pub fn drop_line(&mut self) {
        self.socket = None;
        self.is_greeted = false;
    }

    /// Whether it may write anything but acknowledgements.
    pub fn is_free(&self) -> bool {
        self.is_greeted && self.asked.is_none()
    }

    fn take_id(&mut self) -> u16 {
        self.id_next = self.id_next % 60_000 + 1;
        self.id_next
    }

    pub fn publish(
        &mut self,
        number: usize,
        topic: &'static str,
        qos: u8,
        is_retained: bool,
    ) -> ClientPacket {
        let id = if qos > 0 { self.take_id() } else { 0 };
        if qos > 0 {
            self.sent.push((id, number));
        }
        let parcel = Parcel { number, topic, qos, is_retained, id, is_will: false };
        ClientPacket::Publish(Box::new(publish(parcel)))
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) -> ClientPacket {
        let id = self.take_id();
        self.asked = Some((id, None));
        let request = Request {
            filter: filter.to_owned(),
            qos,
            is_no_local: false,
            keeps_retain: false,
            retain_handling: 0,
        };
        ClientPacket::Subscribe(Subscribe { id, subscription_id: None, requests: vec![request] })
    }

    pub fn unsubscribe(&mut self, filter: &str) -> ClientPacket {
        let id = self.take_id();
        self.asked = Some((id, None));
        ClientPacket::Unsubscribe(id, vec![filter.to_owned()])
    }
}

#[derive(Clone, Copy)]
struct Parcel {
    number: usize,
    topic: &'static str,
    qos: u8,
    is_retained: bool,
    id: u16,
    is_will: bool,
}

fn publish(parcel: Parcel) -> Publish {
    let Parcel { number, topic, qos, is_retained, id, is_will } = parcel;
    Publish {
        message: number,
        topic: topic.into(),
        is_topic_omitted: false,
        alias: None,
        qos,
        is_retained,
        is_dup: false,
        id,
        expiry_s: None,
        meta: Rc::new(Meta::default()),
        payload: message::payload(number, is_will, 0),
    }
}
