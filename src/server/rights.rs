//! Resource limits of the process: raised as far as we may, and named where they do not suffice.
//!
//! Invariants:
//! - The number of connections that the broker promises fits into the descriptors that it may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// What glommio needs to set up an executor.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Descriptors for other things than connections: standard streams, log, listeners.
const SPARE_FILES: u64 = 64;
/// Descriptors per core: rings, eventfds, timers.
const CORE_FILES: u64 = 16;

/// A limit that is too low to run at all.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RightsError {
    /// Too little lockable memory.
    #[error(
        "RLIMIT_MEMLOCK is {0} bytes, and at least 524288 are needed; raise it (`ulimit -l 8192`, LimitMEMLOCK= in a \
         systemd unit)"
    )]
    Memlock(u64),
    /// Too few descriptors for even one connection.
    #[error(
        "RLIMIT_NOFILE allows {0} open files, which is too few; raise it (`ulimit -n`, LimitNOFILE= in a systemd unit)"
    )]
    Files(u64),
}

/// What the broker runs with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    /// Open files that the process may have.
    pub(crate) files_max: u64,
    /// Connections for which that suffices, at most as many as were asked for.
    pub(crate) connections_max: u32,
}

/// Raises the limits for `connections` on `cores` cores and reports how far that went.
pub(crate) fn raise(connections: u32, cores: usize) -> Result<Room, RightsError> {
    let memlock = raise_limit(Resource::Memlock, MEMLOCK_BYTES_MIN);
    if memlock < MEMLOCK_BYTES_MIN {
        return Err(RightsError::Memlock(memlock));
    }
    let own_files = SPARE_FILES + CORE_FILES * u64::try_from(cores).unwrap_or(u64::MAX);
    let files_max =
        raise_limit(Resource::Nofile, (own_files + u64::from(connections)).min(files_of_machine()));
    match files_max.saturating_sub(own_files) {
        0 => Err(RightsError::Files(files_max)),
        room => {
            Ok(Room { files_max, connections_max: u32::try_from(room).unwrap_or(u32::MAX).min(connections) })
        }
    }
}

/// Open files that the machine allows any one process.
fn files_of_machine() -> u64 {
    let told = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
    told.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX)
}

/// Raises a limit towards `wanted`: beyond the hard limit if we may, else up to it. Returns what holds then.
fn raise_limit(resource: Resource, wanted: u64) -> u64 {
    let held = getrlimit(resource);
    let unlimited = u64::MAX;
    if held.current.unwrap_or(unlimited) >= wanted {
        return held.current.unwrap_or(unlimited);
    }
    let beyond = Rlimit { current: Some(wanted), maximum: held.maximum.map(|maximum| maximum.max(wanted)) };
    let up_to = Rlimit { current: held.maximum, maximum: held.maximum };
    // The first attempt needs a right that we may lack; the second can only fail if the limits changed meanwhile.
    let _ = setrlimit(resource, beyond).or_else(|_| setrlimit(resource, up_to));
    getrlimit(resource).current.unwrap_or(unlimited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promise_never_exceeds_the_descriptors() {
        let room = raise(u32::MAX, 2).unwrap();
        assert!(u64::from(room.connections_max) < room.files_max);
        let room = raise(10, 2).unwrap();
        assert_eq!(room.connections_max, 10);
    }
}
