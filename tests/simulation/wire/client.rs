//! What a simulated client says.
//!
//! Why owned values: a packet is written to the wire once and judged by the oracle much later, when its last byte has
//! reached a core.
//!
//! Invariants:
//! - A packet other than [`ClientPacket::Bad`] is legal in the version of its connection.

use std::rc::Rc;

/// The protocol version of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// MQTT 3.1.
    V31,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// A packet from a client.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientPacket {
    /// CONNECT.
    Connect(Box<Connect>),
    /// PUBLISH.
    Publish(Box<Publish>),
    /// PUBACK with a 5.0 reason code.
    PubAck(u16, u8),
    /// PUBREC with a 5.0 reason code.
    PubRec(u16, u8),
    /// PUBREL.
    PubRel(u16),
    /// PUBCOMP.
    PubComp(u16),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE: packet id and filters.
    Unsubscribe(u16, Vec<String>),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT with a 5.0 reason code and Session Expiry Interval.
    Disconnect(u8, Option<u32>),
    /// Bytes that break the standard.
    Bad(Bad),
}

/// CONNECT.
#[derive(Clone, PartialEq, Debug)]
pub struct Connect {
    /// The version.
    pub version: Version,
    /// Client identifier.
    pub client_id: String,
    /// Clean session or clean start.
    pub is_clean: bool,
    /// Keep alive in seconds.
    pub keep_alive_s: u16,
    /// 5.0: Session Expiry Interval.
    pub expiry_s: Option<u32>,
    /// 5.0: Receive Maximum.
    pub receive_maximum: Option<u16>,
    /// 5.0: Maximum Packet Size.
    pub packet_bytes_max: Option<u32>,
    /// 5.0: Topic Alias Maximum.
    pub alias_max: Option<u16>,
    /// The will.
    pub will: Option<Will>,
}

/// A will. Topic, payload, QoS, retain and properties are those of message `message` of the ledger.
#[derive(Clone, PartialEq, Debug)]
pub struct Will {
    /// Number of its message.
    pub message: usize,
    /// The message on the wire; its packet id, alias and DUP mean nothing here.
    pub publish: Publish,
    /// 5.0: Will Delay Interval in seconds.
    pub delay_s: u32,
}

/// Properties that travel with a message unchanged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Payload Format Indicator.
    pub payload_format: Option<u8>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation: Option<Vec<u8>>,
    /// User Properties in order.
    pub user: Vec<(String, String)>,
}

/// PUBLISH.
#[derive(Clone, PartialEq, Debug)]
pub struct Publish {
    /// Number of its message in the ledger.
    pub message: usize,
    /// The topic that the packet means.
    pub topic: Rc<str>,
    /// Whether the topic is left out because the alias says it.
    pub is_topic_omitted: bool,
    /// 5.0: Topic Alias.
    pub alias: Option<u16>,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub is_retained: bool,
    /// DUP.
    pub is_dup: bool,
    /// Packet id; 0 for QoS 0.
    pub id: u16,
    /// 5.0: Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// 5.0: what travels unchanged.
    pub meta: Rc<Meta>,
    /// The application message.
    pub payload: Rc<[u8]>,
}

/// SUBSCRIBE.
#[derive(Clone, PartialEq, Debug)]
pub struct Subscribe {
    /// Packet id.
    pub id: u16,
    /// 5.0: Subscription Identifier.
    pub subscription_id: Option<u32>,
    /// The topic requests.
    pub requests: Vec<Request>,
}

/// One topic request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The filter, `$share/` included.
    pub filter: String,
    /// Maximum QoS.
    pub qos: u8,
    /// 5.0: No Local.
    pub is_no_local: bool,
    /// 5.0: Retain As Published.
    pub keeps_retain: bool,
    /// 5.0: Retain Handling.
    pub retain_handling: u8,
}

/// Bytes that break the standard, and the reason codes that a 5.0 server may close with.
#[derive(Clone, PartialEq, Debug)]
pub struct Bad {
    /// What is wrong.
    pub what: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Reason codes of which the DISCONNECT must carry one; empty if anything goes.
    pub codes: &'static [u8],
}
