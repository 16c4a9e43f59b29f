//! Two thousand seeds of the whole broker against the oracle.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_FIRST=n` begins with another one than 1, `SIM_SEED=n` plays one seed and prints all
//! that happens in it. The test profile runs about 600 seeds per second and core, so a million take half an hour.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use simulation::{Outcome, run, run_spoken};

/// Failing seeds that are shown with their text.
const SHOWN: usize = 3;
/// Lines of text that are shown of each.
const LINES: usize = 60;

#[test]
fn no_seed_breaks_a_rule() {
    if let Some(seed) = number("SIM_SEED") {
        return play(seed);
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let seeds = number("SIM_SEEDS").unwrap_or(2000);
    // A panic is a broken rule like others and told with them.
    std::panic::set_hook(Box::new(|_| {}));
    let outcomes = run_all(first, first + seeds);
    let _silence = std::panic::take_hook();
    let messages: usize = outcomes.iter().map(|outcome| outcome.messages).sum();
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.violation.is_some()).collect();
    println!("{seeds} seeds, {messages} messages, {} failed", failed.len());
    assert!(failed.is_empty(), "{}", report(&failed));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn play(seed: u64) {
    let (outcome, trace) = run_spoken(seed);
    for line in trace.last(usize::MAX) {
        println!("{line}");
    }
    if let Some(violation) = outcome.violation {
        panic!("seed {seed}: {violation}");
    }
}

/// All cores help, each taking the next seed; the outcomes come back in the order of the seeds.
fn run_all(first: u64, end: u64) -> Vec<Outcome> {
    let next = AtomicU64::new(first);
    let work = || {
        let seeds =
            std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < end));
        seeds.map(run).collect::<Vec<Outcome>>()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes: Vec<Outcome> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run catches its panics")).collect()
    });
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

/// One line per failing seed, sorted by rule, and the last lines of the first few.
fn report(failed: &[&Outcome]) -> String {
    let mut by_rule: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for outcome in failed {
        let violation = outcome.violation.as_ref().expect("it failed");
        by_rule.entry(violation.rule).or_default().push(format!("  seed {}: {violation}", outcome.seed));
    }
    let mut text = vec![format!("{} seeds failed", failed.len())];
    for (rule, lines) in by_rule {
        text.push(format!("{rule:?}: {}", lines.len()));
        text.extend(lines.into_iter().take(8));
    }
    for outcome in failed.iter().take(SHOWN) {
        let (_, trace) = run_spoken(outcome.seed);
        text.push(format!("\nthe end of seed {} (SIM_SEED={} shows all):", outcome.seed, outcome.seed));
        text.extend_from_slice(trace.last(LINES));
    }
    text.join("\n")
}
