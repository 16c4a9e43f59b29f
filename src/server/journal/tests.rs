//! Cores and the store thread together, with a disk that does as it is told.
//!
//! Invariants:
//! - No test waits for a time to pass: the disk says when it is asked, and waits for its word.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{Batch as Parcels, Change, CoreId, StoreHealth, Written};
use device::{DeviceId, Keeping, Sample, Tenant, TenantId, Value};
use flume::{Receiver, Sender};
use platform::{Archive, Journal, Points};
use shard::{Accepted, Arrival, Closing, ConnId, Effects};
use stdx::{Instant, Span};
use store::{Anchor, Batch, Engine, Fault, FaultKind, Heads, Keeper, MemoryEngine, Visit};

use super::archive::StoreArchive;
use super::post::StoreJournal;
use super::scribe::Scribe;
use super::space::Space;
use crate::clock::Clock;
use crate::launch::{Plan, Running, launch};
use crate::listen::listen;
use crate::mind::Mind;
use crate::restore::Homes;
use crate::ring::Depth;

/// A mind that has every line kept, and answers with the line when it is. A line that begins with `later` is not urgent.
/// `GONE name` takes back what had that name, and is not urgent. `WHO` is answered at once with what was restored.
#[derive(Default)]
struct Clerk {
    connections: Vec<Connection>,
    restored: BTreeSet<String>,
    unwritten: Vec<Change>,
    is_urgent: bool,
    turn: u64,
    /// What waits for which turn.
    waiting: Vec<(u64, ConnId, String)>,
    effects: Effects,
}

#[derive(Default)]
struct Connection {
    is_open: bool,
    unread: String,
    out: Vec<u8>,
}

fn at(conn: ConnId) -> usize {
    usize::try_from(conn.index).unwrap()
}

fn session(name: &str) -> Change {
    Change::Session {
        client_id: name.into(),
        expiry_s: 60,
        ends_at: Instant::NEVER,
        is_connected: true,
        will: None,
        owner: None,
    }
}

impl Clerk {
    fn say(&mut self, conn: ConnId, line: &str) {
        let connection = &mut self.connections[at(conn)];
        if connection.is_open {
            connection.out.extend(line.bytes().chain([b'\n']));
            self.effects.dirty.push(conn);
        }
    }

    fn heed(&mut self, conn: ConnId, line: String) {
        if line == "WHO" {
            let names: Vec<_> = self.restored.iter().cloned().collect();
            return self.say(conn, &names.join(" "));
        }
        let change = match line.strip_prefix("GONE ") {
            Some(name) => Change::SessionEnded { client_id: name.into() },
            None => session(&line),
        };
        self.unwritten.push(change);
        self.is_urgent |= !line.starts_with("later") && !line.starts_with("GONE");
        self.waiting.push((self.turn + 1, conn, line));
    }
}

impl Mind for Clerk {
    fn handle_accepted(&mut self, _now: Instant, _accepted: Accepted) -> Option<ConnId> {
        self.connections.push(Connection { is_open: true, ..Connection::default() });
        let conn = ConnId { index: u32::try_from(self.connections.len() - 1).unwrap(), generation: 0 };
        self.effects.adopted.push(conn);
        Some(conn)
    }

    fn handle_arrival(&mut self, _now: Instant, _arrival: Arrival) -> Option<ConnId> {
        unreachable!("nobody moves")
    }

    fn handle_bytes(&mut self, _now: Instant, conn: ConnId, bytes: &[u8]) {
        self.connections[at(conn)].unread.push_str(std::str::from_utf8(bytes).unwrap());
        while let Some((line, rest)) = self.connections[at(conn)]
            .unread
            .split_once('\n')
            .map(|(line, rest)| (line.to_owned(), rest.to_owned()))
        {
            self.connections[at(conn)].unread = rest;
            self.heed(conn, line);
        }
    }

    fn handle_sent(&mut self, _now: Instant, _conn: ConnId, _count: usize) {}

    fn handle_gone(&mut self, _now: Instant, conn: ConnId) {
        self.connections[at(conn)].is_open = false;
    }

    fn handle_batch(&mut self, _now: Instant, _from: CoreId, _batch: Parcels) {}

    fn handle_timers(&mut self, _now: Instant) {}

    fn handle_call(&mut self, _call: shard::Call) -> shard::Reply {
        shard::Reply::Counters(Box::default())
    }

    fn handle_shutdown(&mut self, _now: Instant) {
        for (index, connection) in (0u32..).zip(&mut self.connections) {
            if std::mem::take(&mut connection.is_open) {
                let conn = ConnId { index, generation: 0 };
                self.effects.closing.push(Closing { conn, last: Vec::new() });
            }
        }
    }

    fn end_turn(&mut self, _now: Instant) {
        if !self.unwritten.is_empty() {
            self.turn += 1;
            let changes = std::mem::take(&mut self.unwritten);
            let is_urgent = std::mem::take(&mut self.is_urgent);
            self.effects.written = Some(Written { turn: self.turn, changes, is_urgent });
        }
    }

    fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.connections[at(conn)].out, spare)
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_congested(&self) -> bool {
        false
    }

    fn return_batch(&mut self, _to: CoreId, _batch: Parcels) {}

    fn connections(&self) -> usize {
        self.connections.iter().filter(|connection| connection.is_open).count()
    }

    fn handle_durable(&mut self, _now: Instant, turn: u64) {
        let (durable, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(of, ..)| *of <= turn);
        self.waiting = waiting;
        let durable: Vec<(u64, ConnId, String)> = durable;
        durable.into_iter().for_each(|(_, conn, line)| self.say(conn, &line));
    }

    fn handle_store_health(&mut self, _now: Instant, health: StoreHealth) {
        for index in 0..u32::try_from(self.connections.len()).unwrap() {
            self.say(ConnId { index, generation: 0 }, &format!("{health:?}"));
        }
    }

    fn restore(&mut self, changes: &[Change]) {
        self.restored.extend(changes.iter().filter_map(Change::client_id).map(str::to_owned));
    }
}

/// A disk that reports each sync and waits for its outcome.
struct Disk {
    memory: Arc<Mutex<MemoryEngine>>,
    is_full: Arc<AtomicBool>,
    asked: Sender<()>,
    outcomes: Receiver<Result<(), Fault>>,
}

impl Engine for Disk {
    fn commit(&mut self, batch: &Batch) -> Result<(), Fault> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Fault::new(FaultKind::Full, "as it was told"));
        }
        self.memory.lock().unwrap().commit(batch)
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let _ = self.asked.send(());
        self.outcomes.recv().unwrap_or(Ok(()))?;
        self.memory.lock().unwrap().sync()
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.memory.lock().unwrap().read(key)
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        self.memory.lock().unwrap().scan(range, visit)
    }

    fn scan_back(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        self.memory.lock().unwrap().scan_back(range, visit)
    }

    fn records_about(&self) -> u64 {
        self.memory.lock().unwrap().records_about()
    }
}

/// A broker of clerks.
struct Bureau {
    address: SocketAddr,
    running: Option<Running>,
    store: Option<std::thread::JoinHandle<Result<(), Fault>>>,
    journal: StoreJournal,
    memory: Arc<Mutex<MemoryEngine>>,
    is_full: Arc<AtomicBool>,
    /// Each sync that was begun.
    asked: Receiver<()>,
    /// How the next sync ends; all end well once this is dropped.
    outcomes: Option<Sender<Result<(), Fault>>>,
}

impl Bureau {
    fn start(cores: usize) -> Self {
        Self::restore(cores, |_nothing| Ok(()))
    }

    fn restore(cores: usize, restore: impl FnOnce(&mut Homes) -> Result<(), Fault>) -> Self {
        let listening = listen("127.0.0.1:0".parse().unwrap(), cores).unwrap();
        let plan = Plan {
            cpus: crate::cores::allowed_cpus().unwrap().into_iter().cycle().take(cores).collect(),
            listeners: vec![listening.sockets],
            clock: Clock::start(),
            depth: Depth { submissions: 64, completions: 128, buffers: 16, buffer_bytes: 4096 },
            spin_rounds: 10,
            gather_us: 0,
            gather_from: 50_000,
            shutdown_grace: Span::from_s(60),
            stores: true,
            doors: None,
            platform: None,
        };
        let mut running = launch(plan, restore, |_core, _now| Clerk::default()).unwrap();
        let office = running.take_office().unwrap();
        let journal = office.journal();
        let memory = Arc::new(Mutex::new(MemoryEngine::default()));
        let (is_full, (asked, was_asked), (outcomes, outcome)) =
            (Arc::new(AtomicBool::new(false)), flume::unbounded(), flume::unbounded());
        let disk = Disk { memory: memory.clone(), is_full: is_full.clone(), asked, outcomes: outcome };
        let store = std::thread::spawn(move || {
            let keeper = Keeper::new(disk, Anchor { at: Instant::START, wall: stdx::WallMs(0) });
            let space = Space::watch(std::path::Path::new("."), 0);
            // Longer than any test: what is written sooner was urgent.
            let interval = Duration::from_secs(3600);
            Scribe::new(keeper, office, space, interval).map_err(|(_, failure)| failure).unwrap().run()
        });
        running.open();
        Self {
            address: listening.address.tcp().unwrap(),
            running: Some(running),
            store: Some(store),
            journal,
            memory,
            is_full,
            asked: was_asked,
            outcomes: Some(outcomes),
        }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        // It turns a test that would hang into one that fails.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream }
    }

    /// Waits until the store has begun a sync.
    fn wait_sync(&self) {
        self.asked.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    fn end_sync(&self, outcome: Result<(), Fault>) {
        self.outcomes.as_ref().unwrap().send(outcome).unwrap();
    }

    /// Has a tenant kept; the receiver is told when he is.
    fn keep(&self, name: &str) -> Receiver<()> {
        let (sender, kept) = flume::bounded(1);
        let mut id = [0; 16];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let tenant = Tenant::named(TenantId::from_bytes(id), name);
        self.journal.keep(vec![device::Change::Tenant(Box::new(tenant))], Some(sender));
        kept
    }

    /// Ends everything; returns what the store says and which clients and tenants it knows.
    fn stop(mut self) -> (Result<(), Fault>, BTreeSet<String>) {
        self.outcomes = None;
        let running = self.running.take().unwrap();
        running.stopper().stop();
        running.join().unwrap();
        let outcome = self.store.take().unwrap().join().unwrap();
        let mut disk = std::mem::take(&mut *self.memory.lock().unwrap());
        disk.restart(0);
        let (mut known, mut tenants) = (BTreeSet::new(), BTreeSet::new());
        let mut keeper = Keeper::new(disk, Anchor { at: Instant::START, wall: stdx::WallMs(0) });
        let mut note = |change: Change| known.extend(change.client_id().map(str::to_owned));
        let mut note_tenant = |change: device::Change| match change {
            device::Change::Tenant(tenant) => {
                tenants.insert(String::from(tenant.name));
            }
            other => panic!("{other:?}"),
        };
        keeper.recover(Heads::ALL, &mut note, &mut note_tenant, &mut |_| {}).unwrap();
        known.extend(tenants);
        (outcome, known)
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Everything up to the end of the connection, which may be a reset.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn after_a_sync_that_failed_nobody_gets_an_answer_and_all_cores_end() {
    let bureau = Bureau::start(2);
    let mut clients: Vec<Client> = (0..8).map(|_| bureau.connect()).collect();
    clients[0].say("lost");
    bureau.wait_sync();
    bureau.end_sync(Err(Fault::new(FaultKind::Sync, "the cable is out")));
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
    let (outcome, known) = bureau.stop();
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Sync);
    assert_eq!(known, names(&[]));
}

#[test]
fn what_arrives_during_a_flush_shares_the_next_one() {
    let bureau = Bureau::start(2);
    let mut first = bureau.connect();
    let mut others: Vec<Client> = (0..8).map(|_| bureau.connect()).collect();
    first.say("first");
    bureau.wait_sync();
    for (number, client) in others.iter_mut().enumerate() {
        client.say(&format!("other {number}"));
        // The answer shows that the core has handed over what came before it.
        client.say("WHO");
        assert_eq!(client.line(), "");
    }
    bureau.end_sync(Ok(()));
    assert_eq!(first.line(), "first");
    bureau.wait_sync();
    bureau.end_sync(Ok(()));
    for (number, client) in others.iter_mut().enumerate() {
        assert_eq!(client.line(), format!("other {number}"));
    }
    assert!(bureau.asked.is_empty());
    let (outcome, known) = bureau.stop();
    assert_eq!((outcome, known.len()), (Ok(()), 9));
}

#[test]
fn what_has_come_and_gone_is_answered_without_the_disk() {
    let bureau = Bureau::start(1);
    let (mut first, mut second, mut third) = (bureau.connect(), bureau.connect(), bureau.connect());
    first.say("first");
    bureau.wait_sync();
    for line in ["brief", "GONE brief", "WHO"] {
        second.say(line);
    }
    assert_eq!(second.line(), "");
    for line in ["third", "WHO"] {
        third.say(line);
    }
    assert_eq!(third.line(), "");
    bureau.end_sync(Ok(()));
    assert_eq!(first.line(), "first");
    // The disk is busy with the third.
    bureau.wait_sync();
    assert_eq!([second.line(), second.line()], ["brief", "GONE brief"]);
    bureau.end_sync(Ok(()));
    assert_eq!(third.line(), "third");
    assert!(bureau.asked.is_empty());
    assert_eq!(bureau.stop(), (Ok(()), names(&["first", "third"])));
}

#[test]
fn a_full_disk_is_told_to_all_cores_and_so_is_its_end_and_nothing_is_lost() {
    let bureau = Bureau::start(2);
    bureau.is_full.store(true, Ordering::SeqCst);
    let mut clients: Vec<Client> = (0..8).map(|_| bureau.connect()).collect();
    for client in &mut clients {
        client.say("WHO");
        assert_eq!(client.line(), "");
    }
    clients[0].say("kept");
    for client in &mut clients {
        assert_eq!(client.line(), "Full");
    }
    bureau.is_full.store(false, Ordering::SeqCst);
    bureau.wait_sync();
    bureau.end_sync(Ok(()));
    let mut told = [clients[0].line(), clients[0].line()];
    told.sort();
    assert_eq!(told, ["Good", "kept"]);
    for client in &mut clients[1..] {
        assert_eq!(client.line(), "Good");
    }
    assert_eq!(bureau.stop(), (Ok(()), names(&["kept"])));
}

#[test]
fn what_nobody_waits_for_is_durable_at_the_end() {
    let bureau = Bureau::start(2);
    let mut client = bureau.connect();
    client.say("later 1");
    client.say("WHO");
    assert_eq!(client.line(), "");
    assert!(bureau.asked.is_empty());
    assert_eq!(bureau.stop(), (Ok(()), names(&["later 1"])));
}

#[test]
fn a_sync_that_fails_at_the_end_is_the_outcome() {
    let bureau = Bureau::start(1);
    let mut client = bureau.connect();
    client.say("later 1");
    client.say("WHO");
    assert_eq!(client.line(), "");
    bureau.end_sync(Err(Fault::new(FaultKind::Sync, "too late")));
    let (outcome, known) = bureau.stop();
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Sync);
    assert_eq!(known, names(&[]));
}

#[test]
fn what_was_kept_comes_home_before_anybody_can_connect() {
    let clients: Vec<String> = (0..2000).map(|number| format!("client-{number}")).collect();
    let given = clients.clone();
    let bureau = Bureau::restore(2, move |homes| {
        given.iter().for_each(|client| homes.give(session(client)));
        Ok(())
    });
    let home = |client: &String| CoreId::home_of(client.as_bytes(), 2).index();
    // Which core accepts is the kernel's choice.
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let mut client = bureau.connect();
        client.say("WHO");
        let told = client.line();
        let told: BTreeSet<&str> = told.split(' ').collect();
        let core = home(&told.first().unwrap().to_string());
        let expected = clients.iter().filter(|client| home(client) == core).map(String::as_str);
        assert_eq!(told, expected.collect());
        seen.insert(core);
    }
    assert_eq!(bureau.stop().0, Ok(()));
}

#[test]
fn a_past_that_cannot_be_read_starts_no_core() {
    let listening = listen("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let plan = Plan {
        cpus: crate::cores::allowed_cpus().unwrap().into_iter().cycle().take(2).collect(),
        listeners: vec![listening.sockets],
        clock: Clock::start(),
        depth: Depth { submissions: 64, completions: 128, buffers: 16, buffer_bytes: 4096 },
        spin_rounds: 10,
        gather_us: 0,
        gather_from: 50_000,
        shutdown_grace: Span::from_s(60),
        stores: true,
        doors: None,
        platform: None,
    };
    let fault = Fault::new(FaultKind::Damaged, "a hole");
    let torn = fault.clone();
    let refused = launch(
        plan,
        move |homes: &mut Homes| {
            homes.give(session("half"));
            Err(torn)
        },
        |_core, _now| Clerk::default(),
    );
    let told = refused.err().map(|failure| failure.to_string());
    assert_eq!(told, Some(fault.to_string()));
    assert!(TcpStream::connect(listening.address.tcp().unwrap()).is_err());
}

#[test]
fn what_was_changed_outside_of_turns_is_kept_after_the_sync_and_in_order_with_the_turns_of_cores() {
    let bureau = Bureau::start(1);
    let first = bureau.keep("first");
    bureau.wait_sync();
    // Handed over while the disk is busy: the core's turn and what comes behind it share the next flush.
    let mut client = bureau.connect();
    client.say("core");
    client.say("WHO");
    assert_eq!(client.line(), "");
    let second = bureau.keep("second");
    assert!(first.is_empty() && second.is_empty());
    bureau.end_sync(Ok(()));
    first.recv_timeout(Duration::from_secs(60)).unwrap();
    bureau.wait_sync();
    assert!(second.is_empty());
    bureau.end_sync(Ok(()));
    second.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(client.line(), "core");
    assert!(bureau.asked.is_empty());
    assert_eq!(bureau.stop(), (Ok(()), names(&["core", "first", "second"])));
}

#[test]
fn whoever_waits_for_what_will_never_be_kept_hears_that() {
    let bureau = Bureau::start(1);
    let lost = bureau.keep("lost");
    bureau.wait_sync();
    let late = bureau.keep("late");
    bureau.end_sync(Err(Fault::new(FaultKind::Sync, "the cable is out")));
    let outcome = lost.recv_timeout(Duration::from_secs(60));
    assert_eq!(outcome, Err(flume::RecvTimeoutError::Disconnected));
    let journal = bureau.journal.clone();
    let (outcome, known) = bureau.stop();
    assert_eq!((outcome.unwrap_err().kind, known), (FaultKind::Sync, names(&[])));
    assert!(late.is_disconnected());
    let (sender, never) = flume::bounded(1);
    journal.keep(Vec::new(), Some(sender));
    assert!(never.is_disconnected());
}

#[test]
fn on_a_full_disk_nobody_is_told_that_a_change_is_kept_until_there_is_space() {
    let bureau = Bureau::start(1);
    bureau.is_full.store(true, Ordering::SeqCst);
    let mut client = bureau.connect();
    client.say("WHO");
    assert_eq!(client.line(), "");
    let kept = bureau.keep("kept");
    assert_eq!(client.line(), "Full");
    assert!(kept.is_empty() && !kept.is_disconnected());
    bureau.is_full.store(false, Ordering::SeqCst);
    bureau.wait_sync();
    bureau.end_sync(Ok(()));
    kept.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(bureau.stop(), (Ok(()), names(&["kept"])));
}

#[test]
fn a_question_sees_everything_that_was_handed_over_before_it() {
    let bureau = Bureau::start(1);
    let history = bureau.memory.lock().unwrap().history();
    let archive = StoreArchive::new(history, bureau.journal.clone());
    let device = DeviceId::from_bytes([7; 16]);
    let sample = |at_ms| Sample { key: "t".into(), value: Value::Long(at_ms), at_ms };
    let samples = (0..3).map(sample).collect();
    bureau.journal.keep(vec![device::Change::Telemetry { device, samples, keeping: Keeping::History }], None);
    (0..2).for_each(|_| bureau.end_sync(Ok(())));
    let mut times = Vec::new();
    let points = Points { device, key: "t", from_ms: 1, to_ms: 9, newest_first: true };
    let mut visit = |at_ms, _: Value<'_>| {
        times.push(at_ms);
        std::ops::ControlFlow::Continue(())
    };
    archive.points(points, &mut visit).unwrap();
    assert_eq!(times, [2, 1]);
    assert_eq!(bureau.stop().0, Ok(()));
}
