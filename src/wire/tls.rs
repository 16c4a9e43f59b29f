//! TLS around a stream: records in, plaintext out, and back.
//!
//! Why the library's buffered interface: it owns what is incomplete, so the coat is a plain value that moves between
//! cores, and an idle connection keeps no more than its keys.
//!
//! Invariants:
//! - The alert that tells the peer why is ready when the fault is told.
//! - Nothing is decided about certificates here: the configuration holds the verifiers, and what a chain is worth beyond them
//!   is asked for with its authority.

use std::io::{Read, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use stdx::WallMs;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fault::CoatFault;

#[derive(Debug)]
pub(crate) struct TlsCoat {
    session: ServerConnection,
}

/// What a finished handshake says of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The host name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// The client's certificate chain, its own first, as far verified as the listener demands: that the client has its
    /// private key always is. Empty without one.
    pub client_certificates: Vec<CertificateDer<'static>>,
    /// From when until when the client's own certificate is valid, in Unix seconds; none without one.
    pub client_term_s: Option<RangeInclusive<i64>>,
    /// TLS 1.3, or else 1.2.
    pub is_v13: bool,
    /// The cipher suite by its registered name.
    pub cipher_suite: &'static str,
}

impl TlsFacts {
    /// Whether a moment lies in the term of the client's own certificate; never without one.
    #[must_use]
    pub fn is_current(&self, now: WallMs) -> bool {
        let now_s = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        self.client_term_s.as_ref().is_some_and(|term_s| term_s.contains(&now_s))
    }
}

impl TlsCoat {
    /// # Errors
    /// The configuration is not usable.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, CoatFault> {
        let mut session = ServerConnection::new(config).map_err(told)?;
        // What is written is fetched at once, so the library need not limit it.
        session.set_buffer_limit(None);
        Ok(Self { session })
    }

    /// Whether the handshake is still under way.
    pub fn is_shaking_hands(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Takes records, appends their plaintext to `plain` and what must be answered to `reply`.
    pub fn take_off(
        &mut self,
        raw: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), CoatFault> {
        let mut rest = raw;
        let mut outcome = Ok(());
        while !rest.is_empty() && outcome.is_ok() {
            outcome = self.read(&mut rest, plain);
        }
        self.fetch(reply);
        outcome
    }

    fn read(&mut self, rest: &mut &[u8], plain: &mut Vec<u8>) -> Result<(), CoatFault> {
        let before = rest.len();
        self.session.read_tls(rest).map_err(|fault| CoatFault::Tls(fault.to_string()))?;
        let state = self.session.process_new_packets().map_err(told)?;
        let ready = state.plaintext_bytes_to_read();
        if ready > 0 {
            let start = plain.len();
            plain.resize(start + ready, 0);
            self.session
                .reader()
                .read_exact(&mut plain[start..])
                .map_err(|fault| CoatFault::Tls(fault.to_string()))?;
        }
        // Behind a close_notify the library takes nothing more.
        if state.peer_has_closed() || rest.len() == before {
            return Err(CoatFault::Closed);
        }
        Ok(())
    }

    /// Appends `plain` to `raw` in records.
    pub fn put_on(&mut self, plain: &[u8], raw: &mut Vec<u8>) {
        // Into memory without a limit: it takes everything.
        let _ = self.session.writer().write_all(plain);
        self.fetch(raw);
    }

    /// Appends a close_notify.
    pub fn close(&mut self, raw: &mut Vec<u8>) {
        self.session.send_close_notify();
        self.fetch(raw);
    }

    pub fn facts(&self) -> TlsFacts {
        let certificates = self.session.peer_certificates().unwrap_or_default();
        TlsFacts {
            client_term_s: certificates.first().and_then(|certificate| term_s(certificate)),
            server_name: self.session.server_name().map(Into::into),
            client_certificates: certificates
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
            is_v13: self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            cipher_suite: self
                .session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or_default(),
        }
    }

    fn fetch(&mut self, out: &mut Vec<u8>) {
        while self.session.wants_write() {
            // Into memory: it cannot fail.
            if self.session.write_tls(out).is_err() {
                return;
            }
        }
    }
}

/// The term of a certificate; none if it cannot be read.
fn term_s(certificate: &[u8]) -> Option<RangeInclusive<i64>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let term = certificate.validity();
    Some(term.not_before.timestamp()..=term.not_after.timestamp())
}

fn told(fault: rustls::Error) -> CoatFault {
    CoatFault::Tls(fault.to_string())
}
