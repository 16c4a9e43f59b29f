//! Connections that do nothing: what they cost the broker in memory, in connect time, and in idle CPU.
//!
//! Why in two halves: a broker allocates tables and pools once; the slope between half and all is what the next
//! connection costs.
//!
//! Invariants:
//! - Memory is read only after the broker had time to settle.

use super::fleet::{Fleet, Sample, Tolerance};
use super::plan::IdlePlan;
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::interrupt::is_interrupted;
use crate::number::{float, ratio};
use crate::procfs;
use crate::progress::Progress;
use crate::report::{IdleBroker, IdleReport};
use crate::sheet::Percentiles;

const HALF_PERMILLE: u64 = 500;
const ALL_PERMILLE: u64 = 1_000;

/// Connections ready and the broker's memory at one of three moments.
#[derive(Clone, Copy, Debug)]
struct Look {
    ready: u64,
    resident_bytes: u64,
}

/// Opens the connections of `plan` and holds them.
pub(crate) fn run_idle(plan: IdlePlan, progress: &Progress) -> Result<IdleReport, Failure> {
    let pid = plan.load.broker_pid;
    let wanted = plan.load.topology.connections();
    let transport = plan.load.ends.transport.in_words();
    let load = match &plan.load.topic {
        Some(topic) => format!("{wanted} idle connections, each subscribed to {topic}{transport}"),
        None => format!("{wanted} idle connections without subscription{transport}"),
    };
    let hold_ns = plan.load.duration_ns;
    let mut fleet = Fleet::launch(plan.load, 0)?;
    fleet.record(now_ns());
    let mut looks = vec![look(&fleet, pid)?];
    let mut connecting = vec![];
    for permille in [HALF_PERMILLE, ALL_PERMILLE] {
        let wanted = (wanted * permille).div_ceil(ALL_PERMILLE);
        let before = fleet.sample()?;
        fleet.board.allow_dialling(permille);
        fleet.await_ready(wanted, Tolerance::Some, progress)?;
        connecting.push((before, fleet.sample()?));
        fleet.pause(plan.settle_ns, progress, |_| false)?;
        looks.push(look(&fleet, pid)?);
    }
    let departed_before = fleet.board.total(|counters| &counters.departed);
    let before = fleet.sample()?;
    fleet.pause(hold_ns, progress, |_| false)?;
    let after = fleet.sample()?;
    let departed = fleet.board.total(|counters| &counters.departed) - departed_before;
    let ready = looks.last().map_or(0, |look| look.ready);
    let mut notes = vec![];
    if ready < wanted {
        notes.push(format!("only {ready} of {wanted} connections were possible"));
    }
    let named = |(client, cause): (String, String)| format!("client {client}: {cause}");
    notes.extend(fleet.board.troubles().into_iter().map(named));
    let series = fleet.series();
    let mut connect = super::crew::histogram();
    for outcome in fleet.stop()? {
        connect.add(&outcome.connect).expect("all histograms have the same bounds");
    }
    progress.clear();
    let elapsed_ns: u64 = connecting.iter().map(|(before, after)| after.at_ns - before.at_ns).sum();
    Ok(IdleReport {
        load,
        interrupted: is_interrupted(),
        ready,
        departed,
        connects_per_s: ratio(ready, elapsed_ns) * 1e9,
        connect: Percentiles::of(&connect),
        broker: pid.and_then(|pid| broker(pid, &looks, &connecting, (&before, &after))),
        series,
        notes,
    })
}

fn look(fleet: &Fleet, pid: Option<u32>) -> Result<Look, Failure> {
    Ok(Look {
        ready: fleet.board.total(|counters| &counters.ready),
        resident_bytes: pid.map_or(Ok(0), procfs::resident_bytes)?,
    })
}

fn broker(
    pid: u32,
    looks: &[Look],
    connecting: &[(Sample, Sample)],
    (before, after): (&Sample, &Sample),
) -> Option<IdleBroker> {
    let &[none, half, all] = looks else { return None };
    let used = |(before, after): &(Sample, Sample)| Some(after.broker?.since(&before.broker?).cpu_ns);
    let connect_ns: u64 = connecting.iter().filter_map(used).sum();
    Some(IdleBroker {
        pid,
        name: procfs::process_name(pid),
        resident_bytes: looks.iter().map(|look| look.resident_bytes).collect::<Vec<_>>().try_into().ok()?,
        bytes_per_connection: slope(none, all),
        bytes_per_further_connection: slope(half, all),
        cpu_ns_per_connect: ratio(connect_ns, all.ready),
        cores_idle: ratio(after.broker?.since(&before.broker?).cpu_ns, after.at_ns - before.at_ns),
    })
}

fn slope(from: Look, to: Look) -> f64 {
    let connections = to.ready.saturating_sub(from.ready).max(1);
    (float(to.resident_bytes) - float(from.resident_bytes)) / float(connections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::tests::plan;
    use crate::engine::run::tests::Server;
    use crate::engine::topology::{Shape, Topology};
    use crate::report::Report;

    #[test]
    fn all_connections_get_ready_in_two_halves_and_stay() {
        let server = Server::start(Shape::Idle);
        let mut load = plan(Shape::Idle, [0, 31]);
        load.topology = Topology { threads: 2, ..load.topology };
        load.ends.broker = server.address;
        load.broker_pid = Some(std::process::id());
        let report =
            run_idle(IdlePlan { load, settle_ns: 0 }, &Progress::hidden()).expect("the run succeeds");
        assert_eq!((report.ready, report.departed, report.connect.count), (31, 0, 31), "{}", report.sheet());
        assert_eq!(report.broker.map(|broker| broker.pid), Some(std::process::id()));
        assert_eq!(report.notes, Vec::<String>::new());
    }

    #[test]
    fn memory_per_connection_is_a_slope_and_may_be_negative() {
        let look = |ready, resident_bytes| Look { ready, resident_bytes };
        assert!((slope(look(0, 1_000), look(10, 6_000)) - 500.0).abs() < 1e-9);
        assert!((slope(look(5, 6_000), look(10, 1_000)) + 1_000.0).abs() < 1e-9);
    }
}
