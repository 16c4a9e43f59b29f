//! The engine on disk, and the guards around it.
//!
//! Why a folder: everything that knows what fjall's files look like is in here.
//!
//! Invariants:
//! - Nobody else opens files of the store's directory.

mod engine;
mod folder;
mod journal;
mod mark;

pub use engine::FjallEngine;
pub(crate) use engine::Shared;
pub use folder::FORMAT_VERSION;
