//! From the mind's out buffers to send operations.
//!
//! Why one send at a time: order is the kernel's affair within one send and ours between two, and what the mind adds
//! meanwhile gathers into the next, so a busy connection batches by itself.
//!
//! Invariants:
//! - A socket has at most one send in flight, and the bytes behind it stay with the mind.
//! - Each count that the socket took is told to the mind while it knows the connection.

use std::os::fd::AsFd;

use rustix::io::Errno;
use shard::ConnId;
use stdx::Instant;

use super::sockets::Stage;
use super::turn::Driver;
use crate::mind::Mind;
use crate::ring::Slot;

impl<M: Mind> Driver<M> {
    pub(super) fn on_sent(&mut self, now: Instant, slot: Slot, outcome: Result<usize, Errno>) {
        let total = self.ring.send_bytes(slot);
        let Some(socket) = self.sockets.find(slot) else {
            unreachable!("a place is not used again before its last completion");
        };
        socket.sending = false;
        match outcome {
            Ok(count) if count > 0 => {
                socket.sent += count;
                let (conn, sent) = (socket.conn, socket.sent);
                if matches!(socket.stage, Stage::Lobby | Stage::Home) {
                    self.mind.handle_sent(now, conn, count);
                }
                if sent < total { self.send_rest(slot) } else { self.finish_send(now, slot) }
            }
            // The socket is broken or was cancelled. The receive side tells the mind, behind the bytes before it.
            Ok(_) | Err(_) => {
                socket.mute = true;
                self.finish_send(now, slot);
            }
        }
        self.release_if_doomed(slot);
    }

    /// Fetches what the mind has for a connection and sends it, unless a send is in flight.
    pub(super) fn send_out(&mut self, conn: ConnId) {
        let Some(slot) = self.sockets.slot_of(conn) else { return };
        let Some(socket) = self.sockets.find(slot) else { return };
        if socket.sending {
            socket.more = true;
            return;
        }
        socket.more = false;
        let bytes = self.mind.take_out(conn, self.spares.take());
        if bytes.is_empty() || socket.mute {
            return self.spares.put(bytes);
        }
        socket.sent = 0;
        socket.sending = true;
        self.ring.send(slot, socket.fd.as_fd(), bytes);
    }

    /// Sends for all connections whose send has ended while the mind had more.
    pub(super) fn send_unsent(&mut self) {
        let mut unsent = std::mem::take(&mut self.desk.unsent);
        for slot in unsent.drain(..) {
            let Some(socket) = self.sockets.find(slot) else { continue };
            if matches!(socket.stage, Stage::Lobby | Stage::Home) {
                let conn = socket.conn;
                self.send_out(conn);
            }
        }
        self.desk.unsent = unsent;
    }

    fn send_rest(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.find(slot) else { return };
        if socket.stage == Stage::Doomed {
            return;
        }
        socket.sending = true;
        self.ring.resend(slot, socket.fd.as_fd(), socket.sent);
    }

    fn finish_send(&mut self, now: Instant, slot: Slot) {
        self.spares.put(self.ring.reclaim(slot));
        let Some(socket) = self.sockets.find(slot) else { return };
        match socket.stage {
            Stage::Parting => self.go_on_parting(now, slot),
            Stage::Moving => self.go_on_moving(slot),
            Stage::Lobby | Stage::Home if socket.more => self.desk.unsent.push(slot),
            Stage::Lobby | Stage::Home | Stage::Doomed => {}
        }
    }
}
