//! The books of a run: which messages of which publisher a subscriber has seen, and what that says about the broker.
//!
//! Why per message: a broker that drops one message and repeats another has a perfect total.
//!
//! Invariants:
//! - Every message that was sent ends in exactly one of: received, lost. Repetitions are counted beside them.

mod pool;
mod track;

pub(crate) use pool::{Pool, Seen};
pub(crate) use track::{Arrival, Track};

/// What subscribers counted, apart from what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Messages seen for the first time.
    pub(crate) received: u64,
    /// Of those, messages that came after a later one of the same publisher.
    pub(crate) reordered: u64,
    /// Messages seen again.
    pub(crate) duplicated: u64,
    /// Messages that nobody in this run has sent to this subscriber.
    pub(crate) foreign: u64,
}

impl Tally {
    /// Adds another thread's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.foreign += other.foreign;
    }
}
