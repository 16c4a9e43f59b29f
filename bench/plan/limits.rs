//! From costs to machines: what the devices need of each resource, and which of them runs out first.
//!
//! Why demand and supply per resource: the answer that helps is not a number of machines but the reason for it, because
//! the reason says what to buy, or what to change in the devices.
//!
//! Invariants:
//! - Every demand carries an interval and says whether it was measured, computed or extrapolated.
//! - Nothing is planned to be full: each resource has a share that may be used.

use serde::{Deserialize, Serialize};

use super::coat::Coat;
use super::disk::Disk;
use super::memory::{Kept, Memory};
use super::options::{QuestionOptions, Receivers};
use super::profile::{PAYLOADS, Profile};
use super::scaling::Across;
use super::search::Finding;
use super::statistics::Estimate;
use super::usl::Basis;
use super::wire;

/// Shares of a machine that may be used; of its cores the plan's utilisation.
const MEMORY_SHARE: f64 = 0.8;
const NETWORK_SHARE: f64 = 0.7;
const DISK_SHARE: f64 = 0.6;
const STORM_SHARE: f64 = 0.8;
/// Bytes around each message in a store: its key, its head and their checksums.
const RECORD_BYTES: f64 = 64.0;
/// How often a stored message is written: to the journal, and to a table when that is full.
const TIMES_WRITTEN: f64 = 2.0;
/// A figure beyond this multiple of what was measured is an extrapolation.
const REACH: f64 = 2.0;
/// A connection that is silent pings once in this share of its keep alive.
pub(crate) const PING_SHARE: f64 = 0.75;

/// The question in numbers.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Devices.
    pub(crate) devices: f64,
    /// Seconds between two messages of one device.
    pub(crate) period_s: f64,
    /// Bytes of payload.
    pub(crate) payload: f64,
    /// On both legs.
    pub(crate) qos: u8,
    /// On both legs.
    pub(crate) coat: Coat,
    /// Receivers of each message.
    pub(crate) fan_out: f64,
    /// Who receives.
    pub(crate) receivers: Receivers,
    /// Subscriptions of each device.
    pub(crate) subscriptions: f64,
    /// Retained messages in all.
    pub(crate) retained: f64,
    /// Sessions of devices that are away.
    pub(crate) away: f64,
    /// Seconds; 0 is none.
    pub(crate) keep_alive_s: f64,
    /// Seconds in which all connect again.
    pub(crate) storm_s: f64,
    /// Whether messages of QoS 1 and 2 reach the disk first.
    pub(crate) durable: bool,
}

/// One machine to plan with.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Supply {
    /// Cores for the broker.
    pub(crate) cores: f64,
    /// Bytes of memory.
    pub(crate) memory_bytes: f64,
    /// Bytes per second, each way.
    pub(crate) network_bytes_per_s: f64,
    /// Connections that the broker accepts.
    pub(crate) connections: f64,
    /// Share of the cores to use.
    pub(crate) utilisation: f64,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured<'a> {
    /// Costs by QoS and coat.
    pub(crate) profiles: &'a [Profile],
    /// Memory.
    pub(crate) memory: &'a Memory,
    /// The disk.
    pub(crate) disk: &'a Disk,
    /// Cores; `None` for a broker that could not be restarted.
    pub(crate) across: Option<&'a Across>,
    /// The search.
    pub(crate) finding: &'a Finding,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The experiments did not tell the costs apart.
    #[error("the costs are unknown")]
    Costs,
    /// The question is about TLS, and there was none to be measured.
    #[error(
        "the question is about TLS, which cannot be measured here: name the target's listener for it with --target-tls"
    )]
    Tls,
}

impl<'a> Measured<'a> {
    fn profile(&self, qos: u8, coat: Coat) -> Option<&'a Profile> {
        self.profiles.iter().find(|profile| profile.qos == qos && profile.coat == coat)
    }
}

/// Something that machines have a limited amount of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Resource {
    /// Processor time of the traffic.
    Cores,
    /// Processor time while everybody connects again, beside the traffic.
    ConnectStorm,
    /// Memory of broker and kernel.
    Memory,
    /// Bytes towards the broker.
    NetworkIn,
    /// Bytes away from it.
    NetworkOut,
    /// Bytes written.
    Disk,
    /// Connections that a broker accepts.
    Connections,
}

/// What is needed of one resource.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Demand {
    /// Of what.
    pub(crate) resource: Resource,
    /// How much in all, in `unit`.
    pub(crate) amount: Estimate,
    /// The unit.
    pub(crate) unit: String,
    /// What one machine may give, in `unit`.
    pub(crate) per_machine: Estimate,
    /// Machines; not rounded.
    pub(crate) machines: Estimate,
    /// What the figure rests on.
    pub(crate) basis: Basis,
    /// How it comes about.
    pub(crate) because: String,
}

/// The answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Messages published per second in all.
    pub(crate) rate: f64,
    /// Needs, the tightest first.
    pub(crate) demands: Vec<Demand>,
    /// Whole machines, without a spare.
    pub(crate) machines: Estimate,
    /// Resources that may run out first as well, as far as the intervals tell.
    pub(crate) also_first: Vec<Resource>,
    /// Share of the cores that was planned with.
    pub(crate) utilisation: f64,
    /// Why parts of it are extrapolations; empty if nothing is.
    pub(crate) extrapolations: Vec<String>,
}

impl Resource {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::ConnectStorm => "cores in a connect storm",
            Self::Memory => "memory",
            Self::NetworkIn => "network in",
            Self::NetworkOut => "network out",
            Self::Disk => "disk",
            Self::Connections => "connections",
        }
    }
}

impl Demand {
    fn new(resource: Resource, amount: Estimate, unit: &str, per_machine: Estimate, because: String) -> Self {
        let machines = Estimate {
            value: amount.value / per_machine.value,
            low: amount.low / per_machine.high,
            high: amount.high / per_machine.low,
        };
        let unit = unit.to_owned();
        Self { resource, amount, unit, per_machine, machines, basis: Basis::Measured, because }
    }

    fn on(self, basis: Basis) -> Self {
        Self { basis, ..self }
    }
}

impl Question {
    /// The question that the options ask.
    pub(crate) fn of(options: &QuestionOptions, qos: u8) -> Self {
        Self {
            devices: f64::from(options.devices),
            period_s: options.period,
            payload: f64::from(options.payload),
            qos,
            coat: if options.ssl { Coat::Tls } else { Coat::Plain },
            fan_out: f64::from(options.fan_out),
            receivers: options.receivers,
            subscriptions: f64::from(options.subscriptions),
            retained: f64::from(options.retained),
            away: f64::from(options.away),
            keep_alive_s: f64::from(options.keepalive),
            storm_s: options.connect_storm,
            durable: options.durable,
        }
    }

    /// Messages published per second in all.
    pub(crate) fn rate(&self) -> f64 {
        self.devices / self.period_s
    }

    /// Pings per second in all: only devices that are silent for longer send them.
    pub(crate) fn pings_per_s(&self) -> f64 {
        let gap_s = self.keep_alive_s * PING_SHARE;
        if gap_s > 0.0 && self.period_s > gap_s {
            self.devices * (1.0 / gap_s - 1.0 / self.period_s).max(0.0)
        } else {
            0.0
        }
    }
}

/// What `question` needs of machines like `supply`.
pub(crate) fn answer(
    question: &Question,
    supply: &Supply,
    measured: &Measured<'_>,
) -> Result<Answer, Unanswered> {
    let profile = measured.profile(question.qos, question.coat).ok_or(match question.coat {
        Coat::Plain => Unanswered::Costs,
        Coat::Tls => Unanswered::Tls,
    })?;
    // A core busier than at the service level has lost it already.
    let reached = if measured.finding.rate > 0.0 && !measured.finding.is_lower_bound {
        measured.finding.cores
    } else {
        1.0
    };
    let utilisation = supply.utilisation.min(reached.max(0.05));
    let cost_ns = profile.cost_ns(question.fan_out, question.receivers, question.payload);
    let cost_ns = cost_ns.ok_or(Unanswered::Costs)?;
    let equivalents = core_equivalents(supply.cores, measured.across);
    let mut demands = vec![
        cores(question, measured, profile, cost_ns, equivalents.times(utilisation)),
        memory(question, supply, measured),
        Demand::new(
            Resource::Connections,
            Estimate::exact(question.devices),
            "connections",
            Estimate::exact(supply.connections),
            "one per device".into(),
        )
        .on(Basis::Computed),
    ];
    demands.extend(storm(question, measured, &demands[0], equivalents.times(STORM_SHARE)));
    demands.extend(network(question, supply));
    if question.durable && question.qos > 0 {
        demands.push(disk(question, measured.disk));
    }
    let machines = demands.iter().map(|demand| demand.machines.value).fold(0.0, f64::max).ceil().max(1.0);
    let extrapolations = mark(question, supply, measured, (profile, machines), &mut demands);
    demands.sort_by(|one, other| other.machines.value.total_cmp(&one.machines.value));
    let ends = |end: fn(&Estimate) -> f64| {
        demands.iter().map(|demand| end(&demand.machines)).fold(0.0, f64::max).ceil().max(1.0)
    };
    let first = &demands[0];
    let also_first = demands[1..].iter().filter(|demand| demand.machines.high > first.machines.low);
    Ok(Answer {
        rate: question.rate(),
        also_first: also_first.map(|demand| demand.resource).collect(),
        machines: Estimate {
            value: machines,
            low: ends(|machines| machines.low),
            high: ends(|machines| machines.high),
        },
        demands,
        utilisation,
        extrapolations,
    })
}

/// What a machine's cores are worth, in cores of the kind that costs were measured on.
fn core_equivalents(cores: f64, across: Option<&Across>) -> Estimate {
    let known = across.and_then(|across| across.equivalents(cores)).map(|reading| reading.throughput);
    // Without a law every core may add a whole one, or nothing.
    known.unwrap_or(Estimate { value: cores, low: 1.0, high: cores })
}

fn cores(
    question: &Question,
    measured: &Measured<'_>,
    profile: &Profile,
    cost_ns: Estimate,
    per_machine: Estimate,
) -> Demand {
    let traffic = cost_ns.times(question.rate() / 1e9);
    // On a broker that does nothing else each ping wakes it up; beside traffic it costs at most one read and one write.
    let read_and_write =
        profile.cost_ns(1.0, Receivers::Devices, 0.0).map_or(f64::INFINITY, |cost| cost.value);
    let ping_ns = measured.memory.ping_ns.map_or(0.0, |ping| ping.value).min(read_and_write);
    let pings = Estimate::exact(ping_ns * question.pings_per_s() / 1e9);
    let because = format!(
        "{:.0} messages/s{} at {:.2} us ({:.2} to {:.2}{}), {:.0} pings/s",
        question.rate(),
        question.coat.name(),
        cost_ns.value / 1e3,
        cost_ns.low / 1e3,
        cost_ns.high / 1e3,
        without_tls(question, measured).map_or(String::new(), |us| format!("; without TLS {us:.2}")),
        question.pings_per_s()
    );
    Demand::new(Resource::Cores, traffic.plus(pings), "cores busy", per_machine, because)
}

/// What a message costs without TLS, in microseconds, if the question is about TLS.
fn without_tls(question: &Question, measured: &Measured<'_>) -> Option<f64> {
    let plain = measured.profile(question.qos, Coat::Plain).filter(|_| question.coat == Coat::Tls)?;
    Some(plain.cost_ns(question.fan_out, question.receivers, question.payload)?.value / 1e3)
}

fn storm(
    question: &Question,
    measured: &Measured<'_>,
    traffic: &Demand,
    per_machine: Estimate,
) -> Option<Demand> {
    let memory = measured.memory;
    let (connect_ns, kind) = match question.coat {
        Coat::Plain => (memory.connect_ns?, "connects/s"),
        Coat::Tls => (memory.sealed_connect_ns?, "connects/s with full TLS handshakes"),
    };
    let rate = question.devices / question.storm_s;
    let because = format!(
        "{rate:.0} {kind} at {:.1} us, {:.0}/s on one core, for {:.0} s, while the traffic goes on",
        connect_ns.value / 1e3,
        1e9 / connect_ns.value,
        question.storm_s
    );
    let busy = connect_ns.times(rate / 1e9).at_least(0.0).plus(traffic.amount);
    Some(Demand::new(Resource::ConnectStorm, busy, "cores busy", per_machine, because))
}

fn memory(question: &Question, supply: &Supply, measured: &Measured<'_>) -> Demand {
    let memory = measured.memory;
    let own = own_memory(question, memory).bytes();
    let mut device = own.plus(Estimate::exact(memory.kernel_bytes));
    // What is not asked for adds no doubt either.
    if question.subscriptions > 1.0 {
        device = device.plus(memory.subscription.bytes().times(question.subscriptions - 1.0));
    }
    let mut amount = device.times(question.devices);
    if question.retained > 0.0 {
        amount = amount.plus(memory.retained.bytes().times(question.retained));
    }
    if question.away > 0.0 {
        amount = amount.plus(memory.session.bytes().times(question.away));
    }
    let because = format!(
        "{:.0} B per device{} ({:.0} of them in the kernel, socket buffers empty), {:.0} retained messages, {:.0} sessions away",
        device.value,
        question.coat.name(),
        memory.kernel_bytes,
        question.retained,
        question.away
    );
    let gib = 1.0 / 1_073_741_824.0;
    let room = Estimate::exact(supply.memory_bytes * MEMORY_SHARE * gib);
    Demand::new(Resource::Memory, amount.times(gib), "GiB", room, because)
}

/// The kind of connection that devices have; over TLS it was measured with a subscription only.
fn own_memory<'a>(question: &Question, memory: &'a Memory) -> &'a Kept {
    match &memory.sealed {
        Some(sealed) if question.coat == Coat::Tls => sealed,
        _ if question.subscriptions > 0.0 => &memory.subscriber,
        _ => &memory.connection,
    }
}

fn network(question: &Question, supply: &Supply) -> [Demand; 2] {
    let Question { payload, qos, coat, .. } = *question;
    let [up, up_back] = wire::alone(payload, qos, coat);
    let [down, down_back] = match question.receivers {
        Receivers::Consumers => wire::in_stream(payload, qos, coat),
        Receivers::Devices => wire::alone(payload, qos, coat),
    };
    let deliveries = question.rate() * question.fan_out;
    let room = Estimate::exact(supply.network_bytes_per_s * NETWORK_SHARE * 8.0 / 1e9);
    let demand = |resource, bytes_per_s: f64, because: String| {
        let amount = Estimate::exact(bytes_per_s * 8.0 / 1e9);
        Demand::new(resource, amount, "Gbit/s", room, because).on(Basis::Computed)
    };
    [
        demand(
            Resource::NetworkIn,
            question.rate() * up + deliveries * down_back,
            format!("{up:.0} B on the wire per message in, with all headers"),
        ),
        demand(
            Resource::NetworkOut,
            deliveries * down + question.rate() * up_back,
            format!("{down:.0} B on the wire per delivery, with all headers"),
        ),
    ]
}

fn disk(question: &Question, disk: &Disk) -> Demand {
    // What is settled between two flushes is never written; planned is for receivers that are away just then.
    let record = wire::publish_bytes(question.payload, question.qos) + RECORD_BYTES;
    let bytes = record * TIMES_WRITTEN * question.fan_out;
    let together = question.rate() * disk.sync_us.value / 1e6;
    let because = format!(
        "{bytes:.0} B per message if its receivers are away; one fdatasync takes {:.0} us, so at full rate each one carries {together:.1} messages",
        disk.sync_us.value
    );
    let room = disk.bytes_per_s.times(DISK_SHARE / 1e6);
    Demand::new(Resource::Disk, Estimate::exact(question.rate() * bytes / 1e6), "MB/s", room, because)
}

/// Marks what was not measured and returns the reasons.
fn mark(
    question: &Question,
    supply: &Supply,
    measured: &Measured<'_>,
    (profile, machines): (&Profile, f64),
    demands: &mut [Demand],
) -> Vec<String> {
    let mut reasons = vec![];
    let mut beyond = |resources: &[Resource], applies: bool, reason: String| {
        if applies {
            for demand in demands.iter_mut().filter(|demand| resources.contains(&demand.resource)) {
                demand.basis = Basis::Extrapolated;
            }
            reasons.push(reason);
        }
    };
    let busy = [Resource::Cores, Resource::ConnectStorm];
    let [least, most] = PAYLOADS.map(f64::from);
    beyond(
        &busy,
        question.payload < least || question.payload > most,
        format!("payload of {:.0} B; {least:.0} to {most:.0} B were measured", question.payload),
    );
    let fan_out = profile.experiments.iter().map(|one| one.pattern.deliveries()).fold(1.0, f64::max);
    beyond(
        &busy,
        question.fan_out > fan_out * REACH,
        format!("fan-out of {}; up to {fan_out} was measured", question.fan_out),
    );
    let per_machine = question.devices / machines;
    let publishers = profile.experiments.iter().map(|one| one.pattern.publishers).max().unwrap_or(0);
    beyond(
        &busy,
        per_machine > f64::from(publishers) * REACH,
        format!(
            "{per_machine:.0} devices per machine; costs were measured with {publishers}, whose state fits in caches"
        ),
    );
    let held = own_memory(question, measured.memory).most();
    beyond(
        &[Resource::Memory],
        per_machine > held * REACH,
        format!("memory of {per_machine:.0} connections per machine; the line was measured up to {held:.0}"),
    );
    let cores = measured.across.map_or(1.0, Across::most);
    beyond(
        &busy,
        supply.cores > cores,
        format!("machines of {} cores; up to {cores} were measured", supply.cores),
    );
    reasons
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::memory::Kept;
    use crate::plan::profile::{Experiment, design};

    /// A run of round numbers: 1 us to take a message in and 1 us for each delivery, whatever its size.
    pub(crate) fn experiment(pattern: crate::plan::load::Pattern) -> Experiment {
        Experiment {
            cost_ns: 1_000.0 + 1_000.0 * pattern.deliveries(),
            deliveries: pattern.deliveries(),
            pattern,
            rate: 2e5 / (1.0 + pattern.deliveries()),
            cores: 0.5,
            generator_cores: 0.5,
        }
    }

    /// Costs of these runs; three times as much over TLS.
    pub(crate) fn profile(qos: u8, coat: Coat) -> Profile {
        let factor = if coat == Coat::Tls { 3.0 } else { 1.0 };
        let dearer = |one: Experiment| Experiment { cost_ns: one.cost_ns * factor, ..one };
        let runs = design(qos, 1_000, coat).into_iter().map(experiment).map(dearer);
        Profile::of(qos, coat, runs.collect())
    }

    pub(crate) fn memory() -> Memory {
        let kept = |name: &str, bytes: f64| {
            Kept::new(
                name,
                [0.0, 1_000.0, 4_000.0, 8_000.0].map(|count| (count, 4e6 + bytes * count)).to_vec(),
            )
        };
        Memory {
            connection: kept("connection", 500.0),
            subscriber: kept("subscriber", 800.0),
            sealed: Some(kept("sealed", 9_000.0)),
            subscription: kept("subscription", 200.0),
            session: kept("session", 400.0),
            retained: kept("retained", 300.0),
            kernel_bytes: 3_200.0,
            connect_ns: Some(Estimate::exact(20_000.0)),
            sealed_connect_ns: Some(Estimate::exact(250_000.0)),
            ping_ns: Some(Estimate::exact(1_000.0)),
            connects_per_s: 10_000.0,
        }
    }

    pub(crate) fn disk() -> Disk {
        Disk {
            directory: ".".into(),
            file_system: "ext4".into(),
            sync_us: Estimate::exact(1_000.0),
            sync_us_p99: 2_000.0,
            bytes_per_s: Estimate::exact(100e6),
            syncs: 400,
        }
    }

    pub(crate) fn finding() -> Finding {
        Finding {
            rate: 300_000.0,
            missed: Some(320_000.0),
            cores: 0.8,
            is_lower_bound: false,
            trials: vec![],
        }
    }

    pub(crate) fn question() -> Question {
        Question {
            devices: 1_000_000.0,
            period_s: 10.0,
            payload: 128.0,
            qos: 1,
            coat: Coat::Plain,
            fan_out: 1.0,
            receivers: Receivers::Consumers,
            subscriptions: 1.0,
            retained: 0.0,
            away: 0.0,
            keep_alive_s: 60.0,
            storm_s: 60.0,
            durable: false,
        }
    }

    pub(crate) const SUPPLY: Supply = Supply {
        cores: 1.0,
        memory_bytes: 16.0 * 1_073_741_824.0,
        network_bytes_per_s: 1.25e9,
        connections: 1e9,
        utilisation: 0.5,
    };

    fn answered(question: &Question, supply: &Supply) -> Answer {
        let profiles = [Coat::Plain, Coat::Tls].map(|coat| profile(question.qos, coat));
        let (memory, disk, finding) = (memory(), disk(), finding());
        let measured =
            Measured { profiles: &profiles, memory: &memory, disk: &disk, across: None, finding: &finding };
        answer(question, supply, &measured).expect("costs are known")
    }

    fn demand(answer: &Answer, resource: Resource) -> &Demand {
        answer.demands.iter().find(|demand| demand.resource == resource).expect("there is such a demand")
    }

    #[test]
    fn demands_are_rates_times_costs() {
        let answer = answered(&question(), &SUPPLY);
        let cores = demand(&answer, Resource::Cores);
        assert!((cores.amount.value - 0.2).abs() < 1e-6, "100,000/s at 2 us: {cores:?}");
        assert!((cores.machines.value - 0.4).abs() < 1e-6, "half of each core is used: {cores:?}");
        let memory = demand(&answer, Resource::Memory);
        assert!((memory.amount.value - 4_000.0 * 1e6 / 1_073_741_824.0).abs() < 1e-3, "{memory:?}");
        let storm = demand(&answer, Resource::ConnectStorm);
        assert!((storm.amount.value - (1e6 / 60.0 * 20e-6 + 0.2)).abs() < 1e-6, "{storm:?}");
        assert!(answer.demands.iter().all(|demand| demand.resource != Resource::Disk), "nothing is written");
    }

    #[test]
    fn over_tls_messages_connects_memory_and_wire_are_those_of_tls_and_the_answer_says_so() {
        let sealed = Question { coat: Coat::Tls, ..question() };
        let answer = answered(&sealed, &SUPPLY);
        let cores = demand(&answer, Resource::Cores);
        assert!((cores.amount.value - 0.6).abs() < 1e-6, "100,000/s at 6 us: {cores:?}");
        assert!(
            cores.because.contains("over TLS") && cores.because.contains("without TLS 2.00"),
            "{cores:?}"
        );
        let memory = demand(&answer, Resource::Memory);
        assert!((memory.amount.value - 12_200.0 * 1e6 / 1_073_741_824.0).abs() < 1e-3, "{memory:?}");
        assert!(memory.because.contains("over TLS"), "{memory:?}");
        let storm = demand(&answer, Resource::ConnectStorm);
        assert!((storm.amount.value - (1e6 / 60.0 * 250e-6 + 0.6)).abs() < 1e-6, "{storm:?}");
        assert!(storm.because.contains("TLS handshakes at 250.0 us, 4000/s on one core"), "{storm:?}");
        let plain = answered(&question(), &SUPPLY);
        let wire = |answer: &Answer, way| demand(answer, way).amount.value;
        assert!(wire(&answer, Resource::NetworkIn) > wire(&plain, Resource::NetworkIn) * 1.05);
        assert!(wire(&answer, Resource::NetworkOut) > wire(&plain, Resource::NetworkOut) * 1.05);
        assert!(!demand(&plain, Resource::Cores).because.contains("TLS"));
    }

    #[test]
    fn what_was_not_measured_over_tls_is_not_guessed() {
        let (profiles, disk, finding) = ([profile(1, Coat::Plain)], disk(), finding());
        let memory = Memory { sealed: None, sealed_connect_ns: None, ..memory() };
        let measured =
            Measured { profiles: &profiles, memory: &memory, disk: &disk, across: None, finding: &finding };
        let sealed = Question { coat: Coat::Tls, ..question() };
        assert_eq!(answer(&sealed, &SUPPLY, &measured), Err(Unanswered::Tls));
        assert!(answer(&question(), &SUPPLY, &measured).is_ok(), "what was measured is answered");
        let elsewhere = Question { qos: 2, ..question() };
        assert_eq!(answer(&elsewhere, &SUPPLY, &measured), Err(Unanswered::Costs));
    }

    #[test]
    fn the_tightest_resource_is_named_first() {
        let first = |question: &Question, supply: &Supply| answered(question, supply).demands[0].resource;
        let lone = Question { storm_s: 3_600.0, ..question() };
        let chatty = Question { period_s: 0.5, ..lone };
        assert_eq!(first(&chatty, &SUPPLY), Resource::Cores);
        assert_eq!(first(&lone, &Supply { memory_bytes: 1e9, ..SUPPLY }), Resource::Memory);
        assert_eq!(first(&Question { storm_s: 5.0, ..question() }, &SUPPLY), Resource::ConnectStorm);
        assert_eq!(first(&lone, &Supply { connections: 1e5, ..SUPPLY }), Resource::Connections);
        let wide = Question { fan_out: 8.0, ..lone };
        assert_eq!(first(&wide, &Supply { network_bytes_per_s: 1e6, ..SUPPLY }), Resource::NetworkOut);
        assert_eq!(
            first(&Question { durable: true, ..chatty }, &Supply { cores: 64.0, ..SUPPLY }),
            Resource::Disk
        );
    }

    #[test]
    fn machines_are_whole_and_enough_for_the_tightest() {
        let answer = answered(&Question { period_s: 0.5, ..question() }, &SUPPLY);
        let tightest = answer.demands[0].machines.value;
        assert!(
            (answer.machines.value - tightest.ceil()).abs() < 1e-9 && answer.machines.value > 1.0,
            "{answer:?}"
        );
        assert!(
            answer.machines.low <= answer.machines.value && answer.machines.value <= answer.machines.high
        );
    }

    #[test]
    fn pings_come_only_from_devices_that_are_silent_for_longer() {
        assert!(question().pings_per_s().abs() < f64::EPSILON, "a message every 10 s keeps 60 s alive");
        let quiet = Question { period_s: 1e9, ..question() };
        assert!((quiet.pings_per_s() - 1e6 / 45.0).abs() < 1.0);
    }

    #[test]
    fn what_was_not_measured_is_called_an_extrapolation() {
        let near = Question { devices: 1_500.0, ..question() };
        let answer = answered(&near, &SUPPLY);
        assert_eq!(answer.extrapolations, Vec::<String>::new());
        assert!(answer.demands.iter().all(|demand| demand.basis != Basis::Extrapolated));
        let far = [
            (Question { payload: 4_096.0, ..near }, SUPPLY, "payload"),
            (Question { fan_out: 100.0, ..near }, SUPPLY, "fan-out"),
            (Question { devices: 5e6, ..near }, SUPPLY, "devices per machine"),
            (near, Supply { cores: 64.0, ..SUPPLY }, "64 cores"),
        ];
        for (question, supply, word) in far {
            let answer = answered(&question, &supply);
            assert!(answer.extrapolations.iter().any(|reason| reason.contains(word)), "{word}: {answer:?}");
            assert_eq!(demand(&answer, Resource::Cores).basis, Basis::Extrapolated, "{word}");
        }
    }

    #[test]
    fn a_service_level_that_is_lost_early_lowers_the_plan() {
        let (profiles, memory, disk) = ([profile(1, Coat::Plain)], memory(), disk());
        let finding = Finding { cores: 0.2, ..finding() };
        let measured =
            Measured { profiles: &profiles, memory: &memory, disk: &disk, across: None, finding: &finding };
        let answer = answer(&question(), &SUPPLY, &measured).expect("costs are known");
        assert!((answer.utilisation - 0.2).abs() < 1e-9);
    }
}
