//! Encoding what only 5.0 has: DISCONNECT from a server, and AUTH.
//!
//! Invariants:
//! - A DISCONNECT never has a session expiry. Source: [MQTT-3.14.2-2].
//! - A reason string is dropped rather than the packet. Source: [MQTT-3.14.2-3], [MQTT-3.15.2-2].
//!
//! Source: MQTT 5.0 sections 3.14 and 3.15.

use super::fields::{cut, fits, put_field_property, put_varint, varint_len};
use crate::properties::Property;
use crate::{Auth, Fit, ReasonCode, Version};

/// Appends a DISCONNECT; below 5.0 nothing, because there a server only closes.
///
/// The reason string is cut to 65,535 bytes, and left out if the packet would not fit with it.
pub fn disconnect(
    out: &mut Vec<u8>,
    version: Version,
    reason: ReasonCode,
    reason_string: Option<&str>,
    packet_bytes_max: u32,
) -> Fit {
    if version < Version::V5 {
        return Fit::Nothing;
    }
    debug_assert!(reason.is_in_server_disconnect());
    if let Some(text) = reason_string.map(cut) {
        let properties = 3 + text.len();
        let remaining = 1 + varint_len(properties) + properties;
        if fits(1 + varint_len(remaining) + remaining, packet_bytes_max) {
            out.push(0xe0);
            put_varint(out, remaining);
            out.push(reason.byte());
            put_varint(out, properties);
            put_field_property(out, Property::ReasonString, text.as_bytes());
            return Fit::Whole;
        }
    }
    // The code alone; a missing property length means none.
    let bare = [0xe0, 1, reason.byte()];
    if !fits(bare.len(), packet_bytes_max) {
        return Fit::Nothing;
    }
    out.extend_from_slice(&bare);
    if reason_string.is_some() { Fit::Trimmed } else { Fit::Whole }
}

/// Appends a DISCONNECT behind a CONNACK of 5.0 that refuses. The standard has none there, and no code is wrong for it.
pub fn disconnect_behind_refusal(out: &mut Vec<u8>, reason: ReasonCode) {
    out.extend_from_slice(&[0xe0, 1, reason.byte()]);
}

/// Appends an AUTH with the method of the exchange; below 5.0 nothing.
///
/// The code is success or continue: a server never asks to re-authenticate. Source: [MQTT-3.15.2-1], [MQTT-4.12.0-5].
pub fn auth(out: &mut Vec<u8>, version: Version, auth: &Auth<'_>, packet_bytes_max: u32) -> Fit {
    debug_assert!(matches!(auth.reason, ReasonCode::Success | ReasonCode::ContinueAuthentication));
    if version < Version::V5 {
        return Fit::Nothing;
    }
    let mut properties = Vec::new();
    if let Some(method) = auth.method {
        put_field_property(&mut properties, Property::AuthenticationMethod, method.as_bytes());
    }
    if let Some(data) = auth.data {
        put_field_property(&mut properties, Property::AuthenticationData, data);
    }
    let remaining = 1 + varint_len(properties.len()) + properties.len();
    if !fits(1 + varint_len(remaining) + remaining, packet_bytes_max) {
        return Fit::Nothing;
    }
    out.push(0xf0);
    put_varint(out, remaining);
    out.push(auth.reason.byte());
    put_varint(out, properties.len());
    out.extend_from_slice(&properties);
    Fit::Whole
}
