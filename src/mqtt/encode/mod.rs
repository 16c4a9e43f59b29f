//! Encoders: each appends one whole packet to a buffer of the caller.
//!
//! Why into a caller's buffer: a turn's packets for one connection lie in one buffer and leave in one send.
//!
//! Invariants:
//! - A packet is appended whole or not at all.
//! - Below 5.0 nothing is written that the version has not: no property, no reason code, no DISCONNECT, no AUTH.
//!
//! Source: MQTT 5.0 sections 2 and 3, MQTT 3.1.1 sections 2 and 3.

mod acks;
mod connack;
mod farewell;
mod fields;
mod publish;

pub use acks::{AckKind, ack, ack_because, pingresp, suback, suback_len, unsuback, unsuback_len};
pub use connack::connack;
pub use farewell::{auth, disconnect, disconnect_behind_refusal};
pub use fields::Fit;
pub use publish::{publish, publish_len, publish_packet_id_offset, publish_patch};
