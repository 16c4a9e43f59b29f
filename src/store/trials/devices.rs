//! Whatever moment the power fails at: what was reported of devices as durable is there, and nothing that is gone.
//!
//! Why deletions are slow here: what is removed by and by must be gone from the first moment on, at every step of it.
//!
//! Invariants:
//! - After a crash the state is that of the last flush that succeeded, or that of the flush during which the power failed.

use std::ops::ControlFlow;
use std::sync::Arc;

use broker::{CoreId, Written};
use device::{
    Algorithm, Change, Content, Credential, Device, DeviceId, Keeping, Package, PackageId, PackageKind,
    Profile, ProfileId, Role, Sample, Scope, TenantId, Value,
};
use stdx::{Instant, WallMs};

use super::fleet::{DEVICES, Fleet, Yard};
use super::mutant::{Mutant, Mutation};
use crate::{Anchor, Engine, FjallEngine, Heads, History, Keeper, MemoryEngine, Order, Span};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_000_000_000_000) };
const TENANT: TenantId = TenantId::from_bytes([1; 16]);

fn recovered<E: Engine>(keeper: &mut Keeper<E>) -> Vec<Change> {
    let mut changes = Vec::new();
    keeper
        .recover(Heads::ALL, &mut drop, &mut |change| changes.push(change), &mut |_| {})
        .expect("everything can be read");
    let registry = changes.iter().take_while(|change| change.is_of_registry()).count();
    assert!(changes[registry..].iter().all(|change| !change.is_of_registry()), "the registry comes first");
    changes
}

fn accept<E: Engine>(keeper: &mut Keeper<E>, turn: u64, changes: Vec<Change>) {
    keeper.accept(CoreId::new(0), Written { turn, changes: Vec::new(), is_urgent: true }, changes);
}

/// One life between two crashes.
struct Life {
    turns: u64,
    crash_at: Option<u64>,
    luck: usize,
}

fn live(seed: u64, mutation: Mutation, lives: &[Life]) -> Result<u64, String> {
    let mut yard = Yard::new(seed);
    let mut engine = Mutant::new(mutation);
    let mut steps = 0;
    for life in lives {
        let (durable, tried);
        (durable, tried, engine) = spend(&mut yard, engine, life)?;
        steps = engine.engine.steps();
        engine.engine.restart(life.luck);
        let mut keeper = Keeper::new(engine, ANCHOR);
        let history = keeper.engine().engine.history();
        let found = Fleet::of(&recovered(&mut keeper), &history, &tried)?;
        if found != durable && found != tried {
            return Err(format!(
                "seed {seed}: found {found:#?}, durable was {durable:#?}, tried was {tried:#?}"
            ));
        }
        yard.restart(found);
        engine = keeper.into_engine();
    }
    Ok(steps)
}

fn spend(yard: &mut Yard, engine: Mutant, life: &Life) -> Result<(Fleet, Fleet, Mutant), String> {
    let mut keeper = Keeper::new(engine, ANCHOR);
    keeper.clear_slowly();
    let history = keeper.engine().engine.history();
    let found = Fleet::of(&recovered(&mut keeper), &history, &yard.fleet)?;
    if found != yard.fleet {
        return Err(format!("found {found:#?}, expected {:#?}", yard.fleet));
    }
    if let Some(steps) = life.crash_at {
        keeper.engine_mut().engine.fail_after(steps);
    }
    let mut durable = yard.fleet.clone();
    for turn in 0..life.turns {
        let count = yard.prng.next_u64() % 5;
        let changes = (0..count).map(|_| yard.change()).collect();
        if yard.prng.next_u64().is_multiple_of(3) {
            keeper.keep(turn, changes);
        } else {
            accept(&mut keeper, turn, changes);
        }
        if yard.prng.next_u64().is_multiple_of(2) {
            let tried = yard.fleet.clone();
            match keeper.flush() {
                Ok(flushed) => {
                    assert!(flushed.ticket == Some(turn) || flushed.turns == [(CoreId::new(0), turn)]);
                    durable = tried;
                }
                Err(_power_failed) => return Ok((durable, tried, keeper.into_engine())),
            }
        }
    }
    Ok((durable.clone(), durable, keeper.into_engine()))
}

fn quiet() -> Life {
    Life { turns: 40, crash_at: None, luck: 0 }
}

fn crash_everywhere(seed: u64, mutation: Mutation) -> Result<(), String> {
    let steps = live(seed, Mutation::None, &[quiet()])?;
    for crash_at in 0..steps {
        let luck = usize::try_from(crash_at % 2).unwrap();
        let crash = Life { turns: 40, crash_at: Some(crash_at), luck };
        let again = Life { turns: 20, crash_at: Some(crash_at / 2), luck };
        live(seed, mutation, &[crash, again, quiet()])?;
    }
    Ok(())
}

#[test]
fn no_crash_takes_anything_of_devices_and_nothing_gone_comes_back() {
    for seed in 0..30 {
        crash_everywhere(seed, Mutation::None).unwrap_or_else(|loss| panic!("{loss}"));
    }
}

#[test]
fn every_engine_that_loses_something_of_devices_is_found_out() {
    for mutation in
        [Mutation::SkipsSync, Mutation::SyncsTooEarly, Mutation::TearsBatches, Mutation::ForgetsRemovals]
    {
        let is_found = (0..30).any(|seed| crash_everywhere(seed, mutation).is_err());
        assert!(is_found, "{mutation:?} was not noticed");
    }
}

fn device(id: DeviceId, profile: ProfileId) -> Change {
    Change::Device(Box::new(Device {
        id,
        tenant: TENANT,
        profile,
        customer: None,
        role: Role::Ordinary,
        created_ms: 1,
        name: id.to_string().into(),
        credential: Credential::Token("secret token".into()),
        rare: None,
    }))
}

fn telemetry(id: DeviceId, key: &'static str, times: std::ops::Range<i64>) -> Change {
    let sample = |at_ms| Sample { key: key.into(), value: Value::Long(at_ms), at_ms };
    Change::Telemetry { device: id, samples: times.map(sample).collect(), keeping: Keeping::History }
}

fn begun() -> Keeper<MemoryEngine> {
    let mut keeper = Keeper::new(MemoryEngine::default(), ANCHOR);
    assert!(recovered(&mut keeper).is_empty());
    keeper
}

fn times(history: &History, id: DeviceId, key: &str) -> Vec<i64> {
    let mut times = Vec::new();
    let span = Span { from_ms: i64::MIN, to_ms: i64::MAX, order: Order::OldestFirst };
    let mut visit = |at_ms: i64, value: Value<'_>| {
        assert_eq!(value, Value::Long(at_ms));
        times.push(at_ms);
        ControlFlow::Continue(())
    };
    history.points(id, key, span, &mut visit).unwrap();
    times
}

/// Flushes until nothing is left to be done; returns how many records each flush removed or wrote, and what had expired.
fn settle<E: Engine>(keeper: &mut Keeper<E>) -> (Vec<usize>, usize) {
    let (mut writes, mut expired) = (Vec::new(), 0);
    while !keeper.is_idle() {
        let flushed = keeper.flush().unwrap();
        writes.push(flushed.writes);
        expired += flushed.expired;
        assert!(writes.len() < 100, "it goes on for ever");
    }
    (writes, expired)
}

#[test]
fn a_deleted_device_leaves_nothing_also_after_a_restart_in_the_middle() {
    let [one, other, ..] = DEVICES;
    let profile = ProfileId::from_bytes([2; 16]);
    let mut keeper = begun();
    let history = keeper.engine().history();
    let mut changes = vec![device(one, profile), device(other, profile), telemetry(other, "t", 0..10)];
    changes.push(telemetry(one, "t", 0..5_000));
    changes.push(telemetry(one, "u", 0..100));
    accept(&mut keeper, 1, changes);
    settle(&mut keeper);
    accept(&mut keeper, 2, vec![Change::DeviceGone(one)]);
    keeper.flush().unwrap();
    assert_eq!(times(&history, one, "t"), [0i64; 0]);
    // What a core said before it knew is dropped.
    accept(&mut keeper, 3, vec![telemetry(one, "t", 7..9)]);
    keeper.flush().unwrap();
    assert!(keeper.engine().records_about() > 1_000, "there is something left to be removed");
    let mut keeper = Keeper::new(keeper.into_engine(), ANCHOR);
    assert_eq!(recovered(&mut keeper).len(), 2);
    let (writes, _) = settle(&mut keeper);
    assert!(writes.len() > 1 && writes.iter().all(|writes| *writes <= 2_001), "{writes:?}");
    // The other one, its latest value and its points, and how far numbers may go.
    assert_eq!(keeper.engine().records_about(), 13);
    assert_eq!(times(&keeper.engine().history(), other, "t"), Vec::from_iter(0..10));
}

#[test]
fn what_belongs_to_no_device_is_not_told_and_removed() {
    let [one, ..] = DEVICES;
    let mut keeper = begun();
    let attribute = Change::Attribute {
        device: one,
        scope: Scope::Client,
        key: "k".into(),
        value: Some(Value::Bool(true)),
        at_ms: 1,
    };
    accept(&mut keeper, 1, vec![attribute, telemetry(one, "t", 0..10)]);
    settle(&mut keeper);
    assert_eq!(keeper.engine().records_about(), 13);
    let mut keeper = Keeper::new(keeper.into_engine(), ANCHOR);
    assert!(recovered(&mut keeper).is_empty());
    settle(&mut keeper);
    // How far numbers may go.
    assert_eq!(keeper.engine().records_about(), 1);
}

#[test]
fn cleared_history_is_not_seen_from_the_first_flush_on_and_what_comes_later_is() {
    let [one, ..] = DEVICES;
    let mut keeper = begun();
    let history = keeper.engine().history();
    let profile = ProfileId::from_bytes([2; 16]);
    accept(&mut keeper, 1, vec![device(one, profile), telemetry(one, "t", 0..9_000)]);
    settle(&mut keeper);
    let gone = Change::HistoryGone { device: one, key: "t".into(), from_ms: 10, to_ms: 8_000 };
    accept(&mut keeper, 2, vec![gone, telemetry(one, "t", 4_000..4_002)]);
    let expected: Vec<i64> = (0..10).chain(4_000..4_002).chain(8_000..9_000).collect();
    let mut flushes = 0;
    while !keeper.is_idle() {
        assert!(keeper.flush().unwrap().writes <= 2_010);
        assert_eq!(times(&history, one, "t"), expected);
        flushes += 1;
    }
    assert!(flushes > 3, "{flushes} flushes removed eight thousand points");
    assert_eq!(keeper.engine().records_about(), 3 + u64::try_from(expected.len()).unwrap());
}

#[test]
fn points_older_than_their_profile_allows_vanish_a_few_at_a_time_and_are_counted() {
    let [one, other, third, _] = DEVICES;
    let (brief, lasting) = (ProfileId::from_bytes([2; 16]), ProfileId::from_bytes([3; 16]));
    let mut keeper = begun();
    let profile = |id, retention_ms| {
        Change::Profile(Box::new(Profile { retention_ms, ..Profile::named(id, TENANT, &format!("{id}")) }))
    };
    assert!(!keeper.can_expire());
    let changes = vec![profile(brief, Some(1_000)), profile(lasting, None)];
    keeper.keep(1, changes);
    let changes = vec![
        device(one, brief),
        device(other, lasting),
        device(third, brief),
        telemetry(one, "t", 0..6_000),
        telemetry(one, "u", 3_999..4_001),
        telemetry(other, "t", 0..10),
        telemetry(third, "v", 0..10),
    ];
    accept(&mut keeper, 1, changes);
    settle(&mut keeper);
    let mut keeper = Keeper::new(keeper.into_engine(), ANCHOR);
    recovered(&mut keeper);
    assert!(keeper.can_expire());
    keeper.expire(5_000);
    let (writes, expired) = settle(&mut keeper);
    assert_eq!((writes, expired), (vec![2_000, 2_000, 11], 4_000 + 1 + 10));
    let history = keeper.engine().history();
    assert_eq!(times(&history, one, "t"), Vec::from_iter(4_000..6_000));
    assert_eq!(times(&history, one, "u"), [4_000]);
    assert_eq!(times(&history, other, "t"), Vec::from_iter(0..10));
    assert_eq!(times(&history, third, "v"), [0i64; 0]);
    keeper.expire(5_000);
    assert_eq!(settle(&mut keeper), (vec![0], 0));
}

#[test]
fn the_bytes_of_a_package_are_written_once_and_come_back_whole() {
    let bytes: Arc<[u8]> = (0..2_500_000u32).map(|index| index.to_le_bytes()[1]).collect();
    let package = |title: &str, content| {
        Change::Package(Arc::new(Package {
            created_ms: 0,
            id: PackageId::from_bytes([7; 16]),
            tenant: TENANT,
            profile: ProfileId::from_bytes([2; 16]),
            kind: PackageKind::Firmware,
            title: title.into(),
            version: "1".into(),
            tag: None,
            content,
            label: device::Label::default(),
        }))
    };
    let here = || Content::upload(bytes.clone(), Algorithm::Crc32, None).unwrap();
    let mut keeper = begun();
    keeper.keep(1, vec![package("a", Content::Missing)]);
    assert_eq!(keeper.flush().unwrap().writes, 1);
    keeper.keep(2, vec![package("a", here())]);
    assert_eq!(keeper.flush().unwrap().writes, 4);
    let mut keeper = Keeper::new(keeper.into_engine(), ANCHOR);
    let changes = recovered(&mut keeper);
    let Change::Package(found) = &changes[0] else { panic!("{changes:?}") };
    assert!(found.content == here());
    keeper.keep(3, vec![package("b", here())]);
    assert_eq!(keeper.flush().unwrap().writes, 1);
    keeper.keep(4, vec![Change::PackageGone(PackageId::from_bytes([7; 16]))]);
    keeper.flush().unwrap();
    assert_eq!(keeper.engine().records_about(), 0);
}

#[test]
fn a_store_with_devices_is_refused_by_versions_that_know_none() {
    let home = tempfile::tempdir().unwrap();
    let format = || std::fs::read_to_string(home.path().join("format")).unwrap();
    let mut keeper = Keeper::new(FjallEngine::open(home.path()).unwrap(), ANCHOR);
    assert!(recovered(&mut keeper).is_empty());
    keeper.accept(CoreId::new(0), Written { turn: 1, changes: Vec::new(), is_urgent: true }, Vec::new());
    keeper.flush().unwrap();
    assert_eq!(format(), "ringmq store 1\n");
    keeper.keep(1, vec![device(DEVICES[1], ProfileId::from_bytes([2; 16]))]);
    keeper.flush().unwrap();
    assert_eq!(format(), "ringmq store 3\n");
    drop(keeper);
    let mut keeper = Keeper::new(FjallEngine::open_existing(home.path()).unwrap(), ANCHOR);
    assert_eq!(recovered(&mut keeper).len(), 1);
}

#[test]
fn history_on_disk_is_read_in_both_directions_while_the_store_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let [one, ..] = DEVICES;
    let mut keeper = Keeper::new(FjallEngine::open(home.path()).unwrap(), ANCHOR);
    recovered(&mut keeper);
    let history = keeper.engine().history();
    accept(&mut keeper, 1, vec![device(one, ProfileId::from_bytes([2; 16])), telemetry(one, "t", -5..500)]);
    keeper.flush().unwrap();
    keeper.engine().write_table();
    accept(&mut keeper, 2, vec![telemetry(one, "t", 500..1_000), telemetry(one, "tt", 0..3)]);
    keeper.flush().unwrap();
    assert_eq!(times(&history, one, "t"), Vec::from_iter(-5..1_000));
    let mut newest = Vec::new();
    let span = Span { from_ms: 0, to_ms: 700, order: Order::NewestFirst };
    let mut visit = |at_ms: i64, _: Value<'_>| {
        newest.push(at_ms);
        if newest.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    history.points(one, "t", span, &mut visit).unwrap();
    assert_eq!(newest, [699, 698, 697]);
    drop(keeper);
    assert!(history.commands(one).is_err(), "a store that is closed is not read");
}
