//! Walks an MQTT 5.0 property list for the few numbers a generator obeys.
//!
//! Why the whole table although few are used: a property of unknown length cannot be skipped.
//!
//! Invariants:
//! - An unknown identifier or a list cut short ends the walk with `None`.
//!
//! Source: MQTT 5.0 section 2.2.2.2.

/// What a broker's CONNACK asks of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Asked {
    /// Unacknowledged QoS 1 and 2 messages the broker accepts; `None` means 65,535.
    pub(crate) receive_maximum: Option<u16>,
    /// The highest QoS the broker accepts, as wire bits; `None` means 2.
    pub(crate) qos_maximum: Option<u8>,
}

const QOS_MAXIMUM: u8 = 0x24;
const RECEIVE_MAXIMUM: u8 = 0x21;

/// Reads a property list with its length prefix; returns what was asked and the bytes behind the list.
pub(crate) fn asked(bytes: &[u8]) -> Option<(Asked, &[u8])> {
    let (length, rest) = variable_integer(bytes)?;
    let (mut list, behind) = rest.split_at_checked(length)?;
    let mut asked = Asked::default();
    while let Some((&identifier, value)) = list.split_first() {
        let size = value_size(identifier, value)?;
        let (value, next) = value.split_at_checked(size)?;
        match identifier {
            QOS_MAXIMUM => asked.qos_maximum = value.first().copied(),
            RECEIVE_MAXIMUM => {
                asked.receive_maximum = value.first_chunk().map(|two| u16::from_be_bytes(*two))
            }
            _ => {} // Skipped by its length: no other property changes what a generator does.
        }
        list = next;
    }
    Some((asked, behind))
}

/// Skips a property list; returns the bytes behind it.
#[inline]
pub(crate) fn skip(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = variable_integer(bytes)?;
    rest.get(length..)
}

fn variable_integer(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (position, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[position + 1..]));
        }
    }
    None
}

fn value_size(identifier: u8, value: &[u8]) -> Option<usize> {
    let string_at = |from: usize| {
        let prefix = value.get(from..)?.first_chunk::<2>()?;
        Some(from + 2 + usize::from(u16::from_be_bytes(*prefix)))
    };
    match identifier {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Some(1),
        0x13 | 0x21 | 0x22 | 0x23 => Some(2),
        0x02 | 0x11 | 0x18 | 0x27 => Some(4),
        0x0b => variable_integer(value).map(|(_, rest)| value.len() - rest.len()),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => string_at(0),
        0x26 => string_at(string_at(0)?),
        _ => None, // Not in the standard's table, so its length is unknown.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receive_maximum_and_maximum_qos_are_found_among_others() {
        let list = [
            25, 0x12, 0, 2, b'i', b'd', 0x21, 0, 20, 0x26, 0, 1, b'k', 0, 1, b'v', 0x24, 1, 0x27, 0, 1, 0, 0,
            0x0b, 0x80, 1, 0xaa,
        ];
        let (found, behind) = asked(&list).expect("a lawful list");
        assert_eq!(found, Asked { receive_maximum: Some(20), qos_maximum: Some(1) });
        assert_eq!(behind, [0xaa]);
    }

    #[test]
    fn unknown_or_cut_properties_are_refused() {
        assert_eq!(asked(&[2, 0x7e, 0]), None);
        assert_eq!(asked(&[3, 0x12, 0, 9]), None);
        assert_eq!(asked(&[9, 0x21]), None);
        assert_eq!(asked(&[]), None);
    }
}
