//! What the standard library and the chosen crates lack: time as a value, a timer wheel, token buckets, seeded randomness,
//! and the stable hash that places clients on cores.
//!
//! Why a room of its own: every pure room needs these, and none of them may know MQTT. Nothing here reads a clock or
//! the operating system; callers pass time and seeds in.
//!
//! Invariants:
//! - No MQTT word in this crate.
//! - No I/O, no clock, no global state.

mod hash;
mod prng;
mod quota;
mod time;
mod wheel;

pub use hash::stable_hash;
pub use prng::Prng;
pub use quota::{Allowance, Bucket, RATES_MAX, Rate, Rates, RatesError};
pub use time::{Instant, Span, WallMs};
pub use wheel::Wheel;

/// How many entries a table has room for from the start that has one entry per connection or session of a core.
///
/// Why so many: room that nobody has written to is address space and no memory. A table that doubles when it is full copies
/// itself at the worst time, and leaves holes behind that were a quarter of what an idle connection cost.
pub const ROOM: usize = 1 << 16;

/// Widens a 32-bit count or index; this broker runs on 64-bit machines only.
#[must_use]
#[inline]
pub const fn widen(value: u32) -> usize {
    const { assert!(usize::BITS >= 64, "64-bit machines only") };
    value as usize
}

/// A length as a counter counts it.
#[must_use]
#[inline]
pub const fn count(value: usize) -> u64 {
    value as u64
}

/// Narrows a length to 32 bits, saturating: for counters and for costs that limits keep far below 4 GiB.
#[must_use]
#[inline]
pub const fn narrow(value: usize) -> u32 {
    if value > u32::MAX as usize { u32::MAX } else { value as u32 }
}
