//! The journal of one core: what this turn writes down, and what waits for that.
//!
//! Why all of it in one struct: without a store none of it is touched, and the warm path passes one pointer.
//!
//! Invariants:
//! - Without a store, nothing is written down, nobody is asked and no link is marked.

use crate::change::{Change, Fetch, Shipped};
use crate::core_id::CoreId;
use crate::gate::Gate;
use crate::session::Session;

#[derive(Debug)]
pub(crate) struct Journal {
    pub is_on: bool,
    /// The changes of this turn.
    pub changes: Vec<Change>,
    pub gate: Gate,
    /// What must be read back from disk.
    pub fetches: Vec<Fetch>,
    /// The message at hand is a repetition for those that a crash kept from having it.
    pub only: Option<Box<[Shipped]>>,
    /// What the stamp said when the message at hand came.
    pub begun: usize,
    /// What this turn writes down beside `changes`: pieces, and bytes, roughly.
    pub beside: usize,
    pub beside_bytes: usize,
}

impl Journal {
    /// An empty journal whose first turn is the one behind `turn`.
    pub fn new(is_on: bool, turn: u64) -> Self {
        Self {
            is_on,
            changes: Vec::new(),
            gate: Gate::new(turn),
            fetches: Vec::new(),
            only: None,
            begun: 0,
            beside: 0,
            beside_bytes: 0,
        }
    }

    /// Compared with a later stamp, this says whether anything was written down or asked of another core in between.
    #[inline]
    pub fn stamp(&self) -> usize {
        self.written() + self.gate.asking()
    }

    /// How much this turn has written down so far.
    #[inline]
    pub fn written(&self) -> usize {
        self.changes.len() + self.beside
    }

    /// Something is written down beside `changes`.
    pub fn note_beside(&mut self, pieces: usize, cost_bytes: usize) {
        self.beside += pieces;
        self.beside_bytes += cost_bytes;
    }

    /// A QoS 1 or 2 message came.
    pub fn begin(&mut self) {
        if self.is_on {
            self.begun = self.stamp();
            self.gate.take_shipped();
        }
    }

    /// Whether the message at hand is for this session: a repetition is only for those that a crash kept from having it.
    #[inline]
    pub fn is_for(&self, session: &Session) -> bool {
        self.only.as_deref().is_none_or(|only| is_left_out(session, only))
    }

    /// Whether the message at hand is for shared groups: a repetition only if nobody knows whether a group has it.
    #[inline]
    pub fn is_for_groups(&self) -> bool {
        self.only.as_deref().is_none_or(|only| only.iter().any(Shipped::is_for_group))
    }

    /// Writes a change down; it is not even made if nobody wants it.
    #[inline]
    pub fn record(&mut self, change: impl FnOnce() -> Change) {
        if self.is_on {
            self.changes.push(change());
        }
    }
}

/// Whether a session was at home where the message never came.
#[cold]
fn is_left_out(session: &Session, only: &[Shipped]) -> bool {
    let home = |cores| CoreId::home_of(session.client_id.as_bytes(), cores);
    let mut steps = only.iter().filter(|step| !step.is_for_group()).peekable();
    steps.peek().is_some() && steps.all(|step| step.to.contains(home(step.cores)))
}
