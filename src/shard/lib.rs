//! One core's whole mind: the connection table, the lobby, the door, arrivals, and the turn.
//!
//! A shard is a plain struct. The `server` room (or the simulator, or a talk file) feeds it what the world did through
//! the `handle_*` methods, ends the turn, and then carries out what stands in [`Effects`]. Nothing in here reads a
//! socket, a clock or a lock, so the same text runs on a core and inside a deterministic simulation.
//!
//! Invariants:
//! - A [`ConnId`] is dead once it stood in `moved` or `closing`, or was passed to `handle_gone`; late events that name
//!   it are ignored (generations differ).
//! - Effects are complete only after `end_turn`, and must all be carried out before the next event.
//! - Between one `take_out` of a connection and the `handle_sent` that accounts for its last byte, the shard counts
//!   those bytes as unsent; slow consumers are judged by that sum.

mod coating;
mod connections;
mod devices;
mod door;
mod doorkeeper;
mod effects;
mod lobby;
mod packets;
mod settings;
mod shard;

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests;

pub use doorkeeper::{Answer, Doorkeeper, Judgement, Knock, Owner, Question, Turned};
pub use effects::{
    Accepted, Arrival, Call, Closing, ConnId, Effects, ListenerId, Moved, Pace, Packed, Refused, Reply,
};
pub use settings::{Durability, Settings, Setup};
pub use shard::Shard;
