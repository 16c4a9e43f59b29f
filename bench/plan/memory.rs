//! Memory per connection, session, subscription and retained message, by slope.
//!
//! Why slopes over several counts: a broker allocates tables and pools in steps, and what it takes before the first
//! client says nothing about the millionth.
//!
//! Invariants:
//! - Each kind of thing meets a fresh broker where one can be started.
//! - The kernel's memory for a socket is read from the kernel, and stands beside the broker's, not in it.

use std::fs;

use serde::{Deserialize, Serialize};

use super::broker::{Broker, Source};
use super::client::{Client, Session};
use super::coat::Coat;
use super::limits::PING_SHARE;
use super::load::{Generator, Held};
use super::options::Effort;
use super::statistics::{Estimate, Slope, Unknown};
use crate::failure::Failure;
use crate::number::float;
use crate::procfs;
use crate::progress::Progress;

/// Looks at the memory while things are added.
const LOOKS: u32 = 5;
/// Further runs for the cost of a connect, at most.
const CONNECT_ROUNDS_MAX: u32 = 3;
/// What the kernel keeps per TCP connection, if it does not say: tcp_sock, socket with inode, file, directory entry.
const KERNEL_BYTES: f64 = 2_368.0 + 832.0 + 192.0 + 192.0;

/// One kind of thing that a broker keeps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What it is.
    pub(crate) name: String,
    /// How many there were, and the resident memory of the broker in bytes.
    pub(crate) points: Vec<(f64, f64)>,
    /// Bytes of one more; `None` if the points do not say.
    pub(crate) line: Option<Slope>,
}

/// What things cost in memory, and connections in processor time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// A connection without subscription.
    pub(crate) connection: Kept,
    /// A connection with one subscription.
    pub(crate) subscriber: Kept,
    /// A connection over TLS with one subscription; `None` where there is no TLS.
    pub(crate) sealed: Option<Kept>,
    /// A further subscription.
    pub(crate) subscription: Kept,
    /// A session whose client is away.
    pub(crate) session: Kept,
    /// A retained message of the payload asked about.
    pub(crate) retained: Kept,
    /// Kernel memory of one connection, in bytes.
    pub(crate) kernel_bytes: f64,
    /// Processor time of one CONNECT with SUBSCRIBE, in nanoseconds.
    pub(crate) connect_ns: Option<Estimate>,
    /// The same over TLS, with a full handshake.
    pub(crate) sealed_connect_ns: Option<Estimate>,
    /// Processor time of one PINGREQ, in nanoseconds.
    pub(crate) ping_ns: Option<Estimate>,
    /// Connects per second that one generator core and the broker managed together.
    pub(crate) connects_per_s: f64,
}

impl Kept {
    /// Points and their line.
    pub(crate) fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        let line: Result<Slope, Unknown> = Slope::of(&points);
        Self { name: name.to_owned(), line: line.ok(), points }
    }

    /// Bytes of one more, at least nothing.
    pub(crate) fn bytes(&self) -> Estimate {
        self.line
            .map_or(Estimate { value: 0.0, low: 0.0, high: f64::INFINITY }, |line| line.slope.at_least(0.0))
    }

    /// The most that was measured.
    pub(crate) fn most(&self) -> f64 {
        self.points.iter().map(|(count, _)| *count).fold(0.0, f64::max)
    }
}

/// Measures everything that a broker keeps.
pub(crate) fn measure(
    source: &Source,
    generator: &Generator,
    effort: &Effort,
    payload: u32,
    progress: &Progress,
) -> Result<Memory, Failure> {
    let hold = |is_subscribed, coat| {
        let counts = [effort.connections / 2, effort.connections];
        Crowd::gather(source, generator, &counts, Held { is_subscribed, coat, ..quiet(effort) }, progress)
    };
    let (bare, mut subscribed) = (hold(false, Coat::Plain)?, hold(true, Coat::Plain)?);
    let mut sealed = match source.coats().contains(&Coat::Tls) {
        true => Some(hold(true, Coat::Tls)?),
        false => None,
    };
    let connects_per_s = bare.connects_per_s.max(subscribed.connects_per_s);
    // In turns, as everything that is compared; a connect needs no time to settle.
    for _ in 0..effort.rounds.min(CONNECT_ROUNDS_MAX) {
        let more = |coat| {
            let held = Held { is_subscribed: true, coat, settle_s: 0.0, ..quiet(effort) };
            Crowd::gather(source, generator, &[effort.connections / 4], held, progress)
        };
        subscribed.connects_ns.extend(more(Coat::Plain)?.connects_ns);
        if let Some(sealed) = &mut sealed {
            sealed.connects_ns.extend(more(Coat::Tls)?.connects_ns);
        }
    }
    let count = effort.connections / LOOKS;
    let bytes = usize::try_from(payload).expect("at most a mebibyte");
    let subscription =
        grow(source, "subscriptions", count.min(1_900), progress, |client, range| client.subscribe(range))?;
    let retained =
        grow(source, "retained messages", count, progress, |client, range| client.retain(range, bytes))?;
    Ok(Memory {
        connection: Kept::new("connection", bare.points),
        subscriber: Kept::new("connection with one subscription", subscribed.points),
        connect_ns: Estimate::of_repeats(&subscribed.connects_ns),
        sealed_connect_ns: sealed.as_ref().and_then(|sealed| Estimate::of_repeats(&sealed.connects_ns)),
        sealed: sealed.map(|sealed| Kept::new("connection over TLS with one subscription", sealed.points)),
        subscription: Kept::new("further subscription", subscription),
        session: Kept::new("session of a client that is away", away(source, count, progress)?),
        retained: Kept::new(&format!("retained message of {payload} B"), retained),
        kernel_bytes: kernel_bytes(),
        ping_ns: pings(source, generator, effort, progress)?,
        connects_per_s,
    })
}

fn quiet(effort: &Effort) -> Held {
    Held {
        count: effort.connections,
        is_subscribed: false,
        coat: Coat::Plain,
        keep_alive_s: 0,
        settle_s: effort.settle_s,
        duration_s: 0.1,
    }
}

/// What connections of one kind did to the broker.
struct Crowd {
    /// How many there were, and the resident memory of the broker in bytes.
    points: Vec<(f64, f64)>,
    /// Processor time of each connect, in nanoseconds, run by run.
    connects_ns: Vec<f64>,
    connects_per_s: f64,
}

impl Crowd {
    /// Holds each of `counts` connections like `held` at a fresh broker.
    fn gather(
        source: &Source,
        generator: &Generator,
        counts: &[u32],
        held: Held,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let mut crowd = Self { points: vec![], connects_ns: vec![], connects_per_s: 0.0 };
        for &count in counts {
            progress.show(|| format!("memory: {count} connections{}", held.coat.words()));
            let broker = source.start(1)?;
            let report = generator.hold(&broker, &Held { count, ..held })?;
            crowd.connects_per_s = crowd.connects_per_s.max(report.connects_per_s);
            let Some(found) = report.broker else { continue };
            let looks = [0.0, (f64::from(count) / 2.0).ceil(), float(report.ready)];
            crowd.points.extend(looks.into_iter().zip(found.resident_bytes.map(float)));
            crowd.connects_ns.push(found.cpu_ns_per_connect);
        }
        Ok(crowd)
    }
}

/// Memory while one client adds `count` things at a time.
fn grow(
    source: &Source,
    name: &str,
    count: u32,
    progress: &Progress,
    add: impl Fn(&mut Client, std::ops::Range<u32>) -> Result<(), Failure>,
) -> Result<Vec<(f64, f64)>, Failure> {
    let broker = source.start(1)?;
    let mut client = Client::connect(broker.address, &own_id("keeper"), Session::Clean)?;
    let mut points = vec![point(0, &broker)?];
    for look in 0..LOOKS {
        progress.show(|| format!("memory: {} {name}", (look + 1) * count));
        add(&mut client, look * count..(look + 1) * count)?;
        points.push(point((look + 1) * count, &broker)?);
    }
    client.leave()?;
    Ok(points)
}

/// Memory while clients come and leave their sessions behind.
fn away(source: &Source, count: u32, progress: &Progress) -> Result<Vec<(f64, f64)>, Failure> {
    let broker = source.start(1)?;
    let mut points = vec![point(0, &broker)?];
    for look in 0..LOOKS {
        progress.show(|| format!("memory: {} sessions", (look + 1) * count));
        for number in look * count..(look + 1) * count {
            Client::connect(broker.address, &own_id(&format!("away-{number:06}")), Session::Lasting)?
                .leave()?;
        }
        points.push(point((look + 1) * count, &broker)?);
    }
    Ok(points)
}

/// What a ping costs: many connections with a keep alive of one second, less what as many without cost.
fn pings(
    source: &Source,
    generator: &Generator,
    effort: &Effort,
    progress: &Progress,
) -> Result<Option<Estimate>, Failure> {
    let count = effort.connections;
    let idle = |keep_alive_s: u16| -> Result<Option<(f64, f64)>, Failure> {
        progress.show(|| format!("{count} connections with a keep alive of {keep_alive_s} s"));
        let broker = source.start(1)?;
        let duration_s = generator.duration_s.max(1.0);
        let held = Held { keep_alive_s, duration_s, ..quiet(effort) };
        let report = generator.hold(&broker, &held)?;
        Ok(report.broker.map(|found| (found.cores_idle, float(report.ready))))
    };
    let (Some((quiet, _)), Some((pinging, ready))) = (idle(0)?, idle(1)?) else { return Ok(None) };
    let pings_per_s = ready / PING_SHARE;
    Ok(Some(Estimate::exact((pinging - quiet).max(0.0) / pings_per_s.max(1.0) * 1e9)))
}

fn point(count: u32, broker: &Broker) -> Result<(f64, f64), Failure> {
    Ok((f64::from(count), float(procfs::resident_bytes(broker.pid)?)))
}

fn own_id(name: &str) -> String {
    format!("plan-{}-{name}", std::process::id())
}

/// What the kernel's own tables say about the size of what a connection needs.
fn kernel_bytes() -> f64 {
    let size = |slab: &str| -> Option<f64> {
        fs::read_to_string(format!("/sys/kernel/slab/{slab}/slab_size")).ok()?.trim().parse().ok()
    };
    let sizes: Option<Vec<f64>> =
        ["TCP", "sock_inode_cache", "filp", "dentry"].into_iter().map(size).collect();
    sizes.map_or(KERNEL_BYTES, |sizes| sizes.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_costs_its_slope_and_unknown_slopes_have_no_upper_end() {
        let kept =
            Kept::new("x", [0.0, 100.0, 200.0, 300.0].map(|count| (count, 1e6 + 500.0 * count)).to_vec());
        assert!((kept.bytes().value - 500.0).abs() < 1e-6, "{kept:?}");
        assert!((kept.most() - 300.0).abs() < f64::EPSILON);
        let unknown = Kept::new("x", vec![(0.0, 1e6)]);
        assert!(unknown.bytes().high.is_infinite());
        let shrinking = Kept::new("x", vec![(0.0, 1e6), (100.0, 9e5)]);
        assert!(shrinking.bytes().value.abs() < f64::EPSILON, "nothing costs less than nothing");
    }

    #[test]
    fn a_socket_costs_the_kernel_some_kibibytes() {
        assert!((2_000.0..20_000.0).contains(&kernel_bytes()));
    }
}
