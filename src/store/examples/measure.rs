//! Measures the store on a disk: what a flush costs, how many offline messages it takes, how fast it comes back.
//!
//! Why an example and no benchmark harness: the figures depend on the disk, so they are printed to be read beside the name
//! of the machine, not compared by a program.
//!
//! Usage: `cargo run --profile fast -p store --example measure -- DIR [MESSAGES]`; `DIR` must not exist and is left behind.
//!
//! Invariants:
//! - Every figure of a message that counts as stored is behind a sync.

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use broker::{Change, CoreId, Fetch, MessageCopy, RetainedVersion, StoredMessage, StoredParts, Written};
use mqtt::{PacketId, QoS};
use stdx::{Instant, WallMs};
use store::{Anchor, Fault, FjallEngine, Heads, Keeper};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_700_000_000_000) };
const PAYLOAD_BYTES: usize = 256;
const SESSIONS: u64 = 1_000;
/// What arrives while a flush of one to two milliseconds runs, at 100,000 messages a second.
const BATCH: u64 = 200;
const HEADS: Heads = Heads { messages_max: 100, bytes_max: 1_048_576 };

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let Some(dir) = arguments.next() else {
        eprintln!("usage: measure DIR [MESSAGES]");
        std::process::exit(2);
    };
    let messages = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let dir = Path::new(&dir);
    let mut keeper = open(dir)?;
    sessions(&mut keeper)?;
    flush_alone(&mut keeper)?;
    online(&mut keeper)?;
    let mut seq = 0;
    for batch in [BATCH, 2_000, 20_000] {
        queue(&mut keeper, messages / 4, batch, &mut seq)?;
    }
    queue(&mut keeper, messages.saturating_sub(seq), 2_000, &mut seq)?;
    println!("disk: {:.0} bytes a queued message", keeper.engine().disk_bytes() as f64 / seq as f64);
    retain(&mut keeper, messages)?;
    println!("disk: {} MB for both", keeper.engine().disk_bytes() / 1_000_000);
    drop(keeper);
    let began = Clock::now();
    let mut keeper = open(dir)?;
    println!("opening and recovering: {:.2} s", began.elapsed().as_secs_f64());
    drain(&mut keeper, messages)?;
    println!("disk afterwards: {} MB", keeper.engine().disk_bytes() / 1_000_000);
    Ok(())
}

fn open(dir: &Path) -> Result<Keeper<FjallEngine>, Fault> {
    let began = Clock::now();
    let engine = FjallEngine::open(dir)?;
    let opened = began.elapsed();
    let mut keeper = Keeper::new(engine, ANCHOR);
    let mut changes = 0u64;
    let found = keeper.recover(HEADS, &mut |_| changes += 1, &mut drop, &mut |_| {})?;
    println!("open {:.2} s, {changes} changes: {found:?}", opened.as_secs_f64());
    Ok(keeper)
}

fn client(index: u64) -> Arc<str> {
    format!("client-{:08}", index % SESSIONS).into()
}

fn written(changes: Vec<Change>) -> Written {
    Written { turn: 1, changes, is_urgent: true }
}

fn message(topic: &str) -> Arc<StoredMessage> {
    let payload = [b'x'; PAYLOAD_BYTES];
    Arc::new(StoredMessage::of(&StoredParts {
        topic,
        forward: &[],
        payload: &payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: Instant::NEVER,
        origin: 1,
    }))
}

fn copy(topic: &str) -> MessageCopy {
    MessageCopy { message: message(topic), qos: QoS::AtLeastOnce, retain: false, ids: None }
}

fn sessions(keeper: &mut Keeper<FjallEngine>) -> Result<(), Fault> {
    let session = |index| Change::Session {
        client_id: client(index),
        expiry_s: u32::MAX,
        ends_at: Instant::NEVER,
        is_connected: false,
        will: None,
        owner: None,
    };
    keeper.accept(CoreId::new(0), written((0..SESSIONS).map(session).collect()), Vec::new());
    keeper.flush().map(drop)
}

/// What a flush of next to nothing costs: the disk's own time.
fn flush_alone(keeper: &mut Keeper<FjallEngine>) -> Result<(), Fault> {
    let mut took = Vec::new();
    for index in 0..500u64 {
        let changes = vec![Change::Handled { core: CoreId::new(0), from: CoreId::new(1), turn: index }];
        keeper.accept(CoreId::new(0), written(changes), Vec::new());
        let began = Clock::now();
        keeper.flush()?;
        took.push(began.elapsed());
    }
    show("one flush of one record", took);
    Ok(())
}

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", at(0.5), at(0.99), at(1.0));
}

/// Messages that are acknowledged before the flush: they cost no disk.
fn online(keeper: &mut Keeper<FjallEngine>) -> Result<(), Fault> {
    let (count, packet_id) = (1_000_000u64, PacketId::new(1).expect("not zero"));
    let began = Clock::now();
    let mut writes = 0;
    let sent = copy("factory/line/7/temperature");
    for start in (0..count).step_by(2_000) {
        let mut changes = Vec::with_capacity(4_000);
        for seq in start + 1..=start + 2_000 {
            let client_id = client(seq);
            changes.push(Change::Sent {
                client_id: client_id.clone(),
                seq,
                packet_id,
                copy: Some(sent.clone()),
            });
            changes.push(Change::Settled { client_id, seq, packet_id });
        }
        keeper.accept(CoreId::new(0), written(changes), Vec::new());
        writes += keeper.flush()?.writes;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("sent and settled before the flush: {rate:.0} messages/s, {writes} records written");
    Ok(())
}

fn queue(keeper: &mut Keeper<FjallEngine>, count: u64, batch: u64, seq: &mut u64) -> Result<(), Fault> {
    let (mut took, mut making) = (Vec::new(), Duration::ZERO);
    let began = Clock::now();
    let end = *seq + count;
    while *seq < end {
        let made = Clock::now();
        let places = *seq + 1..=(*seq + batch).min(end);
        *seq = *places.end();
        let queued =
            |seq| Change::Queued { client_id: client(seq), seq, copy: copy("factory/line/7/temperature") };
        let changes = places.map(queued).collect();
        making += made.elapsed();
        keeper.accept(CoreId::new(0), written(changes), Vec::new());
        let flushed = Clock::now();
        keeper.flush()?;
        took.push(flushed.elapsed());
    }
    let spent = began.elapsed() - making;
    let rate = count as f64 / spent.as_secs_f64();
    println!("queued {count} messages of {PAYLOAD_BYTES} B, {batch} a flush: {rate:.0} messages/s");
    show("  a flush of these", took);
    Ok(())
}

fn retain(keeper: &mut Keeper<FjallEngine>, count: u64) -> Result<(), Fault> {
    let began = Clock::now();
    for start in (0..count).step_by(2_000) {
        let retained = |index: u64| Change::Retained {
            message: message(&format!("site/{}/meter/{index:08}/reading", index % 97)),
            version: RetainedVersion { counter: index + 1, core: 0 },
        };
        keeper.accept(CoreId::new(0), written((start..start + 2_000).map(retained).collect()), Vec::new());
        keeper.flush()?;
    }
    println!("retained {count}: {:.0} messages/s", count as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

/// Reads all queues back and settles them.
fn drain(keeper: &mut Keeper<FjallEngine>, count: u64) -> Result<(), Fault> {
    let (began, mut drained) = (Clock::now(), 0);
    for index in 0..SESSIONS.min(count) {
        let (client_id, mut from_seq) = (client(index), 0);
        loop {
            let fetch = Fetch {
                client_id: client_id.clone(),
                serial: 0,
                from_seq,
                messages_max: 1_000,
                bytes_max: u32::MAX,
            };
            let fetched = keeper.fetch(&fetch)?.messages;
            let Some((last, _)) = fetched.last() else { break };
            from_seq = last + 1;
            drained += fetched.len();
            let dropped =
                |(seq, _): &(u64, MessageCopy)| Change::Dropped { client_id: client_id.clone(), seq: *seq };
            keeper.accept(CoreId::new(0), written(fetched.iter().map(dropped).collect()), Vec::new());
            keeper.flush()?;
        }
    }
    println!(
        "read back and removed {drained}: {:.0} messages/s",
        drained as f64 / began.elapsed().as_secs_f64()
    );
    Ok(())
}
