//! The doorway between a byte stream and MQTT frames: bytes in, however they were cut, frames out.
//!
//! Why a room of its own: what a peer wraps around MQTT is none of the exchange's business. Today that is a plain stream,
//! whose only difficulty is that it may be cut anywhere; whatever else may stand around MQTT on a stream belongs here.
//!
//! Invariants:
//! - An inlet holds bytes only while a packet is incomplete or the reader has asked it to wait; otherwise it owns no
//!   memory.
//! - How a stream was cut changes nothing in what comes out. Source: MQTT 5.0 section 4.2.

mod inlet;

pub use inlet::{Flow, Inlet};
