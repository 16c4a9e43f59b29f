//! The channels between cores.
//!
//! Why one bounded channel per ordered pair: each carries freight in order from one writer to one reader, so a batch is
//! one lock and one wake-up however many messages it holds, and a full channel names exactly whom to slow down.
//!
//! Invariants:
//! - Freight of one core arrives at another in the order in which it was handed over.
//! - A refused batch returns to its owner; a refused connection waits here, because nobody else could keep its socket.
//! - A core that waits for room is rung when its neighbour has made some.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use broker::{Batch, CoreId};
use flume::{Receiver, Sender, TrySendError};
use shard::Arrival;

use crate::bell::Bell;

/// Freight that one channel holds at most.
const CHANNEL_FREIGHT_MAX: usize = 256;

/// What travels between cores.
pub(crate) enum Freight {
    /// Messages.
    Batch(Batch),
    /// A connection that moves to its home.
    Arrival {
        /// Its socket.
        fd: OwnedFd,
        /// What its home must know.
        arrival: Box<Arrival>,
    },
}

/// One core's end of the mesh.
pub(crate) struct MeshEnd {
    core: CoreId,
    bells: Arc<[Bell]>,
    links: Vec<Link>,
}

/// The two channels to one other core. A core's link to itself is never used.
struct Link {
    outbound: Sender<Freight>,
    inbound: Receiver<Freight>,
    waiting: VecDeque<Freight>,
}

/// Makes the mesh for as many cores as there are bells.
pub(crate) fn weave(bells: &Arc<[Bell]>) -> Vec<MeshEnd> {
    let count = bells.len();
    let channel = |_| flume::bounded(CHANNEL_FREIGHT_MAX);
    let channels: Vec<Vec<_>> = (0..count).map(|_| (0..count).map(channel).collect()).collect();
    let end = |here: usize| {
        let link = |there: usize| Link {
            outbound: channels[here][there].0.clone(),
            inbound: channels[there][here].1.clone(),
            waiting: VecDeque::new(),
        };
        let core = CoreId::new(u16::try_from(here).expect("at most CORES_MAX cores"));
        MeshEnd { core, bells: bells.clone(), links: (0..count).map(link).collect() }
    };
    (0..count).map(end).collect()
}

/// Makes `count` bells.
pub(crate) fn bells(count: usize) -> io::Result<Arc<[Bell]>> {
    (0..count).map(|_| Bell::new()).collect()
}

impl MeshEnd {
    /// This core.
    pub(crate) fn core(&self) -> CoreId {
        self.core
    }

    /// This core's bell.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bells[self.core.index()]
    }

    /// Rings everybody else.
    pub(crate) fn ring_all(&self) {
        self.bells.iter().for_each(Bell::ring);
    }

    /// Hands a batch over; a full channel gives it back. To a core that has ended it goes nowhere.
    pub(crate) fn send_batch(&mut self, to: CoreId, batch: Batch) -> Result<(), Batch> {
        match self.offer(to, Freight::Batch(batch)) {
            Err(Freight::Batch(batch)) => Err(batch),
            Err(Freight::Arrival { .. }) => unreachable!("what is refused is what was offered"),
            Ok(()) => Ok(()),
        }
    }

    /// Hands a connection over, or keeps it until there is room.
    pub(crate) fn send_arrival(&mut self, to: CoreId, fd: OwnedFd, arrival: Box<Arrival>) {
        self.links[to.index()].waiting.push_back(Freight::Arrival { fd, arrival });
        self.send_waiting(to);
    }

    /// Tries again what waits for room. Returns whether something still waits.
    pub(crate) fn send_all_waiting(&mut self) -> bool {
        for core in 0..self.links.len() {
            if !self.links[core].waiting.is_empty() {
                self.send_waiting(CoreId::new(u16::try_from(core).expect("at most CORES_MAX cores")));
            }
        }
        self.links.iter().any(|link| !link.waiting.is_empty())
    }

    /// Takes at most `count_max` pieces of freight from each neighbour who has sent some. Returns how many came.
    pub(crate) fn receive(&mut self, count_max: usize, freight: &mut Vec<(CoreId, Freight)>) -> usize {
        let before = freight.len();
        let bell = self.bell();
        for from in bell.take_mail().iter() {
            let inbound = &self.links[from.index()].inbound;
            freight.extend(inbound.try_iter().take(count_max).map(|piece| (from, piece)));
            if !inbound.is_empty() {
                bell.mark_mail(from);
            }
        }
        for core in bell.take_starved().iter() {
            self.bells[core.index()].ring();
        }
        freight.len() - before
    }

    fn send_waiting(&mut self, to: CoreId) {
        while let Some(piece) = self.links[to.index()].waiting.pop_front() {
            if let Err(piece) = self.offer(to, piece) {
                return self.links[to.index()].waiting.push_front(piece);
            }
        }
    }

    fn offer(&mut self, to: CoreId, piece: Freight) -> Result<(), Freight> {
        assert!(to != self.core);
        let bell = &self.bells[to.index()];
        let link = &self.links[to.index()];
        let refused = match link.outbound.try_send(piece) {
            Err(TrySendError::Full(piece)) => {
                // Say so first and try once more: the neighbour may have emptied the channel just before it could see.
                bell.mark_starved(self.core);
                link.outbound.try_send(piece)
            }
            outcome => outcome,
        };
        match refused {
            Err(TrySendError::Full(piece)) => {
                bell.ring();
                Err(piece)
            }
            Err(TrySendError::Disconnected(_)) => Ok(()),
            Ok(()) => {
                bell.mark_mail(self.core);
                bell.ring();
                Ok(())
            }
        }
    }
}
