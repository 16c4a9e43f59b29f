//! Closing gently.
//!
//! Why not simply close: a socket closed while unread bytes lie in it resets the connection, and a reset destroys what
//! was sent before, so the peer would never see the reason for which it was thrown out. So the write side is shut down
//! first, and what still comes is read and thrown away for a moment.
//!
//! Invariants:
//! - A parting socket is closed after at most [`FLUSH_SPAN`] plus [`LINGER_SPAN`], or [`DRAIN_BYTES_MAX`] bytes.
//! - A descriptor is closed only when nothing is in flight for it, so its number cannot be confused with a later one.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use stdx::{Instant, Span};

use super::sockets::{Farewell, Stage};
use super::turn::Driver;
use crate::mind::Mind;
use crate::ring::Slot;

/// How long the last bytes may take to leave.
const FLUSH_SPAN: Span = Span::from_s(5);
/// How long the peer may take to close its side after that.
const LINGER_SPAN: Span = Span::from_s(1);
/// How much the peer may send meanwhile.
const DRAIN_BYTES_MAX: usize = 64 * 1024;

/// Which parting sockets must be closed when. Each queue is in order of time, because its span is the same for all.
#[derive(Default)]
pub(super) struct Partings {
    flushing: VecDeque<(Instant, Slot)>,
    lingering: VecDeque<(Instant, Slot)>,
}

impl Partings {
    /// When the next socket must be closed.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let first = |queue: &VecDeque<(Instant, Slot)>| queue.front().map(|(deadline, _)| *deadline);
        [first(&self.flushing), first(&self.lingering)].into_iter().flatten().min()
    }

    fn pop_due(&mut self, now: Instant) -> Option<(Slot, Patience)> {
        if let Some(slot) = pop_due(&mut self.flushing, now) {
            return Some((slot, Patience::Flushing));
        }
        pop_due(&mut self.lingering, now).map(|slot| (slot, Patience::Lingering))
    }
}

fn pop_due(queue: &mut VecDeque<(Instant, Slot)>, now: Instant) -> Option<Slot> {
    let due = queue.front().is_some_and(|(deadline, _)| *deadline <= now);
    let (_, slot) = if due { queue.pop_front()? } else { return None };
    Some(slot)
}

/// Which wait is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Flushing,
    Lingering,
}

impl<M: Mind> Driver<M> {
    /// Begins to close a socket whose connection the mind has forgotten; `last` goes behind what is in flight.
    pub(super) fn part(&mut self, now: Instant, slot: Slot, last: Vec<u8>) {
        let Some(socket) = self.sockets.find(slot) else { return };
        socket.stage = Stage::Parting;
        socket.paused = false;
        if socket.sending || !last.is_empty() {
            self.partings.flushing.push_back((now + FLUSH_SPAN, slot));
        }
        socket.farewell = Some(Box::new(Farewell { last, ..Farewell::default() }));
        self.desk.listening.push(slot);
        self.go_on_parting(now, slot);
    }

    /// Takes the next step that is possible: send the last bytes, shut down, close.
    pub(super) fn go_on_parting(&mut self, now: Instant, slot: Slot) {
        let Some(socket) = self.sockets.find(slot) else { return };
        let (Stage::Parting, Some(farewell), false) = (socket.stage, &mut socket.farewell, socket.sending)
        else {
            return;
        };
        if socket.mute {
            return self.doom(slot);
        }
        if !farewell.last.is_empty() {
            let last = std::mem::take(&mut farewell.last);
            socket.sent = 0;
            socket.sending = true;
            return self.ring.send(slot, socket.fd.as_fd(), last);
        }
        // A peer that has ended reads no further than our end, and that comes with closing too.
        if socket.ended {
            return self.doom(slot);
        }
        if !farewell.shut {
            farewell.shut = true;
            // It fails only if the connection is already gone, which the receive side reports.
            let _ = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Write);
            self.partings.lingering.push_back((now + LINGER_SPAN, slot));
        }
    }

    /// Notes that a parting socket has sent us `count` bytes that nobody wants.
    pub(super) fn drain(&mut self, slot: Slot, count: usize) {
        let Some(farewell) = self.sockets.find(slot).and_then(|socket| socket.farewell.as_mut()) else {
            return;
        };
        farewell.drained_bytes += count;
        if farewell.drained_bytes > DRAIN_BYTES_MAX {
            self.doom(slot);
        }
    }

    /// Closes the sockets whose time is over.
    pub(super) fn expire_partings(&mut self, now: Instant) {
        while let Some((slot, patience)) = self.partings.pop_due(now) {
            let Some(socket) = self.sockets.find(slot) else { continue };
            let shut = socket.farewell.as_ref().is_some_and(|farewell| farewell.shut);
            if socket.stage == Stage::Parting && shut == (patience == Patience::Lingering) {
                self.doom(slot);
            }
        }
    }

    /// Closes a socket as soon as nothing is in flight for it.
    pub(super) fn doom(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.find(slot) else { return };
        if socket.stage == Stage::Doomed {
            return;
        }
        socket.stage = Stage::Doomed;
        if socket.receiving {
            self.ring.cancel_receive(slot);
        }
        if socket.sending {
            self.ring.cancel_send(slot);
        }
        self.release_if_doomed(slot);
    }

    /// Closes a doomed socket if nothing is in flight for it.
    pub(super) fn release_if_doomed(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.find(slot) else { return };
        if socket.stage == Stage::Doomed && !socket.receiving && !socket.sending {
            drop(self.sockets.remove(slot));
        }
    }
}
