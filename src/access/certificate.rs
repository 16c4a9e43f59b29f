//! The name of a client in its certificate.
//!
//! Why so strict: whoever signs certificates may not know what brokers do with names. A name that could be read in two
//! ways, or that holds what topics are made of, names nobody.
//!
//! Invariants:
//! - The certificate was verified before; nothing is trusted here and nothing is checked but its name.
//! - A name is unambiguous, not empty, and free of control characters, `+` and `#`.

use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Bytes of a name: as many as a string of MQTT has.
const NAME_BYTES_MAX: usize = 65_535;

/// Where in a certificate the name stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CertificateName {
    /// The common name of its subject.
    #[default]
    Common,
    /// The subject's alternative name: the only host name, else the only URI, else the only mail address.
    Alternative,
    /// SHA-256 over the whole certificate, in 64 lower-case hexadecimal digits.
    Fingerprint,
}

/// Why a certificate gives no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NameFault {
    /// It cannot be parsed.
    #[error("cannot be read")]
    Unreadable,
    /// There is more than one name of the kind.
    #[error("holds more than one name")]
    Ambiguous,
    /// A control character or a wildcard is in it, or it is too long.
    #[error("holds a name that cannot be used")]
    Unusable,
}

/// The name in a certificate in DER; none if it has no name there.
///
/// # Errors
/// It has one that must not be used.
pub fn certificate_name(der: &[u8], place: CertificateName) -> Result<Option<String>, NameFault> {
    if place == CertificateName::Fingerprint {
        let digest = Sha256::digest(der);
        return Ok(Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()));
    }
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| NameFault::Unreadable)?;
    if !rest.is_empty() {
        return Err(NameFault::Unreadable);
    }
    let name = match place {
        CertificateName::Common => common(&certificate)?,
        CertificateName::Alternative | CertificateName::Fingerprint => alternative(&certificate)?,
    };
    name.map(usable).transpose()
}

fn common(certificate: &X509Certificate<'_>) -> Result<Option<String>, NameFault> {
    let names = certificate.subject().iter_common_name();
    only(names.map(|name| name.as_str().map_err(|_| NameFault::Unusable)))
}

fn alternative(certificate: &X509Certificate<'_>) -> Result<Option<String>, NameFault> {
    let extension = certificate.subject_alternative_name().map_err(|_| NameFault::Unreadable)?;
    let Some(extension) = extension else { return Ok(None) };
    let names = &extension.value.general_names;
    type Kind = for<'a> fn(&GeneralName<'a>) -> Option<&'a str>;
    let kinds: [Kind; 3] = [host, uri, mail];
    for kind in kinds {
        if let Some(name) = only(names.iter().filter_map(kind).map(Ok))? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn host<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::DNSName(name) = name { Some(*name) } else { None }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(name) = name { Some(*name) } else { None }
}

fn mail<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::RFC822Name(name) = name { Some(*name) } else { None }
}

fn only<'a>(
    mut names: impl Iterator<Item = Result<&'a str, NameFault>>,
) -> Result<Option<String>, NameFault> {
    let first = names.next().transpose()?;
    if names.next().is_some() { Err(NameFault::Ambiguous) } else { Ok(first.map(str::to_owned)) }
}

fn usable(name: String) -> Result<String, NameFault> {
    let is_bad = |letter: char| letter.is_control() || matches!(letter, '+' | '#');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(is_bad) {
        return Err(NameFault::Unusable);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common: &[&str], alternative: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternative;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn common_name(name: &str) -> Result<Option<String>, NameFault> {
        certificate_name(&certificate(&[name], Vec::new()), CertificateName::Common)
    }

    #[test]
    fn the_common_name_is_taken_as_it_is_and_wildcards_are_refused() {
        assert_eq!(common_name("meter 7"), Ok(Some("meter 7".to_owned())));
        assert_eq!(common_name("Zähler"), Ok(Some("Zähler".to_owned())));
        for name in ["+", "#", "a/#", "a\0b", "a\nb", ""] {
            assert_eq!(common_name(name), Err(NameFault::Unusable), "{name:?}");
        }
        assert_eq!(certificate_name(&certificate(&[], Vec::new()), CertificateName::Common), Ok(None));
    }

    #[test]
    fn the_alternative_name_is_a_host_before_a_uri_before_a_mail_address() {
        let host = SanType::DnsName("h.example".try_into().unwrap());
        let other = SanType::DnsName("i.example".try_into().unwrap());
        let uri = SanType::URI("urn:dev:7".try_into().unwrap());
        let mail = SanType::Rfc822Name("a@b.example".try_into().unwrap());
        let address = SanType::IpAddress("127.0.0.1".parse().unwrap());
        for (names, expected) in [
            (vec![mail.clone(), uri.clone(), host.clone()], Ok(Some("h.example".to_owned()))),
            (vec![mail.clone(), uri.clone()], Ok(Some("urn:dev:7".to_owned()))),
            (vec![mail], Ok(Some("a@b.example".to_owned()))),
            (vec![address], Ok(None)),
            (vec![], Ok(None)),
            (vec![host, other], Err(NameFault::Ambiguous)),
        ] {
            let der = certificate(&["never this"], names);
            assert_eq!(certificate_name(&der, CertificateName::Alternative), expected);
        }
    }

    #[test]
    fn a_fingerprint_is_that_of_the_whole_certificate() {
        let name = certificate_name(b"abc", CertificateName::Fingerprint).unwrap().unwrap();
        // The example of FIPS 180-2.
        assert_eq!(name, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_certificate_has_no_name() {
        let mut der = certificate(&["a"], Vec::new());
        for end in 0..der.len() {
            assert_eq!(
                certificate_name(&der[..end], CertificateName::Common),
                Err(NameFault::Unreadable),
                "{end}"
            );
        }
        der.push(0);
        assert_eq!(certificate_name(&der, CertificateName::Common), Err(NameFault::Unreadable));
    }
}
