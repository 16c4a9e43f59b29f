//! The comparison from options to files.
//!
//! Invariants:
//! - Targets take turns within a round, and rounds within a load.
//! - Figures are written after each load, so that an interrupted comparison keeps what it has found out.

use std::path::{Path, PathBuf};

use super::figures::{Comparison, Counting, Measurement};
use super::load::Load;
use super::options::CompareOptions;
use super::process::{Running, count, measure};
use super::target::Target;
use super::{floors, keeper, load, machine, page, table, target};
use crate::failure::Failure;
use crate::progress::Progress;

/// Runs the comparison that `options` describe; writes table, figures and page, and prints the table.
pub(crate) fn compare(options: &CompareOptions) -> Result<(), Failure> {
    let loads = load::chosen(&options.load, options.crowd)?;
    let (targets, skipped) = target::chosen(&options.target, options.ringmq.as_deref(), &loads)?;
    skipped.iter().for_each(|advice| eprintln!("ringmq-bench: {advice}"));
    if options.rounds == 0 {
        return Err(Failure::Usage("--rounds must be at least 1".into()));
    }
    let directory = options.archive.clone().unwrap_or_else(|| Path::new("perf/runs").join(machine::date()));
    std::fs::create_dir_all(&directory)
        .map_err(|source| Failure::os(format!("making {}", directory.display()), source))?;
    keeper::watch()?;
    let mut comparison = Comparison::new(options, &loads, &targets, skipped);
    let progress = Progress::on_terminal();
    let mut paths = vec![];
    for load in &loads {
        run_load(options, load, &targets, &mut comparison, &progress);
        comparison.floors = floors::judge(&comparison);
        paths = save(&directory, &comparison)?;
    }
    progress.clear();
    print!("{}", table::markdown(&comparison));
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    eprintln!("written to {}", names.join(", "));
    match comparison.failures() {
        0 => Ok(()),
        count => Err(Failure::Target { target: "compare".into(), cause: format!("{count} runs failed") }),
    }
}

fn run_load(
    options: &CompareOptions,
    load: &Load,
    targets: &[Target],
    comparison: &mut Comparison,
    progress: &Progress,
) {
    let letter = load.letter.to_owned();
    for round in 1..=options.rounds {
        for target in targets.iter().filter(|target| target.understands(load)) {
            progress.show(|| format!("load {letter}, round {round} of {}, {}", options.rounds, target.name));
            let outcome = Running::start(target, load.door, &options.broker_cpu)
                .and_then(|running| measure(options, load, target, &running))
                .map_err(|failure| failure.to_string());
            let (load, target) = (letter.clone(), target.name.clone());
            comparison.measurements.push(Measurement { load, target, round, outcome });
        }
    }
    if options.no_counting {
        return;
    }
    for target in targets.iter().filter(|target| target.is_counted(load)) {
        progress.show(|| format!("load {letter}, counting, {}", target.name));
        let outcome = Running::start(target, load.door, &options.broker_cpu)
            .and_then(|running| count(options, load, target, &running))
            .map_err(|failure| failure.to_string());
        comparison.countings.push(Counting { load: letter.clone(), target: target.name.clone(), outcome });
    }
}

fn save(directory: &Path, comparison: &Comparison) -> Result<Vec<PathBuf>, Failure> {
    let letters: Vec<&str> = comparison.loads.iter().map(|load| load.letter.as_str()).collect();
    let stem = directory.join(format!("compare-{}", letters.join("-")));
    let written = |ending: &str, text: String| {
        let path = stem.with_extension(ending);
        std::fs::write(&path, text)
            .map_err(|source| Failure::os(format!("writing {}", path.display()), source))?;
        Ok(path)
    };
    let figures = serde_json::to_string_pretty(comparison).expect("figures are numbers, texts and lists");
    Ok(vec![
        written("md", table::markdown(comparison))?,
        written("json", format!("{figures}\n"))?,
        written("html", page::page(comparison).text())?,
    ])
}
