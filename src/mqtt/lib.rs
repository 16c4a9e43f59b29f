//! The language: MQTT 3.1, 3.1.1 and 5.0 as bytes, without state.
//!
//! Why one decoder and one encoder for three versions: most of what the versions say is the same, and where the
//! spellings differ the code asks `version` at that one place. Nothing here knows a session; what a client may say
//! *now* is judged by the exchange, what a client may say *at all* is judged here.
//!
//! Invariants:
//! - No byte sequence makes a function of this crate panic, and none makes it reserve memory.
//! - What [`decode`] and [`decode_connect`] return has passed every check that needs no state.
//! - Every refusal is one [`Violation`], which names the statement it refuses by.
//!
//! Source: MQTT 5.0, MQTT 3.1.1, MQTT V3.1.

mod connect;
mod cursor;
mod decode;
pub mod encode;
mod frame;
mod packet;
pub mod properties;
mod reason;
mod subscribe;
mod text;
pub mod topic;
mod violation;

pub use connect::{ConnectViolation, decode_connect};
pub use decode::{decode, decode_publish};
pub use encode::{AckKind, Fit};
pub use frame::{Frame, Framing, frame};
pub use packet::{
    Ack, Auth, ConnAck, Connect, ConnectProperties, Disconnect, Packet, PacketId, Publish, PublishOut, QoS,
    RetainHandling, Subscribe, SubscribeOptions, SubscribeRequest, Unsubscribe, Version, Will,
};
pub use reason::ReasonCode;
pub use text::is_plain;
pub use violation::{Violation, ViolationFacts};
