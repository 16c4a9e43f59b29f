//! The null relay on plain epoll.
//!
//! Why epoll first: it is what most brokers use, and what a ratio of system calls is easiest to reason about with.
//!
//! Invariants:
//! - One `recv` per readable peer and one `send` per written peer in a turn.

use std::net::TcpListener;

use rustix::event::Timespec;

use super::peer::{Door, Gone, Happening, Peer, seat};
use super::switch::Switch;
use crate::failure::Failure;

const INBOUND_BYTES: usize = 256 * 1_024;

/// The server.
#[derive(Debug)]
pub(crate) struct NullRelay {
    door: Door,
    switch: Switch,
    seats: Vec<Option<Seat>>,
    happenings: Vec<Happening>,
    inbound: Vec<u8>,
    dirty: Vec<usize>,
}

#[derive(Debug)]
struct Seat {
    peer: Peer,
    /// Stands in `dirty`.
    dirty: bool,
}

impl NullRelay {
    /// Serves `listener`.
    pub(crate) fn new(listener: TcpListener) -> Result<Self, Failure> {
        Ok(Self {
            door: Door::new(listener)?,
            switch: Switch::default(),
            seats: vec![],
            happenings: vec![],
            inbound: vec![0; INBOUND_BYTES],
            dirty: vec![],
        })
    }

    /// Waits once, copies what came, and writes once to everybody concerned.
    pub(crate) fn turn(&mut self, timeout: Option<&Timespec>) -> Result<(), Failure> {
        let Self { door, switch, seats, happenings, .. } = self;
        door.wait(timeout, happenings, |peer| {
            let slot = peer.slot();
            switch.admit(slot);
            seat(seats, slot, Seat { peer, dirty: false });
        })?;
        let mut happenings = std::mem::take(&mut self.happenings);
        for happening in happenings.drain(..) {
            if self.take(happening) == Err(Gone) {
                self.dismiss(happening.slot);
            }
        }
        self.happenings = happenings;
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(Some(seat)) = self.seats.get_mut(slot) else { continue };
            seat.dirty = false;
            if self.door.flush(&mut seat.peer) == Err(Gone) {
                self.dismiss(slot);
            }
        }
        self.dirty = dirty;
        Ok(())
    }

    #[inline]
    fn take(&mut self, Happening { slot, readable, writable }: Happening) -> Result<(), Gone> {
        let Self { door, switch, seats, inbound, dirty, .. } = self;
        let Some(Some(seat)) = seats.get_mut(slot) else { return Ok(()) };
        if writable {
            door.unblock(&mut seat.peer)?;
        }
        if !readable {
            return Ok(());
        }
        let count = seat.peer.receive(inbound)?;
        let mut outlet = |target: usize, bytes: &[u8]| {
            let Some(Some(seat)) = seats.get_mut(target) else { return };
            seat.peer.outbox.extend_from_slice(bytes);
            if !std::mem::replace(&mut seat.dirty, true) {
                dirty.push(target);
            }
        };
        switch.feed(slot, &inbound[..count], &mut outlet).map(drop).map_err(|_| Gone)
    }

    fn dismiss(&mut self, slot: usize) {
        if self.seats.get_mut(slot).and_then(Option::take).is_some() {
            self.switch.dismiss(slot);
            self.door.release(slot);
        }
    }
}
