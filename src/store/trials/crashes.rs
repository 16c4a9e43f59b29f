//! Whatever moment the power fails at: what was reported as durable is there, and nothing in part.
//!
//! Why every step and not random ones: there are few enough of them, and the one that hurts is never the random one.
//!
//! Invariants:
//! - After a crash the state is that of the last flush that succeeded, or that of the flush during which the power failed.

use broker::{Change, CoreId, Fetch, Written};
use mqtt::QoS;
use stdx::{Instant, WallMs};

use super::history::History;
use super::model::{Model, plain};
use super::mutant::{Mutant, Mutation};
use crate::{Anchor, Engine, Heads, Keeper, MemoryEngine};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_000_000_000_000) };

fn recovered(keeper: &mut Keeper<Mutant>, heads: Heads) -> Vec<Change> {
    let mut changes = Vec::new();
    keeper
        .recover(heads, &mut |change| changes.push(change), &mut drop, &mut |_| {})
        .expect("everything can be read");
    changes
}

/// One life between two crashes.
struct Life {
    changes: usize,
    /// The power fails at this step; none: it does not.
    crash_at: Option<u64>,
    luck: usize,
}

/// Lives through a history; says how many steps the engine took, or what was lost.
fn live(seed: u64, mutation: Mutation, lives: &[Life]) -> Result<u64, String> {
    let mut history = History::new(seed);
    let mut engine = Mutant::new(mutation);
    let mut steps = 0;
    for life in lives {
        let mut keeper = Keeper::new(engine, ANCHOR);
        let found = Model::of(&recovered(&mut keeper, Heads::ALL));
        if found != history.model {
            return Err(format!("seed {seed}: found {found:#?}, expected {:#?}", history.model));
        }
        let (durable, tried) = spend(&mut history, &mut keeper, life);
        engine = keeper.into_engine();
        steps = engine.engine.steps();
        engine.engine.restart(life.luck);
        let mut keeper = Keeper::new(engine, ANCHOR);
        let found = Model::of(&recovered(&mut keeper, Heads::ALL));
        if found != durable && found != tried {
            return Err(format!(
                "seed {seed}: found {found:#?}, durable was {durable:#?}, tried was {tried:#?}"
            ));
        }
        history.restart(found);
        engine = keeper.into_engine();
    }
    Ok(steps)
}

/// Makes changes until they are enough or the power fails; what was durable then, and what the last flush tried.
fn spend(history: &mut History, keeper: &mut Keeper<Mutant>, life: &Life) -> (Model, Model) {
    if let Some(steps) = life.crash_at {
        let_fail(keeper, steps);
    }
    let mut durable = history.model.clone();
    for turn in 0..life.changes as u64 {
        let count = history.prng.next_u64() % 4;
        let changes = (0..count).map(|_| history.change()).collect();
        let core = CoreId::new((history.prng.next_u64() % 3) as u16);
        keeper.accept(core, Written { turn, changes, is_urgent: true }, Vec::new());
        if history.prng.next_u64().is_multiple_of(3) {
            let tried = history.model.clone();
            match keeper.flush() {
                Ok(flushed) => {
                    assert!(flushed.turns.iter().any(|(_, reported)| *reported == turn), "{flushed:?}");
                    durable = tried;
                }
                Err(_power_failed) => return (durable, tried),
            }
        }
    }
    (durable.clone(), durable)
}

fn let_fail(keeper: &mut Keeper<Mutant>, steps: u64) {
    keeper.engine_mut().engine.fail_after(steps);
}

fn quiet() -> Life {
    Life { changes: 60, crash_at: None, luck: 0 }
}

/// Crashes at every step of a history, with and without luck, and lives on.
fn crash_everywhere(seed: u64, mutation: Mutation) -> Result<(), String> {
    let steps = live(seed, Mutation::None, &[quiet()])?;
    for crash_at in 0..steps {
        for luck in 0..2 {
            let crash = Life { changes: 60, crash_at: Some(crash_at), luck };
            let again = Life { changes: 30, crash_at: Some(crash_at / 2), luck };
            live(seed, mutation, &[crash, again, quiet()])?;
        }
    }
    Ok(())
}

#[test]
fn no_crash_takes_anything_that_was_reported_as_durable() {
    for seed in 0..60 {
        crash_everywhere(seed, Mutation::None).unwrap_or_else(|loss| panic!("{loss}"));
    }
}

#[test]
fn every_engine_that_loses_something_is_found_out() {
    for mutation in
        [Mutation::SkipsSync, Mutation::SyncsTooEarly, Mutation::TearsBatches, Mutation::ForgetsRemovals]
    {
        let is_found = (0..60).any(|seed| crash_everywhere(seed, mutation).is_err());
        assert!(is_found, "{mutation:?} was not noticed");
    }
}

#[test]
fn what_stays_on_disk_is_summed_up_and_can_be_fetched_in_order() {
    let mut spilled = 0;
    for seed in 0..40 {
        let mut history = History::new(seed);
        let mut keeper = Keeper::new(Mutant::new(Mutation::None), ANCHOR);
        recovered(&mut keeper, Heads::ALL);
        let changes = (0..300).map(|_| history.change()).collect();
        keeper.accept(CoreId::new(0), Written { turn: 1, changes, is_urgent: true }, Vec::new());
        keeper.flush().unwrap();
        let mut keeper = Keeper::new(keeper.into_engine(), ANCHOR);
        let heads = Heads { messages_max: 3, bytes_max: 400 };
        let changes = recovered(&mut keeper, heads);
        let mut model = Model::of(&changes);
        for change in &changes {
            let Change::Spilled { client_id, first_seq, last_seq, messages, bytes } = change else {
                continue;
            };
            spilled += 1;
            let rest = fetch_all(&keeper, client_id, *first_seq);
            assert_eq!(rest.len() as u64, *messages, "seed {seed}");
            assert_eq!((rest[0].0, rest[rest.len() - 1].0), (*first_seq, *last_seq), "seed {seed}");
            let cost: usize = rest.iter().map(|(_, copy)| copy.message.cost_bytes()).sum();
            assert_eq!(cost as u64, *bytes, "seed {seed}");
            let session = model.sessions.get_mut(client_id).unwrap();
            assert!((1..=3).contains(&session.queue.len()), "seed {seed}");
            session.queue.extend(rest.iter().map(|(seq, copy)| (*seq, plain(copy))));
        }
        assert_eq!(model, history.model, "seed {seed}");
    }
    assert!(spilled > 20, "{spilled} spilled queues prove little");
}

fn fetch_all(keeper: &Keeper<Mutant>, client_id: &str, first_seq: u64) -> Vec<(u64, broker::MessageCopy)> {
    let (mut all, mut from_seq) = (Vec::new(), first_seq);
    loop {
        let fetch =
            Fetch { client_id: client_id.into(), serial: 5, from_seq, messages_max: 4, bytes_max: 600 };
        let fetched = keeper.fetch(&fetch).unwrap();
        assert_eq!((&*fetched.client_id, fetched.serial), (client_id, 5));
        let Some((last, _)) = fetched.messages.last() else { return all };
        from_seq = last + 1;
        assert!(fetched.messages.len() <= 4);
        all.extend(fetched.messages);
    }
}

#[test]
fn a_fetch_sees_what_is_not_on_the_disk_yet_and_not_what_was_dropped_since() {
    let mut keeper = Keeper::new(MemoryEngine::default(), ANCHOR);
    keeper.recover(Heads::ALL, &mut |_| {}, &mut drop, &mut |_| {}).unwrap();
    let copy = |payload: u8| broker::MessageCopy {
        message: super::model::message("t", &[payload], Instant::NEVER),
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: None,
    };
    let queued = |seq: u64| Change::Queued { client_id: "c".into(), seq, copy: copy(seq as u8) };
    let dropped = |seq: u64| Change::Dropped { client_id: "c".into(), seq };
    let accept = |keeper: &mut Keeper<MemoryEngine>, changes: Vec<Change>| {
        keeper.accept(CoreId::new(0), Written { turn: 1, changes, is_urgent: false }, Vec::new());
    };
    accept(&mut keeper, vec![queued(10), queued(30), queued(50)]);
    keeper.flush().unwrap();
    accept(&mut keeper, vec![queued(20), dropped(30), queued(40), queued(60)]);
    let fetch = |from_seq, messages_max| Fetch {
        client_id: "c".into(),
        serial: 1,
        from_seq,
        messages_max,
        bytes_max: 9_999,
    };
    let seqs = |fetch: Fetch| -> Vec<u64> {
        keeper.fetch(&fetch).unwrap().messages.iter().map(|(seq, _)| *seq).collect()
    };
    assert_eq!(seqs(fetch(0, 100)), [10, 20, 40, 50, 60]);
    assert_eq!(seqs(fetch(20, 2)), [20, 40]);
    assert_eq!(seqs(fetch(61, 2)), [0; 0]);
    let tiny = Fetch { bytes_max: 0, ..fetch(40, 9) };
    assert_eq!(seqs(tiny), [40]);
}

#[test]
fn without_space_nothing_is_lost_and_nothing_reported() {
    let mut history = History::new(3);
    let mut keeper = Keeper::new(Mutant::new(Mutation::None), ANCHOR);
    recovered(&mut keeper, Heads::ALL);
    keeper.engine_mut().engine.limit_bytes(Some(100));
    let changes = (0..200).map(|_| history.change()).collect();
    keeper.accept(CoreId::new(1), Written { turn: 9, changes, is_urgent: true }, Vec::new());
    assert!(keeper.flush().unwrap_err().is_full());
    assert!(keeper.flush().unwrap_err().is_full());
    keeper.engine_mut().engine.limit_bytes(None);
    assert_eq!(keeper.flush().unwrap().turns, [(CoreId::new(1), 9)]);
    assert_eq!(keeper.flush().unwrap().turns, []);
    let mut keeper = Keeper::new(keeper.into_engine(), ANCHOR);
    assert_eq!(Model::of(&recovered(&mut keeper, Heads::ALL)), history.model);
}

#[test]
fn what_ended_sessions_leave_is_removed_in_the_end_also_after_a_restart() {
    let mut keeper = Keeper::new(Mutant::new(Mutation::None), ANCHOR);
    recovered(&mut keeper, Heads::ALL);
    let copy = broker::MessageCopy {
        message: super::model::message("t", b"x", Instant::NEVER),
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: None,
    };
    let queued = |seq| Change::Queued { client_id: "c".into(), seq, copy: copy.clone() };
    let changes = (1..=5_000).map(queued).collect();
    keeper.accept(CoreId::new(0), Written { turn: 1, changes, is_urgent: true }, Vec::new());
    keeper.flush().unwrap();
    assert_eq!(keeper.engine().engine.records_about(), 5_001);
    let changes = vec![Change::SessionEnded { client_id: "c".into() }];
    keeper.accept(CoreId::new(0), Written { turn: 2, changes, is_urgent: true }, Vec::new());
    keeper.flush().unwrap();
    let mut keeper = Keeper::new(keeper.into_engine(), ANCHOR);
    assert!(recovered(&mut keeper, Heads::ALL).is_empty());
    let mut flushes = 0;
    while !keeper.is_idle() {
        keeper.flush().unwrap();
        flushes += 1;
        assert!(flushes < 10, "it goes on for ever");
    }
    assert_eq!(keeper.engine().engine.records_about(), 0);
}

#[test]
fn a_message_that_is_settled_before_the_flush_is_never_written() {
    let mut keeper = Keeper::new(Mutant::new(Mutation::None), ANCHOR);
    recovered(&mut keeper, Heads::ALL);
    let mut history = History::new(1);
    let session = loop {
        if let change @ Change::Session { .. } = history.change() {
            break change;
        }
    };
    let client_id: std::sync::Arc<str> = session.client_id().unwrap().into();
    keeper.accept(CoreId::new(0), Written { turn: 1, changes: vec![session], is_urgent: true }, Vec::new());
    keeper.flush().unwrap();
    let copy = broker::MessageCopy {
        message: super::model::message("t", b"x", Instant::NEVER),
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: None,
    };
    let packet_id = mqtt::PacketId::new(1).unwrap();
    let changes = vec![
        Change::Sent { client_id: client_id.clone(), seq: 1, packet_id, copy: Some(copy.clone()) },
        Change::Settled { client_id: client_id.clone(), seq: 1, packet_id },
        Change::Queued { client_id: client_id.clone(), seq: 2, copy },
        Change::Sent { client_id: client_id.clone(), seq: 2, packet_id, copy: None },
        Change::Settled { client_id, seq: 2, packet_id },
    ];
    keeper.accept(CoreId::new(0), Written { turn: 2, changes, is_urgent: true }, Vec::new());
    let flushed = keeper.flush().unwrap();
    assert_eq!((flushed.turns, flushed.writes), (vec![(CoreId::new(0), 2)], 0));
}
