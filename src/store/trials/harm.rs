//! Files of a store that were harmed: the state is what was durable, or the store refuses to open and says where.
//!
//! Why copies of one directory: a process that is killed leaves its files as they are, so a copy taken while the store is
//! open is what a crash leaves.
//!
//! Invariants:
//! - A test never sees a state that is neither whole nor refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use broker::{Change, CoreId, Written};
use stdx::{Instant, WallMs};

use super::history::History;
use super::model::Model;
use crate::{Anchor, Fault, FaultKind, FjallEngine, Heads, Keeper, quarantine};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_000_000_000_000) };

fn recover(dir: &Path) -> Result<Model, Fault> {
    let mut keeper = Keeper::new(FjallEngine::open_existing(dir)?, ANCHOR);
    let mut changes = Vec::new();
    keeper.recover(Heads::ALL, &mut |change| changes.push(change), &mut drop, &mut |_| {})?;
    Ok(Model::of(&changes))
}

fn begin(dir: &Path) -> Keeper<FjallEngine> {
    let mut keeper = Keeper::new(FjallEngine::open(dir).unwrap(), ANCHOR);
    keeper.recover(Heads::ALL, &mut |_| {}, &mut drop, &mut |_| {}).unwrap();
    keeper
}

fn flush(keeper: &mut Keeper<FjallEngine>, history: &mut History, changes: usize) {
    let changes = (0..changes).map(|_| history.change()).collect();
    keeper.accept(CoreId::new(0), Written { turn: 1, changes, is_urgent: true }, Vec::new());
    keeper.flush().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::write(to, without_hole(fs::read(entry.path()).unwrap())).unwrap();
        }
    }
}

/// A journal is made 64 MiB long in advance; some of the zeros will do.
fn without_hole(mut bytes: Vec<u8>) -> Vec<u8> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used + 64);
    bytes
}

struct Scene {
    home: tempfile::TempDir,
    /// After each flush: what is durable, and how the files look.
    stages: Vec<(Model, PathBuf)>,
}

/// A few flushes; the directory as a kill would leave it after each.
fn scene(flushes: usize) -> Scene {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (mut keeper, mut history) = (begin(&data), History::new(11));
    let mut stages = Vec::new();
    for stage in 0..flushes {
        flush(&mut keeper, &mut history, 12);
        let left = home.path().join(format!("left-{stage}"));
        copy(&data, &left);
        stages.push((history.model.clone(), left));
    }
    Scene { home, stages }
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("engine").join("0.jnl")
}

impl Scene {
    /// A copy of the last stage, to be harmed.
    fn victim(&self) -> PathBuf {
        let victim = self.home.path().join("victim");
        let _ = fs::remove_dir_all(&victim);
        copy(&self.stages[self.stages.len() - 1].1, &victim);
        victim
    }

    fn last(&self) -> &Model {
        &self.stages[self.stages.len() - 1].0
    }
}

fn used(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[test]
fn a_killed_process_leaves_everything_that_was_durable() {
    let scene = scene(4);
    for (model, left) in &scene.stages {
        assert_eq!(&recover(left).unwrap(), model);
    }
}

#[test]
fn a_journal_cut_anywhere_below_what_was_durable_is_refused_with_its_place() {
    let scene = scene(3);
    let len = used(&journal(&scene.stages[2].1));
    for at in (0..len).step_by(61) {
        let victim = scene.victim();
        let file = fs::OpenOptions::new().write(true).open(journal(&victim)).unwrap();
        file.set_len(at as u64).unwrap();
        let fault = recover(&victim).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Damaged, "cut at {at}: {fault}");
        assert!(fault.to_string().contains("engine"), "cut at {at}: {fault}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_journal_is_refused_or_changes_nothing() {
    let scene = scene(3);
    let path = journal(&scene.stages[2].1);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(7) {
        let victim = scene.victim();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(journal(&victim), &bytes).unwrap();
        match recover(&victim) {
            Ok(model) => assert_eq!(&model, scene.last(), "a bit of byte {at} was lost silently"),
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::Damaged, "{fault}");
                assert_eq!(fs::read(journal(&victim)).unwrap(), bytes, "byte {at}: evidence was changed");
                refused += 1;
            }
        }
    }
    assert!(refused > 50, "only {refused}");
}

#[test]
fn an_end_that_was_never_synced_is_cut_off_whatever_the_disk_made_of_it() {
    let scene = scene(3);
    let (before, after) = (&scene.stages[1], &scene.stages[2]);
    let (start, end) = (used(&journal(&before.1)), used(&journal(&after.1)));
    let whole = fs::read(journal(&after.1)).unwrap();
    for at in (start..end).step_by(13) {
        for tear in 0..3 {
            let victim = scene.victim();
            // The power fails during the last flush: its mark was not written, and its bytes only in part.
            fs::copy(before.1.join("synced"), victim.join("synced")).unwrap();
            let mut bytes = whole.clone();
            match tear {
                0 => bytes.truncate(at),
                1 => bytes[at..end].fill(0),
                _missing_in_the_middle => bytes[start..at].fill(0),
            }
            fs::write(journal(&victim), bytes).unwrap();
            let model = recover(&victim).unwrap_or_else(|fault| panic!("torn at {at}, {tear}: {fault}"));
            assert!(model == before.0 || model == after.0, "torn at {at}, {tear}");
        }
    }
}

#[test]
fn later_commits_prove_that_an_earlier_one_was_durable_even_if_the_mark_is_old() {
    let scene = scene(4);
    let victim = scene.victim();
    fs::copy(scene.stages[0].1.join("synced"), victim.join("synced")).unwrap();
    let mut bytes = fs::read(journal(&victim)).unwrap();
    let second = used(&journal(&scene.stages[0].1)) + 40;
    bytes[second] ^= 1;
    fs::write(journal(&victim), bytes).unwrap();
    let fault = recover(&victim).unwrap_err();
    assert_eq!((fault.kind, fault.at.is_some()), (FaultKind::Damaged, true), "{fault}");
}

/// A store whose records are in tables.
fn tables() -> Scene {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (mut keeper, mut history) = (begin(&data), History::new(12));
    for _ in 0..2 {
        flush(&mut keeper, &mut history, 60);
        keeper.engine().write_table();
    }
    flush(&mut keeper, &mut history, 12);
    let left = home.path().join("left-0");
    copy(&data, &left);
    Scene { home, stages: vec![(history.model.clone(), left)] }
}

#[test]
fn a_flipped_bit_anywhere_in_a_table_or_manifest_is_refused_or_changes_nothing() {
    let scene = tables();
    assert_eq!(&recover(&scene.victim()).unwrap(), scene.last());
    let tree = Path::new("engine/keyspaces/1");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [tree.to_owned(), tree.join("tables"), Path::new("engine/keyspaces/0/tables").to_owned()] {
        let entries = fs::read_dir(scene.stages[0].1.join(&folder)).unwrap();
        files.extend(entries.map(|entry| folder.join(entry.unwrap().file_name())));
    }
    let mut refused = 0;
    for file in files.iter().filter(|file| scene.stages[0].1.join(file).is_file()) {
        let whole = fs::read(scene.stages[0].1.join(file)).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 50 + 1) {
            let victim = scene.victim();
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(victim.join(file), bytes).unwrap();
            match recover(&victim) {
                Ok(model) => {
                    assert_eq!(&model, scene.last(), "byte {at} of {} was lost silently", file.display())
                }
                Err(fault) => {
                    assert_eq!(fault.kind, FaultKind::Damaged, "byte {at} of {}: {fault}", file.display());
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 40, "only {refused}");
}

#[test]
fn a_missing_table_or_journal_is_refused() {
    let scene = tables();
    let victim = scene.victim();
    let table = fs::read_dir(victim.join("engine/keyspaces/1/tables")).unwrap().next().unwrap().unwrap();
    fs::remove_file(table.path()).unwrap();
    assert_eq!(recover(&victim).unwrap_err().kind, FaultKind::Damaged);
}

#[test]
fn a_missing_or_changed_file_is_refused_and_nothing_is_removed() {
    let scene = scene(2);
    let files = [
        "engine/keyspaces/0/current",
        "engine/keyspaces/1/current",
        "engine/version",
        "engine/0.jnl",
        "synced",
    ];
    for name in files {
        let victim = scene.victim();
        fs::remove_file(victim.join(name)).unwrap();
        let fault = recover(&victim).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Damaged, "{name}: {fault}");
        assert!(victim.join("engine/keyspaces/1").is_dir(), "{name}");
        let victim = scene.victim();
        let mut bytes = fs::read(victim.join(name)).unwrap();
        bytes.iter_mut().take(16).for_each(|byte| *byte ^= 0x55);
        fs::write(victim.join(name), &bytes).unwrap();
        match recover(&victim) {
            Ok(model) => assert_eq!(&model, scene.last(), "{name}"),
            Err(fault) => {
                assert!(matches!(fault.kind, FaultKind::Damaged | FaultKind::Newer), "{name}: {fault}")
            }
        }
    }
    let victim = scene.victim();
    fs::create_dir(victim.join("engine/keyspaces/7")).unwrap();
    assert_eq!(recover(&victim).unwrap_err().kind, FaultKind::Damaged);
}

#[test]
fn a_damaged_store_is_moved_aside_only_when_asked_and_a_new_one_begins() {
    let scene = scene(2);
    let victim = scene.victim();
    fs::remove_file(journal(&victim)).unwrap();
    assert!(recover(&victim).is_err());
    let aside = quarantine(&victim).unwrap();
    assert!(aside.join("engine/keyspaces/1").is_dir() && aside.starts_with(&victim));
    drop(begin(&victim));
    assert_eq!(recover(&victim).unwrap(), Model::default());
    assert_ne!(quarantine(&victim).unwrap(), aside);
    assert_eq!(quarantine(&victim).unwrap_err().kind, FaultKind::Missing);
}

#[test]
fn two_processes_on_one_directory_are_refused_and_files_are_private() {
    let home = tempfile::tempdir().unwrap();
    let (mut keeper, mut history) = (begin(home.path()), History::new(1));
    flush(&mut keeper, &mut history, 5);
    assert_eq!(FjallEngine::open(home.path()).err().unwrap().kind, FaultKind::Locked);
    drop(keeper);
    let mut folders = vec![home.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let (path, found) = {
                let entry = entry.unwrap();
                (entry.path(), entry.metadata().unwrap())
            };
            let mode = found.permissions().mode() & 0o777;
            assert_eq!(mode, if found.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    assert_eq!(recover(home.path()).unwrap(), history.model);
}

#[test]
fn sessions_keep_their_state_through_many_openings() {
    let home = tempfile::tempdir().unwrap();
    let mut history = History::new(5);
    for _ in 0..6 {
        let mut keeper = begin(home.path());
        flush(&mut keeper, &mut history, 40);
        flush(&mut keeper, &mut history, 40);
        drop(keeper);
        let found = recover(home.path()).unwrap();
        assert_eq!(found, history.model);
        history.restart(found);
    }
    let mut keeper = begin(home.path());
    let ended = Change::SessionEnded { client_id: "never seen".into() };
    keeper.accept(CoreId::new(0), Written { turn: 1, changes: vec![ended], is_urgent: true }, Vec::new());
    assert_eq!(keeper.flush().unwrap().writes, 0);
}
