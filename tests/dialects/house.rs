//! A house of shards: cores, a registry behind a lock, a disk that syncs when it is told to, and clients that speak MQTT.
//!
//! Why beside the world: the world shows what a dialect says; the house shows what becomes of it between connections, cores and
//! disk.
//!
//! Invariants:
//! - Effects are carried out in the order that the shard asks for, turn by turn, until nobody has anything left to do.
//! - A restart keeps what was synced and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use broker::{Batch, CoreId, StoreHealth};
use device::{
    Change, Credential, DeviceId, Dialect, HubCall, HubReply, NewDevice, News, Profile, Registry, Role,
    SharedRegistry, Tenant, TenantId,
};
use dialect::ThingsBoard;
use mqtt::{QoS, Version};
use shard::{Accepted, Arrival, ConnId, ListenerId, Pace, Settings, Setup, Shard};
use stdx::{Instant, Prng, Span, WallMs};

use crate::client::{self, Client};
use crate::world::{PROFILE, TENANT};

/// The wall clock at the beginning.
pub const BEGAN_MS: i64 = 1_760_000_000_000;
/// Rounds in which cores may answer each other before something must have gone wrong.
const ROUNDS_MAX: usize = 1_000;

/// The registry of a house, and what was changed in it.
#[derive(Debug, Default)]
pub struct Shelf {
    inner: Mutex<Shelved>,
}

#[derive(Debug, Default)]
struct Shelved {
    registry: Registry,
    changes: Vec<Change>,
}

/// One client's name in a house.
pub type ClientId = usize;

/// Cores, clients and what is between them.
pub struct House {
    /// Now.
    pub now: Instant,
    /// The registry.
    pub shelf: Arc<Shelf>,
    settings: Arc<Settings>,
    shards: Vec<Shard>,
    /// All that have ever connected.
    pub clients: Vec<Client>,
    sockets: BTreeMap<(usize, ConnId), ClientId>,
    /// Batches on their way, by sender and receiver.
    links: BTreeMap<(usize, usize), VecDeque<Batch>>,
    travellers: VecDeque<(usize, ClientId, Box<Arrival>)>,
    disk: Disk,
    replies: BTreeMap<u64, HubReply>,
    next_call: u64,
    /// What was told to whoever is outside.
    pub news: Vec<News>,
    /// What was told to humans.
    pub notices: Vec<String>,
}

/// What was written down.
#[derive(Default)]
struct Disk {
    /// Handed over and not synced, in one order.
    waiting: VecDeque<Handover>,
    synced: Vec<Change>,
    /// How many changes of the registry are synced.
    registered: usize,
    is_slow: bool,
    /// How many further changes are synced before one is lost.
    loses_after: Option<usize>,
}

/// What a core wrote down in a turn.
struct Handover {
    core: usize,
    turn: u64,
    changes: Vec<Change>,
    /// How many changes of the registry had been handed over before.
    registered: usize,
}

impl Disk {
    /// Syncs the oldest handover. Gives its core and turn.
    fn sync_one(&mut self) -> Option<(usize, u64)> {
        let Handover { core, turn, changes, registered } = self.waiting.pop_front()?;
        self.registered = self.registered.max(registered);
        for change in changes {
            match &mut self.loses_after {
                Some(0) => self.loses_after = None,
                Some(left) => {
                    *left -= 1;
                    self.synced.push(change);
                }
                None => self.synced.push(change),
            }
        }
        Some((core, turn))
    }
}

impl SharedRegistry for Shelf {
    fn read(&self, look: &mut dyn FnMut(&Registry)) {
        look(&self.inner.lock().unwrap_or_else(PoisonError::into_inner).registry);
    }

    fn change(&self, change: &mut dyn FnMut(&mut Registry, &mut Vec<Change>)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Shelved { registry, changes } = &mut *inner;
        change(registry, changes);
    }
}

impl Shelf {
    /// Changes the registry and gives what came of it.
    pub fn with<R>(&self, change: impl FnOnce(&mut Registry, &mut Vec<Change>) -> R) -> R {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Shelved { registry, changes } = &mut *inner;
        change(registry, changes)
    }
}

impl House {
    /// A house of so many cores with device D (token T) and gateway G (token TG), and no disk.
    #[must_use]
    pub fn new(cores: u16) -> Self {
        Self::with(cores, Settings::default())
    }

    /// The same, with settings; listener 0 speaks the dialect, listener 1 plain MQTT.
    #[must_use]
    pub fn with(cores: u16, settings: Settings) -> Self {
        let shelf = Arc::new(Shelf::default());
        shelf.with(|registry, changes| {
            registry.put_tenant(Tenant::named(TENANT, "acme"), changes);
            let mut profile = Profile::named(PROFILE, TENANT, "default");
            profile.terms = ThingsBoard.read_settings(&profile.settings).expect("the settings are valid");
            registry.put_profile(profile, changes).expect("the profile is free");
        });
        let mut house = Self::around(cores, settings, shelf, Instant::START);
        house.create("D", "T", Role::Ordinary);
        house.create("G", "TG", Role::Gateway);
        house
    }

    fn around(cores: u16, settings: Settings, shelf: Arc<Shelf>, now: Instant) -> Self {
        let registry: Arc<dyn SharedRegistry> = shelf.clone();
        let dialects: Vec<&'static dyn Dialect> = match settings.dialects.is_empty() {
            true => vec![&ThingsBoard],
            false => settings.dialects.clone(),
        };
        let settings =
            Arc::new(Settings { dialects, registry: Some(registry), sys_interval_s: 0, ..settings });
        let born_ms = BEGAN_MS.unsigned_abs() + now.since(Instant::START).ms();
        let shard = |core| {
            let setup = Setup {
                core: CoreId::new(core),
                cores,
                // Another one in each life, or the names of new devices would come again.
                seed: u64::from(core) + 1 + (now.ns() << 8),
                settings: Arc::clone(&settings),
                wall: WallMs(born_ms),
            };
            Shard::new(setup, now)
        };
        Self {
            now,
            shelf,
            shards: (0..cores).map(shard).collect(),
            settings,
            clients: Vec::new(),
            sockets: BTreeMap::new(),
            links: BTreeMap::new(),
            travellers: VecDeque::new(),
            disk: Disk::default(),
            replies: BTreeMap::new(),
            next_call: 0,
            news: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Loses everything that was not synced and starts again, with so many cores. Clients are gone.
    #[must_use]
    pub fn restart(self, cores: u16) -> Self {
        let shelf = Arc::new(Shelf::default());
        let kept = self.shelf.with(|_, changes| changes[..self.disk.registered].to_vec());
        shelf.with(|registry, changes| {
            for change in &kept {
                registry.apply(change);
            }
            *changes = kept;
        });
        let settings = Settings::clone(&self.settings);
        let mut house = Self::around(cores, settings, shelf, self.now + Span::from_ms(1));
        let kept = house.shelf.with(|_, changes| changes.clone());
        for shard in &mut house.shards {
            shard.restore_devices(kept.iter().filter(|change| !change.is_of_registry()));
            shard.restore_devices(&self.disk.synced);
            shard.finish_restore(house.now);
        }
        house.disk.registered = house.shelf.with(|_, changes| changes.len());
        house.disk.synced = self.disk.synced;
        house.run();
        house
    }

    /// From now on the disk syncs only when [`House::sync`] is called.
    pub fn slow_down_disk(&mut self) {
        self.disk.is_slow = true;
    }

    /// Syncs everything that was handed over.
    pub fn sync(&mut self) {
        self.sync_all();
        self.run();
    }

    fn sync_all(&mut self) {
        while self.sync_one() {}
        self.disk.registered = self.shelf.with(|_, changes| changes.len());
    }

    fn sync_one(&mut self) -> bool {
        let Some((core, turn)) = self.disk.sync_one() else { return false };
        self.shards[core].handle_durable(self.now, turn);
        true
    }

    /// There is no space on disk from now on.
    pub fn fill_disk(&mut self) {
        for shard in &mut self.shards {
            shard.handle_store_health(self.now, StoreHealth::Full);
        }
    }

    /// From now on the disk loses one change of devices, after so many others.
    pub fn lose_one_change(&mut self, after: usize) {
        self.disk.loses_after = Some(after);
    }

    /// Changes that were handed to the disk and are synced.
    #[must_use]
    pub fn synced(&self) -> &[Change] {
        &self.disk.synced
    }

    /// Creates a device.
    pub fn create(&mut self, name: &str, token: &str, role: Role) -> DeviceId {
        self.create_in(TENANT, name, token, role)
    }

    /// Creates a device of a tenant, which has a profile already.
    pub fn create_in(&mut self, tenant: TenantId, name: &str, token: &str, role: Role) -> DeviceId {
        let credential = Credential::token(token).expect("a token");
        let now_ms = self.now_ms();
        self.shelf.with(|registry, changes| {
            let mut prng = Prng::new(stdx::stable_hash(token.as_bytes()));
            let new =
                NewDevice { tenant, profile: None, customer: None, role, name, credential: Some(credential) };
            let created = registry.create(new, now_ms, &mut || prng.next_u64(), changes);
            created.expect("the name is free")
        })
    }

    /// A new device whose home is a core; its token is its name.
    pub fn create_at(&mut self, core: u16, prefix: &str, role: Role) -> String {
        let cores = u16::try_from(self.shards.len()).expect("few");
        for number in 0..1_000 {
            let name = format!("{prefix}{number}");
            if self.shelf.with(|registry, _| registry.device_named(TENANT, &name).is_some()) {
                continue;
            }
            let id = self.create(&name, &name, role);
            if CoreId::home_of(id.bytes(), cores) == CoreId::new(core) {
                return name;
            }
        }
        panic!("no name is at home there")
    }

    /// The id of a device.
    #[must_use]
    pub fn id(&self, name: &str) -> DeviceId {
        self.find(name).expect("a known device")
    }

    /// The id of a device, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<DeviceId> {
        self.shelf.with(|registry, _| registry.device_named(TENANT, name).map(|device| device.id))
    }

    /// Where a device is at home.
    #[must_use]
    pub fn home_of(&self, device: DeviceId) -> usize {
        CoreId::home_of(device.bytes(), u16::try_from(self.shards.len()).expect("few")).index()
    }

    /// The wall clock, in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        BEGAN_MS + i64::try_from(self.now.since(Instant::START).ms()).expect("near")
    }

    /// The shards, for a look.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Opens a connection to a listener by way of a core, sends it a CONNECT and lets the cores work until they are done.
    pub fn connect(&mut self, core: usize, listener: u16, version: Version, connect: &[u8]) -> ClientId {
        let id = self.knock(core, listener, version, connect);
        self.send(id, &[]);
        id
    }

    /// Opens a connection, whose CONNECT is read when it is its turn. Its port is its name and 1,000.
    pub fn knock(&mut self, core: usize, listener: u16, version: Version, connect: &[u8]) -> ClientId {
        let id = self.clients.len();
        let peer = SocketAddr::from(([127, 0, 0, 1], u16::try_from(1_000 + id).expect("few clients")));
        let accepted = Accepted { listener: ListenerId(listener), peer };
        let conn = self.shards[core].handle_accepted(self.now, accepted).expect("there is room");
        self.clients.push(Client::new(version, core, conn));
        self.sockets.insert((core, conn), id);
        self.clients[id].unread.extend_from_slice(connect);
        id
    }

    /// A device of 5.0 with a token, by way of core 0.
    pub fn device(&mut self, token: &str) -> ClientId {
        let connect = client::connect(Version::V5, "", Some(token), None, None);
        let id = self.connect(0, 0, Version::V5, &connect);
        assert_eq!(self.seen(id), ["CONNACK 0x00"]);
        id
    }

    /// A plain subscriber of 5.0, by way of a core; its client id decides where it lives.
    pub fn subscriber(&mut self, client_id: &str, filter: &str) -> ClientId {
        let id = self.connect(0, 1, Version::V5, &client::connect(Version::V5, client_id, None, None, None));
        self.send(id, &client::subscribe(Version::V5, 1, filter, QoS::AtLeastOnce));
        assert_eq!(self.seen(id), ["CONNACK 0x00", "SUBACK 0x01"]);
        id
    }

    /// Sends bytes of a client and lets the cores work until they are done.
    pub fn send(&mut self, id: ClientId, bytes: &[u8]) {
        self.clients[id].unread.extend_from_slice(bytes);
        self.read_clients();
        self.run();
    }

    /// Publishes with packet id 9, where one is needed.
    pub fn publish(&mut self, id: ClientId, topic: &str, qos: QoS, payload: &[u8]) {
        let version = self.clients[id].version;
        self.send(id, &client::publish(version, 9, topic, qos, payload));
    }

    /// What was on its way on a slow line has arrived.
    pub fn clear_line(&mut self, id: ClientId) {
        let sent = std::mem::take(&mut self.clients[id].unsent);
        if let Some((core, conn)) = self.clients[id].place {
            self.shards[core].handle_sent(self.now, conn, sent);
        }
        self.run();
    }

    /// Breaks a connection.
    pub fn cut(&mut self, id: ClientId) {
        self.lose(id);
        self.run();
    }

    /// Breaks a connection, if there is one and it is not on its way to another core.
    pub fn lose(&mut self, id: ClientId) {
        if let Some((core, conn)) = self.clients[id].place.take() {
            self.sockets.remove(&(core, conn));
            self.shards[core].handle_gone(self.now, conn);
        }
    }

    /// What a client was sent since the last time, a line per packet, and `close` at the end of its connection.
    pub fn seen(&mut self, id: ClientId) -> Vec<String> {
        self.clients[id].take_seen()
    }

    /// Asks the home of a device.
    pub fn call(&mut self, device: DeviceId, call: HubCall) -> u64 {
        let number = self.post(device, call);
        self.run();
        number
    }

    /// Asks the home of a device, which comes to it when it is its turn.
    pub fn post(&mut self, device: DeviceId, call: HubCall) -> u64 {
        let (core, number) = (self.home_of(device), self.next_call);
        self.next_call += 1;
        self.shards[core].handle_device_call(self.now, number, device, call);
        number
    }

    /// The reply to a call, once it is there.
    pub fn take_reply(&mut self, call: u64) -> Option<HubReply> {
        self.replies.remove(&call)
    }

    /// Asks, and takes the reply that must be there at once.
    pub fn ask(&mut self, device: DeviceId, call: HubCall) -> HubReply {
        let call = self.call(device, call);
        self.take_reply(call).expect("nothing keeps the reply back")
    }

    /// Lets time pass, in steps that let no deadline wait.
    pub fn wait(&mut self, span: Span) {
        let until = self.now + span;
        while self.now < until {
            let deadline = self.shards.iter().filter_map(Shard::next_deadline).min().unwrap_or(until);
            self.now = deadline.max(self.now + Span::from_ms(1)).min(until);
            for shard in &mut self.shards {
                shard.handle_timers(self.now);
            }
            self.run();
        }
    }

    /// Ends the broker gracefully.
    pub fn shut_down(&mut self) {
        for shard in &mut self.shards {
            shard.handle_shutdown(self.now);
        }
        self.run();
    }

    /// Gives the cores what clients have sent and they may read.
    fn read_clients(&mut self) -> bool {
        let mut any = false;
        for client in &mut self.clients {
            let Some((core, conn)) = client.place else { continue };
            if client.is_paused || client.unread.is_empty() {
                continue;
            }
            let bytes = std::mem::take(&mut client.unread);
            self.shards[core].handle_bytes(self.now, conn, &bytes);
            any = true;
        }
        any
    }

    /// A core reads what its clients have sent and ends its turn; what it says to other cores stays on its way.
    pub fn turn_alone(&mut self, core: usize) {
        for client in &mut self.clients {
            if let Some((at, conn)) = client.place.filter(|(at, _)| *at == core && !client.is_paused) {
                let bytes = std::mem::take(&mut client.unread);
                self.shards[at].handle_bytes(self.now, conn, &bytes);
            }
        }
        self.turn(core);
    }

    /// Deletes a device, without telling its home.
    pub fn delete(&mut self, device: DeviceId) {
        self.shelf.with(|registry, changes| registry.delete(device, changes)).expect("it was there");
    }

    /// Whether any core knows anything of a device.
    #[must_use]
    pub fn is_known(&self, device: DeviceId) -> bool {
        self.shards.iter().any(|shard| shard.known_devices().contains(&device))
    }

    /// Turns, until nobody has anything left to do.
    pub fn run(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for core in 0..self.shards.len() {
                self.turn(core);
            }
            let mut is_quiet = true;
            while self.arrive() {
                is_quiet = false;
            }
            let pairs: Vec<(usize, usize)> = self.links.keys().copied().collect();
            for pair in pairs {
                while self.deliver(pair) {
                    is_quiet = false;
                }
            }
            if !self.disk.is_slow && !self.disk.waiting.is_empty() {
                is_quiet = false;
                self.sync_all();
            }
            is_quiet &= !self.read_clients();
            if is_quiet {
                return;
            }
        }
        panic!("the cores do not come to rest");
    }

    /// Does one thing that can happen next, by chance: a turn ends, a batch or a connection arrives, a handover is synced, some
    /// bytes of a client are read.
    pub fn stumble(&mut self, prng: &mut Prng) {
        let below = |prng: &mut Prng, count: usize| {
            usize::try_from(prng.below(stdx::count(count.max(1)))).expect("below a length")
        };
        match prng.below(8) {
            0..=2 => {
                let core = below(prng, self.shards.len());
                self.turn(core);
            }
            3 | 4 => {
                let pairs: Vec<(usize, usize)> =
                    self.links.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair).collect();
                if let Some(pair) = pairs.get(below(prng, pairs.len())) {
                    self.deliver(*pair);
                }
            }
            5 => {
                self.arrive();
            }
            6 => {
                self.sync_one();
            }
            _client_bytes => {
                let client = below(prng, self.clients.len());
                let Some((core, conn)) = self.clients.get(client).and_then(|client| client.place) else {
                    return;
                };
                let unread = &mut self.clients[client].unread;
                let count = below(prng, unread.len() + 1);
                let bytes: Vec<u8> = unread.drain(..count).collect();
                if !bytes.is_empty() {
                    self.shards[core].handle_bytes(self.now, conn, &bytes);
                }
            }
        }
    }

    /// Ends a core's turn and does what it asks for.
    fn turn(&mut self, core: usize) {
        self.shards[core].end_turn(self.now);
        self.carry_out(core);
    }

    fn arrive(&mut self) -> bool {
        let Some((to, client, arrival)) = self.travellers.pop_front() else { return false };
        let conn = self.shards[to].handle_arrival(self.now, *arrival).expect("there is room");
        self.clients[client].place = Some((to, conn));
        self.sockets.insert((to, conn), client);
        true
    }

    fn deliver(&mut self, (from, to): (usize, usize)) -> bool {
        let Some(batch) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return false };
        let from = CoreId::new(u16::try_from(from).expect("few"));
        self.shards[to].handle_batch(self.now, from, batch);
        true
    }

    fn carry_out(&mut self, core: usize) {
        let effects = std::mem::take(self.shards[core].effects());
        match effects.written {
            Some(written) => self.disk.waiting.push_back(Handover {
                core,
                turn: written.turn,
                changes: effects.device_changes,
                registered: self.shelf.with(|_, changes| changes.len()),
            }),
            None => assert!(effects.device_changes.is_empty(), "changes belong to a turn that is written"),
        }
        for shipped in effects.moved {
            let client = self.sockets.remove(&(core, shipped.conn)).expect("it had a socket");
            self.clients[client].place = None;
            self.travellers.push_back((shipped.to.index(), client, shipped.arrival));
        }
        for conn in effects.dirty {
            let bytes = self.shards[core].take_out(conn, Vec::new());
            let client = self.sockets.get(&(core, conn)).copied();
            match client.filter(|client| self.clients[*client].is_slow) {
                Some(slow) => self.clients[slow].unsent += bytes.len(),
                None => self.shards[core].handle_sent(self.now, conn, bytes.len()),
            }
            if let Some(client) = client {
                self.clients[client].receive(&bytes);
            }
        }
        for (conn, pace) in effects.paces {
            if let Some(client) = self.sockets.get(&(core, conn)) {
                self.clients[*client].is_paused = pace == Pace::Pause;
            }
        }
        for closing in effects.closing {
            if let Some(client) = self.sockets.remove(&(core, closing.conn)) {
                self.clients[client].receive(&closing.last);
                self.clients[client].close();
            }
        }
        for (to, batch) in effects.batches {
            self.links.entry((core, to.index())).or_default().push_back(batch);
        }
        self.notices.extend(effects.notices.into_iter().map(|notice| notice.text));
        self.replies.extend(effects.device_replies);
        self.news.extend(effects.news);
    }
}
