//! The device platform as threads share it: the registry under a lock, the ways to home cores and to the store, and who
//! waits for what.
//!
//! Why a room between server and control: cores look up devices in it, the HTTP API changes them through it, and neither
//! should know the other. What devices mean lies in `device`; here is only what several threads need.
//!
//! Invariants:
//! - The lock of the registry is held for one look or one change, never while somebody waits.
//! - Changes reach the store in the order in which they were made.
//! - Nothing here runs on a core but looks into the registry, and news that leave it.

#![allow(clippy::disallowed_methods, reason = "threads share what is here")]

mod alone;
mod archive;
mod platform;
mod waiting;

pub use alone::MemoryArchive;
pub use archive::{Archive, ArchiveFault, Points};
pub use platform::{Cores, Crowded, Journal, Kept, NotKept, Platform, ReadSettings};
pub use waiting::{Called, Listening, WaitingFigures, Watching};
