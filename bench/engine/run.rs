//! One run with traffic, from the first dial to the report.
//!
//! Why so many phases: connecting must not disturb the traffic, the first second of traffic must not be counted, and
//! messages still under way at the end must not be called lost.
//!
//! Invariants:
//! - Rates and processor times concern the counted time; the ledger concerns every message of the run.

use std::collections::HashMap;

use super::board::{Board, Phase};
use super::fleet::{Fleet, Sample, Tolerance};
use super::plan::{Pace, Plan};
use super::topology::Shape;
use super::worker::Outcome;
use crate::clock::now_ns;
use crate::codec::Template;
use crate::failure::Failure;
use crate::ledger::Tally;
use crate::number::{float, ratio};
use crate::procfs;
use crate::progress::Progress;
use crate::report::{BrokerUse, Origin, RunReport, ThreadUse};
use crate::sheet::{self, Percentiles};

/// After so long without an arrival the rest is lost.
const QUIET_NS: u64 = 1_000_000_000;
/// A drain ends at the latest after this.
const DRAIN_NS_MAX: u64 = 10_000_000_000;
/// A thread above this share of a core was probably the limit.
const SATURATED: f64 = 0.95;
/// An open loop may be late by this share of its 99th percentile.
const LAG_SHARE_MAX: f64 = 0.1;

/// Runs `plan`.
pub(crate) fn run(plan: Plan, progress: &Progress) -> Result<RunReport, Failure> {
    let mut fleet = Fleet::launch(plan.clone(), 1_000)?;
    fleet.await_ready(plan.topology.connections(), Tolerance::None, progress)?;
    let before = begin(&mut fleet, &plan, progress)?;
    match plan.duration_ns {
        0 => await_limit(&mut fleet, &plan, progress)?,
        duration_ns => fleet.pause(duration_ns, progress, all_delivered(&plan))?,
    }
    let after = fleet.sample()?;
    fleet.board.enter(Phase::Drain);
    drain(&mut fleet, progress)?;
    let departed = fleet.board.total(|counters| &counters.departed);
    let troubles = fleet.board.troubles();
    let expected = fleet.board.expected();
    let outcomes = fleet.stop()?;
    progress.clear();
    let mut report = compile(&plan, &before, &after, &outcomes)?;
    report.departed = departed;
    report.expected = expected;
    report.notes = notes(&report);
    let named = |(client, cause): (String, String)| format!("client {client}: {cause}");
    report.notes.extend(troubles.into_iter().map(named));
    Ok(report)
}

/// Starts the traffic, warms up, and returns the counters of the moment when counting begins.
fn begin(fleet: &mut Fleet, plan: &Plan, progress: &Progress) -> Result<Sample, Failure> {
    if plan.warmup_ns == 0 {
        let before = fleet.sample()?;
        fleet.board.start(now_ns(), Phase::Measure);
        return Ok(before);
    }
    fleet.board.start(now_ns(), Phase::Warmup);
    fleet.pause(plan.warmup_ns, progress, all_sent(plan))?;
    fleet.board.enter(Phase::Measure);
    fleet.sample()
}

fn all_sent(plan: &Plan) -> impl Fn(&Board) -> bool + use<> {
    let wanted = u64::from(plan.topology.publishers).saturating_mul(plan.messages_per_publisher);
    move |board| board.total(|counters| &counters.sent) >= wanted
}

fn all_delivered(plan: &Plan) -> impl Fn(&Board) -> bool + use<> {
    let sent = all_sent(plan);
    move |board| sent(board) && board.total(|counters| &counters.received) >= board.expected()
}

/// Waits until all messages have been delivered, or until nothing moves any more and nothing more will be sent.
fn await_limit(fleet: &mut Fleet, plan: &Plan, progress: &Progress) -> Result<(), Failure> {
    let interval_ns = match plan.pace {
        Pace::Open { interval_ns } => interval_ns,
        Pace::Closed { .. } => plan.stall_ns,
    };
    let moved = |board: &Board| (board.expected(), board.total(|counters| &counters.received));
    loop {
        let before = moved(&fleet.board);
        fleet.pause(QUIET_NS.max(interval_ns.saturating_mul(2)), progress, all_delivered(plan))?;
        let over = fleet.board.total(|counters| &counters.departed) > 0 || all_sent(plan)(&fleet.board);
        if all_delivered(plan)(&fleet.board) || (over && moved(&fleet.board) == before) {
            return Ok(());
        }
    }
}

fn drain(fleet: &mut Fleet, progress: &Progress) -> Result<(), Failure> {
    let deadline_ns = now_ns() + DRAIN_NS_MAX;
    let arrived =
        |board: &Board| board.is_silent() && board.total(|counters| &counters.received) >= board.expected();
    loop {
        let before = fleet.board.total(|counters| &counters.received);
        fleet.pause(QUIET_NS, progress, arrived)?;
        let quiet = fleet.board.total(|counters| &counters.received) == before;
        if quiet || arrived(&fleet.board) || now_ns() > deadline_ns {
            return Ok(());
        }
    }
}

fn compile(plan: &Plan, before: &Sample, after: &Sample, outcomes: &[Outcome]) -> Result<RunReport, Failure> {
    let mut tally = Tally::default();
    let mut times = [(); 3].map(|()| super::crew::histogram());
    for outcome in outcomes {
        tally.merge(&outcome.tally);
        for (total, part) in times.iter_mut().zip([&outcome.latency, &outcome.lag, &outcome.connect]) {
            total.add(part).expect("all histograms have the same bounds");
        }
    }
    let elapsed_ns = after.at_ns - before.at_ns;
    let received = after.received - before.received;
    let [latency, lag, connect] = &times;
    let open_loop = matches!(plan.pace, Pace::Open { .. });
    let sum = |part: fn(&Outcome) -> u64| outcomes.iter().map(part).sum();
    Ok(RunReport {
        load: describe(plan),
        interrupted: false,
        latency_from: if open_loop { Origin::Schedule } else { Origin::Write },
        open_loop,
        elapsed_s: float(elapsed_ns) / 1e9,
        sent_per_s: ratio(after.sent - before.sent, elapsed_ns) * 1e9,
        received_per_s: ratio(received, elapsed_ns) * 1e9,
        received,
        expected: 0,
        lost: lost(outcomes),
        duplicated: tally.duplicated,
        reordered: tally.reordered,
        foreign: tally.foreign,
        refused: sum(|outcome| outcome.refused),
        unexpected: sum(|outcome| outcome.unexpected),
        stalls: sum(|outcome| outcome.stalls),
        departed: 0,
        latency: Percentiles::of(latency),
        acknowledged: Percentiles::default(),
        lag: Percentiles::of(lag),
        connect: Percentiles::of(connect),
        broker: broker_use(plan, before, after)?,
        generator: thread_use(before, after),
        replay: None,
        distribution: sheet::distribution(latency),
        series: vec![],
        notes: vec![],
    })
}

fn lost(outcomes: &[Outcome]) -> u64 {
    let sent: HashMap<u32, u64> = outcomes.iter().flat_map(|outcome| outcome.sent.iter().copied()).collect();
    let tracks = outcomes.iter().flat_map(|outcome| &outcome.tracks);
    tracks.map(|(publisher, track)| track.lost(sent.get(publisher).copied().unwrap_or(0))).sum()
}

fn broker_use(plan: &Plan, before: &Sample, after: &Sample) -> Result<Option<BrokerUse>, Failure> {
    let (Some(pid), Some(earlier), Some(later)) = (plan.broker_pid, before.broker, after.broker) else {
        return Ok(None);
    };
    let elapsed_ns = after.at_ns - before.at_ns;
    let used = later.since(&earlier);
    Ok(Some(BrokerUse {
        pid,
        name: procfs::process_name(pid),
        cpu_ns_per_message: ratio(used.cpu_ns, after.received - before.received),
        user_share: used.user_share(),
        cores: ratio(used.cpu_ns, elapsed_ns),
        cores_waited_for: ratio(used.waited_ns, elapsed_ns),
        resident_bytes: procfs::resident_bytes(pid)?,
    }))
}

fn thread_use(before: &Sample, after: &Sample) -> Vec<ThreadUse> {
    let elapsed_ns = after.at_ns - before.at_ns;
    let used = after.threads.iter().zip(&before.threads).map(|(later, earlier)| later.since(earlier));
    used.map(|used| ThreadUse {
        cores: ratio(used.cpu_ns, elapsed_ns),
        cores_waited_for: ratio(used.waited_ns, elapsed_ns),
    })
    .collect()
}

fn describe(plan: &Plan) -> String {
    let topology = &plan.topology;
    let clients = match topology.shape {
        Shape::Pairs => format!("{} pairs", topology.publishers),
        Shape::FanIn => format!("fan-in {} -> {}", topology.publishers, topology.subscribers),
        Shape::FanOut => format!("fan-out {} -> {}", topology.publishers, topology.subscribers),
        Shape::Echo => format!("{} echo connections", topology.publishers),
        Shape::Idle => format!("{} idle connections", topology.subscribers),
    };
    let pace = match plan.pace {
        Pace::Open { interval_ns } => {
            let rate = f64::from(topology.publishers) * 1e9 / float(interval_ns);
            format!("open loop {rate:.0} messages/s")
        }
        Pace::Closed { window } => format!("window {window}"),
    };
    let topic = plan.topic.as_deref().unwrap_or_default();
    let wire_bytes =
        Template::new(plan.ends.version, topic, plan.publish_qos, plan.payload_bytes.max(8)).wire_bytes();
    format!(
        "{clients}, QoS {}/{}, {} B payload (about {wire_bytes} B on the wire), {} PUBLISH per write, {pace}",
        plan.publish_qos.bits(),
        plan.subscribe_qos.bits(),
        plan.payload_bytes,
        plan.batch,
    )
}

fn notes(report: &RunReport) -> Vec<String> {
    let mut notes = vec![];
    let mut note = |applies: bool, text: String| {
        if applies {
            notes.push(text);
        }
    };
    let saturated = report.generator.iter().any(|thread| thread.cores > SATURATED);
    note(
        saturated && !report.open_loop,
        "a generator core is saturated: messages/s may be the generator's limit, CPU per message is the broker's"
            .into(),
    );
    let (lag, p99) = (report.lag.p99_us, report.latency.p99_us);
    note(
        report.open_loop && lag > p99 * LAG_SHARE_MAX,
        format!("the generator itself was late: its lag p99 of {lag:.0} us is part of the latencies"),
    );
    note(report.stalls > 0, format!("{} windows were reopened because nothing moved", report.stalls));
    note(report.departed > 0, format!("{} connections were lost", report.departed));
    note(report.foreign > 0, format!("{} messages came that nobody here had sent", report.foreign));
    note(report.refused > 0, format!("{} messages were refused in their acknowledgements", report.refused));
    note(report.unexpected > 0, format!("{} acknowledgements answered nothing", report.unexpected));
    notes
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::JoinHandle;

    use super::*;
    use crate::codec::{Qos, Version};
    use crate::engine::plan::tests::plan;
    use crate::engine::topology::Topology;
    use crate::relay::{Echo, NullRelay, listen};
    use crate::report::Report;

    /// One of our servers on a thread of its own, until it is dropped.
    pub(crate) struct Server {
        pub(crate) address: SocketAddr,
        stopped: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Server {
        /// A relay, or an echo server for the shape that needs one.
        pub(crate) fn start(shape: Shape) -> Self {
            let listener =
                listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback can be listened on");
            let address = listener.local_addr().expect("a bound socket has an address");
            let stopped = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&stopped);
            let thread = std::thread::spawn(move || {
                let pause = crate::clock::timespec(5_000_000);
                let mut echo = None;
                let mut relay = None;
                match shape {
                    Shape::Echo => echo = Some(Echo::new(listener).expect("an echo server starts")),
                    _ => relay = Some(NullRelay::new(listener).expect("a relay starts")),
                }
                while !seen.load(Ordering::Relaxed) {
                    if let Some(echo) = &mut echo {
                        echo.turn(Some(&pause)).expect("echoing goes on");
                    }
                    if let Some(relay) = &mut relay {
                        relay.turn(Some(&pause)).expect("relaying goes on");
                    }
                }
            });
            Self { address, stopped, thread: Some(thread) }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.stopped.store(true, Ordering::Relaxed);
            let ended = self.thread.take().map(JoinHandle::join);
            assert!(matches!(ended, Some(Ok(()))), "the server ended well");
        }
    }

    /// Runs `plan` against a server of ours, `messages` per publisher.
    fn report(mut plan: Plan, messages: u64) -> RunReport {
        let server = Server::start(plan.topology.shape);
        plan.ends.broker = server.address;
        plan.messages_per_publisher = messages;
        run(plan, &Progress::hidden()).expect("the run succeeds")
    }

    fn assert_complete(report: &RunReport, expected: u64) {
        assert_eq!(report.expected, expected);
        assert_eq!(
            [report.lost, report.duplicated, report.reordered, report.foreign],
            [0; 4],
            "{}",
            report.sheet()
        );
        assert_eq!([report.refused, report.unexpected, report.departed], [0; 3], "{}", report.sheet());
        assert_eq!(report.latency.count, report.received, "{}", report.sheet());
    }

    #[test]
    fn pairs_deliver_everything_in_every_qos_and_version() {
        for version in [Version::V4, Version::V5] {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let mut plan = plan(Shape::Pairs, [5, 5]);
                plan.ends.version = version;
                (plan.publish_qos, plan.subscribe_qos) = (qos, qos);
                assert_complete(&report(plan, 1_001), 5_005);
            }
        }
    }

    #[test]
    fn a_fan_out_delivers_to_everybody_also_across_threads() {
        for threads in [1, 3] {
            let mut plan = plan(Shape::FanOut, [2, 7]);
            plan.topology = Topology { threads, ..plan.topology };
            plan.topic = Some("bench/fan-out".into());
            assert_complete(&report(plan, 500), 7_000);
        }
    }

    #[test]
    fn a_fan_in_keeps_each_publishers_order_also_across_threads() {
        for threads in [1, 3] {
            let mut plan = plan(Shape::FanIn, [10, 4]);
            plan.topology = Topology { threads, ..plan.topology };
            plan.topic = Some("bench/fan-in/%g/%i".into());
            assert_complete(&report(plan, 500), 5_000);
        }
    }

    #[test]
    fn an_echo_server_returns_everything() {
        let mut plan = plan(Shape::Echo, [20, 20]);
        (plan.pace, plan.batch) = (Pace::Closed { window: 1 }, 1);
        assert_complete(&report(plan, 200), 4_000);
    }

    #[test]
    fn an_open_loop_sends_what_the_schedule_says() {
        let mut plan = plan(Shape::Pairs, [4, 4]);
        plan.pace = Pace::Open { interval_ns: 100_000 };
        let report = report(plan, 300);
        assert_complete(&report, 1_200);
        assert!(report.open_loop);
        assert_eq!(report.lag.count, report.latency.count);
    }

    #[test]
    fn large_payloads_pass_through_full_sockets() {
        let mut plan = plan(Shape::Pairs, [3, 3]);
        (plan.payload_bytes, plan.pace) = (300_000, Pace::Closed { window: 64 });
        plan.batch = 64;
        assert_complete(&report(plan, 128), 384);
    }

    /// Welcomes one subscriber and one publisher, reads the first PUBLISH and forwards nothing.
    fn swallow_first(listener: &TcpListener) -> [TcpStream; 2] {
        let mut bytes = [0; 1_024];
        let mut welcomed = [(); 2].map(|()| {
            let (mut stream, _) = listener.accept().expect("somebody dials");
            let count = stream.read(&mut bytes).expect("a CONNECT comes");
            stream.write_all(&[0x20, 2, 0, 0]).expect("a CONNACK goes out");
            (bytes[..count].ends_with(b"test-s0"), stream)
        });
        welcomed.sort_by_key(|(is_subscriber, _)| !is_subscriber);
        let [(_, mut subscriber), (_, mut publisher)] = welcomed;
        assert!(subscriber.read(&mut bytes).expect("a SUBSCRIBE comes") > 0);
        subscriber.write_all(&[0x90, 3, 0, 1, 0]).expect("a SUBACK goes out");
        assert!(publisher.read(&mut bytes).expect("a PUBLISH comes") > 0);
        [subscriber, publisher]
    }

    #[test]
    fn a_broker_that_swallows_everything_ends_the_run_and_shows_as_loss() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback can be listened on");
        let mut plan = plan(Shape::Pairs, [1, 1]);
        plan.ends.broker = listener.local_addr().expect("a bound socket has an address");
        plan.messages_per_publisher = 8;
        let broker = std::thread::spawn(move || {
            let streams = swallow_first(&listener);
            // Until the generator says goodbye.
            streams.map(|mut stream| stream.read_to_end(&mut vec![]).is_ok())
        });
        let report = run(plan, &Progress::hidden()).expect("a report is made all the same");
        assert_eq!((report.expected, report.lost, report.departed), (8, 8, 0));
        assert!(matches!(broker.join(), Ok([true, true])), "the broker was left in peace");
    }

    #[test]
    fn a_broker_that_hangs_up_ends_the_run_and_shows_as_loss() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback can be listened on");
        let mut plan = plan(Shape::Pairs, [1, 1]);
        plan.ends.broker = listener.local_addr().expect("a bound socket has an address");
        plan.messages_per_publisher = 1_000;
        let broker = std::thread::spawn(move || drop(swallow_first(&listener)));
        let report = run(plan, &Progress::hidden()).expect("a report is made all the same");
        assert!(broker.join().is_ok(), "the broker did its part");
        assert_eq!(report.departed, 2);
        assert!(report.lost > 0);
        assert_eq!(report.lost, report.expected);
    }

    #[test]
    fn a_refused_dial_names_the_client() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback can be listened on");
        let mut plan = plan(Shape::Pairs, [1, 1]);
        plan.ends.broker = listener.local_addr().expect("a bound socket has an address");
        drop(listener);
        let failure = run(plan, &Progress::hidden()).expect_err("nobody listens there");
        assert!(failure.to_string().starts_with("client test-"), "{failure}");
    }
}
