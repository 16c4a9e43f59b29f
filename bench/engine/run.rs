//! One run with traffic, from the first dial to the report.
//!
//! Why so many phases: connecting must not disturb the traffic, the first second of traffic must not be counted, and
//! messages still under way at the end must not be called lost.
//!
//! Invariants:
//! - Rates and processor times concern the counted time; the ledger concerns every message of the run.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;

use super::acts::end_sessions;
use super::board::{Board, Phase};
use super::fleet::{Fleet, Sample, Tolerance};
use super::plan::{Pace, Plan, Tidiness};
use super::topology::{Cast, Shape};
use super::worker::Outcome;
use crate::clock::now_ns;
use crate::codec::{Lasting, Pattern, Template};
use crate::failure::Failure;
use crate::interrupt::is_interrupted;
use crate::ledger::{Seen, Tally};
use crate::number::{float, ratio};
use crate::procfs;
use crate::progress::Progress;
use crate::report::{BrokerUse, Origin, Replay, RunReport, ThreadUse};
use crate::sheet::{self, Percentiles};

/// After so long without an arrival the rest is lost.
const QUIET_NS: u64 = 1_000_000_000;
/// A drain ends at the latest after this, if messages keep coming.
const DRAIN_NS_MAX: u64 = 60_000_000_000;
const ALL_PERMILLE: u64 = 1_000;
/// A thread above this share of a core was probably the limit.
pub(crate) const SATURATED: f64 = 0.95;
pub(crate) const SATURATED_NOTE: &str = "a generator core is saturated: rates and latencies may be the generator's, CPU per message is the broker's";
/// An open loop may be late by this share of its 99th percentile.
const LAG_SHARE_MAX: f64 = 0.1;

/// Runs `plan`, a workload of one act.
pub(crate) fn run(plan: Plan, progress: &Progress) -> Result<RunReport, Failure> {
    let act = perform(&plan, now_ns(), progress)?;
    if plan.ends.lasting != Lasting::Never && plan.tidiness == Tidiness::Clear {
        end_sessions(&plan, progress)?;
    }
    progress.clear();
    Ok(act.report)
}

/// What one act of a workload leaves to the next.
#[derive(Debug)]
pub(crate) struct Act {
    /// Its report.
    pub(crate) report: RunReport,
    /// Messages sent, by publisher.
    pub(crate) sent: Box<[u64]>,
}

/// Runs `plan` as one act of a workload that began at `origin_ns`.
pub(crate) fn perform(plan: &Plan, origin_ns: u64, progress: &Progress) -> Result<Act, Failure> {
    let mut fleet = Fleet::launch(plan.clone(), ALL_PERMILLE)?;
    fleet.await_ready(plan.topology.connections(), Tolerance::None, progress)?;
    let before = begin(&mut fleet, plan, progress)?;
    // A workload of one act counts its seconds from here, one of several from the beginning of the first.
    let is_alone = plan.topology.cast == Cast::Everybody;
    fleet.record(if is_alone { before.at_ns } else { origin_ns });
    match plan.duration_ns {
        0 => await_limit(&mut fleet, plan, progress)?,
        duration_ns => fleet.pause(duration_ns, progress, all_settled(plan))?,
    }
    let mut after = fleet.sample()?;
    if all_settled(plan)(&fleet.board) {
        end_at_last_arrival(&fleet.board, &before, &mut after);
    }
    fleet.board.enter(Phase::Drain);
    drain(&mut fleet, progress)?;
    if !is_alone {
        fleet.leave(progress)?;
    }
    conclude(plan, fleet, &before, &after)
}

/// Lets the subscribers of `plan` fetch what has been kept for them.
pub(crate) fn fetch(plan: &Plan, origin_ns: u64, progress: &Progress) -> Result<Act, Failure> {
    let mut fleet = Fleet::launch(plan.clone(), 0)?;
    let before = fleet.sample()?;
    fleet.record(origin_ns);
    // Messages come as soon as a subscriber is there, so everything counts from the first dial.
    fleet.board.start(now_ns(), Phase::Measure);
    fleet.board.allow_dialling(ALL_PERMILLE);
    fleet.await_ready(plan.topology.connections(), Tolerance::None, progress)?;
    await_quiet(&mut fleet, progress, |board| received(board) >= board.expected())?;
    let mut after = fleet.sample()?;
    end_at_last_arrival(&fleet.board, &before, &mut after);
    fleet.board.enter(Phase::Drain);
    fleet.leave(progress)?;
    conclude(plan, fleet, &before, &after)
}

/// Connects the clients of `plan`, and lets them go again.
pub(crate) fn visit(plan: &Plan, progress: &Progress) -> Result<Act, Failure> {
    let mut fleet = Fleet::launch(plan.clone(), ALL_PERMILLE)?;
    fleet.await_ready(plan.topology.connections(), Tolerance::None, progress)?;
    let now = fleet.sample()?;
    fleet.board.enter(Phase::Drain);
    fleet.leave(progress)?;
    conclude(plan, fleet, &now, &now)
}

/// The watcher looks every some milliseconds, and waits a while for nothing; neither is part of a rate.
fn end_at_last_arrival(board: &Board, before: &Sample, after: &mut Sample) {
    let last_ns = board.counters.iter().map(|counters| counters.received_ns.load(Relaxed)).max();
    after.at_ns = last_ns.filter(|&last_ns| last_ns > before.at_ns).unwrap_or(after.at_ns);
}

fn conclude(plan: &Plan, mut fleet: Fleet, before: &Sample, after: &Sample) -> Result<Act, Failure> {
    let series = fleet.series();
    let departed = fleet.board.total(|counters| &counters.departed);
    let troubles = fleet.board.troubles();
    let expected = fleet.board.expected();
    let [_, sent_in_all, unanswered] = moved(&fleet.board);
    let sent = (0..plan.topology.publishers).map(|publisher| fleet.board.sent(publisher)).collect();
    let outcomes = fleet.stop()?;
    let mut report = compile(plan, before, after, &outcomes)?;
    report.departed = departed;
    report.expected = expected;
    (report.sent, report.unanswered) = (sent_in_all, unanswered);
    report.series = series;
    report.interrupted = is_interrupted();
    report.notes = notes(&report);
    let named = |(client, cause): (String, String)| format!("client {client}: {cause}");
    report.notes.extend(troubles.into_iter().map(named));
    Ok(Act { report, sent })
}

/// Starts the traffic, warms up, and returns the counters of the moment when counting begins.
fn begin(fleet: &mut Fleet, plan: &Plan, progress: &Progress) -> Result<Sample, Failure> {
    if plan.warmup_ns == 0 {
        let before = fleet.sample()?;
        fleet.board.start(now_ns(), Phase::Measure);
        return Ok(before);
    }
    fleet.board.start(now_ns(), Phase::Warmup);
    fleet.record(now_ns());
    fleet.pause(plan.warmup_ns, progress, all_sent(plan))?;
    fleet.board.enter(Phase::Measure);
    fleet.sample()
}

fn all_sent(plan: &Plan) -> impl Fn(&Board) -> bool + use<> {
    let wanted = u64::from(plan.topology.publishers).saturating_mul(plan.messages_per_publisher);
    move |board| board.total(|counters| &counters.sent) >= wanted
}

/// Whether everything has been sent, and received or acknowledged by everybody concerned.
fn all_settled(plan: &Plan) -> impl Fn(&Board) -> bool + use<> {
    let sent = all_sent(plan);
    move |board| sent(board) && is_settled(board)
}

fn is_settled(board: &Board) -> bool {
    received(board) >= board.expected() && board.total(|counters| &counters.unacknowledged) == 0
}

fn received(board: &Board) -> u64 {
    board.total(|counters| &counters.received)
}

/// Waits until all messages have been settled, or until nothing moves any more and nothing more will be sent.
fn await_limit(fleet: &mut Fleet, plan: &Plan, progress: &Progress) -> Result<(), Failure> {
    let interval_ns = match plan.pace {
        Pace::Open { interval_ns, .. } => interval_ns,
        Pace::Closed { .. } => plan.stall_ns,
    };
    loop {
        let before = moved(&fleet.board);
        fleet.pause(QUIET_NS.max(interval_ns.saturating_mul(2)), progress, all_settled(plan))?;
        let over = fleet.board.total(|counters| &counters.departed) > 0 || all_sent(plan)(&fleet.board);
        if is_interrupted() || all_settled(plan)(&fleet.board) || (over && moved(&fleet.board) == before) {
            return Ok(());
        }
    }
}

/// What changes as long as a run makes progress.
fn moved(board: &Board) -> [u64; 3] {
    [
        received(board),
        board.total(|counters| &counters.sent),
        board.total(|counters| &counters.unacknowledged),
    ]
}

fn drain(fleet: &mut Fleet, progress: &Progress) -> Result<(), Failure> {
    await_quiet(fleet, progress, |board| board.is_silent() && is_settled(board))
}

/// Waits until `settled`, or until nothing has moved for a while.
pub(crate) fn await_quiet<T: Send + 'static>(
    fleet: &mut Fleet<T>,
    progress: &Progress,
    settled: impl Fn(&Board) -> bool,
) -> Result<(), Failure> {
    let deadline_ns = now_ns() + DRAIN_NS_MAX;
    loop {
        let before = moved(&fleet.board);
        fleet.rest(QUIET_NS, progress, &settled)?;
        let quiet = moved(&fleet.board) == before;
        if quiet || settled(&fleet.board) || now_ns() > deadline_ns {
            return Ok(());
        }
    }
}

fn compile(plan: &Plan, before: &Sample, after: &Sample, outcomes: &[Outcome]) -> Result<RunReport, Failure> {
    let mut tally = Tally::default();
    let mut times = [(); 5].map(|()| super::crew::histogram());
    for outcome in outcomes {
        tally.merge(&outcome.tally);
        let parts =
            [&outcome.latency, &outcome.lag, &outcome.connect, &outcome.acknowledged, &outcome.completion];
        for (total, part) in times.iter_mut().zip(parts) {
            total.add(part).expect("all histograms have the same bounds");
        }
    }
    let elapsed_ns = after.at_ns - before.at_ns;
    let received = after.received - before.received;
    let [latency, lag, connect, acknowledged, completion] = &times;
    let open_loop = matches!(plan.pace, Pace::Open { .. }) && plan.topology.cast != Cast::Subscribers;
    let (lost, seen_twice) = pooled(plan, outcomes);
    let sum = |part: fn(&Outcome) -> u64| outcomes.iter().map(part).sum();
    Ok(RunReport {
        load: describe(plan),
        interrupted: false,
        latency_from: origin(plan),
        open_loop,
        elapsed_s: float(elapsed_ns) / 1e9,
        sent_per_s: ratio(after.sent - before.sent, elapsed_ns) * 1e9,
        received_per_s: ratio(received, elapsed_ns) * 1e9,
        sent: 0,
        unanswered: 0,
        received,
        expected: 0,
        lost: lost + lost_in_order(plan, outcomes),
        duplicated: tally.duplicated + seen_twice,
        reordered: tally.reordered,
        foreign: tally.foreign,
        refused: sum(|outcome| outcome.refused),
        unexpected: sum(|outcome| outcome.unexpected),
        stalls: sum(|outcome| outcome.stalls),
        departed: 0,
        latency: Percentiles::of(latency),
        acknowledged: Percentiles::of(acknowledged),
        lag: Percentiles::of(lag),
        connect: Percentiles::of(connect),
        broker: broker_use(plan, before, after)?,
        generator: thread_use(before, after),
        replay: (!plan.kept.is_empty()).then(|| Replay {
            kept: plan.kept.iter().sum(),
            subscribers: u64::from(plan.topology.subscribers),
            complete: completion.len(),
            completion: Percentiles::of(completion),
            sessions_missing: sum(|outcome| outcome.sessions_missing),
            flag_missing: sum(|outcome| outcome.flag_missing),
            ..Replay::default()
        }),
        distribution: sheet::distribution(latency),
        series: vec![],
        notes: vec![],
    })
}

fn origin(plan: &Plan) -> Origin {
    match plan.pace {
        _ if !plan.kept.is_empty() => Origin::Request,
        Pace::Open { .. } => Origin::Schedule,
        Pace::Closed { .. } => Origin::Write,
    }
}

fn lost_in_order(plan: &Plan, outcomes: &[Outcome]) -> u64 {
    let sent = sent_by_publisher(plan, outcomes);
    let tracks = outcomes.iter().flat_map(|outcome| &outcome.tracks);
    tracks.map(|(publisher, track)| track.lost(sent.get(publisher).copied().unwrap_or(0))).sum()
}

/// Messages that no member of a row has seen, and messages that two threads' members have.
fn pooled(plan: &Plan, outcomes: &[Outcome]) -> (u64, u64) {
    let sent = sent_by_publisher(plan, outcomes);
    let mut rows: BTreeMap<(u32, u32), Seen> = BTreeMap::new();
    let mut twice = 0;
    for (row, publisher, seen) in outcomes.iter().flat_map(|outcome| &outcome.seen) {
        twice += rows.entry((*row, *publisher)).or_default().merge(seen);
    }
    let lost =
        |((_, publisher), seen): (&(u32, u32), &Seen)| seen.lost(sent.get(publisher).copied().unwrap_or(0));
    (rows.iter().map(lost).sum(), twice)
}

fn sent_by_publisher(plan: &Plan, outcomes: &[Outcome]) -> HashMap<u32, u64> {
    let kept = (0..).zip(plan.kept.iter().copied());
    kept.chain(outcomes.iter().flat_map(|outcome| outcome.sent.iter().copied())).collect()
}

pub(crate) fn broker_use(plan: &Plan, before: &Sample, after: &Sample) -> Result<Option<BrokerUse>, Failure> {
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

pub(crate) fn thread_use(before: &Sample, after: &Sample) -> Vec<ThreadUse> {
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
        _ if topology.cast == Cast::Publishers => format!("{} publishers", topology.publishers),
        _ if topology.cast == Cast::Subscribers => format!("{} subscribers", topology.subscribers),
        Shape::Pairs => format!("{} pairs", topology.publishers),
        Shape::FanIn => format!("fan-in {} -> {}", topology.publishers, topology.subscribers),
        Shape::FanOut => format!("fan-out {} -> {}", topology.publishers, topology.subscribers),
        Shape::Devices => format!("{} devices -> {}", topology.publishers, topology.subscribers),
        Shape::Shared => format!(
            "shared {} -> {} in {} groups",
            topology.publishers, topology.subscribers, topology.groups
        ),
        Shape::Retained => format!("{} retaining publishers", topology.publishers),
        Shape::Echo => format!("{} echo connections", topology.publishers),
        Shape::Idle => format!("{} idle connections", topology.subscribers),
    };
    let pace = match plan.pace {
        Pace::Open { interval_ns, .. } => {
            let rate = f64::from(topology.publishers) * 1e9 / float(interval_ns);
            format!("open loop {rate:.0} messages/s")
        }
        Pace::Closed { window } => format!("window {window}"),
    };
    let topic = plan.topic.as_deref().unwrap_or_default();
    let pattern = Pattern {
        version: plan.ends.version,
        topic,
        qos: plan.publish_qos,
        retain: plan.retain,
        body: plan.body,
        payload_bytes: plan.payload_bytes,
    };
    let wire_bytes = Template::new(&pattern).wire_bytes();
    format!(
        "{clients}, QoS {}/{}, {} B payload (about {wire_bytes} B of MQTT), {} PUBLISH per write, {pace}{}",
        plan.publish_qos.bits(),
        plan.subscribe_qos.bits(),
        plan.payload_bytes,
        plan.batch,
        plan.ends.transport.in_words(),
    )
}

pub(crate) fn notes(report: &RunReport) -> Vec<String> {
    let mut notes = vec![];
    let mut note = |applies: bool, text: String| {
        if applies {
            notes.push(text);
        }
    };
    let saturated = report.generator.iter().any(|thread| thread.cores > SATURATED);
    note(saturated, SATURATED_NOTE.into());
    let (lag, p99) = (report.lag.p99_us, report.latency.p99_us);
    note(
        report.open_loop && lag > p99 * LAG_SHARE_MAX,
        format!("the generator itself was late: its lag p99 of {lag:.0} us is part of the latencies"),
    );
    note(
        report.lost > 0,
        "messages were lost: the broker's own count of dropped messages tells whether its queues were full"
            .into(),
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
    use crate::flow::Spread;
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
            let report = report(plan, 500);
            assert_complete(&report, 7_000);
            assert_eq!((report.sent, report.unanswered), (1_000, 0));
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
        plan.pace = Pace::Open { interval_ns: 100_000, spread: Spread::Even };
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
