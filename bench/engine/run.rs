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
use crate::report::{BrokerUse, Percentiles, RunReport, ThreadUse};

/// After so long without an arrival the rest is lost.
const QUIET_NS: u64 = 1_000_000_000;
/// A drain ends at the latest after this.
const DRAIN_NS_MAX: u64 = 10_000_000_000;
/// A thread above this share of a core was probably the limit.
const SATURATED: f64 = 0.95;
/// Waiting for a core for more than this share of the time spoils the figures.
const DISTURBED: f64 = 0.05;
/// An open loop may be late by this share of its 99th percentile.
const LAG_SHARE_MAX: f64 = 0.1;

/// Runs `plan`.
pub(crate) fn run(plan: Plan, progress: &Progress) -> Result<RunReport, Failure> {
    let mut fleet = Fleet::launch(plan.clone(), 1_000)?;
    fleet.await_ready(plan.topology.connections(), Tolerance::None, progress)?;
    fleet.board.start(now_ns());
    fleet.pause(plan.warmup_ns, progress, all_sent(&plan))?;
    fleet.board.enter(Phase::Measure);
    let before = fleet.sample()?;
    let duration_ns = if plan.duration_ns == 0 { u64::MAX } else { plan.duration_ns };
    fleet.pause(duration_ns, progress, all_delivered(&plan))?;
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

fn all_sent(plan: &Plan) -> impl Fn(&Board) -> bool + use<> {
    let wanted = u64::from(plan.topology.publishers).saturating_mul(plan.messages_per_publisher);
    move |board| board.total(|counters| &counters.sent) >= wanted
}

fn all_delivered(plan: &Plan) -> impl Fn(&Board) -> bool + use<> {
    let sent = all_sent(plan);
    move |board| sent(board) && board.total(|counters| &counters.received) >= board.expected()
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
        lag: Percentiles::of(lag),
        connect: Percentiles::of(connect),
        broker: broker_use(plan, before, after)?,
        generator: thread_use(before, after),
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
    let waited = report.generator.iter().map(|thread| thread.cores_waited_for).fold(0.0, f64::max);
    note(
        waited > DISTURBED,
        format!("the generator waited for its core {:.0} % of the time", waited * 100.0),
    );
    let waited = report.broker.as_ref().map_or(0.0, |broker| broker.cores_waited_for);
    note(waited > DISTURBED, format!("the broker's threads waited for a core {waited:.2} s per second"));
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
