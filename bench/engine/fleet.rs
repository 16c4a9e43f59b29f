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
use super::worker::{Outcome, Worker};
use crate::affinity;
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::number::place;
use crate::procfs::{self, Usage};
use crate::progress::Progress;

const TICK_NS: u64 = 20_000_000;
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
pub(crate) struct Fleet {
    /// What the threads share.
    pub(crate) board: Arc<Board>,
    plan: Arc<Plan>,
    threads: Vec<JoinHandle<Result<Outcome, Failure>>>,
}

impl Fleet {
    /// Starts the threads of `plan`; each may dial `dial_permille` thousandths of its connections at once.
    pub(crate) fn launch(plan: Plan, dial_permille: u64) -> Result<Self, Failure> {
        affinity::allow_files(plan.topology.connections() + FILES_BESIDE)?;
        let plan = Arc::new(plan);
        let board = Arc::new(Board::new(plan.topology)?);
        board.allow_dialling(dial_permille);
        let mut fleet = Self { board, plan, threads: vec![] };
        for thread in 0..fleet.plan.topology.threads {
            let (plan, board) = (Arc::clone(&fleet.plan), Arc::clone(&fleet.board));
            let work = move || {
                if let [_, ..] = &plan.ends.processors[..] {
                    let at = place(u64::from(thread)) % plan.ends.processors.len();
                    affinity::pin(&plan.ends.processors[at..=at])?;
                }
                affinity::wake_exactly();
                Worker::new(plan, board, thread)?.run()
            };
            let spawned = std::thread::Builder::new().name(format!("load-{thread}")).spawn(work);
            fleet.threads.push(spawned.map_err(|source| Failure::os("starting a thread", source))?);
        }
        Ok(fleet)
    }

    /// Waits until `wanted` clients are ready, or, with tolerance, have tried.
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
            if ready >= wanted || (tolerance == Tolerance::Some && ready + departed >= wanted) {
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
            self.tick()?;
        }
    }

    /// Waits for `ns`, or until `finished` says so.
    pub(crate) fn pause(
        &mut self,
        ns: u64,
        progress: &Progress,
        finished: impl Fn(&Board) -> bool,
    ) -> Result<(), Failure> {
        let deadline_ns = now_ns().saturating_add(ns);
        let mut before = (now_ns(), self.board.total(|counters| &counters.received));
        while now_ns() < deadline_ns && !finished(&self.board) {
            self.tick()?;
            let (at_ns, received) = (now_ns(), self.board.total(|counters| &counters.received));
            let elapsed_ns = at_ns - before.0;
            if elapsed_ns > 500_000_000 {
                let rate = u128::from(received - before.1) * 1_000_000_000 / u128::from(elapsed_ns);
                progress.show(|| format!("{rate} messages/s, {received} received"));
                before = (at_ns, received);
            }
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

    /// Ends the run and collects what the threads bring home.
    pub(crate) fn stop(mut self) -> Result<Vec<Outcome>, Failure> {
        self.board.enter(Phase::Stop);
        std::mem::take(&mut self.threads).into_iter().map(join).collect()
    }

    fn tick(&mut self) -> Result<(), Failure> {
        std::thread::park_timeout(Duration::from_nanos(TICK_NS));
        // Nobody was told to stop, so a thread that has ended has failed.
        let Some(ended) = self.threads.iter().position(JoinHandle::is_finished) else { return Ok(()) };
        join(self.threads.swap_remove(ended)).map(drop)
    }
}

fn join(thread: JoinHandle<Result<Outcome, Failure>>) -> Result<Outcome, Failure> {
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

impl Drop for Fleet {
    fn drop(&mut self) {
        self.board.enter(Phase::Stop);
        for thread in self.threads.drain(..) {
            // The run is ending with a failure of its own; a second one adds nothing.
            let _outcome = thread.join();
        }
    }
}
