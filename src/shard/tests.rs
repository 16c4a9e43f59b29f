//! A shard by itself: the façade as its drivers see it. Protocol rules are shown by talk files.

use std::net::SocketAddr;
use std::sync::Arc;

use broker::{Change, CoreId, Fetched, Limits, StoreHealth};
use stdx::{Instant, Span, WallMs};

use crate::{Accepted, Arrival, ConnId, ListenerId, Settings, Setup, Shard};

mod leaps;
mod quota;

const CONNECT_A: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
const CONNECT_B: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01b";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const SUBSCRIBE_T: &[u8] = b"\x82\x06\x00\x01\x00\x01t\x00";
const SUBACK: &[u8] = b"\x90\x03\x00\x01\x00";
const PUBLISH_T: &[u8] = b"\x30\x05\x00\x01thi";

fn shard(core: u16, cores: u16, limits: Limits) -> Shard {
    let settings = Arc::new(Settings { limits, sys_interval_s: 0, ..Settings::default() });
    let setup = Setup { core: CoreId::new(core), cores, seed: 1, settings, wall: WallMs(0) };
    Shard::new(setup, Instant::START)
}

fn accept(shard: &mut Shard) -> ConnId {
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    shard.handle_accepted(Instant::START, Accepted { listener: ListenerId(0), peer }).unwrap()
}

fn out(shard: &mut Shard, conn: ConnId) -> Vec<u8> {
    shard.end_turn(Instant::START);
    let is_dirty = shard.effects().dirty.contains(&conn);
    shard.effects().dirty.retain(|other| *other != conn);
    let out = shard.take_out(conn, Vec::new());
    assert_eq!(is_dirty, !out.is_empty(), "dirty says whether there are bytes");
    shard.handle_sent(Instant::START, conn, out.len());
    out
}

#[test]
fn a_message_reaches_a_subscriber_of_the_same_core() {
    let mut shard = shard(0, 1, Limits::default());
    let (a, b) = (accept(&mut shard), accept(&mut shard));
    shard.handle_bytes(Instant::START, a, &[CONNECT_A, SUBSCRIBE_T].concat());
    assert_eq!(out(&mut shard, a), [CONNACK, SUBACK].concat());
    assert_eq!(shard.effects().adopted, [a]);
    for byte in [CONNECT_B, PUBLISH_T].concat() {
        shard.handle_bytes(Instant::START, b, &[byte]);
    }
    assert_eq!(out(&mut shard, b), CONNACK);
    assert_eq!(out(&mut shard, a), PUBLISH_T);
}

#[test]
fn a_connection_moves_home_with_its_unread_bytes_and_its_suback_waits_for_the_other_core() {
    let mut shards = [shard(0, 2, Limits::default()), shard(1, 2, Limits::default())];
    let home = CoreId::home_of(b"a", 2).index();
    let away = 1 - home;
    let conn = accept(&mut shards[away]);
    shards[away].handle_bytes(Instant::START, conn, &[CONNECT_A, SUBSCRIBE_T, PUBLISH_T].concat());
    shards[away].end_turn(Instant::START);
    let moved = shards[away].effects().moved.pop().expect("the client belongs to the other core");
    assert_eq!((moved.conn, moved.to.index(), shards[away].connections()), (conn, home, 0));

    let Arrival { .. } = *moved.arrival;
    let conn = shards[home].handle_arrival(Instant::START, *moved.arrival).unwrap();
    assert_eq!(out(&mut shards[home], conn), CONNACK, "the SUBACK waits, and the PUBLISH behind it too");
    let (to, batch) = shards[home].effects().batches.pop().expect("the other core must be told");
    assert_eq!(to.index(), away);
    shards[away].handle_batch(Instant::START, CoreId::new(home as u16), batch);
    shards[away].end_turn(Instant::START);
    let (_, batch) = shards[away].effects().batches.pop().expect("the other core must confirm");
    shards[home].handle_batch(Instant::START, CoreId::new(away as u16), batch);
    assert_eq!(out(&mut shards[home], conn), [SUBACK, PUBLISH_T].concat());
}

#[test]
fn a_connection_that_sends_no_connect_is_closed_without_a_byte() {
    let mut shard = shard(0, 1, Limits { connect_timeout_s: 3, ..Limits::default() });
    let conn = accept(&mut shard);
    let deadline = shard.next_deadline().expect("the lobby has a deadline");
    shard.handle_timers(deadline.max(Instant::START + Span::from_ms(3_020)));
    shard.end_turn(deadline);
    let closing = shard.effects().closing.pop().expect("the time is up");
    assert_eq!((closing.conn, closing.last.len(), shard.counters().connect_timeouts), (conn, 0, 1));
}

#[test]
fn a_connection_above_the_limit_is_refused() {
    let mut shard = shard(0, 1, Limits { connections_max: 1, ..Limits::default() });
    accept(&mut shard);
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    assert!(shard.handle_accepted(Instant::START, Accepted { listener: ListenerId(0), peer }).is_err());
}

#[test]
fn a_subscribe_whose_answer_the_client_could_not_take_ends_the_connection_without_effect() {
    let mut shard = shard(0, 1, Limits::default());
    let conn = accept(&mut shard);
    let connect = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x28\x00\x01a";
    shard.handle_bytes(Instant::START, conn, connect);
    assert_eq!(out(&mut shard, conn)[0], 0x20);
    let filters = b"\x00\x01t\x00".repeat(40);
    shard.handle_bytes(Instant::START, conn, &[&b"\x82\xa3\x01\x00\x01\x00"[..], &filters].concat());
    shard.end_turn(Instant::START);
    let closing = shard.effects().closing.pop().expect("the connection ends");
    assert_eq!(
        (&closing.last[..1], closing.last[2], shard.counters().subscriptions),
        (&b"\xe0"[..], 0x95, 0)
    );
}

const CONNECT_LASTING: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a";
const SUBSCRIBE_T_QOS1: &[u8] = b"\x82\x06\x00\x01\x00\x01t\x01";
const CONNECT_B_V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01b";
const PUBLISH_T_QOS1: &[u8] = b"\x32\x06\x00\x01t\x00\x07x";
const PUBLISH_T_QOS1_V5: &[u8] = b"\x32\x07\x00\x01t\x00\x07\x00x";
const PUBACK: &[u8] = b"\x40\x02\x00\x07";

fn keeping_shard() -> Shard {
    let settings = Arc::new(Settings { journal_is_on: true, sys_interval_s: 0, ..Settings::default() });
    let setup = Setup { core: CoreId::new(0), cores: 1, seed: 1, settings, wall: WallMs(0) };
    Shard::new(setup, Instant::START)
}

/// Says that everything written until now is synced.
fn sync(shard: &mut Shard) {
    let turn = shard.effects().written.take().expect("something was written").turn;
    shard.handle_durable(Instant::START, turn);
}

/// A lasting session of `a` that is subscribed and away.
fn keep_session(shard: &mut Shard) {
    let a = accept(shard);
    shard.handle_bytes(Instant::START, a, &[CONNECT_LASTING, SUBSCRIBE_T_QOS1].concat());
    assert!(out(shard, a).is_empty(), "CONNACK and SUBACK wait for the disk");
    sync(shard);
    assert_eq!(out(shard, a), [CONNACK, b"\x90\x03\x00\x01\x01"].concat());
    shard.handle_gone(Instant::START, a);
    shard.end_turn(Instant::START);
    sync(shard);
}

#[test]
fn an_acknowledgement_and_all_behind_it_wait_until_the_message_is_on_disk() {
    let mut shard = keeping_shard();
    keep_session(&mut shard);
    let b = accept(&mut shard);
    shard.handle_bytes(Instant::START, b, CONNECT_B);
    assert_eq!(out(&mut shard, b), CONNACK, "nothing is kept of a clean session");
    shard.handle_bytes(Instant::START, b, &[b"\xc0\x00", PUBLISH_T_QOS1, b"\xc0\x00"].concat());
    assert_eq!(out(&mut shard, b), b"\xd0\x00", "the first PINGRESP depends on nothing");
    assert!(shard.effects().written.as_ref().is_some_and(|written| written.is_urgent));
    sync(&mut shard);
    assert_eq!(out(&mut shard, b), [PUBACK, b"\xd0\x00"].concat());
    shard.handle_bytes(Instant::START, b, b"\x32\x06\x00\x01u\x00\x08x");
    assert_eq!(out(&mut shard, b), b"\x40\x02\x00\x08", "nobody keeps it");
}

#[test]
fn an_acknowledgement_that_must_not_leave_yet_does_not_leave_with_a_closing_connection() {
    let mut shard = keeping_shard();
    keep_session(&mut shard);
    let b = accept(&mut shard);
    shard.handle_bytes(Instant::START, b, CONNECT_B);
    out(&mut shard, b);
    shard.handle_bytes(Instant::START, b, &[PUBLISH_T_QOS1, b"\xe0\x00"].concat());
    shard.end_turn(Instant::START);
    let closing = shard.effects().closing.pop().expect("it has left");
    assert!(closing.last.is_empty());
}

#[test]
fn a_full_disk_refuses_what_must_be_kept_and_nothing_else() {
    let mut shard = keeping_shard();
    keep_session(&mut shard);
    let (b, v5) = (accept(&mut shard), accept(&mut shard));
    shard.handle_bytes(Instant::START, b, CONNECT_B);
    out(&mut shard, b);
    shard.handle_bytes(
        Instant::START,
        v5,
        &CONNECT_B_V5.iter().map(|byte| if *byte == b'b' { b'c' } else { *byte }).collect::<Vec<u8>>(),
    );
    out(&mut shard, v5);
    shard.handle_store_health(Instant::START, StoreHealth::Full);
    shard.handle_bytes(
        Instant::START,
        b,
        &[PUBLISH_T_QOS1, PUBLISH_T, b"\x32\x06\x00\x01u\x00\x08x"].concat(),
    );
    assert_eq!(out(&mut shard, b), b"\x40\x02\x00\x08", "only what nobody keeps is acknowledged");
    shard.handle_bytes(Instant::START, v5, PUBLISH_T_QOS1_V5);
    assert_eq!(out(&mut shard, v5), b"\x40\x03\x00\x07\x97");
    assert_eq!((shard.counters().dropped_store_full, shard.counters().queued_messages), (2, 0));
    shard.handle_store_health(Instant::START, StoreHealth::Good);
    shard.handle_bytes(Instant::START, b, PUBLISH_T_QOS1);
    assert!(out(&mut shard, b).is_empty());
    sync(&mut shard);
    assert_eq!(out(&mut shard, b), PUBACK);
}

#[test]
fn a_queue_in_the_store_is_read_back_in_order_when_its_client_comes() {
    let limits = Limits { queue_memory_messages: 1, ..Limits::default() };
    let settings = Settings { journal_is_on: true, sys_interval_s: 0, limits, ..Settings::default() };
    let setup =
        Setup { core: CoreId::new(0), cores: 1, seed: 1, settings: Arc::new(settings), wall: WallMs(0) };
    let mut shard = Shard::new(setup, Instant::START);
    keep_session(&mut shard);
    let b = accept(&mut shard);
    shard.handle_bytes(
        Instant::START,
        b,
        &[CONNECT_B, PUBLISH_T_QOS1, PUBLISH_T_QOS1, PUBLISH_T_QOS1].concat(),
    );
    shard.end_turn(Instant::START);
    assert_eq!((shard.counters().queued_messages, shard.counters().spilled_messages), (3, 2));
    let written = shard.effects().written.take().unwrap();
    let kept: Vec<_> = written
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Queued { seq, copy, .. } => Some((*seq, copy.clone())),
            _other_changes => None,
        })
        .collect();
    shard.handle_durable(Instant::START, written.turn);
    let a = accept(&mut shard);
    shard.handle_bytes(Instant::START, a, CONNECT_LASTING);
    shard.end_turn(Instant::START);
    let fetch = shard.effects().fetches.pop().expect("more is wanted");
    assert!(kept[0].0 < fetch.from_seq && fetch.from_seq <= kept[1].0 && fetch.messages_max == 1);
    sync(&mut shard);
    let messages = kept[1..2].to_vec();
    shard.handle_fetched(
        Instant::START,
        Fetched { client_id: fetch.client_id, serial: fetch.serial, messages },
    );
    shard.end_turn(Instant::START);
    assert_eq!((shard.counters().inflight_messages, shard.counters().spilled_messages), (2, 1));
    assert_eq!(shard.effects().fetches.len(), 1, "and the rest");
}
