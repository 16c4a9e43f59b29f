//! From what was kept to the minds that it belongs to.
//!
//! Why by the home of each client: the number of cores may differ from last time, and a client's connection will come to
//! the core that the hash of its client id names now. Retained messages go to every core.
//!
//! Invariants:
//! - Changes of one client reach its home in the order in which they were read; so do retained messages every core.
//! - What is on its way between reader and cores is bounded; a reader that is too fast waits.
//! - A core whose reader vanished before the end accepts nothing.

use broker::{Change, CoreId};
use flume::{Receiver, Sender};

use crate::clock::Clock;
use crate::mind::Mind;

/// Changes that travel together.
const PIECE_CHANGES: usize = 256;
/// Pieces on their way to one core.
const PIECES_MAX: usize = 16;

/// What goes to one core.
pub(crate) enum Piece {
    /// Changes, oldest first.
    Changes(Vec<Change>),
    /// There are no more.
    End,
}

/// The way to all cores.
pub struct Homes {
    cores: Vec<Home>,
}

struct Home {
    changes: Vec<Change>,
    pieces: Sender<Piece>,
}

impl Homes {
    pub(crate) fn new(cores: usize) -> (Self, impl Iterator<Item = Receiver<Piece>>) {
        let (cores, receivers): (Vec<_>, Vec<_>) = (0..cores)
            .map(|_| {
                let (pieces, receiver) = flume::bounded(PIECES_MAX);
                (Home { changes: Vec::new(), pieces }, receiver)
            })
            .unzip();
        (Self { cores }, receivers.into_iter())
    }

    /// Sends a change to where it belongs.
    pub fn give(&mut self, change: Change) {
        let count = u16::try_from(self.cores.len()).expect("at most CORES_MAX cores");
        match change.client_id().map(|client_id| CoreId::home_of(client_id.as_bytes(), count)) {
            Some(home) => self.cores[home.index()].give(change),
            None => {
                let (last, others) = self.cores.split_last_mut().expect("at least one core");
                others.iter_mut().for_each(|home| home.give(change.clone()));
                last.give(change);
            }
        }
    }

    pub(crate) fn finish(mut self) {
        for home in &mut self.cores {
            home.send();
            let _ = home.pieces.send(Piece::End);
        }
    }
}

impl Home {
    fn give(&mut self, change: Change) {
        self.changes.push(change);
        if self.changes.len() >= PIECE_CHANGES {
            self.send();
        }
    }

    fn send(&mut self) {
        // A core that has ended has failed; whoever waits for it to be ready hears that.
        let _ = self.pieces.send(Piece::Changes(std::mem::take(&mut self.changes)));
    }
}

/// Gives a mind what comes; returns whether the end did.
pub(crate) fn take_home<M: Mind>(mind: &mut M, pieces: &Receiver<Piece>, clock: Clock) -> bool {
    for piece in pieces {
        match piece {
            Piece::Changes(changes) => mind.restore(&changes),
            Piece::End => {
                mind.finish_restore(clock.now());
                return true;
            }
        }
    }
    false
}
