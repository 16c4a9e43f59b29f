//! What the kernel says about a process: processor time, time spent waiting for a processor, and memory.
//!
//! Why `schedstat` and not `stat`: it counts nanoseconds where `stat` counts ticks of ten milliseconds; `stat` only
//! gives the split into user and system.
//!
//! Invariants:
//! - Threads that ended before a reading are missing from it; brokers keep theirs.
//!
//! Source: Linux Documentation/scheduler/sched-stats, proc_pid_stat(5).

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::number::ratio;

/// Processor time so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    /// On a processor, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Ready but without a processor, in nanoseconds.
    pub(crate) waited_ns: u64,
    /// In user mode, in ticks.
    pub(crate) user_ticks: u64,
    /// In the kernel, in ticks.
    pub(crate) system_ticks: u64,
}

impl Usage {
    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// The share of user mode in the time used.
    pub(crate) fn user_share(&self) -> f64 {
        ratio(self.user_ticks, self.user_ticks + self.system_ticks)
    }
}

/// Processor time of all threads of process `pid`.
pub(crate) fn process_usage(pid: u32) -> Result<Usage, Failure> {
    let failed = |source| Failure::os(format!("reading the processor time of process {pid}"), source);
    let mut usage = Usage::default();
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(failed)? {
        // A thread that ended between the listing and the reading has nothing more to say.
        let Ok(text) = fs::read_to_string(task.map_err(failed)?.path().join("schedstat")) else { continue };
        let (cpu_ns, waited_ns) = parse_schedstat(&text).unwrap_or_default();
        usage.cpu_ns += cpu_ns;
        usage.waited_ns += waited_ns;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
    (usage.user_ticks, usage.system_ticks) = parse_stat(&stat).unwrap_or_default();
    Ok(usage)
}

/// Processor time of one thread of this process.
pub(crate) fn thread_usage(thread_id: u32) -> Usage {
    let text = fs::read_to_string(format!("/proc/self/task/{thread_id}/schedstat")).unwrap_or_default();
    let (cpu_ns, waited_ns) = parse_schedstat(&text).unwrap_or_default();
    Usage { cpu_ns, waited_ns, ..Usage::default() }
}

/// Resident memory of process `pid`, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let directory = format!("/proc/{pid}");
    // The roll-up counts pages; `status` is cheaper for the kernel and may be off by some dozens of pages per thread.
    let text = fs::read_to_string(Path::new(&directory).join("smaps_rollup"))
        .or_else(|_| fs::read_to_string(Path::new(&directory).join("status")))
        .map_err(|source| Failure::os(format!("reading the memory of process {pid}"), source))?;
    Ok(parse_resident(&text).unwrap_or_default())
}

/// The same from the kernel's running count, which is quick to read and off by some dozens of pages per thread.
pub(crate) fn resident_bytes_roughly(pid: u32) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|source| Failure::os(format!("reading the memory of process {pid}"), source))?;
    Ok(parse_resident(&text).unwrap_or_default())
}

/// The name of process `pid`, as the kernel keeps it.
pub(crate) fn process_name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn parse_schedstat(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

fn parse_stat(text: &str) -> Option<(u64, u64)> {
    // The name in parentheses may hold spaces and parentheses of its own; the fields begin behind the last one.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace().skip(11).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

fn parse_resident(text: &str) -> Option<u64> {
    let line =
        text.lines().find_map(|line| line.strip_prefix("Rss:").or_else(|| line.strip_prefix("VmRSS:")))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_times_are_found_behind_a_name_with_parentheses() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 123 456 0 0 20 0 1 0 100";
        assert_eq!(parse_stat(stat), Some((123, 456)));
        assert_eq!(parse_stat("42"), None);
        assert_eq!(parse_schedstat("7 8 9\n"), Some((7, 8)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn resident_memory_is_read_from_either_file() {
        assert_eq!(parse_resident("00400000-7fff ---p\nRss:    12 kB\nPss: 1 kB\n"), Some(12 * 1_024));
        assert_eq!(parse_resident("Name: x\nVmRSS:\t   8 kB\n"), Some(8 * 1_024));
        assert_eq!(parse_resident("Name: x\n"), None);
    }

    #[test]
    fn this_process_has_used_memory_and_has_a_name() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).expect("our own files are readable") > 100_000);
        assert!(!process_name(pid).is_empty());
        assert!(process_usage(pid).is_ok());
        assert!(process_usage(u32::MAX).is_err());
    }
}
