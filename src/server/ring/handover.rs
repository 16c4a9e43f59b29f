//! The places where a bare descriptor number becomes an owner.
//!
//! Why apart: ownership of a descriptor is the one thing that the type system cannot see across a completion or across
//! glommio's interface, so these few lines are all there is to review.
//!
//! Invariants:
//! - Each number becomes an owner exactly once.
#![allow(
    unsafe_code,
    reason = "descriptors arrive as numbers from completions and leave as numbers to glommio"
)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use glommio::io::BufferedFile;

/// Owns the descriptor that an accept completion has delivered. The caller reads each completion once.
pub(super) fn accepted(number: RawFd) -> OwnedFd {
    assert!(number >= 0);
    // SAFETY: the kernel installed this descriptor for the completion and nobody else knows its number; `Ring` decodes
    // each completion once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Wraps an eventfd so that glommio can await it.
pub(crate) fn alarm_file(eventfd: OwnedFd) -> BufferedFile {
    // SAFETY: the number leaves its owner in the same expression, and glommio closes it when the file is dropped.
    unsafe { BufferedFile::from_raw_fd(eventfd.into_raw_fd()) }
}
