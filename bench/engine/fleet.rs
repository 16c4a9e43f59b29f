//! The threads of a run and the one that watches them.
//!
//! Why the watcher only waits and reads: it shares a processor with the generator and must not disturb it.
//!
//! Invariants:
//! - However a run ends, all threads have ended before the caller goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use super::board::{Board, Phase};
use super::plan::Plan;
use super::recorder::Recorder;
use super::worker::{Outcome, Worker};
use crate::affinity;
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::interrupt::is_interrupted;
use crate::number::place;
use crate::procfs::{self, Usage};
use crate::progress::Progress;
use crate::sheet::Second;

const TICK_NS: u64 = 20_000_000;
/// A broker that does not close after a goodbye is not waited for any longer.
const GOODBYE_NS_MAX: u64 = 5_000_000_000;
/// Files that the process holds beside its connections.
const FILES_BESIDE: u64 = 64;

/// What the counters and the kernel said at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When, in nanoseconds of the monotonic clock.
    pub(crate) at_ns: u64,
    /// Messages sent so far.
    pub(crate) sent: u64,
    /// Messages received so far.
    pub(crate) received: u64,
    /// The broker, when it is watched.
    pub(crate) broker: Option<Usage>,
    /// The generator's threads.
    pub(crate) threads: Vec<Usage>,
}

/// A running load.
#[derive(Debug)]
pub(crate) struct Fleet<T = Outcome> {
    /// What the threads share.
    pub(crate) board: Arc<Board>,
    plan: Arc<Plan>,
    threads: Vec<JoinHandle<Result<T, Failure>>>,
    recorder: Option<Recorder>,
}

impl Fleet {
    /// Starts the threads of `plan`; each may dial `dial_permille` thousandths of its connections at once.
    pub(crate) fn launch(plan: Plan, dial_permille: u64) -> Result<Self, Failure> {
        Self::launch_with(plan, dial_permille, |plan, board, thread| Worker::new(plan, board, thread)?.run())
    }
}

impl<T: Send + 'static> Fleet<T> {
    /// The same for threads that do something else.
    pub(crate) fn launch_with(
        plan: Plan,
        dial_permille: u64,
        work: impl Fn(Arc<Plan>, Arc<Board>, u32) -> Result<T, Failure> + Clone + Send + 'static,
    ) -> Result<Self, Failure> {
        affinity::allow_files(plan.topology.connections() + FILES_BESIDE)?;
        let plan = Arc::new(plan);
        let board = Arc::new(Board::new(&plan)?);
        board.allow_dialling(dial_permille);
        let mut fleet = Self { board, plan, threads: vec![], recorder: None };
        for thread in 0..fleet.plan.topology.threads {
            let (plan, board) = (Arc::clone(&fleet.plan), Arc::clone(&fleet.board));
            let work = work.clone();
            let pinned = move || {
                if let [_, ..] = &plan.ends.processors[..] {
                    let at = place(u64::from(thread)) % plan.ends.processors.len();
                    affinity::pin(&plan.ends.processors[at..=at])?;
                }
                affinity::wake_exactly();
                work(plan, board, thread)
            };
            let spawned = std::thread::Builder::new().name(format!("load-{thread}")).spawn(pinned);
            fleet.threads.push(spawned.map_err(|source| Failure::os("starting a thread", source))?);
        }
        Ok(fleet)
    }

    /// Records every second from now on; what was recorded before is forgotten. Times count from `origin_ns`.
    pub(crate) fn record(&mut self, origin_ns: u64) {
        self.recorder = Some(Recorder::new(&self.board, self.plan.broker_pid, origin_ns, now_ns()));
    }

    /// What was recorded, and the end of recording.
    pub(crate) fn series(&mut self) -> Vec<Second> {
        self.recorder.take().map(Recorder::into_series).unwrap_or_default()
    }

    /// Waits until `wanted` clients are ready, or, with tolerance, have tried; an interrupt ends the waiting too.
    pub(crate) fn await_ready(
        &mut self,
        wanted: u64,
        tolerance: Tolerance,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let deadline_ns = now_ns() + self.plan.patience_s * 1_000_000_000;
        loop {
            let ready = self.board.total(|counters| &counters.ready);
            let departed = self.board.total(|counters| &counters.departed);
            if ready >= wanted
                || is_interrupted()
                || (tolerance == Tolerance::Some && ready + departed >= wanted)
            {
                return Ok(());
            }
            if departed > 0
                && tolerance == Tolerance::None
                && let Some((client, cause)) = self.board.troubles().into_iter().next()
            {
                return Err(Failure::Client { client, cause });
            }
            if now_ns() > deadline_ns {
                return Err(Failure::Slow { ready, wanted, waited_s: self.plan.patience_s });
            }
            progress.show(|| format!("{ready} of {wanted} clients are ready"));
            self.tick(progress)?;
        }
    }

    /// Waits for `ns`, or until `finished` says so, or for an interrupt.
    pub(crate) fn pause(
        &mut self,
        ns: u64,
        progress: &Progress,
        finished: impl Fn(&Board) -> bool,
    ) -> Result<(), Failure> {
        self.rest(ns, progress, |board| finished(board) || is_interrupted())
    }

    /// The same, but an interrupt changes nothing: what has been sent is still waited for.
    pub(crate) fn rest(
        &mut self,
        ns: u64,
        progress: &Progress,
        finished: impl Fn(&Board) -> bool,
    ) -> Result<(), Failure> {
        let deadline_ns = now_ns().saturating_add(ns);
        while now_ns() < deadline_ns && !finished(&self.board) {
            self.tick(progress)?;
        }
        Ok(())
    }

    /// Reads all counters.
    pub(crate) fn sample(&self) -> Result<Sample, Failure> {
        Ok(Sample {
            at_ns: now_ns(),
            sent: self.board.total(|counters| &counters.sent),
            received: self.board.total(|counters| &counters.received),
            broker: self.plan.broker_pid.map(procfs::process_usage).transpose()?,
            threads: self
                .board
                .counters
                .iter()
                .map(|counters| procfs::thread_usage(counters.thread_id.load(Relaxed)))
                .collect(),
        })
    }

    /// Lets all clients say goodbye and waits until the broker has closed their connections.
    pub(crate) fn leave(&mut self, progress: &Progress) -> Result<(), Failure> {
        self.board.enter(Phase::Leave);
        self.rest(GOODBYE_NS_MAX, progress, Board::has_left)
    }

    /// Ends the run and collects what the threads bring home.
    pub(crate) fn stop(mut self) -> Result<Vec<T>, Failure> {
        self.board.enter(Phase::Stop);
        std::mem::take(&mut self.threads).into_iter().map(join).collect()
    }

    fn tick(&mut self, progress: &Progress) -> Result<(), Failure> {
        std::thread::park_timeout(Duration::from_nanos(TICK_NS));
        if let Some(second) = self.recorder.as_mut().and_then(|recorder| recorder.tick(&self.board, now_ns()))
        {
            progress.show(|| line(second));
        }
        // Nobody was told to stop, so a thread that has ended has failed.
        let Some(ended) = self.threads.iter().position(JoinHandle::is_finished) else { return Ok(()) };
        join(self.threads.swap_remove(ended)).map(drop)
    }
}

/// The live line.
fn line(second: &Second) -> String {
    let Second { t_s, sent_per_s, received_per_s, connects_per_s, p50_us, p99_us, p999_us, .. } = second;
    let mut line = format!("{t_s:.0} s: {sent_per_s:.0} sent/s, {received_per_s:.0} received/s");
    if *connects_per_s > 0.0 {
        line += &format!(", {connects_per_s:.0} connects/s");
    }
    if *p999_us > 0.0 {
        line += &format!(", p50 {p50_us:.0} us, p99 {p99_us:.0} us, p99.9 {p999_us:.0} us");
    }
    if let Some(cores) = second.broker_cores {
        line += &format!(", broker {:.0} % of a core", cores * 100.0);
    }
    line
}

fn join<T>(thread: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How many clients may fail to get ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tolerance {
    /// None: the load would not be the one asked for.
    None,
    /// Some: the run is about how many there can be.
    Some,
}

impl<T> Drop for Fleet<T> {
    fn drop(&mut self) {
        self.board.enter(Phase::Stop);
        for thread in self.threads.drain(..) {
            // The run is ending with a failure of its own; a second one adds nothing.
            let _outcome = thread.join();
        }
    }
}
