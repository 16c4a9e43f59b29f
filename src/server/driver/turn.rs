//! The driver of one core and its turn.
//!
//! Why this order: what ended last turn is told first, because the bytes before the end have been answered by now;
//! bytes held back come before new ones; timers come last, so that a deadline never beats a byte that had arrived.
//!
//! Invariants:
//! - `now` is read once per turn.
//! - The mind's turn is ended, and its effects are carried out, whenever it was told anything.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use broker::CoreId;
use flume::Sender;
use platform::Platform;
use shard::{Arrival, Effects, Reply};
use stdx::{Instant, Span};

use super::accept::Doors;
use super::callers::Callers;
use super::opening::Opening;
use super::parting::Partings;
use super::sockets::Sockets;
use super::spares::Spares;
use super::tempo::Tempo;
use crate::clock::Clock;
use crate::control::Control;
use crate::doors::DoorEnd;
use crate::journal::{JournalEnd, Mail};
use crate::mesh::{Freight, MeshEnd};
use crate::mind::Mind;
use crate::notices::Notices;
use crate::ring::{Chunk, Event, Ring, Slot, Urge};

/// Completions read per turn.
const EVENTS_MAX: usize = 512;
/// Pieces of freight read per neighbour and turn.
const FREIGHT_MAX: usize = 64;
/// Turns for which timers may wait behind completions that were not read yet.
const LATE_TURNS_MAX: u32 = 256;

/// What the driver does of its own accord.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Empty turns before the core goes to sleep.
    pub(crate) spin_rounds: u32,
    /// Microseconds for which completions may gather while many come; 0 is never.
    pub(crate) gather_us: u32,
    /// Receives per second from which on.
    pub(crate) gather_from: u32,
    /// How long the graceful end may take.
    pub(crate) shutdown_grace: Span,
}

/// What a core is given when it starts.
pub(crate) struct Equipment {
    pub(crate) ring: Ring,
    pub(crate) mesh: MeshEnd,
    pub(crate) doors: Doors,
    pub(crate) control: Arc<Control>,
    /// The way to the store, if there is one.
    pub(crate) journal: Option<JournalEnd>,
    /// The way to whoever knows the clients, if anybody does.
    pub(crate) door: Option<DoorEnd>,
    /// Where those are who call hubs and wait for news of them.
    pub(crate) platform: Option<Platform>,
    /// Told when this core may open its doors.
    pub(crate) informed: Sender<()>,
    pub(crate) clock: Clock,
    pub(crate) habits: Habits,
}

/// One core's driver.
pub(crate) struct Driver<M: Mind> {
    pub(super) mind: M,
    pub(super) ring: Ring,
    pub(super) sockets: Sockets,
    pub(super) mesh: MeshEnd,
    pub(super) doors: Doors,
    pub(super) desk: Desk,
    pub(super) tempo: Tempo,
    pub(super) partings: Partings,
    pub(super) spares: Spares,
    pub(super) notices: Notices,
    pub(super) journal: Option<JournalEnd>,
    pub(super) door: Option<DoorEnd>,
    pub(super) callers: Callers,
    pub(super) opening: Opening,
    pub(super) ending: Ending,
    pub(super) clock: Clock,
    pub(super) habits: Habits,
}

/// What lies about during a turn, and what is kept for the next one.
#[derive(Default)]
pub(super) struct Desk {
    /// Completions of this turn.
    pub(super) events: Vec<Event>,
    /// Freight of this turn.
    pub(super) freight: Vec<(CoreId, Freight)>,
    /// Effects of this turn.
    pub(super) effects: Effects,
    /// Bytes that wait until the mind is no longer congested.
    pub(super) held: VecDeque<(Slot, Chunk)>,
    /// Connections that leave for another core when their last send has ended.
    pub(super) moving: Vec<(Slot, CoreId, Box<Arrival>)>,
    /// Sockets whose peers have ended, to be told next turn.
    pub(super) ended: Vec<Slot>,
    /// Sockets that need a new receive.
    pub(super) listening: Vec<Slot>,
    /// Those of them that must wait for what is held back.
    pub(super) deferred: Vec<Slot>,
    /// Sockets that need a new receive when there are buffers again.
    pub(super) starved: Vec<Slot>,
    /// Sockets whose send has ended while the mind had more.
    pub(super) unsent: Vec<Slot>,
    /// A neighbour had no room for a batch.
    pub(super) owing: bool,
    /// Turns for which timers have waited behind what had arrived.
    pub(super) late_turns: u32,
}

/// How far the graceful end has come.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) control: Arc<Control>,
    pub(super) deadline: Option<Instant>,
    pub(super) drained: bool,
}

/// Whether a turn found anything to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Nothing,
    Something,
}

impl<M: Mind> Driver<M> {
    /// A driver whose doors open when all cores are ready.
    pub(crate) fn new(mind: M, equipment: Equipment) -> Self {
        let Equipment { ring, mesh, doors, control, journal, door, platform, informed, clock, mut habits } =
            equipment;
        if !ring.can_gather() {
            habits.gather_us = 0;
        }
        let tempo = Tempo::new(clock.now(), habits.gather_us, habits.gather_from);
        Self {
            mind,
            ring,
            sockets: Sockets::new(),
            mesh,
            doors,
            desk: Desk::default(),
            tempo,
            partings: Partings::default(),
            spares: Spares::default(),
            notices: Notices::default(),
            journal,
            door,
            callers: Callers::new(platform),
            opening: Opening::new(informed),
            ending: Ending { control, deadline: None, drained: false },
            clock,
            habits,
        }
    }

    pub(super) fn control(&self) -> &Control {
        &self.ending.control
    }

    /// One turn. An error means that the kernel refuses the ring, and the core cannot go on.
    pub(super) fn turn(&mut self) -> io::Result<Found> {
        // Freight is fetched before the kernel is entered and told after what that brought: a client that says its last
        // words on one connection and comes back on another, through another core, is then heard in that order.
        let opening = self.must_go_on_opening();
        self.fetch_freight();
        self.ring.enter(Urge::IfNeeded, EVENTS_MAX)?;
        let now = self.clock.now();
        let told = self.take_in(now);
        let waiting = self.mesh.send_all_waiting();
        if told == Found::Something || self.desk.owing || opening {
            self.mind.end_turn(now);
            self.carry_out(now);
        }
        self.mesh.take_sleepers().for_each(|ring| self.ring.wake(ring));
        self.go_on_opening(opening, waiting || self.desk.owing);
        self.note_drained(waiting);
        Ok(if self.has_leftovers() { Found::Something } else { told })
    }

    /// When the driver must take a turn although nothing has arrived.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.mind.next_deadline(),
            self.partings.next_deadline(),
            self.doors.next_deadline(),
            self.ending.deadline,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether this core has nothing more to do, ever.
    pub(super) fn is_finished(&self) -> bool {
        let control = &self.ending.control;
        let ended = |deadline| control.all_drained() || self.clock.now() >= deadline;
        control.has_failed() || self.ending.deadline.is_some_and(ended)
    }

    fn take_in(&mut self, now: Instant) -> Found {
        let mut told = self.heed_stop(now);
        told |= self.tell_ended(now);
        told |= self.answer_refused_calls(now);
        told |= self.read_held(now);
        told |= self.read_mail(now);
        told |= self.read_answers(now);
        told |= self.read_events(now);
        told |= self.read_freight(now);
        told |= self.fire_timers(now);
        if told { Found::Something } else { Found::Nothing }
    }

    /// Whether the end was asked for and has not begun here.
    pub(super) fn must_heed_stop(&self) -> bool {
        self.ending.deadline.is_none() && self.ending.control.must_stop()
    }

    fn heed_stop(&mut self, now: Instant) -> bool {
        if !self.must_heed_stop() {
            return false;
        }
        self.ending.deadline = Some(now + self.habits.shutdown_grace);
        self.close_doors();
        self.mind.handle_shutdown(now);
        true
    }

    fn read_events(&mut self, now: Instant) -> bool {
        let mut events = std::mem::take(&mut self.desk.events);
        self.ring.collect(&mut events, EVENTS_MAX);
        let any = !events.is_empty();
        for event in events.drain(..) {
            match event {
                Event::Received { slot, inbound, armed } => self.on_received(now, slot, inbound, armed),
                Event::Sent { slot, outcome } => self.on_sent(now, slot, outcome),
                Event::Accepted { door, outcome, armed } => self.on_accepted(now, door, outcome, armed),
                // The mail flags say why.
                Event::Woken => {}
            }
        }
        self.desk.events = events;
        any
    }

    fn fetch_freight(&mut self) {
        self.mesh.receive(FREIGHT_MAX, &mut self.desk.freight);
    }

    fn read_freight(&mut self, now: Instant) -> bool {
        let mut freight = std::mem::take(&mut self.desk.freight);
        let any = !freight.is_empty();
        for (from, piece) in freight.drain(..) {
            match piece {
                Freight::Batch(batch) => self.mind.handle_batch(now, from, batch),
                Freight::Arrival { fd, arrival } => self.on_arrival(now, fd, *arrival),
                Freight::Call { call, reply } => {
                    let answer = self.mind.handle_call(call);
                    // Whoever asked may have given up waiting.
                    let _ = reply.send(self.complete(answer));
                }
                Freight::DeviceCall { device, call, reply } => {
                    let number = self.callers.add(reply);
                    self.mind.handle_device_call(now, number, device, *call);
                }
                Freight::Wardrobes { wardrobes, taken } => {
                    self.mind.handle_wardrobes(now, wardrobes);
                    let _ = taken.send(());
                }
            }
        }
        self.desk.freight = freight;
        any
    }

    /// Adds to an answer of the mind what only the driver has counted.
    fn complete(&self, mut answer: Reply) -> Reply {
        let Reply::Counters(counters) = &mut answer;
        counters.accept_pauses = self.doors.pauses();
        counters.kernel_entries = self.ring.entries();
        counters.gathering_waits = self.ring.gatherings();
        answer
    }

    /// Tells the mind what the store has to say. Before new bytes: what they cause is not durable yet.
    fn read_mail(&mut self, now: Instant) -> bool {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.has_mail()) else { return false };
        let Mail { durable, health, fetched } = journal.take_mail();
        if let Some(health) = health {
            self.mind.handle_store_health(now, health);
        }
        if let Some(turn) = durable {
            self.mind.handle_durable(now, turn);
        }
        for messages in fetched {
            self.mind.handle_fetched(now, messages);
        }
        true
    }

    /// Answers devices whose calls nobody took in the turn before this one.
    fn answer_refused_calls(&mut self, now: Instant) -> bool {
        let any = self.callers.has_refused();
        for (device, answer) in self.callers.take_refused() {
            let number = self.callers.add_nobody();
            self.mind.handle_device_call(now, number, device, answer);
        }
        any
    }

    /// Tells the mind what was found out about clients that wait.
    fn read_answers(&mut self, now: Instant) -> bool {
        let Some(door) = self.door.as_mut().filter(|door| door.has_mail()) else { return false };
        for (conn, answer) in door.take_mail() {
            self.mind.handle_answer(now, conn, answer);
        }
        true
    }

    fn fire_timers(&mut self, now: Instant) -> bool {
        self.expire_partings(now);
        self.reopen_doors(now);
        if self.mind.next_deadline().is_none_or(|deadline| deadline > now) {
            self.desk.late_turns = 0;
            return false;
        }
        // More has arrived than a turn reads, as after a pause of the whole machine: a deadline must not beat it, and must
        // not wait for ever behind a flood either.
        if self.desk.late_turns < LATE_TURNS_MAX && self.is_behind() {
            self.desk.late_turns += 1;
            return false;
        }
        self.desk.late_turns = 0;
        self.mind.handle_timers(now);
        true
    }

    /// Whether something has arrived that the mind was not told: completions that were not read, bytes of sockets that
    /// found no buffer, and bytes that a congested mind was spared.
    fn is_behind(&mut self) -> bool {
        !self.desk.starved.is_empty() || !self.desk.held.is_empty() || self.ring.is_behind()
    }

    /// Whether the next turn has work that needs no event to start it.
    fn has_leftovers(&self) -> bool {
        let held = match self.desk.held.is_empty() {
            true => !self.desk.ended.is_empty(),
            false => !self.mind.is_congested(),
        };
        held || self.callers.has_refused()
    }

    fn note_drained(&mut self, waiting: bool) {
        if self.ending.deadline.is_none() || self.ending.drained {
            return;
        }
        if self.mind.connections() == 0 && self.sockets.open() == 0 && !waiting {
            self.ending.drained = true;
            self.ending.control.note_drained();
            self.mesh.sound_alarms();
        }
    }
}
