//! Small builders of wire bytes for the tests.

use mqtt::{
    Connect, ConnectViolation, Frame, Framing, Packet, Version, Violation, decode, decode_connect, frame,
};

/// All versions.
pub const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Bytes from hexadecimal digits; blanks are for the eye.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.split_whitespace().collect::<String>().into_bytes();
    let digit =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).expect("a digit");
    assert!(digits.len().is_multiple_of(2), "{text}");
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A variable byte integer.
pub fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = u8::try_from(value % 128).expect("below 128");
        value /= 128;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// A packet: first byte, remaining length, and the parts of its body.
pub fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[first][..], &varint(body.len()), &body].concat()
}

/// A string or binary field.
pub fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a field of at most 65,535 bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Properties: their length and their bytes.
pub fn properties(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&varint(body.len())[..], &body].concat()
}

/// The whole frame that `bytes` are.
pub fn whole(bytes: &[u8]) -> Frame<'_> {
    match frame(bytes, u32::MAX) {
        Ok(Framing::Whole(frame)) if frame.bytes.len() == bytes.len() => frame,
        other => panic!("not one frame: {other:?} from {bytes:02x?}"),
    }
}

/// Frames and decodes a packet after CONNECT.
pub fn read(bytes: &[u8], version: Version) -> Result<Packet<'_>, Violation> {
    decode(whole(bytes), version)
}

/// Frames and decodes a CONNECT.
pub fn read_connect(bytes: &[u8]) -> Result<Connect<'_>, ConnectViolation> {
    decode_connect(whole(bytes))
}
