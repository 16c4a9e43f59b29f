//! `ringmq store`: look at a store from outside, copy it, bring it back.
//!
//! Why over a stream of records: the tools read a directory that nobody uses, the desk of a running broker, or a backup
//! file in the same way, so each works on all three.
//!
//! Exit codes: 0 done and well; 1 `check` found something wrong; 2 wrong arguments; 4 the store could not be read or
//! written: locked by a process that does not answer, damaged, from a newer version, no space, or not there.
//!
//! Invariants:
//! - Results go to the output, everything else to the report.
//! - Nothing but `restore` writes into a store's directory.

mod check;
mod devices;
mod export;
mod source;
mod stats;
mod task;
#[cfg(test)]
mod tests;

pub use task::{ExportKind, Style, Task, run};
