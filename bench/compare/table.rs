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
         {load_cpu:?}. CPU is the broker process's user and system time per delivered message.\n"
    )?;
    writeln!(
        text,
        "Machine: {}, {} processors, {}, kernel {}, governor {}, clock {}; load average before the first run {}.\n",
        machine.processor,
        machine.processors,
        machine.memory,
        machine.kernel,
        machine.governor,
        machine.clock,
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
        "| target | CPU us per message | messages/s | p50 / p99 / p99.9 us | lost, duplicated, reordered | broker \
         core | generator core |\n|---|---|---|---|---|---|---|"
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
        "| {target} | {cpu} | {} | {:.0} / {:.0} / {:.0} | {}, {}, {} | {:.0} % | {:.0} % |",
        show(rate, 0),
        median(|report| Some(report.latency.p50_us)),
        median(|report| Some(report.latency.p99_us)),
        median(|report| Some(report.latency.p999_us)),
        sum(|report| report.lost),
        sum(|report| report.duplicated),
        sum(|report| report.reordered),
        100.0 * median(|report| report.broker.as_ref().map(|broker| broker.cores)),
        100.0 * median(|report| report.generator.iter().map(|thread| thread.cores).reduce(f64::max)),
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
