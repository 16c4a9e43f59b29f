//! The engine on disk, and the guards around it.
//!
//! Why a folder: everything that knows what fjall's files look like is in here.
//!
//! Invariants:
//! - Nobody else opens files of the store's directory.

mod engine;
mod folder;
mod inspect;
mod journal;
mod mark;
mod quarantine;

pub use engine::FjallEngine;
pub(crate) use engine::{Shared, disk_bytes};
pub use folder::{FORMAT_VERSION, make_folder};
pub(crate) use folder::{format_of, sync_folder};
pub(crate) use inspect::{Findings, inspect};
pub use quarantine::quarantine;
