//! A strict reader of server packets.
//!
//! Why so strict: rule "every server packet is legal in its version" is checked here for everything that needs no
//! memory of earlier packets; the oracle checks the rest.
//!
//! Invariants:
//! - Reserved bits, reason codes, lengths and property places are all checked.
//!
//! Source: MQTT 5.0 section 3, MQTT 3.1.1 section 3.

use super::client::{Meta, Version};
use super::properties::{Property, Reader, Value};

/// A packet from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerPacket {
    /// CONNACK.
    ConnAck(ConnAck),
    /// PUBLISH.
    Publish(Box<Delivery>),
    /// PUBACK: packet id and reason code.
    PubAck(u16, u8),
    /// PUBREC: packet id and reason code.
    PubRec(u16, u8),
    /// PUBREL: packet id and reason code.
    PubRel(u16, u8),
    /// PUBCOMP: packet id and reason code.
    PubComp(u16, u8),
    /// SUBACK: packet id and one code per request.
    SubAck(u16, Vec<u8>),
    /// UNSUBACK: packet id and, in 5.0, one code per filter.
    UnsubAck(u16, Vec<u8>),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT with its reason code.
    Disconnect(u8),
    /// AUTH with its reason code.
    Auth(u8),
}

/// CONNACK.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnAck {
    /// Session Present.
    pub is_session_present: bool,
    /// Reason code (5.0) or return code.
    pub code: u8,
    /// Session Expiry Interval.
    pub expiry_s: Option<u32>,
    /// Receive Maximum.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum.
    pub alias_max: u16,
    /// Server Keep Alive.
    pub keep_alive_s: Option<u16>,
    /// Assigned Client Identifier.
    pub assigned_id: Option<String>,
}

/// PUBLISH from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// DUP.
    pub is_dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub is_retained: bool,
    /// Topic; empty if the alias says it.
    pub topic: String,
    /// Packet id; 0 for QoS 0.
    pub id: u16,
    /// Topic Alias.
    pub alias: Option<u16>,
    /// Message Expiry Interval.
    pub expiry_s: Option<u32>,
    /// Subscription Identifiers.
    pub subscription_ids: Vec<u32>,
    /// What travels unchanged.
    pub meta: Meta,
    /// The application message.
    pub payload: Vec<u8>,
}

/// A packet and how many bytes it took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Framed {
    /// The packet.
    pub packet: ServerPacket,
    /// Its length on the wire, fixed header included.
    pub bytes: usize,
}

/// Reads the first packet of `stream`, or nothing if it is not whole yet.
///
/// # Errors
/// What makes the packet illegal.
pub fn decode(version: Version, stream: &[u8]) -> Result<Option<Framed>, String> {
    let Some((first, rest)) = stream.split_first() else { return Ok(None) };
    let digits = rest.iter().take(4).position(|byte| byte & 0x80 == 0);
    let Some(last) = digits else {
        return if rest.len() >= 4 {
            Err("Remaining Length has more than four bytes".into())
        } else {
            Ok(None)
        };
    };
    let mut reader = Reader::new(rest);
    let length = usize::try_from(reader.varint()?).expect("28 bits");
    let header = 2 + last;
    if stream.len() < header + length {
        return Ok(None);
    }
    let body = &stream[header..header + length];
    let packet = body_of(version, *first, body)
        .map_err(|why| format!("{why} in {:02x?}", &stream[..header + length]))?;
    Ok(Some(Framed { packet, bytes: header + length }))
}

fn body_of(version: Version, first: u8, body: &[u8]) -> Result<ServerPacket, String> {
    let is_5 = version == Version::V5;
    let mut reader = Reader::new(body);
    let kind = first >> 4;
    if kind == 3 {
        return publish(is_5, first, reader);
    }
    let flags = if kind == 6 { 2 } else { 0 };
    if first & 15 != flags {
        return Err(format!("first byte {first:#04x} has wrong flags"));
    }
    let packet = match kind {
        2 => ServerPacket::ConnAck(connack(version, &mut reader)?),
        4 => ack(is_5, kind, &mut reader, ServerPacket::PubAck)?,
        5 => ack(is_5, kind, &mut reader, ServerPacket::PubRec)?,
        6 => ack(is_5, kind, &mut reader, ServerPacket::PubRel)?,
        7 => ack(is_5, kind, &mut reader, ServerPacket::PubComp)?,
        9 => suback(version, &mut reader)?,
        11 => unsuback(is_5, &mut reader)?,
        13 => ServerPacket::PingResp,
        14 if is_5 => ServerPacket::Disconnect(closing(kind, &mut reader)?),
        15 if is_5 => ServerPacket::Auth(closing(kind, &mut reader)?),
        // Every other type is reserved, or a client's, or unknown to the version.
        _ => return Err(format!("a server must not send packet type {kind} here")),
    };
    reader.end()?;
    Ok(packet)
}

fn nonzero(id: u16) -> Result<u16, String> {
    if id == 0 { Err("packet id 0".into()) } else { Ok(id) }
}

fn publish(is_5: bool, first: u8, mut reader: Reader<'_>) -> Result<ServerPacket, String> {
    let qos = first >> 1 & 3;
    let is_dup = first & 8 != 0;
    if qos == 3 || (qos == 0 && is_dup) {
        return Err(format!("PUBLISH with first byte {first:#04x}"));
    }
    let topic = reader.text()?.to_string();
    let id = if qos > 0 { nonzero(reader.two()?)? } else { 0 };
    let properties = if is_5 { reader.properties(3)? } else { Vec::new() };
    let mut delivery = Delivery {
        is_dup,
        qos,
        is_retained: first & 1 != 0,
        topic,
        id,
        alias: None,
        expiry_s: None,
        subscription_ids: Vec::new(),
        meta: Meta::default(),
        payload: reader.rest().to_vec(),
    };
    for property in properties {
        keep(&mut delivery, property)?;
    }
    if delivery.topic.contains(['#', '+']) {
        return Err(format!("topic {:?} has a wildcard", delivery.topic));
    }
    if delivery.topic.is_empty() && delivery.alias.is_none() {
        return Err("neither topic nor alias".into());
    }
    Ok(ServerPacket::Publish(Box::new(delivery)))
}

fn keep(delivery: &mut Delivery, property: Property) -> Result<(), String> {
    let meta = &mut delivery.meta;
    match (property.id, property.value) {
        (0x01, Value::Number(number)) => meta.payload_format = u8::try_from(number).ok(),
        (0x02, Value::Number(number)) => delivery.expiry_s = Some(number),
        (0x03, Value::Text(text)) => meta.content_type = Some(text),
        (0x08, Value::Text(text)) => meta.response_topic = Some(text),
        (0x09, Value::Binary(bytes)) => meta.correlation = Some(bytes),
        (0x0b, Value::Number(number)) => delivery.subscription_ids.push(number),
        (0x23, Value::Number(number)) => delivery.alias = u16::try_from(number).ok(),
        (0x26, Value::Pair(key, value)) => meta.user.push((key, value)),
        (id, value) => return Err(format!("property {id:#04x} holds {value:?}")),
    }
    Ok(())
}

/// Codes of the 5.0 CONNACK. Source: table 3-1.
const CONNACK_CODES: [u8; 22] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
    0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
];

fn connack(version: Version, reader: &mut Reader<'_>) -> Result<ConnAck, String> {
    let flags = reader.byte()?;
    let code = reader.byte()?;
    let is_session_present = flags == 1;
    if flags > 1 || (flags == 1 && version == Version::V31) || (is_session_present && code != 0) {
        return Err(format!("CONNACK flags {flags:#04x} with code {code:#04x}"));
    }
    let mut connack = ConnAck { is_session_present, code, ..ConnAck::default() };
    if version != Version::V5 {
        return if code <= 5 { Ok(connack) } else { Err(format!("return code {code}")) };
    }
    if !CONNACK_CODES.contains(&code) {
        return Err(format!("CONNACK code {code:#04x}"));
    }
    for property in reader.properties(2)? {
        let narrow = |number: u32| u16::try_from(number).map_err(|_| "a two-byte number".to_string());
        match (property.id, property.value) {
            (0x11, Value::Number(number)) => connack.expiry_s = Some(number),
            (0x12, Value::Text(text)) => connack.assigned_id = Some(text),
            (0x13, Value::Number(number)) => connack.keep_alive_s = Some(narrow(number)?),
            (0x21, Value::Number(number)) => connack.receive_maximum = Some(narrow(number)?),
            (0x22, Value::Number(number)) => connack.alias_max = narrow(number)?,
            (0x27, Value::Number(number)) => connack.packet_bytes_max = Some(number),
            // The other CONNACK properties were checked by the table and mean nothing to a simulated client.
            _ => {}
        }
    }
    Ok(connack)
}

fn ack(
    is_5: bool,
    kind: u8,
    reader: &mut Reader<'_>,
    packet: fn(u16, u8) -> ServerPacket,
) -> Result<ServerPacket, String> {
    let id = nonzero(reader.two()?)?;
    if !is_5 || reader.rest().is_empty() {
        return Ok(packet(id, 0));
    }
    let code = reader.byte()?;
    let codes: &[u8] = match kind {
        4 | 5 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        // PUBREL and PUBCOMP.
        _ => &[0x00, 0x92],
    };
    if !codes.contains(&code) {
        return Err(format!("reason code {code:#04x} in packet type {kind}"));
    }
    if !reader.rest().is_empty() {
        reader.properties(kind)?;
    }
    Ok(packet(id, code))
}

fn suback(version: Version, reader: &mut Reader<'_>) -> Result<ServerPacket, String> {
    let id = nonzero(reader.two()?)?;
    let legal: &[u8] = match version {
        Version::V31 => &[0, 1, 2],
        Version::V311 => &[0, 1, 2, 0x80],
        Version::V5 => &[0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
    };
    if version == Version::V5 {
        reader.properties(9)?;
    }
    let codes = reader.take(reader.rest().len())?.to_vec();
    if codes.is_empty() || codes.iter().any(|code| !legal.contains(code)) {
        return Err(format!("SUBACK codes {codes:02x?}"));
    }
    Ok(ServerPacket::SubAck(id, codes))
}

fn unsuback(is_5: bool, reader: &mut Reader<'_>) -> Result<ServerPacket, String> {
    let id = nonzero(reader.two()?)?;
    if !is_5 {
        return Ok(ServerPacket::UnsubAck(id, Vec::new()));
    }
    reader.properties(11)?;
    let codes = reader.take(reader.rest().len())?.to_vec();
    let legal = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    if codes.is_empty() || codes.iter().any(|code| !legal.contains(code)) {
        return Err(format!("UNSUBACK codes {codes:02x?}"));
    }
    Ok(ServerPacket::UnsubAck(id, codes))
}

/// Codes of a DISCONNECT from a server. Source: table 3-10.
const DISCONNECT_CODES: [u8; 28] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];

/// The body of DISCONNECT and AUTH: both may leave out code and properties.
fn closing(kind: u8, reader: &mut Reader<'_>) -> Result<u8, String> {
    if reader.rest().is_empty() {
        return Ok(0);
    }
    let code = reader.byte()?;
    let legal: &[u8] = if kind == 14 { &DISCONNECT_CODES } else { &[0x00, 0x18] };
    if !legal.contains(&code) {
        return Err(format!("reason code {code:#04x} in packet type {kind}"));
    }
    if !reader.rest().is_empty() {
        reader.properties(kind)?;
    }
    Ok(code)
}
