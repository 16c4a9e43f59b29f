//! Starting and stopping the cores.
//!
//! Why glommio: it pins each executor to its processor, parks it, and will run what else a core must do beside its
//! sockets. The driver is one task in it.
//!
//! Why restoring happens in here: what was kept belongs to minds that live on their own threads, and none of them may
//! accept a connection before all have what is theirs.
//!
//! Invariants:
//! - `launch` returns when every core is ready to accept connections, or with the first failure and no core left running.
//! - Mind and ring are made on the thread that will use them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use broker::CoreId;
use flume::{Receiver, Sender};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use platform::Platform;
use stdx::{Instant, Span};
use store::Fault;
use thiserror::Error;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::control::Control;
use crate::doors::{self, DoorEnd};
use crate::driver::{self, Doors, Driver, Equipment, Habits};
use crate::journal::{JournalEnd, Office, open_office};
use crate::mesh::{self, Inquiry, MeshEnd};
use crate::mind::Mind;
use crate::restore::{self, Homes, Piece};
use crate::ring::{Depth, Ring};

/// Bytes that glommio registers per executor for file I/O, of which there is none on a core.
const GLOMMIO_MEMORY_BYTES: usize = 1 << 20;
/// Entries of glommio's own rings.
const GLOMMIO_RING_DEPTH: usize = 1024;

/// What the cores are started with.
#[derive(Debug)]
pub struct Plan {
    /// The processors, one core each.
    pub cpus: Vec<u16>,
    /// For each listener of the configuration one socket per core.
    pub listeners: Vec<Vec<OwnedFd>>,
    /// The process's clock.
    pub clock: Clock,
    /// How large each core's ring is.
    pub depth: Depth,
    /// Empty turns before a core sleeps.
    pub spin_rounds: u32,
    /// Microseconds for which what arrives may gather while much does; 0 is never.
    pub gather_us: u32,
    /// Receives per second of a core from which on.
    pub gather_from: u32,
    /// How long the graceful end may take.
    pub shutdown_grace: Span,
    /// Whether cores hand what must be kept to a store.
    pub stores: bool,
    /// Who answers what cores ask about clients; nobody without.
    pub doors: Option<doors::Doors>,
    /// Where devices are, if there are any: it gets back what was kept of the registry, and its way to the store.
    pub platform: Option<Platform>,
}

/// Why the cores do not run.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The executor of a core could not be started.
    #[error("cannot start a core on processor {cpu}: {reason}")]
    Executor {
        /// The processor.
        cpu: u16,
        /// What glommio says.
        reason: String,
    },
    /// The kernel refused a ring.
    #[error("cannot set up the io_uring of a core: {0}")]
    Ring(#[from] io::Error),
    /// What was kept could not be read.
    #[error(transparent)]
    Restore(#[from] Fault),
}

/// Cores that run.
pub struct Running {
    handles: Vec<ExecutorJoinHandle<io::Result<()>>>,
    stopper: Stopper,
    inquiry: Inquiry,
    office: Option<Office>,
}

/// Stops cores from another thread.
#[derive(Clone)]
pub struct Stopper {
    control: Arc<Control>,
    bells: Arc<[Bell]>,
}

impl Stopper {
    /// Asks all cores for the graceful end. May be called again; it changes nothing then.
    pub fn stop(&self) {
        self.control.stop();
        self.bells.iter().for_each(Bell::sound_alarm);
    }

    /// Ends all cores at once: something that all of them need has failed.
    pub(crate) fn fail(&self) {
        self.control.fail();
        self.stop();
    }

    fn open(&self) {
        self.control.open();
        self.bells.iter().for_each(Bell::sound_alarm);
    }
}

impl Running {
    /// Lets all cores accept connections.
    pub fn open(&self) {
        self.stopper.open();
    }

    /// What the store thread needs to serve these cores, once, if the plan asked for it.
    pub(crate) fn take_office(&mut self) -> Option<Office> {
        self.office.take()
    }

    /// A handle to stop the cores with.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// A handle to ask the cores with.
    #[must_use]
    pub fn inquiry(&self) -> Inquiry {
        self.inquiry.clone()
    }

    /// Waits until all cores have ended. An error means that the kernel refused a ring in between.
    pub fn join(self) -> Result<(), LaunchError> {
        let outcomes: Vec<_> = self.handles.into_iter().map(ExecutorJoinHandle::join).collect();
        for outcome in outcomes {
            outcome.map_err(|failure| LaunchError::Ring(io::Error::other(failure.to_string())))??;
        }
        Ok(())
    }
}

/// Starts one core per processor of the plan; `make_mind` makes the mind of each, on its own thread, and `restore` gives
/// them what was kept. No connection is accepted before [`Running::open`].
pub fn launch<M, F, R>(plan: Plan, restore: R, make_mind: F) -> Result<Running, LaunchError>
where
    M: Mind,
    F: Fn(CoreId, Instant) -> M + Clone + Send + 'static,
    R: FnOnce(&mut Homes) -> Result<(), Fault>,
{
    let bells = mesh::bells(plan.cpus.len())?;
    let control = Arc::new(Control::new(plan.cpus.len()));
    let stopper = Stopper { control, bells: bells.clone() };
    let (informed, all_informed) = flume::bounded(plan.cpus.len());
    let ends = mesh::weave(&bells);
    let (journal_ends, mut office) = open_office(&bells, &stopper, plan.stores);
    if let (Some(platform), Some(office)) = (&plan.platform, &mut office) {
        office.serve_platform(platform);
    }
    let platform = plan.platform.clone();
    let (mut homes, mut pieces) = Homes::new(plan.cpus.len(), plan.platform);
    let mut running =
        Running { handles: Vec::new(), stopper: stopper.clone(), inquiry: mesh::inquiry(&ends), office };
    if let Some(platform) = &platform {
        platform.attach_cores(Box::new(running.inquiry()));
    }
    let mut journal_ends = journal_ends.into_iter();
    let mut door_ends = plan.doors.map(|doors| doors.ends(&bells)).unwrap_or_default().into_iter();
    let habits = Habits {
        spin_rounds: plan.spin_rounds,
        gather_us: plan.gather_us,
        gather_from: plan.gather_from,
        shutdown_grace: plan.shutdown_grace,
    };
    for (end, doors, cpu) in seats(ends, plan.listeners, &plan.cpus) {
        let seat = Seat {
            journal: journal_ends.next().flatten(),
            door: door_ends.next(),
            platform: platform.clone(),
            pieces: pieces.next().expect("one receiver per core was made"),
            end,
            doors,
            stopper: stopper.clone(),
            clock: plan.clock,
            depth: plan.depth,
            habits,
            informed: informed.clone(),
        };
        let make_mind = make_mind.clone();
        let handle = executor(cpu).spawn(move || seat.run(make_mind));
        match handle {
            Ok(handle) => running.handles.push(handle),
            Err(failure) => return Err(running.abandon(homes, cpu, &failure.to_string())),
        }
    }
    drop(informed);
    if let Err(fault) = restore(&mut homes) {
        return Err(running.abandon_restoring(homes, fault));
    }
    homes.finish();
    let all_ready = all_informed.iter().take(plan.cpus.len()).count() == plan.cpus.len();
    if all_ready { Ok(running) } else { Err(running.abandon_failed()) }
}

impl Running {
    fn abandon(self, homes: Homes, cpu: u16, reason: &str) -> LaunchError {
        drop(homes);
        self.stopper.stop();
        let reason = reason.to_owned();
        // The cores that had started end at once; the failure to start is the one to tell.
        let _ = self.join();
        LaunchError::Executor { cpu, reason }
    }

    fn abandon_restoring(self, homes: Homes, fault: Fault) -> LaunchError {
        drop(homes);
        self.stopper.stop();
        match self.join() {
            // A core that has failed is why the others got nothing.
            Err(failure) => failure,
            Ok(()) => LaunchError::Restore(fault),
        }
    }

    fn abandon_failed(self) -> LaunchError {
        self.stopper.stop();
        match self.join() {
            Err(failure) => failure,
            Ok(()) => LaunchError::Ring(io::Error::other("a core ended before it was ready")),
        }
    }
}

/// Everything that goes to the thread of one core.
struct Seat {
    journal: Option<JournalEnd>,
    door: Option<DoorEnd>,
    platform: Option<Platform>,
    pieces: Receiver<Piece>,
    end: MeshEnd,
    doors: Doors,
    stopper: Stopper,
    clock: Clock,
    depth: Depth,
    habits: Habits,
    informed: Sender<()>,
}

impl Seat {
    async fn run<M: Mind>(self, make_mind: impl FnOnce(CoreId, Instant) -> M) -> io::Result<()> {
        let stopper = self.stopper.clone();
        let outcome = self.drive(make_mind).await;
        if outcome.is_err() {
            stopper.control.fail();
            stopper.stop();
        }
        outcome
    }

    async fn drive<M: Mind>(self, make_mind: impl FnOnce(CoreId, Instant) -> M) -> io::Result<()> {
        let Seat { journal, door, platform, pieces, end, doors, stopper, clock, depth, habits, informed } =
            self;
        let ring = Ring::new(depth)?;
        let mut mind = make_mind(end.core(), clock.now());
        if !restore::take_home(&mut mind, &pieces, clock) {
            return Ok(());
        }
        drop(pieces);
        let control = stopper.control;
        let equipment =
            Equipment { ring, mesh: end, doors, control, journal, door, platform, informed, clock, habits };
        driver::run(Driver::new(mind, equipment)).await
    }
}

/// One mesh end, one set of doors and one processor per core.
fn seats(ends: Vec<MeshEnd>, listeners: Vec<Vec<OwnedFd>>, cpus: &[u16]) -> Vec<(MeshEnd, Doors, u16)> {
    let mut listeners: Vec<_> = listeners.into_iter().map(Vec::into_iter).collect();
    let ends = ends.into_iter().zip(cpus);
    ends.map(|(end, cpu)| {
        let doors =
            listeners.iter_mut().map(|sockets| sockets.next().expect("one socket per core was bound"));
        (end, Doors::new(doors.collect()), *cpu)
    })
    .collect()
}

fn executor(cpu: u16) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(Placement::Fixed(usize::from(cpu)))
        .name("core")
        .io_memory(GLOMMIO_MEMORY_BYTES)
        .ring_depth(GLOMMIO_RING_DEPTH)
}
