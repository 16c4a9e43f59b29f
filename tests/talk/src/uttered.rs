//! Reads what a client said, leniently, so that the checks know what the server was told.
//!
//! Why from the bytes and not from the script: raw bytes, cut packets and pipelined packets are then followed in the
//! same way as symbolic ones. What cannot be read is not followed.

use crate::hear::frame_length;
use crate::packet::{Kind, Version};
use crate::property::{self, Shape};

/// A packet of a client, as far as the checks care.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Uttered {
    /// CONNECT.
    Connect(Terms),
    /// PUBLISH with its QoS and identifier (0 for QoS 0).
    Publish {
        /// 0 to 3.
        qos: u8,
        /// Packet identifier.
        id: u16,
    },
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack {
        /// Which of them.
        kind: Kind,
        /// Packet identifier.
        id: u16,
        /// Reason code.
        code: u8,
    },
    /// SUBSCRIBE with the QoS asked for by each filter.
    Subscribe {
        /// Packet identifier.
        id: u16,
        /// Requested QoS, filter by filter.
        qos: Vec<u8>,
    },
    /// UNSUBSCRIBE with the number of filters.
    Unsubscribe {
        /// Packet identifier.
        id: u16,
        /// How many filters.
        filters: usize,
    },
    /// PINGREQ.
    Ping,
    /// Anything else.
    Other,
}

/// What a CONNECT lays down for its connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The version by the protocol level.
    pub version: Version,
    /// Whether the level is above 5, so that the server may answer in either form.
    pub is_unknown_level: bool,
    /// Clean Session or Clean Start.
    pub clean: bool,
    /// Client identifier.
    pub client_id: Vec<u8>,
    /// Receive Maximum.
    pub receive_maximum: usize,
    /// Maximum Packet Size.
    pub packet_bytes_max: usize,
    /// Topic Alias Maximum.
    pub topic_alias_max: u64,
    /// Request Problem Information.
    pub wants_problems: bool,
    /// Request Response Information.
    pub wants_response: bool,
    /// Authentication Method.
    pub method: Option<Vec<u8>>,
}

impl Terms {
    /// Those of a CONNECT that says nothing more than its version.
    #[must_use]
    pub fn of_version(version: Version) -> Self {
        Self {
            version,
            is_unknown_level: false,
            clean: true,
            client_id: Vec::new(),
            receive_maximum: if version == Version::V5 { usize::from(u16::MAX) } else { usize::MAX },
            packet_bytes_max: usize::MAX,
            topic_alias_max: 0,
            wants_problems: true,
            wants_response: false,
            method: None,
        }
    }
}

/// Takes whole packets off the front of `stream`. An unreadable one empties it and ends the list.
pub fn take_packets(stream: &mut Vec<u8>, version: Version) -> Vec<Uttered> {
    let mut out = Vec::new();
    loop {
        match frame_length(stream) {
            Ok(Some(length)) if length <= stream.len() => {
                let frame: Vec<u8> = stream.drain(..length).collect();
                let version = out.iter().rev().find_map(version_of).unwrap_or(version);
                out.push(read(&frame, version).unwrap_or(Uttered::Other));
            }
            Ok(_) => return out,
            Err(_) => {
                // A CONNECT with a length that is none is still a CONNECT to be refused.
                if stream[0] >> 4 == Kind::Connect.number() {
                    out.push(Uttered::Connect(Terms::of_version(version)));
                }
                stream.clear();
                return out;
            }
        }
    }
}

fn version_of(uttered: &Uttered) -> Option<Version> {
    match uttered {
        Uttered::Connect(terms) => Some(terms.version),
        _ => None, // Only a CONNECT settles the version.
    }
}

fn read(frame: &[u8], version: Version) -> Option<Uttered> {
    let header = 1 + frame[1..].iter().position(|byte| byte & 0x80 == 0)? + 1;
    let kind = Kind::from_first_byte(frame[0])?;
    let mut cursor = Cursor { rest: &frame[header..] };
    let is_fifth = version == Version::V5;
    Some(match kind {
        Kind::Connect => Uttered::Connect(terms(&mut cursor, version)),
        Kind::Publish => {
            let qos = frame[0] >> 1 & 3;
            cursor.field()?;
            Uttered::Publish { qos, id: if qos > 0 { cursor.two()? } else { 0 } }
        }
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
            let id = cursor.two()?;
            Uttered::Ack { kind, id, code: if is_fifth { cursor.byte().unwrap_or(0) } else { 0 } }
        }
        Kind::Subscribe | Kind::Unsubscribe => {
            let id = cursor.two()?;
            if is_fifth {
                cursor.section()?;
            }
            let mut qos = Vec::new();
            while cursor.field().is_some() {
                qos.push(if kind == Kind::Subscribe { cursor.byte()? & 3 } else { 0 });
            }
            match kind {
                Kind::Subscribe => Uttered::Subscribe { id, qos },
                _ => Uttered::Unsubscribe { id, filters: qos.len() },
            }
        }
        Kind::PingReq => Uttered::Ping,
        _ => Uttered::Other, // DISCONNECT, AUTH, and what a client should never say.
    })
}

/// The terms of a CONNECT, as far as it can be read.
fn terms(cursor: &mut Cursor<'_>, version: Version) -> Terms {
    let mut terms = Terms::of_version(version);
    let _unreadable = read_terms(cursor, &mut terms);
    terms
}

fn read_terms(cursor: &mut Cursor<'_>, terms: &mut Terms) -> Option<()> {
    cursor.field()?;
    let level = cursor.byte()? & 0x7f;
    let version = match level {
        0..=3 => Version::V31,
        4 => Version::V311,
        _ => Version::V5, // Levels above 5 are answered in the form of 5.0, or with a 3.x code.
    };
    *terms = Terms::of_version(version);
    terms.is_unknown_level = level > 5;
    terms.clean = cursor.byte()? & 2 != 0;
    cursor.two()?;
    if version == Version::V5 {
        read_properties(terms, cursor.section()?)?;
    }
    terms.client_id = cursor.field()?.to_vec();
    Some(())
}

fn read_properties(terms: &mut Terms, section: &[u8]) -> Option<()> {
    let mut cursor = Cursor { rest: section };
    while let Some(id) = cursor.byte() {
        let row = property::by_id(id)?;
        let number = match row.shape {
            Shape::Byte => u64::from(cursor.byte()?),
            Shape::Two => u64::from(cursor.two()?),
            Shape::Four => u64::from(cursor.two()?) << 16 | u64::from(cursor.two()?),
            Shape::Var => cursor.var()?,
            Shape::Text | Shape::Binary => {
                let bytes = cursor.field()?;
                if row.name == "auth-method" {
                    terms.method = Some(bytes.to_vec());
                }
                continue;
            }
            Shape::Pair => {
                cursor.field()?;
                cursor.field()?;
                continue;
            }
        };
        match row.name {
            "receive-maximum" => terms.receive_maximum = usize::try_from(number).ok()?,
            // Zero is an error that the server must be able to name.
            "maximum-packet-size" if number > 0 => terms.packet_bytes_max = usize::try_from(number).ok()?,
            "topic-alias-maximum" => terms.topic_alias_max = number,
            "request-problem" => terms.wants_problems = number != 0,
            "request-response" => terms.wants_response = number != 0,
            _ => {} // Nothing that the server's packets are measured by.
        }
    }
    Some(())
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn two(&mut self) -> Option<u16> {
        let taken = self.take(2)?;
        Some(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn field(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.two()?);
        self.take(length)
    }

    fn var(&mut self) -> Option<u64> {
        let mut number = 0;
        for at in 0..4 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn section(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.var()?).ok()?;
        self.take(length)
    }
}
