//! Nothing that devices were promised is lost by a crash, and nothing that they say leaves their tenant's root.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_SEED=n` plays one.

use simulation::{Trick, run_devices, run_hostile};

/// Runs in which a trick must be noticed, of so many seeds at most.
const LEAST: usize = 3;
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn no_promise_to_a_device_is_broken() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SIM_SEEDS").unwrap_or(150),
    };
    let (mut values, mut kept, mut seen) = (0, 0, 0);
    let mut complaints = Vec::new();
    for seed in seeds {
        let ending = run_devices(seed, None);
        values += ending.values;
        kept += ending.kept;
        seen += ending.seen;
        complaints.extend(ending.complaint.map(|complaint| format!("seed {seed}: {complaint}")));
    }
    println!("{values} values, {kept} looked for, {seen} seen by subscribers");
    assert!(kept > 0 && seen > 0, "the runs show nothing");
    let count = complaints.len();
    complaints.truncate(10);
    assert!(complaints.is_empty(), "{count} runs broke a promise\n{}", complaints.join("\n"));
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 1..=20 {
        let (first, second) = (run_devices(seed, None), run_devices(seed, None));
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}

/// Plays a trick in one seed after the other; the ledger must notice, by `words`.
fn expect(trick: Trick, words: &str) {
    let (mut noticed, mut others) = (0, Vec::new());
    for seed in 1..=SEEDS {
        match run_devices(seed, Some(trick)).complaint {
            Some(complaint) if complaint.contains(words) => noticed += 1,
            Some(complaint) => others.push(complaint),
            None => {}
        }
        if noticed == LEAST {
            return;
        }
    }
    panic!("{trick:?} was noticed {noticed} times, and otherwise by {others:?}");
}

#[test]
fn a_disk_that_loses_a_change_is_found_out() {
    expect(Trick::LoseChange, "was acknowledged");
}

#[test]
fn acknowledgements_that_do_not_wait_are_found_out() {
    expect(Trick::Hurry, "was acknowledged");
}

#[test]
fn a_topic_of_a_devices_own_is_found_out() {
    expect(Trick::Leak, "came to");
}

#[test]
fn a_tenant_that_is_taken_for_another_is_found_out() {
    expect(Trick::Confuse, "came to");
}

#[test]
fn whatever_gateways_and_people_do_nothing_is_known_of_devices_that_are_gone() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SIM_SEEDS").unwrap_or(150),
    };
    let (mut known, mut seen) = (0, 0);
    let mut complaints = Vec::new();
    for seed in seeds {
        let ending = run_hostile(seed, None);
        known += ending.kept;
        seen += ending.seen;
        complaints.extend(ending.complaint.map(|complaint| format!("seed {seed}: {complaint}")));
    }
    println!("{known} devices known at rest, {seen} messages seen by subscribers");
    assert!(known > 0 && seen > 0, "the runs show nothing");
    let count = complaints.len();
    complaints.truncate(10);
    assert!(complaints.is_empty(), "{count} runs broke a promise\n{}", complaints.join("\n"));
}

#[test]
fn a_home_that_is_not_told_of_a_deletion_is_found_out() {
    let complaints = (1..=20).filter_map(|seed| run_hostile(seed, Some(Trick::Forgetful)).complaint);
    let noticed = complaints.filter(|complaint| complaint.contains("was deleted")).count();
    assert!(noticed >= LEAST, "it was noticed {noticed} times");
}

#[test]
fn a_hostile_seed_gives_the_same_run_twice() {
    for seed in 1..=10 {
        let (first, second) = (run_hostile(seed, None), run_hostile(seed, None));
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}
