//! Counts what a process does in the kernel's own counters: system calls, and instructions in user mode.
//!
//! Why the kernel's counters and not a tracer: a tracer stops the process at every system call, which makes it another
//! program. A counted tracepoint costs about a tenth of a microsecond per call; that is why counting has a round of its
//! own and no other figure is taken from it.
//!
//! Invariants:
//! - Threads that are there when counting begins are counted, and threads that they start later.
//! - What the kernel or the processor does not offer is missing, never zero.
//!
//! Source: perf_event_open(2), Linux Documentation/trace/events.

use std::fs;

use perf_event::events::{Event, Hardware, Tracepoint};
use perf_event::{Builder, Counter};

const EVENTS: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
const SYSTEM_CALL: &str = "raw_syscalls/sys_enter/id";

/// Running counters of one process.
pub(super) struct Counters {
    system_calls: Option<Vec<Counter>>,
    instructions: Option<Vec<Counter>>,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// System calls.
    pub(super) system_calls: Option<u64>,
    /// Instructions in user mode.
    pub(super) instructions: Option<u64>,
}

/// Which side of the border is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    User,
    Kernel,
}

impl Counters {
    /// Counts process `pid` from now on.
    pub(super) fn open(pid: u32) -> Self {
        let call = EVENTS.iter().find_map(|events| {
            let text = fs::read_to_string(format!("{events}/{SYSTEM_CALL}")).ok()?;
            text.trim().parse().ok().map(Tracepoint::with_id)
        });
        Self {
            system_calls: call.and_then(|call| of_threads(pid, call, Side::Kernel)),
            instructions: of_threads(pid, Hardware::INSTRUCTIONS, Side::User),
        }
    }

    /// What has been counted so far.
    pub(super) fn read(&mut self) -> Counts {
        Counts { system_calls: sum(&mut self.system_calls), instructions: sum(&mut self.instructions) }
    }
}

impl Counts {
    /// What was counted beyond `earlier`; missing where that was more, which happens when noise is all there is.
    pub(super) fn since(self, earlier: Self) -> Self {
        let less = |late: Option<u64>, early: Option<u64>| late?.checked_sub(early?);
        Self {
            system_calls: less(self.system_calls, earlier.system_calls),
            instructions: less(self.instructions, earlier.instructions),
        }
    }
}

fn of_threads(pid: u32, event: impl Event + Clone, side: Side) -> Option<Vec<Counter>> {
    let mut counters = vec![];
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let thread: i32 = task.ok()?.file_name().to_str()?.parse().ok()?;
        let mut builder = Builder::new(event.clone());
        builder.observe_pid(thread).inherit(true).exclude_hv(true);
        match side {
            Side::User => builder.exclude_kernel(true),
            Side::Kernel => builder.exclude_kernel(false).exclude_user(false),
        };
        let mut counter = builder.build().ok()?;
        counter.enable().ok()?;
        counters.push(counter);
    }
    Some(counters)
}

fn sum(counters: &mut Option<Vec<Counter>>) -> Option<u64> {
    counters.as_mut()?.iter_mut().map(|counter| counter.read().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_missing_where_a_count_is() {
        let late = Counts { system_calls: Some(10), instructions: None };
        let early = Counts { system_calls: Some(4), instructions: Some(1) };
        assert_eq!(late.since(early), Counts { system_calls: Some(6), instructions: None });
        assert_eq!(early.since(late), Counts { system_calls: None, instructions: None });
    }

    #[test]
    fn system_calls_of_this_process_are_counted_where_the_kernel_allows_it() {
        let mut counters = Counters::open(std::process::id());
        let before = counters.read();
        for _ in 0..50 {
            rustix::thread::sched_yield();
        }
        let counted = counters.read().since(before).system_calls;
        assert!(counted.is_none_or(|count| count >= 50), "{counted:?}");
    }
}
