//! The generator's clock: nanoseconds on the kernel's monotonic clock.
//!
//! Why one function: send stamps, schedules and latencies must share an origin, also between threads and between
//! processes on one machine.
//!
//! Invariants:
//! - Never goes backwards within one boot.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since boot.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the monotonic clock starts at zero");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("a nanosecond field is below 10^9");
    seconds * 1_000_000_000 + nanoseconds
}

/// `ns` in the form that the kernel waits for.
pub(crate) fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).expect("fewer than 2^63 seconds"),
        tv_nsec: i64::try_from(ns % 1_000_000_000).expect("below 10^9"),
    }
}
