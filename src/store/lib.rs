//! Durable state: what an acknowledgement promises is on disk before it leaves.
//!
//! Why in three layers: an [`Engine`] is a sorted map with atomic batches and a sync; a [`Keeper`] turns changes into its
//! records and back; the tools read the records from outside. The keeper is where a mistake of ours would lose messages, so
//! it runs on a [`MemoryEngine`] that can crash anywhere just as it runs on disk. `docs/STORE.md` has the formats.
//!
//! Invariants:
//! - A turn is reported as durable only after a sync that succeeded.
//! - What was durable is there after a restart, or the store refuses to open with a report.

#![allow(clippy::disallowed_methods, reason = "nothing here runs on a data core")]

mod anchor;
mod backup;
mod codec;
mod desk;
mod devices;
mod engine;
mod fault;
mod fjall;
mod history;
mod keeper;
mod memory;
mod record;
mod tool;
#[cfg(test)]
mod trials;

pub use anchor::Anchor;
pub use backup::count_backup;
pub use engine::{Batch, Engine, Op, Visit};
pub use fault::{Fault, FaultKind};
pub use fjall::{FORMAT_VERSION, FjallEngine, make_folder, quarantine};
pub use history::{History, Order, Span, VisitPoint};
pub use keeper::{Flushed, Heads, Keeper, Progress, Recovered, Settled};
pub use memory::MemoryEngine;
pub use record::rewrite_record;
pub use tool::{ExportKind, Style, Task, run};
