//! What the standard library and the chosen crates lack: time as a value, a timer wheel, seeded randomness, and the
//! stable hash that places clients on cores.
//!
//! Why a room of its own: every pure room needs these, and none of them may know MQTT. Nothing here reads a clock or
//! the operating system; callers pass time and seeds in.
//!
//! Invariants:
//! - No MQTT word in this crate.
//! - No I/O, no clock, no global state.

mod hash;
mod prng;
mod time;
mod wheel;

pub use hash::stable_hash;
pub use prng::Prng;
pub use time::{Instant, Span, WallMs};
pub use wheel::Wheel;
