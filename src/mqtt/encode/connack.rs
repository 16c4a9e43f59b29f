//! Encoding CONNACK, the answer that tells the server's limits.
//!
//! Invariants:
//! - An error has no session present. Source: [MQTT-3.2.2-6].
//! - Nothing is announced that the standard forbids to announce: maximum QoS 2, receive maximum zero.
//!
//! Source: MQTT 5.0 section 3.2, MQTT 3.1.1 section 3.2, MQTT V3.1 section 3.2.

use super::fields::{
    cut, fits, put_byte_property, put_field_property, put_four_property, put_two_property, put_varint,
    varint_len,
};
use crate::properties::Property;
use crate::{ConnAck, Fit, QoS, ReasonCode, Version};

/// Appends a CONNACK of at most `packet_bytes_max` bytes.
///
/// Below 5.0 the code becomes a return code; a code that has none writes nothing. The reason string is cut to 65,535
/// bytes and left out if the packet would not fit with it. Source: [MQTT-3.2.2-8], [MQTT-3.2.2-19].
pub fn connack(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>, packet_bytes_max: u32) -> Fit {
    let session_present = connack.session_present && connack.reason == ReasonCode::Success;
    match version {
        Version::V31 => old(out, connack.reason, 0),
        Version::V311 => old(out, connack.reason, u8::from(session_present)),
        Version::V5 => new(out, connack, u8::from(session_present), packet_bytes_max),
    }
}

fn old(out: &mut Vec<u8>, reason: ReasonCode, flags: u8) -> Fit {
    let Some(code) = reason.connack_return_code() else { return Fit::Nothing };
    out.extend_from_slice(&[0x20, 2, flags, code]);
    Fit::Whole
}

fn new(out: &mut Vec<u8>, connack: &ConnAck<'_>, flags: u8, packet_bytes_max: u32) -> Fit {
    debug_assert!(connack.reason.is_in_connack());
    // Once per connection, so a buffer for the properties is no cost worth a second pass over the fields.
    let mut properties = Vec::with_capacity(64);
    put_limits(&mut properties, connack);
    put_texts(&mut properties, connack);
    let needed = properties.len();
    if let Some(text) = connack.reason_string.map(cut) {
        put_field_property(&mut properties, Property::ReasonString, text.as_bytes());
    }
    let whole = fits(length(properties.len()), packet_bytes_max);
    if !whole {
        properties.truncate(needed);
        if !fits(length(needed), packet_bytes_max) {
            return Fit::Nothing;
        }
    }
    out.push(0x20);
    put_varint(out, remaining(properties.len()));
    out.extend_from_slice(&[flags, connack.reason.byte()]);
    put_varint(out, properties.len());
    out.extend_from_slice(&properties);
    if whole { Fit::Whole } else { Fit::Trimmed }
}

const fn remaining(properties: usize) -> usize {
    2 + varint_len(properties) + properties
}

const fn length(properties: usize) -> usize {
    1 + varint_len(remaining(properties)) + remaining(properties)
}

/// The numbers and switches.
fn put_limits(out: &mut Vec<u8>, connack: &ConnAck<'_>) {
    let mut four = |property, value: Option<u32>| {
        if let Some(value) = value {
            put_four_property(out, property, value);
        }
    };
    four(Property::SessionExpiry, connack.session_expiry_s);
    four(Property::MaximumPacketSize, connack.packet_bytes_max.filter(|&bytes| bytes > 0));
    let mut two = |property, value: Option<u16>| {
        if let Some(value) = value {
            put_two_property(out, property, value);
        }
    };
    two(Property::ReceiveMaximum, connack.receive_maximum.filter(|&maximum| maximum > 0));
    two(Property::TopicAliasMaximum, connack.topic_alias_max);
    two(Property::ServerKeepAlive, connack.server_keep_alive_s);
    let mut byte = |property, value: Option<u8>| {
        if let Some(value) = value {
            put_byte_property(out, property, value);
        }
    };
    byte(Property::MaximumQoS, connack.qos_max.filter(|&qos| qos < QoS::ExactlyOnce).map(QoS::bits));
    byte(Property::RetainAvailable, connack.retain_available.map(u8::from));
    byte(Property::WildcardAvailable, connack.wildcard_available.map(u8::from));
    byte(Property::SubscriptionIdAvailable, connack.subscription_id_available.map(u8::from));
    byte(Property::SharedAvailable, connack.shared_available.map(u8::from));
}

/// The strings and the binary field, but for the reason string.
fn put_texts(out: &mut Vec<u8>, connack: &ConnAck<'_>) {
    let mut field = |property, value: Option<&[u8]>| {
        if let Some(value) = value {
            put_field_property(out, property, value);
        }
    };
    field(Property::AssignedClientId, connack.assigned_client_id.map(str::as_bytes));
    field(Property::ResponseInformation, connack.response_information.map(str::as_bytes));
    field(Property::ServerReference, connack.server_reference.map(str::as_bytes));
    field(Property::AuthenticationMethod, connack.authentication_method.map(str::as_bytes));
    field(Property::AuthenticationData, connack.authentication_data);
}
