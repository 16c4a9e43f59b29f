//! The store beside the rig: the broker's own record logic over an engine in memory that forgets what was not synced.
//!
//! Why the broker's own logic here, when nothing else is shared: what a power cut takes away is decided below it, by the
//! engine, and what comes back is judged by models that know nothing of records.
//!
//! Invariants:
//! - Answers of one core keep their order, and come as late as the dice like.

use std::collections::VecDeque;

use broker::{Change, CoreId, Fetched, Limits, Written};
use stdx::{Instant, WallMs};
use store::{Anchor, Heads, Keeper, MemoryEngine};

use crate::power::Fraud;

/// The wall clock at the beginning of time.
const WALL_MS: u64 = 1_700_000_000_000;

/// A store and its answers on their way.
pub(crate) struct Disk {
    keeper: Keeper<MemoryEngine>,
    durable: Vec<Option<u64>>,
    fetched: Vec<VecDeque<Fetched>>,
    fraud: Option<Fraud>,
    is_dark: bool,
}

/// The wall clock at `now`.
pub(crate) fn wall(now: Instant) -> WallMs {
    WallMs(WALL_MS + now.since(Instant::START).ms())
}

impl Disk {
    /// A store on what an earlier one left, for so many cores; calls `visit` with what it remembers.
    pub fn open(
        now: Instant,
        cores: usize,
        limits: &Limits,
        engine: MemoryEngine,
        visit: &mut dyn FnMut(Change),
    ) -> Self {
        let mut keeper = Keeper::new(engine, Anchor { at: now, wall: wall(now) });
        let heads = Heads {
            messages_max: limits.queue_memory_messages.into(),
            bytes_max: limits.queue_memory_bytes.into(),
        };
        keeper.recover(heads, visit, &mut drop, &mut |_| {}).expect("what was written can be read");
        Self {
            keeper,
            durable: vec![None; cores],
            fetched: vec![VecDeque::new(); cores],
            fraud: None,
            is_dark: false,
        }
    }

    /// What it does wrong from now on.
    pub fn commit_fraud(&mut self, fraud: Option<Fraud>) {
        self.fraud = fraud;
    }

    /// Takes over what a core wants written, then answers what it wants read.
    pub fn take(&mut self, core: usize, written: Option<Written>, fetches: &[broker::Fetch]) {
        if let Some(mut written) = written {
            let is_early = match self.fraud {
                Some(Fraud::AnswerBeforeSync) => true,
                Some(Fraud::KeptTooEarly) => core > 0,
                _no_fraud_of_time => false,
            };
            if is_early {
                self.durable[core] = Some(written.turn);
            }
            written.changes.retain(|change| !is_forgotten(self.fraud, change));
            self.keeper.accept(id(core), written, Vec::new());
            for (core, turn) in self.keeper.take_settled().turns {
                self.durable[core.index()] = Some(turn);
            }
        }
        for fetch in fetches {
            let mut fetched = self.keeper.fetch(fetch).expect("what was written can be read");
            if self.fraud == Some(Fraud::FetchBackwards) {
                let (seqs, mut copies): (Vec<u64>, Vec<_>) = fetched.messages.into_iter().unzip();
                copies.reverse();
                fetched.messages = seqs.into_iter().zip(copies).collect();
            }
            self.fetched[core].push_back(fetched);
        }
    }

    /// Commits and syncs everything; false if the power failed on the way or there was no space.
    pub fn flush(&mut self) -> bool {
        let flushed = match self.keeper.flush() {
            Ok(flushed) => flushed,
            Err(fault) => {
                self.is_dark |= !fault.is_full();
                return false;
            }
        };
        for (core, turn) in flushed.turns {
            self.durable[core.index()] = Some(turn);
        }
        true
    }

    /// Whether the power was found to be off.
    pub fn is_dark(&self) -> bool {
        self.is_dark
    }

    /// Whether a flush would have nothing to do.
    pub fn is_idle(&self) -> bool {
        self.keeper.is_idle()
    }

    /// Writes and syncs until now.
    pub fn steps(&self) -> u64 {
        self.keeper.engine().steps()
    }

    /// The turn that is durable since this core was last told.
    pub fn take_durable(&mut self, core: usize) -> Option<u64> {
        self.durable[core].take()
    }

    /// Whether a core can be told that something is durable.
    pub fn has_durable(&self, core: usize) -> bool {
        self.durable[core].is_some()
    }

    /// The oldest answer on its way to a core.
    pub fn take_fetched(&mut self, core: usize) -> Option<Fetched> {
        self.fetched[core].pop_front()
    }

    /// Whether an answer is on its way to a core.
    pub fn has_fetched(&self, core: usize) -> bool {
        !self.fetched[core].is_empty()
    }

    /// What is left of it: what was synced, and what else was written.
    pub fn into_engine(self) -> MemoryEngine {
        self.keeper.into_engine()
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("steps", &self.steps()).finish_non_exhaustive()
    }
}

fn is_forgotten(fraud: Option<Fraud>, change: &Change) -> bool {
    matches!(
        (fraud, change),
        (Some(Fraud::ForgetSettled), Change::Settled { .. })
            | (Some(Fraud::ForgetReceived), Change::Received { .. })
            | (Some(Fraud::ForgetHandled), Change::Handled { .. })
            | (Some(Fraud::ForgetReleased), Change::Released { .. })
    )
}

fn id(core: usize) -> CoreId {
    CoreId::new(u16::try_from(core).expect("a few cores"))
}
