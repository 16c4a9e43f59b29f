//! A clock that leaps. Time is a value here: a test says what it is, and the shard has no other.
//!
//! Why forwards only matters: the driver's clock is monotonic, so it cannot go back; what a leap forwards looks like is a
//! process that stood still. The wall clock is read once, at a shard's birth.
//!
//! Invariants:
//! - Bytes that had arrived are told before timers are fired, as the driver does it.

use broker::Limits;
use stdx::{Instant, Span};

use super::{CONNACK, accept, out, shard};
use crate::ConnId;

const CONNECT_KEEP_ALIVE_60: [&[u8]; 2] =
    [b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01b"];
const CONNECT_NO_KEEP_ALIVE: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
const PINGREQ: &[u8] = b"\xc0\x00";
const YEAR: Span = Span::from_s(365 * 86_400);

fn ended(shard: &mut crate::Shard, now: Instant) -> Vec<ConnId> {
    shard.handle_timers(now);
    shard.end_turn(now);
    shard.effects().closing.drain(..).map(|closing| closing.conn).collect()
}

#[test]
fn a_leap_of_the_clock_ends_those_who_were_silent_and_nobody_who_had_spoken() {
    for leap in [Span::from_s(91), Span::from_s(3_600), YEAR, Span::from_s(10 * 365 * 86_400)] {
        let mut shard = shard(0, 1, Limits::default());
        let [spoke, silent] = CONNECT_KEEP_ALIVE_60.map(|connect| {
            let conn = accept(&mut shard);
            shard.handle_bytes(Instant::START, conn, connect);
            assert_eq!(out(&mut shard, conn), CONNACK);
            conn
        });
        let quiet = accept(&mut shard);
        shard.handle_bytes(Instant::START, quiet, CONNECT_NO_KEEP_ALIVE);
        assert_eq!(out(&mut shard, quiet), CONNACK);
        let now = Instant::START + leap;
        shard.handle_bytes(now, spoke, PINGREQ);
        assert_eq!(ended(&mut shard, now), [silent], "after {} s", leap.s());
        assert_eq!(shard.connections(), 2);
        assert!(ended(&mut shard, now + Span::from_s(89)).is_empty());
        assert_eq!(ended(&mut shard, now + Span::from_s(91)), [spoke]);
    }
}

#[test]
fn an_instant_before_the_last_one_ends_nobody_and_breaks_nothing() {
    let mut shard = shard(0, 1, Limits::default());
    let late = Instant::START + YEAR;
    let conn = accept(&mut shard);
    shard.handle_bytes(late, conn, CONNECT_KEEP_ALIVE_60[0]);
    assert!(ended(&mut shard, late).is_empty());
    shard.handle_bytes(Instant::START, conn, PINGREQ);
    assert!(ended(&mut shard, Instant::START).is_empty());
    shard.handle_bytes(late, conn, PINGREQ);
    assert!(ended(&mut shard, late).is_empty());
    assert_eq!(shard.connections(), 1);
}
