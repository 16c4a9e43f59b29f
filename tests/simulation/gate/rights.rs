//! Whatever comes to a client is allowed at that moment, and whatever is allowed comes.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_FIRST=n` begins with another one than 1, `SIM_SEED=n` plays one seed and prints all that
//! happens in it.

use std::collections::BTreeMap;

use simulation::{Breach, Paths, Trace, run_ruled};

/// Runs in which a breach must be noticed, of so many seeds at most.
const LEAST: usize = 3;
const SEEDS: u64 = 1500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn play(seed: u64) {
    let (verdict, trace) = run_ruled(seed, None, Trace::spoken());
    trace.last(usize::MAX).iter().for_each(|line| println!("{line}"));
    assert_eq!(verdict.complaint, None, "seed {seed}");
}

fn add(sum: &mut Paths, paths: Paths) {
    sum.live += paths.live;
    sum.crossing += paths.crossing;
    sum.shared += paths.shared;
    sum.retained += paths.retained;
    sum.queued += paths.queued;
    sum.again += paths.again;
    sum.wills += paths.wills;
    sum.refused += paths.refused;
}

#[test]
fn nothing_comes_that_is_not_allowed_and_everything_that_is() {
    if let Some(seed) = number("SIM_SEED") {
        return play(seed);
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let seeds = number("SIM_SEEDS").unwrap_or(1000);
    let (mut paths, mut complaints) = (Paths::default(), BTreeMap::new());
    for seed in first..first + seeds {
        let (verdict, _) = run_ruled(seed, None, Trace::silent());
        add(&mut paths, verdict.paths);
        if let Some(complaint) = verdict.complaint {
            complaints.insert(seed, complaint);
        }
    }
    println!("{seeds} seeds, {} failed, {paths:?}", complaints.len());
    let lines: Vec<String> =
        complaints.iter().take(12).map(|(seed, text)| format!("seed {seed}: {text}")).collect();
    assert!(complaints.is_empty(), "{} seeds failed\n{}", complaints.len(), lines.join("\n"));
    let Paths { live, crossing, shared, retained, queued, again, wills, refused } = paths;
    let all = [live, crossing, shared, retained, queued, again, wills, refused];
    assert!(all.iter().all(|count| *count * 20 > usize::try_from(seeds).unwrap_or(0)), "{paths:?}");
}

/// Leaves a check out in one seed after the other; the reference must notice, by `words`.
fn expect(breach: Breach, words: &str) {
    let (mut noticed, mut others) = (0, Vec::new());
    for seed in 1..=SEEDS {
        let (verdict, _) = run_ruled(seed, Some(breach), Trace::silent());
        match verdict.complaint {
            Some(complaint) if complaint.contains(words) => noticed += 1,
            Some(complaint) => others.push(complaint),
            None => {}
        }
        if noticed == LEAST {
            return;
        }
    }
    others.truncate(5);
    panic!("{breach:?} was noticed {noticed} times; otherwise {others:?}");
}

#[test]
fn a_publisher_who_is_not_asked_for_his_right_is_noticed() {
    expect(Breach::Publish, "was not allowed");
}

#[test]
fn a_subscriber_who_is_not_asked_for_his_right_is_noticed() {
    expect(Breach::Subscribe, "SUBACK");
}

#[test]
fn a_live_message_without_a_right_is_noticed() {
    expect(Breach::Live, "live: ");
}

#[test]
fn a_message_from_another_core_without_a_right_is_noticed() {
    expect(Breach::Crossing, "crossing: ");
}

#[test]
fn a_retained_message_without_a_right_is_noticed() {
    expect(Breach::Retained, "retained: ");
}

#[test]
fn a_message_that_waited_and_is_sent_without_a_right_is_noticed() {
    expect(Breach::Return, "queued: ");
}

#[test]
fn a_message_that_is_sent_again_without_a_right_is_noticed() {
    expect(Breach::Return, "again: ");
}

#[test]
fn a_member_of_a_group_without_a_right_is_noticed() {
    expect(Breach::Shared, "shared: ");
}

#[test]
fn a_will_that_is_sent_without_a_right_is_noticed() {
    expect(Breach::Will, "the will");
}

#[test]
fn a_connect_with_a_will_without_a_right_is_noticed() {
    expect(Breach::WillAtConnect, "CONNACK 0x00");
}

#[test]
fn rules_of_yesterday_are_noticed() {
    expect(Breach::Stale, "live: ");
}

#[test]
fn rights_that_are_forgotten_over_a_restart_are_noticed() {
    expect(Breach::Forgotten, "the will");
}
