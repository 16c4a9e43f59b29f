//! The command line.
//!
//! Why emqtt-bench's letters: every published benchmark command uses them, so `-c -R -i -I -t -s -q -F` mean here what
//! they mean there. Three defaults differ, because theirs measure something else than people think: `-F` is 64 and not
//! 1, connects are not slowed down, and without `-I` the load is a closed loop at saturation.
//!
//! Invariants:
//! - `-h` is the host, so help is `--help` only.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::compare::{CompareOptions, TetherOptions};
use crate::plan::PlanOptions;
use crate::relay::NullRelayOptions;
use crate::transport::TransportOptions;

use crate::output::STANDARD_OUTPUT;

/// Load for MQTT brokers, and a side-by-side comparison of them.
#[derive(Parser, Debug)]
#[command(name = "ringmq-bench", disable_help_flag = true, version, disable_version_flag = true)]
pub(crate) struct Options {
    /// Print help.
    #[arg(long, global = true, action = ArgAction::HelpLong)]
    help: Option<bool>,
    /// Print the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// N publishers and N subscribers, one topic per pair.
    Pairs(PairsOptions),
    /// N publishers to one subscriber, or to a few.
    FanIn(FanInOptions),
    /// One publisher, or a few, to N subscribers.
    FanOut(FanOutOptions),
    /// N publishers to groups of subscribers that share them ($share): each message goes to one member of each group.
    Shared(SharedOptions),
    /// N retained messages are set, then M subscribers come and get them all.
    Retained(RetainedOptions),
    /// Many devices, each sending a small JSON reading at a period of its own.
    Telemetry(TelemetryOptions),
    /// Connects: how fast N clients get in, all at once after a cut, or over and over again.
    Conn(ConnOptions),
    /// N connections that do nothing: memory and CPU of the broker.
    Idle(IdleOptions),
    /// What a scenario file says: who connects, subscribes and publishes when.
    Replay(ReplayOptions),
    /// A plain epoll echo server: what reading and writing one message costs on this machine.
    EchoServer(ListenOptions),
    /// A relay that only copies packets from publishers to subscribers: the ceiling for every broker.
    NullRelay(NullRelayOptions),
    /// Start brokers one after the other, load each, and print a table.
    Compare(CompareOptions),
    /// Measure what things cost here, and say how many machines the devices need.
    Plan(Box<PlanOptions>),
    /// Run a program that must not outlive the one that started it.
    #[command(hide = true)]
    Tether(TetherOptions),
}

/// Options of `pairs`.
#[derive(Args, Debug)]
pub(crate) struct PairsOptions {
    /// Pairs.
    #[arg(short = 'c', long, default_value_t = 50, value_name = "N")]
    pub(crate) count: u32,
    /// Speak to an echo server instead: one connection per pair, without CONNECT, that sends the same bytes and
    /// expects them back.
    #[arg(long)]
    pub(crate) raw_echo: bool,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
}

/// Options of `fan-in`.
#[derive(Args, Debug)]
pub(crate) struct FanInOptions {
    /// Publishers.
    #[arg(short = 'c', long, default_value_t = 50, value_name = "N")]
    pub(crate) count: u32,
    /// Subscribers; publisher i reports to subscriber i modulo this (%g in the topic).
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) subscribers: u32,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
}

/// Options of `fan-out`.
#[derive(Args, Debug)]
pub(crate) struct FanOutOptions {
    /// Subscribers.
    #[arg(short = 'c', long, default_value_t = 100, value_name = "N")]
    pub(crate) count: u32,
    /// Publishers, all on the same topic.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) publishers: u32,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
}

/// Options of `shared`.
#[derive(Args, Debug)]
pub(crate) struct SharedOptions {
    /// Publishers.
    #[arg(short = 'c', long, default_value_t = 50, value_name = "N")]
    pub(crate) count: u32,
    /// Subscribers, spread evenly over the groups.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) subscribers: u32,
    /// Groups.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) groups: u32,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
}

/// Options of `retained`.
#[derive(Args, Debug)]
pub(crate) struct RetainedOptions {
    /// Retained messages, each on a topic of its own.
    #[arg(short = 'c', long, default_value_t = 10_000, value_name = "N")]
    pub(crate) count: u64,
    /// Publishers that set them, in turn.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) publishers: u32,
    /// Subscribers that come for all of them.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) subscribers: u32,
    /// Topic; it needs %s, the number of the message, besides the letters of other workloads.
    #[arg(short = 't', long, default_value = "bench/retained/%i/%s", value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Payload bytes.
    #[arg(short = 's', long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) size: usize,
    /// QoS of publishers, and of subscribers unless --sub-qos says otherwise.
    #[arg(short = 'q', long, default_value = "0", value_name = "QOS")]
    pub(crate) qos: QosOption,
    /// QoS that subscribers ask for.
    #[arg(long, value_name = "QOS")]
    pub(crate) sub_qos: Option<QosOption>,
    /// Unacknowledged QoS 1 and 2 messages per publisher.
    #[arg(short = 'F', long, default_value_t = 64, value_name = "N")]
    pub(crate) inflight: u16,
    /// Messages per write.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub(crate) batch: u64,
    /// Leave the retained messages in the broker.
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Options of `telemetry`.
#[derive(Args, Debug)]
pub(crate) struct TelemetryOptions {
    /// Devices.
    #[arg(short = 'c', long, default_value_t = 1_000, value_name = "N")]
    pub(crate) count: u32,
    /// Subscribers, each of which hears all devices; 0 is nobody.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) subscribers: u32,
    /// How far the period of a device may be from -I [default there: 10000 ms], in percent.
    #[arg(long, default_value_t = 20, value_name = "PERCENT")]
    pub(crate) jitter: u64,
    /// Send binary payloads as other workloads do, instead of JSON.
    #[arg(long)]
    pub(crate) binary: bool,
    /// What the broker makes of the devices: with `thingsboard` a reading has three values, devices have access tokens
    /// (default: -u bench-token-%i), and subscribers hear them on the broker's own topics.
    #[arg(long, default_value = "plain", value_name = "plain|thingsboard")]
    pub(crate) dialect: DialectOption,
    /// A file with the access token of a device in each line, in place of -u.
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
    /// Port of the listener for subscribers, if it is another one.
    #[arg(long, value_name = "PORT")]
    pub(crate) sub_port: Option<u16>,
    /// What subscribers ask for, if it does not follow from the topic.
    #[arg(long, value_name = "FILTER")]
    pub(crate) sub_topic: Option<String>,
    /// Make the devices first, over the HTTP API at this address.
    #[arg(long, value_name = "URL")]
    pub(crate) provision: Option<String>,
    /// Make the devices and send nothing.
    #[arg(long, requires = "provision")]
    pub(crate) only_provision: bool,
    /// Who makes them.
    #[arg(long, default_value = "tenant@thingsboard.org", value_name = "NAME")]
    pub(crate) admin: String,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", requires = "provision")]
    pub(crate) admin_password_file: Option<PathBuf>,
    /// What is kept of their telemetry: the profile that they get.
    #[arg(long, default_value = "history", value_name = "history|latest|forward")]
    pub(crate) keep_telemetry: KeepingOption,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
}

/// Options of `conn`.
#[derive(Args, Debug)]
pub(crate) struct ConnOptions {
    /// Clients.
    #[arg(short = 'c', long, default_value_t = 1_000, value_name = "N")]
    pub(crate) count: u32,
    /// How often connections are cut without a goodbye, to come back all at once.
    #[arg(long, default_value_t = 0, value_name = "N", conflicts_with = "churn")]
    pub(crate) storms: u32,
    /// How many of the connections a storm cuts, in percent.
    #[arg(long, default_value_t = 100, value_name = "PERCENT")]
    pub(crate) share: u64,
    /// Seconds that connections stay before each storm and at the end.
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub(crate) hold: f64,
    /// Each client leaves as soon as it is welcome and comes again, for --duration.
    #[arg(long)]
    pub(crate) churn: bool,
    /// Clients that come again resume their TLS sessions; otherwise every handshake is a full one.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Seconds of churn.
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    pub(crate) duration: f64,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Options of `idle`.
#[derive(Args, Debug)]
pub(crate) struct IdleOptions {
    /// Connections.
    #[arg(short = 'c', long, default_value_t = 1_000, value_name = "N")]
    pub(crate) count: u32,
    /// Subscribe each connection to this topic (%c %u %i as elsewhere); without it they only connect.
    #[arg(short = 't', long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// QoS of the subscriptions.
    #[arg(short = 'q', long, default_value = "0", value_name = "QOS")]
    pub(crate) qos: QosOption,
    /// How long to hold them while watching the broker's CPU, in seconds.
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    pub(crate) duration: f64,
    /// How long the broker may settle before each look at its memory, in seconds.
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    pub(crate) settle: f64,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Options of `replay`.
#[derive(Args, Debug)]
pub(crate) struct ReplayOptions {
    /// The scenario, as JSON lines.
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: PathBuf,
    #[command(flatten)]
    pub(crate) link: LinkOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Where the broker is and who connects.
#[derive(Args, Clone, Debug)]
pub(crate) struct LinkOptions {
    /// Host name or address of the broker.
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port of the broker.
    #[arg(short = 'p', long, default_value_t = 1883)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) transport: TransportOptions,
    /// MQTT version: 4 is 3.1.1, 5 is 5.0.
    #[arg(short = 'V', long = "mqtt-version", default_value = "4", value_name = "4|5")]
    pub(crate) version: VersionOption,
    /// User name; %i and %c as in topics.
    #[arg(short = 'u', long)]
    pub(crate) user: Option<String>,
    /// Password; %i and %c as in topics.
    #[arg(short = 'P', long)]
    pub(crate) password: Option<String>,
    /// User name of subscribers, if they need another one.
    #[arg(long, value_name = "USER")]
    pub(crate) sub_user: Option<String>,
    /// Password of subscribers, if they need another one.
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) sub_password: Option<String>,
    /// Start with a clean session; `false` gives all clients lasting ones.
    #[arg(short = 'C', long, default_value_t = true, action = ArgAction::Set, value_name = "true|false")]
    pub(crate) clean: bool,
    /// How long a lasting session outlives its connection, in seconds, for MQTT 5.0 [default: 3600].
    #[arg(short = 'x', long, value_name = "S")]
    pub(crate) session_expiry: Option<u32>,
    /// Number of the first client of each kind (%i, and in client ids).
    #[arg(short = 'n', long, default_value_t = 0, value_name = "N")]
    pub(crate) startnumber: u32,
    /// Keep-alive in seconds; 0 turns it off.
    #[arg(short = 'k', long, default_value_t = 300, value_name = "S")]
    pub(crate) keepalive: u16,
    /// Source addresses, used in turn, for more connections than one address has ports.
    #[arg(long, value_delimiter = ',', value_name = "ADDR,...")]
    pub(crate) ifaddr: Vec<IpAddr>,
    /// Connects per second; 0 is as fast as the broker answers.
    #[arg(short = 'R', long, default_value_t = 0, value_name = "N", conflicts_with = "connect_interval")]
    pub(crate) connect_rate: u32,
    /// Milliseconds between two connects.
    #[arg(short = 'i', long, default_value_t = 0.0, value_name = "MS")]
    pub(crate) connect_interval: f64,
    /// Clients of one thread that may be between dialling and ready; more than a broker's accept queue holds would
    /// measure the kernel's patience.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) handshakes: u32,
    /// First part of the client ids [default: bench-<process id>].
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// How long all clients may take to get ready, in seconds.
    #[arg(long, default_value_t = 60, value_name = "S")]
    pub(crate) patience: u64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) threads: u32,
    /// Processors to pin the threads to, in turn.
    #[arg(long, value_delimiter = ',', value_name = "CPU,...")]
    pub(crate) cpu: Vec<usize>,
    /// Process id of a broker on this machine, to read its CPU and memory from /proc.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

/// What is sent, and when.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrafficOptions {
    /// Topic; %i is the client's number, %c its id, %u the user name, %s the message's number, %g the subscriber's
    /// number in a fan-in.
    #[arg(short = 't', long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// Payload bytes; 16 (the default, except for JSON) hold sequence, publisher and time, 8 (the least) leave out the
    /// time.
    #[arg(short = 's', long, value_name = "BYTES")]
    pub(crate) size: Option<usize>,
    /// QoS of publishers, and of subscribers unless --sub-qos says otherwise.
    #[arg(short = 'q', long, default_value = "0", value_name = "QOS")]
    pub(crate) qos: QosOption,
    /// QoS that subscribers ask for.
    #[arg(long, value_name = "QOS")]
    pub(crate) sub_qos: Option<QosOption>,
    /// Ask the broker to retain each topic's last message.
    #[arg(short = 'r', long)]
    pub(crate) retain: bool,
    /// Unacknowledged QoS 1 and 2 messages per publisher.
    #[arg(short = 'F', long, default_value_t = 64, value_name = "N")]
    pub(crate) inflight: u16,
    /// Milliseconds between two messages of one publisher: an open loop, whose latencies count from the intended time.
    #[arg(short = 'I', long, value_name = "MS", conflicts_with = "window")]
    pub(crate) interval: Option<f64>,
    /// Messages per publisher that its subscribers have not received yet: a closed loop [default: 64].
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u64>,
    /// Messages per write.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub(crate) batch: u64,
    /// Seconds of traffic before counting [default: 1, or 0 with -L].
    #[arg(long, value_name = "S")]
    pub(crate) warmup: Option<f64>,
    /// Seconds of counted traffic; 0 goes on until -L is reached.
    #[arg(long, default_value_t = 5.0, value_name = "S")]
    pub(crate) duration: f64,
    /// Messages in all, shared evenly by the publishers; 0 is no limit.
    #[arg(short = 'L', long, default_value_t = 0, value_name = "N")]
    pub(crate) limit: u64,
    /// Seconds without progress after which a closed loop counts what is missing as lost.
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub(crate) stall: f64,
    /// Subscribers subscribe and go away first; when everything has been published, they come back to their lasting
    /// sessions and fetch it.
    #[arg(long)]
    pub(crate) offline_subscribers: bool,
    /// Leave lasting sessions in the broker.
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// How the report looks.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutputOptions {
    /// Write the report as JSON to a file; without a name, print it instead of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STANDARD_OUTPUT)]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as a page with charts, which needs nothing else to be looked at.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Where a server of ours listens.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListenOptions {
    /// Address and port.
    #[arg(long, default_value = "127.0.0.1:7007", value_name = "ADDR:PORT")]
    pub(crate) listen: std::net::SocketAddr,
}

/// A QoS as people type it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QosOption {
    /// At most once.
    #[value(name = "0")]
    Zero,
    /// At least once.
    #[value(name = "1")]
    One,
    /// Exactly once.
    #[value(name = "2")]
    Two,
}

/// A dialect of devices as people type it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DialectOption {
    /// None: topics are what they are.
    Plain,
    /// ThingsBoard's device API.
    Thingsboard,
}

/// What is kept of telemetry, as people type it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeepingOption {
    /// Every value.
    History,
    /// The latest of each key.
    Latest,
    /// Nothing.
    Forward,
}

/// A protocol version as people type it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VersionOption {
    /// 3.1.1.
    #[value(name = "4", alias = "3.1.1", alias = "mqttv311")]
    Four,
    /// 5.0.
    #[value(name = "5", alias = "5.0", alias = "mqttv5")]
    Five,
}
