//! Shards, sockets and the links between cores, in one thread: everything that the `server` room does, without a server.
//!
//! Why apart from the scheduler: the rig only offers what *can* happen next and does it when told; who decides is the
//! seeded world here and a script in the fuzzer.
//!
//! Invariants:
//! - Bytes of one stream keep their order; batches of one pair of cores too.
//! - Events of a core happen inside a turn, and the effects of a turn are carried out before the next.
//! - A shard is told nothing about a connection after it moved it, closed it, or was told that it is gone.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use broker::{Batch, Change, CoreId, Counters, Limits};
use shard::{Accepted, Answer, Arrival, ConnId, Durability, ListenerId, Question, Settings, Setup, Shard};
use stdx::Instant;
use store::MemoryEngine;

use crate::disk::{self, Disk};
use crate::power::Fraud;

/// N shards and everything around them.
#[derive(Debug)]
pub struct Rig {
    shards: Vec<Shard>,
    names: Vec<BTreeMap<(u32, u32), usize>>,
    /// Names that die with the present turn: a connection may have been closed before it was reported gone.
    dying: Vec<(u32, u32)>,
    sockets: Vec<Socket>,
    links: Vec<VecDeque<Batch>>,
    enqueued: Vec<usize>,
    travellers: Vec<VecDeque<(usize, Arrival)>>,
    /// What each core wants to know about clients.
    questions: Vec<VecDeque<Question>>,
    link_batches: usize,
    settings: Settings,
    seed: u64,
    /// The store, if there is one.
    disk: Option<Disk>,
    fraud: Option<Fraud>,
}

/// One TCP connection, seen from both ends.
#[derive(Debug)]
pub struct Socket {
    /// What the client wrote, from the beginning.
    pub written: Vec<u8>,
    /// How much of it was handed to a shard.
    pub handed: usize,
    /// How the client ended its side, if it did.
    pub client_end: Option<ClientEnd>,
    /// Where it is.
    pub place: Place,
    /// What a shard handed out and the socket has not taken.
    pub unsent: VecDeque<u8>,
    /// How many bytes of `unsent` the shard counts; differs from its length only under a mutant.
    owed: usize,
    /// What the socket holds for the client.
    pub readable: VecDeque<u8>,
    /// The server will send nothing behind `unsent`.
    pub is_closed: bool,
    /// The shard has bytes that were not taken yet.
    pub is_untaken: bool,
}

/// How a client ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientEnd {
    /// Everything written arrives first.
    Fin,
    /// What was not handed over is lost.
    Reset,
}

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Not accepted yet by this core.
    Backlog(usize),
    /// Accepted by this core and not yet at home.
    Lobby(usize, ConnId),
    /// At home on this core.
    Home(usize, ConnId),
    /// Between two cores.
    Travelling,
    /// The shards know it no more.
    Nowhere,
}

/// What came out of a turn.
#[derive(Debug)]
pub struct Yield {
    /// Bytes per socket; those of closing sockets first.
    pub output: Vec<(usize, Vec<u8>)>,
    /// Sockets that found their home.
    pub adopted: Vec<usize>,
    /// Sockets that were closed.
    pub closed: Vec<usize>,
    /// Batches that had been enqueued to each core before.
    pub enqueued: Rc<[usize]>,
    /// Lines for a human.
    pub notices: Vec<String>,
    /// Whether anything came out at all.
    pub is_empty: bool,
}

impl Rig {
    /// A broker of `cores` shards that begins at `now`.
    #[must_use]
    pub fn new(cores: usize, limits: &Limits, link_batches: usize, seed: u64, now: Instant) -> Self {
        let settings = Settings { limits: limits.clone(), sys_interval_s: 0, ..Settings::default() };
        Self::with(cores, settings, link_batches, seed, now)
    }

    /// A broker that has been given all of its settings.
    #[must_use]
    pub fn with(cores: usize, settings: Settings, link_batches: usize, seed: u64, now: Instant) -> Self {
        Self {
            shards: shards(cores, seed, &settings, now),
            names: vec![BTreeMap::new(); cores],
            dying: Vec::new(),
            sockets: Vec::new(),
            links: (0..cores * cores).map(|_| VecDeque::new()).collect(),
            enqueued: vec![0; cores * cores],
            travellers: (0..cores * cores).map(|_| VecDeque::new()).collect(),
            questions: (0..cores).map(|_| VecDeque::new()).collect(),
            link_batches,
            settings,
            seed,
            disk: None,
            fraud: None,
        }
    }

    /// The shards write down their changes, into an empty store. Before anything happened.
    pub fn keep_journal(&mut self, now: Instant, durability: Durability) {
        self.keep_journal_on(now, durability, MemoryEngine::default(), None);
    }

    /// The same on a given engine, with a store that may commit a fraud.
    pub fn keep_journal_on(
        &mut self,
        now: Instant,
        durability: Durability,
        engine: MemoryEngine,
        fraud: Option<Fraud>,
    ) {
        self.settings.journal_is_on = true;
        self.settings.durabilities = vec![durability];
        self.fraud = fraud;
        self.restore(now, self.cores(), engine);
    }

    /// Writes and syncs of the store since the power came.
    #[must_use]
    pub fn store_steps(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::steps)
    }

    /// Whether the store found that the power is off.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::is_dark)
    }

    /// Other shards take over what these have written down, all of it; all connections are gone.
    pub fn start_again(&mut self, now: Instant, cores: usize) {
        self.flush();
        self.cut_power(now, cores, 0);
    }

    /// The power fails and comes back: other shards take over what was synced, and perhaps the oldest `luck` commits that
    /// were not. All connections are gone.
    pub fn cut_power(&mut self, now: Instant, cores: usize, luck: usize) {
        let mut engine = self.disk.take().expect("there is a store").into_engine();
        engine.restart(luck);
        for socket in &mut self.sockets {
            (socket.place, socket.is_closed, socket.is_untaken) = (Place::Nowhere, true, false);
            socket.unsent.clear();
        }
        self.seed = !self.seed;
        self.restore(now, cores, engine);
    }

    fn restore(&mut self, now: Instant, cores: usize, engine: MemoryEngine) {
        let mut changes: Vec<Change> = Vec::new();
        let mut disk =
            Disk::open(now, cores, &self.settings.limits, engine, &mut |change| changes.push(change));
        disk.commit_fraud(self.fraud);
        let mut shards = shards(cores, self.seed, &self.settings, now);
        for shard in &mut shards {
            changes.chunks(7).for_each(|chunk| shard.restore(chunk));
            shard.finish_restore(now);
        }
        let pairs = cores * cores;
        self.disk = Some(disk);
        self.shards = shards;
        self.names = vec![BTreeMap::new(); cores];
        self.links = (0..pairs).map(|_| VecDeque::new()).collect();
        self.enqueued = vec![0; pairs];
        self.travellers = (0..pairs).map(|_| VecDeque::new()).collect();
        self.questions = (0..cores).map(|_| VecDeque::new()).collect();
    }

    /// The cores tell each other everything that they have to tell. Before anything happened.
    pub fn exchange_news(&mut self, now: Instant) {
        let cores = self.cores();
        for _ in 0..4 {
            for core in 0..cores {
                self.end_turn(now, core, |_| false);
                for other in (0..cores).filter(|other| *other != core) {
                    while self.batches_waiting(other, core) > 0 {
                        self.hand_batch(now, other, core);
                    }
                }
            }
        }
        self.enqueued = vec![0; cores * cores];
    }

    /// The store commits and syncs what it has. Returns whether there was anything and the power lasted.
    pub fn flush(&mut self) -> bool {
        self.disk.as_mut().is_some_and(|disk| !disk.is_idle() && disk.flush())
    }

    /// Whether the store has something to tell a core: that something is durable, that something was read.
    #[must_use]
    pub fn mail_waiting(&self, core: usize) -> [bool; 2] {
        self.disk.as_ref().map_or([false; 2], |disk| [disk.has_durable(core), disk.has_fetched(core)])
    }

    /// Tells a core what is durable.
    pub fn hand_durable(&mut self, now: Instant, core: usize) {
        if let Some(turn) = self.disk.as_mut().and_then(|disk| disk.take_durable(core)) {
            self.shards[core].handle_durable(now, turn);
        }
    }

    /// Gives a core the oldest answer of the store.
    pub fn hand_fetched(&mut self, now: Instant, core: usize) {
        if let Some(fetched) = self.disk.as_mut().and_then(|disk| disk.take_fetched(core)) {
            self.shards[core].handle_fetched(now, fetched);
        }
    }

    /// The sockets of connections that are on a core.
    #[must_use]
    pub fn sockets_of(&self, core: usize) -> Vec<usize> {
        self.names[core].values().copied().collect()
    }

    /// How many cores there are.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.shards.len()
    }

    /// A socket.
    #[must_use]
    pub fn socket(&self, socket: usize) -> &Socket {
        &self.sockets[socket]
    }

    /// A socket, for its client.
    pub fn socket_mut(&mut self, socket: usize) -> &mut Socket {
        &mut self.sockets[socket]
    }

    /// How many sockets there ever were.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// A client connects to whichever core accepts it.
    pub fn connect(&mut self, core: usize) -> usize {
        self.sockets.push(Socket {
            written: Vec::new(),
            handed: 0,
            client_end: None,
            place: Place::Backlog(core),
            unsent: VecDeque::new(),
            owed: 0,
            readable: VecDeque::new(),
            is_closed: false,
            is_untaken: false,
        });
        self.sockets.len() - 1
    }

    /// The core accepts a connection from its backlog.
    pub fn accept(&mut self, now: Instant, socket: usize) {
        let Place::Backlog(core) = self.sockets[socket].place else { return };
        let peer = SocketAddr::from(([127, 0, 0, 1], 1883));
        match self.shards[core].handle_accepted(now, Accepted { listener: ListenerId(0), peer }) {
            Ok(conn) => self.place(socket, Place::Lobby(core, conn)),
            Err(_) => self.shut(socket),
        }
    }

    /// Hands `count` unread bytes of a connection to its shard.
    pub fn hand_bytes(&mut self, now: Instant, socket: usize, count: usize) {
        let (Place::Lobby(core, conn) | Place::Home(core, conn)) = self.sockets[socket].place else { return };
        let state = &mut self.sockets[socket];
        let end = state.handed + count;
        self.shards[core].handle_bytes(now, conn, &state.written[state.handed..end]);
        state.handed = end;
    }

    /// The socket takes `count` bytes of what its shard handed out. Returns whether that was the last.
    pub fn accept_bytes(&mut self, now: Instant, socket: usize, count: usize) -> bool {
        let state = &mut self.sockets[socket];
        state.readable.extend(state.unsent.drain(..count));
        let told = if state.unsent.is_empty() { state.owed } else { count.min(state.owed) };
        state.owed -= told;
        let is_last = state.unsent.is_empty();
        if let Place::Lobby(core, conn) | Place::Home(core, conn) = state.place
            && told > 0
        {
            self.shards[core].handle_sent(now, conn, told);
        }
        is_last
    }

    /// Tells the shard that the client is gone.
    pub fn hand_gone(&mut self, now: Instant, socket: usize) {
        let (Place::Lobby(core, conn) | Place::Home(core, conn)) = self.sockets[socket].place else { return };
        self.shards[core].handle_gone(now, conn);
        self.sockets[socket].place = Place::Nowhere;
        self.dying.push((conn.index, conn.generation));
    }

    /// Batches that wait between two cores.
    #[must_use]
    pub fn batches_waiting(&self, from: usize, to: usize) -> usize {
        self.links[from * self.cores() + to].len()
    }

    /// Hands over the oldest batch between two cores.
    pub fn hand_batch(&mut self, now: Instant, from: usize, to: usize) {
        let index = from * self.cores() + to;
        if let Some(batch) = self.links[index].pop_front() {
            self.shards[to].handle_batch(now, core_id(from), batch);
        }
    }

    /// Whether a connection is on its way between two cores.
    #[must_use]
    pub fn travellers_waiting(&self, from: usize, to: usize) -> bool {
        !self.travellers[from * self.cores() + to].is_empty()
    }

    /// Hands over the oldest connection on its way between two cores; returns its socket if it was taken.
    pub fn hand_arrival(&mut self, now: Instant, from: usize, to: usize) -> Option<usize> {
        let index = from * self.cores() + to;
        let (socket, arrival) = self.travellers[index].pop_front()?;
        match self.shards[to].handle_arrival(now, arrival) {
            Ok(conn) => {
                self.place(socket, Place::Lobby(to, conn));
                Some(socket)
            }
            Err(_) => {
                self.shut(socket);
                None
            }
        }
    }

    /// Whether a core waits for an answer about a client.
    #[must_use]
    pub fn question_waiting(&self, core: usize) -> bool {
        !self.questions[core].is_empty()
    }

    /// Answers the oldest question of a core.
    pub fn hand_answer(&mut self, now: Instant, core: usize, answer: impl FnOnce(&Question) -> Answer) {
        if let Some(question) = self.questions[core].pop_front() {
            self.shards[core].handle_answer(now, question.conn, answer(&question));
        }
    }

    /// Fires the timers of a core.
    pub fn hand_timers(&mut self, now: Instant, core: usize) {
        self.shards[core].handle_timers(now);
    }

    /// Begins the graceful end on a core.
    pub fn hand_shutdown(&mut self, now: Instant, core: usize) {
        self.shards[core].handle_shutdown(now);
    }

    /// When a core wants its timers fired.
    #[must_use]
    pub fn next_deadline(&self, core: usize) -> Option<Instant> {
        self.shards[core].next_deadline()
    }

    /// Whether a core wants its bytes left unread.
    #[must_use]
    pub fn is_congested(&self, core: usize) -> bool {
        self.shards[core].is_congested()
    }

    /// What a core counts.
    #[must_use]
    pub fn counters(&self, core: usize) -> &Counters {
        self.shards[core].counters()
    }

    /// Whether a core holds no session, no subscription and nothing queued.
    #[must_use]
    pub fn is_vacant(&self, core: usize) -> bool {
        self.shards[core].exchange().is_empty() && self.shards[core].connections() == 0
    }

    /// Ends a core's turn and carries out its effects. `takes_late` decides whether the bytes of a connection are left
    /// with the shard while earlier ones are unsent.
    pub fn end_turn(
        &mut self,
        now: Instant,
        core: usize,
        mut takes_late: impl FnMut(usize) -> bool,
    ) -> Yield {
        let cores = self.cores();
        let enqueued = self.enqueued[core * cores..(core + 1) * cores].into();
        self.shards[core].end_turn(now);
        let effects = std::mem::take(self.shards[core].effects());
        if let Some(disk) = &mut self.disk {
            disk.take(core, effects.written, &effects.fetches);
        }
        self.questions[core].extend(effects.questions);
        let is_empty = effects.adopted.is_empty()
            && effects.moved.is_empty()
            && effects.dirty.is_empty()
            && effects.closing.is_empty()
            && effects.batches.is_empty();
        let mut adopted = Vec::new();
        for conn in effects.adopted {
            adopted.extend(self.names[core].get(&(conn.index, conn.generation)));
            // A connection may be reported gone in the turn in which it was adopted or moved.
            let Some(socket) = self.living(core, conn) else { continue };
            self.sockets[socket].place = Place::Home(core, conn);
        }
        for moved in effects.moved {
            let Some(socket) = self.living(core, moved.conn) else { continue };
            self.place(socket, Place::Travelling);
            self.travellers[core * cores + moved.to.index()].push_back((socket, *moved.arrival));
        }
        for conn in effects.dirty {
            if let Some(socket) = self.living(core, conn) {
                self.sockets[socket].is_untaken = true;
            }
        }
        let untaken = self.names[core].values().copied().filter(|socket| self.sockets[*socket].is_untaken);
        let untaken: Vec<usize> = untaken.collect();
        let mut taken = Vec::new();
        for socket in untaken {
            if self.sockets[socket].unsent.is_empty() || !takes_late(socket) {
                taken.extend(self.take(socket));
            }
        }
        let mut output = Vec::new();
        let mut closed = Vec::new();
        for closing in effects.closing {
            let name = (closing.conn.index, closing.conn.generation);
            let Some(socket) = self.names[core].get(&name).copied() else { continue };
            self.place(socket, Place::Nowhere);
            self.sockets[socket].is_untaken = false;
            self.sockets[socket].is_closed = true;
            if !closing.last.is_empty() {
                output.push((socket, closing.last));
            }
            closed.push(socket);
        }
        output.extend(taken);
        for (to, batch) in effects.batches {
            self.send(core, to, batch);
        }
        for name in self.dying.drain(..) {
            self.names[core].remove(&name);
        }
        let notices = effects.notices.iter().map(ToString::to_string).collect();
        Yield { output, adopted, closed, enqueued, notices, is_empty }
    }

    /// Fetches what a shard has for a connection, if it is still there.
    pub fn take(&mut self, socket: usize) -> Option<(usize, Vec<u8>)> {
        let (Place::Lobby(core, conn) | Place::Home(core, conn)) = self.sockets[socket].place else {
            return None;
        };
        if !std::mem::take(&mut self.sockets[socket].is_untaken) {
            return None;
        }
        let bytes = self.shards[core].take_out(conn, Vec::new());
        self.sockets[socket].owed += bytes.len();
        (!bytes.is_empty()).then_some((socket, bytes))
    }

    /// The socket of a connection that was not reported gone.
    fn living(&self, core: usize, conn: ConnId) -> Option<usize> {
        let socket = self.names[core].get(&(conn.index, conn.generation)).copied()?;
        matches!(self.sockets[socket].place, Place::Lobby(..) | Place::Home(..)).then_some(socket)
    }

    fn send(&mut self, from: usize, to: CoreId, batch: Batch) {
        let index = from * self.cores() + to.index();
        if self.links[index].len() < self.link_batches {
            self.links[index].push_back(batch);
            self.enqueued[index] += 1;
        } else {
            self.shards[from].return_batch(to, batch);
        }
    }

    fn place(&mut self, socket: usize, place: Place) {
        if let Place::Lobby(core, conn) | Place::Home(core, conn) = self.sockets[socket].place {
            self.names[core].remove(&(conn.index, conn.generation));
        }
        if let Place::Lobby(core, conn) | Place::Home(core, conn) = place {
            self.names[core].insert((conn.index, conn.generation), socket);
        }
        self.sockets[socket].place = place;
    }

    fn shut(&mut self, socket: usize) {
        self.place(socket, Place::Nowhere);
        self.sockets[socket].is_closed = true;
    }
}

fn shards(cores: usize, seed: u64, settings: &Settings, now: Instant) -> Vec<Shard> {
    let cores = u16::try_from(cores).expect("a few cores");
    let settings = Arc::new(settings.clone());
    let shard = |core: u16| {
        let setup = Setup {
            core: CoreId::new(core),
            cores,
            seed: seed.wrapping_add(u64::from(core)),
            settings: Arc::clone(&settings),
            wall: disk::wall(now),
        };
        Shard::new(setup, now)
    };
    (0..cores).map(shard).collect()
}

fn core_id(core: usize) -> CoreId {
    CoreId::new(u16::try_from(core).expect("a few cores"))
}
