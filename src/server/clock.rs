//! The one clock of the process, as the pure rooms see it.
//!
//! Why a value: all cores must share one origin, or an instant that travels with a connection from core to core would
//! mean two different moments.
//!
//! Invariants:
//! - Copies of one `Clock` agree; `now` never runs backwards on one thread.

use std::time::{Instant as Monotonic, SystemTime, UNIX_EPOCH};

use stdx::{Instant, WallMs};

/// The origin of the process's time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Monotonic,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Monotonic::now() }
    }

    /// The present moment. About 20 ns; ask once per turn.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::from_ns(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The wall clock, for people.
    #[must_use]
    pub fn wall(self) -> WallMs {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}
