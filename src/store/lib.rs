//! Durable state behind a small trait. Today there is one store, which lives in memory and can lose what was not
//! synced; the server keeps everything in memory and asks for no journal yet.
//!
//! Why a model first: what a crash may take away is decided here, and the same changes must bring a broker back whatever
//! engine writes them.
//!
//! Invariants:
//! - A change is durable once [`Store::durable`] has reached the number that [`Store::append`] gave it.
//! - Changes come back in the order in which they were appended.

mod memory;

use broker::Change;

pub use memory::MemoryStore;

/// The number of a change in a store's log, counted from one; zero is before all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Lsn(pub u64);

/// Where changes go.
pub trait Store {
    /// Takes changes over, oldest first, and leaves the vector empty; returns the number of the last one.
    fn append(&mut self, changes: &mut Vec<Change>) -> Lsn;
    /// Makes everything appended durable.
    fn sync(&mut self);
    /// Everything up to this number survives a crash.
    fn durable(&self) -> Lsn;
    /// Calls `visit` for each change, oldest first.
    fn replay(&self, visit: &mut dyn FnMut(&Change));
}
