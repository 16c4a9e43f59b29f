//! Builders of wire bytes.
//!
//! Invariants:
//! - Lengths are minimal and right; whoever wants them wrong bends them afterwards.

/// A variable byte integer.
pub fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// A packet: its first byte, its remaining length and the parts of its body.
pub fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[first][..], &varint(body.len()), &body].concat()
}

/// A string or binary field, cut to what a field can hold.
pub fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &bytes[..usize::from(length)]].concat()
}

/// Properties with their length before them.
pub fn properties(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&varint(body.len())[..], &body].concat()
}
