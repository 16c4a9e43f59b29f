//! The verifier of listeners on which any client certificate will do: the client must have its private key, and that is all.
//!
//! Why: whose a certificate is stands in the registry of devices, by its fingerprint, and that is asked at the CONNECT. A
//! device may have signed its certificate itself, and whoever is not known gets a CONNACK that says so, and no failed
//! handshake.
//!
//! Why signatures are checked here and not by the library for 1.2: it reads certificates of version 3 only, and devices in the
//! field have older ones.
//!
//! Invariants:
//! - A handshake with a certificate succeeds only if the client has signed it with the key that belongs to the certificate.
//! - Chains, terms, names and purposes are not looked at.
//!
//! Source: RFC 8446 section 4.4.3, RFC 5246 section 7.4.8.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme,
};
use x509_parser::asn1_rs::{Any, FromDer as _, Sequence};
use x509_parser::prelude::X509Certificate;

/// Accepts whoever has the key of the certificate that it shows; may show none.
#[derive(Debug)]
pub(super) struct Possession {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Possession {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a client may choose any that it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_of(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_of(certificate)?;
        let (algorithm, bits) = parts_of(&key).ok_or(UNREADABLE)?;
        let unknown = || Error::from(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);
        let known = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) = known.ok_or_else(unknown)?;
        let fits = candidates.iter().find(|candidate| *candidate.public_key_alg_id() == *algorithm);
        let verified = fits.ok_or_else(unknown)?.verify_signature(bits, message, signed.signature());
        verified.map_err(|_| CertificateError::BadSignature)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &key_of(certificate)?, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

const UNREADABLE: Error = Error::InvalidCertificate(CertificateError::BadEncoding);

/// The public key in a certificate, with its algorithm.
fn key_of(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    match X509Certificate::from_der(certificate) {
        Ok(([], certificate)) => Ok(certificate.public_key().raw.to_vec().into()),
        Ok(_) | Err(_) => Err(UNREADABLE),
    }
}

/// The algorithm's identifier, without its own header, and the key's bits.
fn parts_of<'k>(key: &'k SubjectPublicKeyInfoDer<'_>) -> Option<(&'k [u8], &'k [u8])> {
    let (_, parts) = Sequence::from_der(key).ok()?;
    let content: &'k [u8] = match parts.content {
        std::borrow::Cow::Borrowed(content) => content,
        std::borrow::Cow::Owned(_) => return None,
    };
    let (rest, algorithm) = Any::from_der(content).ok()?;
    let (_, bits) = Any::from_der(rest).ok()?;
    // A key is a whole number of bytes: the count of bits that do not count is zero.
    let (unused, bits) = bits.data.split_first()?;
    (*unused == 0).then_some((algorithm.data, bits))
}
