//! The stage: cores, sockets, store and actors in one seeded order, with power cuts.
//!
//! Invariants:
//! - Nothing is handed to a shard that a real driver could not hand to it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use broker::Limits;
use shard::Durability;
use stdx::{Instant, Span};
use store::MemoryEngine;

use super::Fraud;
use super::actor::Actor;
use super::ledger::{Ledger, SHARED};
use crate::dice::Dice;
use crate::rig::{ClientEnd, Place, Rig};
use crate::trace::Trace;
use crate::wire::{ClientPacket, Version, decode, encode};

/// When the power fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Never.
    Never,
    /// Now and then.
    Often,
    /// At the write or sync behind so many others, once.
    AtStep(u64),
}

/// How a run went.
#[derive(Debug)]
pub struct Fate {
    /// What was broken, if anything.
    pub complaint: Option<String>,
    /// Writes and syncs until the end or the first cut.
    pub steps: u64,
    /// Power cuts.
    pub cuts: usize,
    /// Messages written.
    pub messages: usize,
}

const TOPICS: [&str; 5] = ["t/a", "t/b", "t/c", "u", "s"];
const FILTERS: [&str; 7] = ["t/a", "t/b", "t/+", "t/#", "u", SHARED, SHARED];
/// Every actor has a retained topic to itself, so that there is no doubt about the last value.
const RETAINED: &str = "r/";
const ROUNDS_MAX: usize = 20_000;

#[derive(Debug)]
struct Stage {
    dice: Dice,
    rig: Rig,
    ledger: Ledger,
    actors: Vec<Actor>,
    /// The actor of each socket.
    owners: Vec<usize>,
    now: Instant,
    cuts: usize,
    steps_before: Option<u64>,
    trace: Trace,
}

/// Runs a seed.
#[must_use]
pub fn run_powerless(seed: u64, cut: Cut, fraud: Option<Fraud>, trace: Trace) -> (Fate, Trace) {
    let mut stage = Stage::new(seed, cut, fraud, trace);
    let result = catch_unwind(AssertUnwindSafe(|| stage.play(cut)));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        stage.ledger.complain(format!("panic: {}", text.unwrap_or_default()));
    }
    let fate = Fate {
        complaint: stage.ledger.complaint().map(Into::into),
        steps: stage.steps_before.unwrap_or_else(|| stage.rig.store_steps()),
        cuts: stage.cuts,
        messages: stage.ledger.messages(),
    };
    (fate, stage.trace)
}

impl Stage {
    fn new(seed: u64, cut: Cut, fraud: Option<Fraud>, trace: Trace) -> Self {
        let mut dice = Dice::new(seed);
        let now = Instant::from_ns(1_000_000_000);
        let limits = Limits {
            queue_memory_messages: *dice.pick(&[1, 2, 5, 1000]),
            inflight_3x_max: *dice.pick(&[1, 3, 64]),
            queue_memory_bytes_total_max: *dice.pick(&[300, 1_073_741_824]),
            receive_maximum: 100,
            takeovers_per_minute_max: 0,
            unwritten_bytes_max: *dice.pick(&[300, 67_108_864]),
            ..Limits::default()
        };
        let cores = *dice.pick(&[1, 2, 2, 3, 4]);
        let mut rig = Rig::new(cores, &limits, *dice.pick(&[1, 2, 100]), seed, now);
        let mut engine = MemoryEngine::default();
        if let Cut::AtStep(step) = cut {
            engine.fail_after(step);
        }
        rig.keep_journal_on(now, Durability::Fsync, engine, fraud);
        let count = dice.below(4) + 3;
        let actor = |id: usize, dice: &mut Dice| {
            let version = *dice.pick(&[Version::V311, Version::V5]);
            Actor::new(id, format!("actor-{id}"), version, *dice.pick(&[1, 2, 100]))
        };
        let actors = (0..count).map(|id| actor(id, &mut dice)).collect();
        let mut trace = trace;
        trace.say(now, || format!("seed {seed}: {cores} cores, {limits:?}"));
        let (ledger, owners) = (Ledger::default(), Vec::new());
        Self { dice, rig, ledger, actors, owners, now, cuts: 0, steps_before: None, trace }
    }

    fn play(&mut self, cut: Cut) {
        let actions = *self.dice.pick(&[150, 300, 600]);
        let pace = *self.dice.pick(&[2, 5, 20]);
        for _ in 0..actions {
            match self.dice.below(10) {
                0..=4 => self.turn_of_any(),
                5..=7 => self.act(),
                _rest => self.read_any(),
            }
            if self.dice.percent(pace) && !self.rig.flush() && self.rig.is_dark() {
                self.cut_power();
            }
            if cut == Cut::Often && self.dice.percent(1) {
                self.cut_power();
                // Sometimes again while it recovers.
                while self.dice.percent(30) {
                    self.cut_power();
                }
            }
            if self.ledger.complaint().is_some() {
                return;
            }
        }
        self.finish();
    }

    /// The power fails; another broker comes back.
    fn cut_power(&mut self) {
        self.cuts += 1;
        self.steps_before.get_or_insert(self.rig.store_steps());
        let cores = *self.dice.pick(&[1, 2, 2, 3]);
        let luck = self.dice.below(3);
        self.trace.say(self.now, || format!("the power fails; {cores} cores go on"));
        self.rig.cut_power(self.now, cores, luck);
        if self.dice.percent(50) {
            for core in 0..cores {
                self.turn(core, 0);
            }
        }
    }

    fn turn_of_any(&mut self) {
        let core = self.dice.below(self.rig.cores());
        let most = *self.dice.pick(&[1, 3, 20]);
        self.turn(core, most);
    }

    /// One turn of a core that is told so many things at most. Returns whether anything happened.
    fn turn(&mut self, core: usize, most: usize) -> bool {
        self.now = self.now + Span::from_ns(self.dice.between(1_000, 50_000));
        let now = self.now;
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
            self.happen(core, chance);
            told += 1;
        }
        let is_due = self.rig.next_deadline(core).is_some_and(|deadline| deadline <= now);
        if is_due {
            self.rig.hand_timers(now, core);
        }
        let produce = self.rig.end_turn(now, core, |_| false);
        for (socket, bytes) in produce.output {
            let version = self.actors[self.owners[socket]].version;
            self.trace.say(now, || format!("core {core} > c{socket} {}", brief(version, &bytes)));
            self.rig.socket_mut(socket).unsent.extend(bytes);
        }
        told > 0 || is_due || !produce.is_empty
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
        chances
    }

    fn happen(&mut self, core: usize, chance: Chance) {
        let now = self.now;
        match chance {
            Chance::Accept(socket) => self.rig.accept(now, socket),
            Chance::Bytes(socket) => {
                let state = self.rig.socket(socket);
                let unread = state.written.len() - state.handed;
                let count = if self.dice.percent(30) { self.dice.below(unread) + 1 } else { unread };
                self.rig.hand_bytes(now, socket, count);
            }
            Chance::Sent(socket) => {
                let count = self.rig.socket(socket).unsent.len();
                self.rig.accept_bytes(now, socket, count);
            }
            Chance::Gone(socket) => self.rig.hand_gone(now, socket),
            Chance::Batch(from) => self.rig.hand_batch(now, from, core),
            Chance::Arrival(from) => drop(self.rig.hand_arrival(now, from, core)),
            Chance::Durable => self.rig.hand_durable(now, core),
            Chance::Fetched => self.rig.hand_fetched(now, core),
        }
    }

    fn act(&mut self) {
        let index = self.dice.below(self.actors.len());
        if self.actors[index].socket.is_none() {
            if self.dice.percent(40) {
                self.connect(index);
            }
            return;
        }
        if !self.actors[index].is_greeted {
            return;
        }
        let (dice, ledger, actor) = (&mut self.dice, &mut self.ledger, &mut self.actors[index]);
        let packet = match dice.below(20) {
            0..=11 if actor.in_flight() < 8 => {
                let qos = *dice.pick(&[1, 2, 2]);
                actor.publish(ledger, dice.pick::<&str>(&TOPICS), qos, false)
            }
            12..=13 if actor.in_flight() < 8 => {
                let topic = format!("{RETAINED}{index}");
                // One QoS, for a repeated QoS 1 message may overwrite a later QoS 2 message that is known already.
                actor.publish(ledger, &topic, if index.is_multiple_of(2) { 1 } else { 2 }, true)
            }
            14..=16 if actor.may_ask() => actor.ask(ledger, dice.pick::<&str>(&FILTERS), 2, true),
            17 if actor.may_ask() => actor.ask(ledger, dice.pick::<&str>(&FILTERS), 2, false),
            18 => return self.leave(index),
            _nothing => return,
        };
        self.write(index, &packet);
    }

    fn connect(&mut self, index: usize) {
        let core = self.dice.below(self.rig.cores());
        let socket = self.rig.connect(core);
        self.owners.push(index);
        self.actors[index].socket = Some(socket);
        let connect = self.actors[index].connect();
        self.write(index, &connect);
    }

    /// The connection breaks.
    fn leave(&mut self, index: usize) {
        if let Some(socket) = self.actors[index].socket {
            self.rig.socket_mut(socket).client_end = Some(ClientEnd::Reset);
        }
        self.actors[index].drop_line();
    }

    fn write(&mut self, index: usize, packet: &ClientPacket) {
        let actor = &self.actors[index];
        let Some(socket) = actor.socket else { return };
        self.trace.say(self.now, || format!("a{index} c{socket} writes {}", packet.brief()));
        self.rig.socket_mut(socket).written.extend(encode(actor.version, packet));
    }

    fn read_any(&mut self) {
        let index = self.dice.below(self.actors.len());
        self.read(index);
    }

    /// An actor reads what its socket holds. Returns whether there was anything.
    fn read(&mut self, index: usize) -> bool {
        let Some(socket) = self.actors[index].socket else { return false };
        let state = self.rig.socket_mut(socket);
        let bytes: Vec<u8> = state.readable.drain(..).collect();
        let is_at_end = state.is_closed && state.unsent.is_empty();
        let actor = &mut self.actors[index];
        let version = actor.version;
        let mut stream = std::mem::take(&mut actor.partial);
        stream.extend(&bytes);
        let mut at = 0;
        let mut replies = Vec::new();
        loop {
            match decode(version, &stream[at..]) {
                Ok(Some(framed)) => {
                    at += framed.bytes;
                    self.trace.say(self.now, || format!("a{index} reads {}", framed.packet.brief()));
                    replies.extend(self.actors[index].hear(&mut self.ledger, framed.packet));
                }
                Ok(None) => break,
                Err(why) => {
                    self.ledger.complain(format!("{why}, read by a{index}"));
                    break;
                }
            }
        }
        self.actors[index].partial = stream.split_off(at);
        replies.iter().for_each(|packet| self.write(index, packet));
        if is_at_end {
            self.actors[index].drop_line();
        }
        !bytes.is_empty() || is_at_end
    }

    /// Everybody is connected and everything goes through.
    fn finish(&mut self) {
        let probe = self.actors.len();
        self.actors.push(Actor::new(probe, "probe".into(), Version::V5, 100));
        self.come_to_rest();
        let ask = self.actors[probe].ask(&mut self.ledger, "r/#", 2, true);
        self.write(probe, &ask);
        self.come_to_rest();
        for actor in 0..probe {
            let topic = format!("{RETAINED}{actor}");
            let found = self.actors[probe].retained.get(&topic).copied();
            self.ledger.settle_retained(&topic, found);
        }
        self.ledger.settle();
        self.ledger.silence();
        self.cut_power();
        self.come_to_rest();
    }

    fn come_to_rest(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = self.rig.flush();
            if self.rig.is_dark() {
                self.cut_power();
                has_moved = true;
            }
            for index in 0..self.actors.len() {
                if self.actors[index].socket.is_none() {
                    self.connect(index);
                    has_moved = true;
                }
                has_moved |= self.read(index);
            }
            for core in 0..self.rig.cores() {
                has_moved |= self.turn(core, 1000);
            }
            if !has_moved || self.ledger.complaint().is_some() {
                break;
            }
        }
        for actor in &self.actors {
            if !actor.is_content() {
                self.ledger.complain(format!("a{} still waits for an acknowledgement", actor.id));
            }
        }
    }
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

fn brief(version: Version, bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    let mut at = 0;
    while let Ok(Some(framed)) = decode(version, &bytes[at..]) {
        at += framed.bytes;
        lines.push(framed.packet.brief());
    }
    lines.join("; ")
}
