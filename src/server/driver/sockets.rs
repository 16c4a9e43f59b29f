//! The table of open sockets of one core.
//!
//! Why not the mind's own numbering: the mind forgets a connection when it says goodbye, but the socket behind it still
//! has bytes to send, bytes to drain and completions to come. A place is used again only when all of that is over, so a
//! completion can never be taken for one of another connection.
//!
//! Invariants:
//! - A place is free only when nothing is in flight for it; its life number grows with each use.
//! - A connection name finds its socket only while the mind knows it (stages `Lobby` and `Home`).

use std::mem;
use std::os::fd::OwnedFd;

use shard::ConnId;

use crate::ring::Slot;

/// Where in its life a socket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Its home is not known yet: one receive at a time.
    Lobby,
    /// On its way home, as soon as the send in flight has ended.
    Moving,
    /// At home: receives continuously.
    Home,
    /// The mind has said goodbye: send the rest, then listen a moment longer.
    Parting,
    /// Waits only for its last completions.
    Doomed,
}

/// One open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The descriptor.
    pub(crate) fd: OwnedFd,
    /// The mind's name for the connection; dead from `Parting` on.
    pub(crate) conn: ConnId,
    /// Where in its life it is.
    pub(crate) stage: Stage,
    /// A receive is in flight.
    pub(crate) receiving: bool,
    /// The mind wants it left unread.
    pub(crate) paused: bool,
    /// A send is in flight.
    pub(crate) sending: bool,
    /// Nothing more can be read from the peer.
    pub(crate) ended: bool,
    /// Nothing more can be sent to the peer.
    pub(crate) mute: bool,
    /// The mind has bytes to fetch when the send in flight has ended.
    pub(crate) more: bool,
    /// Bytes of the buffer in flight that the socket has taken.
    pub(crate) sent: usize,
    /// What is left to do while parting.
    pub(crate) farewell: Option<Box<Farewell>>,
}

/// What is left to do for a parting socket.
#[derive(Debug, Default)]
pub(crate) struct Farewell {
    /// Bytes to send behind those in flight.
    pub(crate) last: Vec<u8>,
    /// Bytes read and thrown away so far.
    pub(crate) drained_bytes: usize,
    /// The write side is shut down.
    pub(crate) shut: bool,
}

/// The table.
pub(crate) struct Sockets {
    places: Vec<Place>,
    free: Vec<u32>,
    by_conn: Vec<u32>,
    /// Sockets whose connection has ended in this turn and whose name was given again before the driver was told.
    eclipsed: Vec<Slot>,
    open: usize,
}

struct Place {
    life: u32,
    socket: Option<Socket>,
}

impl Sockets {
    /// No sockets.
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::with_capacity(stdx::ROOM),
            free: Vec::new(),
            by_conn: Vec::with_capacity(stdx::ROOM),
            eclipsed: Vec::new(),
            open: 0,
        }
    }

    /// Adds a socket under the name `conn`.
    pub(crate) fn insert(&mut self, fd: OwnedFd, conn: ConnId) -> Slot {
        let index = self.free.pop().unwrap_or_else(|| self.add_place());
        let place = &mut self.places[at(index)];
        place.socket = Some(Socket::new(fd, conn));
        let slot = Slot { index, life: place.life };
        if self.by_conn.len() <= at(conn.index) {
            self.by_conn.resize(at(conn.index) + 1, u32::MAX);
        }
        let earlier = std::mem::replace(&mut self.by_conn[at(conn.index)], index);
        self.eclipsed.extend(self.places.get(at(earlier)).and_then(|place| place.known_slot(earlier)));
        self.open += 1;
        slot
    }

    /// The socket in a slot, if it is still the same life.
    pub(crate) fn find(&mut self, slot: Slot) -> Option<&mut Socket> {
        let place = self.places.get_mut(at(slot.index))?;
        place.socket.as_mut().filter(|_| place.life == slot.life)
    }

    /// The slot of a connection that the mind knows, or has just said goodbye to.
    pub(crate) fn slot_of(&self, conn: ConnId) -> Option<Slot> {
        let index = *self.by_conn.get(at(conn.index))?;
        let latest = self.places.get(at(index))?.known_slot(index);
        let candidates = latest.into_iter().chain(self.eclipsed.iter().copied());
        candidates.into_iter().find(|slot| self.is_named(*slot, conn))
    }

    /// Forgets which names were given twice; to be called when the mind's goodbyes of a turn were carried out.
    pub(crate) fn end_turn(&mut self) {
        self.eclipsed.clear();
    }

    fn is_named(&self, slot: Slot, conn: ConnId) -> bool {
        let place = &self.places[at(slot.index)];
        place.known_slot(slot.index) == Some(slot)
            && place.socket.as_ref().is_some_and(|socket| socket.conn == conn)
    }

    /// Takes a socket out. Nothing may be in flight for it.
    pub(crate) fn remove(&mut self, slot: Slot) -> Socket {
        let place = &mut self.places[at(slot.index)];
        assert!(place.life == slot.life);
        let socket = mem::take(&mut place.socket).expect("the caller has found it in this slot");
        assert!(!socket.receiving);
        assert!(!socket.sending);
        place.life = slot.next_life().life;
        self.free.push(slot.index);
        self.open -= 1;
        socket
    }

    /// How many sockets are open, parting and doomed ones included.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    fn add_place(&mut self) -> u32 {
        let index = u32::try_from(self.places.len()).expect("a process has fewer than 2^32 descriptors");
        self.places.push(Place { life: 0, socket: None });
        index
    }
}

impl Place {
    /// The slot of this place, if the mind may still speak of the socket in it.
    fn known_slot(&self, index: u32) -> Option<Slot> {
        let socket = self.socket.as_ref()?;
        matches!(socket.stage, Stage::Lobby | Stage::Home).then_some(Slot { index, life: self.life })
    }
}

impl Socket {
    fn new(fd: OwnedFd, conn: ConnId) -> Self {
        Self {
            fd,
            conn,
            stage: Stage::Lobby,
            receiving: false,
            paused: false,
            sending: false,
            ended: false,
            mute: false,
            more: false,
            sent: 0,
            farewell: None,
        }
    }
}

fn at(index: u32) -> usize {
    usize::try_from(index).expect("usize has 64 bits")
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    fn some_fd() -> OwnedFd {
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn a_slot_of_an_earlier_life_finds_nothing() {
        let mut sockets = Sockets::new();
        let conn = ConnId { index: 3, generation: 1 };
        let first = sockets.insert(some_fd(), conn);
        sockets.remove(first);
        let second = sockets.insert(some_fd(), conn);
        assert_eq!(first.index, second.index);
        assert!(sockets.find(first).is_none());
        assert!(sockets.find(second).is_some());
    }

    #[test]
    fn a_name_that_is_given_again_in_the_same_turn_still_means_both_until_the_turn_ends() {
        let mut sockets = Sockets::new();
        let old = ConnId { index: 0, generation: 1 };
        let new = ConnId { index: 0, generation: 2 };
        let first = sockets.insert(some_fd(), old);
        let second = sockets.insert(some_fd(), new);
        assert_eq!((sockets.slot_of(old), sockets.slot_of(new)), (Some(first), Some(second)));
        sockets.remove(first);
        assert_eq!((sockets.slot_of(old), sockets.slot_of(new)), (None, Some(second)));
    }

    #[test]
    fn a_parting_socket_does_not_answer_to_its_old_name_and_keeps_its_place() {
        let mut sockets = Sockets::new();
        let old = ConnId { index: 0, generation: 1 };
        let new = ConnId { index: 0, generation: 2 };
        let parting = sockets.insert(some_fd(), old);
        sockets.find(parting).unwrap().stage = Stage::Parting;
        assert_eq!(sockets.slot_of(old), None);
        let fresh = sockets.insert(some_fd(), new);
        assert_eq!(sockets.slot_of(new), Some(fresh));
        assert_eq!(sockets.slot_of(old), None);
        assert_ne!(fresh.index, parting.index);
        assert_eq!(sockets.open(), 2);
    }
}
