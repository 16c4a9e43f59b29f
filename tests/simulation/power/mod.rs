//! Power cuts: a broker with a store loses everything unsynced at any step, comes back on any number of cores, and must
//! have kept what its clients were told.
//!
//! Why its own world: the seeded world judges every packet of a broker that lives; here the broker dies in the midst of
//! everything, several times, also while it recovers, and only promises count.
//!
//! Invariants:
//! - A run is a function of its [`Cut`], its [`Fraud`] and its seed.
//! - What a client's socket holds arrived before the cut; everything else on its way is lost.

mod actor;
mod ledger;
mod stage;

pub use stage::{Cut, Fate, run_powerless};

/// What the store does wrong, to see whether the ledger notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fraud {
    /// It says that something is durable as soon as it has it.
    AnswerBeforeSync,
    /// It does so to all cores but the first, so that these confirm to others what they have not kept.
    KeptTooEarly,
    /// It gives queued messages back in the wrong order.
    FetchBackwards,
    /// It does not write that an id is free.
    ForgetSettled,
    /// It does not write that a QoS 2 message was received.
    ForgetReceived,
    /// It does not write which messages of other cores it has.
    ForgetHandled,
    /// It does not write that PUBREC came.
    ForgetReleased,
}
