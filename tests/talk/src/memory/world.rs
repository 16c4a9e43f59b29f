//! Simulated cores: one shard each, connections and batches between them, and a clock that only `wait` moves.
//!
//! Invariants:
//! - After `settle`, nothing is on the way: no batch, no moving connection, no timer that is due.
//! - Batches between two cores arrive in the order in which they left.
//! - Everything happens in an order that depends on the script alone.
//! - The store keeps what it has synced, whatever becomes of the process; it syncs when nothing else is left to do.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::{Batch, CoreId, Fetched};
use shard::{Accepted, Arrival, ConnId, ListenerId, Settings, Setup, Shard};
use stdx::{Instant, Span, WallMs};
use store::{Anchor, Heads, Keeper, MemoryEngine};

use super::policy::Rules;
use crate::script::Script;
use crate::step::{Order, PolicyChange};
use crate::world::{Arrived, HangUp, LineId, World};

/// How much a simulated socket takes while its client does not read.
const SOCKET_BYTES: usize = 65_536;
/// More turns than any lawful settling needs; more is a bug of a shard that never comes to rest.
const TURNS_MAX: usize = 1_000_000;
/// The wall clock at the start of every run.
const WALL: WallMs = WallMs(1_800_000_000_000);

/// Shards on simulated cores.
pub struct MemoryWorld {
    settings: Arc<Settings>,
    rules: Option<Rules>,
    cores: Vec<Shard>,
    cores_count: u16,
    names: HashMap<(usize, ConnId), LineId>,
    lines: Vec<Line>,
    mail: VecDeque<(CoreId, CoreId, Batch)>,
    moving: VecDeque<(CoreId, LineId, Arrival)>,
    arrived: Vec<(LineId, Arrived)>,
    notices: VecDeque<String>,
    now: Instant,
    lives: u64,
    /// What is on disk, while no process runs.
    disk: MemoryEngine,
    store: Option<Keeper<MemoryEngine>>,
    fetched: VecDeque<(usize, Fetched)>,
}

/// A simulated connection.
struct Line {
    place: Place,
    is_reading: bool,
    /// Taken by the socket and not read by the client.
    unread: Vec<u8>,
    /// Not yet taken by the socket.
    unsent: Vec<u8>,
    /// Whether the shard has more for it than `unsent`.
    is_dirty: bool,
    /// Whether the server has closed it behind what is unread.
    is_closing: bool,
}

#[derive(Clone, PartialEq)]
enum Place {
    At(usize, ConnId),
    /// On the way between cores, with the bytes that came meanwhile.
    Moving(Vec<u8>),
    Gone,
}

impl MemoryWorld {
    /// Starts the shards that a script asks for.
    ///
    /// # Errors
    /// An override that the broker does not know.
    pub fn new(script: &Script, cores: u16) -> Result<Self, String> {
        let mut settings = super::settings(&script.header)?;
        let rules = script.has_policy().then(|| Rules::new(&script.header.denials, &script.header.passwords));
        if let Some(rules) = &rules {
            settings.doorkeeper = Some(Arc::new(rules.clone()));
        }
        let mut world = Self {
            settings: Arc::new(settings),
            rules,
            cores: Vec::new(),
            cores_count: cores,
            names: HashMap::new(),
            lines: Vec::new(),
            mail: VecDeque::new(),
            moving: VecDeque::new(),
            arrived: Vec::new(),
            notices: VecDeque::new(),
            now: Instant::START + Span::from_s(1),
            lives: 0,
            disk: MemoryEngine::default(),
            store: None,
            fetched: VecDeque::new(),
        };
        world.start();
        Ok(world)
    }

    fn start(&mut self) {
        self.lives += 1;
        for core in 0..self.cores_count {
            let setup = Setup {
                core: CoreId::new(core),
                cores: self.cores_count,
                seed: self.lives * 1_000 + u64::from(core),
                settings: Arc::clone(&self.settings),
                wall: WallMs(WALL.0 + self.now.ns() / 1_000_000),
            };
            self.cores.push(Shard::new(setup, self.now));
        }
        self.recover();
        self.settle();
    }

    /// The shards take over what is on disk.
    fn recover(&mut self) {
        let wall = WallMs(WALL.0 + self.now.ns() / 1_000_000);
        let mut store = Keeper::new(std::mem::take(&mut self.disk), Anchor { at: self.now, wall });
        let limits = &self.settings.limits;
        let heads = Heads {
            messages_max: limits.queue_memory_messages.into(),
            bytes_max: limits.queue_memory_bytes.into(),
        };
        let cores = &mut self.cores;
        let mut visit = |change| cores.iter_mut().for_each(|core| core.restore([&change]));
        store.recover(heads, &mut visit, &mut drop, &mut |_| {}).expect("a model is never damaged");
        for core in 0..self.cores.len() {
            self.cores[core].finish_restore(self.now);
        }
        self.store = Some(store);
    }

    /// Syncs what the shards want written, and tells them so.
    fn sync(&mut self) -> bool {
        let Some(store) = self.store.as_mut().filter(|store| !store.is_idle()) else { return false };
        let flushed = store.flush().expect("a model without limits does not fail");
        for (core, turn) in flushed.turns {
            self.cores[core.index()].handle_durable(self.now, turn);
            self.end_turn(core.index());
        }
        true
    }

    /// Ends the turn of a core and does what it asks for.
    fn end_turn(&mut self, core: usize) {
        self.cores[core].end_turn(self.now);
        let effects = std::mem::take(self.cores[core].effects());
        if let Some(store) = &mut self.store {
            let id = CoreId::new(u16::try_from(core).expect("few cores"));
            effects
                .written
                .into_iter()
                .for_each(|written| store.accept(id, written, effects.device_changes.clone()));
            for fetch in effects.fetches {
                let fetched = store.fetch(&fetch).expect("a model is never damaged");
                self.fetched.push_back((core, fetched));
            }
        }
        for moved in effects.moved {
            let Some(line) = self.names.remove(&(core, moved.conn)) else { continue };
            self.lines[line.0].place = Place::Moving(Vec::new());
            self.moving.push_back((moved.to, line, *moved.arrival));
        }
        for conn in effects.dirty {
            if let Some(line) = self.names.get(&(core, conn)).copied() {
                self.lines[line.0].is_dirty = true;
                self.send_out(line);
            }
        }
        for closing in effects.closing {
            let Some(line) = self.names.remove(&(core, closing.conn)) else { continue };
            let gone = &mut self.lines[line.0];
            gone.place = Place::Gone;
            gone.is_closing = true;
            gone.unsent.extend(closing.last);
            self.read(line);
        }
        let from = CoreId::new(u16::try_from(core).expect("few cores"));
        self.mail.extend(effects.batches.into_iter().map(|(to, batch)| (from, to, batch)));
        for notice in effects.notices {
            self.note(format!("core {core}: {notice}"));
        }
    }

    fn note(&mut self, text: String) {
        const NOTICES_MAX: usize = 50;
        if self.notices.len() == NOTICES_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back(text);
    }

    /// Moves bytes from the shard into the socket, as long as the socket takes all of them.
    fn send_out(&mut self, line: LineId) {
        while self.lines[line.0].is_dirty && self.lines[line.0].unsent.is_empty() {
            let Place::At(core, conn) = self.lines[line.0].place else { return };
            self.lines[line.0].is_dirty = false;
            self.lines[line.0].unsent = self.cores[core].take_out(conn, Vec::new());
            self.read(line);
        }
    }

    /// Lets the socket take what it can, and the client read what it wants.
    fn read(&mut self, line: LineId) {
        let it = &mut self.lines[line.0];
        let room = match it.is_reading {
            true => it.unsent.len(),
            false => SOCKET_BYTES.saturating_sub(it.unread.len()).min(it.unsent.len()),
        };
        it.unread.extend(it.unsent.drain(..room));
        if let Place::At(core, conn) = it.place
            && room > 0
        {
            self.cores[core].handle_sent(self.now, conn, room);
        }
        let it = &mut self.lines[line.0];
        if !it.is_reading {
            return;
        }
        if !it.unread.is_empty() {
            let bytes = std::mem::take(&mut it.unread);
            self.arrived.push((line, Arrived::Bytes(bytes)));
        }
        if std::mem::take(&mut it.is_closing) {
            self.arrived.push((line, Arrived::Ended));
        }
    }

    /// Goes on until nothing is on the way and no timer is due.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if let Some((from, to, batch)) = self.mail.pop_front() {
                self.cores[to.index()].handle_batch(self.now, from, batch);
                self.end_turn(to.index());
            } else if let Some((to, line, arrival)) = self.moving.pop_front() {
                self.arrive(to.index(), line, arrival);
            } else if let Some(core) = self.due_core() {
                self.cores[core].handle_timers(self.now);
                self.end_turn(core);
            } else if let Some((core, fetched)) = self.fetched.pop_front() {
                self.cores[core].handle_fetched(self.now, fetched);
                self.end_turn(core);
            } else if self.sync() {
                continue;
            } else {
                return;
            }
        }
        panic!("the shards do not come to rest");
    }

    fn due_core(&self) -> Option<usize> {
        self.cores.iter().position(|shard| shard.next_deadline().is_some_and(|deadline| deadline <= self.now))
    }

    fn arrive(&mut self, core: usize, line: LineId, arrival: Arrival) {
        let Place::Moving(meanwhile) = std::mem::replace(&mut self.lines[line.0].place, Place::Gone) else {
            return;
        };
        let Ok(conn) = self.cores[core].handle_arrival(self.now, arrival) else {
            self.arrived.push((line, Arrived::Ended));
            return;
        };
        self.lines[line.0].place = Place::At(core, conn);
        self.names.insert((core, conn), line);
        self.end_turn(core);
        if !meanwhile.is_empty() {
            self.send(line, &meanwhile);
        }
    }

    /// Every connection ends, because the process does.
    fn end_process(&mut self) {
        self.cores.clear();
        self.fetched.clear();
        self.disk = self.store.take().map(Keeper::into_engine).unwrap_or_default();
        self.disk.restart(0);
        self.mail.clear();
        self.moving.clear();
        self.names.clear();
        for (at, line) in self.lines.iter_mut().enumerate() {
            if std::mem::replace(&mut line.place, Place::Gone) != Place::Gone {
                self.arrived.push((LineId(at), Arrived::Ended));
            }
        }
    }
}

impl World for MemoryWorld {
    fn transport(&self) -> &'static str {
        "memory"
    }

    fn open(&mut self, core: Option<u16>) -> Result<LineId, String> {
        if self.cores.is_empty() {
            return Err("the server is not running".to_owned());
        }
        let line = LineId(self.lines.len());
        let core = core.map_or(line.0, usize::from) % self.cores.len();
        let peer = SocketAddr::from((
            [127, 0, 0, 1],
            10_000_u16.saturating_add(u16::try_from(line.0).unwrap_or(u16::MAX)),
        ));
        let accepted = Accepted { listener: ListenerId(0), peer };
        let place = match self.cores[core].handle_accepted(self.now, accepted) {
            Ok(conn) => {
                self.names.insert((core, conn), line);
                Place::At(core, conn)
            }
            Err(_) => {
                self.arrived.push((line, Arrived::Ended));
                Place::Gone
            }
        };
        let (unread, unsent) = (Vec::new(), Vec::new());
        self.lines.push(Line { place, is_reading: true, unread, unsent, is_dirty: false, is_closing: false });
        self.end_turn(core);
        Ok(line)
    }

    fn send(&mut self, line: LineId, bytes: &[u8]) {
        match &mut self.lines[line.0].place {
            Place::Gone => {}
            Place::Moving(meanwhile) => meanwhile.extend(bytes),
            Place::At(core, conn) => {
                let (core, conn) = (*core, *conn);
                self.cores[core].handle_bytes(self.now, conn, bytes);
                self.end_turn(core);
            }
        }
    }

    fn hang_up(&mut self, line: LineId, _how: HangUp) {
        self.settle();
        self.lines[line.0].is_reading = false;
        if let Place::At(core, conn) = std::mem::replace(&mut self.lines[line.0].place, Place::Gone) {
            self.names.remove(&(core, conn));
            self.cores[core].handle_gone(self.now, conn);
            self.end_turn(core);
        }
    }

    fn set_reading(&mut self, line: LineId, is_reading: bool) {
        self.lines[line.0].is_reading = is_reading;
        self.read(line);
        self.send_out(line);
        if let Place::At(core, _) = self.lines[line.0].place {
            self.end_turn(core);
        }
    }

    fn listen(&mut self, _wanted: &[LineId]) -> Vec<(LineId, Arrived)> {
        self.settle();
        std::mem::take(&mut self.arrived)
    }

    fn wait(&mut self, span: Duration) {
        let span = Span::from_ns(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        let end = self.now + span;
        self.settle();
        while let Some(next) =
            self.cores.iter().filter_map(Shard::next_deadline).min().filter(|next| *next <= end)
        {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn fence(&mut self) -> Result<(), String> {
        self.settle();
        Ok(())
    }

    fn order(&mut self, order: Order) -> Result<(), String> {
        match (order, self.cores.is_empty()) {
            (Order::Start, true) => self.start(),
            (Order::Start, false) => return Err("the server runs already".to_owned()),
            (_, true) => return Err("the server does not run".to_owned()),
            (Order::Crash, false) => self.end_process(),
            (Order::Stop, false) => {
                self.settle();
                for core in 0..self.cores.len() {
                    self.cores[core].handle_shutdown(self.now);
                    self.end_turn(core);
                }
                self.settle();
                let left: usize = self.cores.iter().map(Shard::connections).sum();
                self.end_process();
                if left > 0 {
                    return Err(format!("{left} connections are still open after the shutdown"));
                }
            }
        }
        Ok(())
    }

    fn change_policy(&mut self, change: &PolicyChange) -> Result<(), String> {
        match &self.rules {
            Some(rules) => {
                rules.change(change);
                Ok(())
            }
            None => Err("the script has no policy".to_owned()),
        }
    }

    fn resident_bytes(&mut self) -> Option<u64> {
        None
    }

    fn server_log(&mut self) -> Vec<String> {
        self.notices.iter().cloned().collect()
    }
}
