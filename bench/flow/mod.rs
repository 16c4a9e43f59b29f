//! When a publisher may send: closed-loop windows, packet ids in flight, and open-loop schedules.
//!
//! Why three: a window asks whether the subscribers have kept up, the packet ids ask whether the broker has, and a
//! schedule asks neither, which is what makes its latencies honest.
//!
//! Invariants:
//! - Pure: time and arrivals come in as arguments.

mod inflight;
mod schedule;
mod window;

pub(crate) use inflight::{Inflight, Unexpected};
pub(crate) use schedule::{Cursor, Schedule, Spread};
pub(crate) use window::Window;
