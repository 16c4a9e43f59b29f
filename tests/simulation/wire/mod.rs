//! The simulation's own codec: what clients write, and a strict reader of what the server writes.
//!
//! Why a second codec: an encoder and a decoder that share a mistake agree with each other. This one shares no line with
//! the broker's.
//!
//! Invariants:
//! - The reader accepts nothing that the standard forbids a server to send in that version.

mod brief;
mod client;
mod encode;
mod properties;
mod server;

pub use client::{Bad, ClientPacket, Connect, Meta, Publish, Request, Subscribe, Version, Will};
pub use encode::encode;
pub use server::{ConnAck, Delivery, Framed, ServerPacket, decode};
