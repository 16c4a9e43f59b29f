//! One play of a scenario, from the first dial to the report.
//!
//! Why the same report as for other workloads: whoever reads a page of one can read a page of the other.
//!
//! Invariants:
//! - The show ends when the scenario has, and when nothing has moved for a while.

use std::sync::Arc;

use super::player::{Played, Player};
use crate::clock::now_ns;
use crate::engine::board::Phase;
use crate::engine::fleet::{Fleet, Sample};
use crate::engine::plan::Plan;
use crate::engine::run::{await_quiet, broker_use, notes, thread_use};
use crate::failure::Failure;
use crate::interrupt::is_interrupted;
use crate::number::{float, ratio, wide};
use crate::progress::Progress;
use crate::report::{Origin, RunReport};
use crate::scenario::Scenario;
use crate::sheet::{self, Percentiles};

/// Plays `scenario`; `plan` says where the broker is and has one subscriber per client.
pub(crate) fn run_replay(plan: Plan, scenario: Scenario, progress: &Progress) -> Result<RunReport, Failure> {
    let scenario = Arc::new(scenario);
    let script = Arc::clone(&scenario);
    let mut fleet = Fleet::launch_with(plan.clone(), 0, move |plan, board, _thread| {
        Player::new(plan, board, Arc::clone(&script))?.run()
    })?;
    let before = fleet.sample()?;
    fleet.record(before.at_ns);
    fleet.board.start(now_ns(), Phase::Measure);
    let slack_ns = plan.patience_s * 1_000_000_000;
    fleet.pause(scenario.length_ns().saturating_add(slack_ns), progress, |board| board.is_silent())?;
    fleet.board.enter(Phase::Drain);
    let after = fleet.sample()?;
    await_quiet(&mut fleet, progress, |_| false)?;
    let series = fleet.series();
    let departed = fleet.board.total(|counters| &counters.departed);
    let troubles = fleet.board.troubles();
    let played = fleet.stop()?.into_iter().next();
    progress.clear();
    let played = played.expect("a fleet has as many outcomes as threads, and this one has one");
    let mut report = compile(&scenario, &played, &before, &after);
    report.broker = broker_use(&plan, &before, &after)?;
    report.departed = departed;
    report.series = series;
    report.notes = notes(&report);
    if played.skipped > 0 {
        report.notes.push(format!("{} messages were due while their client was away", played.skipped));
    }
    if played.sessions_missing > 0 {
        report.notes.push(format!("{} sessions had not been kept", played.sessions_missing));
    }
    let named = |(client, cause): (String, String)| format!("client {client}: {cause}");
    report.notes.extend(troubles.into_iter().map(named));
    Ok(report)
}

fn compile(scenario: &Scenario, played: &Played, before: &Sample, after: &Sample) -> RunReport {
    let elapsed_ns = after.at_ns - before.at_ns;
    let clients: u64 = scenario.groups.iter().map(|group| u64::from(group.count)).sum();
    let steps = wide(scenario.steps.len());
    let title = if scenario.title.is_empty() { "a scenario" } else { &scenario.title };
    let tally = &played.tally;
    RunReport {
        load: format!("{title}: {clients} clients, {steps} steps"),
        interrupted: is_interrupted(),
        latency_from: Origin::Schedule,
        open_loop: true,
        elapsed_s: float(elapsed_ns) / 1e9,
        sent_per_s: ratio(after.sent - before.sent, elapsed_ns) * 1e9,
        received_per_s: ratio(after.received - before.received, elapsed_ns) * 1e9,
        received: after.received - before.received,
        expected: played.expected,
        lost: played.lost,
        duplicated: tally.duplicated,
        reordered: tally.reordered,
        foreign: tally.foreign,
        refused: played.refused,
        unexpected: played.unexpected,
        latency: Percentiles::of(&played.latency),
        acknowledged: Percentiles::of(&played.acknowledged),
        lag: Percentiles::of(&played.lag),
        connect: Percentiles::of(&played.connect),
        generator: thread_use(before, after),
        distribution: sheet::distribution(&played.latency),
        ..RunReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::tests::plan;
    use crate::engine::run::tests::Server;
    use crate::engine::topology::Shape;
    use crate::report::Report;

    fn played(lines: &[&str]) -> RunReport {
        let server = Server::start(Shape::Pairs);
        let scenario = Scenario::parse(&lines.join("\n")).expect("a lawful scenario");
        let clients = scenario.groups.iter().map(|group| group.count).sum();
        let mut plan = plan(Shape::Idle, [0, clients]);
        plan.ends.broker = server.address;
        run_replay(plan, scenario, &Progress::hidden()).expect("the run succeeds")
    }

    #[test]
    fn what_is_published_while_somebody_listens_is_owed_and_comes() {
        let report = played(&[
            r#"{"title":"Two meters","who":"board","do":"connect"}"#,
            r#"{"who":"board","do":"subscribe","filter":"m/+"}"#,
            r#"{"at":0.2,"who":"meter","do":"connect","count":2}"#,
            r#"{"at":0.3,"who":"meter","do":"publish","topic":"m/%i","every":0.01,"times":20}"#,
        ]);
        let sheet = report.sheet();
        assert_eq!((report.expected, report.received, report.lost), (40, 40, 0), "{sheet}");
        assert_eq!((report.latency.count, report.connect.count, report.departed), (40, 3, 0), "{sheet}");
        assert!(report.load.starts_with("Two meters: 3 clients"), "{sheet}");
    }

    #[test]
    fn what_is_published_while_nobody_listens_is_owed_to_nobody() {
        let report = played(&[
            r#"{"who":"meter","do":"connect"}"#,
            r#"{"at":0.1,"who":"meter","do":"publish","topic":"m","every":0.01,"times":5}"#,
            r#"{"at":0.1,"who":"board","do":"connect"}"#,
            r#"{"at":0.3,"who":"board","do":"subscribe","filter":"other"}"#,
            r#"{"at":0.3,"who":"meter","do":"cut"}"#,
            r#"{"at":0.4,"who":"meter","do":"publish","topic":"m"}"#,
        ]);
        assert_eq!((report.expected, report.received, report.lost), (0, 0, 0), "{}", report.sheet());
        assert!(report.notes.iter().any(|note| note.contains("1 messages were due")), "{:?}", report.notes);
    }
}
