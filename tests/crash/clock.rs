//! The ledger's clock: milliseconds and microseconds on the kernel's monotonic clock.
//!
//! Why a function and not `Instant`: what the ledger writes down is compared, printed and added up as numbers.
//!
//! Invariants:
//! - Never goes backwards within one run.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since some fixed point.
#[must_use]
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the monotonic clock starts at zero");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("a nanosecond field is below 10^9");
    seconds * 1_000_000 + nanoseconds / 1000
}

/// Milliseconds since some fixed point.
#[must_use]
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// What is left until `end_ms`; zero if it has passed.
#[must_use]
pub fn until(end_ms: u64) -> Duration {
    Duration::from_millis(end_ms.saturating_sub(now_ms()))
}
