//! The packets: what a client and a broker say to each other, for all three versions.
//!
//! Why borrowed: a packet is read in place in the receive buffer; what must outlive the turn is copied once by whoever
//! keeps it.
//!
//! Invariants:
//! - A decoded packet has passed every check that needs no state: lengths, flags, UTF-8, property rules. The one
//!   exception is the topic name of a PUBLISH, which the router checks when it does not know the bytes already.
//!
//! Source: MQTT 5.0 section 3, MQTT 3.1.1 section 3.

use std::num::NonZeroU16;

use crate::ReasonCode;

/// The protocol version of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3).
    V31,
    /// MQTT 3.1.1 (`MQTT`, level 4).
    V311,
    /// MQTT 5.0 (`MQTT`, level 5).
    V5,
}

/// Quality of service. Source: section 4.3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

/// A packet identifier; never zero. Source: [MQTT-2.2.1-3].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// Makes an identifier, or nothing from zero.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl QoS {
    /// Reads the two bits; 3 is nothing.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The two bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// What a client sends after CONNECT. One variant per packet type that a client may send.
#[derive(Debug, PartialEq)]
pub enum Packet<'a> {
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    PubAck(Ack),
    /// PUBREC.
    PubRec(Ack),
    /// PUBREL.
    PubRel(Ack),
    /// PUBCOMP.
    PubComp(Ack),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
    /// A further CONNECT, which is always a protocol error; its body is not read. Source: [MQTT-3.1.0-2].
    Connect,
}

/// CONNECT, whole and checked.
#[derive(Debug, PartialEq)]
pub struct Connect<'a> {
    /// The version that name and level agree on.
    pub version: Version,
    /// Clean Session (3.x) or Clean Start (5.0).
    pub clean_start: bool,
    /// Seconds; zero disables the timer.
    pub keep_alive_s: u16,
    /// The client identifier; may be empty. UTF-8 without U+0000.
    pub client_id: &'a str,
    /// The will, if the will flag is set.
    pub will: Option<Will<'a>>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password: any bytes.
    pub password: Option<&'a [u8]>,
    /// Properties; the defaults below 5.0.
    pub properties: ConnectProperties<'a>,
}

/// CONNECT properties. Absent means what the standard says absent means.
#[derive(Debug, PartialEq, Default)]
pub struct ConnectProperties<'a> {
    /// Session Expiry Interval in seconds; `u32::MAX` never expires. Absent in 5.0 is zero.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum; never zero.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size; never zero.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum.
    pub topic_alias_max: u16,
    /// Request Response Information.
    pub request_response_information: bool,
    /// Request Problem Information; absent is `true`.
    pub request_problem_information: Option<bool>,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
    /// The property bytes as received (User Properties are read from here with [`crate::properties::user`]).
    pub raw: &'a [u8],
}

/// The will of a CONNECT.
#[derive(Debug, PartialEq)]
pub struct Will<'a> {
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will topic: a valid topic name.
    pub topic: &'a str,
    /// Will payload.
    pub payload: &'a [u8],
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Payload Format Indicator is 1 (UTF-8).
    pub payload_is_utf8: bool,
    /// The will property bytes as received; [`crate::properties::forwardable`] picks what travels on.
    pub raw: &'a [u8],
}

/// PUBLISH, as a client sends it.
#[derive(Debug, PartialEq)]
pub struct Publish<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic name bytes, NOT yet checked: see [`crate::topic::check_name`]. Empty only with an alias (5.0).
    pub topic: &'a [u8],
    /// Present exactly for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Topic Alias, as received: may be zero or too large, which the session judges.
    pub topic_alias: Option<u16>,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Payload Format Indicator is 1 (UTF-8).
    pub payload_is_utf8: bool,
    /// The property bytes as received; empty below 5.0.
    pub raw: &'a [u8],
    /// True if every byte of `raw` travels on unchanged: no alias and no expiry among them.
    pub raw_is_forwardable: bool,
    /// Application message.
    pub payload: &'a [u8],
    /// The whole packet as received, fixed header included.
    pub packet: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP. Properties were checked and are not needed further.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ack {
    /// Which message.
    pub packet_id: PacketId,
    /// Success below 5.0 and in the short form.
    pub reason: ReasonCode,
}

/// SUBSCRIBE. All topic requests were checked for length, UTF-8 and option bits; filters' syntax was not.
#[derive(Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// The topic requests, at least one; iterate with [`Subscribe::requests`].
    pub(crate) body: &'a [u8],
    /// The version decides how an options byte reads.
    pub(crate) version: Version,
}

/// One topic request of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubscribeRequest<'a> {
    /// The filter as sent, `$share/...` included. UTF-8, not checked for filter syntax.
    pub filter: &'a str,
    /// The options; below 5.0 only the QoS.
    pub options: SubscribeOptions,
}

/// Subscription options. Source: section 3.8.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// Retain Handling. Source: section 3.8.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at every subscribe.
    Send = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    Never = 2,
}

/// UNSUBSCRIBE.
#[derive(Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// The filters, at least one; iterate with [`Unsubscribe::filters`].
    pub(crate) body: &'a [u8],
}

/// DISCONNECT from a client.
#[derive(Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// Normal disconnection below 5.0 and in the short form. Only codes that a client may send.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds.
    pub session_expiry_s: Option<u32>,
    /// Reason String, for the log.
    pub reason_string: Option<&'a str>,
}

/// AUTH, in both directions.
#[derive(Debug, PartialEq)]
pub struct Auth<'a> {
    /// Continue or re-authenticate from a client; success or continue from a server.
    pub reason: ReasonCode,
    /// Authentication Method; always present in what a client sends.
    pub method: Option<&'a str>,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
}

/// CONNACK, to be encoded. Fields that the version has not are left out by the encoder.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct ConnAck<'a> {
    /// Session Present; never with an error code.
    pub session_present: bool,
    /// The 5.0 code; the encoder maps it to a return code below 5.0.
    pub reason: ReasonCode,
    /// Session Expiry Interval, if it differs from what was asked.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum of the server.
    pub receive_maximum: Option<u16>,
    /// Maximum QoS, if not 2.
    pub qos_max: Option<QoS>,
    /// `Some(false)` if retained messages are off.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size of the server.
    pub packet_bytes_max: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<&'a str>,
    /// Topic Alias Maximum of the server.
    pub topic_alias_max: Option<u16>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// `Some(false)` if wildcard subscriptions are off.
    pub wildcard_available: Option<bool>,
    /// `Some(false)` if subscription identifiers are off.
    pub subscription_id_available: Option<bool>,
    /// `Some(false)` if shared subscriptions are off.
    pub shared_available: Option<bool>,
    /// Server Keep Alive in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Response Information.
    pub response_information: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
}

/// A PUBLISH to be encoded for one receiver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishOut<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic name; empty when `topic_alias` alone says it.
    pub topic: &'a [u8],
    /// Present exactly for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Topic Alias towards this receiver.
    pub topic_alias: Option<u16>,
    /// What is left of the Message Expiry Interval, in seconds.
    pub expiry_s: Option<u32>,
    /// Subscription Identifiers of the matching subscriptions.
    pub subscription_ids: &'a [u32],
    /// Properties that travel unchanged, in wire form (see [`crate::properties::forwardable`]).
    pub forward: &'a [u8],
    /// Application message.
    pub payload: &'a [u8],
}
