//! Bytes on the wire: computed, because loopback has no wire.
//!
//! Why with every header: a message of 20 bytes costs a hundred on Ethernet, and with small messages headers are most of
//! what a network interface carries.
//!
//! Invariants:
//! - Devices send one message per segment; receivers that hear everything get full segments.
//!
//! Source: IEEE 802.3 (preamble 8, header 14, check sequence 4, gap 12), RFC 791 (20), RFC 9293 with timestamps of
//! RFC 7323 (32); MQTT 3.1.1 section 3.3.

/// Ethernet, IPv4 and TCP around each segment.
const HEADERS: f64 = 8.0 + 14.0 + 4.0 + 12.0 + 20.0 + 32.0;
/// Payload of a full segment.
const SEGMENT: f64 = 1_448.0;
/// A topic as devices use them: `site/0001/device/000001/t`.
const TOPIC: f64 = 24.0;

/// Bytes of one PUBLISH.
pub(crate) fn publish_bytes(payload: f64, qos: u8) -> f64 {
    let packet_id = if qos > 0 { 2.0 } else { 0.0 };
    let body = 2.0 + TOPIC + packet_id + payload;
    let length = if body < 128.0 {
        1.0
    } else if body < 16_384.0 {
        2.0
    } else {
        3.0
    };
    1.0 + length + body
}

/// Bytes on the wire for one message that travels alone, towards its receiver and back (acknowledgements).
pub(crate) fn alone(payload: f64, qos: u8) -> [f64; 2] {
    let bytes = publish_bytes(payload, qos);
    let there = bytes + HEADERS * (bytes / SEGMENT).ceil();
    match qos {
        // A bare TCP acknowledgement.
        0 => [there, HEADERS],
        // PUBACK carries it along.
        1 => [there, HEADERS + 4.0],
        // PUBREC and PUBCOMP back, PUBREL there.
        _ => [there + HEADERS + 4.0, 2.0 * (HEADERS + 4.0)],
    }
}

/// Bytes on the wire for one message in a stream of many, and back.
pub(crate) fn in_stream(payload: f64, qos: u8) -> [f64; 2] {
    let bytes = publish_bytes(payload, qos);
    let share = |bytes: f64| bytes * (1.0 + HEADERS / SEGMENT);
    // Every second full segment is acknowledged by a bare segment.
    let bare = bytes / SEGMENT / 2.0 * HEADERS;
    match qos {
        0 => [share(bytes), bare],
        1 => [share(bytes), bare + share(4.0)],
        _ => [share(bytes + 4.0), bare + share(8.0)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_are_mostly_headers_unless_they_share_segments() {
        assert!((publish_bytes(16.0, 0) - 44.0).abs() < 1e-9, "1 + 1 + 2 + 24 + 16");
        assert!((publish_bytes(200.0, 1) - 231.0).abs() < 1e-9, "1 + 2 + 2 + 24 + 2 + 200");
        assert!((alone(16.0, 0)[0] - 134.0).abs() < 1e-9);
        assert!(in_stream(16.0, 0)[0] < 50.0);
        assert!((alone(3_000.0, 0)[0] - (3_029.0 + 3.0 * HEADERS)).abs() < 1e-9, "three segments");
    }

    #[test]
    fn every_level_of_qos_costs_more_in_both_directions() {
        for way in [0, 1] {
            let costs = [0, 1, 2].map(|qos| alone(64.0, qos)[way]);
            assert!(costs.is_sorted() && costs[0] < costs[2], "{costs:?}");
        }
    }
}
