//! The window to the kernel's socket I/O: one io_uring per core, its receive buffers, and the hand-over of descriptors.
//!
//! Why our own ring inside a glommio executor: glommio's sockets are readiness-based and cost about four
//! `io_uring_enter` per turn; here a turn costs one, whatever the number of connections.
//!
//! Invariants:
//! - Only the files of this folder contain `unsafe`; what they export cannot be misused to touch foreign memory.
//! - Memory that the kernel may read or write belongs to [`Ring`] until the completion that gives it back.

mod buffers;
mod handover;
mod uring;

pub(crate) use buffers::Chunk;
pub(crate) use handover::alarm_file;
pub use uring::Depth;
pub(crate) use uring::{Event, Inbound, Ring, Slot, Urge, missing_operations};
