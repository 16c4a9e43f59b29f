//! What all cores share: how far the start has come, the wish to stop, and how many still have to.
//!
//! Why cores wait for each other at the end: a core that has said goodbye to its own clients may still receive their
//! wills' subscribers, or a connection that was on its way; ending early would cut those off.
//!
//! Why they wait at the start: a core that has restored its sessions tells the others what these want. A message that
//! came through another core before that would miss them, so no door opens until every core has heard every other.
//!
//! Invariants:
//! - The wish to stop is never taken back, nor is any step of the start.
//! - Each core counts itself settled, informed and drained at most once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Shared by all cores and by whoever stops them.
#[derive(Debug)]
pub(crate) struct Control {
    stop: AtomicBool,
    failed: AtomicBool,
    unsettled: AtomicUsize,
    open: AtomicBool,
    undrained: AtomicUsize,
}

impl Control {
    /// For `cores` cores.
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            unsettled: AtomicUsize::new(cores),
            open: AtomicBool::new(false),
            undrained: AtomicUsize::new(cores),
        }
    }

    /// Asks all cores to stop. They see it in their next turn, so ring their bells afterwards.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    pub(crate) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// One core cannot go on, so none shall: clients that are at home there could not be served.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Whether a core has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// One core has handed over all that the others must know of it. Returns whether it was the last one.
    pub(crate) fn note_settled(&self) -> bool {
        self.unsettled.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Whether all cores have.
    pub(crate) fn all_settled(&self) -> bool {
        self.unsettled.load(Ordering::SeqCst) == 0
    }

    /// Lets all cores accept connections. They see it in their next turn, so ring their bells afterwards.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Whether connections may be accepted.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// One core has nothing left.
    pub(crate) fn note_drained(&self) {
        self.undrained.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no core has anything left.
    pub(crate) fn all_drained(&self) -> bool {
        self.undrained.load(Ordering::SeqCst) == 0
    }
}
