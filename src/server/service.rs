//! The broker as a process: checks, sockets, store, cores, readiness, the end.
//!
//! Why in this order: whatever can fail for a reason that the user can mend fails before the first connection is
//! accepted, with one line and its own exit code. Addresses are bound before the store is opened, because that may take a
//! while, and opened to clients when everything that was kept is back.
//!
//! Invariants:
//! - `announce` is called once, when every core accepts connections.
//! - The process ends well only if everything that cores wanted kept is durable.

use std::sync::Arc;

use broker::{CoreId, Level, Limits};
use device::{Dialect, DoorQuirks, Offer, Rates, SharedRegistry};
use platform::{Kept, Platform, ReadSettings};
use sd_notify::NotifyState;
use shard::{Settings, Setup, Shard};
use stdx::Span;
use store::FaultKind;
use thiserror::Error;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Complaint, Config, Listener, LogLevel, name_of};
use crate::cores::{CoresError, allowed_cpus};
use crate::doors::{Doors, DoorsError};
use crate::doorway::{Doorway, Rereading};
use crate::founding::{self, Founded, found_administrators, found_tenant};
use crate::guard::{Guard, Rules, Watching};
use crate::journal::{Keeping, Safe, SafeError, StoreWatch};
use crate::kernel::{self, KernelError};
use crate::launch::{LaunchError, Plan, Running, launch};
use crate::listen::{ListenError, Listening, SocketFile, bind};
use crate::mesh::Inquiry;
use crate::reload::Reloader;
use crate::restore::Homes;
use crate::rights::{self, RightsError, Room};
use crate::ring::Depth;
use crate::signals;

/// Why the broker does not run, or no longer.
#[derive(Debug, Error)]
pub enum Failure {
    /// The kernel lacks something.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The choice of cores cannot be had.
    #[error("cores: {0}")]
    Cores(#[from] CoresError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Files that the listeners name are not what they should be.
    #[error("{}", in_lines(.0))]
    Doorway(Vec<Complaint>),
    /// A resource limit is too low.
    #[error(transparent)]
    Rights(#[from] RightsError),
    /// The cores did not start, or one of them failed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The operating system refused something else.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// Something that runs beside the cores did not start.
    #[error("{0}")]
    Beside(String),
    /// A dialect was configured that nobody has passed in.
    #[error("unknown dialect `{0}`")]
    Dialect(String),
    /// A file that says who may come in or what they may do is not good.
    #[error(transparent)]
    Doors(#[from] DoorsError),
    /// A secret cannot be read or written.
    #[error(transparent)]
    Founding(#[from] founding::Fault),
    /// The store cannot be opened, or has failed.
    #[error(transparent)]
    Store(#[from] SafeError),
}

impl Failure {
    /// The process's exit code: 2 for what the user can set right, 3 for what the kernel lacks, 4 for a disk that failed
    /// or holds something damaged.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Store(SafeError::Fault { fault }) => match fault.kind {
                FaultKind::Locked | FaultKind::Newer | FaultKind::Missing => 2,
                FaultKind::Full | FaultKind::Damaged | FaultKind::Io | FaultKind::Sync => 4,
            },
            Failure::Store(SafeError::Dir { .. }) => 2,
            Failure::Cores(_)
            | Failure::Listen(_)
            | Failure::Doorway(_)
            | Failure::Rights(_)
            | Failure::Dialect(_)
            | Failure::Doors(_)
            | Failure::Founding(_)
            | Failure::Beside(_) => 2,
            Failure::Kernel(_) | Failure::Launch(_) | Failure::System(_) => 3,
        }
    }
}

/// A broker that has just become ready.
#[derive(Clone)]
pub struct Started {
    /// The line that says so, with the addresses.
    pub ready_line: String,
    /// Asks its cores.
    pub inquiry: Inquiry,
    /// Watches its store.
    pub store: StoreWatch,
    /// Who comes in.
    pub doors: Doors,
    /// Stands at its doors.
    pub guard: Arc<Guard>,
    /// The same, with a clock, for those who come in another way.
    pub watching: Arc<Watching>,
    /// Reads certificates, lists, passwords and rules again.
    pub reloader: Reloader,
    /// Knows devices, and the ways to them.
    pub platform: Platform,
    /// Signs the tokens of those who have logged in to the API.
    pub token_secret: Vec<u8>,
    /// Administrators that were just made, for whoever started the broker to see.
    pub founded: Option<Founded>,
}

/// Several complaints behind the name of the program, which stands in front of the first.
fn in_lines(complaints: &[Complaint]) -> String {
    complaints.iter().map(Complaint::to_string).collect::<Vec<_>>().join("\nringmq: ")
}

/// Runs the broker until it is told to stop by a signal. `announce` is called once it is ready; what it cannot start
/// beside the broker stops the broker.
pub fn serve(
    config: &Config,
    dialects: &[&'static dyn Dialect],
    version: &str,
    announce: impl FnOnce(Started) -> Result<(), String>,
) -> Result<(), Failure> {
    kernel::probe()?;
    let cpus = config.server.cores.resolve(&allowed_cpus()?)?;
    let room = rights::raise(config.limits.connections_max, cpus.len())?;
    report_room(config, room);
    let clock = Clock::start();
    let guard = Arc::new(Guard::new(Rules::of(config, room.connections_max)));
    let (doorway, remarks) = Doorway::open(config).map_err(Failure::Doorway)?;
    remarks.iter().for_each(|remark| warn!("{remark}"));
    let platform = Platform::new(read_settings(dialects));
    let watching = Arc::new(Watching::new(Arc::clone(&guard), clock));
    let doors = Doors::open(config, cpus.len(), clock, watching.clone(), &platform)?;
    let settings = settings(config, (room, cpus.len()), dialects, version, &doors)?;
    let settings = Settings { wardrobes: doorway.wardrobes(), ..settings };
    let settings = Arc::new(Settings { registry: registry(config, &platform), ..settings });
    let mut bound = bind_all(config, cpus.len())?;
    // They are removed when this function ends, however it ends.
    let _socket_files: Vec<SocketFile> =
        bound.iter_mut().filter_map(|listening| listening.file.take()).collect();
    let ready_line = ready_line(version, config, &bound, cpus.len());
    let mut safe = if config.stores() { Some(Safe::open(config, clock)?) } else { None };
    let cores = u16::try_from(cpus.len()).expect("the choice of cores has at most CORES_MAX");
    let seed = random_seed()?;
    let plan = Plan {
        cpus,
        listeners: bound.iter().map(Listening::try_clone_sockets).collect::<Result<_, _>>()?,
        clock,
        depth: Depth::default(),
        spin_rounds: config.server.spin_rounds,
        gather_us: config.server.gather_us,
        gather_from: config.server.gather_from,
        shutdown_grace: Span::from_s(config.server.shutdown_grace_s.into()),
        stores: safe.is_some(),
        doors: Some(doors.clone()),
        platform: config.has_devices().then(|| platform.clone()),
    };
    let restore = |homes: &mut Homes| safe.as_mut().map_or(Ok(()), |safe| safe.recover(homes));
    let running = launch(plan, restore, move |core, now| {
        let (seed, settings) = (seed_of(core, seed), settings.clone());
        Shard::new(Setup { core, cores, seed, settings, wall: clock.wall() }, now)
    });
    let mut running = running.map_err(launch_failure)?;
    let office = running.take_office();
    let store = StoreWatch::new(config, &bound, office.as_ref());
    let keeping = safe.zip(office).map(|(safe, office)| safe.keep(office)).transpose()?;
    let (token_secret, founded) = found(&platform, config, clock)?;
    bound.into_iter().try_for_each(|listening| listening.open())?;
    running.open();
    let reloader = reloader(doorway, &doors, running.inquiry());
    signals::heed(running.stopper(), reloader.clone())?;
    let started = Started {
        ready_line,
        inquiry: running.inquiry(),
        store,
        doors,
        guard,
        watching,
        reloader,
        platform,
        token_secret,
        founded,
    };
    let announced = announce(started);
    stay(running, keeping, announced)
}

/// Waits until all cores and the store have ended; they are told to if something beside the broker could not be started.
fn stay(running: Running, keeping: Option<Keeping>, announced: Result<(), String>) -> Result<(), Failure> {
    match &announced {
        Ok(()) => signals::tell_supervisor(NotifyState::Ready),
        Err(_) => running.stopper().stop(),
    }
    let ended = running.join();
    // Cores that have failed because the store has are not the reason.
    keeping.map_or(Ok(()), Keeping::join).map_err(SafeError::from)?;
    ended?;
    announced.map_err(Failure::Beside)?;
    info!("all cores have ended");
    Ok(())
}

/// What each listener offers to devices that may say so much of themselves.
fn offers(config: &Config, own: Rates) -> Vec<Arc<Offer>> {
    let offer = offer(config, own);
    // One for all listeners that are alike.
    let mut offers: Vec<Arc<Offer>> = Vec::with_capacity(config.listener.len());
    for listener in &config.listener {
        let known = offers.iter().find(|known| known.door == listener.quirks).map(Arc::clone);
        let new = || Arc::new(Offer { door: listener.quirks, ..offer.clone() });
        offers.push(known.unwrap_or_else(new));
    }
    offers
}

/// What a device is offered, wherever it connects.
#[must_use]
pub fn offer_to_device(config: &Config) -> Offer {
    offer(config, config.devices.device_rates())
}

/// What a gateway is offered.
#[must_use]
pub fn offer_to_gateway(config: &Config) -> Offer {
    offer(config, config.devices.gateway_device_rates())
}

fn offer(config: &Config, own: Rates) -> Offer {
    let Limits { packet_bytes_max, receive_maximum, .. } = config.limits;
    Offer {
        packet_bytes_max,
        inflight_max: receive_maximum,
        silence_max_s: Some(config.devices.session_silence_s).filter(|max_s| *max_s > 0),
        own,
        children: config.devices.gateway_rates(),
        tenant: config.devices.tenant_rates(),
        has_responder: config.control.rpc_webhook.is_some(),
        door: DoorQuirks::default(),
    }
}

/// Reads settings of profiles with the first dialect that has devices: profiles do not say whose they are.
fn read_settings(dialects: &[&'static dyn Dialect]) -> Box<ReadSettings> {
    let dialect = dialects.iter().copied().find(|dialect| dialect.has_devices());
    Box::new(move |settings| dialect.map_or(Ok(None), |dialect| dialect.read_settings(settings)))
}

/// What must be there before the first client: a tenant, administrators, the secret of their tokens. All of it is on the disk
/// when this returns.
fn found(platform: &Platform, config: &Config, clock: Clock) -> Result<(Vec<u8>, Option<Founded>), Failure> {
    if !config.has_devices() {
        // Nobody can log in; a secret that nobody knows keeps it so.
        return Ok((founding::token_secret(None)?, None));
    }
    let dir = config.stores().then_some(config.store.dir.as_path());
    let kept = |kept: Kept| kept.wait_here().map_err(|failure| Failure::Beside(failure.to_string()));
    found_tenant(platform, &config.devices)?.map(kept).transpose()?;
    if config.control.listen.is_none() {
        return Ok((founding::token_secret(None)?, None));
    }
    let founded = found_administrators(platform, &config.control, dir, clock.wall())?;
    let founded = founded.map(|(founded, made)| kept(made).map(|()| founded)).transpose()?;
    Ok((founding::token_secret(dir)?, founded))
}

/// Whoever reads files again.
fn reloader(doorway: Doorway, doors: &Doors, inquiry: Inquiry) -> Reloader {
    let reloader = Reloader::default();
    reloader.add(Box::new(Rereading { doorway, inquiry }));
    reloader.add(Box::new(doors.clone()));
    reloader
}

fn launch_failure(failure: LaunchError) -> Failure {
    match failure {
        LaunchError::Restore(fault) => Failure::Store(fault.into()),
        other => Failure::Launch(other),
    }
}

/// Each core has its own seed, or two of them would give the same names to clients without one.
fn seed_of(core: CoreId, seed: u64) -> u64 {
    seed.wrapping_add(u64::from(core.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The registry as cores see it; none where nobody is looked up in it.
fn registry(config: &Config, platform: &Platform) -> Option<Arc<dyn SharedRegistry>> {
    platform.limit_profiles(stdx::widen(config.devices.profiles_max));
    config.has_devices().then(|| Arc::new(platform.clone()) as Arc<dyn SharedRegistry>)
}

fn bind_all(config: &Config, cores: usize) -> Result<Vec<Listening>, ListenError> {
    config.listener.iter().map(|listener| bind(&listener.bind, cores)).collect()
}

fn settings(
    config: &Config,
    (room, cores): (Room, usize),
    dialects: &[&'static dyn Dialect],
    version: &str,
    doors: &Doors,
) -> Result<Settings, Failure> {
    let dialect_of = |listener: &Listener| {
        let found = dialects.iter().copied().find(|dialect| dialect.name() == listener.dialect);
        found.ok_or_else(|| Failure::Dialect(listener.dialect.clone()))
    };
    Ok(Settings {
        limits: Limits { connections_max: room.connections_max, ..config.limits.clone() },
        dialects: config.listener.iter().map(dialect_of).collect::<Result<_, _>>()?,
        sys_interval_s: config.sys.interval_s,
        version: format!("RingMQ version {version}"),
        notice_level: notice_level(config.log.level),
        durabilities: config.listener.iter().map(|listener| config.durability_of(listener)).collect(),
        durability_shown: durability_shown(config),
        doorkeeper: Some(Arc::new(doors.clone())),
        listener_names: config.listener.iter().map(|listener| listener.bind.to_string().into()).collect(),
        journal_is_on: config.stores(),
        offers: offers(config, config.devices.device_rates()),
        gateway_offers: offers(config, config.devices.gateway_device_rates()),
        hub: config.devices.hub_terms(cores),
        gateway_children_max: stdx::widen(config.devices.gateway_children_max),
        certificate_terms_count: config.devices.certificate_terms_count,
        package_bytes_max: config.devices.package_bytes_share(cores),
        chance: Some(founding::draw),
        ..Settings::default()
    })
}

/// The durabilities of all listeners, each once.
fn durability_shown(config: &Config) -> String {
    let mut names: Vec<&str> =
        config.listener.iter().map(|listener| name_of(config.durability_of(listener))).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn notice_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn | LogLevel::Error => Level::Warn,
    }
}

fn report_room(config: &Config, room: Room) {
    let Room { files_max, connections_max } = room;
    let asked = config.limits.connections_max;
    if connections_max == asked {
        return;
    }
    let text = format!(
        "at most {connections_max} connections, not {asked}: the process may open {files_max} files (`ulimit -n`, \
         LimitNOFILE= in a systemd unit)"
    );
    // Nobody who kept the default has asked for a million connections in particular.
    if asked == Limits::default().connections_max { info!("{text}") } else { warn!("{text}") }
}

fn ready_line(version: &str, config: &Config, bound: &[Listening], cores: usize) -> String {
    let addresses = config.listener.iter().zip(bound);
    let addresses: Vec<String> = addresses
        .map(|(listener, listening)| {
            let durability = name_of(config.durability_of(listener));
            let path = if listener.protocol.has_websocket() { listener.websocket_path.as_str() } else { "" };
            format!("{} {}{path} {durability}", listener.protocol.name(), listening.address)
        })
        .collect();
    let plural = if cores == 1 { "" } else { "s" };
    let data =
        if config.stores() { format!(", data in {}", config.store.dir.display()) } else { String::new() };
    format!("ringmq {version} ready: {} ({cores} core{plural}{data})", addresses.join(", "))
}

fn random_seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}
