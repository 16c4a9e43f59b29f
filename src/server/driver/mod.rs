//! One core's loop: completions and freight in, effects out.
//!
//! Why one loop and no task per connection: everything that arrived since the last turn is decided before anything
//! leaves, so each connection gets one send per turn and each neighbour one batch, however busy the core is.
//!
//! Invariants:
//! - A turn enters the kernel once, and not at all if there is nothing to submit and nothing pending.
//! - Every loop within a turn is bounded, so that no connection and no neighbour can keep the others waiting.

mod accept;
mod callers;
mod effects;
mod inbound;
mod opening;
mod outbound;
mod parting;
mod rest;
mod sockets;
mod spares;
mod tempo;
mod turn;

pub(crate) use accept::Doors;
pub(crate) use rest::run;
pub(crate) use turn::{Driver, Equipment, Habits};
