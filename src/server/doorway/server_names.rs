//! Which certificate a client is shown: that for the name it asks for.
//!
//! Why the first one in doubt: small devices send no name, or an address, and check something else or nothing; a refusal
//! would keep them out, and a client that does check refuses by itself.
//!
//! Invariants:
//! - A certificate whose key cannot sign as the client wants is not shown while another one can.
//!
//! Source: RFC 6066 section 3.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a listener, in the order of the configuration.
#[derive(Debug)]
pub(super) struct ServerNames {
    shown: Vec<Arc<CertifiedKey>>,
}

impl ServerNames {
    /// At least one.
    pub(super) fn new(shown: Vec<Arc<CertifiedKey>>) -> Self {
        assert!(!shown.is_empty());
        Self { shown }
    }
}

impl ResolvesServerCert for ServerNames {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signs = |shown: &&Arc<CertifiedKey>| shown.key.choose_scheme(hello.signature_schemes()).is_some();
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |shown: &&Arc<CertifiedKey>| asked.as_ref().is_some_and(|name| is_for(shown, name));
        // Looking into certificates costs little beside the signature that follows.
        let found = self.shown.iter().find(|shown| fits(shown) && signs(shown));
        found.or_else(|| self.shown.iter().find(signs)).or(self.shown.first()).cloned()
    }
}

fn is_for(shown: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let Some(leaf) = shown.cert.first() else { return false };
    ParsedCertificate::try_from(leaf).is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}
