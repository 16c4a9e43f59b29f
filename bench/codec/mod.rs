//! The client's half of MQTT 3.1.1 and 5.0, as little as a load generator needs.
//!
//! Why not the broker's codec: a mistake made once would then be made on both sides and cancel out. This one is written
//! on its own, knows only what a client sends and receives, and never decodes what it only has to count.
//!
//! Invariants:
//! - Nothing here touches a socket.
//! - Bytes from a broker are never trusted: what does not parse is `Broken`, not a panic.

mod answers;
mod encode;
mod frame;
mod properties;
mod publish;

pub(crate) use answers::{Connack, acknowledgement, connack, disconnect_reason, suback_id, suback_refusal};
pub(crate) use encode::{
    Credentials, DISCONNECT, Lasting, Login, PINGREQ, acknowledge, connect, subscribe, unsubscribe,
};
pub(crate) use frame::{Frame, PacketType, Scan, scan};
pub(crate) use publish::{Body, Delivery, Pattern, Template, delivery};

/// The protocol a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V4,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// How surely a message is delivered.
#[expect(clippy::enum_variant_names, reason = "these are the standard's names")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
    /// Exactly once.
    ExactlyOnce,
}

impl Qos {
    /// The two bits on the wire.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }

    /// Reads two bits; 3 is not a QoS.
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None, // Any other number is malformed.
        }
    }
}
