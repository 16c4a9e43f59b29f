//! A power cut takes nothing that was acknowledged; a disk that fails to sync ends the broker before it lies.

use std::fs;
use std::io::Write;

use crash::campaign::{self, Plan};
use crash::ground::Ground;
use crash::powercut::{Cut, PowerCut};
use crash::probe::{Fate, Probe};
use crash::report::Report;
use crash::wire::Version;
use libtest_mimic::Trial;

use crate::place::{Stage, debug_binary, must_be_caught, must_be_good, plan, work};
use crate::trial;

const DISK_BYTES: u64 = 4 << 30;
/// What a fault of the store ends with.
const STORE_FAULT: i32 = 4;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("the_mounted_disk_forgets_what_was_not_synced", mounted_disk),
        trial("ten_power_cuts_lose_nothing_that_was_acknowledged", ten_cuts),
        trial("a_disk_that_lies_about_every_second_sync_is_found_out", lying_disk),
        trial("a_broker_that_acknowledges_before_it_syncs_is_found_out", lying_broker),
        trial("a_failed_sync_is_not_acknowledged_and_ends_with_exit_code_4", failed_sync),
    ]
}

fn mounted_disk() -> Result<(), String> {
    let work = work("disk");
    let said = |failure: std::io::Error| failure.to_string();
    let mut ground = PowerCut::mount(&work, 1 << 20, 1).map_err(said)?;
    let folder = ground.store().parent().expect("it lies in the mount").to_owned();
    for name in ["synced", "unsynced", "nameless"] {
        let mut file = fs::File::create(folder.join(name)).map_err(said)?;
        file.write_all(name.as_bytes()).map_err(said)?;
        if name == "nameless" {
            file.sync_all().map_err(said)?;
            continue;
        }
        if name == "synced" {
            file.sync_data().map_err(said)?;
        }
        fs::File::open(&folder).and_then(|folder| folder.sync_all()).map_err(said)?;
    }
    ground.cut(Cut::Clean).map_err(said)?;
    let mut left: Vec<(String, String)> = fs::read_dir(&folder)
        .map_err(said)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path())?))
        })
        .collect::<Result<_, _>>()
        .map_err(said)?;
    left.sort();
    let expected = [("synced", "synced"), ("unsynced", "")];
    let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes.to_owned()));
    if left == expected { Ok(()) } else { Err(format!("{left:?}")) }
}

fn ten_cuts() -> Result<(), String> {
    let mut plan = plan("cuts", 10);
    plan.load_ms = (200, 2000);
    plan.drain_every = 4;
    let mut ground =
        PowerCut::mount(&plan.work, DISK_BYTES, plan.seed).map_err(|failure| failure.to_string())?;
    must_be_good(&campaign::run(&plan, &mut ground)?)
}

fn lying_disk() -> Result<(), String> {
    let plan = caught("lying-disk");
    let mut ground =
        PowerCut::mount(&plan.work, DISK_BYTES, plan.seed).map_err(|failure| failure.to_string())?;
    ground.disk().lie_about_every(2);
    caught_or_refused(campaign::run(&plan, &mut ground))
}

/// The mutant is the broker itself, in a build with debug assertions, which can be asked for this mistake.
fn lying_broker() -> Result<(), String> {
    let mut plan = caught("lying-broker");
    plan.binary = debug_binary();
    plan.variables = vec![("RINGMQ_MUTANT".into(), "ack-before-sync".into())];
    let mut ground =
        PowerCut::mount(&plan.work, DISK_BYTES, plan.seed).map_err(|failure| failure.to_string())?;
    caught_or_refused(campaign::run(&plan, &mut ground))
}

fn caught(name: &str) -> Plan {
    Plan { load_ms: (300, 1500), drain_every: 2, broken_max: 1, ..plan(name, 20) }
}

/// Either the ledger misses something, or the store itself refuses to go on with what the disk has left of it.
fn caught_or_refused(outcome: Result<Report, String>) -> Result<(), String> {
    match outcome {
        Ok(report) => must_be_caught(&report),
        Err(sentence) if sentence.contains("damaged") => Ok(()),
        Err(sentence) => Err(sentence),
    }
}

fn failed_sync() -> Result<(), String> {
    let work = work("failed-sync");
    let mut ground = PowerCut::mount(&work, DISK_BYTES, 1).map_err(|failure| failure.to_string())?;
    let stage = Stage::new(&work, ground.store(), "");
    let (mut broker, ready) = stage.start()?;
    let (mut away, _) = Probe::connect(ready.address, Version::V5, "away", false)?;
    away.subscribe("q/#", 1)?;
    drop(away);
    let (mut source, _) = Probe::connect(ready.address, Version::V5, "source", true)?;
    for number in 0..100 {
        must_be(source.publish("q/1", 1, false, format!("{number}").as_bytes(), 10_000), Fate::Acknowledged)?;
    }
    ground.disk().fail_sync_after(0);
    must_be(source.publish("q/1", 1, false, b"100", 20_000), Fate::Ended)?;
    let status = broker.wait_end().ok_or("it did not end")?;
    if status.code() != Some(STORE_FAULT) {
        return Err(format!("it ended with {status}"));
    }
    ground.cut(Cut::Clean).map_err(|failure| failure.to_string())?;
    let (_broker, ready) = stage.start()?;
    let (mut away, is_present) = Probe::connect(ready.address, Version::V5, "away", false)?;
    away.receive_until(100, 3000);
    let got = away.inbox.iter().map(|(_, payload)| String::from_utf8_lossy(payload).into_owned());
    let is_whole = got.take(100).eq((0..100).map(|number| number.to_string()));
    if is_present && is_whole { Ok(()) } else { Err(format!("{} messages are left", away.inbox.len())) }
}

pub fn must_be(fate: Fate, expected: Fate) -> Result<(), String> {
    if fate == expected { Ok(()) } else { Err(format!("{fate:?} instead of {expected:?}")) }
}
