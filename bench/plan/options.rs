//! The command line of `plan`.
//!
//! Why the question and the measurement in one command: a capacity figure is only worth something together with the
//! machine and the load that it was measured with.
//!
//! Invariants:
//! - Every option of the question has a default, so that `ringmq-bench plan` alone says something useful.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::slo::Slo;
use crate::options::QosOption;

/// Options of `plan`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlanOptions {
    #[command(flatten)]
    pub(crate) question: QuestionOptions,
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    #[command(flatten)]
    pub(crate) effort: EffortOptions,
    /// Write the report as JSON to a file; without a name, print it instead of the text.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as one HTML page with curves.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the report as Markdown, as it is printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

/// What is asked: so many devices, so often, so much, to so many.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The question")]
pub(crate) struct QuestionOptions {
    /// Devices, each with a connection of its own.
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) devices: u32,
    /// Seconds between two messages of one device.
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    pub(crate) period: f64,
    /// Bytes of payload.
    #[arg(short = 's', long, default_value_t = 128, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) payload: u32,
    /// QoS on both legs.
    #[arg(short = 'q', long, default_value = "0", value_name = "QOS")]
    pub(crate) qos: QosOption,
    /// Receivers of each message.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) fan_out: u32,
    /// Who receives: a few consumers that hear everything, or other devices.
    #[arg(long, default_value = "consumers", value_name = "WHO")]
    pub(crate) receivers: Receivers,
    /// Subscriptions of each device.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) subscriptions: u32,
    /// Retained messages in all.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) retained: u32,
    /// Sessions of devices that are away.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) away: u32,
    /// Keep alive of the devices in seconds; 0 is none.
    #[arg(short = 'k', long, default_value_t = 60, value_name = "S")]
    pub(crate) keepalive: u16,
    /// Seconds within which all devices must be able to connect again.
    #[arg(long, default_value_t = 60.0, value_name = "S")]
    pub(crate) connect_storm: f64,
    /// The devices and their receivers speak TLS.
    #[arg(short = 'S', long, visible_alias = "tls")]
    pub(crate) ssl: bool,
    /// QoS 1 and 2 messages are on the disk before they are acknowledged.
    #[arg(long)]
    pub(crate) durable: bool,
    /// Service level of each step of the search: p50, p90, p99, p99.9 and max with us, ms or s, and loss as a share or
    /// in per cent.
    #[arg(long, default_value = "p99=10ms,loss=0", value_name = "LEVEL")]
    pub(crate) slo: Slo,
}

/// The machines to plan with.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The machines")]
pub(crate) struct MachineOptions {
    /// Cores of one machine for the broker [default: those of this machine].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) machine_cores: Option<u32>,
    /// Memory of one machine in GiB [default: that of this machine].
    #[arg(long, value_name = "GIB")]
    pub(crate) machine_memory: Option<f64>,
    /// Network of one machine in Gbit/s, each way.
    #[arg(long, default_value_t = 10.0, value_name = "GBIT")]
    pub(crate) machine_network: f64,
    /// Connections that one broker accepts: its limits.connections_max.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) machine_connections: u32,
    /// Share of the cores to plan with; less if the service level did not allow it.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    pub(crate) utilisation: f64,
}

/// How it is measured.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The measurement")]
pub(crate) struct EffortOptions {
    /// The broker to start [default: the program `ringmq` beside this one].
    #[arg(long, value_name = "FILE")]
    pub(crate) ringmq: Option<PathBuf>,
    /// Configuration for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Measure a broker that runs already on this machine, on one core.
    #[arg(long, value_name = "HOST:PORT", requires = "pid", conflicts_with = "ringmq")]
    pub(crate) target: Option<String>,
    /// Where it listens with TLS; without it nothing is known about TLS.
    #[arg(long, value_name = "HOST:PORT", requires = "target")]
    pub(crate) target_tls: Option<String>,
    /// Its process id, for its processor time and memory.
    #[arg(long, requires = "target")]
    pub(crate) pid: Option<u32>,
    /// Processors for the broker, in the order in which core counts take them [default: all, from 0].
    #[arg(long, value_delimiter = ',', value_name = "CPU,...")]
    pub(crate) broker_cpu: Vec<usize>,
    /// Processors for the generator, one thread each [default: the last one].
    #[arg(long, value_delimiter = ',', value_name = "CPU,...")]
    pub(crate) load_cpu: Vec<usize>,
    /// Core counts to measure [default: 1, 2, 4, ... up to all processors for the broker].
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub(crate) cores: Vec<usize>,
    /// Publishers in the experiments.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) clients: Option<u32>,
    /// Counted seconds of each run.
    #[arg(long, value_name = "S")]
    pub(crate) duration: Option<f64>,
    /// Runs of each experiment at the QoS that is asked about; the others get a third as many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Directory on the disk to measure.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Measure points that no cost was fitted to, and print them beside the prediction.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Short runs and only the QoS that is asked about: minutes become seconds, intervals become wide.
    #[arg(long)]
    pub(crate) quick: bool,
}

/// Who receives messages.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Receivers {
    /// A few that hear everything: their messages share writes.
    Consumers,
    /// Other devices: each message is a write of its own.
    Devices,
}

/// How long and how often, after the defaults.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Effort {
    /// Publishers in the experiments.
    pub(crate) clients: u32,
    /// Counted seconds of each run.
    pub(crate) duration_s: f64,
    /// Runs of each experiment.
    pub(crate) rounds: u32,
    /// Connections in the largest memory experiment.
    pub(crate) connections: u32,
    /// Steps of the search that a person waits for.
    pub(crate) steps: u32,
    /// Seconds that the broker may settle before a look at its memory.
    pub(crate) settle_s: f64,
}

impl EffortOptions {
    /// The effort to make.
    pub(crate) fn effort(&self) -> Effort {
        let thorough = Effort {
            clients: 1_000,
            duration_s: 1.0,
            rounds: 6,
            connections: 8_000,
            steps: 16,
            settle_s: 0.5,
        };
        let quick =
            Effort { clients: 50, duration_s: 0.3, rounds: 1, connections: 400, steps: 6, settle_s: 0.05 };
        let base = if self.quick { quick } else { thorough };
        Effort {
            clients: self.clients.unwrap_or(base.clients),
            duration_s: self.duration.unwrap_or(base.duration_s),
            rounds: self.rounds.unwrap_or(base.rounds),
            ..base
        }
    }
}
