//! A client of MQTT, in bytes: what it can send, and what it is sent as lines of text.
//!
//! Invariants:
//! - A byte that was received is part of one packet, and each packet is one line.

use mqtt::{QoS, Version};
use shard::ConnId;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// What it speaks.
    pub version: Version,
    /// Its core and its connection there, while it has one.
    pub place: Option<(usize, ConnId)>,
    /// What it has sent and nobody has read.
    pub unread: Vec<u8>,
    /// Whether it is not read.
    pub is_paused: bool,
    /// Whether its line is slow: what it is sent stays on its way until [`Client::unsent`] is taken from it.
    pub is_slow: bool,
    /// Bytes on their way.
    pub unsent: usize,
    /// What its CONNACK said of a session.
    pub session_present: Option<bool>,
    received: Vec<u8>,
    seen: Vec<String>,
    /// Packet ids of the messages that it was sent and that want an acknowledgement.
    pub owed: Vec<u16>,
    /// What it was told in words about messages that were not taken, and about its end.
    pub reasons: Vec<String>,
}

impl Client {
    /// A client that was just accepted.
    #[must_use]
    pub fn new(version: Version, core: usize, conn: ConnId) -> Self {
        let place = Some((core, conn));
        Self {
            version,
            place,
            unread: Vec::new(),
            is_paused: false,
            is_slow: false,
            unsent: 0,
            session_present: None,
            received: Vec::new(),
            seen: Vec::new(),
            owed: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// It was sent bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some((first, body, rest)) = packet(&self.received) {
            if first >> 4 == 2 {
                self.session_present = Some(body[0] == 1);
            }
            let (line, owed) = line(self.version, first, body);
            self.seen.push(line);
            // DISCONNECT: reason, length of properties, and the string of the only one.
            if first >> 4 == 14 && body.len() > 5 {
                self.reasons.push(String::from_utf8(body[5..].to_vec()).expect("a string of MQTT"));
            }
            if matches!(first >> 4, 4 | 5) && body.len() > 4 {
                self.reasons.push(String::from_utf8(body[7..].to_vec()).expect("a string of MQTT"));
            }
            self.owed.extend(owed);
            self.received = rest.to_vec();
        }
    }

    /// Its connection was closed.
    pub fn close(&mut self) {
        assert!(self.received.is_empty(), "a packet was cut");
        self.place = None;
        self.seen.push("close".to_owned());
    }

    /// What it has seen since the last time.
    pub fn take_seen(&mut self) -> Vec<String> {
        std::mem::take(&mut self.seen)
    }
}

/// The first packet: its first byte, its body, and what is behind it.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let first = *bytes.first()?;
    let (mut len, mut shift, mut at) = (0_usize, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << shift;
        (shift, at) = (shift + 7, at + 1);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (bytes.len() >= at + len).then(|| (first, &bytes[at..at + len], &bytes[at + len..]))
}

/// A packet as a line, and the id that it wants acknowledged.
fn line(version: Version, first: u8, body: &[u8]) -> (String, Option<u16>) {
    let is_v5 = version == Version::V5;
    let coded = |word: &str, at: usize| match is_v5 {
        true => format!("{word} 0x{:02X}", body.get(at).copied().unwrap_or(0)),
        false => word.to_owned(),
    };
    let text = match first >> 4 {
        2 if is_v5 => format!("CONNACK 0x{:02X}", body[1]),
        2 => format!("CONNACK {}", body[1]),
        3 => return publish_line(is_v5, first, body),
        4 => coded("PUBACK", 2),
        5 => coded("PUBREC", 2),
        7 => coded("PUBCOMP", 2),
        9 => format!("SUBACK {}", codes(&body[if is_v5 { 3 } else { 2 }..])),
        11 if is_v5 => format!("UNSUBACK {}", codes(&body[3..])),
        11 => "UNSUBACK".to_owned(),
        13 => "PINGRESP".to_owned(),
        14 => format!("DISCONNECT 0x{:02X}", body.first().copied().unwrap_or(0)),
        other => panic!("a server does not send packets of type {other}"),
    };
    (text, None)
}

fn publish_line(is_v5: bool, first: u8, body: &[u8]) -> (String, Option<u16>) {
    let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8_lossy(&body[2..2 + topic_len]).into_owned();
    let mut rest = &body[2 + topic_len..];
    let qos = first >> 1 & 3;
    let mut id = None;
    if qos > 0 {
        id = Some(u16::from_be_bytes([rest[0], rest[1]]));
        rest = &rest[2..];
    }
    if is_v5 {
        rest = &rest[1 + usize::from(rest[0])..];
    }
    let retained = if first & 1 == 1 { " retained" } else { "" };
    let text = format!("PUBLISH q{qos}{retained} {topic} {}", String::from_utf8_lossy(rest));
    (text.trim_end().to_owned(), id)
}

fn codes(codes: &[u8]) -> String {
    codes.iter().map(|code| format!("0x{code:02X}")).collect::<Vec<_>>().join(" ")
}

/// A message that is published if the connection breaks.
#[derive(Clone, Copy, Debug)]
pub struct Will<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a [u8],
}

/// CONNECT, with a clean session and a keep alive of a minute.
#[must_use]
pub fn connect(
    version: Version,
    client_id: &str,
    user_name: Option<&str>,
    password: Option<&str>,
    will: Option<Will<'_>>,
) -> Vec<u8> {
    let is_v5 = version == Version::V5;
    let level = if is_v5 { 5 } else { 4 };
    let flags = 0x02
        | u8::from(user_name.is_some()) << 7
        | u8::from(password.is_some()) << 6
        | u8::from(will.is_some()) << 2;
    let mut body = b"\x00\x04MQTT".to_vec();
    body.extend_from_slice(&[level, flags, 0, 60]);
    body.extend(is_v5.then_some(0));
    field(&mut body, client_id.as_bytes());
    if let Some(will) = will {
        body.extend(is_v5.then_some(0));
        field(&mut body, will.topic.as_bytes());
        field(&mut body, will.payload);
    }
    user_name.into_iter().for_each(|name| field(&mut body, name.as_bytes()));
    password.into_iter().for_each(|word| field(&mut body, word.as_bytes()));
    framed(0x10, &body)
}

/// CONNECT of 5.0 with properties.
#[must_use]
pub fn with_properties(mut connect: Vec<u8>, properties: &[u8]) -> Vec<u8> {
    let len = u8::try_from(properties.len()).expect("few properties");
    connect[1] += len;
    assert!(connect[1] < 0x80, "a short packet");
    connect[12] = len;
    connect.splice(13..13, properties.iter().copied());
    connect
}

/// PUBLISH.
#[must_use]
pub fn publish(version: Version, id: u16, topic: &str, qos: QoS, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, topic.as_bytes());
    if qos != QoS::AtMostOnce {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend((version == Version::V5).then_some(0));
    body.extend_from_slice(payload);
    framed(0x30 | qos.bits() << 1, &body)
}

/// SUBSCRIBE to one filter.
#[must_use]
pub fn subscribe(version: Version, id: u16, filter: &str, qos: QoS) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend((version == Version::V5).then_some(0));
    field(&mut body, filter.as_bytes());
    body.push(qos.bits());
    framed(0x82, &body)
}

/// UNSUBSCRIBE from one filter.
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend((version == Version::V5).then_some(0));
    field(&mut body, filter.as_bytes());
    framed(0xa2, &body)
}

/// PUBACK.
#[must_use]
pub fn puback(id: u16) -> Vec<u8> {
    framed(0x40, &id.to_be_bytes())
}

/// PUBREL.
#[must_use]
pub fn pubrel(id: u16) -> Vec<u8> {
    framed(0x62, &id.to_be_bytes())
}

/// DISCONNECT, as a client that is done.
#[must_use]
pub fn disconnect() -> Vec<u8> {
    framed(0xe0, &[])
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("a short field").to_be_bytes());
    out.extend_from_slice(bytes);
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut len = body.len();
    loop {
        let low = u8::try_from(len & 0x7f).expect("seven bits");
        len >>= 7;
        out.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}
