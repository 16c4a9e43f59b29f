//! Cuts a stream of bytes into MQTT packets by their fixed headers.
//!
//! Why apart from decoding: on the hot path most packets are only counted, and the relay forwards whole packets without
//! looking into them.
//!
//! Invariants:
//! - A frame borrows from the buffer it was found in; nothing is copied.
//! - A remaining length longer than four bytes is `Broken`. Source: MQTT 5.0 section 1.5.5.

/// The kinds of packet a client or the relay tells apart; the numbers are the upper half of the first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PacketType {
    /// Client to broker: hello.
    Connect,
    /// Broker to client: the answer to CONNECT.
    Connack,
    /// Either way: a message.
    Publish,
    /// QoS 1 acknowledged.
    Puback,
    /// QoS 2, first answer.
    Pubrec,
    /// QoS 2, release.
    Pubrel,
    /// QoS 2, done.
    Pubcomp,
    /// Client to broker: filters wanted.
    Subscribe,
    /// Broker to client: the answer to SUBSCRIBE.
    Suback,
    /// The answer to UNSUBSCRIBE.
    Unsuback,
    /// Client to broker: still there.
    Pingreq,
    /// Broker to client: the answer to PINGREQ.
    Pingresp,
    /// Either way in 5.0: goodbye.
    Disconnect,
    /// Everything that no generator or relay meets in a lawful run.
    Other,
}

/// One packet as it lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Packet type and flags.
    pub(crate) first: u8,
    /// Everything after the fixed header.
    pub(crate) body: &'a [u8],
    /// Length of the packet with its fixed header, in bytes.
    pub(crate) length: usize,
}

/// What stands at the beginning of a buffer.
#[derive(Debug)]
pub(crate) enum Scan<'a> {
    /// A whole packet.
    Whole(Frame<'a>),
    /// The beginning of one: more bytes are needed.
    Partial,
    /// No MQTT packet can begin like this.
    Broken,
}

impl Frame<'_> {
    /// The kind of packet.
    pub(crate) const fn packet_type(&self) -> PacketType {
        match self.first >> 4 {
            1 => PacketType::Connect,
            2 => PacketType::Connack,
            3 => PacketType::Publish,
            4 => PacketType::Puback,
            5 => PacketType::Pubrec,
            6 => PacketType::Pubrel,
            7 => PacketType::Pubcomp,
            8 => PacketType::Subscribe,
            9 => PacketType::Suback,
            11 => PacketType::Unsuback,
            12 => PacketType::Pingreq,
            13 => PacketType::Pingresp,
            14 => PacketType::Disconnect,
            _ => PacketType::Other, // UNSUBSCRIBE, AUTH and the two reserved numbers.
        }
    }
}

/// Looks at the beginning of `bytes` for one packet.
#[inline]
pub(crate) fn scan(bytes: &[u8]) -> Scan<'_> {
    let mut remaining = 0;
    for position in 1..=4 {
        let Some(&byte) = bytes.get(position) else { return Scan::Partial };
        remaining |= usize::from(byte & 0x7f) << (7 * (position - 1));
        if byte & 0x80 == 0 {
            let start = position + 1;
            return match bytes.get(start..start + remaining) {
                Some(body) => Scan::Whole(Frame { first: bytes[0], body, length: start + remaining }),
                None => Scan::Partial,
            };
        }
    }
    Scan::Broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> (u8, usize, usize) {
        match scan(bytes) {
            Scan::Whole(frame) => (frame.first, frame.body.len(), frame.length),
            other => panic!("expected a whole frame, found {other:?}"),
        }
    }

    #[test]
    fn one_byte_and_four_byte_lengths_are_understood() {
        assert_eq!(whole(&[0xd0, 0, 0x30]), (0xd0, 0, 2));
        assert_eq!(whole(&[0x30, 3, 1, 2, 3, 9]), (0x30, 3, 5));
        assert_eq!(whole(&[0x30, 0x83, 0x80, 0x80, 0x00, 1, 2, 3]), (0x30, 3, 8));
        let mut long = vec![0x30, 0x80, 0x01];
        long.resize(3 + 128, 0);
        assert_eq!(whole(&long), (0x30, 128, 131));
    }

    #[test]
    fn every_cut_of_a_packet_is_partial() {
        let bytes = [0x30, 0x83, 0x00, 1, 2, 3];
        for end in 0..bytes.len() {
            assert!(matches!(scan(&bytes[..end]), Scan::Partial), "cut at {end}");
        }
    }

    #[test]
    fn a_length_of_five_bytes_is_broken() {
        assert!(matches!(scan(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01]), Scan::Broken));
    }
}
