//! The door: what a shard asks its doorkeeper, and what it does with the answers.
//!
//! Why apart from the lobby: the lobby knows bytes and places, the door knows people. Without a doorkeeper nothing of this
//! is touched.
//!
//! Invariants:
//! - A connection that the doorkeeper has counted in is taken back once, by the core where it ends.
//! - At most `questions_open_max` questions of a core are open, and none outlives its connection's time in the lobby.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use broker::{CoreId, Level, NoticeKind, Rights, SessionOwner, Shown};
use mqtt::{Connect, ReasonCode};
use stdx::{Instant, WallMs};
use wire::TlsFacts;

use crate::connections::{Connection, conn_of};
use crate::doorkeeper::{Answer, Doorkeeper, Judgement, Knock, Owner, Question, Turned};
use crate::effects::{Closing, ConnId, ListenerId, Refused};
use crate::shard::Shard;

/// Who stands at the door, as far as the connection tells.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub listener: ListenerId,
    pub from: IpAddr,
    pub tls: Option<TlsFacts>,
    pub now: WallMs,
}

impl Visitor {
    pub fn new(connection: &Connection, now: WallMs) -> Self {
        let tls = connection.coating.as_ref().and_then(|coating| coating.coats.tls_facts());
        Self { listener: connection.listener, from: connection.peer.ip(), tls, now }
    }

    pub fn knock<'a>(&'a self, connect: &'a Connect<'a>, client_id: &'a str) -> Knock<'a> {
        let Self { listener, from, tls, now } = self;
        Knock { listener: *listener, from: *from, connect, client_id, tls: tls.as_ref(), now: *now }
    }
}

/// What is to become of a CONNECT.
pub(crate) enum Entry {
    Open(Option<Arc<dyn Rights>>),
    /// The bytes to answer with.
    Closed(Vec<u8>),
    /// Not known before this is answered.
    Asked(Box<Question>),
}

impl Shard {
    /// What was asked about a client has been found out. Answers about connections that are gone are ignored.
    pub fn handle_answer(&mut self, now: Instant, conn: ConnId, answer: Answer) {
        self.look_at_rules();
        if self.is_asked_about(conn) {
            self.knock(now, conn, Some(answer));
            self.settle_ends(now);
        }
    }

    /// Whether a connection waits for an answer about its client.
    pub(crate) fn is_asked_about(&self, conn: ConnId) -> bool {
        !self.asked.is_empty() && self.asked.contains_key(&conn)
    }

    /// A connection's question is answered, or need not be any more. Returns the client id in use.
    pub(crate) fn withdraw_question(&mut self, conn: ConnId) -> Option<Box<str>> {
        if self.asked.is_empty() {
            return None;
        }
        let client_id = self.asked.remove(&conn);
        self.count_questions();
        client_id
    }

    /// Keeps the connection waiting until the answer comes.
    pub(crate) fn ask(&mut self, conn: ConnId, question: Question) {
        self.asked.insert(conn, question.client_id.clone());
        self.count_questions();
        self.exchange.counters_mut().authentications_asked += 1;
        self.effects.questions.push(question);
    }

    fn count_questions(&mut self) {
        self.exchange.counters_mut().authentications_open = stdx::count(self.asked.len());
    }

    /// Finds out whether a client may come in, or what must be asked first; `answer` is to what was asked before.
    pub(crate) fn judge(
        &mut self,
        doorkeeper: &dyn Doorkeeper,
        knock: &Knock<'_>,
        conn: ConnId,
        answer: Option<Answer>,
    ) -> Entry {
        let (connect, client_id) = (knock.connect, knock.client_id);
        let judgement = match answer {
            Some(Answer::Admitted(rights)) => Judgement::Admitted(rights),
            Some(Answer::Refused(reason)) => Judgement::Refused(reason),
            None => match self.exchange.screen(connect, client_id) {
                Err(bytes) => return Entry::Closed(bytes),
                Ok(()) => doorkeeper.judge(knock),
            },
        };
        let is_busy = self.asked.len() >= stdx::widen(self.settings.limits.questions_open_max);
        match judgement {
            Judgement::Admitted(rights) => Entry::Open(rights),
            Judgement::Refused(reason) => {
                self.exchange.counters_mut().authentications_refused += 1;
                Entry::Closed(self.exchange.refuse(connect, client_id, reason))
            }
            Judgement::Asked(_) if is_busy => {
                self.exchange.counters_mut().authentications_busy += 1;
                Entry::Closed(self.exchange.refuse(connect, client_id, ReasonCode::ServerBusy))
            }
            Judgement::Asked(question) => {
                Entry::Asked(Box::new(Question { conn, client_id: client_id.into(), ..*question }))
            }
        }
    }

    /// Lets the doorkeeper count a connection in whose address is known.
    pub(crate) fn arrive(
        &mut self,
        now: Instant,
        listener: ListenerId,
        peer: SocketAddr,
    ) -> Result<(), Refused> {
        let Some(doorkeeper) = &self.settings.doorkeeper else { return Ok(()) };
        let verdict = doorkeeper.arrive(listener, peer.ip(), self.exchange.wall_at(now));
        verdict.map_err(|turned| self.refuse(format!("connection from {peer} refused: {}", why(turned))))
    }

    /// Closes a connection without a word that the doorkeeper has not counted in.
    pub(crate) fn turn_away(&mut self, conn: ConnId) {
        if self.forget(conn).is_some() {
            self.effects.closing.push(Closing { conn, last: Vec::new() });
        }
    }

    /// Tells the doorkeeper that a connection is gone, if it was counted in.
    pub(crate) fn take_leave(&self, connection: &Connection) {
        if let Some(doorkeeper) = self.settings.doorkeeper.as_ref().filter(|_| connection.has_arrived) {
            doorkeeper.leave(connection.listener, connection.peer.ip());
        }
    }

    /// Takes a connection out of the table; it goes on elsewhere.
    pub(crate) fn forget(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.connections.remove(conn)?;
        self.exchange.counters_mut().connections_open -= 1;
        self.dirty_coats -= usize::from(connection.is_dirty_by_coats());
        self.withdraw_question(conn);
        Some(connection)
    }

    /// Names whom lines for the log are about, while their connections are here.
    #[inline]
    pub(crate) fn name_notices(&mut self) {
        let connections = &mut self.connections;
        self.exchange.name_notices(|link| {
            let connection = connections.get_mut(conn_of(link))?;
            let name = connection.device.as_ref().map(|end| end.shown());
            Some(Shown { name, address: connection.peer.to_string() })
        });
    }

    /// Takes a connection out of the table; it has ended.
    pub(crate) fn dismiss(&mut self, conn: ConnId) -> Option<Connection> {
        self.name_notices();
        let mut connection = self.forget(conn)?;
        self.take_leave(&connection);
        if let Some(end) = connection.device.take() {
            self.desk().parted.push(*end);
        }
        Some(connection)
    }

    /// A connection that was to go to another core at the end of this turn has ended: it stays here and is gone.
    pub(crate) fn stop_moving(&mut self, conn: ConnId) {
        let Some(index) = self.effects.moved.iter().position(|moved| moved.conn == conn) else { return };
        let arrival = self.effects.moved.remove(index).arrival;
        if let Some(doorkeeper) = self.settings.doorkeeper.as_ref().filter(|_| arrival.has_arrived) {
            doorkeeper.leave(arrival.listener, arrival.peer.ip());
        }
    }

    /// Counts a refusal of a connection and tells of it.
    pub(crate) fn refuse(&mut self, text: String) -> Refused {
        self.exchange.counters_mut().connections_refused += 1;
        self.exchange.notice(Level::Warn, NoticeKind::Limit, text);
        Refused
    }

    /// Lets the exchange know which rules are in force.
    pub(crate) fn heed_rules(&mut self) {
        if let Some(doorkeeper) = &self.settings.doorkeeper {
            self.exchange.heed_rules(doorkeeper.rules_version());
        }
    }

    /// A session came back from the store: its rights come back from the doorkeeper.
    pub(crate) fn remember(&mut self, client_id: &str, owner: Option<&SessionOwner>) {
        let Some(doorkeeper) = &self.settings.doorkeeper else { return };
        if CoreId::home_of(client_id.as_bytes(), self.cores) != self.core {
            return;
        }
        let name = owner.and_then(|owner| owner.listener.clone());
        let listener = name.as_deref().and_then(|name| self.listener_called(name));
        let user = owner.and_then(|owner| owner.user.as_deref());
        let rights = doorkeeper.remember(&Owner { listener, client_id, user });
        self.exchange.entrust_restored(client_id, name, rights);
    }

    /// What the store calls a listener.
    pub(crate) fn name_of(&self, listener: ListenerId) -> Arc<str> {
        let name = self.settings.listener_names.get(usize::from(listener.0));
        name.cloned().unwrap_or_else(|| listener.0.to_string().into())
    }

    /// The listener of today that has a name from the store.
    fn listener_called(&self, name: &str) -> Option<ListenerId> {
        let names = &self.settings.listener_names;
        let index = match names.iter().position(|known| **known == *name) {
            Some(index) => u16::try_from(index).ok()?,
            None if names.is_empty() => name.parse().ok()?,
            None => return None,
        };
        Some(ListenerId(index))
    }
}

fn why(turned: Turned) -> &'static str {
    match turned {
        Turned::ListenerFull => "too many connections on its listener",
        Turned::AddressFull => "too many connections from its address",
        Turned::TooFast => "connections come too fast",
        Turned::TooManyFailures => "too many failed logins from its address",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use broker::Limits;
    use stdx::Span;
    use wire::{ProxyTerms, Wardrobe};

    use super::*;
    use crate::{Accepted, Settings, Setup};

    const NOW: Instant = Instant::START;
    const CONNACK: &[u8] = b"\x20\x02\x00\x00";
    const PING: &[u8] = b"\xc0\x00";
    const PONG: &[u8] = b"\xd0\x00";

    /// Asks about clients named `ask`, refuses those named `no`, gives those named `soon` five seconds, calls whoever says to
    /// be `card` by another name, and lets everybody else in.
    #[derive(Debug, Default)]
    struct Porter {
        present: AtomicI64,
        arrived: AtomicU64,
        is_full: bool,
    }

    #[derive(Debug)]
    struct Soon;

    impl Rights for Soon {
        fn may_publish(&self, _topic: &str) -> bool {
            true
        }

        fn may_subscribe(&self, _filter: &str) -> bool {
            true
        }

        fn may_receive(&self, _topic: &str) -> bool {
            true
        }

        fn user(&self) -> Option<&str> {
            Some("soon")
        }

        fn expires_at(&self) -> Option<WallMs> {
            Some(WallMs(5_000))
        }
    }

    impl Doorkeeper for Porter {
        fn arrive(&self, _listener: ListenerId, from: IpAddr, _now: WallMs) -> Result<(), Turned> {
            if self.is_full || from == IpAddr::from([10, 0, 0, 66]) {
                return Err(Turned::AddressFull);
            }
            self.present.fetch_add(1, Ordering::Relaxed);
            self.arrived.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn leave(&self, _listener: ListenerId, _from: IpAddr) {
            self.present.fetch_sub(1, Ordering::Relaxed);
        }

        fn client_id(&self, knock: &Knock<'_>) -> Option<Box<str>> {
            (knock.connect.client_id == "card").then(|| "device-7".into())
        }

        fn judge(&self, knock: &Knock<'_>) -> Judgement {
            match knock.client_id {
                "no" => Judgement::Refused(ReasonCode::BadUserNameOrPassword),
                "soon" => Judgement::Admitted(Some(Arc::new(Soon))),
                name if name.starts_with("ask") || knock.connect.client_id.is_empty() => {
                    Judgement::Asked(Box::new(Question {
                        conn: ConnId { index: 0, generation: 0 },
                        listener: knock.listener,
                        from: knock.from,
                        client_id: "".into(),
                        user: None,
                        password: None,
                        step: 0,
                        tls: None,
                    }))
                }
                _everybody_else => Judgement::Admitted(None),
            }
        }

        fn remember(&self, _owner: &Owner<'_>) -> Option<Arc<dyn Rights>> {
            None
        }

        fn rules_version(&self) -> u64 {
            1
        }
    }

    fn shards(cores: u16, porter: &Arc<Porter>, limits: Limits, wardrobes: Arc<[Wardrobe]>) -> Vec<Shard> {
        let doorkeeper: Option<Arc<dyn Doorkeeper>> = Some(porter.clone());
        let settings = Settings { limits, wardrobes, doorkeeper, sys_interval_s: 0, ..Settings::default() };
        let settings = Arc::new(settings);
        let shard = |core| {
            let (core, settings) = (CoreId::new(core), Arc::clone(&settings));
            Shard::new(Setup { core, cores, seed: 1, settings, wall: WallMs(0) }, NOW)
        };
        (0..cores).map(shard).collect()
    }

    fn shard(porter: &Arc<Porter>, limits: Limits) -> Shard {
        shards(1, porter, limits, Arc::new([])).remove(0)
    }

    fn connect(version: u8, client_id: &str) -> Vec<u8> {
        let properties: &[u8] = if version == 5 { &[0] } else { &[] };
        let len = u8::try_from(client_id.len()).unwrap();
        let tail = [properties, &[0, len], client_id.as_bytes()].concat();
        let body = [b"\x00\x04MQTT", &[version, 2, 0, 0][..], &tail].concat();
        [&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat()
    }

    fn accept(shard: &mut Shard) -> ConnId {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        shard.handle_accepted(NOW, Accepted { listener: ListenerId(0), peer }).unwrap()
    }

    fn out(shard: &mut Shard, conn: ConnId) -> Vec<u8> {
        shard.end_turn(NOW);
        shard.effects().dirty.clear();
        let out = shard.take_out(conn, Vec::new());
        shard.handle_sent(NOW, conn, out.len());
        out
    }

    fn last(shard: &mut Shard) -> Vec<u8> {
        shard.end_turn(NOW);
        shard.effects().closing.pop().expect("a connection is closed").last
    }

    #[test]
    fn a_client_waits_for_the_answer_about_it_and_what_it_sent_meanwhile_is_read_then() {
        let porter = Arc::new(Porter::default());
        let mut shard = shard(&porter, Limits::default());
        let conn = accept(&mut shard);
        shard.handle_bytes(NOW, conn, &connect(4, "ask"));
        shard.handle_bytes(NOW, conn, PING);
        assert!(out(&mut shard, conn).is_empty() && shard.effects().adopted.is_empty());
        let question = shard.effects().questions.pop().expect("somebody must be asked");
        assert_eq!((question.conn, &*question.client_id), (conn, "ask"));
        assert_eq!(shard.counters().authentications_open, 1);
        shard.handle_answer(NOW, conn, Answer::Admitted(None));
        assert_eq!(out(&mut shard, conn), [CONNACK, PONG].concat());
        assert_eq!(shard.effects().adopted, [conn]);
        shard.handle_answer(NOW, conn, Answer::Refused(ReasonCode::NotAuthorized));
        assert!(out(&mut shard, conn).is_empty() && shard.effects().closing.is_empty());
        let counters = shard.counters();
        assert_eq!((counters.authentications_asked, counters.authentications_open), (1, 0));
    }

    #[test]
    fn an_assigned_client_id_is_the_same_before_and_after_the_answer() {
        let porter = Arc::new(Porter::default());
        let mut shard = shard(&porter, Limits::default());
        let conn = accept(&mut shard);
        shard.handle_bytes(NOW, conn, &connect(5, ""));
        shard.end_turn(NOW);
        let question = shard.effects().questions.pop().expect("somebody must be asked");
        shard.handle_answer(NOW, conn, Answer::Admitted(None));
        let connack = out(&mut shard, conn);
        let name = question.client_id.as_bytes();
        assert!(name.starts_with(b"auto-") && connack.windows(name.len()).any(|told| told == name));
        assert_eq!(shard.counters().packets_received, 1, "a CONNECT counts once");
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_version() {
        let porter = Arc::new(Porter::default());
        for (version, name, answer) in [
            (4, "no", &b"\x20\x02\x00\x04"[..]),
            (4, "ask", b"\x20\x02\x00\x05"),
            (5, "no", b"\x86"),
            (5, "ask", b"\x87"),
        ] {
            let mut shard = shard(&porter, Limits::default());
            let conn = accept(&mut shard);
            shard.handle_bytes(NOW, conn, &connect(version, name));
            shard.handle_answer(NOW, conn, Answer::Refused(ReasonCode::NotAuthorized));
            let told = last(&mut shard);
            let is_told = if version == 4 { told == answer } else { told[0] == 0x20 && told[3] == answer[0] };
            assert!(is_told, "{version} {name}: {told:02x?}");
            assert_eq!(shard.counters().authentications_refused, 1);
        }
        assert_eq!(porter.present.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn more_questions_than_may_be_open_are_refused_as_busy() {
        let porter = Arc::new(Porter::default());
        let mut shard = shard(&porter, Limits { questions_open_max: 1, ..Limits::default() });
        let (first, second) = (accept(&mut shard), accept(&mut shard));
        shard.handle_bytes(NOW, first, &connect(4, "ask 1"));
        shard.handle_bytes(NOW, second, &connect(4, "ask 2"));
        assert_eq!(last(&mut shard), b"\x20\x02\x00\x03");
        assert_eq!(shard.counters().authentications_busy, 1);
        shard.handle_gone(NOW, first);
        let third = accept(&mut shard);
        shard.handle_bytes(NOW, third, &connect(5, "ask 3"));
        shard.handle_answer(NOW, first, Answer::Admitted(None));
        assert!(out(&mut shard, third).is_empty(), "the answer was for somebody who is gone");
        shard.handle_answer(NOW, third, Answer::Admitted(None));
        assert_eq!(out(&mut shard, third)[0], 0x20);
    }

    #[test]
    fn a_client_about_whom_nothing_is_found_out_goes_when_its_time_is_over_or_its_bytes_are_too_many() {
        let porter = Arc::new(Porter::default());
        let limits = Limits { connect_timeout_s: 3, pre_auth_bytes_max: 300, ..Limits::default() };
        let mut shard = shard(&porter, limits);
        let (silent, loud) = (accept(&mut shard), accept(&mut shard));
        shard.handle_bytes(NOW, silent, &connect(4, "ask 1"));
        shard.handle_bytes(NOW, loud, &connect(4, "ask 2"));
        shard.handle_bytes(NOW, loud, &[0; 300]);
        assert_eq!((last(&mut shard).len(), shard.connections()), (0, 1));
        shard.handle_timers(NOW + Span::from_ms(3_020));
        assert_eq!((last(&mut shard).len(), shard.connections()), (0, 0));
        let counters = shard.counters();
        assert_eq!((counters.connect_timeouts, counters.authentications_open), (1, 0));
        assert_eq!(porter.present.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_client_is_at_home_under_the_name_that_it_is_given_and_is_counted_once() {
        let porter = Arc::new(Porter::default());
        let mut shards = shards(2, &porter, Limits::default(), Arc::new([]));
        let home = CoreId::home_of(b"device-7", 2).index();
        let conn = accept(&mut shards[1 - home]);
        shards[1 - home].handle_bytes(NOW, conn, &connect(4, "card"));
        shards[1 - home].end_turn(NOW);
        let moved = shards[1 - home].effects().moved.pop().expect("it is at home elsewhere");
        let conn = shards[home].handle_arrival(NOW, *moved.arrival).unwrap();
        assert_eq!(out(&mut shards[home], conn), CONNACK);
        let other = accept(&mut shards[home]);
        shards[home].handle_bytes(NOW, other, &connect(4, "device-7"));
        shards[home].end_turn(NOW);
        assert_eq!(shards[home].counters().takeovers, 1, "both mean the same session");
        assert_eq!((porter.present.load(Ordering::Relaxed), porter.arrived.load(Ordering::Relaxed)), (1, 2));
        shards[home].handle_gone(NOW, other);
        assert_eq!(porter.present.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_connection_that_ends_in_the_turn_in_which_it_should_move_is_taken_back() {
        let porter = Arc::new(Porter::default());
        let mut shards = shards(2, &porter, Limits::default(), Arc::new([]));
        let away = 1 - CoreId::home_of(b"device-7", 2).index();
        let conn = accept(&mut shards[away]);
        shards[away].handle_bytes(NOW, conn, &connect(4, "card"));
        shards[away].handle_gone(NOW, conn);
        shards[away].end_turn(NOW);
        assert!(shards[away].effects().moved.is_empty());
        assert_eq!(porter.present.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn behind_a_proxy_the_address_that_it_tells_is_counted() {
        let porter = Arc::new(Porter::default());
        let proxy = Some(ProxyTerms { trusted: vec!["127.0.0.0/8".parse().unwrap()] });
        let wardrobes = Arc::new([Wardrobe { proxy, ..Wardrobe::default() }]);
        let mut shard = shards(1, &porter, Limits::default(), wardrobes).remove(0);
        let (good, bad) = (accept(&mut shard), accept(&mut shard));
        assert_eq!(porter.arrived.load(Ordering::Relaxed), 0, "nobody knows yet who it is");
        for (conn, address) in [(good, "10.0.0.7"), (bad, "10.0.0.66")] {
            let header = format!("PROXY TCP4 {address} 127.0.0.1 50000 1883\r\n");
            shard.handle_bytes(NOW, conn, header.as_bytes());
        }
        shard.end_turn(NOW);
        let closing = shard.effects().closing.pop().expect("one of them is not wanted");
        assert_eq!((closing.conn, closing.last.len(), shard.counters().connections_refused), (bad, 0, 1));
        shard.handle_bytes(NOW, good, &connect(4, "a"));
        assert_eq!(out(&mut shard, good), CONNACK);
        assert_eq!((porter.present.load(Ordering::Relaxed), shard.connections()), (1, 1));
    }

    #[test]
    fn a_full_house_refuses_without_a_word() {
        let porter = Arc::new(Porter { is_full: true, ..Porter::default() });
        let mut shard = shard(&porter, Limits::default());
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(shard.handle_accepted(NOW, Accepted { listener: ListenerId(0), peer }).is_err());
        assert_eq!((shard.connections(), shard.counters().connections_refused), (0, 1));
    }

    #[test]
    fn a_client_whose_token_runs_out_is_told_so() {
        let porter = Arc::new(Porter::default());
        let mut shard = shard(&porter, Limits::default());
        let conn = accept(&mut shard);
        shard.handle_bytes(NOW, conn, &connect(5, "soon"));
        assert_eq!(out(&mut shard, conn)[0], 0x20);
        shard.handle_timers(NOW + Span::from_ms(4_980));
        assert_eq!(shard.connections(), 1);
        shard.handle_timers(NOW + Span::from_ms(5_040));
        let told = last(&mut shard);
        assert_eq!((told[0], told[2], shard.counters().rights_expired), (0xe0, 0x87, 1));
    }
}
