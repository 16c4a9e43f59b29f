//! The warm path of a message: publishers and subscribers on one shard, without sockets.
//!
//! Why: instructions and allocations per message are the same on every machine and in every run, so they can be a gate
//! where seconds cannot.
//!
//! Invariants:
//! - Every connection, route and buffer exists before the first counted message.

use std::net::SocketAddr;
use std::sync::Arc;

use broker::{CoreId, Limits};
use shard::{Accepted, ConnId, ListenerId, Settings, Setup, Shard};
use stdx::{Instant, WallMs};

/// A load: who publishes to whom, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Publishers; each has a topic of its own.
    pub publishers: usize,
    /// Subscribers of each topic.
    pub subscribers_per_topic: usize,
    /// 0 or 1, on both legs.
    pub qos: u8,
    /// Bytes of a payload.
    pub payload_len: usize,
    /// PUBLISH packets that arrive together.
    pub batch: usize,
}

/// A shard with its clients connected and subscribed.
#[derive(Debug)]
pub struct Bench {
    shard: Shard,
    publishers: Vec<(ConnId, Vec<u8>)>,
    /// Whether receivers have something to acknowledge.
    is_acknowledged: bool,
    spare: Vec<u8>,
    acks: Vec<u8>,
}

impl Bench {
    /// Connects everyone and sends each topic's first messages, so that nothing is cold.
    #[must_use]
    pub fn new(load: Load) -> Self {
        let settings =
            Arc::new(Settings { limits: Limits::default(), sys_interval_s: 0, ..Settings::default() });
        let setup = Setup { core: CoreId::new(0), cores: 1, seed: 7, settings, wall: WallMs(0) };
        let mut bench = Self {
            shard: Shard::new(setup, Instant::START),
            publishers: Vec::new(),
            is_acknowledged: load.qos > 0,
            spare: Vec::new(),
            acks: Vec::new(),
        };
        for index in 0..load.publishers {
            let topic = format!("bench/pairs/topic{index:05}");
            for subscriber in 0..load.subscribers_per_topic {
                let conn = bench.connect(&format!("s{index:05}-{subscriber}"));
                bench.shard.handle_bytes(Instant::START, conn, &subscribe(&topic, load.qos));
            }
            let conn = bench.connect(&format!("p{index:05}"));
            let packet = publish(&topic, load.qos, load.payload_len);
            bench.publishers.push((conn, packet.repeat(load.batch)));
        }
        bench.turn();
        bench.run(3);
        bench
    }

    fn connect(&mut self, client_id: &str) -> ConnId {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let conn = self.shard.handle_accepted(Instant::START, Accepted { listener: ListenerId(0), peer });
        let conn = conn.expect("the limits allow it");
        self.shard.handle_bytes(Instant::START, conn, &connect(client_id));
        conn
    }

    /// Lets every publisher send its batch `rounds` times; returns the messages delivered.
    pub fn run(&mut self, rounds: usize) -> u64 {
        let before = self.shard.counters().publish_sent;
        for _ in 0..rounds {
            for (conn, batch) in &self.publishers {
                self.shard.handle_bytes(Instant::START, *conn, batch);
            }
            self.turn();
        }
        self.shard.counters().publish_sent - before
    }

    /// Ends the turn, takes all bytes as a socket would, and acknowledges what asks for it.
    fn turn(&mut self) {
        self.shard.end_turn(Instant::START);
        self.shard.effects().adopted.clear();
        let mut dirty = std::mem::take(&mut self.shard.effects().dirty);
        for conn in dirty.drain(..) {
            let out = self.shard.take_out(conn, std::mem::take(&mut self.spare));
            self.shard.handle_sent(Instant::START, conn, out.len());
            if self.is_acknowledged {
                acknowledge(&out, &mut self.acks);
                self.shard.handle_bytes(Instant::START, conn, &self.acks);
                self.acks.clear();
            }
            self.spare = out;
            self.spare.clear();
        }
        self.shard.effects().dirty = dirty;
    }
}

/// Writes a PUBACK for every QoS 1 PUBLISH in `out`; all packets here are short or have a two-byte length at most.
fn acknowledge(out: &[u8], acks: &mut Vec<u8>) {
    let mut rest = out;
    while let [first, low, tail @ ..] = rest {
        let (len, body) = match (low & 0x80 != 0, tail) {
            (false, body) => (usize::from(*low), body),
            (true, [high, body @ ..]) => (usize::from(low & 0x7f) | usize::from(*high) << 7, body),
            (true, []) => return,
        };
        if first & 0xf6 == 0x32 {
            let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
            acks.extend_from_slice(&[0x40, 2, body[2 + topic_len], body[3 + topic_len]]);
        }
        rest = &body[len..];
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let len = u8::try_from(body.len() % 128).expect("below 128");
    match u8::try_from(body.len() / 128).expect("packets here are below 16 KiB") {
        0 => bytes.push(len),
        high => bytes.extend_from_slice(&[len | 0x80, high]),
    }
    bytes.extend_from_slice(body);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("short");
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

fn connect(client_id: &str) -> Vec<u8> {
    packet(0x10, &[&b"\x00\x04MQTT\x04\x02\x00\x00"[..], &string(client_id)].concat())
}

fn subscribe(topic: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &string(topic), &[qos]].concat())
}

fn publish(topic: &str, qos: u8, payload_len: usize) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
    packet(0x30 | qos << 1, &[&string(topic), id, &vec![b'x'; payload_len]].concat())
}
