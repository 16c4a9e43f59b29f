//! `ringmq-bench compare` as a user runs it: a short comparison, and comparisons that are killed.
//!
//! Invariants:
//! - What is not installed here must be named as missing; a test never passes because a broker was not there.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_ringmq-bench");
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_MAX: u32 = 12_000;

/// The program beside ours, or the one that the gate has built.
fn ringmq() -> PathBuf {
    std::env::var_os("RINGMQ_BIN").map_or_else(|| Path::new(BENCH).with_file_name("ringmq"), PathBuf::from)
}

fn archive(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("compare-{name}-{}", std::process::id()))
}

fn compare(archive: &Path, arguments: &str) -> Command {
    let mut command = Command::new(BENCH);
    command.args("compare --broker-cpu 0 --load-cpu 0 --rounds 1 --warmup 0".split(' '));
    command.args(arguments.split(' ')).arg("--ringmq").arg(ringmq()).arg("--archive").arg(archive);
    command.stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that `name` has been measured under `load` with messages and without loss, or is named as missing.
fn assert_measured_or_missing(figures: &Value, output: &Output, load: &str, name: &str) {
    let runs = figures["measurements"].as_array().expect("a list of runs");
    let Some(run) = runs.iter().find(|run| run["load"] == load && run["target"] == name) else {
        let advice = format!("{name} is skipped: ");
        assert!(text(&output.stderr).contains(&advice), "{name} is neither measured nor missing");
        assert!(text(&output.stdout).contains(&advice));
        return;
    };
    let of = &run["outcome"]["Ok"];
    if load == "F1" {
        assert_eq!(of["idle"]["ready"], 50, "{run}");
        assert!(of["idle"]["broker"]["cpu_ns_per_connect"].as_f64().is_some_and(|cpu| cpu > 0.0), "{run}");
        return;
    }
    let traffic = &of["traffic"];
    // On a busy machine nothing may arrive within the counted time; the ledger also has what comes later.
    assert!(traffic["expected"].as_u64().is_some_and(|messages| messages > 100), "{run}");
    assert!(traffic["broker"]["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{run}");
    assert_eq!((&traffic["lost"], &traffic["duplicated"]), (&Value::from(0), &Value::from(0)), "{run}");
    let row = format!("| {name} (");
    assert!(text(&output.stdout).lines().any(|line| line.starts_with(&row)), "no row for {name}");
}

#[test]
fn a_short_comparison_measures_what_is_here_and_names_what_is_not() {
    let archive = archive("short");
    let arguments =
        "--load B,E,F1 --crowd 1 --duration 0.3 --settle 0 --no-counting --target ringmq,mosquitto,nats";
    let output = compare(&archive, arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let read = |ending: &str| {
        let path = archive.join("compare-B-E-F1").with_extension(ending);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    assert_eq!(read("md"), text(&output.stdout));
    assert!(read("html").contains("<svg"));
    let figures: Value = serde_json::from_str(&read("json")).expect("JSON");
    for load in ["B", "E", "F1"] {
        for name in ["ringmq", "mosquitto", "nats", "null-epoll", "null-glommio", "null-ring"] {
            assert_measured_or_missing(&figures, &output, load, name);
        }
    }
    assert!(
        figures["measurements"].as_array().is_some_and(|runs| runs.len() >= 6),
        "the relays are always here"
    );
    fs::remove_dir_all(archive).expect("the archive is ours");
}

#[test]
fn doors_are_measured_against_the_same_broker_without_them() {
    let archive = archive("doors");
    let arguments = "--load T,W,FT --crowd 1 --duration 0.3 --settle 0 --no-counting --target ringmq";
    let output = compare(&archive, arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let json = fs::read_to_string(archive.join("compare-T-W-FT.json")).expect("figures");
    let figures: Value = serde_json::from_str(&json).expect("JSON");
    let runs = figures["measurements"].as_array().expect("a list of runs");
    if runs.is_empty() {
        assert!(text(&output.stderr).contains("ringmq is skipped: "), "neither measured nor missing");
        return;
    }
    let names = |load: &str| -> Vec<&str> {
        runs.iter().filter(|run| run["load"] == load).filter_map(|run| run["target"].as_str()).collect()
    };
    for load in ["T", "W", "FT"] {
        assert_eq!(names(load), ["ringmq", "ringmq-plain"], "under load {load}");
    }
    for run in runs {
        let of = &run["outcome"]["Ok"];
        let is_well = of["idle"]["ready"] == 50 || of["traffic"]["lost"] == 0;
        assert!(is_well, "{run}");
    }
    let judged = figures["floors"].as_array().expect("a list of floors");
    let judged: Vec<&str> = judged.iter().filter_map(|finding| finding["load"].as_str()).collect();
    assert_eq!(judged, ["T", "W", "FT"]);
    fs::remove_dir_all(archive).expect("the archive is ours");
}

#[test]
fn system_calls_are_counted_or_said_to_be_unknown() {
    let archive = archive("counted");
    let arguments = "--load B --duration 0.1 --target null-epoll";
    let output = compare(&archive, arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let json = fs::read_to_string(archive.join("compare-B.json")).expect("figures");
    let figures: Value = serde_json::from_str(&json).expect("JSON");
    let counting = &figures["countings"][0];
    let counted = &counting["outcome"]["Ok"];
    assert!(counted["messages"].as_u64().is_some_and(|messages| messages > 100), "{counting}");
    // A relay that copies 16 packets per read needs far fewer calls than messages, and more than none.
    let calls = &counted["system_calls"];
    assert!(calls.is_null() || calls.as_f64().is_some_and(|calls| calls > 0.0 && calls < 2.0), "{counting}");
    fs::remove_dir_all(archive).expect("the archive is ours");
}

/// A comparison in the middle of a run.
struct Busy {
    child: Child,
    archive: PathBuf,
    offspring: Vec<u32>,
}

impl Busy {
    fn start(name: &str) -> Self {
        let archive = archive(name);
        let mut command = compare(&archive, "--load B --duration 300 --target null-epoll");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let mut busy = Self { child, archive, offspring: vec![] };
        // The broker and the generator, each past its first instructions.
        wait_until(|| {
            busy.offspring = children(busy.child.id());
            let runs = |word: &str| busy.offspring.iter().any(|&pid| command_line(pid).contains(word));
            runs("pairs\0") && runs("127.0.0.1:")
        });
        assert!(!directories(busy.child.id()).is_empty());
        busy
    }

    fn kill(&mut self, signal: Signal) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the comparison runs");
        self.child.wait().expect("it can be waited for").signal()
    }
}

/// The direct children of a process.
fn children(parent: u32) -> Vec<u32> {
    let mut found = vec![];
    for entry in fs::read_dir("/proc").expect("a Linux machine").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
        if fields.split(' ').nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    found
}

fn command_line(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// What a comparison keeps in memory.
fn directories(owner: u32) -> Vec<PathBuf> {
    let parents = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let entries = parents.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    let prefix = format!("ringmq-bench-{owner}-");
    entries.map(|entry| entry.path()).filter(|path| named(path).starts_with(&prefix)).collect()
}

fn named(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_so() {
            return;
        }
        std::thread::park_timeout(LOOK);
    }
    panic!("it did not happen in time");
}

#[test]
fn a_terminated_comparison_leaves_no_process_and_no_directory() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut busy = Busy::start("terminated");
        let owner = busy.child.id();
        assert_eq!(busy.kill(signal), Some(signal.as_raw()));
        for &pid in &busy.offspring {
            assert_eq!(command_line(pid), "", "process {pid} is still there");
        }
        assert_eq!(directories(owner), Vec::<PathBuf>::new());
        fs::remove_dir_all(&busy.archive).expect("the archive is ours");
    }
}

#[test]
fn a_killed_comparison_takes_its_processes_along_and_the_next_one_sweeps_up() {
    let mut busy = Busy::start("killed");
    let owner = busy.child.id();
    assert_eq!(busy.kill(Signal::KILL), Some(Signal::KILL.as_raw()));
    wait_until(|| busy.offspring.iter().all(|&pid| command_line(pid).is_empty()));
    assert!(!directories(owner).is_empty(), "nobody could sweep yet");
    let arguments = "--load B --duration 0.1 --no-counting --target null-epoll";
    let output = compare(&busy.archive, arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(directories(owner), Vec::<PathBuf>::new());
    fs::remove_dir_all(&busy.archive).expect("the archive is ours");
}
