//! A file system in memory that loses what was not synced when its power is cut.
//!
//! Why our own: the one known tool of this kind is in no package archive, and here a cut is a function call.
//!
//! Invariants:
//! - Data lives in the process of the ledger; a broker sees an ordinary mounted directory.

mod disk;
mod fs;
mod mount;

pub use disk::{Cut, Disk};
pub use mount::PowerCut;
