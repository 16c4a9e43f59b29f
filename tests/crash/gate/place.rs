//! Where a test of the gate works: its binary, its directory, its broker.
//!
//! Invariants:
//! - Each test has a directory of its own under the target directory; it stays there if the test fails.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crash::book::Rule;
use crash::broker::{Broker, Failure, Ready, Setup, tail};
use crash::campaign::Plan;
use crash::ports::free_address;
use crash::powercut::PowerCut;
use crash::report::Report;

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("RINGMQ_BIN").map_or_else(|| workspace().join("target/release/ringmq"), PathBuf::from)
}

/// The same with debug assertions, as `cargo build` makes it.
pub fn debug_binary() -> PathBuf {
    std::env::var_os("RINGMQ_DEBUG_BIN")
        .map_or_else(|| workspace().join("target/debug/ringmq"), PathBuf::from)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An empty directory for a test.
pub fn work(name: &str) -> PathBuf {
    let work = workspace().join("target/crash").join(name);
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).expect("the target directory can be written");
    work
}

/// Why nothing can be mounted here, if that is so.
pub fn missing_rights() -> Vec<String> {
    let fuse = PowerCut::mount(&work("rights"), 1 << 20, 0).map(drop);
    let tmpfs = Tmpfs::mount(&work("rights-tmpfs"), 1).map(drop);
    let missing = [("a FUSE file system", fuse.map_err(|why| why.to_string())), ("a tmpfs", tmpfs)];
    let missing = missing.into_iter().filter_map(|(what, outcome)| Some((what, outcome.err()?)));
    missing.map(|(what, why)| format!("{what} cannot be mounted: {why}")).collect()
}

/// A campaign of the gate.
pub fn plan(name: &str, falls: u64) -> Plan {
    Plan {
        binary: binary(),
        durability: None,
        falls,
        seed: 1,
        rate: 12_000,
        load_ms: (200, 3000),
        drain_every: 10,
        cores_max: 2,
        work: work(name),
        is_shown: true,
        broken_max: 1000,
        variables: Vec::new(),
    }
}

/// Fails with the report if a rule was broken, or if nothing has happened at all.
pub fn must_be_good(report: &Report) -> Result<(), String> {
    println!("{report}");
    if report.is_good() && report.sums.acked > 1000 { Ok(()) } else { Err(report.to_string()) }
}

/// Fails unless the campaign has found out that promises were not kept.
pub fn must_be_caught(report: &Report) -> Result<(), String> {
    // A subscription that is there again although its end was acknowledged is a promise forgotten, too.
    let telling = [Rule::Lost, Rule::RetainedLost, Rule::SessionUntrue, Rule::Duplicated, Rule::Unwanted];
    let is_caught = telling.iter().any(|rule| report.broken.contains_key(rule));
    if is_caught { Ok(()) } else { Err(format!("nobody has noticed\n{report}")) }
}

/// A broker of a scenario, with its directory and configuration.
pub struct Stage {
    pub setup: Setup,
    pub control: SocketAddr,
}

impl Stage {
    /// A stage in `work` with the data directory `store` and these lines of configuration besides.
    pub fn new(work: &Path, store: &Path, config: &str) -> Self {
        let control = free_address();
        let file = work.join("ringmq.toml");
        let text = format!("[sys]\ninterval_s = 0\n\n[control]\nlisten = \"{control}\"\n\n{config}");
        fs::write(&file, text).expect("the work directory can be written");
        let setup = Setup {
            binary: binary(),
            config: file,
            store: store.to_owned(),
            durability: None,
            log: work.join("broker.log"),
            variables: Vec::new(),
        };
        Self { setup, control }
    }

    /// A broker that is ready.
    pub fn start(&self) -> Result<(Broker, Ready), String> {
        let mut broker = self.try_start()?;
        match broker.wait_ready() {
            Ok(ready) => Ok((broker, ready)),
            Err(failure) => Err(self.no_broker(&failure)),
        }
    }

    /// A broker that may or may not become ready.
    pub fn try_start(&self) -> Result<Broker, String> {
        Broker::start(&self.setup, 2).map_err(|failure| self.no_broker(&failure))
    }

    fn no_broker(&self, failure: &Failure) -> String {
        format!("no broker: {failure:?}\n{}", tail(&self.setup.log, 2000))
    }

    /// Status and body of an answer of the control plane.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let ask = || -> std::io::Result<String> {
            let mut socket = TcpStream::connect(self.control)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|failure| format!("{path}: {failure}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a body")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
        Ok((status, body.to_owned()))
    }
}

/// A tmpfs of so many MiB, mounted until it is dropped.
pub struct Tmpfs {
    pub point: PathBuf,
}

impl Tmpfs {
    pub fn mount(work: &Path, mebibytes: u64) -> Result<Self, String> {
        let point = work.join("small");
        fs::create_dir_all(&point).map_err(|failure| failure.to_string())?;
        let options = std::ffi::CString::new(format!("size={mebibytes}m,mode=0700")).expect("no zero");
        rustix::mount::mount(
            "tmpfs",
            &point,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        )
        .map_err(|failure| failure.to_string())?;
        Ok(Self { point })
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.point, rustix::mount::UnmountFlags::DETACH);
    }
}
