//! Property bytes: read raw, and inside every packet that has properties.
//!
//! Invariants:
//! - What is forwarded is a part of what came, and forwarding it again changes nothing.
//!
//! Source: MQTT 5.0 section 2.2.2.

use mqtt::properties::{forwardable, user};

use super::{connect, packet_v5};
use crate::packet::{field, packet, properties as with_length};

/// Any bytes as the properties of a packet.
pub fn properties(bytes: &[u8]) {
    let mut once = Vec::new();
    forwardable(bytes, &mut once);
    assert!(once.len() <= bytes.len());
    let mut twice = b"before".to_vec();
    forwardable(&once, &mut twice);
    assert_eq!(twice, [b"before", &once[..]].concat(), "forwarding twice is not forwarding once");
    let users: usize = user(bytes).map(|(key, value)| 5 + key.len() + value.len()).sum();
    assert!(users <= bytes.len());
    let raw = with_length(&[bytes]);
    packet_v5(&packet(0x31, &[&field("t"), &raw, b"x"]));
    packet_v5(&packet(0x3c, &[&field(""), &[0, 1], &raw]));
    packet_v5(&packet(0x40, &[&[0, 1, 0x10], &raw]));
    packet_v5(&packet(0x62, &[&[0, 1, 0x92], &raw]));
    packet_v5(&packet(0x82, &[&[0, 1], &raw, &field("a/#"), &[0x2e]]));
    packet_v5(&packet(0xa2, &[&[0, 1], &raw, &field("a/#")]));
    packet_v5(&packet(0xe0, &[&[4], &raw]));
    packet_v5(&packet(0xf0, &[&[0x18], &raw]));
    let head = [&field("MQTT")[..], &[5, 0x06, 0, 0]].concat();
    connect(&packet(0x10, &[&head, &raw, &field("c"), &[0], &field("t"), &field("")]));
    connect(&packet(0x10, &[&head, &[0], &field("c"), &raw, &field("t"), &field("")]));
}
