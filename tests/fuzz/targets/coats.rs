//! WebSocket and PROXY headers: however the bytes are cut, the same MQTT comes out, and the same is said about it.
//!
//! Input: one byte that chooses, one that counts the cuts; a byte for the length of each piece; the stream.
//!
//! Invariants:
//! - What comes out is never more than what came in.
//! - A client's address is believed only as the header spells it; the readers here share no code with those judged.
//!
//! Source: RFC 6455; The PROXY protocol, versions 1 and 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wire::{CoatFault, ProxyTerms, Wardrobe, WebSocketTerms};

/// A lawful request, in front of frames.
pub(crate) const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
/// How a header of version 2 begins.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Largest frame here, so that mutants reach it.
const FRAME_BYTES_MAX: usize = 1_000;

/// What coats made of a stream.
#[derive(PartialEq, Debug)]
struct Outcome {
    plain: Vec<u8>,
    reply: Vec<u8>,
    fault: Option<Kind>,
    peer: Option<SocketAddr>,
}

/// What a fault is about. Its words may depend on how much of a broken stream had come when it was found.
#[derive(PartialEq, Debug)]
enum Kind {
    Proxy,
    Tls,
    WebSocket,
    TextFrame,
    Closed,
}

/// Frames, behind a lawful request or, if the first byte is even, behind whatever the bytes are.
pub fn websocket(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let terms = WebSocketTerms { frame_bytes_max: FRAME_BYTES_MAX, ..WebSocketTerms::default() };
    let wardrobe = Wardrobe { websocket: Some(terms), ..Wardrobe::default() };
    let head = if mode % 2 == 0 { &[][..] } else { UPGRADE };
    let (outcome, stream) = agreed(&wardrobe, head, rest);
    assert!(outcome.plain.len() <= stream.len(), "more came out than went in");
    assert!(mode % 2 == 0 || outcome.reply.starts_with(b"HTTP/1.1 101 "));
    if outcome.fault.is_none() && mode % 2 == 1 {
        frame_again(&wardrobe, &outcome.plain);
    }
}

/// What is put on is read by the other side as the same.
fn frame_again(wardrobe: &Wardrobe, plain: &[u8]) {
    let mut coats = wardrobe.dress().expect("a lawful wardrobe").expect("a coat");
    coats.take_off(UPGRADE, &mut Vec::new()).expect("a lawful request");
    let before = coats.take_raw(Vec::new()).len();
    assert!(before > 0);
    coats.put_on(plain);
    let framed = coats.take_raw(Vec::new());
    // One final binary frame without a mask. Source: RFC 6455 section 5.2.
    let (length, payload) = match framed.get(1) {
        Some(126) => (usize::from(u16::from_be_bytes([framed[2], framed[3]])), &framed[4..]),
        Some(length @ ..126) => (usize::from(*length), &framed[2..]),
        other => panic!("a length of {other:?}"),
    };
    assert_eq!((framed[0], length, payload), (0x82, plain.len(), plain));
}

/// A PROXY header of either version, and what stands behind it. The first byte chooses nothing yet.
pub fn proxy(bytes: &[u8]) {
    let Some((_, rest)) = bytes.split_first() else { return };
    let wardrobe = Wardrobe { proxy: Some(ProxyTerms::default()), ..Wardrobe::default() };
    let (outcome, stream) = agreed(&wardrobe, &[], rest);
    assert!(outcome.reply.is_empty(), "a proxy wants no answer");
    assert!(stream.ends_with(&outcome.plain), "what stands behind the header was touched");
    let header = &stream[..stream.len() - outcome.plain.len()];
    if let Some(peer) = outcome.peer {
        assert_eq!(spelled(header), Some(peer), "{header:02x?}");
    }
}

/// The address in a whole header.
fn spelled(header: &[u8]) -> Option<SocketAddr> {
    let Some(body) = header.strip_prefix(SIGNATURE) else {
        let line = std::str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
        let words: Vec<&str> = line.split(' ').collect();
        let [_, _, source, _, port, _] = words[..] else { return None };
        return Some(SocketAddr::new(source.parse().ok()?, port.parse().ok()?));
    };
    let (family, addresses) = (body.get(1)? >> 4, body.get(4..)?);
    let (ip, port): (IpAddr, &[u8]) = match family {
        1 => (Ipv4Addr::from(*addresses.first_chunk::<4>()?).into(), addresses.get(8..10)?),
        2 => (Ipv6Addr::from(*addresses.first_chunk::<16>()?).into(), addresses.get(32..34)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]])))
}

/// What comes out of `head` and the stream in `rest`, which must not depend on the cuts; and that stream.
fn agreed<'a>(wardrobe: &Wardrobe, head: &[u8], rest: &'a [u8]) -> (Outcome, &'a [u8]) {
    let (pieces, stream) = cut(rest);
    let whole = feed(wardrobe, head, &[stream]);
    assert_eq!(feed(wardrobe, head, &pieces), whole, "cut into {} pieces", pieces.len());
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(feed(wardrobe, head, &single), whole, "cut into single bytes");
    (whole, stream)
}

/// The pieces that a count and lengths in front of a stream cut it into, and the whole stream.
pub(super) fn cut(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return (Vec::new(), bytes) };
    let (cuts, stream) = rest.split_at(usize::from(count % 64).min(rest.len()));
    let mut pieces = Vec::new();
    let mut uncut = stream;
    for cut in cuts {
        let (piece, later) = uncut.split_at(usize::from(*cut).min(uncut.len()));
        pieces.push(piece);
        uncut = later;
    }
    pieces.push(uncut);
    (pieces, stream)
}

fn kind_of(fault: &CoatFault) -> Kind {
    match fault {
        CoatFault::Proxy(_) => Kind::Proxy,
        CoatFault::Tls(_) => Kind::Tls,
        CoatFault::WebSocket(_) => Kind::WebSocket,
        CoatFault::TextFrame => Kind::TextFrame,
        CoatFault::Closed => Kind::Closed,
    }
}

fn feed(wardrobe: &Wardrobe, head: &[u8], pieces: &[&[u8]]) -> Outcome {
    let mut coats = wardrobe.dress().expect("a lawful wardrobe").expect("a coat");
    let mut outcome = Outcome { plain: Vec::new(), reply: Vec::new(), fault: None, peer: None };
    let head = Some(head).filter(|head| !head.is_empty());
    for piece in head.into_iter().chain(pieces.iter().copied()).filter(|piece| !piece.is_empty()) {
        outcome.fault = coats.take_off(piece, &mut outcome.plain).err().map(|fault| kind_of(&fault));
        outcome.reply.extend(coats.take_raw(Vec::new()));
        if outcome.fault.is_some() {
            break;
        }
    }
    outcome.peer = coats.told_peer();
    outcome
}
