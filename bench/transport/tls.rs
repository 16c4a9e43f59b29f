//! TLS around one connection, from the client's side.
//!
//! Why handshakes are full unless told otherwise: what a first visit costs is the question that a broker's sizing asks;
//! resumption makes the figures better and belongs to those who ask for it. Each client then keeps tickets of its own, as
//! devices do.
//!
//! Invariants:
//! - Plaintext is written over records that have been read, never over others; see [`ROOM_BYTES`](super::ROOM_BYTES).
//! - Without a CA the broker's certificate is not checked, but its signatures are, so the handshake costs the same.

use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct, Error, HandshakeKind,
    RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

use super::fault::LayerFault;
use crate::failure::Failure;

/// What TLS connections of a run are made with.
#[derive(Clone, Debug)]
pub(crate) struct TlsTerms {
    /// Whom the certificate must name.
    pub(crate) server: ServerName<'static>,
    /// Whether clients resume their sessions.
    pub(crate) resumes: bool,
    config: Arc<ClientConfig>,
}

/// Files and versions as people name them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// Certificates that the broker's must lead to.
    pub(crate) ca: Option<PathBuf>,
    /// The client's own certificate chain.
    pub(crate) certificate: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
}

/// How a handshake ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Handshake {
    /// Whether an earlier session was resumed.
    pub(crate) is_resumed: bool,
    /// Version and suite, by their registered names.
    pub(crate) suite: String,
}

impl TlsTerms {
    /// Reads the files. `alpn` is what will be spoken inside.
    pub(crate) fn new(
        host: &str,
        files: &TlsFiles,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &str,
    ) -> Result<Self, Failure> {
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Usage(format!("{host} is no name that a certificate can have")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|fault| Failure::Usage(format!("TLS: {fault}")))?;
        let builder = match &files.ca {
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Believer { provider })),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|fault| Failure::Usage(format!("{}: {fault}", path.display())))?;
                }
                builder.with_root_certificates(roots)
            }
        };
        let mut config = with_own_certificate(builder, files)?;
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { server, resumes: false, config: Arc::new(config) })
    }

    /// What one client uses for all its visits.
    pub(crate) fn of_one_client(&self) -> Arc<ClientConfig> {
        if !self.resumes {
            return Arc::clone(&self.config);
        }
        let mut config = ClientConfig::clone(&self.config);
        // For one server, which is the only one.
        config.resumption = Resumption::in_memory_sessions(1);
        Arc::new(config)
    }
}

/// The versions between two that people name.
pub(crate) fn versions(least: &str, most: &str) -> Result<Vec<&'static SupportedProtocolVersion>, Failure> {
    const ALL: [(&str, &SupportedProtocolVersion); 2] = [("1.2", &TLS12), ("1.3", &TLS13)];
    let chosen: Vec<_> = ALL
        .into_iter()
        .filter(|(name, _)| (least..=most).contains(name))
        .map(|(_, version)| version)
        .collect();
    match chosen.len() {
        0 => Err(Failure::Usage(format!("no TLS version is at least {least} and at most {most}"))),
        _ => Ok(chosen),
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let refused = |cause: String| Failure::Usage(format!("{}: {cause}", path.display()));
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|fault| refused(fault.to_string()))?.collect();
    let found = found.map_err(|fault| refused(fault.to_string()))?;
    if found.is_empty() { Err(refused("holds no certificate".to_owned())) } else { Ok(found) }
}

fn with_own_certificate(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    files: &TlsFiles,
) -> Result<ClientConfig, Failure> {
    match (&files.certificate, &files.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let refused =
                |cause: &dyn std::fmt::Display| Failure::Usage(format!("{}: {cause}", key.display()));
            let key = PrivateKeyDer::from_pem_file(key).map_err(|fault| refused(&fault))?;
            builder.with_client_auth_cert(chain, key).map_err(|fault| refused(&fault))
        }
        _ => Err(Failure::Usage("--certfile and --keyfile belong together".into())),
    }
}

/// Believes every certificate, and checks every signature.
#[derive(Debug)]
struct Believer {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct TlsLayer {
    session: ClientConnection,
}

impl TlsLayer {
    /// A session whose first bytes are in `sealed`.
    pub(super) fn begin(
        config: Arc<ClientConfig>,
        server: ServerName<'static>,
        sealed: &mut Vec<u8>,
    ) -> Result<Self, LayerFault> {
        let mut session = ClientConnection::new(config, server).map_err(|fault| told(&fault))?;
        // What is written is fetched at once.
        session.set_buffer_limit(None);
        let mut layer = Self { session };
        layer.fetch(sealed);
        Ok(layer)
    }

    /// Whether MQTT, or what wraps it, may be written.
    pub(super) fn is_open(&self) -> bool {
        !self.session.is_handshaking()
    }

    /// How the handshake ended; `None` before.
    pub(super) fn handshake(&self) -> Option<Handshake> {
        let is_resumed = self.session.handshake_kind()? == HandshakeKind::Resumed;
        let version = self.session.protocol_version()?.as_str()?.replace("TLSv1_", "TLS 1.");
        let suite = self.session.negotiated_cipher_suite()?.suite();
        Some(Handshake { is_resumed, suite: format!("{version} {}", suite.as_str()?) })
    }

    /// Reads the records in `buffer[raw]` and writes their plaintext to `buffer[start..]`; returns its end. What must be
    /// answered is appended to `sealed`.
    pub(super) fn take_off(
        &mut self,
        buffer: &mut [u8],
        start: usize,
        raw: Range<usize>,
        sealed: &mut Vec<u8>,
    ) -> Result<usize, LayerFault> {
        let (mut read, mut end) = (raw.start, start);
        while read < raw.end {
            let mut rest = &buffer[read..raw.end];
            let taken = self.session.read_tls(&mut rest);
            let taken = taken.map_err(|fault| LayerFault::Tls(fault.to_string()))?;
            read = raw.end - rest.len();
            let state = self.session.process_new_packets().map_err(|fault| told(&fault))?;
            let ready = state.plaintext_bytes_to_read();
            assert!(end + ready <= read, "plaintext is no longer than the records that hold it");
            let plain = &mut buffer[end..end + ready];
            self.session.reader().read_exact(plain).map_err(|fault| LayerFault::Tls(fault.to_string()))?;
            end += ready;
            if taken == 0 {
                break; // Behind the broker's last word: the socket will say the same.
            }
        }
        self.fetch(sealed);
        Ok(end)
    }

    /// Appends `plain` to `sealed` in records.
    pub(super) fn put_on(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        self.session.writer().write_all(plain).expect("memory without a limit takes everything");
        self.fetch(sealed);
    }

    fn fetch(&mut self, sealed: &mut Vec<u8>) {
        while self.session.wants_write() {
            self.session.write_tls(sealed).expect("memory takes everything");
        }
    }
}

fn told(fault: &Error) -> LayerFault {
    LayerFault::Tls(fault.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    /// A certificate for 127.0.0.1, as PEM of certificate and key.
    pub(crate) fn certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
            .expect("a certificate can be made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// A server's side with that certificate.
    pub(crate) fn server(certificate: &str, key: &str) -> Arc<ServerConfig> {
        let chain =
            CertificateDer::pem_slice_iter(certificate.as_bytes()).map(|one| one.expect("a certificate"));
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("key and certificate belong together");
        Arc::new(config)
    }

    fn terms(files: &TlsFiles) -> Result<TlsTerms, Failure> {
        TlsTerms::new("127.0.0.1", files, &versions("1.2", "1.3")?, "mqtt")
    }

    /// Lets both ends talk until the client is ready and neither has anything to say.
    fn converse(client: &mut TlsLayer, server: &mut ServerConnection, mut sealed: Vec<u8>) {
        loop {
            let mut rest = sealed.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("memory can be read");
                server.process_new_packets().expect("lawful records");
            }
            let mut down = vec![];
            while server.wants_write() {
                server.write_tls(&mut down).expect("memory takes everything");
            }
            if down.is_empty() {
                return;
            }
            sealed.clear();
            let mut buffer = [vec![0; super::super::ROOM_BYTES], down].concat();
            let raw = super::super::ROOM_BYTES..buffer.len();
            let end = client.take_off(&mut buffer, 0, raw, &mut sealed).expect("lawful records");
            assert_eq!(end, 0, "nobody has written anything");
        }
    }

    #[test]
    fn every_handshake_is_full_unless_the_client_resumes() {
        let (certificate, key) = certificate();
        let server = server(&certificate, &key);
        for resumes in [false, true] {
            let terms = TlsTerms { resumes, ..terms(&TlsFiles::default()).expect("lawful terms") };
            let own = terms.of_one_client();
            let visits = [(); 3].map(|()| {
                let mut sealed = vec![];
                let mut client = TlsLayer::begin(Arc::clone(&own), terms.server.clone(), &mut sealed)
                    .expect("a session begins");
                let mut server = ServerConnection::new(Arc::clone(&server)).expect("a session begins");
                converse(&mut client, &mut server, sealed);
                client.handshake().expect("the handshake has ended")
            });
            assert_eq!(visits.each_ref().map(|visit| visit.is_resumed), [false, resumes, resumes]);
            assert!(visits[0].suite.starts_with("TLS 1.3 TLS13_"), "{}", visits[0].suite);
        }
    }

    #[test]
    fn versions_lie_between_two_names() {
        assert_eq!(versions("1.2", "1.3").map(|versions| versions.len()).ok(), Some(2));
        assert_eq!(versions("1.3", "1.3").map(|versions| versions.len()).ok(), Some(1));
        assert!(versions("1.3", "1.2").is_err());
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let missing = TlsFiles { ca: Some("/nonexistent/ca.pem".into()), ..TlsFiles::default() };
        let refusal = terms(&missing).expect_err("there is no such file").to_string();
        assert!(refusal.starts_with("/nonexistent/ca.pem: "), "{refusal}");
        let half = TlsFiles { certificate: Some("x".into()), ..TlsFiles::default() };
        assert!(terms(&half).expect_err("the key is missing").to_string().contains("--keyfile"));
    }
}
