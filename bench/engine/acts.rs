//! Workloads in several acts: messages are handed in while nobody listens, and fetched later.
//!
//! Why acts of their own runs: in each act only one kind of client takes part, and the next one must not begin before
//! the broker has seen everything of the last; between acts all clients say goodbye and wait for the broker to close.
//!
//! Invariants:
//! - What an act leaves in the broker is removed at the end, unless the caller wants to keep it.

use std::sync::Arc;

use super::plan::{Plan, Tidiness};
use super::run::{Act, fetch, perform, visit};
use super::topology::{Cast, Shape, Topology};
use crate::clock::now_ns;
use crate::codec::{Body, Lasting};
use crate::failure::Failure;
use crate::interrupt::is_interrupted;
use crate::progress::Progress;
use crate::report::RunReport;

/// Publishes to subscribers that are away, and lets them come back and fetch it.
pub(crate) fn run_offline(plan: &Plan, progress: &Progress) -> Result<RunReport, Failure> {
    let origin_ns = now_ns();
    visit(&cast(plan, Cast::Subscribers), progress)?;
    let handed_in = perform(&cast(plan, Cast::Publishers), origin_ns, progress)?;
    // A client that resumes its session does not subscribe again: the subscription is part of what was kept.
    let returning =
        Plan { topic: None, kept: Arc::from(handed_in.sent.clone()), ..cast(plan, Cast::Subscribers) };
    let fetched = fetch(&returning, origin_ns, progress)?;
    if plan.tidiness == Tidiness::Clear {
        end_sessions(&returning, progress)?;
    }
    progress.clear();
    Ok(join(handed_in, fetched, "waited for in lasting sessions"))
}

/// Retains messages on many topics, and lets subscribers come and fetch them.
pub(crate) fn run_retained(plan: &Plan, progress: &Progress) -> Result<RunReport, Failure> {
    let origin_ns = now_ns();
    let handed_in = perform(&cast(plan, Cast::Publishers), origin_ns, progress)?;
    let asking = Plan { kept: Arc::from(handed_in.sent.clone()), ..cast(plan, Cast::Subscribers) };
    let fetched = fetch(&asking, origin_ns, progress)?;
    if plan.tidiness == Tidiness::Clear {
        let clearing = Plan {
            body: Body::Empty,
            duration_ns: 0,
            messages_per_publisher: handed_in.sent.iter().copied().max().unwrap_or(0),
            ..cast(plan, Cast::Publishers)
        };
        perform(&clearing, origin_ns, progress)?;
    }
    progress.clear();
    Ok(join(handed_in, fetched, "retained"))
}

/// Ends the lasting sessions of all clients of `plan`: whoever comes with a clean start and goes leaves nothing behind.
pub(crate) fn end_sessions(plan: &Plan, progress: &Progress) -> Result<(), Failure> {
    let mut clean = Plan { topic: None, kept: Arc::from([]), ..plan.clone() };
    clean.ends.lasting = Lasting::Never;
    visit(&clean, progress)?;
    Ok(())
}

fn cast(plan: &Plan, cast: Cast) -> Plan {
    Plan { topology: Topology { cast, ..plan.topology }, ..plan.clone() }
}

/// The fetching act's report, with the figures of handing in.
fn join(handed_in: Act, fetched: Act, how: &str) -> RunReport {
    let (first, mut report) = (handed_in.report, fetched.report);
    report.load = format!("{}; {how}, then fetched by {}", first.load, report.load);
    report.sent_per_s = first.sent_per_s;
    (report.sent, report.unanswered) = (first.sent, first.unanswered);
    report.acknowledged = first.acknowledged;
    report.refused += first.refused;
    report.unexpected += first.unexpected;
    report.departed += first.departed;
    report.lag = first.lag;
    report.open_loop = first.open_loop;
    report.series.splice(0..0, first.series);
    report.notes.splice(0..0, first.notes);
    report.interrupted = is_interrupted();
    if let Some(replay) = &mut report.replay {
        replay.kept_per_s = first.sent_per_s;
        replay.keep_cpu_ns = first.broker.map(|broker| broker.cores * 1e9 / first.sent_per_s.max(1e-9));
        if replay.sessions_missing > 0 {
            report.notes.push(format!("{} sessions had not been kept", replay.sessions_missing));
        }
        if replay.flag_missing > 0 {
            report.notes.push(format!("{} messages came without the RETAIN flag", replay.flag_missing));
        }
    }
    report
}

/// Whether `shape` can be fetched later from lasting sessions: its books must expect every message in order.
pub(crate) fn can_be_offline(shape: Shape) -> bool {
    match shape {
        Shape::Pairs | Shape::FanIn | Shape::FanOut | Shape::Devices => true,
        Shape::Shared | Shape::Retained | Shape::Echo | Shape::Idle => false,
    }
}
