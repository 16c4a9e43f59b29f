//! TLS: records fed in any pieces, spoiled in any bit.
//!
//! Input: one byte that chooses; a multiple of 4: a stream of anybody, as in `coats.rs`; else what a client and the network
//! do, two bytes each.
//!
//! Why keys that differ from run to run: the library draws them itself. What is promised does not depend on them.
//!
//! Invariants:
//! - What comes out is the beginning of what the client wrote, whatever happened on the way; all of it, if nothing did.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use wire::{Coats, Wardrobe};

use super::coats::cut;

const NAME: &str = "broker.test";

struct Ends {
    broker: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn ends() -> &'static Ends {
    static ENDS: OnceLock<Ends> = OnceLock::new();
    ENDS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let broker = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("key and certificate belong together");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ends { broker: Arc::new(broker), client: Arc::new(client) }
    })
}

fn dressed() -> Coats {
    let wardrobe = Wardrobe { tls: Some(Arc::clone(&ends().broker)), ..Wardrobe::default() };
    *wardrobe.dress().expect("a lawful wardrobe").expect("a coat")
}

/// A stream of anybody, or a conversation on a bad line.
pub fn tls(bytes: &[u8]) {
    match bytes.split_first() {
        Some((mode, rest)) if mode % 4 == 0 => anybody(rest),
        Some((_, rest)) => Line::new().play(rest),
        None => {}
    }
}

/// Whoever has no keys says nothing, in however many pieces.
fn anybody(bytes: &[u8]) {
    let (pieces, stream) = cut(bytes);
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    let faults = [vec![stream], pieces, single].map(|pieces| {
        let (mut coats, mut plain) = (dressed(), Vec::new());
        let fault = pieces.into_iter().find_map(|piece| coats.take_off(piece, &mut plain).err());
        assert!(plain.is_empty(), "{plain:02x?} without a handshake");
        fault
    });
    assert!(faults.iter().all(|fault| *fault == faults[0]), "{faults:?}");
}

/// A client, the line, and the broker's end.
struct Line {
    client: ClientConnection,
    coats: Coats,
    /// On its way to the broker.
    up: Vec<u8>,
    written: Vec<u8>,
    plain: Vec<u8>,
    answered: Vec<u8>,
    heard: Vec<u8>,
    is_spoiled: bool,
}

impl Line {
    fn new() -> Self {
        let name = ServerName::try_from(NAME).expect("a lawful name");
        let client = ClientConnection::new(Arc::clone(&ends().client), name).expect("a session");
        Self {
            client,
            coats: dressed(),
            up: Vec::new(),
            written: Vec::new(),
            plain: Vec::new(),
            answered: Vec::new(),
            heard: Vec::new(),
            is_spoiled: false,
        }
    }

    fn play(mut self, script: &[u8]) {
        for step in script.chunks_exact(2) {
            let (what, count) = (step[0] % 8, usize::from(step[1]));
            let is_well = match what {
                0 | 1 => self.write(count * 20),
                2..=4 => self.deliver(count + 1),
                5 => self.settle(),
                6 => self.spoil(count),
                _seven => self.answer(count * 20),
            };
            assert!(self.written.starts_with(&self.plain), "what came out was never written");
            assert!(self.answered.starts_with(&self.heard), "what was heard was never said");
            if !is_well {
                assert!(self.is_spoiled, "a fault on a good line");
                return;
            }
        }
        let is_well = self.settle();
        assert!(self.written.starts_with(&self.plain), "what came out was never written");
        if !self.is_spoiled {
            assert!(
                is_well && self.plain == self.written && self.heard == self.answered,
                "something is missing"
            );
        }
    }

    fn write(&mut self, count: usize) -> bool {
        let start = self.written.len();
        let bytes: Vec<u8> = (start..start + count).map(|at| at.to_le_bytes()[0]).collect();
        self.written.extend(&bytes);
        // The library limits what it keeps for a handshake that has not ended.
        let taken = self.client.writer().write(&bytes).expect("memory can be written");
        self.written.truncate(start + taken);
        true
    }

    /// The broker speaks only to whom it has heard.
    fn answer(&mut self, count: usize) -> bool {
        if !self.coats.is_shaking_hands() {
            let bytes = vec![b'a'; count];
            self.coats.put_on(&bytes);
            self.answered.extend(bytes);
        }
        true
    }

    fn spoil(&mut self, at: usize) -> bool {
        self.fetch();
        if !self.up.is_empty() {
            let at = at % self.up.len();
            self.up[at] ^= 1 << (at % 8);
            self.is_spoiled = true;
        }
        true
    }

    fn fetch(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.up).expect("memory can be written");
        }
    }

    /// Whether all is still well.
    fn deliver(&mut self, count: usize) -> bool {
        self.fetch();
        let piece: Vec<u8> = self.up.drain(..count.min(self.up.len())).collect();
        if !piece.is_empty() && self.coats.take_off(&piece, &mut self.plain).is_err() {
            return false;
        }
        self.hear()
    }

    fn hear(&mut self) -> bool {
        let down = self.coats.take_raw(Vec::new());
        let mut rest = down.as_slice();
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).expect("memory can be read");
            let Ok(state) = self.client.process_new_packets() else { return false };
            let start = self.heard.len();
            self.heard.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut self.heard[start..]).expect("so much is ready");
        }
        true
    }

    fn settle(&mut self) -> bool {
        loop {
            self.fetch();
            if self.up.is_empty() && !self.coats.has_raw() {
                return true;
            }
            if !self.deliver(usize::MAX) {
                return false;
            }
        }
    }
}
