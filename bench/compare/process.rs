//! Starting a target on its processor, loading it from another, and ending it.
//!
//! Why the generator is a process of its own: what is printed is then exactly what was run, and its memory and threads
//! are nobody else's.
//!
//! Invariants:
//! - Everything that is started is in the keeper's hands.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::counters::Counters;
use super::door::Door;
use super::figures::{Figures, PerMessage, Traffic};
use super::keeper::{Nest, Ward};
use super::load::{Load, LoadKind};
use super::options::CompareOptions;
use super::target::{Kind, Site, Target};
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::number::float;

const START_NS_MAX: u64 = 60_000_000_000;
const PAUSE: Duration = Duration::from_millis(20);
/// A run in which the broker gets warm, and two whose difference is counted.
const COUNTED_S: [&str; 3] = ["0.5", "0.5", "2.5"];

/// A target that answers. Fields are dropped in this order.
#[derive(Debug)]
pub(super) struct Running {
    broker: Option<Ward>,
    companions: Vec<Ward>,
    nest: Nest,
    host: String,
    port: u16,
    pid: Option<u32>,
}

impl Running {
    /// Starts `target` with `door` on `processors` and waits until it accepts connections.
    pub(super) fn start(target: &Target, door: Door, processors: &[usize]) -> Result<Self, Failure> {
        let nest = Nest::make(&target.name)?;
        let nobody = |host: &str, port, nest| {
            let host = host.to_owned();
            Self { broker: None, companions: vec![], nest, host, port, pid: None }
        };
        if let Kind::Remote { host, port, pid } = &target.kind {
            return Ok(Self { pid: *pid, ..nobody(host, *port, nest) });
        }
        let ports = free_ports()?;
        let site = Site { ports, directory: nest.path(), processors: processors.len() };
        let programs = target.programs(&site, door)?;
        let mut running = nobody("127.0.0.1", ports[0], nest);
        let Some(programs) = programs else { return Ok(running) };
        for (mut companion, port) in programs.companions {
            companion.current_dir(running.nest.path());
            let log = running.nest.path().join("companion.log");
            let mut ward = Ward::start(&companion, processors, Stdio::null(), &log)?;
            running.await_answer(&mut ward, port, target)?;
            running.companions.push(ward);
        }
        let mut broker = programs.broker;
        broker.current_dir(running.nest.path());
        let log = running.nest.path().join("log");
        let output = File::create(running.nest.path().join("output"))
            .map_err(|source| Failure::os("making a log file", source))?;
        let ward = Ward::start(&broker, processors, Stdio::from(output), &log)?;
        let mut ward = ward.with_farewell(programs.farewell);
        running.await_answer(&mut ward, ports[0], target)?;
        running.pid = Some(ward.pid());
        running.broker = Some(ward);
        Ok(running)
    }

    fn await_answer(&self, ward: &mut Ward, port: u16, target: &Target) -> Result<(), Failure> {
        let deadline_ns = now_ns() + START_NS_MAX;
        while TcpStream::connect((self.host.as_str(), port)).is_err() {
            let has_ended = ward.has_ended();
            if has_ended || now_ns() > deadline_ns {
                let how =
                    if has_ended { ward.how_it_ended() } else { "it did not listen in time".to_owned() };
                let cause = format!("{how}; {}", self.last_words());
                return Err(Failure::Target { target: target.name.clone(), cause });
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let read = |name| fs::read_to_string(self.nest.path().join(name)).unwrap_or_default();
        let text = read("output") + &read("log") + &read("companion.log");
        let last: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        last.join(" | ")
    }
}

/// Loads `running` once and reads the figures.
pub(super) fn measure(
    options: &CompareOptions,
    load: &Load,
    target: &Target,
    running: &Running,
) -> Result<Figures, Failure> {
    let mut arguments = vec!["--duration".to_owned(), options.duration.to_string()];
    match load.kind {
        LoadKind::Traffic => arguments.extend(["--warmup".to_owned(), options.warmup.to_string()]),
        LoadKind::Idle => arguments.extend(["--settle".to_owned(), options.settle.to_string()]),
    }
    let report = generate(options, &target.arguments(load), &arguments, target, running)?;
    let failed = |error: serde_json::Error| Failure::Target {
        target: target.name.clone(),
        cause: format!("an unreadable report: {error}"),
    };
    match load.kind {
        LoadKind::Traffic => serde_json::from_slice(&report).map(Figures::Traffic),
        LoadKind::Idle => serde_json::from_slice(&report).map(Figures::Idle),
    }
    .map_err(failed)
}

/// Counts system calls and instructions per message: two runs of different length at the same warm process, so
/// that connecting and leaving, which both have, cancel out.
pub(super) fn count(
    options: &CompareOptions,
    load: &Load,
    target: &Target,
    running: &Running,
) -> Result<PerMessage, Failure> {
    let failed = |cause: &str| Failure::Target { target: target.name.clone(), cause: cause.to_owned() };
    let pid = running.pid.ok_or_else(|| failed("its process is not known"))?;
    let mut seen = vec![];
    for duration in COUNTED_S {
        let mut counters = Counters::open(pid);
        let before = counters.read();
        let arguments = ["--duration", duration, "--warmup", "0"].map(str::to_owned);
        let report = generate(options, &target.arguments(load), &arguments, target, running)?;
        let counts = counters.read().since(before);
        let traffic: Traffic = serde_json::from_slice(&report).map_err(|_| failed("an unreadable report"))?;
        seen.push((counts, traffic.expected.saturating_sub(traffic.lost)));
    }
    let [_, (short, few), (long, many)] = seen[..] else { return Err(failed("it was not counted twice")) };
    let messages = many.saturating_sub(few);
    if messages == 0 {
        return Err(failed("the longer run did not deliver more"));
    }
    let difference = long.since(short);
    let each = |count: Option<u64>| count.map(|count| float(count) / float(messages));
    Ok(PerMessage {
        messages,
        system_calls: each(difference.system_calls),
        user_instructions: each(difference.instructions),
    })
}

/// Runs the generator and returns what it prints.
fn generate(
    options: &CompareOptions,
    load: &str,
    more: &[String],
    target: &Target,
    running: &Running,
) -> Result<Vec<u8>, Failure> {
    let ours = std::env::current_exe().map_err(|source| Failure::os("finding our own program", source))?;
    let mut command = Command::new(ours);
    let processors: Vec<String> = options.load_cpu.iter().map(usize::to_string).collect();
    command.args(load.split(' ')).args(more);
    command.args(["-h", &running.host, "-p", &running.port.to_string()]);
    command.args(["--cpu", &processors.join(","), "--threads", &processors.len().to_string()]);
    if let Some(pid) = running.pid {
        command.args(["--pid", &pid.to_string()]);
    }
    command.arg("--json");
    let log = running.nest.path().join("generator.log");
    let ward = Ward::start(&command, &options.load_cpu, Stdio::piped(), &log)?;
    let (output, is_well) = ward.finish()?;
    if is_well {
        return Ok(output);
    }
    let cause = fs::read_to_string(&log).unwrap_or_default().trim().to_owned();
    Err(Failure::Target { target: target.name.clone(), cause })
}

/// Three ports that were free a moment ago.
fn free_ports() -> Result<[u16; 3], Failure> {
    let failed = |source| Failure::os("finding free ports", source);
    // Held together, so that they differ.
    let open = |()| TcpListener::bind("127.0.0.1:0");
    let held: Vec<TcpListener> = [(); 3].into_iter().map(open).collect::<Result<_, _>>().map_err(failed)?;
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr().map_err(failed)?.port();
    }
    Ok(ports)
}
