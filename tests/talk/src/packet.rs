//! What a runner heard from the server, and the names of packets and versions.
//!
//! Why one flat struct for all packets: expectations compare fields by name, and a field that a packet does not have is
//! simply empty. The shape of each packet is checked where it is decoded.

use std::fmt;

use crate::property::{self, Held};

/// The protocol version of a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// MQTT 3.1.
    V31,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];

    /// Reads `v31`, `v311` or `v5`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.word() == word)
    }

    /// The word of the language.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::V31 => "v31",
            Self::V311 => "v311",
            Self::V5 => "v5",
        }
    }
}

/// The control packet types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// 1.
    Connect,
    /// 2.
    ConnAck,
    /// 3.
    Publish,
    /// 4.
    PubAck,
    /// 5.
    PubRec,
    /// 6.
    PubRel,
    /// 7.
    PubComp,
    /// 8.
    Subscribe,
    /// 9.
    SubAck,
    /// 10.
    Unsubscribe,
    /// 11.
    UnsubAck,
    /// 12.
    PingReq,
    /// 13.
    PingResp,
    /// 14.
    Disconnect,
    /// 15.
    Auth,
}

/// Types, numbers and names; the number is the place in the list plus one.
const KINDS: [(Kind, &str); 15] = [
    (Kind::Connect, "CONNECT"),
    (Kind::ConnAck, "CONNACK"),
    (Kind::Publish, "PUBLISH"),
    (Kind::PubAck, "PUBACK"),
    (Kind::PubRec, "PUBREC"),
    (Kind::PubRel, "PUBREL"),
    (Kind::PubComp, "PUBCOMP"),
    (Kind::Subscribe, "SUBSCRIBE"),
    (Kind::SubAck, "SUBACK"),
    (Kind::Unsubscribe, "UNSUBSCRIBE"),
    (Kind::UnsubAck, "UNSUBACK"),
    (Kind::PingReq, "PINGREQ"),
    (Kind::PingResp, "PINGRESP"),
    (Kind::Disconnect, "DISCONNECT"),
    (Kind::Auth, "AUTH"),
];

impl Kind {
    /// The type whose number stands in the high nibble of `first_byte`.
    #[must_use]
    pub fn from_first_byte(first_byte: u8) -> Option<Self> {
        KINDS.get(usize::from(first_byte >> 4).checked_sub(1)?).map(|(kind, _)| *kind)
    }

    /// Reads a name in capitals.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind)
    }

    /// The standard's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The number, 1 to 15.
    #[must_use]
    pub fn number(self) -> u8 {
        let place = KINDS.iter().position(|(kind, _)| *kind == self).unwrap_or(0);
        u8::try_from(place + 1).expect("fifteen kinds")
    }
}

/// One packet of the server, decoded.
#[derive(Clone, PartialEq, Debug)]
pub struct Heard {
    /// Its type.
    pub kind: Kind,
    /// DUP; PUBLISH only.
    pub dup: bool,
    /// QoS, 0 to 2; PUBLISH only.
    pub qos: u8,
    /// RETAIN; PUBLISH only.
    pub retain: bool,
    /// Packet identifier; 0 where there is none.
    pub id: u16,
    /// Topic as written; PUBLISH only.
    pub wire_topic: Vec<u8>,
    /// Topic behind the alias; equal to `wire_topic` without one.
    pub topic: Vec<u8>,
    /// Application message.
    pub payload: Vec<u8>,
    /// Reason codes or return codes.
    pub codes: Vec<u8>,
    /// Session Present; CONNACK only.
    pub session_present: bool,
    /// Properties in the order of the wire.
    pub properties: Vec<(u8, Held)>,
    /// All bytes of the packet.
    pub frame: Vec<u8>,
}

impl Heard {
    /// An empty packet of this type with these bytes.
    #[must_use]
    pub fn new(kind: Kind, frame: &[u8]) -> Self {
        Self {
            kind,
            dup: false,
            qos: 0,
            retain: false,
            id: 0,
            wire_topic: Vec::new(),
            topic: Vec::new(),
            payload: Vec::new(),
            codes: Vec::new(),
            session_present: false,
            properties: Vec::new(),
            frame: frame.to_vec(),
        }
    }

    /// The first reason code, or success where the packet leaves it out.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.codes.first().copied().unwrap_or(0)
    }

    /// The value of a property that stands at most once.
    #[must_use]
    pub fn property(&self, id: u8) -> Option<&Held> {
        self.properties.iter().find(|(held, _)| *held == id).map(|(_, value)| value)
    }

    /// The number that a property holds.
    #[must_use]
    pub fn number(&self, id: u8) -> Option<u64> {
        self.property(id).and_then(Held::number)
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.word())?;
        if self.kind == Kind::Publish {
            write!(f, " q{}", self.qos)?;
            for (flag, word) in [(self.dup, " dup"), (self.retain, " retain")] {
                f.write_str(if flag { word } else { "" })?;
            }
            write!(f, " {} {}", quoted(&self.topic), quoted(&self.payload))?;
            if self.topic != self.wire_topic {
                write!(f, " wire-topic={}", quoted(&self.wire_topic))?;
            }
        }
        for code in &self.codes {
            write!(f, " 0x{code:02x}")?;
        }
        if self.kind == Kind::ConnAck {
            write!(f, " sp={}", u8::from(self.session_present))?;
        }
        if self.id != 0 {
            write!(f, " id={}", self.id)?;
        }
        for (id, value) in &self.properties {
            match value {
                Held::Pair(key, value) => write!(f, " up({} {})", quoted(key), quoted(value))?,
                Held::Number(number) => write!(f, " {}={number}", property::name(*id))?,
                Held::Bytes(bytes) => write!(f, " {}={}", property::name(*id), quoted(bytes))?,
            }
        }
        Ok(())
    }
}

/// Bytes as the language would write them, long ones cut.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 80;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let mut text = String::from("\"");
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                '\0' => text.push_str("\\0"),
                c if c.is_control() => text.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    if shown.len() < bytes.len() {
        text.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    text
}

/// Bytes in hex, long ones cut.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let text: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let rest =
        if shown.len() < bytes.len() { format!(" ... ({} bytes)", bytes.len()) } else { String::new() };
    format!("{}{rest}", text.join(" "))
}
