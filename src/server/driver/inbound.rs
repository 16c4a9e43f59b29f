//! From receive completions to the mind.
//!
//! Why the end of a stream waits for the next turn: a peer that sends its last packets and closes its write side at
//! once still wants the answers, and they leave at the end of this turn.
//!
//! Invariants:
//! - The bytes of one connection reach the mind in the order in which they came, held back or not.
//! - Every chunk is given back to the ring.
//! - Of a connection that may have to be left unread, at most one chunk arrives after the mind has said so.
//! - In the lobby nothing is in flight while the mind looks at bytes, so a connection can leave at any turn.

use std::os::fd::AsFd;

use stdx::Instant;

use super::sockets::Stage;
use super::turn::Driver;
use crate::mind::Mind;
use crate::ring::{Chunk, Inbound, Slot};

impl<M: Mind> Driver<M> {
    pub(super) fn on_received(&mut self, now: Instant, slot: Slot, inbound: Inbound, armed: bool) {
        let Some(socket) = self.sockets.find(slot) else {
            unreachable!("a place is not used again before its last completion");
        };
        socket.receiving = armed;
        match inbound {
            Inbound::Bytes(chunk) => {
                self.tempo.note_receive();
                self.listen_again(slot, armed);
                self.read_or_hold(now, slot, chunk);
            }
            Inbound::Starved => self.desk.starved.push(slot),
            Inbound::Cancelled => self.listen_again(slot, armed),
            Inbound::End | Inbound::Broken(_) => {
                socket.ended = true;
                self.desk.ended.push(slot);
            }
        }
        self.release_if_doomed(slot);
    }

    /// Reads what was held back, as far as the mind allows.
    pub(super) fn read_held(&mut self, now: Instant) -> bool {
        let mut any = false;
        while !self.mind.is_congested() {
            let Some((slot, chunk)) = self.desk.held.pop_front() else { break };
            self.read(now, slot, chunk);
            any = true;
        }
        any
    }

    /// Tells the mind which peers are gone since the last turn.
    pub(super) fn tell_ended(&mut self, now: Instant) -> bool {
        // While bytes are held back, an end must wait behind them.
        if self.desk.ended.is_empty() || !self.desk.held.is_empty() {
            return false;
        }
        let mut ended = std::mem::take(&mut self.desk.ended);
        for slot in ended.drain(..) {
            let Some(socket) = self.sockets.find(slot) else { continue };
            if matches!(socket.stage, Stage::Lobby | Stage::Home) {
                let conn = socket.conn;
                self.mind.handle_gone(now, conn);
                self.part(now, slot, Vec::new());
            } else {
                self.go_on_parting(now, slot);
            }
        }
        self.desk.ended = ended;
        true
    }

    /// Asks for new receives where one is due.
    pub(super) fn listen(&mut self) {
        if self.ring.has_buffers() {
            self.desk.listening.append(&mut self.desk.starved);
        }
        let mut listening = std::mem::take(&mut self.desk.listening);
        for slot in listening.drain(..) {
            let Some(socket) = self.sockets.find(slot) else { continue };
            if socket.receiving || socket.ended || socket.paused {
                continue;
            }
            if socket.stage == Stage::Lobby && !self.desk.held.is_empty() {
                // What is held back may be its CONNECT, with which it leaves.
                self.desk.deferred.push(slot);
                continue;
            }
            match socket.stage {
                Stage::Lobby => self.ring.receive_once(slot, socket.fd.as_fd()),
                Stage::Home if self.mind.is_metered() => self.ring.receive_once(slot, socket.fd.as_fd()),
                Stage::Home | Stage::Parting => self.ring.receive(slot, socket.fd.as_fd()),
                Stage::Moving | Stage::Doomed => continue,
            }
            socket.receiving = true;
        }
        listening.append(&mut self.desk.deferred);
        self.desk.listening = listening;
    }

    fn listen_again(&mut self, slot: Slot, armed: bool) {
        if !armed {
            self.desk.listening.push(slot);
        }
    }

    fn read_or_hold(&mut self, now: Instant, slot: Slot, chunk: Chunk) {
        if self.desk.held.is_empty() && !self.mind.is_congested() {
            self.read(now, slot, chunk);
        } else {
            self.desk.held.push_back((slot, chunk));
        }
    }

    fn read(&mut self, now: Instant, slot: Slot, chunk: Chunk) {
        let bytes = self.ring.bytes(&chunk);
        match self.sockets.find(slot).map(|socket| (socket.stage, socket.conn)) {
            Some((Stage::Lobby | Stage::Home, conn)) => self.mind.handle_bytes(now, conn, bytes),
            Some((Stage::Parting, _)) => {
                let count = bytes.len();
                self.drain(slot, count);
            }
            // Nothing is received while a connection moves.
            Some((Stage::Moving | Stage::Doomed, _)) | None => {}
        }
        self.ring.recycle(chunk);
    }
}
