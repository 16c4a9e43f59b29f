//! From options to plans: every contradiction is found here, before anything is dialled.
//!
//! Why apart from the options: the rules are worth testing without a terminal.
//!
//! Invariants:
//! - A plan that leaves here has room for a stamp in its payload, at least one client, and an end.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::codec::{Credentials, Qos, Version};
use crate::engine::{Ends, IdlePlan, Pace, Plan, Shape, Topology};
use crate::failure::Failure;
use crate::options::{
    FanInOptions, FanOutOptions, IdleOptions, LinkOptions, PairsOptions, QosOption, TrafficOptions,
    VersionOption,
};
use crate::stamp::IDENTITY_BYTES;

const WINDOW: u64 = 64;
const PAYLOAD_BYTES_MAX: usize = 16 * 1_024 * 1_024;
const WINDOW_MAX: u64 = 1 << 20;

/// The plan of `pairs`.
pub(crate) fn pairs(options: &PairsOptions) -> Result<Plan, Failure> {
    let shape = if options.raw_echo { Shape::Echo } else { Shape::Pairs };
    let plan = plan(&options.link, &options.traffic, shape, [options.count, options.count], "bench/pair/%i")?;
    if options.raw_echo && plan.publish_qos > Qos::AtMostOnce {
        return Err(Failure::Usage("an echo server acknowledges nothing: --raw-echo needs -q 0".into()));
    }
    Ok(plan)
}

/// The plan of `fan-in`.
pub(crate) fn fan_in(options: &FanInOptions) -> Result<Plan, Failure> {
    let clients = [options.count, options.subscribers];
    let plan = plan(&options.link, &options.traffic, Shape::FanIn, clients, "bench/fan-in/%g/%i")?;
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
    let clients = [options.publishers, options.count];
    plan(&options.link, &options.traffic, Shape::FanOut, clients, "bench/fan-out")
}

/// The plan of `idle`.
pub(crate) fn idle(options: &IdleOptions) -> Result<IdlePlan, Failure> {
    let qos = qos(options.qos);
    Ok(IdlePlan {
        load: Plan {
            ends: ends(&options.link)?,
            topology: topology(&options.link, Shape::Idle, [0, at_least_one(options.count, "-c")?])?,
            topic: options.topic.clone(),
            payload_bytes: IDENTITY_BYTES,
            publish_qos: qos,
            subscribe_qos: qos,
            pace: Pace::Closed { window: 1 },
            inflight: 1,
            batch: 1,
            warmup_ns: 0,
            duration_ns: seconds(options.duration, "--duration")?,
            messages_per_publisher: 0,
            stall_ns: u64::MAX,
            patience_s: options.link.patience,
            broker_pid: options.link.pid,
        },
        settle_ns: seconds(options.settle, "--settle")?,
    })
}

fn plan(
    link: &LinkOptions,
    traffic: &TrafficOptions,
    shape: Shape,
    clients: [u32; 2],
    topic: &str,
) -> Result<Plan, Failure> {
    let topology = topology(link, shape, clients)?;
    if !(IDENTITY_BYTES..=PAYLOAD_BYTES_MAX).contains(&traffic.size) {
        return Err(Failure::Usage(format!(
            "-s must be {IDENTITY_BYTES} to {PAYLOAD_BYTES_MAX}: the payload carries sequence and publisher"
        )));
    }
    let duration_ns = seconds(traffic.duration, "--duration")?;
    if duration_ns == 0 && traffic.limit == 0 {
        return Err(Failure::Usage("--duration 0 needs a number of messages: -L".into()));
    }
    Ok(Plan {
        ends: ends(link)?,
        topology,
        topic: Some(traffic.topic.clone().unwrap_or_else(|| topic.to_owned())),
        payload_bytes: traffic.size,
        publish_qos: qos(traffic.qos),
        subscribe_qos: qos(traffic.sub_qos.unwrap_or(traffic.qos)),
        pace: pace(traffic)?,
        inflight: at_least_one(traffic.inflight, "-F")?,
        batch: at_least_one(traffic.batch, "--batch")?,
        // With a number of messages the first one counts as much as the last.
        warmup_ns: seconds(traffic.warmup.unwrap_or(if traffic.limit > 0 { 0.0 } else { 1.0 }), "--warmup")?,
        duration_ns,
        messages_per_publisher: match traffic.limit {
            0 => u64::MAX,
            limit => limit.div_ceil(u64::from(topology.publishers)),
        },
        stall_ns: seconds(traffic.stall, "--stall")?.max(1),
        patience_s: link.patience,
        broker_pid: link.pid,
    })
}

fn pace(traffic: &TrafficOptions) -> Result<Pace, Failure> {
    let Some(interval_ms) = traffic.interval else {
        let window = at_least_one(traffic.window.unwrap_or(WINDOW), "--window")?;
        if window > WINDOW_MAX {
            return Err(Failure::Usage(format!("--window is at most {WINDOW_MAX}")));
        }
        return Ok(Pace::Closed { window });
    };
    Ok(Pace::Open { interval_ns: at_least_one(milliseconds(interval_ms, "-I")?, "-I")? })
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
    Ok(Topology { shape, publishers, subscribers, threads })
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
        sources: link.ifaddr.clone(),
        version: match link.version {
            VersionOption::Four => Version::V4,
            VersionOption::Five => Version::V5,
        },
        credentials: Credentials { user: link.user.clone(), password: link.password.clone() },
        keep_alive_s: link.keepalive,
        prefix: link.prefix.clone().unwrap_or_else(|| format!("bench-{}", std::process::id())),
        connect_gap_ns,
        processors: link.cpu.clone(),
    })
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
        assert_eq!(plan.pace, Pace::Open { interval_ns: 20_000_000 });
        assert_eq!((plan.payload_bytes, plan.inflight), (99, 7));
        assert_eq!((plan.publish_qos, plan.subscribe_qos), (Qos::AtLeastOnce, Qos::AtLeastOnce));
    }

    #[test]
    fn milliseconds_may_have_fractions() {
        let plan = planned("ringmq-bench pairs -I 2.5 -i 0.5").expect("a lawful command");
        assert_eq!(plan.pace, Pace::Open { interval_ns: 2_500_000 });
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
    fn an_open_loop_has_no_window_and_a_host_is_not_help() {
        let refused = |line: &str| Options::try_parse_from(line.split(' ')).is_err();
        assert!(refused("ringmq-bench pairs -I 5 --window 3"));
        assert!(refused("ringmq-bench pairs -R 5 -i 3"));
        assert!(refused("ringmq-bench pairs -h"), "-h wants a host");
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
