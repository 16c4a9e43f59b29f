//! A mind that speaks a language of lines, so that the driver can be tested over real sockets without a broker.
//!
//! The first line of a connection names its home: `HOME 1`. There, every line is echoed, except:
//! `BYE text` ends the connection with `text` as its last line; `FLOOD n` sends n bytes of a pattern; `JAM n` makes the
//! core congested while the next n - 1 connections are refused, until one is accepted; `NAP` answers `WOKE` when a timer of 1 ms has fired;
//! `CALL` calls somebody outside, and what comes back is the answer; `HOLD port` makes the core stand still until the
//! connection that it makes to that port has ended, and answers `HEARD n` when a timer that was due all the while fires:
//! n lines were heard since.
//!
//! Invariants:
//! - What the driver promises the mind is asserted here: no bytes while congested, no event for a dead connection.

pub mod host;

use std::io::Read;
use std::net::TcpStream;

use broker::{Batch, CoreId};
use device::{Cookie, DeviceId, Ear, HubCall, News};
use server::Mind;
use shard::{Accepted, Arrival, Closing, ConnId, Effects, ListenerId, Moved};
use stdx::{Instant, Span};

/// The mind of one core.
pub struct Line {
    core: CoreId,
    conns: Vec<Conn>,
    free: Vec<u32>,
    open: usize,
    effects: Effects,
    /// Connections until the core is no longer congested.
    jam: u32,
    naps: Vec<(Instant, ConnId)>,
    /// Who held the core, and lines since then.
    hold: Option<(Instant, ConnId, usize)>,
    dying: Vec<ConnId>,
    closing: bool,
}

struct Conn {
    generation: u32,
    alive: bool,
    home: bool,
    accepted: Option<(Accepted, Instant)>,
    unread: Vec<u8>,
    out: Vec<u8>,
    dirty: bool,
    unsent: usize,
}

impl Line {
    /// The mind of `core`.
    pub fn new(core: CoreId) -> Self {
        Self {
            core,
            conns: Vec::new(),
            free: Vec::new(),
            open: 0,
            effects: Effects::default(),
            jam: 0,
            naps: Vec::new(),
            hold: None,
            dying: Vec::new(),
            closing: false,
        }
    }

    fn add(&mut self, accepted: Option<(Accepted, Instant)>) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(Conn::new(0));
            u32::try_from(self.conns.len() - 1).unwrap()
        });
        let generation = self.conns[at(index)].generation;
        self.conns[at(index)] = Conn { alive: true, accepted, ..Conn::new(generation) };
        self.open += 1;
        ConnId { index, generation }
    }

    /// Whether a connection has ended in this turn, so that the driver cannot know it yet.
    fn is_dying(&self, conn: ConnId) -> bool {
        self.dying.contains(&conn)
    }

    fn conn(&mut self, conn: ConnId) -> &mut Conn {
        let known = &mut self.conns[at(conn.index)];
        assert!(known.alive && known.generation == conn.generation, "an event for a dead connection");
        known
    }

    fn forget(&mut self, conn: ConnId) -> Conn {
        self.conn(conn);
        let fresh = Conn::new(conn.generation + 1);
        self.free.push(conn.index);
        self.open -= 1;
        std::mem::replace(&mut self.conns[at(conn.index)], fresh)
    }

    fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        let known = self.conn(conn);
        known.out.extend_from_slice(bytes);
        if !std::mem::replace(&mut known.dirty, true) {
            self.effects.dirty.push(conn);
        }
    }

    fn settle(&mut self, now: Instant, conn: ConnId) {
        self.conn(conn).home = true;
        self.effects.adopted.push(conn);
        self.read_lines(now, conn);
    }

    fn read_lines(&mut self, now: Instant, conn: ConnId) {
        while self.conns[at(conn.index)].generation == conn.generation {
            let known = self.conn(conn);
            let Some(end) = known.unread.iter().position(|byte| *byte == b'\n') else { return };
            if !known.home {
                let line = String::from_utf8(known.unread[..end].to_vec()).unwrap();
                let core: u16 = line.strip_prefix("HOME ").unwrap().parse().unwrap();
                return self.go_home(now, conn, CoreId::new(core), end + 1);
            }
            let line: Vec<u8> = known.unread.drain(..=end).collect();
            self.obey(now, conn, &line);
        }
    }

    fn go_home(&mut self, now: Instant, conn: ConnId, to: CoreId, first_line: usize) {
        if to == self.core {
            self.conn(conn).unread.drain(..first_line);
            return self.settle(now, conn);
        }
        let Conn { accepted, unread, .. } = self.forget(conn);
        self.dying.push(conn);
        let (Accepted { listener, peer }, accepted_at) = accepted.unwrap();
        let arrival = Box::new(Arrival {
            listener,
            peer,
            has_arrived: false,
            accepted_at,
            bytes: unread[first_line..].to_vec(),
            coating: None,
        });
        self.effects.moved.push(Moved { conn, to, arrival });
    }

    fn obey(&mut self, now: Instant, conn: ConnId, line: &[u8]) {
        if let Some((_, _, heard)) = &mut self.hold {
            *heard += 1;
        }
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match word {
            "BYE" => self.close(conn, &format!("{rest}\n")),
            "FLOOD" => {
                let bytes = pattern(rest.parse().unwrap());
                self.write(conn, &bytes);
            }
            "JAM" => self.jam = rest.parse().unwrap(),
            "HOLD" => {
                let mut held = TcpStream::connect(("127.0.0.1", rest.parse().unwrap())).unwrap();
                assert_eq!(held.read_to_end(&mut Vec::new()).unwrap(), 0);
                self.hold = Some((now, conn, 0));
            }
            "NAP" => self.naps.push((now + Span::from_ms(1), conn)),
            "CALL" => self.effects.news.push(News::Called {
                device: DeviceId::from_bytes([1; 16]),
                ear: Ear(conn.index.into()),
                cookie: Cookie(conn.generation.into()),
                method: rest.into(),
                params: "{}".into(),
            }),
            "CORE" => {
                let answer = format!("CORE {}\n", self.core.get());
                self.write(conn, answer.as_bytes());
            }
            _ => self.write(conn, line),
        }
    }

    fn close(&mut self, conn: ConnId, last: &str) {
        let mut bytes = self.forget(conn).out;
        self.dying.push(conn);
        bytes.extend_from_slice(last.as_bytes());
        self.effects.dirty.retain(|dirty| *dirty != conn);
        self.effects.adopted.retain(|adopted| *adopted != conn);
        self.naps.retain(|(_, napping)| *napping != conn);
        self.effects.closing.push(Closing { conn, last: bytes });
    }
}

impl Conn {
    fn new(generation: u32) -> Self {
        Self {
            generation,
            alive: false,
            home: false,
            accepted: None,
            unread: Vec::new(),
            out: Vec::new(),
            dirty: false,
            unsent: 0,
        }
    }
}

impl Mind for Line {
    fn handle_accepted(&mut self, now: Instant, accepted: Accepted) -> Option<ConnId> {
        self.jam = self.jam.saturating_sub(1);
        assert_eq!(accepted.listener, ListenerId(0));
        if self.closing || self.jam > 0 {
            return None;
        }
        Some(self.add(Some((accepted, now))))
    }

    fn handle_arrival(&mut self, now: Instant, arrival: Arrival) -> Option<ConnId> {
        if self.closing {
            return None;
        }
        let conn = self.add(None);
        self.conn(conn).unread = arrival.bytes;
        self.settle(now, conn);
        Some(conn)
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        assert!(self.jam == 0, "bytes for a congested mind");
        assert!(!bytes.is_empty());
        if self.is_dying(conn) {
            return;
        }
        self.conn(conn).unread.extend_from_slice(bytes);
        self.read_lines(now, conn);
    }

    fn handle_sent(&mut self, _now: Instant, conn: ConnId, count: usize) {
        if self.is_dying(conn) {
            return;
        }
        let known = self.conn(conn);
        known.unsent = known.unsent.checked_sub(count).expect("more was sent than was taken");
    }

    fn handle_gone(&mut self, _now: Instant, conn: ConnId) {
        if self.is_dying(conn) {
            return;
        }
        self.naps.retain(|(_, napping)| *napping != conn);
        self.effects.dirty.retain(|dirty| *dirty != conn);
        self.forget(conn);
    }

    fn handle_batch(&mut self, _now: Instant, _from: CoreId, _batch: Batch) {
        unreachable!("this mind sends none");
    }

    fn handle_timers(&mut self, now: Instant) {
        if let Some((_, conn, heard)) = self.hold.take() {
            self.write(conn, format!("HEARD {heard}\n").as_bytes());
        }
        let due: Vec<ConnId> = self.naps.iter().filter(|(at, _)| *at <= now).map(|(_, conn)| *conn).collect();
        self.naps.retain(|(at, _)| *at > now);
        for conn in due {
            self.write(conn, b"WOKE\n");
        }
    }

    fn handle_device_call(&mut self, _now: Instant, _call_id: u64, _device: DeviceId, call: HubCall) {
        let HubCall::AnswerCall { ear, cookie, answer } = call else { unreachable!("nobody asks for more") };
        let (index, generation) = (u32::try_from(ear.0).unwrap(), u32::try_from(cookie.0).unwrap());
        let text = format!("{}\n", answer.unwrap_err());
        self.write(ConnId { index, generation }, text.as_bytes());
    }

    fn handle_call(&mut self, call: shard::Call) -> shard::Reply {
        match call {
            shard::Call::Counters => shard::Reply::Counters(Box::default()),
        }
    }

    fn handle_shutdown(&mut self, _now: Instant) {
        self.closing = true;
        let places = (0u32..).zip(&self.conns).filter(|(_, conn)| conn.alive);
        let alive: Vec<ConnId> =
            places.map(|(index, conn)| ConnId { index, generation: conn.generation }).collect();
        for conn in alive {
            self.close(conn, "closing time\n");
        }
    }

    fn end_turn(&mut self, _now: Instant) {}

    fn effects(&mut self) -> &mut Effects {
        self.dying.clear();
        &mut self.effects
    }

    fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        assert!(spare.is_empty());
        let known = self.conn(conn);
        known.dirty = false;
        known.unsent += known.out.len();
        std::mem::replace(&mut known.out, spare)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let naps = self.naps.iter().map(|(at, _)| *at);
        naps.chain(self.hold.iter().map(|(at, ..)| *at)).min()
    }

    fn is_congested(&self) -> bool {
        self.jam > 0
    }

    fn return_batch(&mut self, _to: CoreId, _batch: Batch) {
        unreachable!("this mind sends none");
    }

    fn connections(&self) -> usize {
        self.open
    }
}

/// `count` bytes that differ from their neighbours, so that a lost or doubled piece is seen.
pub fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|place| b'a' + u8::try_from((place / 7 + place / 1000) % 26).unwrap()).collect()
}

fn at(index: u32) -> usize {
    usize::try_from(index).unwrap()
}
