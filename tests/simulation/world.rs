//! The seeded world: which core takes a turn, what it sees, how streams are cut, when time passes, what clients do.
//!
//! Why every choice is a draw: what a real network, kernel and clock do to a broker is one of the many orders that the
//! dice can produce, and each of them can be produced again.
//!
//! Invariants:
//! - A run is a function of its seed.
//! - Nothing is handed to a shard that a real driver could not hand to it.

use std::collections::VecDeque;
use std::rc::Rc;

use shard::Durability;
use stdx::{Instant, Span};

use crate::client::{Client, Deed, Desk};
use crate::dice::Dice;
use crate::mutant::Mutant;
use crate::oracle::{Event, Oracle, Rule, Step, Turn};
use crate::plan::{Plan, Restart, Weather};
use crate::rig::{ClientEnd, Place, Rig};
use crate::trace::Trace;
use crate::wire::{ClientPacket, Framed, Version, decode, encode};

/// A run in progress.
#[derive(Debug)]
pub struct World {
    pub(crate) desk: Desk,
    pub(crate) plan: Plan,
    pub(crate) rig: Rig,
    pub(crate) oracle: Oracle,
    pub(crate) clients: Vec<Client>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) trace: Trace,
    pub(crate) mutant: Mutant,
    step: Step,
}

/// What the world knows of one socket beside its bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    client: usize,
    version: Version,
    /// Packets that were written and not wholly handed over.
    marks: VecDeque<Mark>,
    is_misdeed_noted: bool,
    /// Output that makes no whole packet yet.
    partial: Vec<u8>,
    is_ended: bool,
}

#[derive(Debug)]
struct Mark {
    start: usize,
    end: usize,
    packet: Rc<ClientPacket>,
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
}

/// How a turn chooses among what can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Appetite {
    /// Some of it, in pieces.
    Some,
    /// All of it.
    All,
}

/// Rounds after which a world that does not come to rest is accused.
const ROUNDS_MAX: usize = 20_000;

impl World {
    /// The world of `seed`.
    #[must_use]
    pub fn new(seed: u64, trace: Trace, mutant: Mutant) -> Self {
        let mut dice = Dice::new(seed);
        let mut plan = Plan { restart: Restart::of(seed), ..Plan::new(&mut dice) };
        let now = Instant::from_ns(1_000_000_000);
        if let Some(restart) = plan.restart {
            plan.limits.queue_memory_messages = restart.queue_memory_messages;
        }
        let mut rig = Rig::new(plan.cores, &plan.limits, plan.weather.link_batches, seed, now);
        if plan.restart.is_some() {
            rig.keep_journal(now, Durability::Interval);
            rig.exchange_news(now);
        }
        let mut oracle = Oracle::new(plan.limits.clone(), plan.cores);
        if plan.restart.is_some() {
            oracle.expect_store();
        }
        let mut trace = trace;
        trace.say(now, || format!("seed {seed}: {plan:?}"));
        let mut desk = Desk { dice, habits: plan.habits.clone(), now, messages: 0 };
        let mut clients: Vec<Client> =
            (0..plan.clients).map(|index| Client::new(format!("client-{index}"), &mut desk)).collect();
        if desk.dice.percent(20) {
            clients.push(Client::new(String::new(), &mut desk));
        }
        Self { desk, plan, rig, oracle, clients, streams: Vec::new(), trace, mutant, step: 0 }
    }

    /// Whether a rule is broken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.oracle.violation().is_some()
    }

    fn tick(&mut self) -> Step {
        self.step += 1;
        self.step
    }

    /// One action of the scheduler.
    pub fn act(&mut self) {
        let weather = &self.plan.weather;
        if self.plan.restart.is_some() && self.step.is_multiple_of(5) {
            self.rig.flush();
        }
        match self.desk.dice.weighted(&weather.weights) {
            0 => {
                let core = self.desk.dice.below(self.plan.cores);
                self.turn(core, Appetite::Some);
            }
            1 => {
                let client = self.desk.dice.below(self.clients.len());
                self.client_acts(client);
            }
            2 => {
                let client = self.desk.dice.below(self.clients.len());
                if self.clients[client].is_reading() {
                    self.client_reads(client, Appetite::Some);
                }
            }
            _three => self.pass_time(),
        }
    }

    /// Lets everything through until nothing moves, and has the oracle look.
    pub fn come_to_rest(&mut self) {
        self.hang_up_abandoned();
        for client in 0..self.clients.len() {
            let packets = self.clients[client].relent();
            self.write_all(client, packets);
        }
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = self.rig.flush();
            for core in 0..self.plan.cores {
                has_moved |= self.turn(core, Appetite::All);
            }
            for client in 0..self.clients.len() {
                has_moved |= self.client_reads(client, Appetite::All);
                let packets = self.clients[client].relent();
                has_moved |= !packets.is_empty();
                self.write_all(client, packets);
            }
            if !has_moved || self.is_over() {
                break;
            }
        }
        if !self.is_over() && self.is_moving() {
            self.oracle.accuse(Rule::Rest, "the broker does not come to rest".into());
        }
        let step = self.tick();
        self.trace.say(self.desk.now, || "everything is at rest".into());
        self.oracle.rest(step);
    }

    fn is_moving(&self) -> bool {
        (0..self.plan.cores).any(|core| !self.chances(core, Appetite::All).is_empty())
    }

    /// One turn of one core. Returns whether anything happened.
    fn turn(&mut self, core: usize, appetite: Appetite) -> bool {
        self.desk.now = self.desk.now + Span::from_ns(self.desk.dice.between(1_000, 50_000));
        let now = self.desk.now;
        let mut events = Vec::new();
        let is_due = self.rig.next_deadline(core).is_some_and(|deadline| deadline <= now);
        let fires = is_due || appetite == Appetite::All || self.desk.dice.percent(10);
        let fires_first = self.desk.dice.percent(50) || self.oracle.has_held(core);
        if fires && fires_first {
            self.fire_timers(core, &mut events);
        }
        let told = self.tell(core, appetite, &mut events);
        if fires && !fires_first {
            self.fire_timers(core, &mut events);
        }
        let late = if appetite == Appetite::All { 0 } else { self.plan.weather.late_takes };
        let (dice, oracle) = (&mut self.desk.dice, &self.oracle);
        let produce = self.rig.end_turn(now, core, |socket| {
            // Whether a SUBACK is out decides about the packets behind it, so it is not left with its shard.
            let is_told = events.iter().any(|(_, event)| subscribes(event, socket));
            !is_told && !oracle.owes_suback(socket) && dice.percent(late)
        });
        for notice in &produce.notices {
            self.trace.say(now, || format!("core {core} notes: {notice}"));
        }
        let output =
            produce.output.into_iter().map(|(socket, bytes)| (socket, self.parse(socket, &bytes))).collect();
        let closed = self.mutant.closes(produce.closed);
        let enqueued = Rc::clone(&produce.enqueued);
        let adopted = produce.adopted;
        let turn = Turn { core, now, events, end: self.tick(), output, adopted, closed, enqueued };
        self.judge(&turn);
        told > 0 || is_due || !produce.is_empty
    }

    fn judge(&mut self, turn: &Turn) {
        for (socket, packets) in &turn.output {
            self.trace.mix(&[turn.now.ns(), u64::try_from(*socket).expect("a few sockets")]);
            for framed in packets {
                self.trace
                    .say(turn.now, || format!("core {} > c{socket} {}", turn.core, framed.packet.brief()));
            }
        }
        for socket in &turn.closed {
            self.trace.say(turn.now, || format!("core {} closes c{socket}", turn.core));
        }
        if !self.is_over() {
            self.oracle.turn(turn);
        }
    }

    fn fire_timers(&mut self, core: usize, events: &mut Vec<(Step, Event)>) {
        self.rig.hand_timers(self.desk.now, core);
        events.push((self.tick(), Event::Timers));
    }

    /// What a core could be told now.
    fn chances(&self, core: usize, appetite: Appetite) -> Vec<Chance> {
        let mut chances = Vec::new();
        let is_congested = self.rig.is_congested(core);
        let room = if appetite == Appetite::All { usize::MAX } else { self.plan.weather.socket_bytes };
        for (index, stream) in self.streams.iter().enumerate().filter(|(_, stream)| !stream.is_ended) {
            let socket = self.rig.socket(index);
            let is_sendable = !socket.unsent.is_empty() && socket.readable.len() < room;
            match socket.place {
                Place::Backlog(at) if at == core => chances.push(Chance::Accept(index)),
                Place::Lobby(at, _) | Place::Home(at, _) if at == core => {
                    let is_all_handed = socket.handed == socket.written.len();
                    if !is_all_handed && !is_congested {
                        chances.push(Chance::Bytes(index));
                    }
                    if is_sendable {
                        chances.push(Chance::Sent(index));
                    }
                    match socket.client_end {
                        Some(ClientEnd::Fin) if is_all_handed => chances.push(Chance::Gone(index)),
                        Some(ClientEnd::Reset) => chances.push(Chance::Gone(index)),
                        Some(ClientEnd::Fin) | None => {}
                    }
                }
                Place::Nowhere if is_sendable => chances.push(Chance::Sent(index)),
                Place::Backlog(_)
                | Place::Lobby(..)
                | Place::Home(..)
                | Place::Travelling
                | Place::Nowhere => {}
            }
            debug_assert!(stream.client <= self.clients.len());
        }
        let [is_durable, is_fetched] = self.rig.mail_waiting(core);
        chances.extend(is_durable.then_some(Chance::Durable));
        chances.extend(is_fetched.then_some(Chance::Fetched));
        for other in (0..self.plan.cores).filter(|other| *other != core) {
            if self.rig.batches_waiting(other, core) > 0 {
                chances.push(Chance::Batch(other));
            }
            if self.rig.travellers_waiting(other, core) {
                chances.push(Chance::Arrival(other));
            }
        }
        chances
    }

    fn tell(&mut self, core: usize, appetite: Appetite, events: &mut Vec<(Step, Event)>) -> usize {
        let most = match appetite {
            Appetite::Some => self.desk.dice.below(self.plan.weather.turn_events + 1),
            Appetite::All => 1000,
        };
        // A connection that was read in the lobby is not read again before the effects say where it belongs.
        let mut untouchable: Vec<usize> = Vec::new();
        let has_held = self.oracle.has_held(core);
        let mut told = 0;
        while told < most {
            let mut chances = self.chances(core, appetite);
            chances.retain(|chance| !matches!(chance, Chance::Bytes(socket) if untouchable.contains(socket)));
            // Packets behind a SUBSCRIBE may count when the batch comes that completes it, or when the turn ends. Whoever
            // could end their connection in between waits for the next turn, for then nobody could say which it was.
            if has_held && events.iter().any(|(_, event)| matches!(event, Event::Batch(_))) {
                chances.retain(|chance| self.is_harmless(*chance));
            }
            if chances.is_empty() {
                break;
            }
            let chance = *self.desk.dice.pick(&chances);
            if let Chance::Bytes(socket) = chance
                && matches!(self.rig.socket(socket).place, Place::Lobby(..))
            {
                untouchable.push(socket);
            }
            self.happen(core, chance, appetite, events);
            told += 1;
        }
        told
    }

    /// Whether what happens cannot end a connection other than by its own packets.
    fn is_harmless(&self, chance: Chance) -> bool {
        match chance {
            Chance::Bytes(socket) => matches!(self.rig.socket(socket).place, Place::Home(..)),
            Chance::Accept(_) | Chance::Sent(_) | Chance::Batch(_) | Chance::Durable | Chance::Fetched => {
                true
            }
            Chance::Gone(_) | Chance::Arrival(_) => false,
        }
    }

    fn happen(&mut self, core: usize, chance: Chance, appetite: Appetite, events: &mut Vec<(Step, Event)>) {
        let now = self.desk.now;
        match chance {
            Chance::Accept(socket) => {
                self.rig.accept(now, socket);
                events.push((self.tick(), Event::Accepted(socket)));
            }
            Chance::Bytes(socket) => self.hand_bytes(socket, appetite, events),
            Chance::Sent(socket) => self.accept_bytes(socket, appetite),
            Chance::Gone(socket) => {
                self.trace.say(now, || format!("core {core} learns that c{socket} is gone"));
                self.rig.hand_gone(now, socket);
                self.streams[socket].is_ended = true;
                events.push((self.tick(), Event::Gone(socket)));
            }
            Chance::Batch(from) => {
                self.trace.say(now, || format!("core {core} takes a batch of core {from}"));
                self.rig.hand_batch(now, from, core);
                events.push((self.tick(), Event::Batch(from)));
            }
            Chance::Durable => self.rig.hand_durable(now, core),
            Chance::Fetched => self.rig.hand_fetched(now, core),
            Chance::Arrival(from) => {
                if let Some(socket) = self.rig.hand_arrival(now, from, core) {
                    self.trace.say(now, || format!("core {core} takes c{socket} from core {from}"));
                    events.push((self.tick(), Event::Arrived(socket)));
                }
            }
        }
    }

    fn hand_bytes(&mut self, socket: usize, appetite: Appetite, events: &mut Vec<(Step, Event)>) {
        let state = self.rig.socket(socket);
        let unread = state.written.len() - state.handed;
        let is_cut = appetite == Appetite::Some && self.desk.dice.percent(self.plan.weather.cuts);
        let count = if is_cut { self.desk.dice.below(unread) + 1 } else { unread };
        let start = state.handed;
        let handed = state.handed + count;
        self.trace.mix_bytes(&state.written[start..handed]);
        self.rig.hand_bytes(self.desk.now, socket, count);
        let stream = &self.streams[socket];
        let mut told: Vec<Event> = Vec::new();
        for mark in stream.marks.iter().take_while(|mark| mark.start < handed) {
            if matches!(*mark.packet, ClientPacket::Bad(_)) && !stream.is_misdeed_noted {
                told.push(Event::Misdeed(socket));
            }
            if mark.end <= handed {
                told.push(Event::Packet(socket, Rc::clone(&mark.packet)));
            }
        }
        let stream = &mut self.streams[socket];
        stream.is_misdeed_noted |= told.iter().any(|event| matches!(event, Event::Misdeed(_)));
        stream.marks.retain(|mark| mark.end > handed);
        for event in told {
            if let Event::Packet(_, packet) = &event {
                self.trace.say(self.desk.now, || format!("c{socket} > {}", packet.brief()));
            }
            let step = self.tick();
            events.push((step, event));
        }
    }

    fn accept_bytes(&mut self, socket: usize, appetite: Appetite) {
        let unsent = self.rig.socket(socket).unsent.len();
        let count = if appetite == Appetite::Some && self.desk.dice.percent(self.plan.weather.cuts) {
            self.desk.dice.below(unsent) + 1
        } else {
            unsent
        };
        self.rig.accept_bytes(self.desk.now, socket, count);
    }

    /// Splits output into packets, lets the mutant at them, and puts what is left on the wire.
    fn parse(&mut self, socket: usize, bytes: &[u8]) -> Vec<Framed> {
        self.trace.mix_bytes(bytes);
        let version = self.streams[socket].version;
        let mut stream = std::mem::take(&mut self.streams[socket].partial);
        stream.extend_from_slice(bytes);
        let mut packets = Vec::new();
        let mut at = 0;
        loop {
            match decode(version, &stream[at..]) {
                Ok(Some(framed)) => {
                    let raw = stream[at..at + framed.bytes].to_vec();
                    at += framed.bytes;
                    packets.push((framed, raw));
                }
                Ok(None) => break,
                Err(why) => {
                    self.oracle.accuse(Rule::Legal, format!("{why}, to c{socket}"));
                    break;
                }
            }
        }
        self.streams[socket].partial = stream.split_off(at);
        let packets = self.mutant.filter(socket, version, packets);
        let unsent = &mut self.rig.socket_mut(socket).unsent;
        packets.iter().for_each(|(_, raw)| unsent.extend(raw));
        packets.into_iter().map(|(framed, _)| framed).collect()
    }

    /// A client's turn.
    fn client_acts(&mut self, client: usize) {
        let deed = self.clients[client].act(&mut self.desk);
        self.carry_out(client, deed);
    }

    pub(crate) fn carry_out(&mut self, client: usize, deed: Deed) {
        match deed {
            Deed::Wait => {}
            Deed::Open(packets) => {
                let core = self.desk.dice.below(self.plan.cores);
                let socket = self.rig.connect(core);
                self.hang_up_anonymous(client);
                let version = match packets.first() {
                    Some(ClientPacket::Connect(connect)) => connect.version,
                    Some(_) | None => Version::V5,
                };
                self.streams.push(Stream {
                    client,
                    version,
                    marks: VecDeque::new(),
                    is_misdeed_noted: false,
                    partial: Vec::new(),
                    is_ended: false,
                });
                self.clients[client].opened(socket);
                self.write_all(client, packets);
            }
            Deed::Write(packets) => self.write_all(client, packets),
            Deed::Leave(packets, end) => self.leave(client, packets, end),
        }
    }

    /// A client without a name cannot take its old connection over, so it ends it.
    fn hang_up_anonymous(&mut self, client: usize) {
        if self.clients[client].name.is_empty() {
            self.hang_up(client);
        }
    }

    /// Connections that nobody uses any more, because their client opened another, end at last.
    fn hang_up_abandoned(&mut self) {
        for client in 0..self.clients.len() {
            self.hang_up(client);
        }
    }

    fn hang_up(&mut self, client: usize) {
        let current = self.clients[client].socket();
        for (socket, stream) in self.streams.iter().enumerate() {
            if stream.client == client && Some(socket) != current {
                let end = &mut self.rig.socket_mut(socket).client_end;
                *end = end.or(Some(ClientEnd::Reset));
            }
        }
    }

    fn write_all(&mut self, client: usize, packets: Vec<ClientPacket>) {
        let Some(socket) = self.clients[client].socket() else { return };
        if !packets.is_empty() {
            self.clients[client].wrote(self.desk.now);
        }
        for packet in packets {
            self.write(socket, packet);
        }
    }

    /// The client has already forgotten the connection, so its last one is the one that it leaves.
    fn leave(&mut self, client: usize, packets: Vec<ClientPacket>, end: ClientEnd) {
        let Some(socket) = self.streams.iter().rposition(|stream| stream.client == client) else { return };
        for packet in packets {
            self.write(socket, packet);
        }
        self.trace.say(self.desk.now, || format!("c{socket} ends: {end:?}"));
        self.rig.socket_mut(socket).client_end = Some(end);
    }

    fn write(&mut self, socket: usize, packet: ClientPacket) {
        let version = self.streams[socket].version;
        let bytes = match self.mutant.lie(&packet) {
            Some(lie) => encode(version, &lie),
            None => encode(version, &packet),
        };
        let start = self.rig.socket(socket).written.len();
        self.trace.say(self.desk.now, || format!("c{socket} writes {}", packet.brief()));
        self.rig.socket_mut(socket).written.extend_from_slice(&bytes);
        let mark = Mark { start, end: start + bytes.len(), packet: Rc::new(packet) };
        self.streams[socket].marks.push_back(mark);
    }

    /// A client reads what its socket holds. Returns whether there was anything.
    fn client_reads(&mut self, client: usize, appetite: Appetite) -> bool {
        let Some(socket) = self.clients[client].socket() else { return self.drain_abandoned(client) };
        let state = self.rig.socket_mut(socket);
        let whole = state.readable.len();
        let count =
            if appetite == Appetite::Some && whole > 0 { self.desk.dice.below(whole) + 1 } else { whole };
        let bytes: Vec<u8> = state.readable.drain(..count).collect();
        let is_at_end = state.is_closed && state.unsent.is_empty() && state.readable.is_empty();
        match self.clients[client].read(&mut self.desk, &bytes) {
            Ok(packets) => self.write_all(client, packets),
            Err(why) => self.oracle.accuse(Rule::Legal, format!("{why}, read by c{socket}")),
        }
        if is_at_end {
            self.clients[client].drop_line();
        }
        let drained = self.drain_abandoned(client);
        count > 0 || is_at_end || drained
    }

    /// Nobody reads what comes over abandoned connections, but it is taken off the wire.
    fn drain_abandoned(&mut self, client: usize) -> bool {
        let current = self.clients[client].socket();
        let abandoned = self.streams.iter().enumerate().filter(|(socket, stream)| {
            stream.client == client && !stream.is_ended && Some(*socket) != current
        });
        let sockets: Vec<usize> = abandoned.map(|(socket, _)| socket).collect();
        let mut had_bytes = false;
        for socket in sockets {
            let state = self.rig.socket_mut(socket);
            had_bytes |= !state.readable.is_empty();
            state.readable.clear();
            let is_over = state.place == Place::Nowhere && state.unsent.is_empty();
            self.streams[socket].is_ended |= is_over;
        }
        had_bytes
    }

    /// Time passes: to the next deadline of a core, to a client's ping, or by any span.
    fn pass_time(&mut self) {
        self.take_late_output();
        let Weather { step_ms, .. } = self.plan.weather;
        let deadlines = (0..self.plan.cores).filter_map(|core| self.rig.next_deadline(core));
        let next = deadlines.filter(|deadline| *deadline > self.desk.now).min();
        let by_chance = self.desk.now + Span::from_ms(self.desk.dice.between(1, step_ms));
        let mut then = match next.filter(|_| self.desk.dice.percent(40)) {
            Some(deadline) => deadline.min(self.desk.now + Span::from_s(3600)),
            None => by_chance,
        };
        let pings = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(index, client)| Some((client.ping_due_at()?, index)));
        if let Some((due, client)) = pings.min().filter(|(due, _)| *due < then)
            && self.desk.dice.percent(85)
        {
            then = due.max(self.desk.now);
            self.write_all(client, vec![ClientPacket::PingReq]);
        }
        self.desk.now = then;
        self.trace.say(then, || "time passed".into());
    }

    /// Bytes that were left with their shards are fetched, as happens when the send before them ends.
    fn take_late_output(&mut self) {
        let now = self.desk.now;
        for socket in 0..self.rig.sockets() {
            let Some((socket, bytes)) = self.rig.take(socket) else { continue };
            let (Place::Lobby(core, _) | Place::Home(core, _)) = self.rig.socket(socket).place else {
                continue;
            };
            let output = vec![(socket, self.parse(socket, &bytes))];
            let turn = Turn {
                core,
                now,
                events: Vec::new(),
                end: self.tick(),
                output,
                adopted: Vec::new(),
                closed: Vec::new(),
                enqueued: Rc::from(Vec::new()),
            };
            self.judge(&turn);
        }
    }

    /// All connections end, with whatever was on its way.
    pub(crate) fn everybody_leaves(&mut self) {
        self.clients.iter_mut().for_each(Client::drop_line);
    }

    /// The broker ends and another one takes over what it wrote down. The world must be at rest.
    pub(crate) fn start_again(&mut self, cores: usize) {
        self.oracle.broker_gone();
        for core in 0..self.plan.cores {
            let sockets = self.rig.sockets_of(core);
            let events: Vec<(Step, Event)> =
                sockets.iter().map(|socket| (self.tick(), Event::Gone(*socket))).collect();
            sockets.iter().for_each(|socket| self.streams[*socket].is_ended = true);
            let enqueued = vec![0; self.plan.cores].into();
            let (now, end) = (self.desk.now, self.tick());
            let (output, adopted, closed) = (Vec::new(), Vec::new(), Vec::new());
            self.judge(&Turn { core, now, events, end, output, adopted, closed, enqueued });
        }
        self.everybody_leaves();
        self.trace.say(self.desk.now, || format!("the broker starts again with {cores} cores"));
        self.rig.start_again(self.desk.now, cores);
        self.plan.cores = cores;
        self.oracle.start_again(cores);
    }

    /// Lets a span pass at once.
    pub(crate) fn skip(&mut self, span: Span) {
        self.take_late_output();
        self.desk.now = self.desk.now + span;
    }
}

fn subscribes(event: &Event, socket: usize) -> bool {
    matches!(event, Event::Packet(at, packet) if *at == socket && matches!(**packet, ClientPacket::Subscribe(_)))
}
