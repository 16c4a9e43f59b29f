//! From options to plans: every contradiction is found here, before anything is dialled.
//!
//! Why apart from the options: the rules are worth testing without a terminal.
//!
//! Invariants:
//! - A plan that leaves here has room for a stamp in its payload, at least one client, and an end.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Body, Credentials, Lasting, Qos, Version};
use crate::engine::{
    Cast, ConnectPlan, Ends, IdlePlan, Pace, Plan, Shape, Storm, Tidiness, Topology, can_be_offline,
};
use crate::failure::Failure;
use crate::flow::Spread;
use crate::number::place;
use crate::options::{
    ConnOptions, DialectOption, FanInOptions, FanOutOptions, IdleOptions, LinkOptions, PairsOptions,
    QosOption, ReplayOptions, RetainedOptions, SharedOptions, TelemetryOptions, TrafficOptions,
    VersionOption,
};
use crate::scenario::Scenario;
use crate::stamp::{FULL_BYTES, IDENTITY_BYTES};
use crate::transport::Transport;

const WINDOW: u64 = 64;
const PAYLOAD_BYTES_MAX: usize = 16 * 1_024 * 1_024;
const WINDOW_MAX: u64 = 1 << 20;
const SESSION_EXPIRY_S: u32 = 3_600;
const DEVICE_INTERVAL_MS: f64 = 10_000.0;
/// What ThingsBoard's devices publish their readings to; who they are stands in their user name.
const DEVICE_TOPIC: &str = "v1/devices/me/telemetry";
/// Where RingMQ's subscribers hear what ThingsBoard's devices say.
const CANONICAL_FILTER: &str = "thingsboard/+/+/telemetry";
/// Access tokens of devices that are made for a load.
const DEVICE_TOKEN: &str = "bench-token-%i";
const STORMS_MAX: u32 = 100;

/// The plan of `pairs`.
pub(crate) fn pairs(options: &PairsOptions) -> Result<Plan, Failure> {
    let shape = if options.raw_echo { Shape::Echo } else { Shape::Pairs };
    let topology = topology(&options.link, shape, [options.count, options.count])?;
    let plan = plan(&options.link, &options.traffic, topology, "bench/pair/%i")?;
    if options.raw_echo && plan.publish_qos > Qos::AtMostOnce {
        return Err(Failure::Usage("an echo server acknowledges nothing: --raw-echo needs -q 0".into()));
    }
    Ok(plan)
}

/// The plan of `fan-in`.
pub(crate) fn fan_in(options: &FanInOptions) -> Result<Plan, Failure> {
    let topology = topology(&options.link, Shape::FanIn, [options.count, options.subscribers])?;
    let plan = plan(&options.link, &options.traffic, topology, "bench/fan-in/%g/%i")?;
    let grouped = plan.topic.as_ref().is_some_and(|topic| topic.contains("%g"));
    if options.subscribers > 1 && !grouped {
        return Err(Failure::Usage(
            "with several subscribers the topic needs %g, the number of the subscriber".into(),
        ));
    }
    Ok(plan)
}

/// The plan of `fan-out`.
pub(crate) fn fan_out(options: &FanOutOptions) -> Result<Plan, Failure> {
    let topology = topology(&options.link, Shape::FanOut, [options.publishers, options.count])?;
    plan(&options.link, &options.traffic, topology, "bench/fan-out")
}

/// The plan of `shared`.
pub(crate) fn shared(options: &SharedOptions) -> Result<Plan, Failure> {
    let topology = topology(&options.link, Shape::Shared, [options.count, options.subscribers])?;
    let groups = at_least_one(options.groups, "--groups")?;
    if groups > options.subscribers {
        return Err(Failure::Usage("every group needs a subscriber".into()));
    }
    plan(&options.link, &options.traffic, Topology { groups, ..topology }, "bench/shared/%i")
}

/// The plan of `telemetry`.
pub(crate) fn telemetry(options: &TelemetryOptions) -> Result<Plan, Failure> {
    if options.jitter >= 100 {
        return Err(Failure::Usage("--jitter is below 100 percent".into()));
    }
    let is_open = options.traffic.interval.is_none() && options.traffic.window.is_none();
    let traffic = TrafficOptions {
        interval: options.traffic.interval.or(is_open.then_some(DEVICE_INTERVAL_MS)),
        ..options.traffic.clone()
    };
    let topology = match options.subscribers {
        0 => Topology {
            cast: Cast::Publishers,
            ..topology(&options.link, Shape::Devices, [options.count, 1])?
        },
        subscribers => topology(&options.link, Shape::Devices, [options.count, subscribers])?,
    };
    let mut plan = plan(&options.link, &traffic, topology, DEVICE_TOPIC)?;
    if let Pace::Open { spread, .. } = &mut plan.pace {
        *spread = Spread::Jittered { permille: options.jitter * 10 };
    }
    plan.filter.clone_from(&options.sub_topic);
    plan.ends.subscriber_broker =
        options.sub_port.map(|port| resolve(&options.link.host, port)).transpose()?;
    if let Some(path) = &options.tokens {
        plan.ends.tokens = tokens(path, options.count)?;
    }
    let mut body = Body::Json;
    if options.dialect == DialectOption::Thingsboard {
        body = Body::ThreeValues;
        plan.filter.get_or_insert_with(|| CANONICAL_FILTER.to_owned());
        plan.ends.credentials.user.get_or_insert_with(|| DEVICE_TOKEN.to_owned());
    }
    if !options.binary {
        plan.body = body;
        plan.payload_bytes = traffic.size.unwrap_or(body.bytes_min());
        if plan.payload_bytes < body.bytes_min() {
            return Err(Failure::Usage(format!(
                "-s must be at least {}: a JSON reading has that many bytes; --binary needs fewer",
                body.bytes_min()
            )));
        }
    }
    Ok(plan)
}

/// The tokens of a file's lines, one for each of `count` devices.
fn tokens(path: &Path, count: u32) -> Result<Arc<[String]>, Failure> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|source| Failure::os(format!("reading {name}"), source))?;
    let tokens: Arc<[String]> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if tokens.len() < place(u64::from(count)) {
        return Err(Failure::Usage(format!("{name} has {} tokens for {count} devices", tokens.len())));
    }
    Ok(tokens)
}

/// The plan of `retained`.
pub(crate) fn retained(options: &RetainedOptions) -> Result<Plan, Failure> {
    if !options.topic.contains("%s") {
        return Err(Failure::Usage(
            "-t needs %s: without the number of the message there is only one topic".into(),
        ));
    }
    let topology = topology(&options.link, Shape::Retained, [options.publishers, options.subscribers])?;
    let ends = ends(&options.link)?;
    if ends.lasting != Lasting::Never {
        return Err(Failure::Usage("retained messages are fetched with clean sessions: leave out -C".into()));
    }
    let count = at_least_one(options.count, "-c")?;
    Ok(Plan {
        topic: Some(options.topic.clone()),
        payload_bytes: payload_bytes(options.size)?,
        retain: true,
        publish_qos: qos(options.qos),
        subscribe_qos: qos(options.sub_qos.unwrap_or(options.qos)),
        inflight: at_least_one(options.inflight, "-F")?,
        batch: at_least_one(options.batch, "--batch")?,
        messages_per_publisher: count.div_ceil(u64::from(topology.publishers)),
        stall_ns: 1_000_000_000,
        tidiness: tidiness(options.keep),
        ..quiet_plan(&options.link, ends, topology)
    })
}

/// The plan of `conn`.
pub(crate) fn conn(options: &ConnOptions) -> Result<ConnectPlan, Failure> {
    if options.share > 100 || options.storms > STORMS_MAX {
        return Err(Failure::Usage(format!("--share is at most 100, --storms at most {STORMS_MAX}")));
    }
    let topology = topology(&options.link, Shape::Idle, [0, at_least_one(options.count, "-c")?])?;
    let mut ends = ends(&options.link)?;
    if options.resume {
        if options.storms == 0 && !options.churn {
            return Err(Failure::Usage(
                "--resume is for clients that come again: it needs --storms or --churn".into(),
            ));
        }
        ends.transport.resume()?;
    }
    Ok(ConnectPlan {
        load: Plan {
            duration_ns: seconds(options.duration, "--duration")?,
            storm: Some(Storm { cut_permille: options.share * 10, churn: options.churn }),
            ..quiet_plan(&options.link, ends, topology)
        },
        waves: options.storms,
        hold_ns: seconds(options.hold, "--hold")?,
    })
}

/// The plan of `idle`.
pub(crate) fn idle(options: &IdleOptions) -> Result<IdlePlan, Failure> {
    let topology = topology(&options.link, Shape::Idle, [0, at_least_one(options.count, "-c")?])?;
    Ok(IdlePlan {
        load: Plan {
            topic: options.topic.clone(),
            subscribe_qos: qos(options.qos),
            duration_ns: seconds(options.duration, "--duration")?,
            ..quiet_plan(&options.link, ends(&options.link)?, topology)
        },
        settle_ns: seconds(options.settle, "--settle")?,
    })
}

/// The plan and the scenario of `replay`.
pub(crate) fn replay(options: &ReplayOptions) -> Result<(Plan, Scenario), Failure> {
    let name = options.scenario.display();
    let text = fs::read_to_string(&options.scenario)
        .map_err(|source| Failure::os(format!("reading {name}"), source))?;
    let scenario = Scenario::parse(&text).map_err(|cause| Failure::Usage(format!("{name}: {cause}")))?;
    let link = &options.link;
    if !link.clean || link.session_expiry.is_some() || link.threads > 1 {
        return Err(Failure::Usage(
            "a scenario says itself whose sessions last, and is played by one thread: leave out -C, -x, --threads"
                .into(),
        ));
    }
    let clients = scenario.groups.iter().map(|group| group.count).try_fold(0_u32, u32::checked_add);
    let clients = clients.ok_or_else(|| Failure::Usage(format!("{name}: too many clients")))?;
    let topology = topology(link, Shape::Idle, [0, clients])?;
    Ok((quiet_plan(link, ends(link)?, topology), scenario))
}

/// Clients that send nothing, for plans to begin with.
fn quiet_plan(link: &LinkOptions, ends: Ends, topology: Topology) -> Plan {
    Plan {
        ends,
        topology,
        topic: None,
        filter: None,
        body: Body::Filler,
        payload_bytes: IDENTITY_BYTES,
        retain: false,
        publish_qos: Qos::AtMostOnce,
        subscribe_qos: Qos::AtMostOnce,
        pace: Pace::Closed { window: 1 << 20 },
        inflight: 1,
        batch: 1,
        warmup_ns: 0,
        duration_ns: 0,
        messages_per_publisher: 0,
        kept: Arc::from([]),
        storm: None,
        tidiness: Tidiness::Clear,
        stall_ns: u64::MAX,
        patience_s: link.patience,
        broker_pid: link.pid,
    }
}

fn plan(
    link: &LinkOptions,
    traffic: &TrafficOptions,
    topology: Topology,
    topic: &str,
) -> Result<Plan, Failure> {
    let duration_ns = seconds(traffic.duration, "--duration")?;
    if duration_ns == 0 && traffic.limit == 0 {
        return Err(Failure::Usage("--duration 0 needs a number of messages: -L".into()));
    }
    let mut ends = ends(link)?;
    let publish_qos = qos(traffic.qos);
    let subscribe_qos = qos(traffic.sub_qos.unwrap_or(traffic.qos));
    if traffic.offline_subscribers {
        check_offline(topology, publish_qos.min(subscribe_qos))?;
        if ends.lasting == Lasting::Never {
            ends.lasting = Lasting::Seconds(SESSION_EXPIRY_S);
        }
    }
    // With a number of messages the first one counts as much as the last, and what is fetched later has all of them.
    let warmup = if traffic.limit > 0 || traffic.offline_subscribers { 0.0 } else { 1.0 };
    Ok(Plan {
        topic: Some(traffic.topic.clone().unwrap_or_else(|| topic.to_owned())),
        payload_bytes: payload_bytes(traffic.size.unwrap_or(FULL_BYTES))?,
        retain: traffic.retain,
        publish_qos,
        subscribe_qos,
        pace: pace(traffic)?,
        inflight: at_least_one(traffic.inflight, "-F")?,
        batch: at_least_one(traffic.batch, "--batch")?,
        warmup_ns: seconds(traffic.warmup.unwrap_or(warmup), "--warmup")?,
        duration_ns,
        messages_per_publisher: match traffic.limit {
            0 => u64::MAX,
            limit => limit.div_ceil(u64::from(topology.publishers)),
        },
        stall_ns: seconds(traffic.stall, "--stall")?.max(1),
        tidiness: tidiness(traffic.keep),
        ..quiet_plan(link, ends, topology)
    })
}

fn check_offline(topology: Topology, qos: Qos) -> Result<(), Failure> {
    if qos == Qos::AtMostOnce {
        return Err(Failure::Usage("nothing is kept at QoS 0: --offline-subscribers needs -q 1 or 2".into()));
    }
    if !can_be_offline(topology.shape) || topology.cast != Cast::Everybody {
        return Err(Failure::Usage(
            "--offline-subscribers is for pairs, fan-in, fan-out, and telemetry with --subscribers".into(),
        ));
    }
    Ok(())
}

const fn tidiness(keep: bool) -> Tidiness {
    if keep { Tidiness::Leave } else { Tidiness::Clear }
}

fn payload_bytes(size: usize) -> Result<usize, Failure> {
    if (IDENTITY_BYTES..=PAYLOAD_BYTES_MAX).contains(&size) {
        return Ok(size);
    }
    Err(Failure::Usage(format!(
        "-s must be {IDENTITY_BYTES} to {PAYLOAD_BYTES_MAX}: the payload carries sequence and publisher"
    )))
}

fn pace(traffic: &TrafficOptions) -> Result<Pace, Failure> {
    let Some(interval_ms) = traffic.interval else {
        let window = at_least_one(traffic.window.unwrap_or(WINDOW), "--window")?;
        if window > WINDOW_MAX {
            return Err(Failure::Usage(format!("--window is at most {WINDOW_MAX}")));
        }
        return Ok(Pace::Closed { window });
    };
    let interval_ns = at_least_one(milliseconds(interval_ms, "-I")?, "-I")?;
    Ok(Pace::Open { interval_ns, spread: Spread::Even })
}

fn topology(
    link: &LinkOptions,
    shape: Shape,
    [publishers, subscribers]: [u32; 2],
) -> Result<Topology, Failure> {
    if shape != Shape::Idle {
        at_least_one(publishers, "the number of publishers")?;
    }
    let subscribers = at_least_one(subscribers, "the number of subscribers")?;
    let threads = at_least_one(link.threads, "--threads")?;
    if shape == Shape::FanIn && subscribers > publishers {
        return Err(Failure::Usage("a fan-in has at most as many subscribers as publishers".into()));
    }
    Ok(Topology { shape, publishers, subscribers, groups: 1, cast: Cast::Everybody, threads })
}

fn ends(link: &LinkOptions) -> Result<Ends, Failure> {
    let broker = resolve(&link.host, link.port)?;
    if link.ifaddr.iter().any(|source| source.is_ipv4() != broker.is_ipv4()) {
        return Err(Failure::Usage(format!("--ifaddr and {broker} must be of one address family")));
    }
    let limited = [Some(&link.host), link.user.as_ref(), link.password.as_ref(), link.prefix.as_ref()];
    if limited.into_iter().flatten().any(|text| text.len() > 60_000) {
        return Err(Failure::Usage("user name, password and prefix are limited to 60,000 bytes".into()));
    }
    let connect_gap_ns = match link.connect_rate {
        0 => milliseconds(link.connect_interval, "-i")?,
        rate => 1_000_000_000 / u64::from(rate),
    };
    Ok(Ends {
        broker,
        subscriber_broker: None,
        transport: Transport::new(&link.transport, &link.host, link.port)?,
        sources: link.ifaddr.clone(),
        version: match link.version {
            VersionOption::Four => Version::V4,
            VersionOption::Five => Version::V5,
        },
        credentials: Credentials { user: link.user.clone(), password: link.password.clone() },
        tokens: Arc::from([]),
        subscriber_credentials: Credentials {
            user: link.sub_user.clone().or_else(|| link.user.clone()),
            password: link.sub_password.clone().or_else(|| link.password.clone()),
        },
        lasting: lasting(link)?,
        first_number: link.startnumber,
        keep_alive_s: link.keepalive,
        prefix: link.prefix.clone().unwrap_or_else(|| format!("bench-{}", std::process::id())),
        connect_gap_ns,
        handshakes: place(u64::from(at_least_one(link.handshakes, "--handshakes")?)),
        processors: link.cpu.clone(),
    })
}

fn lasting(link: &LinkOptions) -> Result<Lasting, Failure> {
    match (link.clean, link.session_expiry) {
        (true, None) => Ok(Lasting::Never),
        (true, Some(_)) => Err(Failure::Usage("-x is for lasting sessions: it needs -C false".into())),
        (false, expiry_s) => Ok(Lasting::Seconds(expiry_s.unwrap_or(SESSION_EXPIRY_S))),
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let mut addresses =
        (host, port).to_socket_addrs().map_err(|source| Failure::os(format!("looking up {host}"), source))?;
    addresses.next().ok_or_else(|| Failure::Usage(format!("{host} has no address")))
}

fn qos(option: QosOption) -> Qos {
    match option {
        QosOption::Zero => Qos::AtMostOnce,
        QosOption::One => Qos::AtLeastOnce,
        QosOption::Two => Qos::ExactlyOnce,
    }
}

fn seconds(value: f64, option: &str) -> Result<u64, Failure> {
    let duration = Duration::try_from_secs_f64(value).ok();
    let ns = duration.and_then(|duration| u64::try_from(duration.as_nanos()).ok());
    // A limit far below 2^64 leaves room for adding it to the clock.
    ns.filter(|&ns| ns < 1 << 62)
        .ok_or_else(|| Failure::Usage(format!("{option} is not a length of time: {value}")))
}

fn milliseconds(value: f64, option: &str) -> Result<u64, Failure> {
    seconds(value / 1e3, option)
}

fn at_least_one<T: PartialOrd + From<u8>>(value: T, option: &str) -> Result<T, Failure> {
    if value < T::from(1) { Err(Failure::Usage(format!("{option} must be at least 1"))) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};

    fn planned(line: &str) -> Result<Plan, Failure> {
        match Options::try_parse_from(line.split(' ')).expect("the options are understood").command {
            Command::Pairs(options) => pairs(&options),
            Command::FanIn(options) => fan_in(&options),
            Command::FanOut(options) => fan_out(&options),
            Command::Shared(options) => shared(&options),
            Command::Telemetry(options) => telemetry(&options),
            Command::Retained(options) => retained(&options),
            Command::Conn(options) => conn(&options).map(|plan| plan.load),
            Command::Idle(options) => idle(&options).map(|plan| plan.load),
            other => panic!("no plan for {other:?}"),
        }
    }

    fn refusal(line: &str) -> String {
        planned(line).expect_err("the options contradict each other").to_string()
    }

    #[test]
    fn emqtt_benchs_letters_mean_what_they_mean_there() {
        let plan = planned(
            "ringmq-bench fan-in -h 127.0.0.2 -p 1900 -V 5 -c 30 -R 100 -I 20 -t x/%c -s 99 -q 1 -F 7 -u ann -P pw",
        )
        .expect("a lawful command");
        assert_eq!(plan.ends.broker.to_string(), "127.0.0.2:1900");
        assert_eq!(plan.ends.version, Version::V5);
        assert_eq!(plan.ends.connect_gap_ns, 10_000_000);
        assert_eq!(plan.ends.credentials.user.as_deref(), Some("ann"));
        assert_eq!(plan.ends.credentials.password.as_deref(), Some("pw"));
        assert_eq!((plan.topology.publishers, plan.topology.subscribers), (30, 1));
        assert_eq!(plan.pace, Pace::Open { interval_ns: 20_000_000, spread: Spread::Even });
        assert_eq!((plan.payload_bytes, plan.inflight), (99, 7));
        assert_eq!((plan.publish_qos, plan.subscribe_qos), (Qos::AtLeastOnce, Qos::AtLeastOnce));
    }

    #[test]
    fn milliseconds_may_have_fractions() {
        let plan = planned("ringmq-bench pairs -I 2.5 -i 0.5").expect("a lawful command");
        assert_eq!(plan.pace, Pace::Open { interval_ns: 2_500_000, spread: Spread::Even });
        assert_eq!(plan.ends.connect_gap_ns, 500_000);
    }

    #[test]
    fn without_an_interval_the_loop_is_closed_and_without_a_limit_it_warms_up() {
        let plan = planned("ringmq-bench pairs").expect("a lawful command");
        assert_eq!((plan.pace, plan.warmup_ns), (Pace::Closed { window: WINDOW }, 1_000_000_000));
        assert_eq!(plan.messages_per_publisher, u64::MAX);
        let plan = planned("ringmq-bench pairs -c 3 -L 100 --duration 0").expect("a lawful command");
        assert_eq!((plan.messages_per_publisher, plan.warmup_ns), (34, 0));
    }

    #[test]
    fn legs_may_differ_in_qos() {
        let plan = planned("ringmq-bench pairs -q 2 --sub-qos 0").expect("a lawful command");
        assert_eq!((plan.publish_qos, plan.subscribe_qos), (Qos::ExactlyOnce, Qos::AtMostOnce));
    }

    #[test]
    fn contradictions_are_named() {
        assert!(refusal("ringmq-bench pairs -s 7").contains("-s must be 8"));
        assert!(refusal("ringmq-bench pairs -c 0").contains("at least 1"));
        assert!(refusal("ringmq-bench pairs -I 0").contains("-I"));
        assert!(refusal("ringmq-bench pairs --duration 0").contains("-L"));
        assert!(refusal("ringmq-bench pairs --raw-echo -q 1").contains("-q 0"));
        assert!(refusal("ringmq-bench fan-in -c 2 --subscribers 3").contains("at most as many"));
        assert!(refusal("ringmq-bench fan-in --subscribers 3 -t a/%i").contains("%g"));
        assert!(refusal("ringmq-bench pairs --duration=-1").contains("--duration"));
        assert!(refusal("ringmq-bench pairs --ifaddr ::1").contains("family"));
        assert!(refusal("ringmq-bench idle -c 0").contains("at least 1"));
    }

    #[test]
    fn devices_send_json_at_periods_of_their_own_to_a_topic_without_their_name() {
        let plan = planned("ringmq-bench telemetry -c 7 -u token-%i").expect("a lawful command");
        assert_eq!(plan.topology.cast, Cast::Publishers);
        let pace = Pace::Open { interval_ns: 10_000_000_000, spread: Spread::Jittered { permille: 200 } };
        assert_eq!((plan.pace, plan.body), (pace, Body::Json));
        assert_eq!(plan.topic.as_deref(), Some("v1/devices/me/telemetry"));
        assert_eq!(plan.ends.publisher_credentials(3).user.as_deref(), Some("token-3"));
        let heard =
            planned("ringmq-bench telemetry --subscribers 2 -I 500 -s 200").expect("a lawful command");
        assert_eq!((heard.topology.connections(), heard.payload_bytes), (1_002, 200));
        assert!(refusal("ringmq-bench telemetry -s 20").contains("--binary"));
        assert!(refusal("ringmq-bench telemetry --jitter 100").contains("below 100"));
    }

    #[test]
    fn devices_of_thingsboard_have_tokens_and_are_heard_on_another_listener() {
        let line =
            "ringmq-bench telemetry -c 7 --dialect thingsboard --subscribers 1 --sub-port 1900 --window 8";
        let plan = planned(line).expect("a lawful command");
        assert_eq!((plan.pace, plan.body), (Pace::Closed { window: 8 }, Body::ThreeValues));
        assert_eq!(plan.filter.as_deref(), Some("thingsboard/+/+/telemetry"));
        assert_eq!(plan.ends.publisher_credentials(3).user.as_deref(), Some("bench-token-3"));
        assert_eq!(plan.ends.subscriber_credentials(0).user, None);
        let elsewhere = plan.ends.subscriber_broker.map(|address| address.port());
        assert_eq!((plan.ends.broker.port(), elsewhere), (1883, Some(1900)));
        assert!(refusal("ringmq-bench telemetry --tokens nowhere.txt").contains("nowhere.txt"));
    }

    #[test]
    fn tokens_may_stand_in_a_file() {
        let path = std::env::temp_dir().join(format!("bench-tokens-{}", std::process::id()));
        fs::write(&path, "one\ntwo\n\nthree\n").expect("a file can be written");
        let line = |count: u32| format!("ringmq-bench telemetry -c {count} --tokens {}", path.display());
        let plan = planned(&line(3)).expect("a lawful command");
        assert_eq!(plan.ends.publisher_credentials(2).user.as_deref(), Some("three"));
        assert!(refusal(&line(4)).contains("3 tokens for 4 devices"));
        fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn sessions_last_when_told_to_or_when_subscribers_are_away() {
        let lasting = |line: &str| planned(line).expect("a lawful command").ends.lasting;
        assert_eq!(lasting("ringmq-bench pairs"), Lasting::Never);
        assert_eq!(lasting("ringmq-bench pairs -C false"), Lasting::Seconds(SESSION_EXPIRY_S));
        assert_eq!(lasting("ringmq-bench pairs -C false -x 9"), Lasting::Seconds(9));
        assert_eq!(
            lasting("ringmq-bench pairs --offline-subscribers -q 1"),
            Lasting::Seconds(SESSION_EXPIRY_S)
        );
        assert!(refusal("ringmq-bench pairs -x 9").contains("-C false"));
        assert!(refusal("ringmq-bench pairs --offline-subscribers").contains("-q 1"));
        assert!(refusal("ringmq-bench shared --offline-subscribers -q 1").contains("pairs"));
        assert!(refusal("ringmq-bench retained -C false").contains("-C"));
    }

    #[test]
    fn groups_need_members_and_retained_messages_need_topics_of_their_own() {
        let plan = planned("ringmq-bench shared -c 4 --subscribers 6 --groups 3").expect("a lawful command");
        assert_eq!((plan.topology.groups, plan.topology.deliveries_per_message()), (3, 3));
        assert!(refusal("ringmq-bench shared --subscribers 2 --groups 3").contains("every group"));
        let plan = planned("ringmq-bench retained -c 10 --publishers 4").expect("a lawful command");
        assert_eq!((plan.messages_per_publisher, plan.retain), (3, true));
        assert!(refusal("ringmq-bench retained -t a/%i").contains("%s"));
    }

    #[test]
    fn the_commands_of_the_readme_are_lawful_as_they_stand() {
        let lines = include_str!("README.md").lines().filter(|line| line.starts_with("ringmq-bench "));
        // Scenarios, comparisons and capacity plans are no workloads of this kind.
        let workloads =
            lines.filter(|line| ![" replay ", " compare ", " plan "].iter().any(|word| line.contains(word)));
        let workloads = workloads.map(planned).collect::<Vec<_>>();
        assert!(workloads.len() > 10, "the README shows every workload");
        for plan in workloads {
            assert!(plan.is_ok(), "{plan:?}");
        }
    }

    #[test]
    fn the_scenarios_that_come_along_are_lawful() {
        let text = include_str!("scenarios/power-cut.jsonl");
        let scenario = Scenario::parse(text).expect("a lawful scenario");
        assert_eq!(scenario.groups.iter().map(|group| group.count).sum::<u32>(), 52);
    }

    #[test]
    fn an_open_loop_has_no_window_and_a_host_is_not_help() {
        let refused = |line: &str| Options::try_parse_from(line.split(' ')).is_err();
        assert!(refused("ringmq-bench pairs -I 5 --window 3"));
        assert!(refused("ringmq-bench pairs -R 5 -i 3"));
        assert!(refused("ringmq-bench pairs -h"), "-h wants a host");
    }

    #[test]
    fn a_transport_is_plain_until_told_otherwise_and_half_options_are_refused() {
        let transport = |line: &str| planned(line).expect("a lawful command").ends.transport;
        assert!(transport("ringmq-bench pairs").is_plain());
        assert_eq!(transport("ringmq-bench pairs -S --tls-min 1.3").in_words(), ", over TLS");
        assert_eq!(transport("ringmq-bench idle --ws").in_words(), ", over WebSocket");
        assert_eq!(
            transport("ringmq-bench conn --ssl --ws --ws-path /x --storms 1 --resume").in_words(),
            ", over WebSocket in TLS"
        );
        assert!(refusal("ringmq-bench pairs -S --tls-min 1.3 --tls-max 1.2").contains("no TLS version"));
        assert!(refusal("ringmq-bench pairs -S --certfile x").contains("--keyfile"));
        assert!(refusal("ringmq-bench pairs -S --cacertfile nowhere.pem").contains("nowhere.pem"));
        assert!(refusal("ringmq-bench conn -S --resume").contains("--storms"));
        assert!(refusal("ringmq-bench conn --churn --resume").contains("-S"));
        let refused = |line: &str| Options::try_parse_from(line.split(' ')).is_err();
        assert!(refused("ringmq-bench pairs --cacertfile ca.pem"), "without -S");
        assert!(refused("ringmq-bench pairs --ws-path /x"), "without --ws");
    }

    #[test]
    fn idle_connections_subscribe_only_when_told_to() {
        let quiet =
            planned("ringmq-bench idle -c 10 --ifaddr 127.0.0.2,127.0.0.3").expect("a lawful command");
        assert_eq!((quiet.topic, quiet.ends.sources.len()), (None, 2));
        let plan = planned("ringmq-bench idle -t a/%i -q 1").expect("a lawful command");
        assert_eq!((plan.topic.as_deref(), plan.subscribe_qos), (Some("a/%i"), Qos::AtLeastOnce));
    }
}
