//! Starting a target on its processor, loading it from another, and ending it.
//!
//! Why the generator is a process of its own: what is printed is then exactly what was run, and its memory and threads
//! are nobody else's.
//!
//! Invariants:
//! - A target that was started is ended, by its own process id, whatever happened in between.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::load::Load;
use super::target::{Kind, Site, Target};
use crate::affinity;
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::options::CompareOptions;
use crate::report::RunReport;

const START_NS_MAX: u64 = 15_000_000_000;
const STOP_NS_MAX: u64 = 5_000_000_000;
const PAUSE: Duration = Duration::from_millis(20);
/// A file system in memory, so that peers that insist on a store are not measured by a disk.
const MEMORY: &str = "/dev/shm";

/// A target that answers.
#[derive(Debug)]
pub(crate) struct Running {
    host: String,
    port: u16,
    pid: Option<u32>,
    child: Option<Child>,
    directory: PathBuf,
}

impl Running {
    /// Starts `target` on `processors` and waits until it accepts connections.
    pub(crate) fn start(target: &Target, processors: &[usize]) -> Result<Self, Failure> {
        if let Kind::Remote { host, port, pid } = &target.kind {
            let (host, port, pid) = (host.clone(), *port, *pid);
            return Ok(Self { host, port, pid, child: None, directory: PathBuf::new() });
        }
        let failed = |cause: String| Failure::Target { target: target.name.clone(), cause };
        let directory = fresh_directory(&target.name)?;
        let site = Site { port: free_port()?, other_port: free_port()?, directory: &directory };
        let log = directory.join("log");
        let open = || File::create(&log).map_err(|source| Failure::os("making a log file", source));
        let Some(mut command) = target.command(&site)? else {
            return Err(failed("it cannot be started".into()));
        };
        command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        let child =
            affinity::pinned(processors, || command.spawn())?.map_err(|error| failed(error.to_string()))?;
        let (pid, port) = (child.id(), site.port);
        let mut running =
            Self { host: "127.0.0.1".into(), port, pid: Some(pid), child: Some(child), directory };
        running.await_answer().map_err(failed)?;
        Ok(running)
    }

    fn await_answer(&mut self) -> Result<(), String> {
        let deadline_ns = now_ns() + START_NS_MAX;
        while TcpStream::connect((self.host.as_str(), self.port)).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || now_ns() > deadline_ns {
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                let how =
                    ended.map_or_else(|| "it did not listen in time".to_owned(), |status| status.to_string());
                return Err(format!("{how}; {}", last.join(" | ")));
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // A target that has ended already needs no signal.
            let _sent = kill_process(pid, Signal::TERM);
        }
        let deadline_ns = now_ns() + STOP_NS_MAX;
        while matches!(child.try_wait(), Ok(None)) {
            if now_ns() > deadline_ns {
                let _killed = child.kill();
                let _ended = child.wait();
                break;
            }
            std::thread::park_timeout(PAUSE);
        }
        // Files in memory that stay behind are found by their name.
        let _removed = fs::remove_dir_all(&self.directory);
    }
}

/// Loads `running` once and reads the report.
pub(crate) fn measure(
    options: &CompareOptions,
    load: &Load,
    target: &Target,
    running: &Running,
) -> Result<RunReport, Failure> {
    let failed = |cause: String| Failure::Target { target: target.name.clone(), cause };
    let ours = std::env::current_exe().map_err(|source| Failure::os("finding our own program", source))?;
    let mut command = Command::new(ours);
    let processors: Vec<String> = options.load_cpu.iter().map(usize::to_string).collect();
    command.args(target.arguments(load).split(' '));
    command.args(["--json", "-h", &running.host, "-p", &running.port.to_string()]);
    command.args(["--cpu", &processors.join(","), "--threads", &processors.len().to_string()]);
    command.args(["--duration", &options.duration.to_string(), "--warmup", &options.warmup.to_string()]);
    if let Some(pid) = running.pid {
        command.args(["--pid", &pid.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = affinity::pinned(&options.load_cpu, || command.spawn())?;
    let output = child.and_then(Child::wait_with_output).map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(format!("an unreadable report: {error}")))
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|source| Failure::os("finding a free port", source))
}

fn fresh_directory(name: &str) -> Result<PathBuf, Failure> {
    let memory = Path::new(MEMORY);
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let directory = parent.join(format!("ringmq-bench-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory)
        .map_err(|source| Failure::os(format!("making {}", directory.display()), source))?;
    Ok(directory)
}
