//! Which processors a thread runs on, and how many files the process may hold.
//!
//! Why in one place: both must be settled before the first client is dialled, and both fail with advice, not with a
//! strange figure at the end.
//!
//! Invariants:
//! - Pinning concerns the calling thread and what it starts afterwards.

use std::num::NonZeroU64;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

use crate::failure::Failure;

/// Runs the calling thread on `processors` only.
pub(crate) fn pin(processors: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for &processor in processors {
        if processor >= CpuSet::MAX_CPU {
            return Err(Failure::Usage(format!("there is no processor {processor}")));
        }
        set.set(processor);
    }
    sched_setaffinity(None, &set)
        .map_err(|source| Failure::os(format!("pinning to processors {processors:?}"), source))
}

/// Runs `work` with the calling thread pinned to `processors`, then returns to where it was; what `work` starts stays.
pub(crate) fn pinned<T>(processors: &[usize], work: impl FnOnce() -> T) -> Result<T, Failure> {
    let before = sched_getaffinity(None).map_err(|source| Failure::os("reading the affinity", source))?;
    pin(processors)?;
    let result = work();
    sched_setaffinity(None, &before).map_err(|source| Failure::os("restoring the affinity", source))?;
    Ok(result)
}

/// Asks the kernel to wake the calling thread as exactly as it can; open-loop schedules need it.
pub(crate) fn wake_exactly() {
    // Without it, wake-ups are up to 50 us late, which the lag figures would show.
    let _refused = set_current_timer_slack(NonZeroU64::new(1));
}

/// Makes room for `files` open files.
pub(crate) fn allow_files(files: u64) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let raised = |maximum| setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum });
    match limit.maximum {
        Some(maximum) if maximum < files => raised(Some(files)),
        maximum => raised(maximum),
    }
    .map_err(|_| {
        Failure::Usage(format!(
            "{files} open files are needed: raise the limit with `ulimit -n {files}` first"
        ))
    })
}

/// Makes room for as many open files as this process may ask for; servers cannot know how many clients will come.
pub(crate) fn allow_most_files() {
    let limit = getrlimit(Resource::Nofile);
    // What the kernel refuses shows later as connections that are not accepted.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
