//! The PROXY header that a trusted load balancer sends in front of everything else, versions 1 and 2.
//!
//! Invariants:
//! - At most [`HEADER_BYTES_MAX`] bytes are held while the header is incomplete.
//! - Bytes behind the header are not touched.
//!
//! Source: The PROXY protocol, versions 1 and 2 (HAProxy, 2020).

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};

use crate::fault::CoatFault;

/// Longest header taken: version 2 with addresses and room for what proxies add (names, certificates in short form).
pub const HEADER_BYTES_MAX: usize = 2048;
/// Longest header of version 1.
const TEXT_BYTES_MAX: usize = 107;
/// How every header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Waits for a header.
#[derive(Debug, Default)]
pub(crate) struct ProxyCoat {
    held: Vec<u8>,
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing yet.
    Incomplete,
    /// The client's address, if the proxy knows it, and how many of the bytes held were the header.
    Peer(Option<SocketAddr>, usize),
}

impl ProxyCoat {
    /// Takes bytes; once the header is complete, the bytes behind it are appended to `behind`.
    pub fn take_off(
        &mut self,
        raw: &[u8],
        behind: &mut Vec<u8>,
    ) -> Result<Option<Option<SocketAddr>>, CoatFault> {
        self.held.extend_from_slice(raw);
        match read(&self.held)? {
            Told::Incomplete if self.held.len() > HEADER_BYTES_MAX => {
                Err(CoatFault::Proxy(format!("longer than {HEADER_BYTES_MAX} bytes")))
            }
            Told::Incomplete => Ok(None),
            Told::Peer(peer, len) => {
                behind.extend_from_slice(&self.held[len..]);
                self.held = Vec::new();
                Ok(Some(peer))
            }
        }
    }
}

fn read(held: &[u8]) -> Result<Told, CoatFault> {
    // The text form is judged as a whole line and nothing more, the binary one from its signature on.
    let is_text = held.first() == Some(&b'P');
    let line_end = held.iter().position(|&byte| byte == b'\n').filter(|_| is_text);
    let is_partial = match is_text {
        true => held.len() <= TEXT_BYTES_MAX && line_end.is_none(),
        false => held.len() < SIGNATURE.len() && SIGNATURE.starts_with(held),
    };
    if is_partial {
        return Ok(Told::Incomplete);
    }
    let held = line_end.map_or(held, |end| &held[..=end]);
    if is_text
        && (held.len() > TEXT_BYTES_MAX || held.iter().position(|&b| b == b'\r') != held.len().checked_sub(2))
    {
        return Err(CoatFault::Proxy("is no line of at most 107 bytes that ends with CR and LF".to_owned()));
    }
    let result = HeaderResult::parse(held);
    if result.is_incomplete() {
        return Ok(Told::Incomplete);
    }
    match result {
        HeaderResult::V1(Ok(header)) => Ok(Told::Peer(peer_of_v1(&header.addresses), header.header.len())),
        HeaderResult::V2(Ok(header)) => {
            // LOCAL is the proxy's own health check: its own address is the truth.
            let is_local = header.command == v2::Command::Local;
            let peer = if is_local { None } else { peer_of_v2(&header.addresses) };
            Ok(Told::Peer(peer, header.len()))
        }
        HeaderResult::V1(Err(fault)) => Err(CoatFault::Proxy(fault.to_string())),
        HeaderResult::V2(Err(fault)) => Err(CoatFault::Proxy(fault.to_string())),
    }
}

fn peer_of_v1(addresses: &v1::Addresses) -> Option<SocketAddr> {
    match addresses {
        v1::Addresses::Tcp4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Tcp6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Unknown => None,
    }
}

fn peer_of_v2(addresses: &v2::Addresses) -> Option<SocketAddr> {
    match addresses {
        v2::Addresses::IPv4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v2::Addresses::IPv6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 1883\r\n";

    fn v2(command: u8) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&[0x20 | command, 0x11, 0, 12]);
        header.extend_from_slice(&[203, 0, 113, 7, 192, 0, 2, 1, 0xc7, 0x38, 0x07, 0x5b]);
        header
    }

    fn read_by(piece_len: usize, stream: &[u8]) -> (Option<SocketAddr>, Vec<u8>) {
        let mut coat = ProxyCoat::default();
        let mut behind = Vec::new();
        let mut told = None;
        for piece in stream.chunks(piece_len) {
            match told {
                Some(_) => behind.extend_from_slice(piece),
                None => told = coat.take_off(piece, &mut behind).unwrap(),
            }
        }
        (told.expect("the header is complete"), behind)
    }

    #[test]
    fn both_versions_name_the_client_however_they_are_cut() {
        let client = Some("203.0.113.7:51000".parse().unwrap());
        for header in [V1.to_vec(), v2(1)] {
            let stream = [header.as_slice(), b"\x10\x0c"].concat();
            for piece_len in 1..=stream.len() {
                assert_eq!(read_by(piece_len, &stream), (client, b"\x10\x0c".to_vec()), "{piece_len}");
            }
        }
    }

    #[test]
    fn a_health_check_and_an_unknown_client_have_the_address_of_the_proxy() {
        assert_eq!(read_by(99, &v2(0)).0, None);
        assert_eq!(read_by(99, b"PROXY UNKNOWN\r\n").0, None);
    }

    #[test]
    fn anything_else_is_refused_and_an_endless_header_too() {
        let refused = |bytes: &[u8]| ProxyCoat::default().take_off(bytes, &mut Vec::new()).is_err();
        assert!(refused(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00"));
        assert!(refused(b"PROXY TCP4 203.0.113.7 nonsense 1 2\r\n"));
        assert!(refused(b"GET / HTTP/1.1\r\n"));
        assert!(refused(b"PROXY UNKNOWN a\n\r\n"), "a line that ends early");
        assert!(refused(b"PROXY UNKNOWN a\rb\r\n"));
        let mut endless = v2(1);
        endless[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        endless.resize(HEADER_BYTES_MAX + 1, 0);
        assert!(refused(&endless));
    }
}
