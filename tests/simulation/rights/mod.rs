//! Access rules that change while messages are under way: whatever path a message takes, it must be allowed when it arrives.
//!
//! Why its own world: the seeded world knows no rules and judges every promise; here the rules are everything, so clients
//! do little else than publish, come and go, and a reference of a few lines says of every delivered message whether it is
//! allowed at that moment.
//!
//! Invariants:
//! - A run is a function of its seed and its [`Breach`].
//! - The reference shares no line with what answers the shards: those read a file in Mosquitto's syntax.

mod book;
mod ledger;
mod person;
mod reference;
mod stage;

pub use ledger::Paths;
pub use stage::{Verdict, run_ruled};

/// A check that is not made, to see whether the reference notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breach {
    /// Of a publisher.
    Publish,
    /// Of a subscriber.
    Subscribe,
    /// Of a receiver, when a message comes.
    Live,
    /// Of a receiver, when a message comes from another core.
    Crossing,
    /// Of a receiver of retained messages.
    Retained,
    /// Of a receiver whose messages waited, or had been sent before.
    Return,
    /// Of a member of a group.
    Shared,
    /// Of a will that is sent.
    Will,
    /// Of the will in a CONNECT.
    WillAtConnect,
    /// Nobody is told that the rules have changed.
    Stale,
    /// After a restart everything is allowed to those who are away.
    Forgotten,
}
