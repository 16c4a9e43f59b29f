//! Damage to the files of a store: either everything acknowledged is there, or the broker refuses to start and says why.

use std::fs;
use std::path::{Path, PathBuf};

use crash::broker::{Failure, tail};
use crash::probe::{Fate, Probe};
use crash::wire::Version;
use libtest_mimic::Trial;
use stdx::Prng;

use crate::place::{Stage, work};
use crate::trial;

const MESSAGES: usize = 3000;
const RETAINED: usize = 200;
/// What a damaged store ends with.
const STORE_FAULT: i32 = 4;

const CONFIG: &str = "[limits]\nqueue_messages_max = 100_000\nqueue_bytes_max = 1_000_000_000\n";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_damaged_young_store_is_refused_with_a_report_or_gives_everything_back", || {
            damage("young", 200, 40)
        }),
        // So much that the engine has written tables.
        trial("a_damaged_large_store_is_refused_with_a_report_or_gives_everything_back", || {
            damage("large", 16_000, 15)
        }),
    ]
}

fn damage(name: &str, bytes: usize, trials: u64) -> Result<(), String> {
    let work = work(name);
    let sound = work.join("sound");
    populate(&Stage::new(&work, &sound, CONFIG), bytes)?;
    let mut dice = Prng::new(1);
    let (mut refused, mut whole) = (0, 0);
    let mut silent = Vec::new();
    for number in 0..trials {
        let store = work.join(format!("store-{number}"));
        copy(&sound, &store).map_err(|failure| failure.to_string())?;
        let what = hurt(&store, &mut dice).map_err(|failure| failure.to_string())?;
        let stage = Stage::new(&work, &store, CONFIG);
        match outcome(&stage, bytes) {
            Ok(true) => whole += 1,
            Ok(false) => refused += 1,
            Err(why) => silent.push(format!("{what}: {why}")),
        }
        fs::remove_dir_all(&store).map_err(|failure| failure.to_string())?;
    }
    println!("{trials} damaged stores: {refused} refused, {whole} whole, {} neither", silent.len());
    if silent.is_empty() && refused > 0 { Ok(()) } else { Err(silent.join("\n")) }
}

fn populate(stage: &Stage, bytes: usize) -> Result<(), String> {
    let (mut broker, ready) = stage.start()?;
    let (mut away, _) = Probe::connect(ready.address, Version::V5, "away", false)?;
    away.subscribe("q/#", 1)?;
    drop(away);
    let (mut source, _) = Probe::connect(ready.address, Version::V5, "source", true)?;
    let mut publish = |topic: &str, is_retained: bool, number: usize| {
        let payload = format!("{number:<bytes$}");
        match source.publish(topic, 1, is_retained, payload.as_bytes(), 10_000) {
            Fate::Acknowledged => Ok(()),
            other => Err(format!("{topic}: {other:?}")),
        }
    };
    for number in 0..MESSAGES {
        publish("q/1", false, number)?;
    }
    for number in 0..RETAINED {
        publish(&format!("r/{number}"), true, number)?;
    }
    broker.kill();
    Ok(())
}

/// Truncates a file, or flips a bit of it.
fn hurt(store: &Path, dice: &mut Prng) -> std::io::Result<String> {
    let mut files = Vec::new();
    list(store, &mut files)?;
    files.retain(|file| fs::metadata(file).is_ok_and(|status| status.len() > 0));
    files.sort();
    let place = dice.below(u64::try_from(files.len()).expect("64 bits"));
    let file = &files[usize::try_from(place).expect("an index")];
    let mut bytes = fs::read(file)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(1);
    let at = usize::try_from(dice.below(u64::try_from(used).expect("64 bits"))).expect("an index");
    let what = if dice.one_in(2) {
        bytes.truncate(at);
        "cut off at"
    } else {
        bytes[at] ^= 1 << dice.below(8);
        "a bit flipped at"
    };
    fs::write(file, &bytes)?;
    Ok(format!("{} {what} {at} of {used}", file.strip_prefix(store).unwrap_or(file).display()))
}

/// True: everything is there. False: refused with a report. Otherwise: why that is neither.
fn outcome(stage: &Stage, bytes: usize) -> Result<bool, String> {
    let _ = fs::remove_file(&stage.setup.log);
    let mut broker = stage.try_start()?;
    let ready = match broker.wait_ready() {
        Ok(ready) => ready,
        Err(Failure::Ended(status)) if status.code() == Some(STORE_FAULT) => {
            let report = tail(&stage.setup.log, 4000);
            let says_where = report.lines().any(|line| line.contains("store"));
            return if says_where { Ok(false) } else { Err(format!("refused without a report: {report}")) };
        }
        Err(failure) => return Err(format!("{failure:?}: {}", tail(&stage.setup.log, 1000))),
    };
    let (mut away, is_present) = Probe::connect(ready.address, Version::V5, "away", false)?;
    if !is_present {
        return Err("the session is silently gone".into());
    }
    away.receive_until(MESSAGES, 1500);
    let expected = (0..MESSAGES).map(|number| format!("{number:<bytes$}").into_bytes());
    if !away.inbox.iter().map(|(_, payload)| payload.clone()).eq(expected) {
        let ends =
            broker.ended().map_or_else(String::new, |status| format!(", and the broker ended with {status}"));
        return Err(format!("{} of {MESSAGES} messages are left{ends}", away.inbox.len()));
    }
    let (mut reader, _) = Probe::connect(ready.address, Version::V5, "reader", true)?;
    reader.subscribe("r/#", 1)?;
    reader.receive_until(RETAINED, 1500);
    if reader.inbox.len() == RETAINED {
        Ok(true)
    } else {
        Err(format!("{} retained are left", reader.inbox.len()))
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            // A running broker's socket is neither.
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut files = Vec::new();
    list(from, &mut files)?;
    for file in files {
        let target = to.join(file.strip_prefix(from).unwrap_or(&file));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&file, &target)?;
    }
    Ok(())
}
