//! Measures what devices cost the store: writing them, recovering them, and reading the history of one key.
//!
//! Why an example and no benchmark harness: as in `measure`, the figures depend on the disk.
//!
//! Usage: `cargo run --release -p store --example devices -- DIR [DEVICES] [POINTS] [MESSAGES]`; `DIR` must not exist and is
//! left behind. Or `devices --fill DIR DEVICES [KEEPING]`: adds devices to a directory that a broker has made, with their tokens
//! (`token-00000000000000` and so on), two attributes, three values of November 2023 (`latest` or `history`) and a presence,
//! as that broker would have written them.
//!
//! Invariants:
//! - Everything that is read back is counted, so nothing can be measured that was not done.

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant as Clock;

use device::{
    Change, Credential, Device, DeviceId, Keeping, Presence, ProfileId, Registry, Role, Sample, Scope,
    TenantId, Value,
};
use stdx::{Instant, WallMs};
use store::{Anchor, Fault, FjallEngine, Heads, Keeper, Order, Span};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_700_000_000_000) };
/// Devices or points written with one flush.
const BATCH: u64 = 2_000;
const NOW_MS: i64 = 1_700_000_000_000;

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1).collect::<Vec<_>>().into_iter().peekable();
    let fills = arguments.next_if(|argument| argument == "--fill").is_some();
    let Some(dir) = arguments.next() else {
        eprintln!(
            "usage: devices DIR [DEVICES] [POINTS] [MESSAGES], or devices --fill DIR DEVICES [KEEPING]"
        );
        std::process::exit(2);
    };
    let keeping = if arguments.clone().any(|argument| argument == "history") {
        Keeping::History
    } else {
        Keeping::Latest
    };
    let mut count = || arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let dir = Path::new(&dir);
    let devices = count();
    if fills {
        let (mut keeper, home) = open(dir)?;
        let home = home.expect("a broker has made a tenant and a default profile");
        return write(&mut keeper, devices, home, keeping);
    }
    let (points, messages) = (count(), count());
    let (mut keeper, _) = open(dir)?;
    write(
        &mut keeper,
        devices,
        (TenantId::from_bytes([1; 16]), ProfileId::from_bytes([2; 16])),
        Keeping::Latest,
    )?;
    write_points(&mut keeper, points)?;
    write_messages(&mut keeper, messages)?;
    drop(keeper);
    let (keeper, _) = open(dir)?;
    read_points(&keeper, points)
}

/// Where devices belong: a tenant and its default profile.
type Home = (TenantId, ProfileId);

fn open(dir: &Path) -> Result<(Keeper<FjallEngine>, Option<Home>), Fault> {
    let began = Clock::now();
    let engine = FjallEngine::open(dir)?;
    let opened = began.elapsed();
    let mut keeper = Keeper::new(engine, ANCHOR);
    let (mut registry, mut facts, mut home) = (Registry::default(), 0u64, None);
    let mut take = |change: Change| {
        if let Change::Profile(profile) = &change
            && profile.is_default
        {
            home = Some((profile.tenant, profile.id));
        }
        if change.is_of_registry() {
            registry.apply(&change);
        } else {
            facts += 1;
        }
    };
    let found = keeper.recover(Heads::ALL, &mut drop, &mut take, &mut |_| {})?;
    println!(
        "open {:.2} s, recover {:.2} s: {} devices in the registry, {facts} changes of hubs, {} records",
        opened.as_secs_f64(),
        (began.elapsed() - opened).as_secs_f64(),
        registry.len(),
        found.records,
    );
    Ok((keeper, home))
}

fn id(number: u64) -> DeviceId {
    // Spread like random ids.
    let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    DeviceId::from_bytes((u128::from(high) << 64 | u128::from(number)).to_be_bytes())
}

fn describe(number: u64, (tenant, profile): Home, keeping: Keeping, changes: &mut Vec<Change>) {
    let device = id(number);
    changes.push(Change::Device(Box::new(Device {
        id: device,
        tenant,
        profile,
        customer: None,
        role: Role::Ordinary,
        created_ms: NOW_MS,
        name: format!("device-{number:08}").into(),
        credential: Credential::Token(format!("token-{number:014}").into()),
        rare: None,
    })));
    let attribute = |key: &str, value| Change::Attribute {
        device,
        scope: Scope::Client,
        key: key.into(),
        value: Some(value),
        at_ms: NOW_MS,
    };
    changes.push(attribute("firmware", Value::Text("1.4.2".into())));
    changes.push(attribute("interval", Value::Long(60)));
    let samples = ["temperature", "humidity", "battery"].map(|key| Sample {
        key: key.into(),
        value: Value::Double(21.5),
        at_ms: NOW_MS,
    });
    changes.push(Change::Telemetry { device, samples: samples.into(), keeping });
    let presence =
        Presence { connected_ms: NOW_MS, disconnected_ms: NOW_MS, heard_ms: NOW_MS, ..Presence::default() };
    changes.push(Change::Presence { device, presence });
}

fn write(keeper: &mut Keeper<FjallEngine>, devices: u64, home: Home, keeping: Keeping) -> Result<(), Fault> {
    let began = Clock::now();
    for start in (0..devices).step_by(usize::try_from(BATCH).expect("a few thousand")) {
        let mut changes = Vec::new();
        (start..devices.min(start + BATCH)).for_each(|number| describe(number, home, keeping, &mut changes));
        keeper.keep(start + 1, changes);
        keeper.flush()?;
    }
    let rate = devices as f64 / began.elapsed().as_secs_f64();
    let bytes = keeper.engine().disk_bytes();
    println!("wrote {devices} devices: {rate:.0}/s, {:.0} bytes on disk each", bytes as f64 / devices as f64);
    Ok(())
}

fn write_points(keeper: &mut Keeper<FjallEngine>, points: u64) -> Result<(), Fault> {
    let (began, before) = (Clock::now(), keeper.engine().disk_bytes());
    for start in (0..points).step_by(usize::try_from(BATCH).expect("a few thousand")) {
        let sample = |number: u64| Sample {
            key: "temperature".into(),
            value: Value::Double(20.0 + number as f64 / 1e6),
            at_ms: NOW_MS + i64::try_from(number).expect("a few millions") * 1_000,
        };
        let samples = (start..points.min(start + BATCH)).map(sample).collect();
        keeper.keep(
            u64::MAX / 2 + start,
            vec![Change::Telemetry { device: id(0), samples, keeping: Keeping::History }],
        );
        keeper.flush()?;
    }
    let rate = points as f64 / began.elapsed().as_secs_f64();
    let bytes = keeper.engine().disk_bytes().saturating_sub(before);
    println!("wrote {points} points: {rate:.0}/s, {:.0} bytes on disk each", bytes as f64 / points as f64);
    Ok(())
}

/// Messages of three values each, one of each of some devices in a flush.
fn write_messages(keeper: &mut Keeper<FjallEngine>, messages: u64) -> Result<(), Fault> {
    let (began, before) = (Clock::now(), keeper.engine().disk_bytes());
    for start in (0..messages).step_by(usize::try_from(BATCH).expect("a few thousand")) {
        let at_ms = NOW_MS + i64::try_from(start / BATCH).expect("a few thousands") * 40;
        let message = |number: u64| Change::Telemetry {
            device: id(number % BATCH),
            samples: ["pressure", "flow", "level"]
                .map(|key| Sample { key: key.into(), value: Value::Double(number as f64 / 7.0), at_ms })
                .into(),
            keeping: Keeping::History,
        };
        let changes = (0..BATCH.min(messages - start)).map(message).collect();
        keeper.keep(u64::MAX / 4 * 3 + start, changes);
        keeper.flush()?;
    }
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    let bytes = keeper.engine().disk_bytes().saturating_sub(before);
    println!(
        "wrote {messages} messages of three values from {BATCH} devices: {rate:.0}/s, {:.0} bytes on disk each",
        bytes as f64 / messages as f64
    );
    Ok(())
}

fn read_points(keeper: &Keeper<FjallEngine>, points: u64) -> Result<(), Fault> {
    let history = keeper.engine().history();
    for order in [Order::OldestFirst, Order::NewestFirst, Order::OldestFirst] {
        let (began, mut seen, mut sum) = (Clock::now(), 0u64, 0.0);
        let span = Span { from_ms: i64::MIN, to_ms: i64::MAX, order };
        let mut visit = |_at_ms: i64, value: Value<'_>| {
            seen += 1;
            if let Value::Double(number) = value {
                sum += number;
            }
            ControlFlow::Continue(())
        };
        history.points(id(0), "temperature", span, &mut visit)?;
        assert!(seen == points, "{seen} of {points} points were read");
        println!(
            "read {seen} points, {order:?}: {:.3} s, mean {:.3}",
            began.elapsed().as_secs_f64(),
            sum / seen as f64
        );
    }
    Ok(())
}
