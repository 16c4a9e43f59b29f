//! Certificates, keys and revocation lists as files hold them.
//!
//! Why apart from what is made of them: whether anything has changed is asked of the contents, and everything that can be
//! wrong with a file is told about that file.
//!
//! Invariants:
//! - A file that cannot be read whole is a mistake; nothing is taken from it.
//! - A mistake names the key of the configuration, the file, and what to do if that is known.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::config::{NamedPair, TlsKeys};

/// Everything that the files of one listener hold.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Papers {
    /// What this broker shows; the first in doubt.
    pub(super) identities: Vec<Identity>,
    /// Authorities of client certificates.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// What they have revoked.
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// A certificate chain and its key.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) private_key: PrivateKeyDer<'static>,
}

/// What is wrong with what a key of a listener names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mistake {
    pub(super) key: &'static str,
    pub(super) text: String,
}

impl Mistake {
    pub(super) fn new(key: &'static str, text: String) -> Self {
        Self { key, text: format!("`{key}`: {text}") }
    }
}

impl Papers {
    /// Reads all files that the keys of a listener name; returns everything that is wrong with them.
    pub(super) fn read(keys: &TlsKeys) -> Result<Self, Vec<Mistake>> {
        let (mut papers, mut mistakes) = (Self::default(), Vec::new());
        for pair in keys.pairs() {
            match Identity::read(pair) {
                Ok(identity) => papers.identities.push(identity),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        match keys.client_ca.as_deref().map(|path| certificates("client_ca", path)).transpose() {
            Ok(authorities) => papers.authorities = authorities.unwrap_or_default(),
            Err(mistake) => mistakes.push(mistake),
        }
        match keys.crl.as_deref().map(revocation_lists).transpose() {
            Ok(revoked) => papers.revoked = revoked.unwrap_or_default(),
            Err(mistake) => mistakes.push(mistake),
        }
        if mistakes.is_empty() { Ok(papers) } else { Err(mistakes) }
    }

    /// What somebody should look at although it does not stop the start; `now_s` is in seconds since 1970.
    pub(super) fn remarks(&self, keys: &TlsKeys, now_s: i64) -> Vec<Mistake> {
        let mut remarks = Vec::new();
        for (identity, pair) in self.identities.iter().zip(keys.pairs()) {
            let (key, path) = pair.certificate;
            let term = identity.chain.first().and_then(|leaf| term_of(leaf, now_s));
            remarks.extend(
                term.map(|term| {
                    Mistake::new(key, format!("{} {term}; clients will refuse it", path.display()))
                }),
            );
            let (key, path) = pair.private_key;
            remarks.extend(open_to_all(path).then(|| {
                let text = "can be read by everybody on this machine; `chmod o-r` it";
                Mistake::new(key, format!("{} {text}", path.display()))
            }));
        }
        let shown = |path: &Option<std::path::PathBuf>| {
            path.as_deref().unwrap_or(Path::new("")).display().to_string()
        };
        for authority in &self.authorities {
            let term = term_of(authority, now_s);
            remarks.extend(term.map(|term| {
                let text = format!("a certificate in {} {term}", shown(&keys.client_ca));
                Mistake::new("client_ca", text)
            }));
        }
        let ends = |list: &CertificateRevocationListDer<'_>| {
            let (_, list) = CertificateRevocationList::from_der(list).ok()?;
            list.next_update().filter(|next| next.timestamp() < now_s)
        };
        remarks.extend(self.revoked.iter().filter_map(ends).map(|next| {
            let text = "no client certificate of that authority is accepted before there is a newer one";
            Mistake::new("crl", format!("a list in {} is out of date since {next}; {text}", shown(&keys.crl)))
        }));
        remarks
    }
}

impl Identity {
    fn read(pair: NamedPair<'_>) -> Result<Self, Mistake> {
        let (key, path) = pair.certificate;
        let chain = certificates(key, path)?;
        let (key, path) = pair.private_key;
        Ok(Self { chain, private_key: private_key(key, path)? })
    }
}

fn contents(key: &'static str, path: &Path) -> Result<Vec<u8>, Mistake> {
    std::fs::read(path)
        .map_err(|failure| Mistake::new(key, format!("{} cannot be read: {failure}", path.display())))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Mistake> {
    let text = contents(key, path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|fault| not_pem(key, path, &fault))?;
    if found.is_empty() {
        let text = "holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----";
        return Err(Mistake::new(key, format!("{} {text}", path.display())));
    }
    for (index, certificate) in found.iter().enumerate() {
        if X509Certificate::from_der(certificate).is_err() {
            let text = format!("certificate {} in {} is damaged", index + 1, path.display());
            return Err(Mistake::new(key, text));
        }
    }
    Ok(found)
}

fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, Mistake> {
    let text = contents(key, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|fault| match fault {
        pem::Error::NoItemsFound if is_locked(&text) => {
            let remedy = "nobody could type it in; write it without: openssl pkey -in LOCKED -out OPEN";
            Mistake::new(key, format!("{} is locked with a passphrase, and {remedy}", path.display()))
        }
        pem::Error::NoItemsFound => {
            Mistake::new(key, format!("{} holds no private key in PEM", path.display()))
        }
        fault => not_pem(key, path, &fault),
    })
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Mistake> {
    let text = contents("crl", path)?;
    let found: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|fault| not_pem("crl", path, &fault))?;
    if found.is_empty() {
        let text = "holds no revocation list in PEM, which begins with -----BEGIN X509 CRL-----";
        return Err(Mistake::new("crl", format!("{} {text}", path.display())));
    }
    Ok(found)
}

fn not_pem(key: &'static str, path: &Path, fault: &pem::Error) -> Mistake {
    Mistake::new(key, format!("{} is not a whole PEM file: {fault}", path.display()))
}

/// Whether a PEM text holds an encrypted key. Source: RFC 7468 section 11; RFC 1421 for the older form.
fn is_locked(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// What is wrong with the term of a certificate at that moment, if anything.
fn term_of(certificate: &CertificateDer<'_>, now_s: i64) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let term = certificate.validity();
    if term.not_after.timestamp() < now_s {
        return Some(format!("has expired on {}", term.not_after));
    }
    (term.not_before.timestamp() > now_s).then(|| format!("is not valid before {}", term.not_before))
}

fn open_to_all(path: &Path) -> bool {
    const OTHERS_READ: u32 = 0o004;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS_READ != 0)
}
