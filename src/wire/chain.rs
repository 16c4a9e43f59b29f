//! Whether a chain of certificates leads to an authority that somebody else knows.
//!
//! Why apart from the handshake: a listener that takes any certificate has made sure that the client has its key, and of
//! nothing else. Which authority counts is known when the CONNECT has been read.
//!
//! Invariants:
//! - The authority is the only root, whatever the listener or the machine trusts.
//! - Every certificate is in its term, the authority's own too.
//! - There is one way from the client's certificate to the root: each is followed by the one that signed it, and no two have
//!   one subject. So a chain costs one signature for each of its certificates and no more.
//!
//! Source: RFC 5280 section 6.1; RFC 5246 section 7.4.2 for the order.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use stdx::WallMs;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The most certificates of a chain that are looked at, the client's own and the authority's included.
pub const CHAIN_CERTIFICATES_MAX: usize = 8;

/// Why a chain is worth nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ChainFault {
    /// It has no authority behind the client's certificate, or too many certificates.
    #[error("has too few certificates or too many")]
    Length,
    /// A certificate is none that we can read.
    #[error("has a certificate that cannot be read")]
    Unreadable,
    /// A certificate is not followed by the one that is to have signed it, or two have one subject.
    #[error("is not in order")]
    OutOfOrder,
    /// A certificate is past its term, or before it.
    #[error("has a certificate that is out of its term")]
    NotCurrent,
    /// A signature is not that of the certificate behind it.
    #[error("was not signed by its authority")]
    Forged,
    /// A certificate is not for what it is used for: a client's may be no authority's, and must not be for servers only.
    #[error("has a certificate that is for something else")]
    Unfit,
}

/// Verifies that the first certificate leads to the last one.
pub(crate) fn verify(
    provider: &Arc<CryptoProvider>,
    chain: &[CertificateDer<'static>],
    now: WallMs,
) -> Result<(), ChainFault> {
    let [own, between @ .., authority] = chain else { return Err(ChainFault::Length) };
    if chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(ChainFault::Length);
    }
    look_at_order(chain, now)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(|_| ChainFault::Unreadable)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|_| ChainFault::Unreadable)?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
    verifier.verify_client_cert(own, between, now).map(drop).map_err(|fault| told(&fault))
}

/// Makes sure that there is one way through the chain, and that all of it is current.
fn look_at_order(chain: &[CertificateDer<'static>], now: WallMs) -> Result<(), ChainFault> {
    let mut certificates = Vec::with_capacity(chain.len());
    for der in chain {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificates.push(certificate),
            Ok(_) | Err(_) => return Err(ChainFault::Unreadable),
        }
    }
    let now_s = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    for (index, certificate) in certificates.iter().enumerate() {
        let term = certificate.validity();
        if !(term.not_before.timestamp()..=term.not_after.timestamp()).contains(&now_s) {
            return Err(ChainFault::NotCurrent);
        }
        let subject = certificate.subject().as_raw();
        let behind = &certificates[index + 1..];
        let is_followed =
            behind.first().is_none_or(|issuer| certificate.issuer().as_raw() == issuer.subject().as_raw());
        if !is_followed || behind.iter().any(|other| other.subject().as_raw() == subject) {
            return Err(ChainFault::OutOfOrder);
        }
    }
    Ok(())
}

fn told(fault: &Error) -> ChainFault {
    let Error::InvalidCertificate(fault) = fault else { return ChainFault::Unfit };
    match fault {
        CertificateError::BadEncoding => ChainFault::Unreadable,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => ChainFault::NotCurrent,
        CertificateError::BadSignature => ChainFault::Forged,
        // Purposes, constraints, algorithms that are not spoken: more of them may come, and none makes a chain good.
        _others => ChainFault::Unfit,
    }
}

/// The common name in a certificate's subject; none if it has none, more than one, or one that is no text.
#[must_use]
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let (name, another) = (names.next()?, names.next());
    another.is_none().then(|| name.as_str().ok().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
        KeyPair, KeyUsagePurpose, date_time_ymd,
    };
    use rustls::crypto::ring::default_provider;

    use super::*;

    /// The middle of 2026, in which all terms here lie unless they say otherwise.
    const NOW: WallMs = WallMs(1_782_000_000_000);

    /// Somebody with a certificate and its key.
    struct Party {
        certificate: Certificate,
        issuer: Issuer<'static, KeyPair>,
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        params
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn expired(mut params: CertificateParams) -> CertificateParams {
        (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2025, 1, 1));
        params
    }

    /// Signed by `by`, or by itself.
    fn party(params: CertificateParams, by: Option<&Party>) -> Party {
        let key = KeyPair::generate().unwrap();
        let certificate = match by {
            Some(by) => params.signed_by(&key, &by.issuer),
            None => params.self_signed(&key),
        };
        Party { certificate: certificate.unwrap(), issuer: Issuer::new(params, key) }
    }

    fn verdict(chain: &[&Party]) -> Result<(), ChainFault> {
        let chain: Vec<_> = chain.iter().map(|party| party.certificate.der().clone()).collect();
        verify(&Arc::new(default_provider()), &chain, NOW)
    }

    #[test]
    fn a_chain_leads_to_its_authority_directly_or_through_others() {
        let root = party(authority("root"), None);
        let between = party(authority("between"), Some(&root));
        let (near, far) = (party(params("a"), Some(&root)), party(params("b"), Some(&between)));
        assert_eq!(verdict(&[&near, &root]), Ok(()));
        assert_eq!(verdict(&[&far, &between, &root]), Ok(()));
        assert_eq!(verdict(&[&far, &between]), Ok(()), "an authority need not have signed itself");
    }

    #[test]
    fn the_same_names_with_another_key_are_forged() {
        let (root, forger) = (party(authority("root"), None), party(authority("root"), None));
        let forged = party(params("a"), Some(&forger));
        assert_eq!(verdict(&[&forged, &root]), Err(ChainFault::Forged));
        let between = party(authority("between"), Some(&root));
        let forged_between = party(authority("between"), Some(&forger));
        let far = party(params("b"), Some(&forged_between));
        assert_eq!(verdict(&[&far, &forged_between, &root]), Err(ChainFault::Forged));
        assert_eq!(verdict(&[&far, &between, &root]), Err(ChainFault::Forged));
    }

    #[test]
    fn all_of_a_chain_must_be_in_its_term() {
        let root = party(authority("root"), None);
        let late = party(expired(params("a")), Some(&root));
        assert_eq!(verdict(&[&late, &root]), Err(ChainFault::NotCurrent));
        let between = party(expired(authority("between")), Some(&root));
        let far = party(params("b"), Some(&between));
        assert_eq!(verdict(&[&far, &between, &root]), Err(ChainFault::NotCurrent));
        let old_root = party(expired(authority("root")), None);
        let near = party(params("a"), Some(&old_root));
        assert_eq!(verdict(&[&near, &old_root]), Err(ChainFault::NotCurrent));
    }

    #[test]
    fn a_chain_with_gaps_or_with_two_of_one_name_is_not_tried() {
        let root = party(authority("root"), None);
        let between = party(authority("between"), Some(&root));
        let far = party(params("b"), Some(&between));
        assert_eq!(verdict(&[&far, &root]), Err(ChainFault::OutOfOrder));
        assert_eq!(verdict(&[&far, &root, &between]), Err(ChainFault::OutOfOrder));
        let twin = party(authority("root"), Some(&root));
        let near = party(params("a"), Some(&twin));
        assert_eq!(verdict(&[&near, &twin, &root]), Err(ChainFault::OutOfOrder));
        assert_eq!(verdict(&[&root]), Err(ChainFault::Length));
        assert_eq!(verdict(&[]), Err(ChainFault::Length));
    }

    #[test]
    fn a_chain_is_no_longer_than_what_is_looked_at() {
        let mut parties = vec![party(authority("0"), None)];
        for number in 1..=CHAIN_CERTIFICATES_MAX {
            let next = party(authority(&number.to_string()), parties.last());
            parties.push(next);
        }
        for (signers, expected) in
            [(CHAIN_CERTIFICATES_MAX - 1, Ok(())), (CHAIN_CERTIFICATES_MAX, Err(ChainFault::Length))]
        {
            let leaf = party(params("a"), Some(&parties[signers - 1]));
            let chain: Vec<&Party> = std::iter::once(&leaf).chain(parties[..signers].iter().rev()).collect();
            assert_eq!(verdict(&chain), expected, "{} certificates", chain.len());
        }
    }

    #[test]
    fn certificates_are_used_for_what_they_are_for() {
        let root = party(authority("root"), None);
        let mut server = params("a");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_eq!(verdict(&[&party(server, Some(&root)), &root]), Err(ChainFault::Unfit));
        let leaf = party(params("leaf"), Some(&root));
        let beneath = party(params("a"), Some(&leaf));
        assert_eq!(verdict(&[&beneath, &leaf, &root]), Err(ChainFault::Unfit), "a device signs nobody");
    }

    #[test]
    fn a_common_name_is_one_or_none() {
        let name = |params: CertificateParams| common_name(party(params, None).certificate.der());
        assert_eq!(name(params("meter 7")).as_deref(), Some("meter 7"));
        let mut nameless = params("x");
        nameless.distinguished_name.remove(DnType::CommonName);
        assert_eq!(name(nameless), None);
        assert_eq!(common_name(b"no certificate"), None);
    }
}
