//! Telemetry that is said together and written together: it is read as if every value stood alone.
//!
//! Invariants:
//! - Nothing here knows how a row looks, but for how many records there are.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use broker::{CoreId, Written};
use device::{
    Change, Credential, Device, DeviceId, Keeping, Profile, ProfileId, Role, Sample, TenantId, Value,
};
use stdx::{Instant, WallMs};

use crate::devices::{DeviceKey, Series, encode_fact, encode_point};
use crate::{Anchor, Batch, Engine, Heads, Keeper, MemoryEngine, Order, Span};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_000_000_000_000) };
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const PROFILE: ProfileId = ProfileId::from_bytes([2; 16]);
const ONE: DeviceId = DeviceId::from_bytes([0x62; 16]);
/// The device and how far numbers of writes may go.
const BESIDES: u64 = 2;

fn opened(engine: MemoryEngine) -> (Keeper<MemoryEngine>, BTreeMap<String, (i64, Value<'static>)>) {
    let mut keeper = Keeper::new(engine, ANCHOR);
    let mut latest = BTreeMap::new();
    let mut take = |change| {
        if let Change::Telemetry { samples, .. } = change {
            let samples: Vec<Sample<'_>> = samples;
            latest.extend(samples.into_iter().map(|one| (one.key.into_owned(), (one.at_ms, one.value))));
        }
    };
    keeper.recover(Heads::ALL, &mut drop, &mut take, &mut |_| {}).unwrap();
    (keeper, latest)
}

fn accept(keeper: &mut Keeper<MemoryEngine>, changes: Vec<Change>) {
    keeper.accept(CoreId::new(0), Written { turn: 1, changes: Vec::new(), is_urgent: true }, changes);
}

fn write(keeper: &mut Keeper<MemoryEngine>, changes: Vec<Change>) {
    accept(keeper, changes);
    keeper.flush().unwrap();
}

fn device(id: DeviceId) -> Change {
    Change::Device(Box::new(Device {
        id,
        tenant: TENANT,
        profile: PROFILE,
        customer: None,
        role: Role::Ordinary,
        created_ms: 1,
        name: id.to_string().into(),
        credential: Credential::Token("token".into()),
        rare: None,
    }))
}

/// One message: all keys at one time, with one value.
fn message(device: DeviceId, at_ms: i64, keys: &[&'static str], value: i64) -> Change {
    let sample = |key: &&'static str| Sample { key: (*key).into(), value: Value::Long(value), at_ms };
    Change::Telemetry { device, samples: keys.iter().map(sample).collect(), keeping: Keeping::History }
}

fn points(keeper: &Keeper<MemoryEngine>, device: DeviceId, key: &str) -> Vec<(i64, i64)> {
    let read = |order| {
        let mut points = Vec::new();
        let mut visit = |at_ms: i64, value: Value<'_>| {
            let Value::Long(value) = value else { panic!("{value:?}") };
            points.push((at_ms, value));
            ControlFlow::Continue(())
        };
        let span = Span { from_ms: i64::MIN, to_ms: i64::MAX, order };
        keeper.engine().history().points(device, key, span, &mut visit).unwrap();
        points
    };
    let (points, mut backwards) = (read(Order::OldestFirst), read(Order::NewestFirst));
    backwards.reverse();
    assert_eq!(points, backwards);
    points
}

fn same(times: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    times.map(|at_ms| (at_ms, at_ms)).collect()
}

#[test]
fn what_is_often_said_together_is_one_record_of_history_and_one_of_latest_values() {
    let (mut keeper, _) = opened(MemoryEngine::default());
    write(&mut keeper, vec![device(ONE)]);
    for at_ms in 0..7 {
        write(&mut keeper, vec![message(ONE, at_ms, &["t", "u", "v"], at_ms)]);
    }
    let before = keeper.engine().records_about();
    assert_eq!(before, BESIDES + 3 + 7 * 3, "what is said for the first times stands alone");
    for at_ms in 7..107 {
        write(&mut keeper, vec![message(ONE, at_ms, &["t", "u", "v"], at_ms)]);
    }
    assert_eq!(keeper.engine().records_about(), before + 1 + 100);
    let (keeper, latest) = opened(keeper.into_engine());
    for key in ["t", "u", "v"] {
        assert_eq!(points(&keeper, ONE, key), same(0..107));
        assert_eq!(latest[key], (106, Value::Long(106)));
    }
    assert_eq!(points(&keeper, ONE, "w"), []);
}

#[test]
fn a_point_that_is_written_again_alone_or_with_others_is_what_was_written_last() {
    let sets: [&[&'static str]; 4] = [&["t"], &["t", "u"], &["t", "v"], &["u", "t"]];
    let (mut keeper, _) = opened(MemoryEngine::default());
    keeper.clear_slowly();
    let mut changes = vec![device(ONE)];
    let mut number = 0;
    for first in sets {
        for last in sets {
            number += 1;
            changes.push(message(ONE, number, first, -number));
            changes.push(message(ONE, number, last, number));
        }
    }
    write(&mut keeper, changes);
    assert_eq!(points(&keeper, ONE, "t"), same(1..17));
    // Late is what the hub has a newer value of; a restart does not make the next write an older one.
    let (mut keeper, latest) = opened(keeper.into_engine());
    assert_eq!(latest["t"], (16, Value::Long(16)));
    let Change::Telemetry { samples, .. } = message(ONE, 3, &["t"], 33) else { panic!() };
    write(&mut keeper, vec![Change::Late { device: ONE, samples }]);
    assert_eq!(points(&keeper, ONE, "t")[2], (3, 33));
}

#[test]
fn records_of_a_version_without_rows_are_read_and_what_is_written_now_counts_more() {
    let (mut key, mut batch) = (Vec::new(), Batch::default());
    for at_ms in [1, 2] {
        Series::new(ONE, "t").encode_point(at_ms, &mut key);
        batch.put(&key, |out| encode_point("t", 0, &Value::Long(-at_ms), out));
    }
    for name in ["t", "u"] {
        DeviceKey::Latest(ONE, name).encode(&mut key);
        batch.put(&key, |out| encode_fact(name, 0, 2, &Value::Long(-2), out));
    }
    assert_eq!(batch.iter().filter(|op| matches!(op, crate::Op::Put { value: [1, ..], .. })).count(), 4);
    let (mut keeper, _) = opened(MemoryEngine::default());
    write(&mut keeper, vec![device(ONE)]);
    let mut engine = keeper.into_engine();
    engine.commit(&batch).unwrap();
    engine.sync().unwrap();
    let (mut keeper, _) = opened(engine);
    keeper.clear_slowly();
    write(&mut keeper, vec![message(ONE, 2, &["t", "v"], 2), message(ONE, 3, &["t", "v"], 3)]);
    assert_eq!(points(&keeper, ONE, "t"), [(1, -1), (2, 2), (3, 3)]);
    let (_, latest) = opened(keeper.into_engine());
    assert_eq!((&latest["t"], &latest["u"]), (&(3, Value::Long(3)), &(2, Value::Long(-2))));
}

#[test]
fn a_key_is_taken_out_of_rows_a_few_at_a_time_and_the_others_stay() {
    let (mut keeper, _) = opened(MemoryEngine::default());
    write(&mut keeper, vec![device(ONE)]);
    write(&mut keeper, (0..9_000).map(|at_ms| message(ONE, at_ms, &["t", "u"], at_ms)).collect());
    let before = keeper.engine().records_about();
    let gone = |key: &str| Change::HistoryGone { device: ONE, key: key.into(), from_ms: 10, to_ms: 8_000 };
    accept(
        &mut keeper,
        vec![gone("t"), message(ONE, 4_000, &["t", "u"], 1), message(ONE, 4_001, &["t"], 4_001)],
    );
    let expected: Vec<(i64, i64)> =
        same(0..10).into_iter().chain([(4_000, 1), (4_001, 4_001)]).chain(same(8_000..9_000)).collect();
    let mut flushes = 0;
    while !keeper.is_idle() {
        assert!(keeper.flush().unwrap().writes <= 2_010);
        assert_eq!(points(&keeper, ONE, "t"), expected);
        assert_eq!(points(&keeper, ONE, "u").len(), 9_000);
        flushes += 1;
    }
    assert!(flushes > 3, "{flushes} flushes changed eight thousand rows");
    let (mut keeper, _) = opened(keeper.into_engine());
    assert_eq!(points(&keeper, ONE, "t"), expected);
    // When the last value of a row goes, so does the row.
    accept(&mut keeper, vec![gone("u")]);
    while !keeper.is_idle() {
        keeper.flush().unwrap();
    }
    assert_eq!(points(&keeper, ONE, "u").len(), 1_010);
    assert_eq!(keeper.engine().records_about(), before - 7_990 + 3, "4,000, and 4,001 alone and in its row");
}

#[test]
fn a_latest_value_that_is_gone_does_not_come_back_from_a_row() {
    let (mut keeper, _) = opened(MemoryEngine::default());
    keeper.clear_slowly();
    write(&mut keeper, vec![device(ONE), message(ONE, 1, &["t", "u"], 1), message(ONE, 2, &["t", "v"], 2)]);
    accept(&mut keeper, vec![message(ONE, 3, &["t", "w"], 3), message(ONE, 3, &["t"], 3)]);
    write(&mut keeper, vec![Change::LatestGone { device: ONE, key: "t".into() }]);
    let (_, latest) = opened(keeper.into_engine());
    assert_eq!(latest.keys().collect::<Vec<_>>(), ["u", "v", "w"]);
}

#[test]
fn a_round_of_expiry_looks_at_little_at_a_time_and_leaves_nothing_out() {
    const DEVICES: u8 = 40;
    let ids = || (1..=DEVICES).map(|number| DeviceId::from_bytes([number; 16]));
    let (mut keeper, _) = opened(MemoryEngine::default());
    let profile = Profile { retention_ms: Some(1_000), ..Profile::named(PROFILE, TENANT, "brief") };
    write(&mut keeper, vec![Change::Profile(Box::new(profile))]);
    let mut changes: Vec<Change> = ids().map(device).collect();
    for id in ids() {
        // Rows and single points, old and young.
        changes.extend((3_990..4_010).map(|at_ms| message(id, at_ms, &["t", "u"], at_ms)));
        changes.extend([3_999, 4_000].map(|at_ms| message(id, at_ms, &["v"], at_ms)));
        changes.push(message(id, 4_500, &["w"], 4_500));
    }
    write(&mut keeper, changes);
    keeper.look_slowly(7, 5);
    let (mut slices, mut expired) = (0, 0);
    loop {
        keeper.expire(5_000);
        assert!(keeper.is_expiring());
        let flushed = keeper.flush().unwrap();
        // At most five series, of which the longest has ten points or rows that are too old.
        assert!(flushed.writes <= 50, "{flushed:?}");
        expired += flushed.expired;
        slices += 1;
        assert!(!keeper.is_expiring());
        if keeper.is_between_rounds() {
            break;
        }
        assert!(slices < 1_000, "the round goes on for ever");
    }
    // Each device has at least a set of rows and the keys v and w.
    assert!(5 * slices >= 3 * usize::from(DEVICES), "{slices} slices of five looks");
    assert_eq!(expired, usize::from(DEVICES) * 21);
    for id in ids() {
        assert_eq!(points(&keeper, id, "t"), same(4_000..4_010));
        assert_eq!(points(&keeper, id, "u"), same(4_000..4_010));
        assert_eq!(points(&keeper, id, "v"), same(4_000..4_001));
        assert_eq!(points(&keeper, id, "w"), same(4_500..4_501));
    }
}
