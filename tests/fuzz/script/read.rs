//! Reads a script: bytes to deeds.
//!
//! Why every byte sequence is a script: what a mutation makes must mean something, or most of them are wasted.
//!
//! Invariants:
//! - Reading ends: each deed takes at least one byte.

/// What happens next. The number is the slot of the client that it happens to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A client opens a connection: flags, and which name it uses.
    Open(usize, u8, u8),
    /// PUBLISH: flags, topic, packet id.
    Publish(usize, u8, u8, u8),
    /// SUBSCRIBE: filter, options, packet id.
    Subscribe(usize, u8, u8, u8),
    /// UNSUBSCRIBE: filter, packet id.
    Unsubscribe(usize, u8, u8),
    /// An acknowledgement: kind, packet id.
    Ack(usize, u8, u8),
    /// PINGREQ.
    Ping(usize),
    /// DISCONNECT with a choice of codes.
    Disconnect(usize, u8),
    /// The connection is gone.
    Reset(usize),
    /// Any bytes.
    Raw(usize, Vec<u8>),
    /// Of what the client writes next, only so many bytes arrive at once.
    Cut(usize, u8),
    /// Time passes: 2 to the power of this, in milliseconds.
    Pass(u8),
    /// A core gets what is next on its way to it.
    Link(usize),
    /// The client stops reading (0), reads so many bytes, or reads again (255).
    Read(usize, u8),
    /// Everything gets through.
    Rest,
    /// The bystander is asked how it is.
    Look,
    /// The client acknowledges the ids below this with the acknowledgement of this kind.
    AckMany(usize, u8),
}

/// How many clients a script has.
pub const SLOTS: usize = 8;

/// Reads the first deed off `bytes`.
pub fn deed(bytes: &mut &[u8]) -> Option<Deed> {
    let first = take(bytes)?;
    let slot = usize::from(first >> 4) % SLOTS;
    let mut next = || take(bytes).unwrap_or_default();
    Some(match first & 0x0f {
        0 => Deed::Open(slot, next(), next()),
        1 => Deed::Publish(slot, next(), next(), next()),
        2 => Deed::Subscribe(slot, next(), next(), next()),
        3 => Deed::Unsubscribe(slot, next(), next()),
        4 => Deed::Ack(slot, next(), next()),
        5 => Deed::Ping(slot),
        6 => Deed::Disconnect(slot, next()),
        7 => Deed::Reset(slot),
        8 => {
            let (raw, rest) = {
                let count = usize::from(take(bytes).unwrap_or_default()).min(bytes.len());
                bytes.split_at(count)
            };
            *bytes = rest;
            Deed::Raw(slot, raw.to_vec())
        }
        9 => Deed::Cut(slot, next()),
        10 => Deed::Pass(next()),
        11 => Deed::Link(slot),
        12 => Deed::Read(slot, next()),
        13 => Deed::Rest,
        14 => Deed::Look,
        _fifteen => Deed::AckMany(slot, next()),
    })
}

/// Reads one byte.
pub fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// A byte that [`deed`] reads as the deed of this number and slot.
pub fn code(number: u8, slot: u8) -> u8 {
    slot << 4 | number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_script_and_it_ends() {
        let mut bytes: &[u8] =
            &[code(0, 1), 2, 3, code(8, 2), 3, 9, 9, 9, code(5, 3), code(8, 0), 200, 1, code(1, 0)];
        let expected = [
            Deed::Open(1, 2, 3),
            Deed::Raw(2, vec![9, 9, 9]),
            Deed::Ping(3),
            Deed::Raw(0, vec![1, code(1, 0)]),
        ];
        for deed_expected in expected {
            assert_eq!(deed(&mut bytes), Some(deed_expected));
        }
        assert_eq!(deed(&mut bytes), None);
    }
}
