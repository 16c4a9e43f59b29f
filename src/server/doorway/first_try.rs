//! Certificates for a first try: an authority, a certificate for the broker and one for a client.
//!
//! Why a command: the first encrypted connection should take a minute, not an afternoon with another tool's manual. For
//! anything else than a try there are real authorities.
//!
//! Invariants:
//! - No file is ever overwritten, and nothing is written before everything has been made.
//! - Keys can be read by their owner only.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

/// Names under which the broker can always be reached from its own machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The name in the client's certificate.
const CLIENT: &str = "client";
const AUTHORITY_TERM: Duration = Duration::days(3650);
/// Longer ones are refused by some clients.
const TERM: Duration = Duration::days(825);
/// Clocks of devices are slow at times.
const EARLIER: Duration = Duration::days(1);

/// Why there are no certificates.
#[derive(Debug, Error)]
pub enum CertError {
    /// There is something already.
    #[error("{} is there already, and nothing is overwritten", .0.display())]
    Exists(PathBuf),
    /// The directory or a file cannot be written.
    #[error("{} cannot be written: {reason}", .path.display())]
    Write {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// A host name that cannot stand in a certificate, or no randomness.
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// One file to be written.
struct Sheet {
    name: &'static str,
    text: String,
    mode: u32,
}

/// Makes an authority, a certificate for a broker that is reached as localhost or by one of `hosts`, and one for a client,
/// in `dir`, which is made if it is missing. Returns what to tell whoever asked.
///
/// # Errors
/// There are certificates already, a host name is none, or nothing can be written there.
pub fn make_first_certificates(dir: &Path, hosts: &[String]) -> Result<String, CertError> {
    let sheets = make(hosts)?;
    let taken = sheets.iter().map(|sheet| dir.join(sheet.name)).find(|path| path.symlink_metadata().is_ok());
    if let Some(path) = taken {
        return Err(CertError::Exists(path));
    }
    let failed = |path: &Path, reason| CertError::Write { path: path.to_owned(), reason };
    std::fs::create_dir_all(dir).map_err(|reason| failed(dir, reason))?;
    for sheet in &sheets {
        let path = dir.join(sheet.name);
        sheet.write(&path).map_err(|reason| failed(&path, reason))?;
    }
    Ok(directions(dir))
}

impl Sheet {
    fn certificate(name: &'static str, text: String) -> Self {
        Self { name, text, mode: 0o644 }
    }

    fn key(name: &'static str, key: &KeyPair) -> Self {
        Self { name, text: key.serialize_pem(), mode: 0o600 }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(self.mode).open(path)?;
        file.write_all(self.text.as_bytes())
    }
}

fn make(hosts: &[String]) -> Result<[Sheet; 6], rcgen::Error> {
    let mut names: Vec<String> = hosts.to_vec();
    names.extend(LOCAL_HOSTS.map(str::to_owned).into_iter().filter(|local| !hosts.contains(local)));
    let authority_key = KeyPair::generate()?;
    let mut authority = with_term("RingMQ first try", AUTHORITY_TERM, Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let sign = |name: &str, hosts: Vec<String>, purpose| {
        let key = KeyPair::generate()?;
        let mut leaf = with_term(name, TERM, hosts)?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![purpose];
        leaf.use_authority_key_identifier_extension = true;
        Ok::<_, rcgen::Error>((leaf.signed_by(&key, &issuer)?.pem(), key))
    };
    let (server, server_key) = sign(&names[0], names.clone(), ExtendedKeyUsagePurpose::ServerAuth)?;
    let (client, client_key) = sign(CLIENT, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)?;
    Ok([
        Sheet::certificate("ca.pem", authority_certificate.pem()),
        Sheet::key("ca.key", &authority_key),
        Sheet::certificate("server.pem", server),
        Sheet::key("server.key", &server_key),
        Sheet::certificate("client.pem", client),
        Sheet::key("client.key", &client_key),
    ])
}

fn with_term(name: &str, term: Duration, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - EARLIER, now + term);
    Ok(params)
}

fn directions(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "made in {dir}: an authority (ca.pem, ca.key), a certificate for the broker (server.pem, server.key) and one for a \
         client (client.pem, client.key)\n\
         \n\
         A listener for them:\n\
         \n\
         [[listener]]\n\
         bind = \"127.0.0.1:8883\"\n\
         protocol = \"mqtts\"\n\
         certificate = \"{dir}/server.pem\"\n\
         private_key = \"{dir}/server.key\"\n\
         client_ca = \"{dir}/ca.pem\"\n\
         \n\
         And a client:\n\
         \n\
         mosquitto_pub -p 8883 --cafile {dir}/ca.pem --cert {dir}/client.pem --key {dir}/client.key -t a -m b"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_private_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("new/certs");
        make_first_certificates(&made, &["broker.test".to_owned()]).unwrap();
        for key in ["ca.key", "server.key", "client.key"] {
            let mode = std::fs::metadata(made.join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        std::fs::remove_file(made.join("ca.pem")).unwrap();
        let before = std::fs::read(made.join("server.key")).unwrap();
        let refused = make_first_certificates(&made, &[]).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!("{} is there already, and nothing is overwritten", made.join("ca.key").display())
        );
        assert!(!made.join("ca.pem").exists());
        assert_eq!(std::fs::read(made.join("server.key")).unwrap(), before);
    }

    #[test]
    fn a_host_that_cannot_be_in_a_certificate_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(make_first_certificates(dir.path(), &["münchen".to_owned()]).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
