//! The comparison as Markdown.
//!
//! Why CPU per message comes first: on a small machine the generator may be the limit of messages/s, but never of what
//! a broker spends on each.
//!
//! Invariants:
//! - Every row says how its figures spread and what was lost.
//! - What was not measured is a dash, never a zero.

use std::fmt::Write;

use super::figures::{Comparison, Figure, Figures, LoadFacts, Spread, TargetFacts, Traffic};
use super::floors;
use super::target::{CEILINGS, NULL_RING, UNDER_TEST};

const MEBIBYTE: f64 = 1_048_576.0;
const MISSING: &str = "-";

/// Renders `comparison`.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    write(&mut text, comparison).expect("writing to a string succeeds");
    text
}

fn write(text: &mut String, comparison: &Comparison) -> std::fmt::Result {
    writeln!(text, "# Brokers side by side, {}\n\n{}\n", comparison.machine.date, method(comparison))?;
    writeln!(text, "Machine: {}.\n", comparison.machine.in_words())?;
    writeln!(text, "| target | version | command | keeps its state in |\n|---|---|---|---|")?;
    for TargetFacts { name, version, command, durability } in &comparison.targets {
        writeln!(text, "| {name} | {} | `{command}` | {durability} |", plain(version))?;
    }
    comparison.skipped.iter().try_for_each(|advice| writeln!(text, "\n{advice}."))?;
    write_floors(text, comparison)?;
    comparison.loads.iter().try_for_each(|load| write_load(text, comparison, load))
}

/// How the figures came about.
pub(crate) fn method(comparison: &Comparison) -> String {
    let Comparison { rounds, duration_s, warmup_s, broker_cpu, load_cpu, .. } = comparison;
    format!(
        "Medians of {rounds} interleaved rounds of {duration_s} s after {warmup_s} s of warm-up, least and most in \
         parentheses. Every run starts the broker afresh on processor {broker_cpu:?}; the generator is on processor \
         {load_cpu:?}. CPU is the broker process's user and system time per delivered message. Efficiency is messages/s \
         against the null relay on RingMQ's ring. System calls and user instructions are counted by the kernel in a round \
         of their own; what a broker submits through an io_uring is one call together. *Waited* is the time that threads \
         were ready but had no core: of several threads on one core some always wait, one thread waits only when \
         something else runs there."
    )
}

fn write_floors(text: &mut String, comparison: &Comparison) -> std::fmt::Result {
    if comparison.floors.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## What {UNDER_TEST} is held to\n\n| {} |", floors::COLUMNS.join(" | "))?;
    writeln!(text, "|{}", "---|".repeat(floors::COLUMNS.len()))?;
    for finding in &comparison.floors {
        writeln!(text, "| {} |", finding.cells().join(" | "))?;
    }
    Ok(())
}

fn write_load(text: &mut String, comparison: &Comparison, load: &LoadFacts) -> std::fmt::Result {
    writeln!(text, "\n## {}: {}\n\n`ringmq-bench {}`\n", load.letter, load.title, load.arguments)?;
    let is_idle = is_idle(comparison, &load.letter);
    let columns: &[&str] = if is_idle { &IDLE_COLUMNS } else { &TRAFFIC_COLUMNS };
    writeln!(text, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))?;
    for target in &comparison.targets {
        if comparison.runs(&load.letter, &target.name).count() == 0 {
            continue;
        }
        let mut cells = cells(comparison, &load.letter, target, is_idle);
        cells.resize(columns.len(), String::new());
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    write_efficiency(text, comparison, &load.letter)?;
    for note in notes(comparison, &load.letter) {
        writeln!(text, "\n{note}.")?;
    }
    Ok(())
}

pub(crate) const TRAFFIC_COLUMNS: [&str; 12] = [
    "target (QoS 1 state in)",
    "CPU us per message",
    "messages/s",
    "efficiency",
    "p50 / p99 / p99.9 / max us",
    "system calls per message",
    "user instructions per message",
    "RSS MiB",
    "lost, duplicated, reordered",
    "broker / generator core",
    "broker / generator waited",
    "rounds",
];
pub(crate) const IDLE_COLUMNS: [&str; 9] = [
    "target",
    "bytes per connection",
    "bytes per further one",
    "CPU us per connect",
    "connects/s",
    "connects/s of a broker core",
    "connect p50 / p99 / p99.9 / max us",
    "core while idle",
    "rounds",
];

/// Whether the runs of a load are about connections.
pub(crate) fn is_idle(comparison: &Comparison, load: &str) -> bool {
    let mut figures = comparison.measurements.iter().filter(|run| run.load == load);
    figures.any(|run| matches!(run.outcome, Ok(Figures::Idle(_))))
}

/// The row of one target under one load; shorter than the columns when every run failed.
pub(crate) fn cells(
    comparison: &Comparison,
    load: &str,
    TargetFacts { name, durability, .. }: &TargetFacts,
    is_idle: bool,
) -> Vec<String> {
    let runs = comparison.runs(load, name);
    let failed: Vec<&String> = runs.clone().filter_map(|run| run.outcome.as_ref().err()).collect();
    let (all, well) = (runs.count(), comparison.figures(load, name).count());
    if let (0, Some(cause)) = (well, failed.first()) {
        return vec![name.clone(), format!("failed: {}", plain(cause))];
    }
    let spread = |figure| comparison.spread(load, name, figure);
    let shown = |figure, decimals| show(spread(figure), decimals);
    let median = |figure, decimals: usize, unit: f64| {
        spread(figure)
            .map_or_else(|| MISSING.to_owned(), |spread| format!("{:.decimals$}", spread.median / unit))
    };
    let times = [Figure::P50, Figure::P99, Figure::P999, Figure::Max].map(|figure| median(figure, 0, 1.0));
    let rounds = if all == well { all.to_string() } else { format!("{well} of {all}") };
    if is_idle {
        return vec![
            name.clone(),
            shown(Figure::ConnectionBytes, 0),
            shown(Figure::FurtherBytes, 0),
            shown(Figure::ConnectUs, 1),
            shown(Figure::ConnectRate, 0),
            shown(Figure::ConnectsPerCore, 0),
            times.join(" / "),
            format!("{} %", median(Figure::IdleCores, 2, 0.01)),
            rounds,
        ];
    }
    let counted = comparison.counted(load, name);
    let each = |count: Option<f64>, decimals: usize| {
        count.map_or_else(|| MISSING.to_owned(), |count| format!("{count:.decimals$}"))
    };
    let percent = |of_broker, of_generator| {
        format!("{} / {} %", median(of_broker, 0, 0.01), median(of_generator, 0, 0.01))
    };
    vec![
        format!("{name} ({durability})"),
        shown(Figure::CpuUs, 3),
        shown(Figure::Rate, 0),
        show(comparison.ratio(load, name, NULL_RING, Figure::Rate), 2),
        times.join(" / "),
        each(counted.and_then(|counted| counted.system_calls), 3),
        each(counted.and_then(|counted| counted.user_instructions), 0),
        median(Figure::Resident, 1, MEBIBYTE),
        ledger(comparison, load, name),
        percent(Figure::BrokerCores, Figure::GeneratorCores),
        percent(Figure::BrokerWaited, Figure::GeneratorWaited),
        rounds,
    ]
}

fn ledger(comparison: &Comparison, load: &str, target: &str) -> String {
    let sum = |count: fn(&Traffic) -> u64| -> u64 {
        let of = |(_, figures): (u32, &Figures)| match figures {
            Figures::Traffic(traffic) => count(traffic),
            Figures::Idle(_) => 0,
        };
        comparison.figures(load, target).map(of).sum()
    };
    format!("{}, {}, {}", sum(|of| of.lost), sum(|of| of.duplicated), sum(|of| of.reordered))
}

fn write_efficiency(text: &mut String, comparison: &Comparison, load: &str) -> std::fmt::Result {
    let against = |ceiling: &str| {
        let rate = comparison.ratio(load, UNDER_TEST, ceiling, Figure::Rate)?;
        let cpu = comparison.ratio(load, UNDER_TEST, ceiling, Figure::CpuUs)?;
        Some(format!("{ceiling}: {} in messages/s, {} in CPU", rate.show(2), cpu.show(2)))
    };
    let lines: Vec<String> = CEILINGS.into_iter().filter_map(against).collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nEfficiency = {UNDER_TEST} / null relay. {}.", lines.join("; "))
}

/// What must be known before believing the figures of a load.
pub(crate) fn notes(comparison: &Comparison, load: &str) -> Vec<String> {
    let mut found = vec![];
    for target in &comparison.targets {
        let figures = comparison.figures(load, &target.name);
        let mut notes: Vec<&String> = figures.flat_map(|(_, figures)| figures.notes()).collect();
        notes.sort();
        notes.dedup();
        found.extend(notes.iter().take(3).map(|note| format!("{}: {}", target.name, plain(note))));
        let runs = comparison.runs(load, &target.name);
        let mut failures: Vec<&String> = runs.filter_map(|run| run.outcome.as_ref().err()).collect();
        failures.dedup();
        found
            .extend(failures.iter().take(2).map(|cause| format!("{} failed: {}", target.name, plain(cause))));
    }
    for counting in comparison.countings.iter().filter(|counting| counting.load == load) {
        if let Err(cause) = &counting.outcome {
            found.push(format!("{} was not counted: {}", counting.target, plain(cause)));
        }
    }
    found
}

fn show(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| MISSING.to_owned(), |spread| spread.show(decimals))
}

/// One line without the signs that would break a table.
fn plain(text: &str) -> String {
    text.replace(['|', '\n'], " ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::figures::{BrokerUse, Counting, Idle, IdleBroker, Measurement, PerMessage};
    use super::super::machine::Machine;
    use super::super::target::{NATS, NULL_EPOLL};
    use super::*;

    /// A run whose broker spends `cpu_ns` on each message and does nothing else.
    pub(crate) fn traffic(cpu_ns: f64, lost: u64) -> Result<Figures, String> {
        let broker = BrokerUse { cpu_ns_per_message: cpu_ns, ..BrokerUse::default() };
        let received_per_s = 1e9 / cpu_ns;
        Ok(Figures::Traffic(Traffic { received_per_s, lost, broker: Some(broker), ..Traffic::default() }))
    }

    /// A run with connections of this size.
    pub(crate) fn idle(bytes: f64) -> Result<Figures, String> {
        let broker = IdleBroker { bytes_per_connection: bytes, ..IdleBroker::default() };
        Ok(Figures::Idle(Idle { broker: Some(broker), connects_per_s: 100.0, ..Idle::default() }))
    }

    /// A comparison under one load; each round names targets and what came of them.
    pub(crate) fn comparison(load: &str, rounds: &[Vec<(&str, Result<Figures, String>)>]) -> Comparison {
        let named = |name: &str| TargetFacts {
            name: name.into(),
            command: name.into(),
            version: "1".into(),
            durability: "memory".into(),
        };
        let mut names: Vec<&str> = rounds.iter().flatten().map(|(name, _)| *name).collect();
        names.dedup();
        let measured = (1..).zip(rounds).flat_map(|(round, runs)| {
            runs.iter().map(move |(target, outcome)| Measurement {
                load: load.into(),
                target: (*target).to_owned(),
                round,
                outcome: outcome.clone(),
            })
        });
        let mut comparison = Comparison {
            machine: Machine::read(),
            broker_cpu: vec![0],
            load_cpu: vec![1],
            duration_s: 5.0,
            warmup_s: 1.0,
            rounds: 3,
            loads: vec![LoadFacts { letter: load.into(), title: "x".into(), arguments: "x".into() }],
            targets: vec![],
            skipped: vec![],
            floors: vec![],
            measurements: measured.collect(),
            countings: vec![],
        };
        names.sort_unstable();
        names.dedup();
        comparison.targets = names.into_iter().map(named).collect();
        comparison.floors = floors::judge(&comparison);
        comparison
    }

    #[test]
    fn rows_hold_medians_with_their_range_and_all_losses() {
        let rounds = [500.0, 700.0, 600.0].map(|ours| vec![(UNDER_TEST, traffic(ours, 1))]);
        let text = markdown(&comparison("B", &rounds));
        assert!(text.contains("| ringmq (memory) | 0.600 (0.500 to 0.700) |"), "{text}");
        assert!(text.contains("| 3, 0, 0 |"), "{text}");
        assert!(text.contains("| 3 |\n"), "{text}");
    }

    #[test]
    fn floors_stand_in_a_table_of_their_own() {
        let rounds = [vec![(UNDER_TEST, traffic(400.0, 0)), (NATS, traffic(1_000.0, 0))]];
        let text = markdown(&comparison("B", &rounds));
        assert!(text.contains("## What ringmq is held to"), "{text}");
        assert!(
            text.contains("| at most 0.85 | at most 0.50 | 0.40 (0.40 to 0.40) | target reached |"),
            "{text}"
        );
    }

    #[test]
    fn efficiency_is_printed_against_every_null_relay() {
        let rounds = [vec![
            (UNDER_TEST, traffic(400.0, 0)),
            (NULL_RING, traffic(200.0, 0)),
            (NULL_EPOLL, traffic(100.0, 0)),
        ]];
        let text = markdown(&comparison("B", &rounds));
        assert!(
            text.contains("null-ring: 0.50 (0.50 to 0.50) in messages/s, 2.00 (2.00 to 2.00) in CPU"),
            "{text}"
        );
        assert!(text.contains("null-epoll: 0.25 (0.25 to 0.25) in messages/s"), "{text}");
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_a_failed_round_has_none() {
        let rounds = [
            vec![(UNDER_TEST, traffic(9_000.0, 0)), (NATS, Err("it fell over".into()))],
            vec![(UNDER_TEST, traffic(600.0, 0)), (NATS, traffic(600.0, 0))],
            vec![(UNDER_TEST, traffic(1_200.0, 0)), (NATS, traffic(1_200.0, 0))],
        ];
        let text = markdown(&comparison("B", &rounds));
        assert!(text.contains("| 1.00 (1.00 to 1.00) | not reached |"), "{text}");
        assert!(text.contains("| 2 of 3 |"), "{text}");
        assert!(text.contains("nats failed: it fell over."), "{text}");
    }

    #[test]
    fn a_target_that_failed_every_time_is_in_the_table_with_its_reason() {
        let rounds = [vec![(UNDER_TEST, traffic(600.0, 0)), (NATS, Err("it fell | over".into()))]];
        let text = markdown(&comparison("B", &rounds));
        assert!(text.contains("| nats | failed: it fell   over |"), "{text}");
        assert!(!text.contains("is held to"), "{text}");
    }

    #[test]
    fn connections_have_columns_of_their_own() {
        let text = markdown(&comparison("F", &[vec![(UNDER_TEST, idle(700.0))]]));
        assert!(text.contains("| bytes per connection |"), "{text}");
        assert!(text.contains("| ringmq | 700 (700 to 700) |"), "{text}");
        assert!(text.contains("at most 1000 | at most 500 | 700 (700 to 700) | floor reached |"), "{text}");
    }

    #[test]
    fn what_was_not_counted_is_a_dash_and_what_was_is_a_figure() {
        let mut comparison = comparison("B", &[vec![(UNDER_TEST, traffic(600.0, 0))]]);
        assert!(markdown(&comparison).contains("| - | - |"));
        let counted = PerMessage { messages: 9, system_calls: Some(0.125), user_instructions: None };
        let (load, target) = ("B".into(), UNDER_TEST.into());
        comparison.countings.push(Counting { load, target, outcome: Ok(counted) });
        assert!(markdown(&comparison).contains("| 0.125 | - |"));
    }
}
