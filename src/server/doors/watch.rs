//! Whoever counts connections and failures per address.
//!
//! Why a trait: the chain reports what happens at the door, and does not care whether anybody counts.
//!
//! Invariants:
//! - A connection that was let arrive is taken back by one `leave`.

use std::fmt::Debug;
use std::net::IpAddr;

use shard::{ListenerId, Turned};
use stdx::WallMs;

/// Counts, and turns away.
pub(crate) trait Watch: Send + Sync + Debug {
    /// A connection was accepted.
    fn arrive(&self, listener: ListenerId, from: IpAddr, now: WallMs) -> Result<(), Turned>;
    /// It is gone.
    fn leave(&self, listener: ListenerId, from: IpAddr);
    /// Somebody there showed wrong credentials.
    fn failed(&self, from: IpAddr, now: WallMs);
    /// Somebody there was let in by credentials.
    fn succeeded(&self, from: IpAddr);
}

/// Nobody counts.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct NoWatch;

#[cfg(test)]
impl Watch for NoWatch {
    fn arrive(&self, _listener: ListenerId, _from: IpAddr, _now: WallMs) -> Result<(), Turned> {
        Ok(())
    }

    fn leave(&self, _listener: ListenerId, _from: IpAddr) {}

    fn failed(&self, _from: IpAddr, _now: WallMs) {}

    fn succeeded(&self, _from: IpAddr) {}
}
