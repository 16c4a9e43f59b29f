//! The doors: who comes in through a listener, and what it may do then.
//!
//! Why a chain per listener: people log in with passwords, devices with certificates or tokens, and often all of them
//! through one port. Why three kinds of places where answers are found: what can be told from memory is told on the core at
//! once; hashes and signatures cost so much that they are checked on a few threads of their own; services are asked by one
//! thread that waits for many at a time. Answers go back into the mailbox of the core that asked.
//!
//! Invariants:
//! - No data core hashes a password, checks a signature, reads a file or waits for a service.
//! - Everything that can pile up has a limit, above which clients are refused as at a busy server.
//! - Whatever cannot be found out is a refusal.

mod answers;
mod callback;
mod chain;
mod desk;
mod figures;
mod files;
mod keeper;
mod pass;
mod pool;
mod sources;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use answers::DoorEnd;
pub use keeper::{Doors, DoorsError, examine_doors};
#[cfg(test)]
pub(crate) use watch::NoWatch;
pub(crate) use watch::Watch;
