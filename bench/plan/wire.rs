//! Bytes on the wire: computed, because loopback has no wire.
//!
//! Why with every header: a message of 20 bytes costs a hundred on Ethernet, and with small messages headers are most of
//! what a network interface carries.
//!
//! Invariants:
//! - Devices send one message per segment; receivers that hear everything get full segments.
//!
//! Source: IEEE 802.3 (preamble 8, header 14, check sequence 4, gap 12), RFC 791 (20), RFC 9293 with timestamps of
//! RFC 7323 (32); RFC 8446 section 5.2 (22); MQTT 3.1.1 section 3.3.

use super::coat::Coat;

/// Ethernet, IPv4 and TCP around each segment.
const HEADERS: f64 = 8.0 + 14.0 + 4.0 + 12.0 + 20.0 + 32.0;
/// Payload of a full segment.
const SEGMENT: f64 = 1_448.0;
/// Head, content type and tag of a TLS 1.3 record.
const RECORD: f64 = 5.0 + 1.0 + 16.0;
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

/// Bytes of a record around a packet; none without TLS.
fn record_bytes(coat: Coat) -> f64 {
    match coat {
        Coat::Plain => 0.0,
        Coat::Tls => RECORD,
    }
}

/// Bytes on the wire for one message that travels alone, towards its receiver and back (acknowledgements). Over TLS each
/// packet is a record.
pub(crate) fn alone(payload: f64, qos: u8, coat: Coat) -> [f64; 2] {
    let bytes = publish_bytes(payload, qos) + record_bytes(coat);
    let there = bytes + HEADERS * (bytes / SEGMENT).ceil();
    let answer = HEADERS + 4.0 + record_bytes(coat);
    match qos {
        // A bare TCP acknowledgement.
        0 => [there, HEADERS],
        // PUBACK carries it along.
        1 => [there, answer],
        // PUBREC and PUBCOMP back, PUBREL there.
        _ => [there + answer, 2.0 * answer],
    }
}

/// Bytes on the wire for one message in a stream of many, and back. Over TLS each segment is taken for a record, the
/// shortest that a stream has.
pub(crate) fn in_stream(payload: f64, qos: u8, coat: Coat) -> [f64; 2] {
    let bytes = publish_bytes(payload, qos);
    let share = |bytes: f64| bytes * (1.0 + (HEADERS + record_bytes(coat)) / SEGMENT);
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
        assert!((alone(16.0, 0, Coat::Plain)[0] - 134.0).abs() < 1e-9);
        assert!(in_stream(16.0, 0, Coat::Plain)[0] < 50.0);
        assert!(
            (alone(3_000.0, 0, Coat::Plain)[0] - (3_029.0 + 3.0 * HEADERS)).abs() < 1e-9,
            "three segments"
        );
    }

    #[test]
    fn over_tls_every_packet_has_a_record_around_it() {
        let more = |qos| {
            let [plain, sealed] = [Coat::Plain, Coat::Tls].map(|coat| alone(64.0, qos, coat));
            [sealed[0] - plain[0], sealed[1] - plain[1]]
        };
        assert_eq!(more(0), [22.0, 0.0], "nobody answers");
        assert_eq!(more(1), [22.0, 22.0], "PUBLISH and PUBACK");
        assert_eq!(more(2), [44.0, 44.0], "PUBLISH and PUBREL, PUBREC and PUBCOMP");
        let [plain, sealed] = [Coat::Plain, Coat::Tls].map(|coat| in_stream(64.0, 0, coat)[0]);
        assert!(
            plain < sealed && sealed < plain + 2.0,
            "{plain} {sealed}: a record is shared as a segment is"
        );
    }

    #[test]
    fn every_level_of_qos_costs_more_in_both_directions() {
        for way in [0, 1] {
            let costs = [0, 1, 2].map(|qos| alone(64.0, qos, Coat::Plain)[way]);
            assert!(costs.is_sorted() && costs[0] < costs[2], "{costs:?}");
        }
    }
}
