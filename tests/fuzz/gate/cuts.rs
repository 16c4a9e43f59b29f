//! Golden packets cut at every byte and bent in every byte, in every state that a connection can be in.
//!
//! Why every byte: a length field is a byte somewhere, and whoever bends all of them by one, to nothing and to the most
//! has bent each length field. What must come of it is said by the decoder alone, asked about the same bytes: a packet
//! that is not whole waits in silence, a broken one ends its connection with exactly its statement's code, and a
//! bystander is served all the while.
//!
//! Invariants:
//! - Nothing is random: the same bytes in the same order each time.

use broker::{CoreId, Limits};
use fuzz::{Bystander, Network, golden};
use mqtt::{Framing, ReasonCode, Version, Violation, decode, decode_connect, frame};
use shard::{Accepted, ListenerId, Settings, Setup, Shard};
use stdx::{Instant, WallMs};

/// Connections that one network serves before the next one begins.
const RUNS_MAX: usize = 100;
/// What a packet may have before and after its CONNECT, by default.
const PRE_AUTH_BYTES_MAX: u32 = 131_072;
const PACKET_BYTES_MAX: u32 = 1_048_576;

const CONNECT_V311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01g";
const CONNECT_V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01g";
const SUBSCRIBE_V311: &[u8] = b"\x82\x06\x00\x63\x00\x01q\x00";
const SUBSCRIBE_V5: &[u8] = b"\x82\x07\x00\x63\x00\x00\x01q\x00";
const DISCONNECT: &[u8] = b"\xe0\x00";

/// Where a connection stands when the bytes come.
#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    /// Its CONNECT was accepted.
    Connected,
    /// Its SUBSCRIBE waits for the other core.
    Held,
    /// It has said goodbye in the same breath.
    Closing,
}

/// What must come of some bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    /// Nothing yet.
    Waits,
    /// The end, with this statement's code.
    Broken(Violation),
    /// The decoder has nothing against them.
    Lawful,
}

/// What has come of them.
#[derive(Clone, PartialEq, Debug)]
struct Outcome {
    received: Vec<u8>,
    is_open: bool,
}

/// A network that is made anew from time to time, so that looking up a socket stays short.
struct Arena {
    network: Network,
    bystander: Bystander,
    runs: usize,
}

impl Arena {
    fn new() -> Self {
        let mut network = Network::new(2, &Limits { takeovers_per_minute_max: 0, ..Limits::default() }, 64);
        let bystander = Bystander::new(&mut network);
        Self { network, bystander, runs: 0 }
    }

    /// A connection that has sent nothing.
    fn enter(&mut self) -> usize {
        if self.runs == RUNS_MAX {
            *self = Self::new();
        }
        self.runs += 1;
        self.network.connect(self.runs % 2)
    }

    /// A connection in a state.
    fn enter_as(&mut self, version: Version, state: State) -> usize {
        let (connect, subscribe) = match version {
            Version::V5 => (CONNECT_V5, SUBSCRIBE_V5),
            Version::V31 | Version::V311 => (CONNECT_V311, SUBSCRIBE_V311),
        };
        let socket = self.enter();
        self.say(socket, connect);
        assert_eq!(self.network.received(socket)[0], 0x20);
        match state {
            State::Connected | State::Closing => {}
            State::Held => self.network.write(socket, subscribe, usize::MAX),
        }
        socket
    }

    fn say(&mut self, socket: usize, bytes: &[u8]) {
        self.network.write(socket, bytes, usize::MAX);
        self.network.come_to_rest(socket);
    }

    fn outcome(&mut self, socket: usize) -> Outcome {
        self.network.come_to_rest(socket);
        Outcome { received: self.network.received(socket), is_open: self.network.is_open(socket) }
    }

    /// The connection goes, and the bystander must not have noticed anything.
    fn leave(&mut self, socket: usize) {
        self.network.reset(socket);
        self.network.come_to_rest(socket);
        self.bystander.look(&mut self.network);
        let (living, clients): (usize, u64) = (0..2)
            .map(|core| (self.network.living(core), self.network.counters(core).clients_connected))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert_eq!((living, clients), (1, 1), "only the bystander is left");
    }

    /// What comes of `bytes` in a state; of those in `first` before anything else can happen.
    fn try_bytes(&mut self, version: Version, state: State, first: &[u8], rest: &[u8]) -> Outcome {
        let socket = self.enter_as(version, state);
        let farewell = if state == State::Closing { DISCONNECT } else { &[] };
        self.network.write(socket, &[farewell, first].concat(), usize::MAX);
        if state == State::Held {
            assert!(self.network.received(socket).is_empty(), "everything waits behind the SUBSCRIBE");
            assert!(self.network.is_open(socket));
        }
        if !rest.is_empty() {
            self.network.come_to_rest(socket);
            self.say(socket, rest);
        }
        let mut outcome = self.outcome(socket);
        if state == State::Held && !outcome.received.is_empty() {
            let suback_len = 2 + usize::from(outcome.received[1]);
            assert_eq!(outcome.received[0], 0x90, "the SUBACK comes first: {:02x?}", outcome.received);
            outcome.received.drain(..suback_len);
        }
        self.leave(socket);
        outcome
    }
}

/// What the decoder says of the first packet in `bytes`.
fn verdict(version: Version, bytes: &[u8]) -> Verdict {
    if bytes.is_empty() {
        return Verdict::Waits;
    }
    match frame(bytes, PACKET_BYTES_MAX) {
        Err(violation) => Verdict::Broken(violation),
        Ok(Framing::Partial) => Verdict::Waits,
        Ok(Framing::Whole(whole)) => match decode(whole, version) {
            Err(violation) => Verdict::Broken(violation),
            Ok(_) => Verdict::Lawful,
        },
    }
}

fn hold(version: Version, bytes: &[u8], outcome: &Outcome, what: &str) {
    match verdict(version, bytes) {
        Verdict::Waits => {
            let waits = Outcome { received: Vec::new(), is_open: true };
            assert_eq!(*outcome, waits, "{what}: {bytes:02x?}");
        }
        Verdict::Broken(violation) => {
            assert!(!outcome.is_open, "{what}: {violation:?} does not end {bytes:02x?}");
            let code = outcome.received.get(2).copied();
            match version {
                Version::V5 => assert_eq!(
                    (outcome.received.first(), code),
                    (Some(&0xe0), Some(violation.facts().reason.byte())),
                    "{what}: {violation:?}, {bytes:02x?}"
                ),
                Version::V31 | Version::V311 => assert!(outcome.received.is_empty(), "{what}: {bytes:02x?}"),
            }
        }
        Verdict::Lawful => {}
    }
}

/// The packet, once for each byte bent in four ways.
fn bent(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..packet.len()).flat_map(move |place| {
        let byte = packet[place];
        [byte.wrapping_add(1), byte.wrapping_sub(1), 0, 0xff].into_iter().map(move |bent| {
            let mut packet = packet.to_vec();
            packet[place] = bent;
            packet
        })
    })
}

fn corpora() -> Vec<(Version, String, Vec<u8>)> {
    let of = |version, target| golden(target).into_iter().map(move |(name, packet)| (version, name, packet));
    of(Version::V311, "packet_v3").chain(of(Version::V5, "packet_v5")).collect()
}

#[test]
fn a_packet_cut_at_any_byte_waits_and_goes_on_as_if_it_had_never_been_cut() {
    let mut arena = Arena::new();
    for (version, name, packet) in corpora() {
        for state in [State::Connected, State::Held] {
            // What is retained by the first time is retained from then on.
            arena.try_bytes(version, state, &packet, &[]);
            let whole = arena.try_bytes(version, state, &packet, &[]);
            for cut in 0..packet.len() {
                let (first, rest) = packet.split_at(cut);
                let outcome = arena.try_bytes(version, state, first, &[]);
                hold(version, first, &outcome, &format!("{name} cut at {cut} while {state:?}"));
                let together = arena.try_bytes(version, state, first, rest);
                assert_eq!(together, whole, "{name} cut at {cut} while {state:?}");
            }
        }
    }
}

#[test]
fn a_packet_bent_in_any_byte_is_refused_for_exactly_what_is_wrong_with_it() {
    let mut arena = Arena::new();
    for (version, name, packet) in corpora() {
        for state in [State::Connected, State::Held] {
            for bent in bent(&packet) {
                let outcome = arena.try_bytes(version, state, &bent, &[]);
                hold(version, &bent, &outcome, &format!("{name} while {state:?}"));
            }
        }
    }
}

#[test]
fn nothing_behind_a_goodbye_is_read_whole_or_cut_or_bent() {
    let mut arena = Arena::new();
    let gone = Outcome { received: Vec::new(), is_open: false };
    for (version, name, packet) in corpora() {
        for cut in 0..=packet.len() {
            assert_eq!(
                arena.try_bytes(version, State::Closing, &packet[..cut], &[]),
                gone,
                "{name} cut at {cut}"
            );
        }
        for bent in bent(&packet) {
            assert_eq!(arena.try_bytes(version, State::Closing, &bent, &[]), gone, "{name}: {bent:02x?}");
        }
    }
}

#[test]
fn a_connection_that_was_closed_hears_nothing_any_more() {
    let now = Instant::START;
    let settings = std::sync::Arc::new(Settings { sys_interval_s: 0, ..Settings::default() });
    let mut shard =
        Shard::new(Setup { core: CoreId::new(0), cores: 1, seed: 1, settings, wall: WallMs(0) }, now);
    let peer = "127.0.0.1:9".parse().unwrap();
    let conn = shard.handle_accepted(now, Accepted { listener: ListenerId(0), peer }).unwrap();
    shard.handle_bytes(now, conn, CONNECT_V5);
    shard.handle_bytes(now, conn, DISCONNECT);
    shard.end_turn(now);
    assert_eq!(shard.effects().closing.pop().map(|closing| closing.conn), Some(conn));
    shard.effects().dirty.clear();
    shard.effects().notices.clear();
    let before = shard.counters().clone();
    for (_, name, packet) in corpora() {
        for bytes in bent(&packet).chain((0..=packet.len()).map(|cut| packet[..cut].to_vec())) {
            shard.handle_bytes(now, conn, &bytes);
        }
        shard.handle_sent(now, conn, 100);
        shard.handle_gone(now, conn);
        shard.end_turn(now);
        let effects = shard.effects();
        let is_quiet = effects.dirty.is_empty() && effects.closing.is_empty() && effects.notices.is_empty();
        assert!(is_quiet && shard.take_out(conn, Vec::new()).is_empty(), "{name}");
    }
    assert_eq!(*shard.counters(), before);
}

/// What must come of the bytes of a connection whose CONNECT was not accepted yet.
fn hold_lobby(bytes: &[u8], outcome: &Outcome, what: &str) {
    let waits = Outcome { received: Vec::new(), is_open: true };
    let cut_off = Outcome { received: Vec::new(), is_open: false };
    let Some(first) = bytes.first() else { return assert_eq!(*outcome, waits, "{what}") };
    if first >> 4 != 1 {
        return assert_eq!(*outcome, cut_off, "{what}: {bytes:02x?}");
    }
    match frame(bytes, PRE_AUTH_BYTES_MAX) {
        Err(_) => assert_eq!(*outcome, cut_off, "{what}: {bytes:02x?}"),
        Ok(Framing::Partial) => assert_eq!(*outcome, waits, "{what}: {bytes:02x?}"),
        Ok(Framing::Whole(whole)) => {
            let Err(refusal) = decode_connect(whole) else { return };
            assert!(!outcome.is_open, "{what}: {bytes:02x?}");
            let told = match (outcome.received.as_slice(), refusal.answer()) {
                ([], _) => None,
                ([0x20, ..], Some((Version::V5, reason))) => {
                    assert_eq!(outcome.received[3], reason.byte(), "{what}: {bytes:02x?}");
                    Some(reason)
                }
                ([0x20, 2, 0, code], Some((_, reason))) => {
                    assert_eq!(Some(*code), reason.connack_return_code(), "{what}: {bytes:02x?}");
                    Some(reason)
                }
                other => panic!("{what}: {other:02x?} to {bytes:02x?}"),
            };
            let is_due = |(version, reason): (Version, ReasonCode)| {
                version == Version::V5 || reason.connack_return_code().is_some()
            };
            assert_eq!(told.is_some(), refusal.answer().is_some_and(is_due), "{what}: {bytes:02x?}");
        }
    }
}

fn try_lobby(arena: &mut Arena, first: &[u8], rest: &[u8]) -> Outcome {
    let socket = arena.enter();
    arena.say(socket, first);
    arena.say(socket, rest);
    let outcome = arena.outcome(socket);
    arena.leave(socket);
    outcome
}

#[test]
fn a_connect_cut_or_bent_in_any_byte_waits_or_is_answered_as_the_standard_says() {
    let mut arena = Arena::new();
    for (name, packet) in golden("connect") {
        let whole = try_lobby(&mut arena, &packet, &[]);
        for cut in 0..packet.len() {
            let (first, rest) = packet.split_at(cut);
            hold_lobby(first, &try_lobby(&mut arena, first, &[]), &format!("{name} cut at {cut}"));
            let together = try_lobby(&mut arena, first, rest);
            assert_eq!(alike(&together), alike(&whole), "{name} cut at {cut}");
        }
        for bent in bent(&packet) {
            hold_lobby(&bent, &try_lobby(&mut arena, &bent, &[]), &name);
        }
    }
}

/// An outcome without what chance has a part in: the names of clients that have none.
fn alike(outcome: &Outcome) -> (usize, Option<u8>, bool) {
    (outcome.received.len(), outcome.received.get(3).copied(), outcome.is_open)
}

#[test]
fn a_connection_that_begins_with_anything_but_connect_is_closed_without_a_word() {
    let mut arena = Arena::new();
    for (_, name, packet) in corpora() {
        for cut in 1..=packet.len() {
            hold_lobby(&packet[..cut], &try_lobby(&mut arena, &packet[..cut], &[]), &name);
        }
        for bent in bent(&packet) {
            hold_lobby(&bent, &try_lobby(&mut arena, &bent, &[]), &name);
        }
    }
}
