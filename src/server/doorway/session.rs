//! From papers to the TLS configuration of a listener.
//!
//! Why tickets and no memory of sessions: a ticket holds everything, so a device that wakes up resumes on whichever core
//! it lands, and a million that sleep cost nothing.
//!
//! Invariants:
//! - Each listener has tickets of its own: one that was given to a client without certificate is worth nothing where
//!   certificates are required.
//! - A list that revokes nothing known, or is out of date, refuses.
//! - Only suites with forward secrecy and authenticated encryption are spoken, as rustls has no others.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::papers::{Identity, Mistake, Papers};
use super::possession::Possession;
use super::server_names::ServerNames;
use crate::config::{ClientCertificate, Listener, NamedPair, TlsMin};

const NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
const NEWEST_TWO: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// A source of tickets for one listener.
pub(super) fn tickets() -> Result<Arc<dyn ProducesTickets>, Mistake> {
    ring::Ticketer::new()
        .map_err(|fault| Mistake::new("protocol", format!("no tickets can be made: {fault}")))
}

/// The TLS configuration of a listener.
pub(super) fn configure(
    listener: &Listener,
    papers: &Papers,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Vec<Mistake>> {
    let provider = Arc::new(ring::default_provider());
    let mut mistakes = Vec::new();
    let mut shown = Vec::new();
    for (identity, pair) in papers.identities.iter().zip(listener.tls.pairs()) {
        match certified(identity, pair, &provider) {
            Ok(key) => shown.push(Arc::new(key)),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let verifier = verifier(listener, papers, &provider).map_err(|mistake| mistakes.push(mistake)).ok();
    let (Some(verifier), true) = (verifier, mistakes.is_empty()) else { return Err(mistakes) };
    let versions = match listener.tls.tls_min {
        TlsMin::V12 => NEWEST_TWO,
        TlsMin::V13 => NEWEST,
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.map_err(|fault| vec![Mistake::new("tls_min", fault.to_string())])?;
    let mut config =
        builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(ServerNames::new(shown)));
    config.alpn_protocols = match listener.protocol.has_websocket() {
        true => vec![b"http/1.1".to_vec(), b"mqtt".to_vec()],
        false => vec![b"mqtt".to_vec()],
    };
    config.ticketer = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn certified(
    identity: &Identity,
    pair: NamedPair<'_>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Mistake> {
    let (key, path) = pair.private_key;
    let certificate = pair.certificate.1.display();
    CertifiedKey::from_der(identity.chain.clone(), identity.private_key.clone_key(), provider).map_err(
        |fault| {
            let text = match fault {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    format!("{} does not belong to the first certificate in {certificate}", path.display())
                }
                fault => format!("{} and {certificate} cannot be used: {fault}", path.display()),
            };
            Mistake::new(key, text)
        },
    )
}

fn verifier(
    listener: &Listener,
    papers: &Papers,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Mistake> {
    let demand = listener.tls.client_certificate();
    if demand == ClientCertificate::Any {
        return Ok(Arc::new(Possession::new(provider)));
    }
    let Some(path) = &listener.tls.client_ca else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for authority in &papers.authorities {
        roots.add(authority.clone()).map_err(|fault| {
            Mistake::new("client_ca", format!("a certificate in {} cannot be used: {fault}", path.display()))
        })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !papers.revoked.is_empty() {
        builder = builder.with_crls(papers.revoked.iter().cloned()).enforce_revocation_expiration();
    }
    builder = match demand {
        ClientCertificate::None | ClientCertificate::Any => {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        ClientCertificate::Optional => builder.allow_unauthenticated(),
        ClientCertificate::Required => builder,
    };
    // The authorities were accepted one by one above, so what is left to refuse is a list.
    builder.build().map_err(|fault| {
        let path = listener.tls.crl.as_deref().unwrap_or(path).display();
        Mistake::new("crl", format!("a list in {path} cannot be used: {fault}"))
    })
}
