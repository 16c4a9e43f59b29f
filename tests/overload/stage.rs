//! A broker to be loaded: its directory, its configuration, its process and its metrics.
//!
//! Why one connection to the control plane, kept open: a broker without descriptors could not take a second one.
//!
//! Invariants:
//! - Each scenario has a directory of its own under the target directory; the broker's log stays there.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crash::broker::{Broker, Failure, Setup, tail};
use crash::clock::now_ms;
use crash::ports::free_address;

use crate::crowd::PATIENCE_MS;
use crate::process::{Process, allow_descriptors};

/// A broker that is ready.
#[derive(Debug)]
pub struct Stage {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
    control: TcpStream,
    control_address: SocketAddr,
    log: PathBuf,
    _broker: Broker,
}

/// What the broker says of itself: names as in Prometheus' format, summed over the cores.
#[derive(Debug)]
pub struct Metrics(String);

impl Stage {
    /// Starts a broker on two cores with these lines of configuration besides.
    ///
    /// # Errors
    /// A sentence, if it does not become ready.
    pub fn start(name: &str, config: &str) -> Result<Self, String> {
        Self::start_with(name, config, Broker::start)
    }

    /// The same with a broker that may have no more than so many descriptors.
    ///
    /// # Errors
    /// As [`Stage::start`].
    pub fn start_narrow(name: &str, config: &str, descriptors: u64) -> Result<Self, String> {
        let before = allow_descriptors(descriptors)?;
        let stage = Self::start_with(name, config, |setup, cores| {
            let started = Broker::start(setup, cores);
            // It has inherited the limit; this process needs its own again.
            allow_descriptors(before).map_err(|why| Failure::Start(std::io::Error::other(why)))?;
            started
        });
        allow_descriptors(before)?;
        stage
    }

    fn start_with(
        name: &str,
        config: &str,
        start: impl FnOnce(&Setup, usize) -> Result<Broker, Failure>,
    ) -> Result<Self, String> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let work = workspace.join("target/overload").join(name);
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).map_err(|failure| failure.to_string())?;
        let control = free_address();
        let file = work.join("ringmq.toml");
        let text = format!("[sys]\ninterval_s = 0\n\n[control]\nlisten = \"{control}\"\n\n{config}");
        fs::write(&file, text).map_err(|failure| failure.to_string())?;
        let binary = std::env::var_os("RINGMQ_BIN").map(PathBuf::from);
        let setup = Setup {
            binary: binary.unwrap_or_else(|| workspace.join("target/release/ringmq")),
            config: file,
            store: work.join("store"),
            durability: Some("memory".to_owned()),
            log: work.join("broker.log"),
            variables: Vec::new(),
        };
        let no_broker = |failure| format!("no broker: {failure:?}\n{}", tail(&work.join("broker.log"), 2000));
        let mut broker = start(&setup, 2).map_err(no_broker)?;
        let ready = broker.wait_ready().map_err(no_broker)?;
        let process = Process::new(broker.pid());
        let control_address = control;
        let control = TcpStream::connect(control).map_err(|failure| format!("control: {failure}"))?;
        let patience = Some(Duration::from_millis(PATIENCE_MS));
        control.set_read_timeout(patience).map_err(|failure| failure.to_string())?;
        Ok(Self {
            address: ready.address,
            process,
            control,
            control_address,
            log: setup.log,
            _broker: broker,
        })
    }

    /// Opens connections that say nothing to the control plane until the broker has so many descriptors open.
    ///
    /// # Errors
    /// A sentence, if that does not come true in time.
    pub fn occupy(&self, descriptors: u64) -> Result<Vec<TcpStream>, String> {
        let end_ms = now_ms() + PATIENCE_MS;
        let mut idle = Vec::new();
        let mut open = self.process.descriptors();
        while open < descriptors {
            let socket = TcpStream::connect(self.control_address);
            idle.push(socket.map_err(|failure| format!("control: {failure}"))?);
            while self.process.descriptors() <= open {
                if now_ms() > end_ms {
                    return Err("not in time: the control plane takes a connection".to_owned());
                }
            }
            open = self.process.descriptors();
        }
        Ok(idle)
    }

    /// Asks for the metrics.
    ///
    /// # Errors
    /// A sentence, if there is no answer.
    pub fn metrics(&mut self) -> Result<Metrics, String> {
        let mut ask = || -> std::io::Result<String> {
            self.control.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
            let mut answer = Vec::new();
            let mut buffer = [0; 16_384];
            loop {
                let length = self.control.read(&mut buffer)?;
                answer.extend_from_slice(&buffer[..length]);
                let text = String::from_utf8_lossy(&answer);
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && (length == 0 || body.len() >= content_length(head))
                {
                    return Ok(body.to_owned());
                }
                if length == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        ask().map(Metrics).map_err(|failure| format!("no metrics: {failure}\n{}", self.log_tail()))
    }

    /// Asks for the metrics until one of them is as wanted.
    ///
    /// # Errors
    /// A sentence, if it does not become so in time.
    pub fn wait_for(&mut self, name: &str, wanted: impl Fn(u64) -> bool) -> Result<u64, String> {
        let end_ms = now_ms() + PATIENCE_MS;
        loop {
            let value = self.metrics()?.of(name);
            if wanted(value) {
                return Ok(value);
            }
            if now_ms() > end_ms {
                return Err(format!("not in time: {name} is {value}\n{}", self.log_tail()));
            }
        }
    }

    fn log_tail(&self) -> String {
        tail(&self.log, 2000)
    }
}

impl Metrics {
    /// The sum of all lines that begin with `ringmq_` and this name, labels included as far as they are given.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix("ringmq_")?.strip_prefix(name)?;
            let is_whole = rest.starts_with(['{', ' ']) || name.ends_with('}');
            rest.rsplit(' ').next().filter(|_| is_whole)?.parse::<u64>().ok()
        });
        values.sum()
    }
}

fn content_length(head: &str) -> usize {
    let named =
        |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().to_owned());
    head.lines().find_map(named).and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}
