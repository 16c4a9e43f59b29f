//! The store thread's loop: gather, flush, answer.
//!
//! Why it flushes at once when somebody waits: a flush takes its time however little it carries, and what arrives meanwhile
//! rides with the next one. So batches grow with the load by themselves, and an acknowledgement waits for two flushes at
//! most.
//!
//! Invariants:
//! - Everything is committed in the order in which it arrived.
//! - A flush that found no space keeps everything for the next attempt; any other failure ends the thread and all cores.
//! - When all cores have ended, the thread ends after a last flush.

use std::io;
use std::time::{Duration, Instant};

use broker::{CoreId, StoreHealth};
use flume::RecvTimeoutError;
use store::{Engine, Fault, FaultKind, Flushed, Keeper};
use tracing::{info, warn};

use super::figures::Flush;
use super::post::{Errand, Office, Postman};
use super::space::Space;

/// How often a disk without space is looked at.
const RETRY_SPAN: Duration = Duration::from_millis(200);
/// How long to wait for news when nothing is due.
const IDLE_SPAN: Duration = Duration::from_secs(3600);
/// A flush that takes longer is worth a line.
const SLOW_SPAN: Duration = Duration::from_secs(1);
/// Errands taken between two flushes.
const ERRANDS_MAX: usize = 65_536;

/// The store thread.
pub(crate) struct Scribe<E> {
    keeper: Keeper<E>,
    office: Office,
    postman: Postman,
    space: Space,
    interval: Duration,
    pending: Pending,
    /// The last attempt to flush found no space.
    is_stuck: bool,
    is_full: bool,
    /// Says of every turn at once that it is durable: the mistake that tests of power cuts must find.
    lies: bool,
}

/// Whether this process was asked to acknowledge before it syncs; only builds with debug assertions can be.
fn is_mutant() -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("RINGMQ_MUTANT").is_some_and(|mutant| mutant == "ack-before-sync")
}

/// What waits for the next flush.
#[derive(Clone, Copy, Default)]
struct Pending {
    turns: usize,
    since: Option<Instant>,
    is_urgent: bool,
}

/// Whether there are cores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cores {
    Live,
    Ended,
}

impl<E: Engine> Scribe<E> {
    /// Made on the thread that will run it.
    pub(crate) fn new(
        keeper: Keeper<E>,
        office: Office,
        space: Space,
        interval: Duration,
    ) -> Result<Self, (Office, io::Error)> {
        let postman = match Postman::new(&office) {
            Ok(postman) => postman,
            Err(failure) => return Err((office, failure)),
        };
        let pending = Pending::default();
        let (is_stuck, is_full, lies) = (false, false, is_mutant());
        Ok(Self { keeper, office, postman, space, interval, pending, is_stuck, is_full, lies })
    }

    /// Serves the cores until all have ended or the store fails.
    pub(crate) fn run(mut self) -> Result<(), Fault> {
        let outcome = self.serve();
        if outcome.is_err() {
            self.office.fail();
        }
        outcome
    }

    fn serve(&mut self) -> Result<(), Fault> {
        self.judge_space();
        loop {
            if self.gather()? == Cores::Ended {
                return self.finish();
            }
            if self.is_due() {
                // Before it, so that cores hear at once that nothing new can be kept.
                self.judge_space();
                self.flush()?;
            }
            self.judge_space();
            self.office.board().note_pending(self.keeper.pending_bytes());
            self.deliver()?;
        }
    }

    /// Takes what has arrived; waits for something if nothing is due.
    fn gather(&mut self) -> Result<Cores, Fault> {
        let errands = self.office.errands().clone();
        match errands.recv_timeout(self.patience()) {
            Ok((core, errand)) => self.heed(core, errand)?,
            Err(RecvTimeoutError::Timeout) => return Ok(Cores::Live),
            Err(RecvTimeoutError::Disconnected) => return Ok(Cores::Ended),
        }
        for (core, errand) in errands.try_iter().take(ERRANDS_MAX) {
            self.heed(core, errand)?;
        }
        Ok(Cores::Live)
    }

    fn patience(&self) -> Duration {
        if self.is_full {
            return RETRY_SPAN;
        }
        match self.pending.since {
            Some(_) if self.pending.is_urgent => Duration::ZERO,
            Some(since) => self.interval.saturating_sub(since.elapsed()),
            // Something is left to be cleaned up.
            None if !self.keeper.is_idle() => self.interval,
            None => IDLE_SPAN,
        }
    }

    fn is_due(&self) -> bool {
        match self.pending.since {
            Some(since) => self.is_stuck || self.pending.is_urgent || since.elapsed() >= self.interval,
            None => !self.keeper.is_idle(),
        }
    }

    fn heed(&mut self, core: CoreId, errand: Errand) -> Result<(), Fault> {
        match errand {
            Errand::Write(written) => {
                self.pending.turns += 1;
                self.pending.is_urgent |= written.is_urgent;
                self.pending.since.get_or_insert_with(Instant::now);
                if self.lies {
                    self.postman.tell_durable(core, written.turn);
                    self.deliver()?;
                }
                self.keeper.accept(core, written);
            }
            Errand::Fetch(fetch) => {
                let fetched = self.keeper.fetch(&fetch)?;
                self.office.board().note_fetch();
                self.postman.tell_fetched(core, fetched);
            }
        }
        Ok(())
    }

    /// Makes everything durable, if there is space; else it is tried again later.
    fn flush(&mut self) -> Result<(), Fault> {
        match self.try_flush() {
            Err(fault) if fault.is_full() => {
                if !self.is_stuck {
                    warn!("{fault}");
                }
                self.is_stuck = true;
            }
            outcome => return outcome,
        }
        if !self.space.release() {
            return Ok(());
        }
        match self.try_flush() {
            Err(fault) if fault.is_full() => Ok(()),
            outcome => outcome,
        }
    }

    fn try_flush(&mut self) -> Result<(), Fault> {
        let board = self.office.board();
        let began_at = Instant::now();
        board.note_flush_began(began_at);
        let outcome = self.keeper.flush();
        let took = began_at.elapsed();
        board.note_flush_ended();
        let Flushed { turns, writes, bytes } = outcome?;
        board.note_flush(Flush { took, writes, bytes, turns: self.pending.turns });
        self.is_stuck = false;
        self.pending = Pending::default();
        turns.into_iter().for_each(|(core, turn)| self.postman.tell_durable(core, turn));
        if took >= SLOW_SPAN {
            warn!("a flush of {bytes} bytes to the disk took {} ms", took.as_millis());
        }
        Ok(())
    }

    /// Tells all cores when space gets short and when it is back.
    fn judge_space(&mut self) {
        let is_full = self.space.look() || self.is_stuck;
        if is_full == self.is_full {
            return;
        }
        self.is_full = is_full;
        self.office.board().note_full(is_full);
        if is_full {
            warn!(
                "the disk of {} is full: nothing new is kept until there is space",
                self.space.dir().display()
            );
        } else {
            info!("the disk of {} has space again", self.space.dir().display());
        }
        let health = if is_full { StoreHealth::Full } else { StoreHealth::Good };
        self.office.cores().for_each(|core| self.postman.tell_health(core, health));
    }

    fn deliver(&mut self) -> Result<(), Fault> {
        let delivered = self.postman.deliver();
        delivered.map_err(|failure| Fault::new(FaultKind::Io, format!("cores cannot be woken: {failure}")))
    }

    /// Nobody will send any more, and nobody waits for an answer.
    fn finish(&mut self) -> Result<(), Fault> {
        if self.pending.since.is_none() {
            return Ok(());
        }
        match self.keeper.flush() {
            // What was set aside may make room for what was left.
            Err(fault) if fault.is_full() && self.space.release() => self.keeper.flush(),
            outcome => outcome,
        }
        .map(drop)
    }
}
