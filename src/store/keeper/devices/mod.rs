//! What the keeper knows of devices: what is to be written of them, and what must be cleared away.
//!
//! Why changes become bytes at once: the last one of a record is all that counts, and a sample in memory is several times
//! its record.
//!
//! Why clearing away is slow: a device or a range of its history may have millions of points, and one flush with all of
//! them would keep everybody waiting. A record of a few bytes says that they are gone, readers heed it from the flush on
//! that makes it durable, and later flushes remove what it means, some at a time.
//!
//! Invariants:
//! - What is gone is not seen again after the flush that says so, also not after a crash.
//! - A point that came after its series was cleared stays: what clears is cut in two around it.

mod accept;
mod clearing;
mod ended;
mod expiry;
mod recover;
mod shelf;
mod slots;
mod sweep;
mod telemetry;

pub(super) use shelf::{Shelf, TooOld};
#[cfg(test)]
pub(super) use sweep::Pace;
