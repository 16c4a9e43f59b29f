//! Rates of publishing and of takeovers, in virtual time.
//!
//! Invariants:
//! - Time moves only where a test says so; a timer may be a tick of 16 ms late.

use broker::Limits;
use stdx::{Instant, Span};

use super::{
    CONNACK, CONNECT_A, CONNECT_B, CONNECT_B_V5, CONNECT_LASTING, SUBACK, SUBSCRIBE_T, accept, shard,
};
use crate::{ConnId, Pace, Shard};

const START: Instant = Instant::START;
const PUBACK: [u8; 2] = [0x40, 2];

fn metered(publish_rate: &str, publish_bytes_rate: &str) -> Shard {
    let rates = |text: &str| text.parse().unwrap();
    let (publish_rate, publish_bytes_rate) = (rates(publish_rate), rates(publish_bytes_rate));
    shard(0, 1, Limits { publish_rate, publish_bytes_rate, ..Limits::default() })
}

/// PUBLISH of QoS 1 to topic `t` with ids from 1.
fn publishes(count: u8) -> Vec<u8> {
    (1..=count).flat_map(|id| [0x32, 6, 0, 1, b't', 0, id, b'x']).collect()
}

/// What a connection is sent by the end of this turn.
fn out(shard: &mut Shard, now: Instant, conn: ConnId) -> Vec<u8> {
    shard.end_turn(now);
    shard.effects().dirty.clear();
    let out = shard.take_out(conn, Vec::new());
    shard.handle_sent(now, conn, out.len());
    out
}

fn acks(out: &[u8]) -> usize {
    out.chunks(4).filter(|ack| ack.starts_with(&PUBACK)).count()
}

fn connected(shard: &mut Shard, connect: &[u8]) -> ConnId {
    let conn = accept(shard);
    shard.handle_bytes(START, conn, connect);
    assert_eq!(out(shard, START, conn)[0], CONNACK[0]);
    conn
}

/// Fires timers until `span` has passed; the answers to `conn` meanwhile.
fn wait(shard: &mut Shard, from: Instant, span: Span, conn: ConnId) -> Vec<u8> {
    let mut heard = Vec::new();
    while let Some(next) = shard.next_deadline().filter(|next| *next <= from + span) {
        let now = next.max(from);
        shard.handle_timers(now);
        heard.extend(out(shard, now, conn));
    }
    heard
}

#[test]
fn a_client_that_publishes_more_than_it_may_is_left_unread_for_a_while_and_nothing_is_lost() {
    let mut shard = metered("3:1", "");
    let (a, b) = (connected(&mut shard, CONNECT_A), connected(&mut shard, CONNECT_B));
    shard.handle_bytes(START, a, SUBSCRIBE_T);
    assert_eq!(out(&mut shard, START, a), SUBACK);
    shard.handle_bytes(START, b, &[&publishes(10), &b"\xc0\x00"[..]].concat());
    assert_eq!(acks(&out(&mut shard, START, b)), 3);
    assert_eq!(shard.effects().paces, [(b, Pace::Pause)]);
    let counters = shard.counters();
    assert_eq!((counters.publish_received, counters.publish_rate_waits, counters.clients_waiting), (3, 1, 1));

    let heard = wait(&mut shard, START, Span::from_ms(1_010), b);
    assert_eq!(acks(&heard), 3, "three a second");
    let heard = wait(&mut shard, START, Span::from_ms(2_700), b);
    assert_eq!((acks(&heard), &heard[heard.len() - 2..]), (4, &b"\xd0\x00"[..]));
    assert_eq!(
        shard.effects().paces,
        [(b, Pace::Pause), (b, Pace::Go)],
        "told when it changes, and only then"
    );
    assert_eq!(shard.counters().clients_waiting, 0);
    assert_eq!(out(&mut shard, START, a), b"\x30\x04\x00\x01tx".repeat(10), "all have arrived");
    assert!(shard.effects().notices.iter().filter(|notice| notice.text.contains("unread")).count() == 1);
}

#[test]
fn bytes_are_counted_too_and_a_large_packet_is_paid_for_behind_it() {
    let mut shard = metered("", "100:1");
    let b = connected(&mut shard, CONNECT_B);
    let mut large = b"\x32\xc6\x01\x00\x01t\x00\x01".to_vec();
    large.extend([b'x'; 193]);
    assert_eq!(large.len(), 201);
    shard.handle_bytes(START, b, &[&large, &b"\xc0\x00"[..]].concat());
    assert_eq!(out(&mut shard, START, b), [0x40, 2, 0, 1]);
    assert_eq!((shard.counters().publish_bytes_rate_waits, shard.counters().publish_rate_waits), (1, 0));
    assert!(wait(&mut shard, START, Span::from_ms(1_000), b).is_empty());
    assert_eq!(wait(&mut shard, START, Span::from_ms(1_100), b), b"\xd0\x00");
}

#[test]
fn a_client_that_is_left_unread_is_not_taken_for_silent_or_for_a_flood() {
    let mut shard = metered("1:60", "");
    // Keep alive of one second.
    let b = connected(&mut shard, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x01\x00\x01b");
    shard.handle_bytes(START, b, &publishes(2));
    assert_eq!(acks(&out(&mut shard, START, b)), 1);
    let heard = wait(&mut shard, START, Span::from_s(61), b);
    assert_eq!((acks(&heard), shard.connections()), (1, 1));
    wait(&mut shard, START, Span::from_s(119), b);
    assert_eq!(shard.connections(), 1, "the second must be paid for as well");
    wait(&mut shard, START, Span::from_s(123), b);
    assert_eq!((shard.connections(), shard.counters().keep_alive_timeouts), (0, 1));
    assert_eq!(shard.counters().clients_waiting, 0);
}

#[test]
fn who_comes_back_does_not_come_back_with_more() {
    for connect in [CONNECT_B, CONNECT_LASTING] {
        let mut shard = metered("3:60", "");
        let first = connected(&mut shard, connect);
        shard.handle_bytes(START, first, &publishes(5));
        assert_eq!(acks(&out(&mut shard, START, first)), 3);
        shard.handle_gone(START, first);
        assert_eq!(shard.counters().clients_waiting, 0);
        let second = connected(&mut shard, connect);
        shard.handle_bytes(START, second, &publishes(5));
        assert_eq!(acks(&out(&mut shard, START, second)), 0);
        assert_eq!(shard.effects().paces.last(), Some(&(second, Pace::Pause)));
        assert_eq!(acks(&wait(&mut shard, START, Span::from_ms(20_100), second)), 1);
    }
}

#[test]
fn nobody_is_metered_where_nothing_is_limited() {
    let mut shard = shard(0, 1, Limits::default());
    let b = connected(&mut shard, CONNECT_B);
    shard.handle_bytes(START, b, &publishes(250));
    assert_eq!(acks(&out(&mut shard, START, b)), 250);
    assert!(shard.effects().paces.is_empty() && !shard.is_metered());
}

#[test]
fn two_clients_that_fight_for_one_client_id_are_slowed_and_one_of_them_stays() {
    let mut shard = shard(0, 1, Limits { takeovers_per_minute_max: 2, ..Limits::default() });
    let mut holder = connected(&mut shard, CONNECT_B);
    let mut admitted = 0;
    for second in 0..120 {
        let now = START + Span::from_s(second);
        let newcomer = accept(&mut shard);
        let connect = if second % 2 == 0 { CONNECT_B_V5 } else { CONNECT_B };
        shard.handle_bytes(now, newcomer, connect);
        let answer = out(&mut shard, now, newcomer);
        let closing = std::mem::take(&mut shard.effects().closing);
        let [closing] = closing.as_slice() else { panic!("one of the two has to go") };
        if closing.conn == newcomer {
            let code = if second % 2 == 0 { 0x9f } else { 3 };
            assert_eq!((closing.last[0], closing.last[3]), (0x20, code));
        } else {
            assert_eq!((closing.conn, answer[3]), (holder, 0));
            holder = newcomer;
            admitted += 1;
        }
        assert_eq!(shard.connections(), 1);
    }
    assert_eq!(admitted, 2 + 3, "two at once, and one each thirty seconds: at 30, 60 and 90");
    let counters = shard.counters();
    assert_eq!((counters.takeovers, counters.takeovers_refused), (5, 115));
    shard.handle_gone(START + Span::from_s(120), holder);
    let newcomer = accept(&mut shard);
    shard.handle_bytes(START + Span::from_s(120), newcomer, CONNECT_B);
    assert_eq!(
        out(&mut shard, START + Span::from_s(120), newcomer),
        CONNACK,
        "nobody is there to be taken over"
    );
}
