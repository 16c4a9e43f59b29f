//! Every property in every packet: lawful exactly where the standard's table says so, and twice only where it may.

use mqtt::{Version, Violation};

use crate::reference::TABLE;
use crate::wire::{field, hex, packet, properties, read, read_connect};

/// A lawful value of a property.
fn value(id: u8, shape: char) -> Vec<u8> {
    let body = match shape {
        'b' => vec![1],
        '2' => vec![0, 1],
        '4' => vec![0, 0, 0, 1],
        'v' => vec![1],
        's' | 'd' => field("x"),
        'p' => [field("k"), field("v")].concat(),
        other => panic!("no shape {other}"),
    };
    [&[id][..], &body].concat()
}

/// Reads a packet with these properties at `place`.
fn verdict(place: char, block: &[u8]) -> Result<(), Violation> {
    let method = [b"\x15".to_vec(), field("m")].concat();
    let connect = |parts: &[&[u8]]| {
        let bytes = packet(0x10, parts);
        read_connect(&bytes).map(drop).map_err(|refused| refused.violation)
    };
    let bytes = match place {
        'C' => return connect(&[&field("MQTT"), &hex("05 02 003c"), &properties(&[block]), &field("c")]),
        'w' => {
            let will = [properties(&[block]), field("t"), field("p")].concat();
            return connect(&[&field("MQTT"), &hex("05 06 003c 00"), &field("c"), &will]);
        }
        'P' => packet(0x30, &[&field("t"), &properties(&[block]), b"p"]),
        'k' => packet(0x40, &[&[0, 1, 0], &properties(&[block])]),
        'r' => packet(0x50, &[&[0, 1, 0], &properties(&[block])]),
        'l' => packet(0x62, &[&[0, 1, 0], &properties(&[block])]),
        'm' => packet(0x70, &[&[0, 1, 0], &properties(&[block])]),
        'S' => packet(0x82, &[&[0, 1], &properties(&[block]), &field("t"), &[0]]),
        'U' => packet(0xa2, &[&[0, 1], &properties(&[block]), &field("t")]),
        'D' => packet(0xe0, &[&[0], &properties(&[block])]),
        'A' if block.contains(&0x15) => packet(0xf0, &[&[0x18], &properties(&[block])]),
        'A' => packet(0xf0, &[&[0x18], &properties(&[&method, block])]),
        other => panic!("no place {other}"),
    };
    read(&bytes, Version::V5).map(drop)
}

const PLACES: [char; 11] = ['C', 'w', 'P', 'k', 'r', 'l', 'm', 'S', 'U', 'D', 'A'];

#[test]
fn every_property_is_lawful_exactly_where_the_table_has_it() {
    // FR-19, FR-20.
    for place in PLACES {
        for id in 0..=u8::MAX {
            let Some((_, shape, places)) = TABLE.into_iter().find(|row| row.0 == id) else {
                assert_eq!(
                    verdict(place, &[id, 0, 0, 0, 0]),
                    Err(Violation::PropertyUnknown),
                    "{id:02x} in {place}"
                );
                continue;
            };
            let expected = match (place, id) {
                ('P', 0x0b) => Err(Violation::SubscriptionIdFromClient),
                ('C', 0x16) => Err(Violation::AuthDataWithoutMethod),
                _ if places.contains(place) => Ok(()),
                _ => Err(Violation::PropertyMisplaced),
            };
            assert_eq!(verdict(place, &value(id, shape)), expected, "{id:02x} in {place}");
        }
    }
}

#[test]
fn only_user_properties_may_repeat_in_what_a_client_sends() {
    // FR-21, FR-22, SB-12.
    for place in PLACES {
        for (id, shape, _) in TABLE.into_iter().filter(|row| row.2.contains(place)) {
            let expected = match (place, id) {
                (_, 0x26) => Ok(()),
                ('P', 0x0b) => Err(Violation::SubscriptionIdFromClient),
                _ => Err(Violation::PropertyRepeated),
            };
            let twice = [value(id, shape), value(0x26, 'p'), value(id, shape)].concat();
            assert_eq!(verdict(place, &twice), expected, "{id:02x} in {place}");
        }
    }
}

#[test]
fn a_property_that_ends_before_its_value_does_is_malformed() {
    // FR-07, FR-09.
    for (id, shape, places) in TABLE {
        for place in PLACES.into_iter().filter(|&place| places.contains(place)) {
            let whole = value(id, shape);
            for end in 1..whole.len() {
                assert_eq!(
                    verdict(place, &whole[..end]),
                    Err(Violation::FieldOverrun),
                    "{id:02x} in {place}"
                );
            }
        }
    }
}
