//! The guard as the doors know it.
//!
//! Why not the guard itself: doors speak of wall time, which may jump; a rate must not.
//!
//! Invariants:
//! - The guard's moments are those of the process's clock.

use std::net::IpAddr;
use std::sync::Arc;

use shard::{ListenerId, Turned};
use stdx::WallMs;

use super::turnstile::Guard;
use crate::clock::Clock;
use crate::doors::Watch;

/// A guard with a clock.
#[derive(Debug)]
pub struct Watching {
    guard: Arc<Guard>,
    clock: Clock,
}

impl Watching {
    /// `guard` by `clock`.
    pub(crate) fn new(guard: Arc<Guard>, clock: Clock) -> Self {
        Self { guard, clock }
    }

    /// Whether an address has failed too often lately.
    #[must_use]
    pub fn shuts_out(&self, from: IpAddr) -> bool {
        self.guard.shuts_out(from, self.clock.now())
    }

    /// Somebody at this address has shown what nobody has.
    pub fn note_failure(&self, from: IpAddr) {
        self.guard.failed(from, self.clock.now());
    }

    /// Somebody at this address has shown what is right.
    pub fn note_success(&self, from: IpAddr) {
        self.guard.succeeded(from);
    }
}

impl Watch for Watching {
    fn arrive(&self, listener: ListenerId, from: IpAddr, _now: WallMs) -> Result<(), Turned> {
        self.guard.arrive(listener.0, from, self.clock.now())
    }

    fn leave(&self, listener: ListenerId, from: IpAddr) {
        self.guard.leave(listener.0, from);
    }

    fn failed(&self, from: IpAddr, _now: WallMs) {
        self.guard.failed(from, self.clock.now());
    }

    fn succeeded(&self, from: IpAddr) {
        self.guard.succeeded(from);
    }
}
