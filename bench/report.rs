//! What a run found out, for people and for programs.
//!
//! Why one structure for both: the text must not know more than `--json`, and `compare` reads the JSON of the same
//! command that a person would type.
//!
//! Invariants:
//! - Times in fields are in the unit of their name; nothing is rounded before it is printed.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::number::float;

/// Percentiles of a time, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Values recorded.
    pub(crate) count: u64,
    /// Median.
    pub(crate) p50_us: f64,
    /// 90th percentile.
    pub(crate) p90_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
    /// 99.9th percentile.
    pub(crate) p999_us: f64,
    /// Largest value.
    pub(crate) max_us: f64,
}

/// The broker's process over the counted time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct BrokerUse {
    /// Process id.
    pub(crate) pid: u32,
    /// Process name.
    pub(crate) name: String,
    /// User and system time per delivered message, in nanoseconds.
    pub(crate) cpu_ns_per_message: f64,
    /// The share of user mode in that.
    pub(crate) user_share: f64,
    /// Processor time over elapsed time; 1.0 is one whole core.
    pub(crate) cores: f64,
    /// Time ready but without a core, over elapsed time.
    pub(crate) cores_waited_for: f64,
    /// Resident memory at the end, in bytes.
    pub(crate) resident_bytes: u64,
}

/// One generator thread over the counted time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ThreadUse {
    /// Processor time over elapsed time.
    pub(crate) cores: f64,
    /// Time ready but without a core, over elapsed time.
    pub(crate) cores_waited_for: f64,
}

/// Everything about one run with traffic.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RunReport {
    /// The load in words.
    pub(crate) load: String,
    /// Whether latencies count from a schedule.
    pub(crate) open_loop: bool,
    /// Counted time, in seconds.
    pub(crate) elapsed_s: f64,
    /// Messages published per second.
    pub(crate) sent_per_s: f64,
    /// Messages delivered per second.
    pub(crate) received_per_s: f64,
    /// Deliveries in the counted time.
    pub(crate) received: u64,
    /// Deliveries that the whole run should have led to, warm-up included, as all figures of the ledger.
    pub(crate) expected: u64,
    /// Never delivered.
    pub(crate) lost: u64,
    /// Delivered again.
    pub(crate) duplicated: u64,
    /// Delivered after a later one.
    pub(crate) reordered: u64,
    /// Messages that nobody in the run had sent.
    pub(crate) foreign: u64,
    /// Acknowledgements that refused a message.
    pub(crate) refused: u64,
    /// Acknowledgements of nothing.
    pub(crate) unexpected: u64,
    /// Windows reopened after the broker had been silent.
    pub(crate) stalls: u64,
    /// Connections lost during the run.
    pub(crate) departed: u64,
    /// Send to arrival.
    pub(crate) latency: Percentiles,
    /// How late an open loop sent.
    pub(crate) lag: Percentiles,
    /// Dialling to ready.
    pub(crate) connect: Percentiles,
    /// The broker's process, when it could be watched.
    pub(crate) broker: Option<BrokerUse>,
    /// The generator's threads.
    pub(crate) generator: Vec<ThreadUse>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

/// Everything about connections that do nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct IdleReport {
    /// The load in words.
    pub(crate) load: String,
    /// Connections that were ready.
    pub(crate) ready: u64,
    /// Connections lost while they were held.
    pub(crate) departed: u64,
    /// Connects per second, over both halves.
    pub(crate) connects_per_s: f64,
    /// Dialling to ready.
    pub(crate) connect: Percentiles,
    /// The broker, when it could be watched.
    pub(crate) broker: Option<IdleBroker>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

/// The broker under connections that do nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct IdleBroker {
    /// Process id.
    pub(crate) pid: u32,
    /// Process name.
    pub(crate) name: String,
    /// Resident memory before the first connection, with half of them, and with all, in bytes.
    pub(crate) resident_bytes: [u64; 3],
    /// User memory per connection, from none to all.
    pub(crate) bytes_per_connection: f64,
    /// User memory per connection, from half to all: without what the broker allocates once.
    pub(crate) bytes_per_further_connection: f64,
    /// Processor time per connect, in nanoseconds.
    pub(crate) cpu_ns_per_connect: f64,
    /// Processor time over elapsed time while nothing happened.
    pub(crate) cores_idle: f64,
}

impl Percentiles {
    /// Reads them off a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| float(histogram.value_at_quantile(quantile)) / 1e3;
        Self {
            count: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: float(histogram.max()) / 1e3,
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_us, p90_us, p99_us, p999_us, max_us, .. } = self;
        write!(
            f,
            "p50 {p50_us:.0} us, p90 {p90_us:.0} us, p99 {p99_us:.0} us, p99.9 {p999_us:.0} us, max {max_us:.0} us"
        )
    }
}

/// Waiting for a core for more than this share of the time spoils the figures.
const DISTURBED: f64 = 0.05;

impl RunReport {
    /// The largest share of the time that a generator thread was ready but had no core.
    pub(crate) fn generator_waited(&self) -> f64 {
        self.generator.iter().map(|thread| thread.cores_waited_for).fold(0.0, f64::max)
    }

    /// Time that the broker's threads were ready but had no core, over elapsed time; may exceed 1 for many threads.
    pub(crate) fn broker_waited(&self) -> f64 {
        self.broker.as_ref().map_or(0.0, |broker| broker.cores_waited_for)
    }

    fn write_disturbance(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (generator, broker) = (self.generator_waited(), self.broker_waited());
        if generator.max(broker) > DISTURBED {
            writeln!(
                f,
                "waited     for a core that somebody else held: broker {:.0} %, generator {:.0} % of the time",
                broker * 100.0,
                generator * 100.0
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "load       {}", self.load)?;
        writeln!(f, "connect    {}", self.connect)?;
        writeln!(f, "sent       {:.0} messages/s", self.sent_per_s)?;
        let Self { received_per_s, received, elapsed_s, .. } = self;
        writeln!(f, "received   {received_per_s:.0} messages/s ({received} in {elapsed_s:.2} s)")?;
        let Self { expected, lost, duplicated, reordered, .. } = self;
        writeln!(f, "ledger     {lost} lost, {duplicated} duplicated, {reordered} reordered, of {expected}")?;
        let from = if self.open_loop {
            "open loop, from the intended send time"
        } else {
            "closed loop, from the write"
        };
        writeln!(f, "latency    {}\n           ({from})", self.latency)?;
        if self.open_loop {
            writeln!(f, "send lag   {}", self.lag)?;
        }
        if let Some(broker) = &self.broker {
            writeln!(
                f,
                "broker     {} ({}): {:.3} us CPU per delivered message ({:.0} % user), {:.0} % of a core, {:.1} MiB",
                broker.name,
                broker.pid,
                broker.cpu_ns_per_message / 1e3,
                broker.user_share * 100.0,
                broker.cores * 100.0,
                float(broker.resident_bytes) / 1_048_576.0,
            )?;
        }
        for (thread, used) in self.generator.iter().enumerate() {
            writeln!(f, "generator  thread {thread}: {:.0} % of a core", used.cores * 100.0)?;
        }
        self.write_disturbance(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note       {note}"))
    }
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "load       {}", self.load)?;
        writeln!(f, "ready      {} connections, {} lost while held", self.ready, self.departed)?;
        writeln!(f, "connect    {:.0} per second, {}", self.connects_per_s, self.connect)?;
        if let Some(broker) = &self.broker {
            let [empty, half, full] = broker.resident_bytes.map(|bytes| float(bytes) / 1_048_576.0);
            writeln!(
                f,
                "broker     {} ({}): {empty:.1} MiB with none, {half:.1} with half, {full:.1} with all",
                broker.name, broker.pid
            )?;
            writeln!(
                f,
                "           {:.0} B per connection, {:.0} B per further one",
                broker.bytes_per_connection, broker.bytes_per_further_connection
            )?;
            writeln!(
                f,
                "           {:.1} us CPU per connect, {:.2} % of a core while idle",
                broker.cpu_ns_per_connect / 1e3,
                broker.cores_idle * 100.0
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note       {note}"))
    }
}
