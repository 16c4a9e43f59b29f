//! What a run found out, for people and for programs.
//!
//! Why one structure for both: the text must not know more than `--json`, and `compare` reads the JSON of the same
//! command that a person would type.
//!
//! Invariants:
//! - Times in fields are in the unit of their name; nothing is rounded before it is printed.

use serde::{Deserialize, Serialize};

use crate::number::float;
use crate::sheet::{Percentiles, Point, Row, Second, Sheet};

/// What a workload found out.
pub(crate) trait Report: Serialize {
    /// The same for people.
    fn sheet(&self) -> Sheet;
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
    /// Whether a signal ended the run early.
    pub(crate) interrupted: bool,
    /// What latencies count from.
    pub(crate) latency_from: Origin,
    /// Whether messages left by a schedule.
    pub(crate) open_loop: bool,
    /// Counted time, in seconds.
    pub(crate) elapsed_s: f64,
    /// Messages published per second.
    pub(crate) sent_per_s: f64,
    /// Messages delivered per second.
    pub(crate) received_per_s: f64,
    /// Messages published in the whole run, warm-up included.
    #[serde(default)]
    pub(crate) sent: u64,
    /// Of those, messages of QoS 1 and 2 that were never acknowledged.
    #[serde(default)]
    pub(crate) unanswered: u64,
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
    /// Send to PUBACK or PUBCOMP; empty for QoS 0.
    pub(crate) acknowledged: Percentiles,
    /// How late an open loop sent.
    pub(crate) lag: Percentiles,
    /// Dialling to ready.
    pub(crate) connect: Percentiles,
    /// The broker's process, when it could be watched.
    pub(crate) broker: Option<BrokerUse>,
    /// The generator's threads.
    pub(crate) generator: Vec<ThreadUse>,
    /// What was replayed to subscribers that came later, when that is what the run was about.
    pub(crate) replay: Option<Replay>,
    /// All of `latency`.
    pub(crate) distribution: Vec<Point>,
    /// Second by second.
    pub(crate) series: Vec<Second>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

/// What latencies count from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// The time at which the schedule wanted the message to leave.
    Schedule,
    /// The write that carried the message.
    #[default]
    Write,
    /// The subscriber's request for what had been kept: its SUBSCRIBE, or the CONNECT to its lasting session.
    Request,
}

/// Messages that the broker had kept, handed out to subscribers that came later.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// Messages kept, each once.
    pub(crate) kept: u64,
    /// How fast they were handed in, per second.
    pub(crate) kept_per_s: f64,
    /// Subscribers that asked.
    pub(crate) subscribers: u64,
    /// Of those, subscribers that got all.
    pub(crate) complete: u64,
    /// Broker's processor time per message handed in, in nanoseconds; `None` when it is not watched.
    pub(crate) keep_cpu_ns: Option<f64>,
    /// From asking to the last message, over the complete subscribers.
    pub(crate) completion: Percentiles,
    /// Connections to a lasting session whose CONNACK did not confirm it.
    pub(crate) sessions_missing: u64,
    /// Retained messages that came without the RETAIN flag.
    pub(crate) flag_missing: u64,
}

/// Everything about connects.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConnectReport {
    /// The load in words.
    pub(crate) load: String,
    /// Whether a signal ended the run early.
    pub(crate) interrupted: bool,
    /// Time from the first dial to the last welcome, over all waves, in seconds.
    pub(crate) elapsed_s: f64,
    /// Clients welcomed, each time counted.
    pub(crate) connects: u64,
    /// Clients welcomed per second while any were on their way.
    pub(crate) connects_per_s: f64,
    /// Dials that did not end with a welcome.
    pub(crate) failed: u64,
    /// Clients that the broker dropped after their welcome.
    pub(crate) departed: u64,
    /// From CONNECT to CONNACK.
    pub(crate) welcome: Percentiles,
    /// From the time when the dial was due to CONNACK.
    pub(crate) connect: Percentiles,
    /// From the end of the TCP handshake to the end of those of TLS and WebSocket.
    pub(crate) opening: Percentiles,
    /// The TLS handshakes, if there were any.
    pub(crate) tls: Option<TlsUse>,
    /// All of `welcome`.
    pub(crate) distribution: Vec<Point>,
    /// One entry for each time that many clients came at once.
    pub(crate) waves: Vec<Wave>,
    /// Broker's processor time per connect, in nanoseconds; `None` when it is not watched.
    pub(crate) cpu_ns_per_connect: Option<f64>,
    /// The generator's threads.
    pub(crate) generator: Vec<ThreadUse>,
    /// Second by second.
    pub(crate) series: Vec<Second>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

/// TLS handshakes.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TlsUse {
    /// Version and cipher suite.
    pub(crate) suite: String,
    /// Handshakes with certificates and signatures.
    pub(crate) full: u64,
    /// Handshakes from tickets of an earlier one.
    pub(crate) resumed: u64,
    /// All of them per second.
    pub(crate) per_s: f64,
    /// How many one whole core of the broker does in a second, the rest of a connect included; `None` when the broker is
    /// not watched.
    pub(crate) per_s_and_core: Option<f64>,
}

/// Many clients that came at once.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Wave {
    /// Clients that wanted in.
    pub(crate) clients: u64,
    /// Clients that got in.
    pub(crate) welcomed: u64,
    /// Until 99 in 100 were in, in seconds.
    pub(crate) most_s: f64,
    /// Until the last one was in or had failed, in seconds.
    pub(crate) all_s: f64,
}

/// Everything about connections that do nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct IdleReport {
    /// The load in words.
    pub(crate) load: String,
    /// Whether a signal ended the run early.
    pub(crate) interrupted: bool,
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
    /// Second by second.
    pub(crate) series: Vec<Second>,
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

/// Waiting for a core for more than this share of the time spoils the figures.
const DISTURBED: f64 = 0.05;
const MEBIBYTE: f64 = 1_048_576.0;

impl RunReport {
    /// The largest share of the time that a generator thread was ready but had no core.
    pub(crate) fn generator_waited(&self) -> f64 {
        self.generator.iter().map(|thread| thread.cores_waited_for).fold(0.0, f64::max)
    }

    /// Time that the broker's threads were ready but had no core, over elapsed time; may exceed 1 for many threads.
    pub(crate) fn broker_waited(&self) -> f64 {
        self.broker.as_ref().map_or(0.0, |broker| broker.cores_waited_for)
    }

    fn rows(&self) -> Vec<Row> {
        let Self { received_per_s, received, elapsed_s, expected, lost, duplicated, reordered, .. } = self;
        let mut rows = vec![
            row("sent", format!("{:.0} messages/s", self.sent_per_s)),
            row("received", format!("{received_per_s:.0} messages/s ({received} in {elapsed_s:.2} s)")),
            row(
                "ledger",
                format!("{lost} lost, {duplicated} duplicated, {reordered} reordered, of {expected}"),
            ),
        ];
        rows.extend(self.replay.iter().flat_map(Replay::rows));
        rows.extend(self.broker.as_ref().map(|broker| broker.row(self.sent_per_s)));
        rows.extend(generator_rows(&self.generator));
        let (generator, broker) = (self.generator_waited(), self.broker_waited());
        if generator.max(broker) > DISTURBED {
            rows.push(row(
                "waited",
                format!(
                    "for a core that somebody else held: broker {:.0} %, generator {:.0} % of the time",
                    broker * 100.0,
                    generator * 100.0
                ),
            ));
        }
        rows
    }
}

impl Report for RunReport {
    fn sheet(&self) -> Sheet {
        let latency = match self.latency_from {
            Origin::Schedule => "latency, due",
            Origin::Write => "latency",
            Origin::Request => "since asked",
        };
        let replay = self.replay.as_ref().map(|replay| ("complete", replay.completion));
        let mut times = vec![(latency, self.latency), ("acknowledged", self.acknowledged)];
        times.extend(replay);
        times.extend([("send lag", self.lag), ("connect", self.connect)]);
        times.retain(|(_, percentiles)| percentiles.count > 0);
        let origin = match self.latency_from {
            Origin::Schedule => {
                "latency counts from the time at which the schedule wanted each message to leave"
            }
            Origin::Write => "latency counts from the write that carried the message",
            Origin::Request => "latency counts from the subscriber's request for what had been kept",
        };
        let origin = (self.latency.count > 0).then(|| origin.to_owned());
        Sheet {
            title: self.load.clone(),
            interrupted: self.interrupted,
            rows: self.rows(),
            times,
            distribution: self.distribution.clone(),
            series: self.series.clone(),
            notes: origin.into_iter().chain(self.notes.iter().cloned()).collect(),
        }
    }
}

impl Replay {
    fn rows(&self) -> Vec<Row> {
        let Self { kept, kept_per_s, subscribers, complete, .. } = self;
        let cpu =
            self.keep_cpu_ns.map(|ns| format!(", {:.3} us broker CPU each", ns / 1e3)).unwrap_or_default();
        vec![
            row("kept", format!("{kept} messages, {kept_per_s:.0} per second{cpu}")),
            row("complete", format!("{complete} of {subscribers} subscribers got all")),
        ]
    }
}

impl BrokerUse {
    /// Where nothing was delivered, the cost is that of taking in.
    fn row(&self, sent_per_s: f64) -> Row {
        let Self { name, pid, cpu_ns_per_message, user_share, cores, resident_bytes, .. } = self;
        let (cpu_ns, what) = if *cpu_ns_per_message > 0.0 || sent_per_s < 1.0 {
            (*cpu_ns_per_message, "delivered")
        } else {
            (cores * 1e9 / sent_per_s, "published")
        };
        row(
            "broker",
            format!(
                "{name} ({pid}): {:.3} us CPU per {what} message ({:.0} % user), {:.0} % of a core, {:.1} MiB",
                cpu_ns / 1e3,
                user_share * 100.0,
                cores * 100.0,
                float(*resident_bytes) / MEBIBYTE,
            ),
        )
    }
}

impl Report for ConnectReport {
    fn sheet(&self) -> Sheet {
        let Self { connects, connects_per_s, elapsed_s, failed, departed, .. } = self;
        let mut rows = vec![
            row("connects", format!("{connects_per_s:.0} per second ({connects} in {elapsed_s:.2} s)")),
            row("ledger", format!("{failed} failed, {departed} dropped later")),
        ];
        rows.extend(self.waves.iter().map(|Wave { clients, welcomed, most_s, all_s }| {
            row(
                "wave",
                format!("{welcomed} of {clients} clients: 99 % in {most_s:.3} s, all in {all_s:.3} s"),
            )
        }));
        rows.extend(
            self.cpu_ns_per_connect.map(|ns| row("broker", format!("{:.1} us CPU per connect", ns / 1e3))),
        );
        rows.extend(self.tls.as_ref().map(TlsUse::row));
        rows.extend(generator_rows(&self.generator));
        let mut times = vec![("welcome", self.welcome), ("connect, due", self.connect)];
        times.extend(self.tls.as_ref().map(|_| ("handshake", self.opening)));
        Sheet {
            title: self.load.clone(),
            interrupted: self.interrupted,
            rows,
            times,
            distribution: self.distribution.clone(),
            series: self.series.clone(),
            notes: self.notes.clone(),
        }
    }
}

impl TlsUse {
    fn row(&self) -> Row {
        let Self { suite, full, resumed, per_s, per_s_and_core } = self;
        let of_core = per_s_and_core.map(|rate| format!(", {rate:.0} per second of one broker core"));
        row(
            "handshakes",
            format!(
                "{full} full, {resumed} resumed, {per_s:.0} per second{}; {suite}",
                of_core.unwrap_or_default()
            ),
        )
    }
}

impl Report for IdleReport {
    fn sheet(&self) -> Sheet {
        let mut rows = vec![
            row("ready", format!("{} connections, {} lost while held", self.ready, self.departed)),
            row("connects", format!("{:.0} per second", self.connects_per_s)),
        ];
        rows.extend(self.broker.iter().flat_map(IdleBroker::rows));
        Sheet {
            title: self.load.clone(),
            interrupted: self.interrupted,
            rows,
            times: vec![("connect", self.connect)],
            distribution: vec![],
            series: self.series.clone(),
            notes: self.notes.clone(),
        }
    }
}

impl IdleBroker {
    fn rows(&self) -> Vec<Row> {
        let [empty, half, full] = self.resident_bytes.map(|bytes| float(bytes) / MEBIBYTE);
        let Self { name, pid, bytes_per_connection, bytes_per_further_connection, .. } = self;
        vec![
            row(
                "broker",
                format!("{name} ({pid}): {empty:.1} MiB with none, {half:.1} with half, {full:.1} with all"),
            ),
            row(
                "memory",
                format!(
                    "{bytes_per_connection:.0} B per connection, {bytes_per_further_connection:.0} B per further one"
                ),
            ),
            row(
                "cpu",
                format!(
                    "{:.1} us per connect, {:.2} % of a core while idle",
                    self.cpu_ns_per_connect / 1e3,
                    self.cores_idle * 100.0
                ),
            ),
        ]
    }
}

fn generator_rows(threads: &[ThreadUse]) -> Vec<Row> {
    let used = |(thread, used): (usize, &ThreadUse)| {
        row("generator", format!("thread {thread}: {:.0} % of a core", used.cores * 100.0))
    };
    threads.iter().enumerate().map(used).collect()
}

const fn row(name: &'static str, text: String) -> Row {
    Row { name, text }
}
