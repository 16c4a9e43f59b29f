//! The command line of `compare`.
//!
//! Invariants:
//! - Without options everything that is installed is compared under every load.

use std::path::PathBuf;

use clap::Args;

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareOptions {
    /// Loads: A, B, C, D, E, F (without and with a subscription), G, S, and what doors cost: T (TLS), W (WebSocket), L
    /// (access rules), FT (idle over TLS); what they are stands in perf/README.md.
    #[arg(long, value_delimiter = ',', default_value = "A,B,C,D,E,F,G,S", value_name = "LOAD,...")]
    pub(crate) load: Vec<String>,
    /// Targets: ringmq, mosquitto, nats, rabbitmq, rumqttd, rmqttd, aedes, echo; or name=host:port[:pid] of a running
    /// broker. The null relays are always measured too.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "ringmq,mosquitto,nats,rumqttd,rmqttd,rabbitmq,aedes,echo",
        value_name = "TARGET,..."
    )]
    pub(crate) target: Vec<String>,
    /// Rounds; targets take turns within each.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) rounds: u32,
    /// Counted seconds of each run.
    #[arg(long, default_value_t = 5.0, value_name = "S")]
    pub(crate) duration: f64,
    /// Seconds of traffic before counting.
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub(crate) warmup: f64,
    /// Seconds that a broker may settle before each look at its memory (load F).
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    pub(crate) settle: f64,
    /// Per cent of the clients of loads F and S, for small machines and quick looks.
    #[arg(long, default_value_t = 100, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) crowd: u32,
    /// Leave out the round that counts system calls and instructions.
    #[arg(long)]
    pub(crate) no_counting: bool,
    /// Processors for the broker.
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "CPU,...")]
    pub(crate) broker_cpu: Vec<usize>,
    /// Processor for the generator.
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "CPU,...")]
    pub(crate) load_cpu: Vec<usize>,
    /// The broker under test [default: the program `ringmq` beside this one].
    #[arg(long, value_name = "FILE")]
    pub(crate) ringmq: Option<PathBuf>,
    /// Directory for table, figures and page [default: perf/runs/<date>].
    #[arg(long, alias = "out", value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
}

/// Options of the hidden subcommand that ties a program to the life of this one.
#[derive(Args, Clone, Debug)]
pub(crate) struct TetherOptions {
    /// The process without which the program must not live.
    pub(crate) parent: u32,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}
