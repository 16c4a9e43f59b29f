//! Finding out, before anything is promised, whether the kernel lets the driver work.
//!
//! Why by trying: version numbers lie (distributions backport, containers forbid), and an operation that is refused in
//! the middle of a turn could only be answered by a panic.
//!
//! Invariants:
//! - What the driver uses is tried here in the same way; whoever passes can run.
//! - A failure names what is missing and how to mend it, in one line.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use thiserror::Error;

use crate::ring::{Depth, Event, Inbound, Ring, Slot, Urge, missing_operations};

/// What the kernel lacks.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{lack}; {mend}")]
pub struct KernelError {
    lack: String,
    mend: String,
}

/// Tries everything that the driver needs.
pub(crate) fn probe() -> Result<(), KernelError> {
    try_everything().map_err(|(step, failure)| diagnose(step, &failure, &Facts::read()))
}

/// What was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Making a ring as the driver does.
    Ring,
    /// Operations that the ring must know.
    Operations,
    /// Receiving several times with one request, into buffers of a ring.
    Multishot,
}

/// What the machine says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Facts {
    release: String,
    disabled: Option<u32>,
}

impl Facts {
    fn read() -> Self {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            disabled: disabled.and_then(|text| text.trim().parse().ok()),
        }
    }
}

fn try_everything() -> Result<(), (Step, io::Error)> {
    let depth = Depth { submissions: 8, completions: 16, buffers: 2, buffer_bytes: 64 };
    let mut ring = Ring::new(depth).map_err(|failure| (Step::Ring, failure))?;
    let missing = missing_operations().map_err(|failure| (Step::Ring, failure))?;
    if !missing.is_empty() {
        return Err((Step::Operations, io::Error::other(missing.join(", "))));
    }
    try_multishot(&mut ring).map_err(|failure| (Step::Multishot, failure))
}

fn try_multishot(ring: &mut Ring) -> io::Result<()> {
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::write(&there, b"probe")?;
    ring.receive(Slot { index: 0, life: 0 }, here.as_fd());
    ring.enter(Urge::Always, 1)?;
    let mut events = Vec::new();
    ring.collect(&mut events, 1);
    match events.pop() {
        Some(Event::Received { inbound: Inbound::Bytes(_), armed: true, .. }) => Ok(()),
        Some(Event::Received { inbound: Inbound::Broken(code), .. }) => Err(code.into()),
        other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
    }
}

fn diagnose(step: Step, failure: &io::Error, facts: &Facts) -> KernelError {
    let release = &facts.release;
    let newer = format!("run RingMQ on Linux 6.1 or later (this is {release})");
    let (lack, mend) = match (step, failure.raw_os_error()) {
        (Step::Ring, Some(libc::EPERM | libc::EACCES)) => forbidden(facts.disabled),
        (Step::Ring, Some(libc::ENOSYS)) => (
            format!("this kernel ({release}) has no io_uring, or a seccomp filter hides it"),
            "run RingMQ on Linux 6.1 or later built with CONFIG_IO_URING=y, and allow io_uring_setup, io_uring_enter \
             and io_uring_register in the container's seccomp profile"
                .to_owned(),
        ),
        (Step::Ring, Some(libc::ENOMEM)) => (
            "there is not enough lockable memory for an io_uring".to_owned(),
            "raise RLIMIT_MEMLOCK to 8 MiB or more (`ulimit -l 8192`, LimitMEMLOCK= in a systemd unit)".to_owned(),
        ),
        (Step::Ring, Some(libc::EINVAL)) => (
            "the kernel's io_uring lacks SINGLE_ISSUER, DEFER_TASKRUN or buffer rings".to_owned(),
            newer,
        ),
        (Step::Ring, _) => (format!("cannot set up an io_uring: {failure}"), newer),
        (Step::Operations, _) => (format!("the kernel's io_uring lacks the operations {failure}"), newer),
        (Step::Multishot, _) => {
            (format!("the kernel's io_uring cannot receive repeatedly into provided buffers: {failure}"), newer)
        }
    };
    KernelError { lack, mend }
}

fn forbidden(disabled: Option<u32>) -> (String, String) {
    match disabled {
        Some(2) => (
            "io_uring is disabled on this machine (kernel.io_uring_disabled = 2)".to_owned(),
            "as root: `sysctl -w kernel.io_uring_disabled=0`, and the same in /etc/sysctl.d to keep it".to_owned(),
        ),
        Some(1) => (
            "io_uring is disabled for unprivileged users (kernel.io_uring_disabled = 1)".to_owned(),
            "run RingMQ in the group that kernel.io_uring_group names, or as root: \
             `sysctl -w kernel.io_uring_disabled=0`"
                .to_owned(),
        ),
        Some(_) | None => (
            "io_uring is forbidden to this process, though not to the machine: a seccomp filter or a security module \
             refuses it"
                .to_owned(),
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile (Docker: \
             `--security-opt seccomp=PROFILE.json`; systemd: no `SystemCallFilter=` without them)"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::*;

    /// Probes on a thread on which `io_uring_setup` fails with `code`.
    fn probe_when_setup_fails_with(code: i32) -> KernelError {
        let rules = [(libc::SYS_io_uring_setup, Vec::new())].into_iter().collect();
        let refuse = SeccompAction::Errno(u32::try_from(code).unwrap());
        let machine = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine).unwrap();
        let program = BpfProgram::try_from(filter).unwrap();
        let thread = std::thread::spawn(move || {
            apply_filter(&program).unwrap();
            probe().unwrap_err()
        });
        thread.join().unwrap()
    }

    #[test]
    fn this_kernel_has_what_the_driver_needs() {
        assert_eq!(probe(), Ok(()));
    }

    #[test]
    fn a_seccomp_filter_that_forbids_io_uring_is_named() {
        let refused = probe_when_setup_fails_with(libc::EPERM).to_string();
        assert!(
            refused.contains("a seccomp filter or a security module refuses it; allow io_uring_setup"),
            "{refused}"
        );
        let refused = probe_when_setup_fails_with(libc::ENOSYS).to_string();
        assert!(
            refused.contains("has no io_uring, or a seccomp filter hides it; run RingMQ on Linux 6.1"),
            "{refused}"
        );
    }

    #[test]
    fn each_lack_comes_with_its_remedy() {
        let facts = |disabled| Facts { release: "5.15.0-91-generic".to_owned(), disabled };
        let told = |step, code, disabled| {
            diagnose(step, &io::Error::from_raw_os_error(code), &facts(disabled)).to_string()
        };
        assert!(told(Step::Ring, libc::EPERM, Some(2)).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(told(Step::Ring, libc::EPERM, Some(1)).contains("kernel.io_uring_group"));
        assert!(told(Step::Ring, libc::EPERM, None).contains("seccomp"));
        assert!(told(Step::Ring, libc::ENOMEM, Some(0)).contains("RLIMIT_MEMLOCK"));
        let old = "run RingMQ on Linux 6.1 or later (this is 5.15.0-91-generic)";
        assert!(told(Step::Ring, libc::EINVAL, Some(0)).ends_with(old));
        assert!(told(Step::Multishot, libc::EINVAL, Some(0)).ends_with(old));
        let missing = diagnose(Step::Operations, &io::Error::other("SEND"), &facts(None)).to_string();
        assert!(missing.starts_with("the kernel's io_uring lacks the operations SEND; "), "{missing}");
    }
}
