//! `ringmq-bench plan` as a user runs it: a quick plan of the real broker, and one that cannot be made.
//!
//! Invariants:
//! - No figure is judged by its size: the machine may be doing anything. What is judged is that every part was
//!   measured, and that what cannot be known is called so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_ringmq-bench");

/// The program beside ours, or the one that the gate has built.
fn ringmq() -> PathBuf {
    std::env::var_os("RINGMQ_BIN").map_or_else(|| Path::new(BENCH).with_file_name("ringmq"), PathBuf::from)
}

fn plan(arguments: &str) -> Output {
    let mut command = Command::new(BENCH);
    command.arg("plan").args(arguments.split(' ')).stdin(Stdio::null());
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plan-{}-{name}", std::process::id()))
}

#[test]
fn a_quick_plan_measures_everything_and_says_what_it_cannot_know() {
    let (json, html, markdown) = (file("json"), file("html"), file("md"));
    let question =
        "--quick --verify --devices 5000000 --period 20 -q 1 -S --machine-cores 64 --durable --cores 1";
    let files =
        format!("--json {} --html {} --markdown {}", json.display(), html.display(), markdown.display());
    let output = plan(&format!(
        "{question} {files} --data-dir {} --ringmq {}",
        env!("CARGO_TARGET_TMPDIR"),
        ringmq().display()
    ));
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let read =
        |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(read(&markdown), text(&output.stdout));
    let page = read(&html);
    assert!(page.contains("<svg") && page.contains("first limit"), "the page has curves and the answer");

    let report: Value = serde_json::from_str(&read(&json)).expect("JSON");
    let answer = &report["answer"];
    assert!(
        answer["machines"]["value"].as_f64().is_some_and(|machines| machines >= 5.0),
        "5 M devices: {answer}"
    );
    let resources: Vec<&str> = answer["demands"]
        .as_array()
        .expect("demands")
        .iter()
        .filter_map(|demand| demand["resource"].as_str())
        .collect();
    for resource in ["cores", "connect_storm", "memory", "network_in", "network_out", "disk", "connections"] {
        assert!(resources.contains(&resource), "{resource} is missing in {resources:?}");
    }
    let cores =
        answer["demands"].as_array().expect("demands").iter().find(|demand| demand["resource"] == "cores");
    assert_eq!(
        cores.map(|cores| &cores["basis"]),
        Some(&Value::from("extrapolated")),
        "64 cores were not measured"
    );
    assert_eq!(
        report["across"]["law"]["known"], "linear",
        "one core count determines nothing else: {report}"
    );
    let profiles = report["profiles"].as_array().expect("profiles");
    for (profile, coat) in profiles.iter().zip(["plain", "tls"]) {
        assert_eq!(profile["coat"], coat);
        assert_eq!(profile["experiments"].as_array().map(Vec::len), Some(8), "{profile}");
    }
    assert_eq!(profiles.len(), 2, "the QoS that is asked about, without TLS and with it");
    assert!(
        cores.is_some_and(|cores| cores["because"].as_str().is_some_and(|text| text.contains("over TLS"))),
        "the answer says that it is about TLS: {cores:?}"
    );
    let [plain, sealed] = ["connect_ns", "sealed_connect_ns"].map(|name| &report["memory"][name]["value"]);
    assert!(plain.is_f64() && sealed.is_f64(), "connects without and with a handshake: {plain}, {sealed}");
    assert!(report["disk"]["syncs"].as_u64().is_some_and(|syncs| syncs > 0));
    for kind in ["connection", "subscriber", "sealed", "subscription", "session", "retained"] {
        let line = &report["memory"][kind]["line"]["slope"]["value"];
        assert!(line.is_f64(), "no slope of {kind}: {report}");
    }
    assert_eq!(report["checks"].as_array().map(Vec::len), Some(7), "five costs and two memories");
    for path in [json, html, markdown] {
        fs::remove_file(path).expect("the files were written");
    }
}

#[test]
fn a_plan_without_a_broker_says_what_to_do() {
    let output = plan("--quick --ringmq /nonexistent/ringmq");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cargo build --release"), "{}", text(&output.stderr));
}
