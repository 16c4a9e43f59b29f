//! The tools on a store that is closed, one that runs, a backup, and a damaged one.
//!
//! Why through [`super::run`]: output, report and exit code are what a user gets.
//!
//! Invariants:
//! - Every task is asked for at least once while the store is open elsewhere.

use std::fs;
use std::path::Path;

use broker::{
    Change, CoreId, MessageCopy, RetainedVersion, StoredMessage, StoredParts, SubscriptionTerms, Written,
};
use mqtt::{PacketId, QoS};
use serde_json::Value;
use stdx::{Instant, Span, WallMs};

use super::{ExportKind, Style, Task, run};
use crate::{Anchor, FjallEngine, Heads, Keeper};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_000_000) };

fn message(topic: &str, payload: &[u8]) -> std::sync::Arc<StoredMessage> {
    std::sync::Arc::new(StoredMessage::of(&StoredParts {
        topic,
        forward: &[],
        payload,
        qos: QoS::AtLeastOnce,
        retain: true,
        expires_at: Instant::START + Span::from_s(5),
        origin: 0,
    }))
}

/// One session with a subscription, two queued messages, one in flight, one received; one retained message.
fn filled(dir: &Path) -> Keeper<FjallEngine> {
    let mut keeper = Keeper::new(FjallEngine::open(dir).unwrap(), ANCHOR);
    keeper.recover(Heads::ALL, &mut |_| {}, &mut drop, &mut |_| {}).unwrap();
    let copy = |payload: &[u8]| MessageCopy {
        message: message("a/b", payload),
        qos: QoS::ExactlyOnce,
        retain: false,
        ids: Some([3].into()),
    };
    let client_id: std::sync::Arc<str> = "meter".into();
    let terms = SubscriptionTerms { qos: QoS::AtLeastOnce, no_local: false, keeps_retain: true, id: 3 };
    let packet_id = PacketId::new(9).unwrap();
    let changes = vec![
        Change::Session {
            client_id: client_id.clone(),
            expiry_s: 60,
            ends_at: Instant::NEVER,
            is_connected: true,
            will: None,
            owner: None,
        },
        Change::Subscribed { client_id: client_id.clone(), filter: "a/#".into(), terms },
        Change::Queued { client_id: client_id.clone(), seq: 1, copy: copy(b"one") },
        Change::Queued { client_id: client_id.clone(), seq: 2, copy: copy(&[0xff, 0x01]) },
        Change::Queued { client_id: client_id.clone(), seq: 3, copy: copy(b"three") },
        Change::Sent { client_id: client_id.clone(), seq: 1, packet_id, copy: None },
        Change::Received { client_id, packet_id, shipped: Vec::new() },
        Change::Retained { message: message("r", b"kept"), version: RetainedVersion { counter: 4, core: 0 } },
    ];
    keeper.accept(CoreId::new(0), Written { turn: 1, changes, is_urgent: true }, Vec::new());
    keeper.flush().unwrap();
    keeper
}

fn ask(task: &Task, dir: &Path) -> (u8, String, String) {
    let (mut out, mut report) = (Vec::new(), Vec::new());
    let code = run(task, dir, Style::Json, &mut out, &mut report);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(report).unwrap())
}

fn json(task: &Task, dir: &Path) -> Value {
    let (code, out, report) = ask(task, dir);
    assert_eq!((code, &*report), (0, ""), "{out}");
    serde_json::from_str(&out).unwrap()
}

fn lines(kinds: &[ExportKind], dir: &Path) -> Vec<Value> {
    let (code, out, report) = ask(&Task::Export { kinds: kinds.to_vec() }, dir);
    assert_eq!((code, &*report), (0, ""));
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_answers(at: &Path, source: &str) {
    let checked = json(&Task::Check, at);
    assert_eq!(
        (&checked["ok"], &checked["source"], &checked["records"]),
        (&true.into(), &source.into(), &8.into())
    );
    let stats = json(&Task::Stats, at);
    let counted =
        ["sessions", "connected", "subscriptions", "messages", "queues", "inflight", "received", "retained"];
    assert_eq!(counted.map(|name| stats[name].as_u64().unwrap()), [1, 1, 1, 3, 1, 1, 1, 1]);
    assert!(stats["disk_bytes"].as_u64().unwrap() > 100);
    let all = lines(&[], at);
    let kinds: Vec<&str> = all.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["session", "subscription", "received", "inflight", "message", "message", "message", "retained"]
    );
    let messages = lines(&[ExportKind::Message], at);
    assert_eq!(messages.len(), 4);
    assert_eq!((&messages[0]["client_id"], &messages[0]["packet_id"]), (&"meter".into(), &9.into()));
    assert_eq!((&messages[1]["payload"], &messages[2]["payload_hex"]), (&"one".into(), &"ff01".into()));
    assert_eq!((&messages[1]["topic"], &messages[1]["qos"]), (&"a/b".into(), &2.into()));
    let retained = &lines(&[ExportKind::Retained], at)[0];
    assert_eq!((&retained["topic"], &retained["expires_ms"]), (&"r".into(), &1_005_000.into()));
}

#[test]
fn the_tools_answer_the_same_from_a_directory_a_running_broker_a_backup_and_a_restored_directory() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (home.path().join("data"), home.path().join("copy"));
    let running = filled(&dir);
    assert_answers(&dir, "running broker");
    assert_eq!(json(&Task::Backup { to: copy.clone() }, &dir)["records"], 8);
    drop(running);
    assert_answers(&dir, "directory");
    let again = home.path().join("again");
    json(&Task::Backup { to: again.clone() }, &dir);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&again).unwrap());
    assert_answers(&copy, "backup");
    let restored = home.path().join("restored");
    assert_eq!(json(&Task::Restore { from: copy }, &restored)["records"], 8);
    assert_answers(&restored, "directory");
}

#[test]
fn a_running_broker_goes_on_while_it_is_copied_and_closes_although_a_visitor_does_not_read() {
    let home = tempfile::tempdir().unwrap();
    let mut running = filled(home.path());
    let copy = |payload: u8| MessageCopy {
        message: message("x", &[payload; 4_000]),
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: None,
    };
    let queued = |seq: u64| Change::Queued { client_id: "meter".into(), seq, copy: copy(1) };
    let changes = (10..1_000).map(queued).collect();
    running.accept(CoreId::new(0), Written { turn: 2, changes, is_urgent: true }, Vec::new());
    running.flush().unwrap();
    let visitor = crate::desk::visit(home.path()).unwrap();
    running.accept(
        CoreId::new(0),
        Written { turn: 3, changes: vec![queued(1_000)], is_urgent: true },
        Vec::new(),
    );
    assert_eq!(running.flush().unwrap().turns, [(CoreId::new(0), 3)]);
    drop(running);
    let mut reader = std::io::BufReader::new(visitor);
    let cut = crate::backup::read_backup(home.path(), &mut reader, &mut |_, _| Ok(()));
    assert!(cut.is_err());
    assert_eq!(json(&Task::Stats, home.path())["messages"], 994);
}

#[test]
fn what_cannot_be_done_says_why_and_ends_with_four() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, report) = ask(&Task::Stats, &home.path().join("nowhere"));
    assert_eq!((code, &*out), (4, ""));
    assert!(report.contains("nowhere") && report.contains("no store"), "{report}");
    let dir = home.path().join("data");
    drop(filled(&dir));
    let copy = home.path().join("copy");
    json(&Task::Backup { to: copy.clone() }, &dir);
    let (code, _, report) = ask(&Task::Restore { from: copy.clone() }, &dir);
    assert_eq!(code, 4);
    assert!(report.contains("not empty"), "{report}");
    let whole = fs::read(&copy).unwrap();
    fs::write(&copy, &whole[..whole.len() - 1]).unwrap();
    let target = home.path().join("target");
    let (code, _, report) = ask(&Task::Restore { from: copy }, &target);
    assert_eq!((code, target.exists()), (4, false), "{report}");
    fs::write(dir.join("format"), "ringmq store 9\n").unwrap();
    let (code, _, report) = ask(&Task::Check, &dir);
    assert_eq!(code, 4);
    assert!(report.contains("newer version"), "{report}");
}

#[test]
fn a_check_of_a_damaged_store_tells_what_and_ends_with_one() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path()));
    let journal = home.path().join("engine/0.jnl");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[60] ^= 4;
    fs::write(&journal, &bytes).unwrap();
    let (mut out, mut report) = (Vec::new(), Vec::new());
    assert_eq!(run(&Task::Check, home.path(), Style::Text, &mut out, &mut report), 1);
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("0.jnl: damaged at byte 0") && out.contains("not everything is well"), "{out}");
    assert_eq!(fs::read(&journal).unwrap(), bytes, "a check changes nothing");
    assert_eq!(ask(&Task::Stats, home.path()).0, 4);
}

/// A device with an attribute, a value with its history, a command, a claim; a user and a package with bytes.
fn equipped(dir: &Path) -> Keeper<FjallEngine> {
    use device::{
        Algorithm, Authority, Claim, Command, CommandId, CommandKind, Content, Credential, Device, DeviceId,
        Keeping, Order, Package, PackageId, PackageKind, ProfileId, Role, Sample, Scope, TenantId, User,
        UserId, Value,
    };
    let mut keeper = Keeper::new(FjallEngine::open(dir).unwrap(), ANCHOR);
    keeper.recover(Heads::ALL, &mut drop, &mut drop, &mut |_| {}).unwrap();
    let (tenant, profile, id) =
        (TenantId::from_bytes([1; 16]), ProfileId::from_bytes([2; 16]), DeviceId::from_bytes([3; 16]));
    let content = Content::upload(b"firmware"[..].into(), Algorithm::Md5, None).unwrap();
    let order = Order {
        id: CommandId::from_bytes([4; 16]),
        method: "reboot".into(),
        params: "{}".into(),
        kind: CommandKind::OneWay,
        is_persistent: true,
        expires_ms: 99,
        retries: None,
        additional: None,
    };
    let sample = Sample { key: "t".into(), value: Value::Json("[1,2]".into()), at_ms: 7 };
    let changes = vec![
        device::Change::User(Box::new(User {
            id: UserId::from_bytes([5; 16]),
            tenant: Some(tenant),
            customer: None,
            authority: Authority::TenantAdmin,
            created_ms: 1,
            name: "ann@example.org".into(),
            password_hash: "secret hash".into(),
            margin: device::Margin::default(),
        })),
        device::Change::Package(std::sync::Arc::new(Package {
            created_ms: 0,
            id: PackageId::from_bytes([6; 16]),
            tenant,
            profile,
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1".into(),
            tag: None,
            content,
            label: device::Label::default(),
        })),
        device::Change::Device(Box::new(Device {
            id,
            tenant,
            profile,
            customer: None,
            role: Role::Gateway,
            created_ms: 1,
            name: "pump".into(),
            credential: Credential::Token("secret token".into()),
            rare: None,
        })),
        device::Change::Attribute {
            device: id,
            scope: Scope::Shared,
            key: "k".into(),
            value: Some(Value::Double(0.5)),
            at_ms: 8,
        },
        device::Change::Telemetry { device: id, samples: vec![sample], keeping: Keeping::History },
        device::Change::Command { device: id, command: Box::new(Command::new(order, 0, 5)) },
        device::Change::Claim {
            device: id,
            claim: Some(Claim { secret: "secret claim".into(), expires_ms: 9 }),
        },
    ];
    keeper.keep(1, changes);
    keeper.flush().unwrap();
    keeper
}

fn assert_devices(at: &Path, source: &str) {
    let checked = json(&Task::Check, at);
    let expected = (&true.into(), &source.into(), &11.into());
    assert_eq!((&checked["ok"], &checked["source"], &checked["records"]), expected);
    let stats = json(&Task::Stats, at);
    let counted =
        ["users", "packages", "package_bytes", "devices", "attributes", "latest", "commands", "points"];
    assert_eq!(counted.map(|name| stats[name].as_u64().unwrap()), [1, 1, 8, 1, 1, 1, 1, 1]);
    let (_, text, _) = ask(&Task::Export { kinds: Vec::new() }, at);
    assert!(!text.contains("secret"), "{text}");
    let all = lines(&[], at);
    let kinds: Vec<&str> = all.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let expected = ["user", "package", "device", "attribute", "latest", "command", "claim", "point"];
    assert_eq!(kinds, expected);
    let point = &lines(&[ExportKind::Point], at)[0];
    assert_eq!((&point["value"], &point["at_ms"]), (&serde_json::json!([1, 2]), &7.into()));
    let device = &lines(&[ExportKind::Device], at)[0];
    assert_eq!((&device["name"], &device["credential"]), (&"pump".into(), &"token".into()));
}

#[test]
fn the_tools_know_devices_wherever_they_are_and_keep_their_secrets() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (home.path().join("data"), home.path().join("copy"));
    let running = equipped(&dir);
    assert_devices(&dir, "running broker");
    assert_eq!(json(&Task::Backup { to: copy.clone() }, &dir)["records"], 11);
    drop(running);
    assert_devices(&dir, "directory");
    assert_devices(&copy, "backup");
    assert!(
        fs::read(&copy).unwrap().starts_with(b"ringmq backup 4\n"),
        "a version without devices refuses it"
    );
    let restored = home.path().join("restored");
    json(&Task::Restore { from: copy }, &restored);
    assert_devices(&restored, "directory");
    assert_eq!(fs::read_to_string(restored.join("format")).unwrap(), "ringmq store 3\n");
    let mut changes = Vec::new();
    let mut keeper = Keeper::new(FjallEngine::open(&restored).unwrap(), ANCHOR);
    keeper.recover(Heads::ALL, &mut drop, &mut |change| changes.push(change), &mut |_| {}).unwrap();
    let token = changes.iter().find_map(|change| match change {
        device::Change::Device(device) => Some(device.credential.id()),
        _something_else => None,
    });
    assert_eq!(token.as_deref(), Some("secret token"));
}

#[test]
fn values_that_are_written_together_are_counted_and_shown_one_by_one_and_the_latest_of_a_key_once() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let mut keeper = equipped(&dir);
    keeper.clear_slowly();
    let device = device::DeviceId::from_bytes([3; 16]);
    let message = |at_ms: i64, keys: &[&'static str]| {
        let value = || device::Value::Long(at_ms);
        let sample = |key: &&'static str| device::Sample { key: (*key).into(), value: value(), at_ms };
        let samples = keys.iter().map(sample).collect();
        device::Change::Telemetry { device, samples, keeping: device::Keeping::History }
    };
    let gone = device::Change::LatestGone { device, key: "v".into() };
    keeper.keep(2, vec![message(20, &["t", "u", "v"]), message(30, &["u", "t"]), message(40, &["t"]), gone]);
    keeper.flush().unwrap();
    let stats = json(&Task::Stats, &dir);
    assert_eq!((&stats["latest"], &stats["points"]), (&2.into(), &7.into()));
    assert_eq!(json(&Task::Check, &dir)["ok"], true);
    let shown = |kind| -> Vec<String> {
        let lines = lines(&[kind], &dir);
        let mut shown: Vec<_> =
            lines.iter().map(|line| format!("{} {}", line["key"].as_str().unwrap(), line["at_ms"])).collect();
        shown.sort();
        shown
    };
    assert_eq!(shown(ExportKind::Latest), ["t 40", "u 30"]);
    assert_eq!(shown(ExportKind::Point), ["t 20", "t 30", "t 40", "t 7", "u 20", "u 30", "v 20"]);
}
