//! PUBLISH both ways: a template that is stamped and sent, and a view on one that arrived.
//!
//! Why a template: between two messages of one publisher only the stamp and the packet id differ, so a message costs
//! one copy of some forty bytes and two patches.
//!
//! Invariants:
//! - A template's payload is at least `stamp::IDENTITY_BYTES` long.
//! - A delivery borrows its payload from the receive buffer.

use super::{Frame, Qos, Version, encode, properties};
use crate::stamp::{IDENTITY_BYTES, JSON_DIGITS, JSON_PREFIX, Stamp};

/// What a payload is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// A binary stamp and filler.
    Filler,
    /// A reading of a device as JSON, with the stamp in its first member.
    Json,
    /// The same with three values in all, the stamp among them: what benchmarks of device platforms send.
    ThreeValues,
    /// Nothing at all: what clears a retained message.
    Empty,
}

/// What one publisher's messages have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern<'a> {
    /// Protocol version.
    pub(crate) version: Version,
    /// Topic; `%s` becomes the number of the message, in ten digits.
    pub(crate) topic: &'a str,
    /// QoS.
    pub(crate) qos: Qos,
    /// Whether the broker shall keep the last one.
    pub(crate) retain: bool,
    /// The kind of payload.
    pub(crate) body: Body,
    /// Bytes of payload, at least those that its kind needs.
    pub(crate) payload_bytes: usize,
}

/// One publisher's PUBLISH, ready but for stamp, number and packet id.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Box<[u8]>,
    packet_id_at: usize,
    payload_at: usize,
    serial_at: Option<usize>,
    body: Body,
}

const SERIAL_DIGITS: usize = 10;
const SERIAL: &str = "0000000000";
const SERIAL_PLACEHOLDER: &str = "%s";

impl Template {
    /// Prepares a PUBLISH like `pattern`.
    pub(crate) fn new(pattern: &Pattern<'_>) -> Self {
        let topic = pattern.topic.replacen(SERIAL_PLACEHOLDER, SERIAL, 1);
        let mut head = vec![];
        encode::string(&topic, &mut head);
        let packet_id_in_head = head.len();
        if pattern.qos > Qos::AtMostOnce {
            head.extend_from_slice(&[0, 0]);
        }
        encode::no_properties(pattern.version, &mut head);
        let payload = payload(pattern.body, pattern.payload_bytes);
        let mut bytes = vec![0x30 | (pattern.qos.bits() << 1) | u8::from(pattern.retain)];
        encode::remaining_length(head.len() + payload.len(), &mut bytes);
        let topic_at = bytes.len() + 2;
        let packet_id_at = bytes.len() + packet_id_in_head;
        bytes.extend_from_slice(&head);
        let payload_at = bytes.len();
        bytes.extend_from_slice(&payload);
        let serial_at = pattern.topic.find(SERIAL_PLACEHOLDER).map(|at| topic_at + at);
        Self { bytes: bytes.into(), packet_id_at, payload_at, serial_at, body: pattern.body }
    }

    /// Appends one stamped message; `packet_id` is given exactly when the QoS is above 0.
    #[inline]
    pub(crate) fn append(&self, stamp: &Stamp, packet_id: Option<u16>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let message = &mut out[start..];
        if let Some(packet_id) = packet_id {
            message[self.packet_id_at..self.packet_id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(at) = self.serial_at {
            write_decimal(stamp.sequence, &mut message[at..at + SERIAL_DIGITS]);
        }
        let payload = &mut message[self.payload_at..];
        match self.body {
            Body::Filler => stamp.write(payload),
            Body::Json | Body::ThreeValues => {
                stamp.write_digits(&mut payload[JSON_PREFIX.len()..JSON_PREFIX.len() + JSON_DIGITS])
            }
            Body::Empty => {}
        }
    }

    /// Length of one message on the wire, in bytes.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl Body {
    /// The least bytes of payload that this kind needs.
    pub(crate) fn bytes_min(self) -> usize {
        match self {
            Self::Filler => IDENTITY_BYTES,
            Self::Json | Self::ThreeValues => {
                JSON_PREFIX.len() + JSON_DIGITS + self.reading().len() + JSON_END.len()
            }
            Self::Empty => 0,
        }
    }

    /// What stands behind the digits of the stamp.
    fn reading(self) -> &'static [u8] {
        match self {
            Self::Json => JSON_READING,
            Self::ThreeValues => JSON_THREE_VALUES,
            Self::Filler | Self::Empty => b"",
        }
    }
}

const JSON_READING: &[u8] = b"\",\"temperature\":21.57,\"humidity\":48.2,\"battery\":3.61";
const JSON_THREE_VALUES: &[u8] = b"\",\"temperature\":21.57,\"humidity\":48";
const JSON_PADDING: &[u8] = b",\"padding\":\"";
const JSON_END: &[u8] = b"}";

fn payload(body: Body, payload_bytes: usize) -> Vec<u8> {
    assert!(payload_bytes >= body.bytes_min(), "options demand room for a stamp");
    match body {
        Body::Empty => vec![],
        // A filler that is not constant keeps a compressing path from looking better than it is.
        Body::Filler => (0..payload_bytes).map(filler).collect(),
        Body::Json | Body::ThreeValues => {
            let mut text = [JSON_PREFIX, &[b'0'; JSON_DIGITS], body.reading()].concat();
            let missing = payload_bytes - text.len() - JSON_END.len();
            if let Some(padding) = missing.checked_sub(JSON_PADDING.len() + 1) {
                text.extend_from_slice(JSON_PADDING);
                text.extend((0..padding).map(|at| b'a' + filler(at) % 26));
                text.push(b'"');
            } else {
                text.resize(text.len() + missing, b' ');
            }
            text.extend_from_slice(JSON_END);
            text
        }
    }
}

fn filler(at: usize) -> u8 {
    u8::try_from(at * 131 % 251).expect("below 251")
}

fn write_decimal(number: u32, room: &mut [u8]) {
    let mut rest = number;
    for digit in room.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("one digit");
        rest /= 10;
    }
}

/// A PUBLISH as a subscriber sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'a> {
    /// The QoS of this leg.
    pub(crate) qos: Qos,
    /// Whether the broker says that it had kept this message.
    pub(crate) retained: bool,
    /// Present when the QoS is above 0, otherwise zero.
    pub(crate) packet_id: u16,
    /// Payload.
    pub(crate) payload: &'a [u8],
}

/// Reads a PUBLISH; `None` when it is malformed.
#[inline]
pub(crate) fn delivery<'a>(frame: &Frame<'a>, version: Version) -> Option<Delivery<'a>> {
    let (prefix, rest) = frame.body.split_first_chunk::<2>()?;
    let (_topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*prefix)))?;
    let qos = Qos::from_bits((frame.first >> 1) & 3)?;
    let mut packet_id = 0;
    if qos > Qos::AtMostOnce {
        let (two, behind) = rest.split_first_chunk::<2>()?;
        packet_id = u16::from_be_bytes(*two);
        rest = behind;
    }
    let payload = match version {
        Version::V4 => rest,
        Version::V5 => properties::skip(rest)?,
    };
    Some(Delivery { qos, retained: frame.first & 1 == 1, packet_id, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Scan, scan};

    const STAMP: Stamp = Stamp { sequence: 5, publisher: 6, intended_ns: Some(7) };

    fn sample(version: Version, topic: &str, qos: Qos, payload_bytes: usize) -> Pattern<'_> {
        Pattern { version, topic, qos, retain: false, body: Body::Filler, payload_bytes }
    }

    #[test]
    fn a_number_in_the_topic_has_ten_digits_and_moves_nothing_else() {
        let template = Template::new(&sample(Version::V4, "a/%s/b", Qos::AtLeastOnce, 16));
        let mut out = vec![];
        template.append(&Stamp { sequence: 4_294_967_295, ..STAMP }, Some(9), &mut out);
        assert_eq!(&out[..20], b"\x32\x22\x00\x0ea/4294967295/b\x00\x09");
        assert_eq!(Stamp::find(&out[20..]).map(|stamp| stamp.publisher), Some(6));
    }

    #[test]
    fn json_is_json_in_every_length_and_carries_the_stamp() {
        let least = Body::Json.bytes_min();
        for payload_bytes in [least, least + 1, least + 14, least + 15, 300] {
            let sample =
                Pattern { body: Body::Json, ..sample(Version::V4, "a", Qos::AtMostOnce, payload_bytes) };
            let mut out = vec![];
            Template::new(&sample).append(&STAMP, None, &mut out);
            let payload = &out[out.len() - payload_bytes..];
            let parsed: serde_json::Value = serde_json::from_slice(payload).expect("lawful JSON");
            assert!(parsed["temperature"].is_number(), "{parsed}");
            assert_eq!(Stamp::find(payload), Some(STAMP));
        }
    }

    #[test]
    fn an_empty_retained_message_has_no_payload_and_its_flag() {
        let clearing =
            Pattern { retain: true, body: Body::Empty, ..sample(Version::V4, "a", Qos::AtMostOnce, 0) };
        let mut out = vec![];
        Template::new(&clearing).append(&STAMP, None, &mut out);
        assert_eq!(out, [0x31, 3, 0, 1, b'a']);
    }

    #[test]
    fn a_sixteen_byte_message_has_the_expected_wire_length() {
        let template = Template::new(&sample(Version::V4, "bench/pair/1", Qos::AtMostOnce, 16));
        assert_eq!(template.wire_bytes(), 2 + 2 + 12 + 16);
    }

    #[test]
    fn what_a_template_writes_a_delivery_reads_in_both_versions_and_all_qos() {
        for version in [Version::V4, Version::V5] {
            for (qos, packet_id) in
                [(Qos::AtMostOnce, None), (Qos::AtLeastOnce, Some(500)), (Qos::ExactlyOnce, Some(65_535))]
            {
                let mut out = vec![0xff];
                Template::new(&sample(version, "a/b", qos, 300)).append(&STAMP, packet_id, &mut out);
                let Scan::Whole(frame) = scan(&out[1..]) else { panic!("a whole frame") };
                assert_eq!(frame.length, out.len() - 1);
                let delivery = delivery(&frame, version).expect("a lawful PUBLISH");
                assert_eq!(delivery.qos, qos);
                assert_eq!(delivery.packet_id, packet_id.unwrap_or(0));
                assert_eq!(delivery.payload.len(), 300);
                assert_eq!(Stamp::read(delivery.payload), Some(STAMP));
            }
        }
    }

    #[test]
    fn malformed_publishes_are_refused() {
        let read = |bytes: &[u8], version| match scan(bytes) {
            Scan::Whole(frame) => delivery(&frame, version).is_some(),
            other => panic!("expected a whole frame, found {other:?}"),
        };
        assert!(!read(&[0x36, 4, 0, 0, 0, 1], Version::V4), "QoS 3");
        assert!(!read(&[0x30, 3, 0, 9, b'a'], Version::V4), "topic longer than the packet");
        assert!(!read(&[0x32, 3, 0, 0, 1], Version::V4), "half a packet id");
        assert!(!read(&[0x30, 4, 0, 0, 5, 0], Version::V5), "properties longer than the packet");
    }
}
