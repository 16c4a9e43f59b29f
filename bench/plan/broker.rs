//! The broker that is measured: started here on chosen processors, or running already.
//!
//! Why a fresh process for each experiment: memory that an earlier load left behind would flatter or burden the next.
//!
//! Invariants:
//! - A broker that was started is ended by its own process id, whatever happened in between.
//! - A broker that ran already is left running.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::coat::Coat;
use super::listeners::furnished;
use super::options::EffortOptions;
use crate::clock::now_ns;
use crate::compare::certify;
use crate::failure::Failure;

const START_NS_MAX: u64 = 15_000_000_000;
const STOP_NS_MAX: u64 = 8_000_000_000;
const CONFIG: &str = "plan.toml";
const PAUSE: Duration = Duration::from_millis(10);

/// Where brokers come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// They are started.
    Program {
        /// The program.
        program: PathBuf,
        /// Its configuration.
        config: Option<PathBuf>,
        /// Processors, in the order in which core counts take them.
        processors: Vec<usize>,
    },
    /// There is one already.
    Running {
        /// Where it listens.
        address: SocketAddr,
        /// Where it listens with TLS; `None` if nobody said.
        sealed: Option<SocketAddr>,
        /// Its process.
        pid: u32,
    },
}

/// A broker that answers.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it listens with TLS, if it does.
    sealed: Option<SocketAddr>,
    /// Its process.
    pub(crate) pid: u32,
    child: Option<Child>,
    directory: Option<PathBuf>,
}

impl Source {
    /// What the options say, or what is missing.
    pub(crate) fn of(options: &EffortOptions, processors: Vec<usize>) -> Result<Self, Failure> {
        if let (Some(target), Some(pid)) = (&options.target, options.pid) {
            let address = resolve(target, "--target")?;
            let sealed = options.target_tls.as_deref().map(|target| resolve(target, "--target-tls"));
            return Ok(Self::Running { address, sealed: sealed.transpose()?, pid });
        }
        let ours =
            std::env::current_exe().map_err(|source| Failure::os("finding our own program", source))?;
        let program = options.ringmq.clone().unwrap_or_else(|| ours.with_file_name("ringmq"));
        let program = program.canonicalize().map_err(|_| {
            Failure::Usage(format!(
                "there is no broker at {}: build it with `cargo build --release`, or name one with --ringmq or --target",
                program.display()
            ))
        })?;
        let config = options.config.as_deref().map(Path::canonicalize).transpose();
        let config = config.map_err(|source| Failure::os("finding the configuration", source))?;
        Ok(Self::Program { program, config, processors })
    }

    /// A broker on `cores` cores; one that runs already has as many as it has.
    pub(crate) fn start(&self, cores: usize) -> Result<Broker, Failure> {
        match self {
            Self::Running { address, sealed, pid } => {
                Ok(Broker { address: *address, sealed: *sealed, pid: *pid, child: None, directory: None })
            }
            Self::Program { program, config, processors } => {
                let chosen = processors.get(..cores).unwrap_or(processors);
                start(program, config.as_deref(), chosen)
            }
        }
    }

    /// Whether brokers can be started afresh.
    pub(crate) fn is_program(&self) -> bool {
        matches!(self, Self::Program { .. })
    }

    /// What it can be measured through.
    pub(crate) fn coats(&self) -> &'static [Coat] {
        match self {
            Self::Running { sealed: None, .. } => &[Coat::Plain],
            Self::Running { .. } | Self::Program { .. } => &[Coat::Plain, Coat::Tls],
        }
    }

    /// What is measured, in words.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::Running { address, pid, .. } => {
                format!("a broker that was running at {address} (process {pid})")
            }
            Self::Program { program, .. } => {
                let output = Command::new(program).arg("version").output().ok();
                let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                text.unwrap_or_default().lines().next().unwrap_or("ringmq").trim().to_owned()
            }
        }
    }
}

fn resolve(target: &str, option: &str) -> Result<SocketAddr, Failure> {
    let wrong = || Failure::Usage(format!("{option} is not host:port: {target}"));
    target.to_socket_addrs().map_err(|_| wrong())?.next().ok_or_else(wrong)
}

fn start(program: &Path, config: Option<&Path>, processors: &[usize]) -> Result<Broker, Failure> {
    let failed = |cause: String| Failure::Target { target: "ringmq".into(), cause };
    let [address, sealed] = free_addresses()?;
    let directory =
        std::env::temp_dir().join(format!("ringmq-plan-{}-{}", std::process::id(), address.port()));
    fs::create_dir_all(&directory)
        .map_err(|source| Failure::os(format!("making {}", directory.display()), source))?;
    let given = config.map_or(Ok(String::new()), fs::read_to_string);
    let given = given.map_err(|source| Failure::os("reading the configuration", source))?;
    let furnished = furnished(&given, address, sealed).map_err(failed)?;
    fs::write(directory.join(CONFIG), furnished)
        .map_err(|source| Failure::os("writing a configuration", source))?;
    certify(&directory)?;
    let open =
        || File::create(directory.join("log")).map_err(|source| Failure::os("making a log file", source));
    let list: Vec<String> = processors.iter().map(usize::to_string).collect();
    let mut command = Command::new(program);
    command.args(["serve", "-c", CONFIG, "--cores", &format!("{},", list.join(","))]);
    command.current_dir(&directory).stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    let child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let (pid, child, directory) = (child.id(), Some(child), Some(directory));
    let mut broker = Broker { address, sealed: Some(sealed), pid, child, directory };
    broker.await_answer().map_err(failed)?;
    Ok(broker)
}

/// Two ports that nobody has; both are held until both are known, or they could be the same.
fn free_addresses() -> Result<[SocketAddr; 2], Failure> {
    let found = || -> std::io::Result<[SocketAddr; 2]> {
        let [one, other] = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        Ok([one.local_addr()?, other.local_addr()?])
    };
    found().map_err(|source| Failure::os("finding free ports", source))
}

impl Broker {
    /// Where clients in `coat` connect; `None` if there is no such place.
    pub(crate) fn door(&self, coat: Coat) -> Option<SocketAddr> {
        match coat {
            Coat::Plain => Some(self.address),
            Coat::Tls => self.sealed,
        }
    }

    fn await_answer(&mut self) -> Result<(), String> {
        let deadline_ns = now_ns() + START_NS_MAX;
        let doors = [Some(self.address), self.sealed];
        while doors.into_iter().flatten().any(|door| TcpStream::connect(door).is_err()) {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || now_ns() > deadline_ns {
                let log = self.directory.as_ref().map(|directory| fs::read_to_string(directory.join("log")));
                let log = log.and_then(Result::ok).unwrap_or_default();
                let how =
                    ended.map_or_else(|| "it did not listen in time".to_owned(), |status| status.to_string());
                return Err(format!("{how}; {}", log.lines().last().unwrap_or_default()));
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already needs no signal.
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
        if let Some(directory) = &self.directory {
            // A directory that stays behind is found by its name.
            let _removed = fs::remove_dir_all(directory);
        }
    }
}
