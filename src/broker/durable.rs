//! What the store says: what is safe on disk, what was read back, and how it is.
//!
//! Invariants:
//! - Nothing that the store says late or twice does harm.

use stdx::Instant;

use crate::change::{Fetched, StoreHealth};
use crate::exchange::Exchange;

impl Exchange {
    /// Everything that this core wanted written up to `turn` is synced.
    pub fn durable(&mut self, turn: u64) {
        assert!(turn <= self.turn);
    }

    /// Queued messages came back from disk.
    pub fn fetched(&mut self, _now: Instant, fetched: Fetched) {
        debug_assert!(fetched.messages.is_empty(), "nothing was asked for");
    }

    /// The store has no space, or has it again.
    pub fn store_is(&mut self, health: StoreHealth) {
        self.store_health = health;
    }
}
