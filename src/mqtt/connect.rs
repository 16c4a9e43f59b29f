//! CONNECT: the first packet, the only one that says its own version.
//!
//! Why an error of its own: how a broken CONNECT is answered depends on how far it could be read. A 5.0 client gets a
//! CONNACK with the reason; below that only a wrong level and a bad client identifier have a return code, and whatever
//! speaks no MQTT at all is met with silence.
//!
//! Invariants:
//! - The whole packet is checked before any of it is returned. Source: [MQTT-3.1.4-1].
//! - No answer is made up: [`ConnectViolation::answer`] is `None` where the standard says to close without CONNACK.
//!
//! Source: MQTT 5.0 section 3.1, MQTT 3.1.1 section 3.1, MQTT V3.1 section 3.1.

use std::fmt;

use crate::cursor::Cursor;
use crate::properties::{self, Place, Property, Value};
use crate::{Connect, ConnectProperties, Frame, QoS, ReasonCode, Version, Violation, Will, text, topic};

/// A CONNECT that is refused for its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectViolation {
    /// What is wrong.
    pub violation: Violation,
    /// The version in whose form an answer would be understood; `None` if none is.
    pub version: Option<Version>,
}

impl ConnectViolation {
    /// The CONNACK to send before closing: its version and its code; `None` means to close without a byte.
    ///
    /// Source: [MQTT-3.1.2-2], [MQTT-3.1.4-1], [MQTT-3.1.3-8]; MQTT 3.1.1 [MQTT-3.1.3-8], [MQTT-3.1.4-1].
    #[must_use]
    pub const fn answer(self) -> Option<(Version, ReasonCode)> {
        let Some(version) = self.version else { return None };
        let reason = self.violation.facts().reason;
        match version {
            Version::V5 => Some((version, reason)),
            Version::V31 | Version::V311 => match reason.connack_return_code() {
                Some(_) => Some((version, reason)),
                None => None,
            },
        }
    }
}

impl fmt::Display for ConnectViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.violation.fmt(f)
    }
}

impl std::error::Error for ConnectViolation {}

/// Decodes the first packet of a connection.
///
/// Accepts client identifiers of any length; a limit is the caller's policy.
///
/// # Errors
/// The statement that the packet breaks, and in which version's form to answer. A packet other than CONNECT is
/// [`Violation::FirstPacketNotConnect`]. Source: section 3.1.
pub fn decode_connect(frame: Frame<'_>) -> Result<Connect<'_>, ConnectViolation> {
    let silent = |violation| ConnectViolation { violation, version: None };
    if frame.first >> 4 != 1 {
        return Err(silent(Violation::FirstPacketNotConnect));
    }
    if frame.first != 0x10 {
        return Err(silent(Violation::FlagsReserved));
    }
    let mut cursor = Cursor::new(frame.body);
    let name = cursor.binary().map_err(silent)?;
    let level = cursor.byte().map_err(silent)?;
    let version = agree(name, level)?;
    rest(cursor, version).map_err(|violation| ConnectViolation { violation, version: Some(version) })
}

/// The version that name and level agree on.
///
/// Bridges of one broker set bit 7 of the level and fall back if they are refused, so the answer is in the form that
/// the other bits ask for. Source: [MQTT-3.1.2-1], [MQTT-3.1.2-2].
fn agree(name: &[u8], level: u8) -> Result<Version, ConnectViolation> {
    let form = if level & 0x7f < 5 { Version::V311 } else { Version::V5 };
    match (name, level) {
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT" | b"MQIsdp", _) => {
            Err(ConnectViolation { violation: Violation::ProtocolLevel, version: Some(form) })
        }
        (_, 5) => Err(ConnectViolation { violation: Violation::ProtocolName, version: Some(Version::V5) }),
        (_, _) => Err(ConnectViolation { violation: Violation::ProtocolName, version: None }),
    }
}

/// The connect flags. Source: section 3.1.2.3.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    const fn clean_start(self) -> bool {
        self.0 & 0x02 != 0
    }

    const fn will(self) -> bool {
        self.0 & 0x04 != 0
    }

    const fn will_retain(self) -> bool {
        self.0 & 0x20 != 0
    }

    const fn password(self) -> bool {
        self.0 & 0x40 != 0
    }

    const fn user_name(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Checks what the flags say about each other; returns the will's QoS.
    fn check(self, version: Version) -> Result<QoS, Violation> {
        if self.0 & 1 != 0 {
            return Err(Violation::ConnectFlagReserved);
        }
        let will_qos = QoS::from_bits(self.0 >> 3 & 3).ok_or(Violation::WillQoSInvalid)?;
        if !self.will() && will_qos != QoS::AtMostOnce {
            return Err(Violation::WillQoSWithoutWill);
        }
        if !self.will() && self.will_retain() {
            return Err(Violation::WillRetainWithoutWill);
        }
        if version < Version::V5 && self.password() && !self.user_name() {
            return Err(Violation::PasswordWithoutUserName);
        }
        Ok(will_qos)
    }
}

/// Everything behind the protocol level.
fn rest(mut cursor: Cursor<'_>, version: Version) -> Result<Connect<'_>, Violation> {
    let flags = Flags(cursor.byte()?);
    let will_qos = flags.check(version)?;
    let keep_alive_s = cursor.two()?;
    let properties = if version == Version::V5 {
        connect_properties(cursor.properties()?)?
    } else {
        ConnectProperties::default()
    };
    if cursor.is_empty() {
        return Err(Violation::ClientIdMissing);
    }
    let client_id = cursor.text()?;
    let will =
        if flags.will() { Some(will(&mut cursor, version, will_qos, flags.will_retain())?) } else { None };
    // In 3.1 the remaining length takes precedence over these two flags: a field may be missing at the end.
    let may_miss = version == Version::V31;
    let user_name = match (flags.user_name(), cursor.is_empty()) {
        (false, _) => None,
        (true, true) if may_miss => None,
        (true, true) => return Err(Violation::UserNameMissing),
        (true, false) => Some(cursor.text()?),
    };
    let password = match (flags.password(), cursor.is_empty()) {
        (false, _) => None,
        (true, true) if may_miss => None,
        (true, true) => return Err(Violation::PasswordMissing),
        (true, false) => Some(cursor.binary()?),
    };
    cursor.end()?;
    let clean_start = flags.clean_start();
    let needs_id = match version {
        Version::V31 => true,
        Version::V311 => !clean_start,
        Version::V5 => false,
    };
    if client_id.is_empty() && needs_id {
        return Err(Violation::ClientIdEmpty);
    }
    Ok(Connect { version, clean_start, keep_alive_s, client_id, will, user_name, password, properties })
}

fn connect_properties(raw: &[u8]) -> Result<ConnectProperties<'_>, Violation> {
    let mut found = ConnectProperties { raw, ..ConnectProperties::default() };
    properties::walk(raw, Place::CONNECT, |property, value| {
        match (property, value) {
            (Property::SessionExpiry, Value::Number(expiry_s)) => found.session_expiry_s = Some(expiry_s),
            (Property::ReceiveMaximum, Value::Number(maximum)) => {
                found.receive_maximum = u16::try_from(maximum).ok()
            }
            (Property::MaximumPacketSize, Value::Number(bytes)) => found.packet_bytes_max = Some(bytes),
            (Property::TopicAliasMaximum, Value::Number(maximum)) => {
                found.topic_alias_max = u16::try_from(maximum).unwrap_or(u16::MAX);
            }
            (Property::RequestResponse, Value::Number(flag)) => {
                found.request_response_information = flag == 1
            }
            (Property::RequestProblem, Value::Number(flag)) => {
                found.request_problem_information = Some(flag == 1)
            }
            (Property::AuthenticationMethod, Value::Bytes(method)) => {
                found.authentication_method = Some(text::check(method)?);
            }
            (Property::AuthenticationData, Value::Bytes(data)) => found.authentication_data = Some(data),
            // User properties stay in `raw`; the walk lets no other property through.
            _ => {}
        }
        Ok(())
    })?;
    if found.authentication_data.is_some() && found.authentication_method.is_none() {
        return Err(Violation::AuthDataWithoutMethod);
    }
    Ok(found)
}

fn will<'a>(
    cursor: &mut Cursor<'a>,
    version: Version,
    qos: QoS,
    retain: bool,
) -> Result<Will<'a>, Violation> {
    if cursor.is_empty() {
        return Err(Violation::WillFieldMissing);
    }
    let raw = if version == Version::V5 { cursor.properties()? } else { &[] };
    let (mut delay_s, mut expiry_s, mut payload_is_utf8) = (0, None, false);
    properties::walk(raw, Place::WILL, |property, value| {
        match (property, value) {
            (Property::WillDelay, Value::Number(seconds)) => delay_s = seconds,
            (Property::MessageExpiry, Value::Number(seconds)) => expiry_s = Some(seconds),
            (Property::PayloadFormat, Value::Number(format)) => payload_is_utf8 = format == 1,
            // The others travel on as bytes.
            _ => {}
        }
        Ok(())
    })?;
    if cursor.is_empty() {
        return Err(Violation::WillFieldMissing);
    }
    let topic = text::check(cursor.binary()?)?;
    if topic.is_empty() {
        return Err(Violation::WillTopicEmpty);
    }
    if topic::has_wildcard(topic.as_bytes()) {
        return Err(Violation::WillTopicHasWildcard);
    }
    if cursor.is_empty() {
        return Err(Violation::WillFieldMissing);
    }
    let payload = cursor.binary()?;
    Ok(Will { qos, retain, topic, payload, delay_s, expiry_s, payload_is_utf8, raw })
}
