//! Brokers side by side: starts each, loads it, stops it, in turns, and prints a table.
//!
//! Why interleaved and fresh each time: a machine drifts within minutes, so A B C, A B C, ... lets every broker meet
//! the same weather; a fresh process keeps one run's leftovers out of the next.
//!
//! Invariants:
//! - Broker and generator sit on different processors and the compared figure is the broker's CPU time, so a slow
//!   generator cannot flatter a broker.
//! - What could not be started or failed is named in the table, never left out silently.

mod figures;
mod load;
mod machine;
mod process;
mod table;
mod target;

use std::path::{Path, PathBuf};

use figures::{Comparison, Measurement};
use load::Load;
use process::{Running, measure};
use target::Target;

use crate::failure::Failure;
use crate::options::CompareOptions;
use crate::progress::Progress;

/// Runs the comparison that `options` describe; writes a table and the figures and prints the table.
pub(crate) fn compare(options: &CompareOptions) -> Result<(), Failure> {
    let loads = load::chosen(&options.load)?;
    let (targets, skipped) = target::chosen(&options.target, options.ringmq.as_deref())?;
    skipped.iter().for_each(|advice| eprintln!("ringmq-bench: {advice}"));
    if targets.is_empty() {
        return Err(Failure::Usage("none of the targets is here".into()));
    }
    if options.rounds == 0 {
        return Err(Failure::Usage("--rounds must be at least 1".into()));
    }
    let mut comparison = Comparison::new(options, &loads, &targets, skipped);
    let progress = Progress::on_terminal();
    for load in &loads {
        for round in 1..=options.rounds {
            for target in targets.iter().filter(|target| target.understands(load)) {
                progress.show(|| {
                    format!("load {}, round {round} of {}, {}", load.letter, options.rounds, target.name)
                });
                let outcome = once(options, load, target).map_err(|failure| failure.to_string());
                let load = load.letter.to_owned();
                comparison.measurements.push(Measurement {
                    load,
                    target: target.name.clone(),
                    round,
                    outcome,
                });
            }
        }
    }
    progress.clear();
    let table = table::markdown(&comparison);
    print!("{table}");
    let directory = options.out.clone().unwrap_or_else(|| Path::new("perf/runs").join(machine::date()));
    let paths = save(&directory, &comparison, &table)?;
    eprintln!("written to {} and {}", paths[0].display(), paths[1].display());
    match comparison.failures() {
        0 => Ok(()),
        count => Err(Failure::Target { target: "compare".into(), cause: format!("{count} runs failed") }),
    }
}

fn once(options: &CompareOptions, load: &Load, target: &Target) -> Result<crate::report::RunReport, Failure> {
    let running = Running::start(target, &options.broker_cpu)?;
    measure(options, load, target, &running)
}

fn save(directory: &Path, comparison: &Comparison, table: &str) -> Result<[PathBuf; 2], Failure> {
    let written = |path: &Path, text: &str| {
        std::fs::write(path, text)
            .map_err(|source| Failure::os(format!("writing {}", path.display()), source))
    };
    std::fs::create_dir_all(directory)
        .map_err(|source| Failure::os(format!("making {}", directory.display()), source))?;
    let letters: Vec<&str> = comparison.loads.iter().map(|load| load.letter.as_str()).collect();
    let stem = format!("compare-{}", letters.join("-"));
    let paths = [directory.join(format!("{stem}.md")), directory.join(format!("{stem}.json"))];
    let figures = serde_json::to_string_pretty(comparison).expect("figures are numbers, texts and lists");
    written(&paths[0], table)?;
    written(&paths[1], &format!("{figures}\n"))?;
    Ok(paths)
}
