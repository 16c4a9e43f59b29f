//! Shards, sockets and links in one thread: what a driver does, without a driver.
//!
//! Invariants:
//! - Each event is a turn of its own, and its effects are carried out before the next.
//! - Bytes of one connection and batches of one pair of cores keep their order.
//! - What a shard hands out for a connection is whole packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use broker::{Batch, CoreId, Counters, Limits};
use mqtt::{Framing, frame};
use shard::{Accepted, Arrival, ConnId, Effects, ListenerId, Settings, Setup, Shard};
use stdx::{Instant, WallMs};

/// Turns after which a broker that does not come to rest is accused.
const TURNS_MAX: usize = 10_000;

/// A broker and its sockets.
#[derive(Debug)]
pub struct Network {
    /// The time of all cores.
    pub now: Instant,
    shards: Vec<Shard>,
    sockets: Vec<Socket>,
    /// Batches by sender and receiver.
    links: Vec<VecDeque<Batch>>,
    link_batches_max: usize,
    travellers: VecDeque<Traveller>,
}

/// One connection, with what was sent over it.
#[derive(Debug)]
struct Socket {
    place: Place,
    /// Written by the client and not handed to a shard.
    unread: Vec<u8>,
    /// Handed out by a shard and not taken by the socket.
    unsent: usize,
    /// Everything handed out so far.
    received: Vec<u8>,
    reads: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    At(usize, ConnId),
    Travelling,
    Nowhere,
}

#[derive(Debug)]
struct Traveller {
    socket: usize,
    to: usize,
    arrival: Arrival,
}

impl Network {
    /// A broker of `cores` cores whose links hold `link_batches_max` batches each.
    pub fn new(cores: u16, limits: &Limits, link_batches_max: usize) -> Self {
        let now = Instant::from_ns(1_000_000_000);
        let settings =
            Arc::new(Settings { limits: limits.clone(), sys_interval_s: 0, ..Settings::default() });
        let shard = |core: u16| {
            let settings = Arc::clone(&settings);
            let wall = WallMs(1_700_000_000_000);
            Shard::new(Setup { core: CoreId::new(core), cores, seed: u64::from(core), settings, wall }, now)
        };
        let pairs = usize::from(cores) * usize::from(cores);
        Self {
            now,
            shards: (0..cores).map(shard).collect(),
            sockets: Vec::new(),
            links: (0..pairs).map(|_| VecDeque::new()).collect(),
            link_batches_max,
            travellers: VecDeque::new(),
        }
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.shards.len()
    }

    /// How many sockets there ever were.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// What a core has counted.
    pub fn counters(&self, core: usize) -> &Counters {
        self.shards[core].counters()
    }

    /// How many sockets live on a core.
    pub fn living(&self, core: usize) -> usize {
        self.sockets.iter().filter(|socket| matches!(socket.place, Place::At(at, _) if at == core)).count()
    }

    /// Whether the broker has not closed it.
    pub fn is_open(&self, socket: usize) -> bool {
        self.sockets[socket].place != Place::Nowhere
    }

    /// A client connects to a core.
    pub fn connect(&mut self, core: usize) -> usize {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1883));
        let accepted =
            self.shards[core].handle_accepted(self.now, Accepted { listener: ListenerId(0), peer });
        let place = accepted.map_or(Place::Nowhere, |conn| Place::At(core, conn));
        self.sockets.push(Socket { place, unread: Vec::new(), unsent: 0, received: Vec::new(), reads: true });
        self.end_turn(core);
        self.sockets.len() - 1
    }

    /// A client writes; `count` bytes of what is unread reach the broker now.
    pub fn write(&mut self, socket: usize, bytes: &[u8], count: usize) {
        self.sockets[socket].unread.extend_from_slice(bytes);
        self.hand_over(socket, count);
    }

    fn hand_over(&mut self, socket: usize, count: usize) -> bool {
        let Place::At(core, conn) = self.sockets[socket].place else { return false };
        let unread = &mut self.sockets[socket].unread;
        if unread.is_empty() || self.shards[core].is_congested() {
            return false;
        }
        let handed: Vec<u8> = unread.drain(..count.min(unread.len())).collect();
        self.shards[core].handle_bytes(self.now, conn, &handed);
        self.end_turn(core);
        true
    }

    /// The client is gone without a word.
    pub fn reset(&mut self, socket: usize) {
        if let Place::At(core, conn) = self.sockets[socket].place {
            self.shards[core].handle_gone(self.now, conn);
            self.sockets[socket].place = Place::Nowhere;
            self.end_turn(core);
        }
    }

    /// Whether the client reads from now on.
    pub fn set_reads(&mut self, socket: usize, reads: bool) {
        self.sockets[socket].reads = reads;
        if reads {
            self.accept_bytes(socket, usize::MAX);
        }
    }

    /// The socket takes so many bytes.
    pub fn accept_bytes(&mut self, socket: usize, count: usize) {
        let state = &mut self.sockets[socket];
        let count = count.min(state.unsent);
        if let Place::At(core, conn) = state.place
            && count > 0
        {
            state.unsent -= count;
            self.shards[core].handle_sent(self.now, conn, count);
            self.end_turn(core);
        }
    }

    /// Everything that was handed out for a socket since the last call.
    pub fn received(&mut self, socket: usize) -> Vec<u8> {
        std::mem::take(&mut self.sockets[socket].received)
    }

    /// Fires the timers of a core.
    pub fn fire_timers(&mut self, core: usize) {
        self.shards[core].handle_timers(self.now);
        self.end_turn(core);
    }

    /// Hands over one batch or one connection that is on its way to a core.
    pub fn hand_next(&mut self, to: usize) -> bool {
        for from in 0..self.cores() {
            let index = from * self.cores() + to;
            if let Some(batch) = self.links[index].pop_front() {
                let from = CoreId::new(u16::try_from(from).expect("a few cores"));
                self.shards[to].handle_batch(self.now, from, batch);
                self.end_turn(to);
                return true;
            }
        }
        self.hand_traveller(to)
    }

    fn hand_traveller(&mut self, to: usize) -> bool {
        let Some(index) = self.travellers.iter().position(|traveller| traveller.to == to) else {
            return false;
        };
        let traveller = self.travellers.remove(index).expect("its index was just found");
        let arrived = self.shards[to].handle_arrival(self.now, traveller.arrival);
        self.sockets[traveller.socket].place = arrived.map_or(Place::Nowhere, |conn| Place::At(to, conn));
        self.end_turn(to);
        true
    }

    /// Lets everything through that is on its way, and what `talker` has written too.
    pub fn come_to_rest(&mut self, talker: usize) {
        for _ in 0..TURNS_MAX {
            let mut has_moved = false;
            for core in 0..self.cores() {
                has_moved |= self.hand_next(core);
                if self.shards[core].next_deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.fire_timers(core);
                    has_moved = true;
                }
            }
            has_moved |= self.hand_over(talker, usize::MAX);
            if !has_moved {
                return;
            }
        }
        panic!("the broker does not come to rest");
    }

    fn end_turn(&mut self, core: usize) {
        for _ in 0..TURNS_MAX {
            self.shards[core].end_turn(self.now);
            let effects = std::mem::take(self.shards[core].effects());
            if !self.carry_out(core, effects) {
                return;
            }
        }
        panic!("a turn of core {core} does not end");
    }

    /// Returns whether a socket took bytes at once, so that more may follow.
    fn carry_out(&mut self, core: usize, effects: Effects) -> bool {
        for moved in effects.moved {
            if let Some(socket) = self.socket_of(core, moved.conn) {
                self.sockets[socket].place = Place::Travelling;
                self.travellers.push_back(Traveller {
                    socket,
                    to: moved.to.index(),
                    arrival: *moved.arrival,
                });
            }
        }
        let mut has_sent = false;
        for conn in effects.dirty {
            let Some(socket) = self.socket_of(core, conn) else { continue };
            let out = self.shards[core].take_out(conn, Vec::new());
            self.sockets[socket].take(&out);
            let state = &mut self.sockets[socket];
            state.unsent += out.len();
            if state.reads && state.unsent > 0 {
                let count = std::mem::take(&mut state.unsent);
                self.shards[core].handle_sent(self.now, conn, count);
                has_sent = true;
            }
        }
        for closing in effects.closing {
            if let Some(socket) = self.socket_of(core, closing.conn) {
                self.sockets[socket].take(&closing.last);
                self.sockets[socket].place = Place::Nowhere;
            }
        }
        for (to, batch) in effects.batches {
            let link = &mut self.links[core * self.shards.len() + to.index()];
            if link.len() < self.link_batches_max {
                link.push_back(batch);
            } else {
                self.shards[core].return_batch(to, batch);
            }
        }
        has_sent
    }

    fn socket_of(&self, core: usize, conn: ConnId) -> Option<usize> {
        self.sockets.iter().position(|socket| socket.place == Place::At(core, conn))
    }
}

impl Socket {
    fn take(&mut self, out: &[u8]) {
        let mut rest = out;
        while !rest.is_empty() {
            let Ok(Framing::Whole(whole)) = frame(rest, u32::MAX) else {
                panic!("the broker sends no whole packet: {rest:02x?}")
            };
            rest = &rest[whole.bytes.len()..];
        }
        self.received.extend_from_slice(out);
    }
}
