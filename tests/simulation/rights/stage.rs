//! The stage: cores, sockets, a store, clients, and rules that change, in one seeded order.
//!
//! Invariants:
//! - Rules change between turns only, and never while bytes that were judged already wait for the store: what a turn hands
//!   out is judged by the rules of that turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use broker::Limits;
use shard::{Durability, Settings};
use stdx::{Instant, Span};

use super::Breach;
use super::book::Book;
use super::ledger::{Ledger, Paths};
use super::person::{Manner, Person};
use super::reference::{self, Line, USERS, Who, Wish};
use crate::dice::Dice;
use crate::message;
use crate::rig::{ClientEnd, Place, Rig};
use crate::trace::Trace;
use crate::wire::{ClientPacket, Delivery, ServerPacket, Version, decode, encode};

/// How a run went.
#[derive(Debug)]
pub struct Verdict {
    /// What was not allowed or did not come, if anything.
    pub complaint: Option<String>,
    /// What came, and how.
    pub paths: Paths,
}

const TOPICS: [&str; 8] = ["a", "a/b", "s/a", "s/b", "d/one", "d/ann", "ann/one", "s/share-1/x"];
const FILTERS: [&str; 9] = ["a", "a/#", "#", "+/b", "s/#", "s/+", "d/+", "+/+", "ann/one"];
const SHARED: [&str; 3] = ["$share/g/s/#", "$share/g/#", "$share/h/+/+"];
/// One of them is named so that a careless pattern would mean everybody.
const NAMES: [&str; 6] = ["one", "two", "#", "share-1", "share-2", "share-3"];
const SHARING: &str = "share";
const RESTS_MAX: usize = 20_000;

#[derive(Debug)]
struct Stage {
    dice: Dice,
    rig: Rig,
    book: Book,
    lines: Vec<Line>,
    ledger: Ledger,
    people: Vec<Person>,
    /// Of each socket: its person and in which turn it was opened.
    owners: Vec<(usize, Who, u64)>,
    /// Of each socket: packets that were written and not wholly handed over, by their ends.
    marks: Vec<Vec<(usize, ClientPacket)>>,
    has_store: bool,
    now: Instant,
    turn: u64,
    trace: Trace,
}

/// Runs a seed, perhaps with a check that is not made.
#[must_use]
pub fn run_ruled(seed: u64, breach: Option<Breach>, trace: Trace) -> (Verdict, Trace) {
    let mut stage = Stage::new(seed, breach, trace);
    let result = catch_unwind(AssertUnwindSafe(|| stage.play()));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        stage.ledger.complain(format!("panic: {}", text.unwrap_or_default()));
    }
    (Verdict { complaint: stage.ledger.complaint, paths: stage.ledger.paths }, stage.trace)
}

impl Stage {
    fn new(seed: u64, breach: Option<Breach>, mut trace: Trace) -> Self {
        let mut dice = Dice::new(seed);
        let now = Instant::from_ns(1_000_000_000);
        let lines = reference::draw(&mut dice);
        let book = Book::new(&reference::text(&lines), breach);
        let limits = Limits {
            queue_memory_messages: *dice.pick(&[1, 5, 1000]),
            inflight_3x_max: *dice.pick(&[1, 2, 64]),
            out_bytes_high: *dice.pick(&[60, 262_144]),
            queue_qos0_offline: dice.percent(50),
            session_expiry_max_s: 1000,
            ..Limits::default()
        };
        let cores = *dice.pick(&[1, 2, 2, 3]);
        let settings = Settings {
            limits,
            sys_interval_s: 0,
            doorkeeper: Some(Arc::new(book.clone())),
            ..Settings::default()
        };
        let mut rig = Rig::with(cores, settings, *dice.pick(&[1, 2, 100]), seed, now);
        let has_store = dice.percent(40);
        if has_store {
            rig.keep_journal(now, Durability::Fsync);
        }
        let person = |name: &&'static str, dice: &mut Dice| {
            let who = Who { client_id: name, user: None };
            Person::new(who, *dice.pick(&[Version::V311, Version::V5]), *dice.pick(&[1, 2, 100]))
        };
        let people = NAMES.iter().map(|name| person(name, &mut dice)).collect();
        trace.say(now, || {
            format!("seed {seed}: {cores} cores, store {has_store}\n{}", reference::text(&lines))
        });
        Self {
            dice,
            rig,
            book,
            lines,
            ledger: Ledger::default(),
            people,
            owners: Vec::new(),
            marks: Vec::new(),
            has_store,
            now,
            turn: 0,
            trace,
        }
    }

    fn play(&mut self) {
        let actions = *self.dice.pick(&[300, 600, 1200]);
        for _ in 0..actions {
            match self.dice.below(10) {
                0..=4 => self.turn_of_any(),
                5..=7 => self.act(),
                _rest => drop(self.read_any()),
            }
            match self.dice.below(100) {
                0..=1 => self.change_rules(),
                2..=6 => drop(self.rig.flush()),
                7 => self.now = self.now + Span::from_s(self.dice.between(1, 5)),
                8 if self.has_store && self.dice.percent(20) => self.restart(),
                _nothing => {}
            }
            let complaint = self.book.open().complaint.clone();
            complaint.into_iter().for_each(|text| self.ledger.complain(text));
            if self.ledger.complaint.is_some() {
                return;
            }
        }
        self.finish();
    }

    fn change_rules(&mut self) {
        if self.has_store {
            self.come_to_rest(Reading::Never);
        }
        self.lines = reference::draw(&mut self.dice);
        self.book.rewrite(&reference::text(&self.lines));
        self.trace.say(self.now, || format!("the rules are now\n{}", reference::text(&self.lines)));
    }

    /// The power fails when everything was written; other cores go on.
    fn restart(&mut self) {
        self.come_to_rest(Reading::Never);
        let cores = *self.dice.pick(&[1, 2, 3]);
        self.book.open().present = 0;
        self.rig.cut_power(self.now, cores, 0);
        self.rig.exchange_news(self.now);
        for index in 0..self.people.len() {
            if self.people[index].socket.is_some() {
                self.lose(index);
            }
        }
        self.trace.say(self.now, || format!("{cores} cores go on after a restart"));
    }

    fn lose(&mut self, index: usize) {
        let name = self.people[index].who.client_id;
        self.people[index].drop_line();
        let mut pages = self.book.open();
        pages.gone.insert(name.to_owned());
        pages.arriving.remove(name);
        pages.subscribing.remove(name);
    }

    fn turn_of_any(&mut self) {
        let core = self.dice.below(self.rig.cores());
        let most = *self.dice.pick(&[1, 3, 20]);
        self.turn(core, most);
    }

    /// One turn of a core that is told so many things at most. Returns whether anything happened.
    fn turn(&mut self, core: usize, most: usize) -> bool {
        self.turn += 1;
        self.now = self.now + Span::from_ns(self.dice.between(1_000, 50_000));
        let (now, wills_before) = (self.now, self.rig.counters(core).wills_published);
        let mut told = 0;
        // A connection that was read in the lobby is not read again before the effects say where it belongs.
        let mut lobby_read = Vec::new();
        while told < most {
            let mut chances = self.chances(core);
            chances.retain(|chance| !matches!(chance, Chance::Bytes(socket) if lobby_read.contains(socket)));
            if chances.is_empty() {
                break;
            }
            let chance = *self.dice.pick(&chances);
            if let Chance::Bytes(socket) = chance
                && matches!(self.rig.socket(socket).place, Place::Lobby(..))
            {
                lobby_read.push(socket);
            }
            self.book.open().is_crossing = matches!(chance, Chance::Batch(_));
            self.happen(core, chance);
            told += 1;
        }
        self.book.open().is_crossing = false;
        let is_due = self.rig.next_deadline(core).is_some_and(|deadline| deadline <= now);
        if is_due {
            self.rig.hand_timers(now, core);
        }
        let produce = self.rig.end_turn(now, core, |_| false);
        if self.rig.counters(core).wills_published > wills_before {
            self.judge_wills(core);
        }
        for (socket, bytes) in produce.output {
            self.check(core, socket, &bytes);
            self.rig.socket_mut(socket).unsent.extend(bytes);
        }
        told > 0 || is_due || !produce.is_empty
    }

    /// Wills were sent: those that may be sent now are the ones.
    fn judge_wills(&mut self, core: usize) {
        for message in self.ledger.wills.clone() {
            let note = &self.ledger.notes[message];
            if reference::allows(&self.lines, note.who, Wish::Publish, note.topic) {
                self.ledger.judge(message, true, self.turn, core);
            }
        }
    }

    fn chances(&self, core: usize) -> Vec<Chance> {
        let mut chances = Vec::new();
        let is_congested = self.rig.is_congested(core);
        for index in 0..self.rig.sockets() {
            let socket = self.rig.socket(index);
            match socket.place {
                Place::Backlog(at) if at == core => chances.push(Chance::Accept(index)),
                Place::Lobby(at, _) | Place::Home(at, _) if at == core => {
                    let is_all_handed = socket.handed == socket.written.len();
                    if !is_all_handed && !is_congested {
                        chances.push(Chance::Bytes(index));
                    }
                    if !socket.unsent.is_empty() {
                        chances.push(Chance::Sent(index));
                    }
                    if socket.client_end == Some(ClientEnd::Reset) {
                        chances.push(Chance::Gone(index));
                    }
                }
                Place::Nowhere if !socket.unsent.is_empty() => chances.push(Chance::Sent(index)),
                _elsewhere => {}
            }
        }
        for other in (0..self.rig.cores()).filter(|other| *other != core) {
            if self.rig.batches_waiting(other, core) > 0 {
                chances.push(Chance::Batch(other));
            }
            if self.rig.travellers_waiting(other, core) {
                chances.push(Chance::Arrival(other));
            }
        }
        let [is_durable, is_fetched] = self.rig.mail_waiting(core);
        chances.extend(is_durable.then_some(Chance::Durable));
        chances.extend(is_fetched.then_some(Chance::Fetched));
        chances.extend(self.rig.question_waiting(core).then_some(Chance::Answer));
        chances
    }

    fn happen(&mut self, core: usize, chance: Chance) {
        let now = self.now;
        match chance {
            Chance::Accept(socket) => self.rig.accept(now, socket),
            Chance::Bytes(socket) => self.hand_bytes(core, socket),
            Chance::Sent(socket) => {
                let count = self.rig.socket(socket).unsent.len();
                self.rig.accept_bytes(now, socket, count);
            }
            Chance::Gone(socket) => self.rig.hand_gone(now, socket),
            Chance::Batch(from) => self.rig.hand_batch(now, from, core),
            Chance::Arrival(from) => drop(self.rig.hand_arrival(now, from, core)),
            Chance::Durable => self.rig.hand_durable(now, core),
            Chance::Fetched => self.rig.hand_fetched(now, core),
            Chance::Answer => {
                let book = self.book.clone();
                self.rig.hand_answer(now, core, |question| book.answer(question));
            }
        }
    }

    /// Hands bytes over; what is whole now is judged.
    fn hand_bytes(&mut self, core: usize, socket: usize) {
        let state = self.rig.socket(socket);
        let unread = state.written.len() - state.handed;
        let count = if self.dice.percent(30) { self.dice.below(unread) + 1 } else { unread };
        let handed = state.handed + count;
        let (owner, who, _) = self.owners[socket];
        let count_whole = self.marks[socket].iter().take_while(|(end, _)| *end <= handed).count();
        for (_, packet) in self.marks[socket].drain(..count_whole) {
            match packet {
                ClientPacket::Publish(publish) => {
                    let topic = self.ledger.notes[publish.message].topic;
                    let is_allowed = reference::allows(&self.lines, who, Wish::Publish, topic);
                    self.ledger.judge(publish.message, is_allowed, self.turn, core);
                }
                ClientPacket::Subscribe(subscribe) => {
                    let filter = crate::topic::split_share(&subscribe.requests[0].filter).1;
                    let is_accepted = self.book.may_subscribe(who.client_id, who.user, filter);
                    let asked = &mut self.people[owner].asked;
                    if let Some((id, expected)) = asked
                        && *id == subscribe.id
                    {
                        *expected = Some(is_accepted);
                    }
                }
                _others_are_not_judged => {}
            }
        }
        self.rig.hand_bytes(self.now, socket, count);
    }

    /// What a turn has handed out must be allowed by the rules of that turn.
    fn check(&mut self, core: usize, socket: usize, bytes: &[u8]) {
        let version = self.people[self.owners[socket].0].version;
        let mut at = 0;
        while let Ok(Some(framed)) = decode(version, &bytes[at..]) {
            at += framed.bytes;
            self.trace.say(self.now, || format!("core {core} > c{socket} {}", framed.packet.brief()));
            if let ServerPacket::Publish(delivery) = framed.packet {
                self.check_delivery(core, socket, &delivery);
            }
        }
        if at != bytes.len() {
            self.ledger.complain(format!("c{socket} is sent what is no whole packet"));
        }
    }

    fn check_delivery(&mut self, core: usize, socket: usize, delivery: &Delivery) {
        let Some(number) = message::number(&delivery.payload) else { return };
        let (owner, who, opened) = self.owners[socket];
        let note = self.ledger.notes[number].clone();
        let is_sharing = who.client_id.starts_with(SHARING);
        let paths = &mut self.ledger.paths;
        let (path, count) = match (delivery, &note) {
            (delivery, _) if delivery.is_dup => ("again", &mut paths.again),
            (delivery, _) if delivery.is_retained => ("retained", &mut paths.retained),
            (_, note) if note.is_will => ("will", &mut paths.wills),
            (_, note) if note.turn < opened => ("queued", &mut paths.queued),
            _live if is_sharing => ("shared", &mut paths.shared),
            (_, note) if note.core != Some(core) => ("crossing", &mut paths.crossing),
            _live => ("live", &mut paths.live),
        };
        *count += 1;
        self.ledger.received.entry(owner).or_default().insert(number);
        let topic = &delivery.topic;
        if !reference::allows(&self.lines, who, Wish::Receive, topic) {
            self.ledger.complain(format!("{path}: {who:?} gets m{number} of {topic}"));
        }
        if note.is_allowed != Some(true) {
            let what = if note.is_will { "the will" } else { "a message" };
            self.ledger.complain(format!("{what} m{number} of {:?} to {topic} was not allowed", note.who));
        }
    }

    fn act(&mut self) {
        let index = self.dice.below(self.people.len());
        if self.people[index].socket.is_none() {
            if self.dice.percent(40) {
                self.connect(index);
            }
            return;
        }
        let has_unacked = !self.people[index].unacked.is_empty();
        match self.dice.below(20) {
            0..=4 if has_unacked && self.people[index].is_greeted => {
                let packet = self.people[index].unacked.remove(0);
                self.write(index, packet);
            }
            _other if !self.people[index].is_free() => {}
            5..=11 => self.publish(index),
            12..=16 => self.ask(index),
            17 => self.leave(index),
            18 => {
                self.write(index, ClientPacket::Disconnect(0, None));
                self.lose(index);
            }
            _nothing => {}
        }
    }

    fn publish(&mut self, index: usize) {
        let topic = *self.dice.pick(&TOPICS);
        let number = self.ledger.note(self.people[index].who, topic, false);
        let (qos, is_retained) = (*self.dice.pick(&[0, 1, 1, 2]), self.dice.percent(20));
        let packet = self.people[index].publish(number, topic, qos, is_retained);
        self.write(index, packet);
    }

    fn ask(&mut self, index: usize) {
        let is_sharing = self.people[index].who.client_id.starts_with(SHARING);
        let filter = if is_sharing { *self.dice.pick(&SHARED) } else { *self.dice.pick(&FILTERS) };
        let qos = *self.dice.pick(&[0, 1, 2, 2]);
        let packet = if self.dice.percent(15) {
            self.people[index].unsubscribe(filter)
        } else {
            self.book.open().subscribing.insert(self.people[index].who.client_id.to_owned());
            self.people[index].subscribe(filter, qos)
        };
        self.write(index, packet);
    }

    fn connect(&mut self, index: usize) {
        let core = self.dice.below(self.rig.cores());
        let user = if self.dice.percent(40) { None } else { Some(*self.dice.pick(&USERS)) };
        let name = self.people[index].who.client_id;
        let who = Who { client_id: name, user };
        self.people[index].who = who;
        let mut manner = Manner { is_clean: self.dice.percent(25), expiry_s: 500, will: None };
        let mut is_will_allowed = true;
        if self.dice.percent(40) {
            let topic = *self.dice.pick(&TOPICS);
            let number = self.ledger.note(who, topic, true);
            let (qos, is_retained) = (*self.dice.pick(&[0, 1, 2]), self.dice.percent(20));
            manner.will = Some((number, topic, qos, is_retained, *self.dice.pick(&[0, 0, 3])));
            is_will_allowed = reference::allows(&self.lines, who, Wish::Publish, topic);
        }
        let version = {
            let mut pages = self.book.open();
            pages.users.insert(name.to_owned(), user.map(ToOwned::to_owned));
            pages.gone.remove(name);
            pages.arriving.insert(name.to_owned());
            if self.dice.percent(50) {
                pages.asked.insert(name.to_owned());
            } else {
                pages.asked.remove(name);
            }
            pages.version
        };
        let socket = self.rig.connect(core);
        self.owners.push((index, who, self.turn));
        self.marks.push(Vec::new());
        let connect = self.people[index].connect(manner);
        self.people[index].socket = Some(socket);
        self.people[index].at_connect = (version, is_will_allowed);
        self.write(index, connect);
    }

    /// The connection breaks.
    fn leave(&mut self, index: usize) {
        if let Some(socket) = self.people[index].socket {
            self.rig.socket_mut(socket).client_end = Some(ClientEnd::Reset);
        }
        self.lose(index);
    }

    fn write(&mut self, index: usize, packet: ClientPacket) {
        let person = &self.people[index];
        let Some(socket) = person.socket else { return };
        self.trace.say(self.now, || format!("{:?} c{socket} writes {}", person.who, packet.brief()));
        let bytes = encode(person.version, &packet);
        self.rig.socket_mut(socket).written.extend(bytes);
        let end = self.rig.socket(socket).written.len();
        self.marks[socket].push((end, packet));
    }

    fn read_any(&mut self) -> bool {
        let index = self.dice.below(self.people.len());
        self.read(index, false)
    }

    /// A person reads what its socket holds, and acknowledges it, if it likes. Returns whether there was anything.
    fn read(&mut self, index: usize, is_eager: bool) -> bool {
        let Some(socket) = self.people[index].socket else { return false };
        let state = self.rig.socket_mut(socket);
        let bytes: Vec<u8> = state.readable.drain(..).collect();
        let is_at_end = state.is_closed && state.unsent.is_empty();
        let version = self.people[index].version;
        let mut stream = std::mem::take(&mut self.people[index].partial);
        stream.extend(&bytes);
        let mut at = 0;
        while let Ok(Some(framed)) = decode(version, &stream[at..]) {
            at += framed.bytes;
            self.hear(index, framed.packet);
        }
        self.people[index].partial = stream.split_off(at);
        if is_eager {
            for packet in std::mem::take(&mut self.people[index].unacked) {
                self.write(index, packet);
            }
        }
        if is_at_end {
            self.lose(index);
        }
        !bytes.is_empty() || is_at_end
    }

    fn hear(&mut self, index: usize, packet: ServerPacket) {
        match packet {
            ServerPacket::ConnAck(connack) => self.greeted(index, connack.code),
            ServerPacket::Publish(delivery) if delivery.qos == 1 => {
                self.people[index].unacked.push(ClientPacket::PubAck(delivery.id, 0));
            }
            ServerPacket::Publish(delivery) if delivery.qos == 2 => {
                self.people[index].unacked.push(ClientPacket::PubRec(delivery.id, 0));
            }
            ServerPacket::PubRel(id, _) => self.people[index].unacked.push(ClientPacket::PubComp(id)),
            ServerPacket::PubAck(id, code) => self.answered(index, id, code),
            ServerPacket::PubRec(id, code) => {
                self.answered(index, id, code);
                if code < 0x80 {
                    self.write(index, ClientPacket::PubRel(id));
                }
            }
            ServerPacket::SubAck(id, codes) => {
                let name = self.people[index].who.client_id;
                self.book.open().subscribing.remove(name);
                let asked = self.people[index].asked.take_if(|asked| asked.0 == id);
                let is_accepted = codes.iter().all(|code| *code < 0x80);
                if asked.is_some_and(|(_, expected)| expected.is_some_and(|expected| expected != is_accepted))
                {
                    self.ledger.complain(format!("SUBACK {codes:02x?} for {:?}", self.people[index].who));
                }
            }
            ServerPacket::UnsubAck(id, _) => {
                self.people[index].asked.take_if(|asked| asked.0 == id);
            }
            ServerPacket::Publish(_)
            | ServerPacket::PubComp(..)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => {}
        }
    }

    fn greeted(&mut self, index: usize, code: u8) {
        let (version, is_will_allowed) = self.people[index].at_connect;
        let name = self.people[index].who.client_id;
        let mut pages = self.book.open();
        pages.arriving.remove(name);
        let is_same_rules = pages.version == version;
        drop(pages);
        let is_expected = if is_will_allowed { code == 0 } else { code == 0x87 || code == 5 };
        if is_same_rules && !is_expected {
            self.ledger.complain(format!("CONNACK {code:#04x} for {:?}", self.people[index].who));
        }
        self.people[index].is_greeted = code == 0;
    }

    /// In 5.0 the answer to a message says whether it was taken.
    fn answered(&mut self, index: usize, id: u16, code: u8) {
        let person = &mut self.people[index];
        let Some(at) = person.sent.iter().position(|(sent, _)| *sent == id) else { return };
        let (_, message) = person.sent.remove(at);
        let is_allowed = self.ledger.notes[message].is_allowed == Some(true);
        if person.version == Version::V5 && (code == 0x87) == is_allowed {
            self.ledger.complain(format!("m{message} was answered with {code:#04x}"));
        }
    }

    /// Nothing may be left when everybody has gone; and what is allowed must still come.
    fn finish(&mut self) {
        for index in 0..self.people.len() {
            if self.people[index].socket.is_some() {
                self.leave(index);
            }
        }
        self.come_to_rest(Reading::Eager);
        self.now = self.now + Span::from_s(2_000);
        self.come_to_rest(Reading::Eager);
        let present = self.book.open().present;
        if present != 0 || (0..self.rig.cores()).any(|core| !self.rig.is_vacant(core)) {
            self.ledger.complain(format!("{present} connections have not left, or something else is left"));
        }
        self.change_rules();
        self.gather();
        let mut expected = Vec::new();
        for index in 0..self.people.len() {
            for topic in TOPICS {
                let number = self.ledger.note(self.people[index].who, topic, false);
                let packet = self.people[index].publish(number, topic, 1, false);
                self.write(index, packet);
                expected.push(number);
            }
        }
        self.come_to_rest(Reading::Eager);
        for (index, number) in
            (0..self.people.len()).flat_map(|index| expected.iter().map(move |n| (index, *n)))
        {
            let (note, who) = (&self.ledger.notes[number], self.people[index].who);
            let is_due = reference::allows(&self.lines, note.who, Wish::Publish, note.topic)
                && reference::allows(&self.lines, who, Wish::Receive, note.topic);
            let has_come = self.ledger.received.get(&index).is_some_and(|got| got.contains(&number));
            if is_due != has_come {
                self.ledger.complain(format!("{who:?} got m{number} ({}): {has_come}", note.topic));
            }
        }
    }

    /// Everybody comes back without a past and subscribes to every topic.
    fn gather(&mut self) {
        for index in 0..self.people.len() {
            for attempt in 0.. {
                self.connect(index);
                self.come_to_rest(Reading::Eager);
                if self.people[index].is_greeted || attempt > 50 {
                    break;
                }
            }
            for topic in TOPICS {
                let packet = self.people[index].subscribe(topic, 1);
                self.write(index, packet);
                self.come_to_rest(Reading::Eager);
            }
        }
    }

    fn come_to_rest(&mut self, reading: Reading) {
        for _ in 0..RESTS_MAX {
            let mut has_moved = self.rig.flush();
            for core in 0..self.rig.cores() {
                has_moved |= self.turn(core, 1000);
            }
            for index in 0..self.people.len() {
                has_moved |= reading == Reading::Eager && self.read(index, true);
            }
            if !has_moved || self.ledger.complaint.is_some() {
                return;
            }
        }
        self.ledger.complain("the cores do not come to rest".to_owned());
    }
}

/// Whether clients read while everything comes to rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Never,
    Eager,
}

/// One thing that a core can be told.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Accept(usize),
    Bytes(usize),
    Sent(usize),
    Gone(usize),
    Batch(usize),
    Arrival(usize),
    Durable,
    Fetched,
    Answer,
}
