//! The broker's process as the kernel sees it: memory, descriptors, signals.
//!
//! Invariants:
//! - Memory is what is resident, in bytes; its peak counts since [`Process::forget_peak`].

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// A process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Resident memory now.
    #[must_use]
    pub fn resident_bytes(self) -> u64 {
        self.status("VmRSS:")
    }

    /// Resident memory now that is the process's own: no file is behind it.
    #[must_use]
    pub fn anonymous_bytes(self) -> u64 {
        self.status("RssAnon:")
    }

    /// The most resident memory since the peak was forgotten.
    #[must_use]
    pub fn peak_bytes(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Lets the peak begin anew from what is resident now; returns that.
    #[must_use]
    pub fn forget_peak(self) -> u64 {
        // Where it is not allowed the peak only counts more.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
        self.resident_bytes()
    }

    fn status(self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Descriptors that it has open.
    #[must_use]
    pub fn descriptors(self) -> u64 {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid));
        entries.map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(0))
    }

    /// Stops it where it stands.
    pub fn freeze(self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(self) {
        self.signal(Signal::CONT);
    }

    fn signal(self, signal: Signal) {
        if let Some(pid) = self.raw() {
            // If it has ended, the next question to it says so.
            let _ = kill_process(pid, signal);
        }
    }

    fn raw(self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }
}

/// Allows this process, and those that it starts, so many descriptors from now on; returns how many it might have before.
///
/// # Errors
/// A sentence, if that may not be.
pub fn allow_descriptors(descriptors: u64) -> Result<u64, String> {
    let held = getrlimit(Resource::Nofile);
    let maximum = held.maximum.map(|maximum| maximum.max(descriptors));
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum })
        .map_err(|failure| format!("{descriptors} descriptors cannot be had (`ulimit -n`): {failure}"))?;
    Ok(held.current.unwrap_or(u64::MAX))
}
