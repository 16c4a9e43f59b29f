//! The broker as a process: checks, sockets, cores, readiness, the end.
//!
//! Why in this order: whatever can fail for a reason that the user can mend fails before the first connection is
//! accepted, with one line and its own exit code.
//!
//! Invariants:
//! - `announce` is called once, when every core accepts connections.

use std::sync::Arc;

use broker::{Level, Limits};
use device::Dialect;
use sd_notify::NotifyState;
use shard::{Settings, Setup, Shard};
use stdx::Span;
use thiserror::Error;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Config, Listener, LogLevel, Protocol};
use crate::cores::{CoresError, allowed_cpus};
use crate::kernel::{self, KernelError};
use crate::launch::{LaunchError, Plan, launch};
use crate::listen::{ListenError, Listening, listen};
use crate::mesh::Inquiry;
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
}

impl Failure {
    /// The process's exit code: 2 for what the user can set right, 3 for what the kernel lacks.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Cores(_)
            | Failure::Listen(_)
            | Failure::Rights(_)
            | Failure::Dialect(_)
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
    let settings = Arc::new(settings(config, room, dialects, version)?);
    let bound: Vec<Listening> =
        config.listener.iter().map(|listener| listen(listener.bind, cpus.len())).collect::<Result<_, _>>()?;
    let ready_line = ready_line(version, &config.listener, &bound, cpus.len());
    let clock = Clock::start();
    let cores = u16::try_from(cpus.len()).expect("the choice of cores has at most CORES_MAX");
    let seed = random_seed()?;
    let plan = Plan {
        cpus,
        listeners: bound.into_iter().map(|listening| listening.sockets).collect(),
        clock,
        depth: Depth::default(),
        spin_rounds: config.server.spin_rounds,
        shutdown_grace: Span::from_s(config.server.shutdown_grace_s.into()),
    };
    let running = launch(plan, move |core, now| {
        // Each core has its own seed, or two of them would give the same names to clients without one.
        let seed = seed.wrapping_add(u64::from(core.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Shard::new(Setup { core, cores, seed, settings: settings.clone(), wall: clock.wall() }, now)
    })?;
    signals::heed(running.stopper())?;
    let announced = announce(Started { ready_line, inquiry: running.inquiry() });
    if announced.is_err() {
        running.stopper().stop();
    }
    running.join()?;
    announced.map_err(Failure::Beside)?;
    signals::tell_supervisor(NotifyState::Ready);
    info!("all cores have ended");
    Ok(())
}

fn settings(
    config: &Config,
    room: Room,
    dialects: &[&'static dyn Dialect],
    version: &str,
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
        ..Settings::default()
    })
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

fn ready_line(version: &str, listeners: &[Listener], bound: &[Listening], cores: usize) -> String {
    let spoken = |listener: &Listener| match listener.protocol {
        Protocol::Mqtt => "mqtt",
    };
    let addresses = listeners.iter().zip(bound);
    let addresses: Vec<String> = addresses
        .map(|(listener, listening)| format!("{} {}", spoken(listener), listening.address))
        .collect();
    let plural = if cores == 1 { "" } else { "s" };
    format!("ringmq {version} ready: {} ({cores} core{plural})", addresses.join(", "))
}

fn random_seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}
