//! A full disk: what needs it is refused, everything else goes on, and it passes when there is space again.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crash::clock::now_ms;
use crash::probe::{Fate, Probe};
use crash::wire::Version;
use libtest_mimic::Trial;

use crate::place::{Stage, Tmpfs, work};
use crate::powercuts::must_be;
use crate::trial;

const DISK_MIB: u64 = 256;
const ROUNDS: usize = 3;
/// How long the broker may take to notice that there is no space, or that there is again.
const NOTICE_MS: u64 = 15_000;

const CONFIG: &str = "[store]\nreserve_bytes = 16_777_216\n\n[limits]\nqueue_messages_max = 1_000_000\n\
                      queue_bytes_max = 1_000_000_000\n";

pub fn trials() -> Vec<Trial> {
    vec![trial("a_full_disk_refuses_and_recovers_and_loses_nothing_that_was_acknowledged", full_disk)]
}

fn full_disk() -> Result<(), String> {
    let work = work("full");
    let disk = Tmpfs::mount(&work, DISK_MIB)?;
    let stage = Stage::new(&work, &disk.point.join("store"), CONFIG);
    let mut acked = Vec::new();
    for round in 0..ROUNDS {
        let (mut broker, ready) = stage.start()?;
        let (mut away, is_present) = Probe::connect(ready.address, Version::V5, "away", false)?;
        if round == 0 {
            away.subscribe("q/#", 1)?;
        } else if !is_present {
            return Err("the session is gone".into());
        }
        drop(away);
        one_round(&stage, ready.address, &disk.point, round, &mut acked)?;
        broker.kill();
    }
    let (_broker, ready) = stage.start()?;
    let (mut away, _) = Probe::connect(ready.address, Version::V5, "away", false)?;
    away.receive_until(usize::MAX, 2000);
    let got: Vec<String> = away
        .inbox
        .iter()
        .map(|(_, payload)| String::from_utf8_lossy(payload).trim_end().to_owned())
        .collect();
    let mut rest = got.iter();
    let lost = acked.iter().filter(|one| !rest.any(|other| other == *one)).count();
    if lost == 0 && acked.len() > 100 * ROUNDS {
        return Ok(());
    }
    Err(format!(
        "{lost} of {} acknowledged messages are lost or out of order, {} came",
        acked.len(),
        got.len()
    ))
}

fn one_round(
    stage: &Stage,
    address: std::net::SocketAddr,
    disk: &Path,
    round: usize,
    acked: &mut Vec<String>,
) -> Result<(), String> {
    let (mut five, _) = Probe::connect(address, Version::V5, "five", true)?;
    let (mut three, _) = Probe::connect(address, Version::V311, "three", true)?;
    let (mut live, _) = Probe::connect(address, Version::V5, "live", true)?;
    live.subscribe("live", 0)?;
    for number in 0..100 {
        let text = format!("{round} before {number}");
        must_be(five.publish("q/1", 1, false, padded(&text).as_bytes(), 10_000), Fate::Acknowledged)?;
        acked.push(text);
    }
    must_be_ready(stage, 200)?;
    let ballast = disk.join("ballast");
    fill(&ballast)?;
    until_refused(&mut five, round, acked)?;
    must_be_ready(stage, 503)?;
    must_be(three.publish("q/1", 1, false, b"unanswered", 1000), Fate::Silence)?;
    five.publish("live", 0, false, b"still there", 0);
    if !live.receive(5000) || !five.is_alive() {
        return Err("QoS 0 does not pass while the disk is full".into());
    }
    must_be(five.publish("r/1", 1, true, b"retained", 10_000), Fate::Refused(0x97))?;
    fs::remove_file(&ballast).map_err(|failure| failure.to_string())?;
    let end_ms = now_ms() + NOTICE_MS;
    loop {
        let text = format!("{round} after");
        match five.publish("q/1", 1, false, padded(&text).as_bytes(), 10_000) {
            Fate::Acknowledged => {
                acked.push(text);
                break;
            }
            Fate::Refused(0x97) if now_ms() < end_ms => {
                five.receive(50);
            }
            other => return Err(format!("{other:?} after there is space again")),
        }
    }
    must_be_ready(stage, 200)
}

/// Publishes until the broker says that it has no space.
fn until_refused(five: &mut Probe, round: usize, acked: &mut Vec<String>) -> Result<(), String> {
    let end_ms = now_ms() + NOTICE_MS;
    for number in 0.. {
        let text = format!("{round} during {number}");
        match five.publish("q/1", 1, false, padded(&text).as_bytes(), 10_000) {
            Fate::Acknowledged if now_ms() < end_ms => acked.push(text),
            Fate::Refused(0x97) => return Ok(()),
            other => return Err(format!("{other:?} on a full disk")),
        }
    }
    Ok(())
}

fn must_be_ready(stage: &Stage, status: u16) -> Result<(), String> {
    let (got, body) = stage.get("/readyz")?;
    if got == status { Ok(()) } else { Err(format!("/readyz says {got} {body:?} instead of {status}")) }
}

fn padded(text: &str) -> String {
    format!("{text:<512}")
}

/// Writes zeros until the disk takes no more.
fn fill(ballast: &Path) -> Result<(), String> {
    let mut file = File::create(ballast).map_err(|failure| failure.to_string())?;
    for bytes in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; bytes]).is_ok() {}
    }
    Ok(())
}
