//! A core's mind that only copies packets from publishers to subscribers.
//!
//! Invariants:
//! - A place is used again only after its connection is gone, with the next generation.

use broker::{Batch, CoreId};
use server::Mind;
use shard::{Accepted, Arrival, Call, Closing, ConnId, Effects, Reply};
use stdx::Instant;

use crate::switch::{Refused, Switch};

/// The mind.
#[derive(Default)]
pub(crate) struct Relay {
    switch: Switch,
    places: Vec<Place>,
    free: Vec<u32>,
    spares: Vec<Vec<u8>>,
    effects: Effects,
    open: usize,
    packets: u64,
}

#[derive(Default)]
struct Place {
    generation: u32,
    open: bool,
    adopted: bool,
    /// Stands in the effects.
    dirty: bool,
    out: Vec<u8>,
}

fn slot(index: u32) -> usize {
    usize::try_from(index).expect("usize has at least 32 bits")
}

fn index(slot: usize) -> u32 {
    u32::try_from(slot).expect("places are made from 32 bits")
}

impl Relay {
    fn is_open(&self, conn: ConnId) -> bool {
        self.places
            .get(slot(conn.index))
            .is_some_and(|place| place.open && place.generation == conn.generation)
    }

    fn leave(&mut self, conn: ConnId) {
        let place = &mut self.places[slot(conn.index)];
        let mut out = std::mem::take(&mut place.out);
        out.clear();
        self.spares.push(out);
        *place = Place { generation: conn.generation.wrapping_add(1), ..Place::default() };
        self.switch.dismiss(slot(conn.index));
        self.free.push(conn.index);
        self.open -= 1;
    }
}

impl Mind for Relay {
    fn handle_accepted(&mut self, _now: Instant, _accepted: Accepted) -> Option<ConnId> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            index(self.places.len() - 1)
        });
        let place = &mut self.places[slot(index)];
        place.open = true;
        self.switch.admit(slot(index));
        self.open += 1;
        Some(ConnId { index, generation: place.generation })
    }

    fn handle_arrival(&mut self, _now: Instant, _arrival: Arrival) -> Option<ConnId> {
        None // There is one core.
    }

    fn handle_bytes(&mut self, _now: Instant, conn: ConnId, bytes: &[u8]) {
        if !self.is_open(conn) {
            return;
        }
        let Self { switch, places, spares, effects, .. } = self;
        if !std::mem::replace(&mut places[slot(conn.index)].adopted, true) {
            effects.adopted.push(conn);
        }
        let mut outlet = |target: usize, bytes: &[u8]| {
            let place = &mut places[target];
            if place.out.capacity() == 0
                && let Some(spare) = spares.pop()
            {
                place.out = spare;
            }
            place.out.extend_from_slice(bytes);
            if !std::mem::replace(&mut place.dirty, true) {
                effects.dirty.push(ConnId { index: index(target), generation: place.generation });
            }
        };
        match switch.feed(slot(conn.index), bytes, &mut outlet) {
            Ok(count) => self.packets += count,
            Err(Refused) => {
                self.leave(conn);
                self.effects.closing.push(Closing { conn, last: vec![] });
            }
        }
    }

    fn packets_read(&self) -> u64 {
        self.packets
    }

    fn handle_sent(&mut self, _now: Instant, _conn: ConnId, _count: usize) {}

    fn handle_gone(&mut self, _now: Instant, conn: ConnId) {
        if self.is_open(conn) {
            self.leave(conn);
        }
    }

    fn handle_batch(&mut self, _now: Instant, _from: CoreId, _batch: Batch) {}

    fn handle_timers(&mut self, _now: Instant) {}

    fn handle_call(&mut self, call: Call) -> Reply {
        match call {
            Call::Counters => Reply::Counters(Box::default()),
        }
    }

    fn handle_shutdown(&mut self, _now: Instant) {
        for at in 0..self.places.len() {
            let conn = ConnId { index: index(at), generation: self.places[at].generation };
            if self.is_open(conn) {
                self.leave(conn);
                self.effects.closing.push(Closing { conn, last: vec![] });
            }
        }
    }

    fn end_turn(&mut self, _now: Instant) {}

    fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        if spare.capacity() > 0 {
            self.spares.push(spare);
        }
        if !self.is_open(conn) {
            return vec![];
        }
        let place = &mut self.places[slot(conn.index)];
        place.dirty = false;
        std::mem::take(&mut place.out)
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_congested(&self) -> bool {
        false
    }

    fn return_batch(&mut self, _to: CoreId, _batch: Batch) {}

    fn connections(&self) -> usize {
        self.open
    }
}
