//! The coats of one connection, outermost first: PROXY header, TLS, WebSocket.
//!
//! Why one value: it is made by the core that accepts, travels with the connection to its home, and turns bytes of the
//! socket into bytes of MQTT and back. A plain TCP connection has none and pays nothing.
//!
//! Invariants:
//! - What goes to the socket leaves in one order, whether MQTT asked for it or a coat did: everything is appended to one
//!   buffer, fetched by [`Coats::take_raw`].
//! - After a fault nothing more is read; the reply that explains it is in the buffer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use stdx::WallMs;

use crate::chain::{self, ChainFault};
use crate::fault::CoatFault;
use crate::proxy::ProxyCoat;
use crate::tls::{TlsCoat, TlsFacts};
use crate::websocket::{WebSocketCoat, WebSocketTerms};

/// What connections of one listener wear.
#[derive(Clone, Debug, Default)]
pub struct Wardrobe {
    /// Whether a PROXY header comes first, and from whom it is believed.
    pub proxy: Option<ProxyTerms>,
    /// TLS, with its certificates and verifiers.
    pub tls: Option<Arc<ServerConfig>>,
    /// WebSocket.
    pub websocket: Option<WebSocketTerms>,
}

impl Wardrobe {
    /// Whether connections are plain TCP.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proxy.is_none() && self.tls.is_none() && self.websocket.is_none()
    }

    /// Whether a connection from this address may come in at all: where a PROXY header is believed, only proxies may.
    #[must_use]
    pub fn admits(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy.as_ref().is_none_or(|proxy| proxy.trusted.iter().any(|network| network.contains(&peer)))
    }

    /// Verifies that the first certificate of a client's chain leads to the last one, all of them in their term at `now`. Cost:
    /// one signature for each.
    ///
    /// # Errors
    /// It does not.
    pub fn verify_chain(&self, chain: &[CertificateDer<'static>], now: WallMs) -> Result<(), ChainFault> {
        let tls = self.tls.as_ref().ok_or(ChainFault::Unfit)?;
        chain::verify(tls.crypto_provider(), chain, now)
    }

    /// Coats for a new connection; none for plain TCP.
    ///
    /// # Errors
    /// The TLS configuration is not usable.
    pub fn dress(&self) -> Result<Option<Box<Coats>>, CoatFault> {
        if self.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(Coats {
            proxy: self.proxy.as_ref().map(|_| ProxyCoat::default()),
            tls: self.tls.clone().map(TlsCoat::new).transpose()?,
            websocket: self.websocket.as_ref().map(WebSocketCoat::new),
            raw: Vec::new(),
            told_peer: None,
        })))
    }
}

/// Who may send PROXY headers.
#[derive(Clone, Debug, Default)]
pub struct ProxyTerms {
    /// Networks of load balancers.
    pub trusted: Vec<IpNet>,
}

/// The coats of one connection.
#[derive(Debug)]
pub struct Coats {
    proxy: Option<ProxyCoat>,
    tls: Option<TlsCoat>,
    websocket: Option<WebSocketCoat>,
    raw: Vec<u8>,
    told_peer: Option<SocketAddr>,
}

impl Coats {
    /// Takes bytes of the socket and appends the MQTT in them to `plain`. What must be answered waits in the buffer.
    ///
    /// # Errors
    /// The stream is broken below MQTT, or has ended: close the connection behind what the buffer holds.
    pub fn take_off(&mut self, raw: &[u8], plain: &mut Vec<u8>) -> Result<(), CoatFault> {
        let mut behind = Vec::new();
        let mut raw = raw;
        if let Some(proxy) = &mut self.proxy {
            let Some(peer) = proxy.take_off(raw, &mut behind)? else { return Ok(()) };
            self.told_peer = peer;
            self.proxy = None;
            raw = &behind;
        }
        match (&mut self.tls, &mut self.websocket) {
            (None, None) => plain.extend_from_slice(raw),
            (Some(tls), None) => tls.take_off(raw, plain, &mut self.raw)?,
            (None, Some(websocket)) => websocket.take_off(raw, plain, &mut self.raw)?,
            (Some(tls), Some(websocket)) => {
                let mut between = Vec::new();
                let outcome = tls.take_off(raw, &mut between, &mut self.raw);
                let mut reply = Vec::new();
                let inner =
                    if between.is_empty() { Ok(()) } else { websocket.take_off(&between, plain, &mut reply) };
                if !reply.is_empty() {
                    tls.put_on(&reply, &mut self.raw);
                }
                outcome.and(inner)?;
            }
        }
        Ok(())
    }

    /// Appends MQTT to what leaves for the socket.
    pub fn put_on(&mut self, plain: &[u8]) {
        match (&mut self.tls, &mut self.websocket) {
            (None, None) => self.raw.extend_from_slice(plain),
            (Some(tls), None) => tls.put_on(plain, &mut self.raw),
            (None, Some(websocket)) => websocket.put_on(plain, &mut self.raw),
            (Some(tls), Some(websocket)) => {
                let mut framed = Vec::with_capacity(plain.len() + 16);
                websocket.put_on(plain, &mut framed);
                tls.put_on(&framed, &mut self.raw);
            }
        }
    }

    /// Appends what says that nothing more follows.
    pub fn close(&mut self) {
        let mut last = Vec::new();
        if let Some(websocket) = &mut self.websocket {
            websocket.close(&mut last);
        }
        match &mut self.tls {
            None => self.raw.append(&mut last),
            Some(tls) => {
                if !last.is_empty() {
                    tls.put_on(&last, &mut self.raw);
                }
                tls.close(&mut self.raw);
            }
        }
    }

    /// Whether something waits for the socket.
    #[must_use]
    pub fn has_raw(&self) -> bool {
        !self.raw.is_empty()
    }

    /// Gives what leaves for the socket the room of `spare`, an empty buffer, until it is taken.
    pub fn lend(&mut self, spare: Vec<u8>) {
        debug_assert!(spare.is_empty());
        let waiting = std::mem::replace(&mut self.raw, spare);
        self.raw.extend_from_slice(&waiting);
    }

    /// Swaps what waits for the socket for `spare`, which is empty.
    #[must_use]
    pub fn take_raw(&mut self, spare: Vec<u8>) -> Vec<u8> {
        debug_assert!(spare.is_empty());
        std::mem::replace(&mut self.raw, spare)
    }

    /// Whether a PROXY header comes first and has not been read yet.
    #[must_use]
    pub fn awaits_peer(&self) -> bool {
        self.proxy.is_some()
    }

    /// The client's address as a trusted proxy told it.
    #[must_use]
    pub fn told_peer(&self) -> Option<SocketAddr> {
        self.told_peer
    }

    /// Whether a TLS handshake is under way: its next bytes may cost a signature.
    #[must_use]
    pub fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsCoat::is_shaking_hands)
    }

    /// What the TLS handshake said; none without TLS.
    #[must_use]
    pub fn tls_facts(&self) -> Option<TlsFacts> {
        self.tls.as_ref().map(TlsCoat::facts)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tungstenite::{Message, WebSocket};

    use super::*;
    use crate::pipe::Pipe;

    fn tls() -> (Arc<ServerConfig>, ClientConnection) {
        let made = rcgen::generate_simple_self_signed(vec!["broker.test".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"mqtt".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"mqtt".to_vec()];
        let name = ServerName::try_from("broker.test").unwrap();
        (Arc::new(server), ClientConnection::new(Arc::new(client), name).unwrap())
    }

    /// Lets both ends talk until neither has anything to say, `piece_len` bytes at a time towards the broker.
    fn converse(client: &mut ClientConnection, coats: &mut Coats, plain: &mut Vec<u8>, piece_len: usize) {
        loop {
            let mut up = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut up).unwrap();
            }
            up.chunks(piece_len).for_each(|piece| coats.take_off(piece, plain).unwrap());
            let down = coats.take_raw(Vec::new());
            let mut rest = down.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
            if up.is_empty() && down.is_empty() {
                return;
            }
        }
    }

    fn heard(client: &mut ClientConnection) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let count = client.reader().read(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn mqtt_passes_through_tls_both_ways_however_it_is_cut() {
        for piece_len in [1, 7, 100_000] {
            let (config, mut client) = tls();
            let wardrobe = Wardrobe { tls: Some(config), ..Wardrobe::default() };
            let mut coats = wardrobe.dress().unwrap().unwrap();
            let mut plain = Vec::new();
            assert!(coats.is_shaking_hands());
            client.writer().write_all(b"\xc0\x00").unwrap();
            converse(&mut client, &mut coats, &mut plain, piece_len);
            assert!(!coats.is_shaking_hands());
            assert_eq!(plain, b"\xc0\x00");
            coats.put_on(b"\xd0\x00");
            converse(&mut client, &mut coats, &mut plain, piece_len);
            assert_eq!(heard(&mut client), b"\xd0\x00");
            let facts = coats.tls_facts().unwrap();
            assert_eq!((facts.server_name.as_deref(), facts.is_v13), (Some("broker.test"), true));
            assert_eq!(client.alpn_protocol(), Some(&b"mqtt"[..]));
        }
    }

    #[test]
    fn a_certificate_is_current_within_its_term_and_not_without_one() {
        let facts = TlsFacts { client_term_s: Some(100..=200), ..TlsFacts::default() };
        let is_current = |s: u64| facts.is_current(stdx::WallMs(s * 1000));
        assert!(!is_current(99) && is_current(100) && is_current(200) && !is_current(201));
        assert!(!TlsFacts::default().is_current(stdx::WallMs(100_000)));
    }

    #[test]
    fn websocket_runs_inside_tls_behind_a_proxy_header() {
        let (config, mut client) = tls();
        let wardrobe = Wardrobe {
            proxy: Some(ProxyTerms::default()),
            tls: Some(config),
            websocket: Some(WebSocketTerms::default()),
        };
        let mut coats = wardrobe.dress().unwrap().unwrap();
        let mut plain = Vec::new();
        coats.take_off(b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 8083\r\n", &mut plain).unwrap();
        let request = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        client.writer().write_all(request).unwrap();
        converse(&mut client, &mut coats, &mut plain, 100_000);
        assert!(heard(&mut client).starts_with(b"HTTP/1.1 101 "));
        let mut socket: WebSocket<Pipe> = crate::websocket::client();
        socket.send(Message::binary(&b"\xc0\x00"[..])).unwrap();
        client.writer().write_all(&socket.get_ref().output).unwrap();
        converse(&mut client, &mut coats, &mut plain, 3);
        assert_eq!(plain, b"\xc0\x00");
        assert_eq!(coats.told_peer(), Some("203.0.113.7:51000".parse().unwrap()));
        coats.put_on(b"\xd0\x00");
        coats.close();
        converse(&mut client, &mut coats, &mut plain, 100_000);
        assert_eq!(heard(&mut client), b"\x82\x02\xd0\x00\x88\x02\x03\xe8");
    }

    #[test]
    fn what_was_sent_leaves_no_buffer_to_an_idle_connection() {
        let (config, mut client) = tls();
        let wardrobe = Wardrobe { tls: Some(config), ..Wardrobe::default() };
        let mut coats = wardrobe.dress().unwrap().unwrap();
        converse(&mut client, &mut coats, &mut Vec::new(), 100_000);
        coats.lend(Vec::with_capacity(1 << 16));
        coats.put_on(b"\xd0\x00");
        let raw = coats.take_raw(Vec::new());
        assert!(raw.len() > 2 && raw.capacity() >= 1 << 16);
        assert_eq!(coats.raw.capacity(), 0);
    }

    #[test]
    fn only_trusted_proxies_are_let_in_where_their_headers_are_believed() {
        let trusted = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let wardrobe = Wardrobe { proxy: Some(ProxyTerms { trusted }), ..Wardrobe::default() };
        let admits = |peer: &str| wardrobe.admits(peer.parse().unwrap());
        assert!(admits("10.1.2.3") && admits("::1"));
        assert!(admits("::ffff:10.1.2.3"), "a socket for both families sees it so");
        assert!(!admits("11.1.2.3") && !admits("::2"));
        assert!(Wardrobe::default().admits("11.1.2.3".parse().unwrap()));
    }

    #[test]
    fn a_peer_that_speaks_no_tls_gets_an_alert() {
        let (config, _) = tls();
        let wardrobe = Wardrobe { tls: Some(config), ..Wardrobe::default() };
        let mut coats = wardrobe.dress().unwrap().unwrap();
        let outcome = coats.take_off(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", &mut Vec::new());
        assert!(matches!(outcome, Err(CoatFault::Tls(_))));
        // A fatal alert record. Source: RFC 8446 section 6.
        assert_eq!(coats.take_raw(Vec::new())[..1], [21]);
        assert!(Wardrobe::default().dress().unwrap().is_none());
    }
}
