//! The store thread's loop: gather, flush, answer.
//!
//! Why it lingers before a flush, for a part of the time that a flush takes: a message to a client that is connected is
//! mostly acknowledged by then, and of what has come and gone nothing is left to be written. Its publisher is answered
//! without the disk. What stays waits for one flush more, together with all that arrived meanwhile; so batches grow with
//! the load by themselves.
//!
//! Invariants:
//! - Somebody who waits waits for the flush that runs, the linger and a flush, at most.
//! - Everything is committed in the order in which it arrived.
//! - A flush that found no space keeps everything for the next attempt; any other failure ends the thread and all cores.
//! - When all cores have ended, the thread ends after a last flush.

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use broker::StoreHealth;
use flume::RecvTimeoutError;
use store::{Engine, Fault, FaultKind, Flushed, Keeper, Settled};
use tracing::{info, warn};

use super::bystanders::Bystanders;
use super::figures::Flush;
use super::post::{Errand, Office, Postman};
use super::rounds::Rounds;
use super::space::Space;
use crate::clock::Clock;

/// How often a disk without space is looked at.
const RETRY_SPAN: Duration = Duration::from_millis(200);
/// How long to wait for news when nothing is due.
const IDLE_SPAN: Duration = Duration::from_secs(3600);
/// The longest linger.
const LINGER_MAX: Duration = Duration::from_millis(5);
/// How long errands gather at most, and the least that is worth a sleep.
const GATHER_MAX: Duration = Duration::from_micros(200);
const GATHER_MIN: Duration = Duration::from_micros(50);
/// A flush that takes longer is worth a line.
const SLOW_SPAN: Duration = Duration::from_secs(1);
/// Errands taken between two flushes.
const ERRANDS_MAX: usize = 65_536;

/// The store thread.
pub(crate) struct Scribe<E> {
    keeper: Keeper<E>,
    office: Office,
    postman: Postman,
    /// Those who wait and are no core.
    bystanders: Bystanders,
    space: Space,
    interval: Duration,
    /// How long a flush takes, on the average of the last ones.
    flush_span: Duration,
    /// When each turn arrived that nothing was told of yet.
    arrivals: VecDeque<Instant>,
    /// When points that are too old are looked for.
    rounds: Rounds,
    clock: Clock,
    /// When the last attempt to flush found no space, if it did.
    stuck_at: Option<Instant>,
    is_full: bool,
    /// Says of every turn at once that it is durable: the mistake that tests of power cuts must find.
    lies: bool,
}

/// Whether this process was asked to acknowledge before it syncs; only builds with debug assertions can be.
fn is_mutant() -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("RINGMQ_MUTANT").is_some_and(|mutant| mutant == "ack-before-sync")
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
        let arrivals = VecDeque::new();
        let (stuck_at, is_full, lies) = (None, false, is_mutant());
        let (flush_span, bystanders) = (Duration::ZERO, Bystanders::default());
        let (rounds, clock) = (Rounds::default(), Clock::start());
        Ok(Self {
            keeper,
            office,
            postman,
            bystanders,
            space,
            interval,
            flush_span,
            arrivals,
            rounds,
            clock,
            stuck_at,
            is_full,
            lies,
        })
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
            self.settle();
            self.expire();
            if self.time_left() == Some(Duration::ZERO) {
                // What is known now is told before the flush, which may take its time.
                self.judge_space();
                self.deliver()?;
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
        let errand = match errands.recv_timeout(self.patience()) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Ok(Cores::Live),
            Err(RecvTimeoutError::Disconnected) => return Ok(Cores::Ended),
        };
        self.gather_more();
        let now = Instant::now();
        self.heed(now, errand)?;
        for errand in errands.try_iter().take(ERRANDS_MAX) {
            self.heed(now, errand)?;
        }
        Ok(Cores::Live)
    }

    /// Lets errands gather, for a small part of what a flush takes: waking for each of them would cost the cores more than
    /// the work itself.
    fn gather_more(&self) {
        let span = (self.flush_span / 8).min(GATHER_MAX);
        if span >= GATHER_MIN {
            thread::sleep(span);
        }
    }

    /// How long to wait for an errand.
    fn patience(&self) -> Duration {
        let longest = match (self.is_full, self.keeper.can_expire()) {
            (true, _) => RETRY_SPAN,
            (false, true) => self.rounds.rest(Instant::now()),
            (false, false) => IDLE_SPAN,
        };
        self.time_left().map_or(longest, |left| left.min(longest))
    }

    /// How long what was accepted may still wait for more, or for being no longer needed; none if there is nothing.
    fn time_left(&self) -> Option<Duration> {
        if let Some(stuck_at) = self.stuck_at {
            return Some(RETRY_SPAN.saturating_sub(stuck_at.elapsed()));
        }
        match self.arrivals.front() {
            Some(since) => Some(self.linger().saturating_sub(since.elapsed())),
            // Something is left to be cleaned up.
            None if !self.keeper.is_idle() => Some(Duration::ZERO),
            None => None,
        }
    }

    fn linger(&self) -> Duration {
        if self.keeper.is_urgent() { (self.flush_span / 2).min(LINGER_MAX) } else { self.interval }
    }

    /// Has points that are too old looked for, a few now and then.
    fn expire(&mut self) {
        let now = Instant::now();
        if self.keeper.can_expire() && !self.keeper.is_expiring() && self.rounds.rest(now).is_zero() {
            self.rounds.begin(now);
            self.keeper.expire(i64::try_from(self.clock.wall().0).unwrap_or(i64::MAX));
        }
    }

    /// Tells of the turns of which nothing is left to be written.
    fn settle(&mut self) {
        let settled = self.keeper.take_settled();
        self.tell(settled);
    }

    fn tell(&mut self, Settled { turns, ticket }: Settled) {
        if let Some(ticket) = ticket {
            self.bystanders.tell(ticket);
        }
        turns.into_iter().for_each(|(core, turn)| self.postman.tell_durable(core, turn));
        let told = self.arrivals.len() - self.keeper.unsettled();
        self.arrivals.drain(..told);
        self.office.board().note_turns(told);
    }

    fn heed(&mut self, now: Instant, errand: Errand) -> Result<(), Fault> {
        match errand {
            Errand::Write(core, written, device_changes) => {
                self.arrivals.push_back(now);
                if self.lies {
                    self.postman.tell_durable(core, written.turn);
                    self.deliver()?;
                }
                self.keeper.accept(core, written, device_changes);
            }
            Errand::Keep { changes, kept } => {
                self.arrivals.push_back(now);
                self.office.board().note_keep();
                self.keeper.keep(self.bystanders.enlist(kept), changes);
            }
            Errand::Fetch(core, fetch) => {
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
                if self.stuck_at.is_none() {
                    warn!("{fault}");
                }
                self.stuck_at = Some(Instant::now());
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
        let was_expiring = self.keeper.is_expiring();
        let outcome = self.keeper.flush();
        let took = began_at.elapsed();
        board.note_flush_ended();
        let Flushed { turns, ticket, writes, bytes, expired, commands } = outcome?;
        self.stuck_at = None;
        if was_expiring && !self.keeper.is_expiring() {
            self.rounds.end(began_at + took, took, self.keeper.is_between_rounds());
        }
        if writes > 0 {
            board.note_flush(Flush { took, writes, bytes, expired, commands });
            self.flush_span = (self.flush_span * 7 + took) / 8;
        }
        self.tell(Settled { turns, ticket });
        if took >= SLOW_SPAN {
            warn!("a flush of {bytes} bytes to the disk took {} ms", took.as_millis());
        }
        Ok(())
    }

    /// Tells all cores when space gets short and when it is back.
    fn judge_space(&mut self) {
        let is_full = self.space.look() || self.stuck_at.is_some();
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
        match self.keeper.flush() {
            // What was set aside may make room for what was left.
            Err(fault) if fault.is_full() && self.space.release() => self.keeper.flush(),
            outcome => outcome,
        }
        .map(drop)
    }
}
