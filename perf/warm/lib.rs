//! The warm path of a message: publishers and subscribers on one shard, without sockets.
//!
//! Why: instructions and allocations per message are the same on every machine and in every run, so they can be a gate
//! where seconds cannot.
//!
//! Invariants:
//! - Every connection, route and buffer exists before the first counted message.

mod devices;
mod porter;

use std::net::SocketAddr;
use std::sync::Arc;

use broker::{Batch, CoreId, Limits};
use shard::{Accepted, ConnId, Doorkeeper, ListenerId, Settings, Setup, Shard};
use stdx::{Instant, WallMs};

use crate::porter::Porter;

pub use devices::{Devices, changes, registry};

/// 50 pairs at QoS 0 and 64 B.
pub const PAIRS_QOS0: Load =
    Load { publishers: 50, subscribers_per_topic: 1, qos: 0, payload_len: 64, batch: 16, cores: 1, rules: 0 };
/// The same with every message from one core to another.
pub const CROSSING_QOS0: Load = Load { cores: 2, ..PAIRS_QOS0 };
/// 50 pairs at QoS 1 and 256 B.
pub const PAIRS_QOS1: Load = Load {
    publishers: 50,
    subscribers_per_topic: 1,
    qos: 1,
    payload_len: 256,
    batch: 16,
    cores: 1,
    rules: 0,
};
/// The same at QoS 0 and 64 B under a thousand access rules, of which the last one allows it.
pub const PAIRS_RULED: Load = Load { rules: 1_000, ..PAIRS_QOS0 };
/// One publisher to 100 subscribers under as many rules.
pub const FAN_OUT_RULED: Load = Load { rules: 1_000, ..FAN_OUT_100 };
/// One publisher to 100 subscribers at QoS 0 and 16 B.
pub const FAN_OUT_100: Load = Load {
    publishers: 1,
    subscribers_per_topic: 100,
    qos: 0,
    payload_len: 16,
    batch: 16,
    cores: 1,
    rules: 0,
};

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
    /// Cores; with two, publishers are at home on one and subscribers on the other.
    pub cores: u16,
    /// Lines of the access rules; none is no doorkeeper at all.
    pub rules: usize,
}

/// One shard or two with their clients connected and subscribed.
#[derive(Debug)]
pub struct Bench {
    shards: Vec<Shard>,
    /// Batches on their way: from, to.
    batches: Vec<(CoreId, CoreId, Batch)>,
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
        let mut bench = Self {
            shards: (0..load.cores).map(|core| shard(core, load.cores, load.rules)).collect(),
            batches: Vec::new(),
            publishers: Vec::new(),
            is_acknowledged: load.qos > 0,
            spare: Vec::new(),
            acks: Vec::new(),
        };
        for index in 0..load.publishers {
            let topic = format!("bench/pairs/topic{index:05}");
            for subscriber in 0..load.subscribers_per_topic {
                let name = id_at_home(load.cores - 1, load.cores, &format!("s{index:05}-{subscriber}"));
                let shard = &mut bench.shards[usize::from(load.cores - 1)];
                let conn = join(shard, &name, 0);
                shard.handle_bytes(Instant::START, conn, &subscribe(&topic, load.qos));
            }
            let name = id_at_home(0, load.cores, &format!("p{index:05}"));
            let conn = join(&mut bench.shards[0], &name, 0);
            let packet = publish(&topic, load.qos, load.payload_len);
            bench.publishers.push((conn, packet.repeat(load.batch)));
        }
        // A subscription begins when the other core has confirmed it, which takes turns of both.
        (0..4).for_each(|_| bench.turn());
        bench.run(3);
        bench
    }

    /// Lets every publisher send its batch `rounds` times; returns the messages delivered.
    pub fn run(&mut self, rounds: usize) -> u64 {
        let before = self.delivered();
        for _ in 0..rounds {
            for (conn, batch) in &self.publishers {
                self.shards[0].handle_bytes(Instant::START, *conn, batch);
            }
            self.turn();
        }
        self.delivered() - before
    }

    fn delivered(&self) -> u64 {
        self.shards.iter().map(|shard| shard.counters().publish_sent).sum()
    }

    /// Ends the turn of every core, takes all bytes as a socket would, acknowledges what asks for it, and hands over what
    /// goes to other cores.
    fn turn(&mut self) {
        for index in 0..self.shards.len() {
            self.turn_of(index);
        }
    }

    fn turn_of(&mut self, index: usize) {
        let shard = &mut self.shards[index];
        let here = CoreId::new(u16::try_from(index).expect("two cores"));
        while let Some(place) = self.batches.iter().position(|(_, to, _)| *to == here) {
            let (from, _, batch) = self.batches.remove(place);
            shard.handle_batch(Instant::START, from, batch);
        }
        shard.end_turn(Instant::START);
        shard.effects().adopted.clear();
        self.batches.extend(shard.effects().batches.drain(..).map(|(to, batch)| (here, to, batch)));
        let mut dirty = std::mem::take(&mut shard.effects().dirty);
        for conn in dirty.drain(..) {
            let out = shard.take_out(conn, std::mem::take(&mut self.spare));
            shard.handle_sent(Instant::START, conn, out.len());
            if self.is_acknowledged {
                acknowledge(&out, &mut self.acks);
                shard.handle_bytes(Instant::START, conn, &self.acks);
                self.acks.clear();
            }
            self.spare = out;
            self.spare.clear();
        }
        shard.effects().dirty = dirty;
    }
}

/// A shard with clients that do nothing.
#[derive(Debug)]
pub struct Crowd {
    shard: Shard,
    clients: u32,
}

impl Crowd {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self { shard: shard(0, 1, 0), clients: 0 }
    }

    /// Lets `count` more clients connect with a keep alive of a minute, subscribe each to a topic of its own if that is
    /// asked for, and receive the answers.
    pub fn join(&mut self, count: u32, subscribing: Subscribing) {
        for number in self.clients..self.clients + count {
            let conn = join(&mut self.shard, &format!("device-{number:08}"), 60);
            if subscribing == Subscribing::ToOwnTopic {
                let packet = subscribe(&format!("meter/{number:08}/command"), 0);
                self.shard.handle_bytes(Instant::START, conn, &packet);
            }
            self.shard.end_turn(Instant::START);
            self.shard.effects().adopted.clear();
            let dirty = std::mem::take(&mut self.shard.effects().dirty);
            for conn in dirty {
                let out = self.shard.take_out(conn, Vec::new());
                self.shard.handle_sent(Instant::START, conn, out.len());
            }
        }
        self.clients += count;
    }
}

impl Default for Crowd {
    fn default() -> Self {
        Self::new()
    }
}

/// What a client of a [`Crowd`] does behind its CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subscribing {
    /// Nothing.
    Never,
    /// It subscribes to one topic, like a device to its commands.
    ToOwnTopic,
}

/// A client id that begins with `name` and is at home on `core`.
fn id_at_home(core: u16, cores: u16, name: &str) -> String {
    let mut ids = (0u32..).map(|number| format!("{name}-{number}"));
    ids.find(|id| CoreId::home_of(id.as_bytes(), cores).get() == core).expect("one of two in the mean")
}

fn shard(core: u16, cores: u16, rules: usize) -> Shard {
    let doorkeeper = (rules > 0).then(|| Arc::new(Porter::new(rules)) as Arc<dyn Doorkeeper>);
    let limits = Limits::default();
    let settings = Arc::new(Settings { limits, doorkeeper, sys_interval_s: 0, ..Settings::default() });
    let setup = Setup { core: CoreId::new(core), cores, seed: 7, settings, wall: WallMs(0) };
    Shard::new(setup, Instant::START)
}

fn join(shard: &mut Shard, client_id: &str, keep_alive_s: u8) -> ConnId {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let conn = shard.handle_accepted(Instant::START, Accepted { listener: ListenerId(0), peer });
    let conn = conn.expect("the limits allow it");
    shard.handle_bytes(Instant::START, conn, &connect(client_id, keep_alive_s));
    conn
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

fn connect(client_id: &str, keep_alive_s: u8) -> Vec<u8> {
    packet(0x10, &[&b"\x00\x04MQTT\x04\x02\x00"[..], &[keep_alive_s], &string(client_id)].concat())
}

fn subscribe(topic: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &string(topic), &[qos]].concat())
}

fn publish(topic: &str, qos: u8, payload_len: usize) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
    packet(0x30 | qos << 1, &[&string(topic), id, &vec![b'x'; payload_len]].concat())
}
