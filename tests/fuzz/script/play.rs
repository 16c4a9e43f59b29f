//! Plays a script on a broker of one or two cores.
//!
//! Input: one byte that chooses cores and limits, then deeds as `read.rs` reads them.
//!
//! Invariants, checked after every deed:
//! - Nothing panics, every turn ends and the broker comes to rest.
//! - Every gauge is within what clients and limits allow; open connections are counted exactly.
//! - The bystander gets its PINGRESP, its PUBACK and its message, whenever it asks.

use broker::Limits;
use stdx::Span;

use super::bystander::{Bystander, NAME};
use super::network::Network;
use super::read::{Deed, SLOTS, deed, take};
use super::speech;

/// Connections of one script; further ones are not opened.
const SOCKETS_MAX: usize = 48;
/// Deeds of one script.
const DEEDS_MAX: usize = 400;

/// The client that a slot stands for now.
#[derive(Clone, Copy, Debug)]
struct Client {
    socket: usize,
    /// 3, 4 or 5.
    level: u8,
    /// How many bytes of its next packet arrive at once.
    cut: usize,
}

#[derive(Debug)]
struct Play {
    network: Network,
    bystander: Bystander,
    clients: [Option<Client>; SLOTS],
    limits: Limits,
}

/// Any bytes as a script.
pub fn script(bytes: &[u8]) {
    let mut rest = bytes;
    let Some(setup) = take(&mut rest) else { return };
    if bytes.windows(NAME.len()).any(|part| part == NAME.as_bytes()) {
        return;
    }
    let limits = limits(setup);
    let links = if setup & 0x10 != 0 { 1 } else { 1000 };
    let mut network = Network::new(1 + u16::from(setup & 1), &limits, links);
    let bystander = Bystander::new(&mut network);
    let mut play = Play { network, bystander, clients: [None; SLOTS], limits };
    play.bystander.look(&mut play.network);
    for _ in 0..DEEDS_MAX {
        let Some(deed) = deed(&mut rest) else { break };
        play.act(&deed);
        play.check_gauges();
    }
    play.end();
}

fn limits(setup: u8) -> Limits {
    let mut limits = Limits { held_bytes_max: 2048, ..Limits::default() };
    if setup & 2 != 0 {
        limits.queue_messages_max = 3;
        limits.queue_bytes_max = 500;
        limits.queue_qos0_messages_max = 2;
        limits.inflight_max = 2;
        limits.inflight_3x_max = 2;
        limits.receive_maximum = 2;
        limits.out_bytes_high = 60;
        limits.out_bytes_max = 600;
        limits.packet_bytes_max = 200;
        limits.pre_auth_bytes_max = 150;
        limits.subscriptions_per_client_max = 3;
        limits.topic_alias_max = 1;
        limits.topic_alias_out_max = 1;
        limits.retained_messages_max = 2;
        limits.retained_bytes_max = 200;
        limits.sessions_max = 8;
        limits.connections_max = 12;
        limits.session_expiry_max_s = 50;
        limits.keep_alive_max_s = 0;
    }
    if setup & 4 != 0 {
        limits.qos_max = 1;
        limits.shared_available = false;
        limits.wildcard_available = false;
        limits.subscription_id_available = false;
        limits.retain_available = false;
    }
    limits.queue_drops_oldest = setup & 8 != 0;
    limits.queue_qos0_offline = setup & 8 != 0;
    limits.strict_strings = setup & 0x20 != 0;
    limits.payload_format_checked = setup & 0x20 != 0;
    limits
}

impl Play {
    fn act(&mut self, deed: &Deed) {
        match deed {
            Deed::Open(slot, flags, name) => self.open(*slot, *flags, *name),
            Deed::Publish(slot, flags, topic, id) => {
                self.say(*slot, |level| speech::publish(level, *flags, *topic, *id));
            }
            Deed::Subscribe(slot, filter, options, id) => {
                self.say(*slot, |level| speech::subscribe(level, *filter, *options, *id));
            }
            Deed::Unsubscribe(slot, filter, id) => {
                self.say(*slot, |level| speech::unsubscribe(level, *filter, *id));
            }
            Deed::Ack(slot, kind, id) => self.say(*slot, |level| speech::ack(level, *kind, *id)),
            Deed::AckMany(slot, kind) => {
                let all =
                    |level| (1..=kind >> 2 & 15).flat_map(|id| speech::ack(level, kind & 3, id)).collect();
                self.say(*slot, all);
            }
            Deed::Ping(slot) => self.say(*slot, |_| vec![0xc0, 0]),
            Deed::Disconnect(slot, choice) => self.say(*slot, |level| speech::disconnect(level, *choice)),
            Deed::Raw(slot, bytes) => self.say(*slot, |_| bytes.clone()),
            Deed::Reset(slot) => {
                if let Some(client) = self.clients[*slot].take() {
                    self.network.reset(client.socket);
                }
            }
            Deed::Cut(slot, count) => {
                if let Some(client) = &mut self.clients[*slot] {
                    client.cut = usize::from(*count);
                }
            }
            Deed::Pass(power) => self.pass(*power),
            Deed::Link(slot) => {
                let core = slot % self.network.cores();
                self.network.hand_next(core);
            }
            Deed::Read(slot, count) => self.read(*slot, *count),
            Deed::Rest => self.network.come_to_rest(self.bystander.socket),
            Deed::Look => self.bystander.look(&mut self.network),
        }
    }

    fn open(&mut self, slot: usize, flags: u8, name: u8) {
        if self.network.sockets() >= SOCKETS_MAX {
            return;
        }
        let core = usize::from(flags & 1) % self.network.cores();
        let socket = self.network.connect(core);
        self.clients[slot] = Some(Client { socket, level: speech::level(flags), cut: usize::MAX });
        self.say(slot, |_| speech::connect(flags, name));
    }

    fn say(&mut self, slot: usize, packet: impl FnOnce(u8) -> Vec<u8>) {
        let Some(client) = &mut self.clients[slot] else { return };
        let count = std::mem::replace(&mut client.cut, usize::MAX);
        self.network.write(client.socket, &packet(client.level), count);
    }

    fn read(&mut self, slot: usize, count: u8) {
        let Some(client) = self.clients[slot] else { return };
        match count {
            0 => self.network.set_reads(client.socket, false),
            255 => self.network.set_reads(client.socket, true),
            count => self.network.accept_bytes(client.socket, usize::from(count)),
        }
    }

    fn pass(&mut self, power: u8) {
        self.network.now = self.network.now + Span::from_ms(1 << (power % 32));
        for core in 0..self.network.cores() {
            self.network.fire_timers(core);
        }
    }

    fn check_gauges(&self) {
        let limits = &self.limits;
        let cores = u64::try_from(self.network.cores()).expect("a few cores");
        for core in 0..self.network.cores() {
            let counters = self.network.counters(core);
            let living = u64::try_from(self.network.living(core)).expect("a few sockets");
            assert_eq!(counters.connections_open, living, "core {core} counts other connections");
            let opened = u64::try_from(self.network.sockets()).expect("a few sockets");
            let sessions = counters.sessions;
            let waiting = u64::from(limits.queue_messages_max) + u64::from(limits.queue_qos0_messages_max);
            let inflight = u64::from(limits.inflight_max.max(limits.inflight_3x_max));
            let bounds = [
                ("clients_connected", counters.clients_connected, living),
                ("sessions", sessions, opened.min(u64::from(limits.sessions_max))),
                ("queued_messages", counters.queued_messages, sessions * waiting),
                ("inflight_messages", counters.inflight_messages, sessions * inflight),
                (
                    "subscriptions",
                    counters.subscriptions,
                    sessions * u64::from(limits.subscriptions_per_client_max),
                ),
                ("shared_subscriptions", counters.shared_subscriptions, counters.subscriptions),
                (
                    "retained_messages",
                    counters.retained_messages,
                    u64::from(limits.retained_messages_max) * cores,
                ),
                ("retained_bytes", counters.retained_bytes, limits.retained_bytes_max * cores),
            ];
            for (name, value, most) in bounds {
                assert!(value <= most, "core {core} counts {value} {name}, at most {most} are possible");
            }
        }
    }

    /// Everybody goes; then only the bystander is left, and is still served.
    fn end(mut self) {
        self.bystander.look(&mut self.network);
        for socket in 0..self.network.sockets() {
            if socket != self.bystander.socket {
                self.network.reset(socket);
            }
        }
        self.bystander.look(&mut self.network);
        // Who was travelling when the others went has arrived now.
        for socket in 0..self.network.sockets() {
            if socket != self.bystander.socket {
                self.network.reset(socket);
            }
        }
        self.bystander.look(&mut self.network);
        self.check_gauges();
        let connected: u64 =
            (0..self.network.cores()).map(|core| self.network.counters(core).clients_connected).sum();
        assert_eq!(connected, 1, "somebody is still counted as connected");
    }
}
