//! Keeps what a comparison has started, so that nothing of it stays behind: processes and their directories.
//!
//! Why four nets: the ordinary end drops its values; an interrupt or a termination is caught by a thread; a panic is
//! caught by a hook, because release builds abort without dropping anything; and if this process is killed outright,
//! the kernel kills what was started (see `tether`), and the next comparison sweeps up the directories.
//!
//! Invariants:
//! - Only processes that were started here are signalled, and only before they have been waited for, so that their ids
//!   cannot have passed on to somebody else.
//! - A directory is removed after its process has ended.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::options::TetherOptions;
use crate::affinity;
use crate::clock::now_ns;
use crate::failure::Failure;

/// A file system in memory, so that peers that insist on a store are not measured by a disk.
const MEMORY: &str = "/dev/shm";
const STEM: &str = "ringmq-bench-";
const STOP_NS_MAX: u64 = 5_000_000_000;
const PAUSE: Duration = Duration::from_millis(5);

static KEPT: Mutex<Kept> = Mutex::new(Kept { processes: vec![], directories: vec![], made: 0 });

struct Kept {
    processes: Vec<Pid>,
    directories: Vec<PathBuf>,
    /// Directories so far; names them.
    made: u64,
}

impl Kept {
    /// Kills everything at once and clears up behind it.
    fn end(&mut self) {
        for &process in &self.processes {
            // One that has just ended needs no signal.
            let _sent = kill_process(process, Signal::KILL);
        }
        for process in self.processes.drain(..) {
            let _ended = waitpid(Some(process), WaitOptions::empty());
        }
        for directory in self.directories.drain(..) {
            remove(&directory);
        }
    }
}

fn kept() -> MutexGuard<'static, Kept> {
    // A list is whole after every statement that changes it, so a panic elsewhere leaves nothing half done.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stretches the nets and clears up what a killed comparison left behind.
pub(super) fn watch() -> Result<(), Failure> {
    static ONCE: Once = Once::new();
    let mut outcome = Ok(());
    ONCE.call_once(|| {
        sweep(&memory());
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            told(panic);
            match KEPT.try_lock() {
                Ok(mut kept) => kept.end(),
                Err(TryLockError::Poisoned(kept)) => kept.into_inner().end(),
                Err(TryLockError::WouldBlock) => {} // The kernel kills what is left.
            }
        }));
        outcome = watch_signals();
    });
    outcome
}

fn watch_signals() -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|source| Failure::os("asking to be told of signals", source))?;
    let heard = move || {
        for signal in signals.forever() {
            // The lock is never given back: nothing more may be started.
            let mut kept = kept();
            kept.end();
            eprintln!(
                "\nringmq-bench: stopped by signal {signal}; everything that was started has been ended"
            );
            let _never_returns = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(heard);
    thread.map(drop).map_err(|source| Failure::os("starting the thread for signals", source))
}

/// A directory in memory that disappears with this value.
#[derive(Debug)]
pub(super) struct Nest(PathBuf);

impl Nest {
    /// Makes an empty one.
    pub(super) fn make(name: &str) -> Result<Self, Failure> {
        let mut kept = kept();
        kept.made += 1;
        let directory = memory().join(format!("{STEM}{}-{}-{name}", std::process::id(), kept.made));
        fs::create_dir_all(&directory)
            .map_err(|source| Failure::os(format!("making {}", directory.display()), source))?;
        kept.directories.push(directory.clone());
        Ok(Self(directory))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        kept().directories.retain(|directory| *directory != self.0);
        remove(&self.0);
    }
}

/// A process that ends with this value.
#[derive(Debug)]
pub(super) struct Ward {
    process: Pid,
    status: Option<ExitStatus>,
    child: std::process::Child,
    /// How it is asked to end.
    farewell: Signal,
}

impl Ward {
    /// Starts `command`, tied to this process, on `processors`.
    pub(super) fn start(
        command: &Command,
        processors: &[usize],
        output: Stdio,
        log: &Path,
    ) -> Result<Self, Failure> {
        let ours =
            std::env::current_exe().map_err(|source| Failure::os("finding our own program", source))?;
        let errors = File::create(log).map_err(|source| Failure::os("making a log file", source))?;
        let mut tethered = Command::new(ours);
        tethered.arg("tether").arg(std::process::id().to_string()).arg("--");
        tethered.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => tethered.env(name, value),
                None => tethered.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            tethered.current_dir(directory);
        }
        tethered.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut kept = kept();
        let child = affinity::pinned(processors, || tethered.spawn())?
            .map_err(|source| Failure::os(format!("starting {:?}", command.get_program()), source))?;
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = process.expect("a child has a process id");
        kept.processes.push(process);
        Ok(Self { process, status: None, child, farewell: Signal::TERM })
    }

    /// Asks it to end with `farewell` instead of SIGTERM.
    pub(super) fn with_farewell(mut self, farewell: Signal) -> Self {
        self.farewell = farewell;
        self
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        let mut kept = kept();
        if !kept.processes.contains(&self.process) {
            return true; // Also when one of the nets has caught it.
        }
        self.status = self.child.try_wait().ok().flatten();
        if self.status.is_some() {
            kept.processes.retain(|&process| process != self.process);
        }
        self.status.is_some()
    }

    /// How it ended, in words.
    pub(super) fn how_it_ended(&self) -> String {
        self.status.map_or_else(|| "it was stopped".to_owned(), |status| status.to_string())
    }

    /// Reads all that it prints, and whether it ended well.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, bool), Failure> {
        let mut output = vec![];
        if let Some(mut stdout) = self.child.stdout.take() {
            let read = stdout.read_to_end(&mut output);
            read.map_err(|source| Failure::os("reading what a program prints", source))?;
        }
        while !self.has_ended() {
            std::thread::park_timeout(PAUSE);
        }
        Ok((output, self.status.is_some_and(|status| status.success())))
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let deadline_ns = now_ns() + STOP_NS_MAX;
        if !self.has_ended() {
            let _sent = kill_process(self.process, self.farewell);
        }
        while !self.has_ended() {
            if now_ns() > deadline_ns {
                let _sent = kill_process(self.process, Signal::KILL);
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// Becomes the program that `options` name, which the kernel kills as soon as our parent is gone.
pub(crate) fn tether(options: &TetherOptions) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|source| Failure::os("tying a program to its parent", source))?;
    if parent_id() != options.parent {
        return Err(Failure::Usage("the parent has gone already".into()));
    }
    let (program, arguments) = options.command.split_first().expect("at least one word is required");
    let refusal = Command::new(program).args(arguments).exec();
    Err(Failure::os(format!("starting {program}"), refusal))
}

fn memory() -> PathBuf {
    let memory = Path::new(MEMORY);
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}

fn remove(directory: &Path) {
    // What stays behind is found by its name.
    let _removed = fs::remove_dir_all(directory);
}

/// Removes directories of comparisons that are no longer running.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(STEM)).and_then(|rest| {
            let (owner, _) = rest.split_once('-')?;
            owner.parse::<u32>().ok()
        });
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_the_dead_are_swept() {
        let nest = Nest::make("sweep").expect("memory can be written");
        let alive = nest.path().join(format!("{STEM}{}-1-x", std::process::id()));
        let dead = nest.path().join(format!("{STEM}{}-1-x", u32::MAX));
        let foreign = nest.path().join("else");
        for directory in [&alive, &dead, &foreign] {
            fs::create_dir(directory).expect("the nest is ours");
        }
        sweep(nest.path());
        assert_eq!([&alive, &dead, &foreign].map(|directory| directory.exists()), [true, false, true]);
    }

    #[test]
    fn a_nest_disappears_with_its_value() {
        let nest = Nest::make("gone").expect("memory can be written");
        let path = nest.path().to_path_buf();
        assert!(path.is_dir());
        drop(nest);
        assert!(!path.exists());
    }
}
