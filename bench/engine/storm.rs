//! Connects: how fast clients get in, one after the other, all at once, or over and over again.
//!
//! Why waves: a broker's worst minute is the one after a power cut, when everybody comes back together. A wave cuts
//! connections without a goodbye and measures until the last client is back.
//!
//! Invariants:
//! - A client that could not get in is counted and not tried again within its wave.

use hdrhistogram::Histogram;

use super::board::Phase;
use super::crew::histogram;
use super::fleet::{Fleet, Sample};
use super::plan::Plan;
use super::run::{SATURATED, SATURATED_NOTE, thread_use};
use super::worker::Outcome;
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::interrupt::is_interrupted;
use crate::number::{float, ratio};
use crate::progress::Progress;
use crate::report::{ConnectReport, TlsUse, Wave};
use crate::sheet::{self, Percentiles};

/// A load of connects.
#[derive(Clone, Debug)]
pub(crate) struct ConnectPlan {
    /// The clients; its duration is how long churn goes on.
    pub(crate) load: Plan,
    /// How often connections are cut and come again.
    pub(crate) waves: u32,
    /// How long connections stay after each wave.
    pub(crate) hold_ns: u64,
}

const MOST: f64 = 0.99;

/// What was watched of one wave.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    clients: u64,
    elapsed_ns: u64,
    broker_ns: Option<u64>,
}

/// Connects the clients of `plan` and cuts them as often as it says.
pub(crate) fn run_connects(plan: ConnectPlan, progress: &Progress) -> Result<ConnectReport, Failure> {
    let ConnectPlan { load, waves, hold_ns } = plan;
    let churn_ns = load.storm.is_some_and(|storm| storm.churn).then_some(load.duration_ns);
    let mut report = ConnectReport { load: describe(&load, waves, churn_ns), ..ConnectReport::default() };
    let wanted = load.topology.connections();
    let patience_s = load.patience_s;
    let mut fleet = Fleet::launch(load, 0)?;
    let first = fleet.sample()?;
    fleet.record(first.at_ns);
    fleet.board.begin_first_wave(now_ns());
    let mut watched = vec![];
    if let Some(churn_ns) = churn_ns {
        fleet.pause(churn_ns, progress, |_| false)?;
        watched.push(watch(&fleet, &first, wanted)?);
    } else {
        await_wave(&mut fleet, wanted, patience_s, progress)?;
        watched.push(watch(&fleet, &first, wanted)?);
        for _ in 0..waves {
            fleet.pause(hold_ns, progress, |_| false)?;
            if is_interrupted() {
                break;
            }
            let before = fleet.sample()?;
            let earlier = fleet.board.total(|counters| &counters.recalled);
            fleet.board.begin_wave(now_ns());
            await_wave(&mut fleet, wanted, patience_s, progress)?;
            let cut = fleet.board.total(|counters| &counters.recalled) - earlier;
            watched.push(watch(&fleet, &before, cut)?);
        }
        fleet.pause(hold_ns, progress, |_| false)?;
    }
    let last = fleet.sample()?;
    fleet.board.enter(Phase::Drain);
    if churn_ns.is_some() {
        fleet.leave(progress)?;
    }
    report.connects = fleet.board.total(|counters| &counters.ready);
    report.departed = fleet.board.total(|counters| &counters.dropped);
    report.failed = fleet.board.total(|counters| &counters.departed) - report.departed;
    report.series = fleet.series();
    report.interrupted = is_interrupted();
    let troubles = fleet.board.troubles();
    let outcomes = fleet.stop()?;
    progress.clear();
    compile(&mut report, &watched, &outcomes, churn_ns.is_some());
    report.tls = tls_use(&report, &outcomes);
    report.generator = thread_use(&first, &last);
    if report.series.iter().any(|second| second.generator_cores > SATURATED) {
        report.notes.push(SATURATED_NOTE.into());
    }
    let named = |(client, cause): (String, String)| format!("client {client}: {cause}");
    report.notes.extend(troubles.into_iter().map(named));
    Ok(report)
}

/// Waits until everybody who was cut, or who has never been there, is in or has failed.
fn await_wave(fleet: &mut Fleet, clients: u64, patience_s: u64, progress: &Progress) -> Result<(), Failure> {
    let wave = fleet.board.wave();
    fleet.pause(patience_s * 1_000_000_000, progress, |board| {
        let has_begun = board
            .counters
            .iter()
            .all(|of_thread| of_thread.wave.load(std::sync::atomic::Ordering::Acquire) == wave);
        let failed = board.total(|counters| &counters.departed) - board.total(|counters| &counters.dropped);
        let wanted = clients + board.total(|counters| &counters.recalled);
        has_begun && board.total(|counters| &counters.ready) + failed >= wanted
    })
}

fn watch(fleet: &Fleet, before: &Sample, clients: u64) -> Result<Watched, Failure> {
    let after = fleet.sample()?;
    Ok(Watched {
        clients,
        elapsed_ns: after.at_ns - before.at_ns,
        broker_ns: after.broker.zip(before.broker).map(|(later, earlier)| later.since(&earlier).cpu_ns),
    })
}

fn compile(report: &mut ConnectReport, watched: &[Watched], outcomes: &[Outcome], churned: bool) {
    let total = |part: fn(&Outcome) -> &Histogram<u64>| {
        let mut total = histogram();
        for outcome in outcomes {
            total.add(part(outcome)).expect("all histograms have the same bounds");
        }
        total
    };
    let welcome = total(|outcome| &outcome.welcome);
    report.distribution = sheet::distribution(&welcome);
    report.welcome = Percentiles::of(&welcome);
    report.connect = Percentiles::of(&total(|outcome| &outcome.connect));
    let waves: Vec<Wave> =
        watched.iter().enumerate().map(|(at, watched)| wave(at, watched, outcomes)).collect();
    let elapsed_ns: u64 = watched.iter().map(|watched| watched.elapsed_ns).sum();
    // The watcher looks every some milliseconds; the last welcome is known exactly.
    report.elapsed_s =
        if churned { float(elapsed_ns) / 1e9 } else { waves.iter().map(|wave| wave.all_s).sum() };
    report.connects_per_s = float(report.connects) / report.elapsed_s.max(1e-9);
    report.waves = if churned { vec![] } else { waves };
    let broker_ns: Option<u64> = watched.iter().map(|watched| watched.broker_ns).sum();
    report.cpu_ns_per_connect = broker_ns.map(|broker_ns| ratio(broker_ns, report.connects));
    report.opening = Percentiles::of(&total(|outcome| &outcome.opening));
}

/// What the handshakes were; `None` without TLS.
fn tls_use(report: &ConnectReport, outcomes: &[Outcome]) -> Option<TlsUse> {
    let sum = |part: fn(&Outcome) -> u64| outcomes.iter().map(part).sum::<u64>();
    let [full, resumed] = [sum(|outcome| outcome.handshakes.full), sum(|outcome| outcome.handshakes.resumed)];
    Some(TlsUse {
        suite: outcomes.iter().find_map(|outcome| outcome.handshakes.suite.clone())?,
        full,
        resumed,
        per_s: float(full + resumed) / report.elapsed_s.max(1e-9),
        per_s_and_core: report.cpu_ns_per_connect.map(|cpu_ns| 1e9 / cpu_ns.max(1.0)),
    })
}

fn wave(at: usize, watched: &Watched, outcomes: &[Outcome]) -> Wave {
    let mut times = histogram();
    for of_thread in outcomes.iter().filter_map(|outcome| outcome.waves.get(at)) {
        times.add(of_thread).expect("all histograms have the same bounds");
    }
    let welcomed = times.len();
    let share = MOST * float(watched.clients) / float(welcomed.max(1));
    Wave {
        clients: watched.clients,
        welcomed,
        most_s: float(times.value_at_quantile(share.min(1.0))) / 1e9,
        all_s: float(times.max()) / 1e9,
    }
}

fn describe(load: &Plan, waves: u32, churn_ns: Option<u64>) -> String {
    let clients = load.topology.connections();
    let rate = match load.ends.connect_gap_ns {
        0 => "as fast as they are welcomed".to_owned(),
        gap_ns => format!("{:.0} per second", 1e9 / float(gap_ns)),
    };
    let handshakes = load.ends.handshakes;
    let repeated = match (churn_ns, waves) {
        (Some(_), _) => ", each leaving at once and coming again".to_owned(),
        (None, 0) => String::new(),
        (None, waves) => {
            let cut = load.storm.map_or(0, |storm| storm.cut_permille) / 10;
            format!(", then {waves} times {cut} % cut and back")
        }
    };
    let transport = load.ends.transport.in_words();
    format!("{clients} connects, {rate}, at most {handshakes} under way per thread{repeated}{transport}")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustix::net::{AddressFamily, SocketType};

    use super::*;
    use crate::engine::plan::Storm;
    use crate::engine::plan::tests::plan;
    use crate::engine::run::tests::Server;
    use crate::engine::topology::{Shape, Topology};
    use crate::report::Report;

    fn connect_plan(server: &Server, clients: u32, storm: Storm) -> ConnectPlan {
        let mut load = plan(Shape::Idle, [0, clients]);
        load.topology = Topology { threads: 2, ..load.topology };
        load.ends.broker = server.address;
        load.topic = None;
        load.storm = Some(storm);
        ConnectPlan { load, waves: 0, hold_ns: 0 }
    }

    #[test]
    fn waves_cut_their_share_and_everybody_comes_back() {
        let server = Server::start(Shape::Idle);
        let storm = Storm { cut_permille: 500, churn: false };
        let plan = ConnectPlan { waves: 2, ..connect_plan(&server, 40, storm) };
        let report = run_connects(plan, &Progress::hidden()).expect("the run succeeds");
        let waves: Vec<_> = report.waves.iter().map(|wave| (wave.clients, wave.welcomed)).collect();
        assert_eq!(waves, [(40, 40), (20, 20), (20, 20)], "{}", report.sheet());
        assert_eq!((report.connects, report.failed, report.departed), (80, 0, 0), "{}", report.sheet());
        assert_eq!((report.welcome.count, report.connect.count), (80, 80));
    }

    #[test]
    fn nobody_listening_is_a_report_with_failures_and_their_reason() {
        let server = Server::start(Shape::Idle);
        let mut plan = connect_plan(&server, 3, Storm { cut_permille: 0, churn: false });
        // A port that is ours and where nobody listens. One that were free could be given to another test's server, or to
        // the client itself, which would then meet itself.
        let held = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback has free ports");
        let unused = rustix::net::getsockname(&held).map(SocketAddr::try_from);
        plan.load.ends.broker = unused.expect("it is bound").expect("it is an address");
        let report = run_connects(plan, &Progress::hidden()).expect("a report is made all the same");
        assert_eq!((report.connects, report.failed), (0, 3), "{}", report.sheet());
        assert!(report.notes.iter().any(|note| note.contains("refused")), "{:?}", report.notes);
    }
}
