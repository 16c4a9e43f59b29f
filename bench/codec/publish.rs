//! PUBLISH both ways: a template that is stamped and sent, and a view on one that arrived.
//!
//! Why a template: between two messages of one publisher only the stamp and the packet id differ, so a message costs
//! one copy of some forty bytes and two patches.
//!
//! Invariants:
//! - A template's payload is at least `stamp::IDENTITY_BYTES` long.
//! - A delivery borrows its payload from the receive buffer.

use super::{Frame, Qos, Version, encode, properties};
use crate::stamp::{IDENTITY_BYTES, Stamp};

/// One publisher's PUBLISH, ready but for stamp and packet id.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Box<[u8]>,
    packet_id_at: usize,
    payload_at: usize,
}

impl Template {
    /// Prepares a PUBLISH to `topic` with a payload of `payload_bytes`.
    pub(crate) fn new(version: Version, topic: &str, qos: Qos, payload_bytes: usize) -> Self {
        assert!(payload_bytes >= IDENTITY_BYTES, "options demand room for a stamp");
        let mut head = vec![];
        encode::string(topic, &mut head);
        let packet_id_in_head = head.len();
        if qos > Qos::AtMostOnce {
            head.extend_from_slice(&[0, 0]);
        }
        encode::no_properties(version, &mut head);
        let mut bytes = vec![0x30 | (qos.bits() << 1)];
        encode::remaining_length(head.len() + payload_bytes, &mut bytes);
        let packet_id_at = bytes.len() + packet_id_in_head;
        bytes.extend_from_slice(&head);
        let payload_at = bytes.len();
        // A filler that is not constant keeps a compressing path from looking better than it is.
        bytes.extend((0..payload_bytes).map(|at| u8::try_from(at * 131 % 251).expect("below 251")));
        Self { bytes: bytes.into(), packet_id_at, payload_at }
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
        stamp.write(&mut message[self.payload_at..]);
    }

    /// Length of one message on the wire, in bytes.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A PUBLISH as a subscriber sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'a> {
    /// The QoS of this leg.
    pub(crate) qos: Qos,
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
    Some(Delivery { qos, packet_id, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Scan, scan};

    const STAMP: Stamp = Stamp { sequence: 5, publisher: 6, intended_ns: Some(7) };

    #[test]
    fn a_sixteen_byte_message_has_the_expected_wire_length() {
        let template = Template::new(Version::V4, "bench/pair/1", Qos::AtMostOnce, 16);
        assert_eq!(template.wire_bytes(), 2 + 2 + 12 + 16);
    }

    #[test]
    fn what_a_template_writes_a_delivery_reads_in_both_versions_and_all_qos() {
        for version in [Version::V4, Version::V5] {
            for (qos, packet_id) in
                [(Qos::AtMostOnce, None), (Qos::AtLeastOnce, Some(500)), (Qos::ExactlyOnce, Some(65_535))]
            {
                let mut out = vec![0xff];
                Template::new(version, "a/b", qos, 300).append(&STAMP, packet_id, &mut out);
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
