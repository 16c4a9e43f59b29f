//! The comparison as Markdown.
//!
//! Why CPU per message comes first: on a small machine the generator may be the limit of messages/s, but never of what
//! a broker spends on each.
//!
//! Invariants:
//! - Every row says how its figures spread and what was lost.

use std::fmt::Write;

use super::figures::{Comparison, LoadFacts, Spread};
use crate::report::RunReport;

/// The target whose goals are checked.
const UNDER_TEST: &str = "ringmq";

/// Renders `comparison`.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    write(&mut text, comparison).expect("writing to a string succeeds");
    text
}

fn write(text: &mut String, comparison: &Comparison) -> std::fmt::Result {
    let Comparison { machine, rounds, duration_s, warmup_s, broker_cpu, load_cpu, .. } = comparison;
    writeln!(text, "# Brokers side by side, {}\n", machine.date)?;
    writeln!(
        text,
        "Medians of {rounds} interleaved rounds of {duration_s} s after {warmup_s} s of warm-up, least and most in \
         parentheses. Every run starts the broker afresh on processor {broker_cpu:?}; the generator is on processor \
         {load_cpu:?}. CPU is the broker process's user and system time per delivered message. \
         *Waited* is the time that threads were ready but had no core: of several threads on one core some always wait, \
         one thread waits only when something else runs there.\n"
    )?;
    writeln!(
        text,
        "Machine: {}, {} processors, {}, kernel {}, governor {}, clock {}, TCP {}; load average before the first run {}.\n",
        machine.processor,
        machine.processors,
        machine.memory,
        machine.kernel,
        machine.governor,
        machine.clock,
        machine.congestion_control,
        machine.load_average,
    )?;
    writeln!(text, "| target | version | command |\n|---|---|---|")?;
    for target in &comparison.targets {
        writeln!(text, "| {} | {} | `{}` |", target.name, target.version, target.command)?;
    }
    comparison.skipped.iter().try_for_each(|advice| writeln!(text, "\n{advice}"))?;
    comparison.loads.iter().try_for_each(|load| write_load(text, comparison, load))
}

fn write_load(text: &mut String, comparison: &Comparison, load: &LoadFacts) -> std::fmt::Result {
    writeln!(text, "\n## {}: {}\n\n`ringmq-bench {}`\n", load.letter, load.title, load.arguments)?;
    writeln!(
        text,
        "| target | CPU us per message | messages/s | p50 / p99 / p99.9 us | lost, duplicated, reordered | broker / \
         generator core | broker / generator waited |\n|---|---|---|---|---|---|---|"
    )?;
    for target in &comparison.targets {
        write_row(text, comparison, &load.letter, &target.name)?;
    }
    write_goal(text, comparison, load)?;
    write_notes(text, comparison, &load.letter)
}

fn write_row(text: &mut String, comparison: &Comparison, load: &str, target: &str) -> std::fmt::Result {
    let ran = comparison.measurements.iter().filter(|run| run.load == load && run.target == target);
    let failures: Vec<&String> = ran.clone().filter_map(|run| run.outcome.as_ref().err()).collect();
    if ran.count() == 0 {
        return Ok(());
    }
    let spread = |figure| comparison.spread(load, target, figure);
    let Some(rate) = spread(|report| Some(report.received_per_s)) else {
        return writeln!(text, "| {target} | failed: {} | | | | | |", failures[0].replace(['|', '\n'], " "));
    };
    let sum = |count: fn(&RunReport) -> u64| -> u64 {
        comparison.reports(load, target).map(|(_, report)| count(report)).sum()
    };
    let median = |figure| spread(figure).map_or(0.0, |spread| spread.median);
    let cpu = spread(cpu_us).map_or_else(|| "unknown".to_owned(), |spread| show(spread, 3));
    writeln!(
        text,
        "| {target} | {cpu} | {} | {:.0} / {:.0} / {:.0} | {}, {}, {} | {:.0} / {:.0} % | {:.0} / {:.0} % |",
        show(rate, 0),
        median(|report| Some(report.latency.p50_us)),
        median(|report| Some(report.latency.p99_us)),
        median(|report| Some(report.latency.p999_us)),
        sum(|report| report.lost),
        sum(|report| report.duplicated),
        sum(|report| report.reordered),
        100.0 * median(|report| report.broker.as_ref().map(|broker| broker.cores)),
        100.0 * median(|report| report.generator.iter().map(|thread| thread.cores).reduce(f64::max)),
        100.0 * median(|report| Some(report.broker_waited())),
        100.0 * median(|report| Some(report.generator_waited())),
    )
}

fn write_goal(text: &mut String, comparison: &Comparison, load: &LoadFacts) -> std::fmt::Result {
    let against = |other: &str| {
        let figure = |report: &RunReport| cpu_us(report);
        comparison.ratio(&load.letter, UNDER_TEST, other, figure)
    };
    if let Some(goal) = load.goal
        && let Some(ratio) = against(goal.against)
    {
        let verdict = if ratio.median <= goal.at_most { "reached" } else { "missed" };
        writeln!(
            text,
            "\n{UNDER_TEST} uses {} of {}'s CPU per message; at most {} is the goal: {verdict}.",
            show(ratio, 2),
            goal.against,
            goal.at_most
        )?;
    }
    let rate = |report: &RunReport| Some(report.received_per_s);
    match comparison.ratio(&load.letter, UNDER_TEST, "null-relay", rate) {
        Some(ratio) => {
            writeln!(text, "\nEfficiency, messages/s against the null relay: {}.", show(ratio, 2))
        }
        None => Ok(()),
    }
}

fn write_notes(text: &mut String, comparison: &Comparison, load: &str) -> std::fmt::Result {
    for target in &comparison.targets {
        let mut notes: Vec<&String> =
            comparison.reports(load, &target.name).flat_map(|(_, report)| &report.notes).collect();
        notes.sort();
        notes.dedup();
        for note in notes.iter().take(4) {
            writeln!(text, "\n{}: {note}.", target.name)?;
        }
    }
    Ok(())
}

fn cpu_us(report: &RunReport) -> Option<f64> {
    report.broker.as_ref().map(|broker| broker.cpu_ns_per_message / 1e3)
}

fn show(spread: Spread, decimals: usize) -> String {
    let Spread { median, least, most } = spread;
    format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Measurement, TargetFacts};
    use super::super::load::Goal;
    use super::super::machine::Machine;
    use super::*;
    use crate::report::BrokerUse;

    fn report(cpu_ns_per_message: f64, lost: u64) -> RunReport {
        let broker = BrokerUse {
            pid: 1,
            name: "x".into(),
            cpu_ns_per_message,
            user_share: 0.5,
            cores: 1.0,
            cores_waited_for: 0.0,
            resident_bytes: 0,
        };
        RunReport {
            received_per_s: 1e9 / cpu_ns_per_message,
            lost,
            broker: Some(broker),
            ..RunReport::default()
        }
    }

    fn comparison(rounds: &[(f64, f64)]) -> Comparison {
        let measured = |(round, &(ours, theirs)): (u32, &(f64, f64))| {
            [("ringmq", ours), ("nats", theirs)].map(|(target, cpu_ns)| Measurement {
                load: "B".into(),
                target: target.into(),
                round,
                outcome: Ok(report(cpu_ns, 1)),
            })
        };
        let named = |name: &str| TargetFacts { name: name.into(), command: name.into(), version: "1".into() };
        Comparison {
            machine: Machine::read(),
            broker_cpu: vec![0],
            load_cpu: vec![1],
            duration_s: 5.0,
            warmup_s: 1.0,
            rounds: 3,
            loads: vec![LoadFacts {
                letter: "B".into(),
                title: "pairs".into(),
                arguments: "pairs".into(),
                goal: Some(Goal { against: "nats", at_most: 1.2 }),
            }],
            targets: vec![named("ringmq"), named("nats")],
            skipped: vec![],
            measurements: (1..).zip(rounds).flat_map(measured).collect(),
        }
    }

    #[test]
    fn rows_hold_medians_with_their_range_and_all_losses() {
        let text = markdown(&comparison(&[(500.0, 600.0), (700.0, 600.0), (600.0, 600.0)]));
        assert!(text.contains("| ringmq | 0.600 (0.500 to 0.700) |"), "{text}");
        assert!(text.contains("| 3, 0, 0 |"), "{text}");
    }

    #[test]
    fn a_goal_is_judged_by_the_median_of_the_rounds_ratios() {
        let reached = markdown(&comparison(&[(600.0, 600.0), (1_200.0, 600.0), (600.0, 600.0)]));
        assert!(reached.contains(
            "ringmq uses 1.00 (1.00 to 2.00) of nats's CPU per message; at most 1.2 is the goal: reached."
        ));
        let missed = markdown(&comparison(&[(1_200.0, 600.0)]));
        assert!(missed.contains("goal: missed."), "{missed}");
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_a_failed_round_has_none() {
        let mut comparison = comparison(&[(9_000.0, 100.0), (600.0, 600.0), (1_200.0, 1_200.0)]);
        comparison.measurements[1].outcome = Err("it fell over".into());
        let text = markdown(&comparison);
        assert!(text.contains("ringmq uses 1.00 (1.00 to 1.00) of nats's"), "{text}");
    }

    #[test]
    fn a_target_that_failed_every_time_is_in_the_table_with_its_reason() {
        let mut comparison = comparison(&[(600.0, 600.0)]);
        comparison.measurements[1].outcome = Err("it fell | over".into());
        let text = markdown(&comparison);
        assert!(text.contains("| nats | failed: it fell   over |"), "{text}");
        assert!(!text.contains("is the goal"), "{text}");
    }
}
