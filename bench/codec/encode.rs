//! What a client sends besides PUBLISH: CONNECT, SUBSCRIBE, acknowledgements.
//!
//! Why into a caller's buffer: everything that leaves on one connection in one turn leaves in one write.
//!
//! Invariants:
//! - In 5.0 the only property ever sent is a CONNECT's session expiry; every other property length is one zero byte.
//! - Acknowledgements have their two-byte form, which both versions read as success.

use super::{PacketType, Qos, Version};

/// A ping, whole.
pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
/// A lawful goodbye, whole; in 5.0 the missing reason means normal disconnection.
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// User name and password.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Credentials {
    /// `-u`.
    pub(crate) user: Option<String>,
    /// `-P`.
    pub(crate) password: Option<String>,
}

/// What becomes of the session that a client finds or leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lasting {
    /// It starts clean and ends with the connection.
    Never,
    /// It is resumed if there is one, and kept for so many seconds after the connection; 3.1.1 keeps it anyway.
    Seconds(u32),
}

/// What a CONNECT says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login<'a> {
    /// Protocol version.
    pub(crate) version: Version,
    /// Client id.
    pub(crate) client_id: &'a str,
    /// User name and password.
    pub(crate) credentials: &'a Credentials,
    /// Seconds; 0 turns keep-alive off.
    pub(crate) keep_alive_s: u16,
    /// What becomes of the session.
    pub(crate) lasting: Lasting,
}

const SESSION_EXPIRY: u8 = 0x11;

/// Appends a CONNECT.
pub(crate) fn connect(login: &Login<'_>, out: &mut Vec<u8>) {
    let mut body = vec![];
    string("MQTT", &mut body);
    let user_flag = if login.credentials.user.is_some() { 0x80 } else { 0 };
    let password_flag = if login.credentials.password.is_some() { 0x40 } else { 0 };
    let level = match login.version {
        Version::V4 => 4,
        Version::V5 => 5,
    };
    let clean_flag = if login.lasting == Lasting::Never { 0x02 } else { 0 };
    body.extend_from_slice(&[level, clean_flag | user_flag | password_flag]);
    body.extend_from_slice(&login.keep_alive_s.to_be_bytes());
    match (login.version, login.lasting) {
        (Version::V5, Lasting::Seconds(expiry_s)) => {
            body.extend_from_slice(&[5, SESSION_EXPIRY]);
            body.extend_from_slice(&expiry_s.to_be_bytes());
        }
        (version, _) => no_properties(version, &mut body),
    }
    string(login.client_id, &mut body);
    for text in [&login.credentials.user, &login.credentials.password].into_iter().flatten() {
        string(text, &mut body);
    }
    packet(0x10, &body, out);
}

/// Appends a SUBSCRIBE to one filter.
pub(crate) fn subscribe(version: Version, packet_id: u16, filter: &str, qos: Qos, out: &mut Vec<u8>) {
    let mut body = packet_id.to_be_bytes().to_vec();
    no_properties(version, &mut body);
    string(filter, &mut body);
    body.push(qos.bits());
    packet(0x82, &body, out);
}

/// Appends an UNSUBSCRIBE of one filter.
pub(crate) fn unsubscribe(version: Version, packet_id: u16, filter: &str, out: &mut Vec<u8>) {
    let mut body = packet_id.to_be_bytes().to_vec();
    no_properties(version, &mut body);
    string(filter, &mut body);
    packet(0xa2, &body, out);
}

/// Appends the two-byte form of an acknowledgement.
#[inline]
pub(crate) fn acknowledge(kind: PacketType, packet_id: u16, out: &mut Vec<u8>) {
    let first = match kind {
        PacketType::Puback => 0x40,
        PacketType::Pubrec => 0x50,
        PacketType::Pubrel => 0x62,
        PacketType::Pubcomp => 0x70,
        other => unreachable!("{other:?} acknowledges nothing"),
    };
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// Appends a length-prefixed string.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("options limit every string to 65,535 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends an empty property list where the version has one.
pub(super) fn no_properties(version: Version, out: &mut Vec<u8>) {
    match version {
        Version::V4 => {}
        Version::V5 => out.push(0),
    }
}

/// Appends a remaining length.
pub(super) fn remaining_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    while rest > 0x7f {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("at most seven bits are left"));
}

fn packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    remaining_length(body.len(), out);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connect_has_the_bytes_of_the_standard() {
        let credentials = Credentials::default();
        let login = Login {
            version: Version::V4,
            client_id: "ab",
            credentials: &credentials,
            keep_alive_s: 60,
            lasting: Lasting::Never,
        };
        let mut out = vec![];
        connect(&login, &mut out);
        assert_eq!(out, b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab");
        out.clear();
        connect(&Login { version: Version::V5, ..login }, &mut out);
        assert_eq!(out, b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02ab");
        out.clear();
        connect(&Login { lasting: Lasting::Seconds(0), ..login }, &mut out);
        assert_eq!(out, b"\x10\x0e\x00\x04MQTT\x04\x00\x00\x3c\x00\x02ab", "3.1.1 has no expiry");
        out.clear();
        connect(&Login { version: Version::V5, lasting: Lasting::Seconds(258), ..login }, &mut out);
        assert_eq!(out, b"\x10\x14\x00\x04MQTT\x05\x00\x00\x3c\x05\x11\x00\x00\x01\x02\x00\x02ab");
    }

    #[test]
    fn user_and_password_follow_the_client_id() {
        let credentials = Credentials { user: Some("u".into()), password: Some("p".into()) };
        let mut out = vec![];
        let login = Login {
            version: Version::V4,
            client_id: "c",
            credentials: &credentials,
            keep_alive_s: 0,
            lasting: Lasting::Never,
        };
        connect(&login, &mut out);
        assert_eq!(out, b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x00\x00\x01c\x00\x01u\x00\x01p");
    }

    #[test]
    fn a_subscribe_asks_for_one_filter() {
        let mut out = vec![];
        subscribe(Version::V4, 1, "a/b", Qos::AtLeastOnce, &mut out);
        assert_eq!(out, b"\x82\x08\x00\x01\x00\x03a/b\x01");
        out.clear();
        subscribe(Version::V5, 1, "a/b", Qos::ExactlyOnce, &mut out);
        assert_eq!(out, b"\x82\x09\x00\x01\x00\x00\x03a/b\x02");
        out.clear();
        unsubscribe(Version::V5, 258, "a/b", &mut out);
        assert_eq!(out, b"\xa2\x08\x01\x02\x00\x00\x03a/b");
    }

    #[test]
    fn acknowledgements_carry_the_packet_id_and_pubrel_its_flag() {
        let mut out = vec![];
        acknowledge(PacketType::Puback, 0x0102, &mut out);
        acknowledge(PacketType::Pubrel, 3, &mut out);
        assert_eq!(out, [0x40, 2, 1, 2, 0x62, 2, 0, 3]);
    }

    #[test]
    fn remaining_lengths_grow_at_the_standards_borders() {
        let encoded = |length| {
            let mut out = vec![];
            remaining_length(length, &mut out);
            out
        };
        assert_eq!(encoded(127), [0x7f]);
        assert_eq!(encoded(128), [0x80, 0x01]);
        assert_eq!(encoded(16_384), [0x80, 0x80, 0x01]);
    }
}
