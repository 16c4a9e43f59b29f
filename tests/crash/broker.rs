//! The broker under test: a process that is started, awaited, killed, and asked for its exit code.
//!
//! Why port 0 each time: a port that the last broker has left may still be taken, and the ready line says the new one.
//!
//! Invariants:
//! - A broker that is dropped is dead.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::clock::{now_ms, now_us, until};

/// How long a start may take, recovery included.
const START_MS_MAX: u64 = 60_000;
/// How long an end may take after SIGTERM.
const STOP_MS_MAX: u64 = 20_000;

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data directory.
    pub store: PathBuf,
    /// Overrides the durability of all listeners.
    pub durability: Option<String>,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// What its environment holds besides.
    pub variables: Vec<(String, String)>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    lines: Receiver<String>,
    started_us: u64,
}

/// Why there is no broker.
#[derive(Debug)]
pub enum Failure {
    /// It could not be started.
    Start(io::Error),
    /// It ended before it was ready.
    Ended(ExitStatus),
    /// It was not ready in time.
    Late,
}

/// A broker that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
    /// How long the start took, in microseconds.
    pub start_us: u64,
}

impl Broker {
    /// Starts a broker on so many cores.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(setup: &Setup, cores: usize) -> Result<Self, Failure> {
        let log = OpenOptions::new().create(true).append(true).open(&setup.log).map_err(Failure::Start)?;
        let mut command = Command::new(&setup.binary);
        command.arg("serve").arg("-c").arg(&setup.config).args(["--listen", "127.0.0.1:0", "--cores"]);
        command.arg(cores.to_string()).arg("--data").arg(&setup.store);
        if let Some(durability) = &setup.durability {
            command.args(["--durability", durability]);
        }
        command.envs(setup.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let started_us = now_us();
        let mut child = command.spawn().map_err(Failure::Start)?;
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, started_us })
    }

    /// Waits for the ready line.
    ///
    /// # Errors
    /// If it ends, or takes longer than a minute.
    pub fn wait_ready(&mut self) -> Result<Ready, Failure> {
        match self.wait_ready_for(START_MS_MAX) {
            Some(outcome) => outcome,
            None => Err(Failure::Late),
        }
    }

    /// Waits for the ready line for so many milliseconds; none if nothing was said until then.
    pub fn wait_ready_for(&mut self, wait_ms: u64) -> Option<Result<Ready, Failure>> {
        let end_ms = now_ms() + wait_ms;
        loop {
            match self.lines.recv_timeout(until(end_ms)) {
                Ok(line) => {
                    if let Some(address) = address_in(&line) {
                        return Some(Ok(Ready { address, start_us: now_us() - self.started_us }));
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(match self.child.wait() {
                        Ok(status) => Err(Failure::Ended(status)),
                        Err(failure) => Err(Failure::Start(failure)),
                    });
                }
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a chance to say anything. Nothing of it runs any more when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, with SIGTERM.
    pub fn ask_to_end(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// Waits until it has ended by itself.
    pub fn wait_end(&mut self) -> Option<ExitStatus> {
        let end_ms = now_ms() + STOP_MS_MAX;
        // Its standard output is closed when it ends.
        while self.lines.recv_timeout(until(end_ms)).is_ok() {}
        while now_ms() < end_ms {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        None
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The address in `... ready: mqtt 127.0.0.1:1883 (2 cores)`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("ready: ")?;
    rest.split([' ', ',']).find_map(|word| word.parse().ok())
}

/// The last lines of a log, for people.
#[must_use]
pub fn tail(log: &Path, bytes: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_holds_the_address() {
        let address = address_in("ringmq 0.1.0 ready: mqtt 127.0.0.1:40123 (2 cores)");
        assert_eq!(address, "127.0.0.1:40123".parse().ok());
        assert_eq!(address_in("recovering: 400 of about 1000 records"), None);
    }
}
