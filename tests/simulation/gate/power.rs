//! Nothing acknowledged is lost by a power cut at any step, and nothing of QoS 2 comes twice.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_FIRST=n` begins with another one than 1, `SIM_SEED=n` plays one seed and prints all that
//! happens in it, cut at step `SIM_STEP` if that is given.

use std::collections::BTreeMap;

use simulation::{Cut, Fraud, Trace, run_powerless};

/// Seeds whose every write and sync is cut once.
const TRACES: u64 = 25;
/// Runs in which a fraud must be noticed, of so many seeds at most.
const LEAST: usize = 3;
const SEEDS: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn play(seed: u64) {
    let cut = number("SIM_STEP").map_or(Cut::Often, Cut::AtStep);
    let (fate, trace) = run_powerless(seed, cut, None, Trace::spoken());
    trace.last(usize::MAX).iter().for_each(|line| println!("{line}"));
    assert_eq!(fate.complaint, None, "seed {seed}");
}

fn report(complaints: &BTreeMap<String, String>) -> String {
    let lines = complaints.iter().take(12).map(|(run, complaint)| format!("{run}: {complaint}"));
    format!("{} runs broke a promise\n{}", complaints.len(), lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn no_promise_is_broken_by_power_cuts_at_any_moment() {
    if let Some(seed) = number("SIM_SEED") {
        return play(seed);
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let (mut cuts, mut messages) = (0, 0);
    let mut complaints = BTreeMap::new();
    for seed in first..first + number("SIM_SEEDS").unwrap_or(2000) {
        let (fate, _) = run_powerless(seed, Cut::Often, None, Trace::silent());
        cuts += fate.cuts;
        messages += fate.messages;
        if let Some(complaint) = fate.complaint {
            complaints.insert(format!("seed {seed}"), complaint);
        }
    }
    println!("{cuts} cuts, {messages} messages, {} failed", complaints.len());
    assert!(complaints.is_empty(), "{}", report(&complaints));
}

#[test]
fn no_promise_is_broken_by_a_power_cut_at_any_write_or_sync_of_a_run() {
    if number("SIM_SEED").is_some() {
        return;
    }
    let mut runs = 0;
    let mut complaints = BTreeMap::new();
    for seed in 1..=TRACES {
        let (whole, _) = run_powerless(seed, Cut::Never, None, Trace::silent());
        for step in 0..whole.steps {
            runs += 1;
            let (fate, _) = run_powerless(seed, Cut::AtStep(step), None, Trace::silent());
            if let Some(complaint) = fate.complaint {
                complaints.insert(format!("seed {seed} step {step}"), complaint);
            }
        }
        complaints.extend(whole.complaint.map(|complaint| (format!("seed {seed} whole"), complaint)));
    }
    println!("{runs} cuts, {} failed", complaints.len());
    assert!(complaints.is_empty(), "{}", report(&complaints));
}

/// Lets the store commit a fraud in one seed after the other; the ledger must notice, by `words`.
fn expect(fraud: Fraud, words: &str) {
    let mut others = Vec::new();
    let mut noticed = 0;
    for seed in 1..=SEEDS {
        let (fate, _) = run_powerless(seed, Cut::Often, Some(fraud), Trace::silent());
        match fate.complaint {
            Some(complaint) if complaint.contains(words) => noticed += 1,
            Some(complaint) => others.push(complaint),
            None => {}
        }
        if noticed == LEAST {
            return;
        }
    }
    others.truncate(5);
    panic!("{fraud:?} was noticed {noticed} times; otherwise {others:?}");
}

#[test]
fn an_acknowledgement_before_the_sync_loses_messages() {
    expect(Fraud::AnswerBeforeSync, "has not got");
}

#[test]
fn another_core_that_confirms_too_early_loses_messages() {
    expect(Fraud::KeptTooEarly, "has not got");
}

#[test]
fn messages_fetched_backwards_are_out_of_order() {
    expect(Fraud::FetchBackwards, "behind");
}

#[test]
fn an_id_that_is_not_written_to_be_free_is_noticed() {
    expect(Fraud::ForgetSettled, "when all was settled");
}

#[test]
fn a_reception_that_is_not_written_down_brings_messages_twice() {
    expect(Fraud::ForgetReceived, "times");
}

#[test]
fn what_another_core_has_and_does_not_say_comes_twice() {
    expect(Fraud::ForgetHandled, "times");
}

#[test]
fn a_release_that_is_not_written_down_brings_messages_twice() {
    expect(Fraud::ForgetReleased, "times");
}
