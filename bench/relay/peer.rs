//! The sockets of a small server: a door that accepts, and peers that are read and written.
//!
//! Why shared by both servers: their system calls must be the same, or the comparison with one would say something
//! else than the comparison with the other.
//!
//! Invariants:
//! - A slot is not used again within the turn in which it became free, so no event meets a stranger.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, sockopt};

use crate::failure::Failure;
use crate::number::{place, wide};

const DOOR: u64 = u64::MAX;
const EVENTS_MAX: usize = 1_024;
/// Unsent bytes after which a peer that does not read is cut off.
const OUTBOX_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// The peer is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gone;

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Bytes that wait for the next flush.
    pub(super) outbox: Vec<u8>,
    socket: OwnedFd,
    slot: usize,
    blocked: bool,
}

/// The listening socket, the poller and the free slots.
#[derive(Debug)]
pub(super) struct Door {
    poller: OwnedFd,
    listener: TcpListener,
    free: Vec<usize>,
    freed: Vec<usize>,
    slots: usize,
}

/// What happened at a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Happening {
    /// Where.
    pub(super) slot: usize,
    /// There is something to read, or an end of stream.
    pub(super) readable: bool,
    /// There is room to write again.
    pub(super) writable: bool,
}

impl Door {
    /// Watches `listener`.
    pub(super) fn new(listener: TcpListener) -> Result<Self, Failure> {
        let failed = |source: Errno| Failure::os("watching the listening socket", source);
        listener
            .set_nonblocking(true)
            .map_err(|source| Failure::os("preparing the listening socket", source))?;
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        epoll::add(&poller, &listener, EventData::new_u64(DOOR), EventFlags::IN).map_err(failed)?;
        Ok(Self { poller, listener, free: vec![], freed: vec![], slots: 0 })
    }

    /// Waits and tells what happened; new peers are given to `admit`.
    pub(super) fn wait(
        &mut self,
        timeout: Option<&Timespec>,
        happenings: &mut Vec<Happening>,
        mut admit: impl FnMut(Peer),
    ) -> Result<(), Failure> {
        self.free.append(&mut self.freed);
        let mut events = Vec::<Event>::with_capacity(EVENTS_MAX);
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut events), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::os("waiting for sockets", errno)),
        }
        for event in events {
            let flags = event.flags;
            match event.data.u64() {
                DOOR => self.accept(&mut admit),
                token => happenings.push(Happening {
                    slot: place(token),
                    readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
                    writable: flags.contains(EventFlags::OUT),
                }),
            }
        }
        Ok(())
    }

    /// Writes a peer's outbox in one write.
    #[inline]
    pub(super) fn flush(&self, peer: &mut Peer) -> Result<(), Gone> {
        if peer.blocked || peer.outbox.is_empty() {
            return Ok(());
        }
        let written = match rustix::net::send(&peer.socket, &peer.outbox, SendFlags::NOSIGNAL) {
            Ok(written) => written,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return Err(Gone),
        };
        if written == peer.outbox.len() {
            peer.outbox.clear();
            return Ok(());
        }
        peer.outbox.drain(..written);
        peer.blocked = true;
        if peer.outbox.len() > OUTBOX_BYTES_MAX {
            return Err(Gone);
        }
        self.watch(peer, EventFlags::IN | EventFlags::OUT)
    }

    /// Tries again after the socket had been full.
    pub(super) fn unblock(&self, peer: &mut Peer) -> Result<(), Gone> {
        peer.blocked = false;
        self.flush(peer)?;
        if peer.blocked { Ok(()) } else { self.watch(peer, EventFlags::IN) }
    }

    /// Gives a slot back; its peer must have been dropped.
    pub(super) fn release(&mut self, slot: usize) {
        self.freed.push(slot);
    }

    fn accept(&mut self, admit: &mut impl FnMut(Peer)) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // Any refusal, also for want of files, waits for the next turn.
        while let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            });
            let token = EventData::new_u64(wide(slot));
            let watched = epoll::add(&self.poller, &socket, token, EventFlags::IN);
            if watched.and_then(|()| sockopt::set_tcp_nodelay(&socket, true)).is_err() {
                self.freed.push(slot);
                continue;
            }
            admit(Peer { outbox: vec![], socket, slot, blocked: false });
        }
    }

    fn watch(&self, peer: &Peer, interest: EventFlags) -> Result<(), Gone> {
        let token = EventData::new_u64(wide(peer.slot));
        epoll::modify(&self.poller, &peer.socket, token, interest).map_err(|_| Gone)
    }
}

impl Peer {
    /// Where the peer sits.
    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// Reads once; 0 when there was nothing.
    #[inline]
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Gone> {
        match rustix::net::recv(&self.socket, buffer, RecvFlags::empty()) {
            Ok((0, _)) => Err(Gone),
            Ok((count, _)) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(_) => Err(Gone),
        }
    }
}

/// Puts `value` at `slot` of `slots`.
pub(super) fn seat<T>(slots: &mut Vec<Option<T>>, slot: usize, value: T) {
    if slots.len() <= slot {
        slots.resize_with(slot + 1, || None);
    }
    slots[slot] = Some(value);
}
