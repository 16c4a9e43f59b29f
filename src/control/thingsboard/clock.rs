//! The clock and the randomness of the control plane.
//!
//! Invariants:
//! - Everything that is secret is made of the kernel's randomness.

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock, in Unix milliseconds.
#[allow(clippy::disallowed_methods, reason = "the control plane is a room with windows")]
pub(super) fn wall_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// A random number that is fit for secrets.
pub(super) fn chance() -> u64 {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .expect("the kernel gives eight bytes at once since it has started");
    u64::from_be_bytes(bytes)
}
