//! The store thread: what cores must have written is gathered from all of them, made durable at once, and answered.
//!
//! Why one thread: a flush of the disk costs the same for one change as for thousands, so all cores share it, and no core
//! ever waits for the disk itself. While one flush runs, everything that arrives gathers for the next.
//!
//! Invariants:
//! - A core is told that a turn is durable only after a sync that succeeded, begun when all of that turn was committed.
//! - What one core handed over before another one could know of it is never committed later than what that one did.
//! - After a failed sync nothing is told to anyone; all cores end.

mod archive;
mod bystanders;
mod figures;
mod metrics;
mod post;
mod rounds;
mod safe;
mod scribe;
mod space;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use post::{JournalEnd, Mail, Office, open_office};
pub use safe::SafeError;
pub(crate) use safe::{Keeping, Safe};
pub use watch::StoreWatch;
