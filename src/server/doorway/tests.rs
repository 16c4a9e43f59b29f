//! The doorway as clients meet it: handshakes in memory, against certificates in files.
//!
//! Invariants:
//! - Every test makes its own authority in a directory of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use time::{Duration, OffsetDateTime};
use wire::{Coats, TlsFacts, Wardrobe};

use super::{Doorway, inspect};
use crate::config::{Bind, ClientCertificate, Config, KeyPairs, Listener, Protocol, TlsKeys, TlsMin};
use crate::reload::Tiding;

static ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
static ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

/// An authority, and a directory for what it signs.
struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// What stands in a leaf.
struct Leaf<'a> {
    file: &'a str,
    host: &'a str,
    serial: u8,
    ends_in: Duration,
}

impl<'a> Leaf<'a> {
    fn new(file: &'a str, host: &'a str, serial: u8) -> Self {
        Self { file, host, serial, ends_in: Duration::days(1) }
    }
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, dir.path().display().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, certificate: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Writes FILE.pem and FILE.key.
    fn sign(&self, leaf: &Leaf<'_>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![leaf.host.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(vec![leaf.serial]));
        params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
        params.not_after = OffsetDateTime::now_utc() + leaf.ends_in;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{}.pem", leaf.file)), certificate.pem()).unwrap();
        let key_path = self.path(&format!("{}.key", leaf.file));
        fs::write(&key_path, key.serialize_pem()).unwrap();
        set_mode(&key_path, 0o600);
    }

    /// Writes ca.crl.
    fn revoke(&self, serials: &[u8], ends_in: Duration) {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from(vec![*serial]),
            revocation_time: now - Duration::days(2),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - Duration::days(2),
            next_update: now + ends_in,
            crl_number: SerialNumber::from(vec![1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(self.path("ca.crl"), list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
    }

    /// Keys of a listener that shows FILE.
    fn shows(&self, file: &str) -> TlsKeys {
        let (certificate, private_key) =
            (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        TlsKeys { certificate: Some(certificate), private_key: Some(private_key), ..TlsKeys::default() }
    }

    /// The same, and demands a certificate of this authority.
    fn demands(&self, file: &str) -> TlsKeys {
        TlsKeys { client_ca: Some(self.path("ca.pem")), ..self.shows(file) }
    }

    fn client(&self) -> Client {
        Client { roots: vec![self.certificate.clone()], ..Client::default() }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// An authority that has signed a broker's and a client's certificate.
fn authority() -> Authority {
    let authority = Authority::new();
    authority.sign(&Leaf::new("a", "a.test", 1));
    authority.sign(&Leaf::new("client", "client.test", 7));
    authority
}

struct Client {
    roots: Vec<CertificateDer<'static>>,
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Default for Client {
    fn default() -> Self {
        Self { roots: Vec::new(), versions: ONLY_13, alpn: Vec::new(), certificate: None }
    }
}

impl Client {
    fn with_certificate(self, authority: &Authority, file: &str) -> Self {
        let pair = (authority.path(&format!("{file}.pem")), authority.path(&format!("{file}.key")));
        Self { certificate: Some(pair), ..self }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        self.roots.iter().for_each(|root| roots.add(root.clone()).unwrap());
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(self.versions).unwrap().with_root_certificates(roots);
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }
}

/// A finished handshake.
#[derive(Debug)]
struct Met {
    client: ClientConnection,
    coats: Box<Coats>,
}

impl Met {
    fn facts(&self) -> TlsFacts {
        self.coats.tls_facts().unwrap()
    }

    fn shown(&self) -> CertificateDer<'static> {
        self.client.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// A PINGREQ goes up and comes out as it was.
    fn pings(&mut self) -> bool {
        self.client.writer().write_all(b"\xc0\x00").unwrap();
        let mut plain = Vec::new();
        converse(&mut self.client, &mut self.coats, &mut plain).is_ok() && plain == b"\xc0\x00"
    }
}

/// Both ends talk until neither has anything to say.
fn converse(client: &mut ClientConnection, coats: &mut Coats, plain: &mut Vec<u8>) -> Result<(), String> {
    let mut outcome = Ok(());
    loop {
        let mut up = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut up).unwrap();
        }
        if outcome.is_ok() && !up.is_empty() {
            outcome = coats.take_off(&up, plain).map_err(|fault| format!("broker: it {fault}"));
        }
        let down = coats.take_raw(Vec::new());
        let mut rest = down.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            let heard = client.process_new_packets().map_err(|fault| format!("client: {fault}"));
            // What the broker says of it is of more use than the alert.
            outcome = outcome.and(heard.map(drop));
        }
        if up.is_empty() && down.is_empty() || outcome.is_err() {
            return outcome;
        }
    }
}

fn meet(wardrobe: &Wardrobe, config: &Arc<ClientConfig>, host: &str) -> Result<Met, String> {
    let mut coats = wardrobe.dress().unwrap().unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    converse(&mut client, &mut coats, &mut Vec::new())?;
    assert!(!client.is_handshaking() && !coats.is_shaking_hands());
    Ok(Met { client, coats })
}

fn listener(tls: TlsKeys) -> Listener {
    Listener { protocol: Protocol::Mqtts, tls, ..Listener::default() }
}

fn doorway(listeners: Vec<Listener>) -> Doorway {
    Doorway::open(&Config { listener: listeners, ..Config::default() }).unwrap().0
}

fn wardrobe(tls: TlsKeys) -> Wardrobe {
    doorway(vec![listener(tls)]).wardrobes()[0].clone()
}

fn complaints(tls: TlsKeys) -> Vec<String> {
    let config = Config { listener: vec![listener(tls)], ..Config::default() };
    let told = inspect(&config).unwrap_err();
    told.iter().map(ToString::to_string).collect()
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_the_older_can_be_refused() {
    let authority = authority();
    let both = wardrobe(authority.shows("a"));
    let newest = wardrobe(TlsKeys { tls_min: TlsMin::V13, ..authority.shows("a") });
    let client = |versions| Client { versions, ..authority.client() }.config();
    for (versions, is_v13) in [(ONLY_12, false), (ONLY_13, true)] {
        let mut met = meet(&both, &client(versions), "a.test").unwrap();
        assert_eq!(met.facts().is_v13, is_v13);
        assert!(met.pings());
    }
    assert!(meet(&newest, &client(ONLY_13), "a.test").is_ok());
    let refused = meet(&newest, &client(ONLY_12), "a.test").unwrap_err();
    assert!(refused.starts_with("broker: it failed in TLS"), "{refused}");
}

#[test]
fn client_certificates_are_asked_for_as_the_listener_says() {
    let (authority, stranger) = (authority(), authority());
    let with = |demand| {
        let client_certificate = Some(demand);
        wardrobe(TlsKeys { client_certificate, ..authority.demands("a") })
    };
    let (required, optional) = (with(ClientCertificate::Required), with(ClientCertificate::Optional));
    for versions in [ONLY_12, ONLY_13] {
        let client = || Client { versions, ..authority.client() };
        let own = client().with_certificate(&authority, "client").config();
        let wrong = client().with_certificate(&stranger, "client").config();
        let met = meet(&required, &own, "a.test").unwrap();
        let shown = CertificateDer::from_pem_file(authority.path("client.pem")).unwrap();
        assert_eq!(met.facts().client_certificates, [shown]);
        let refused = meet(&required, &client().config(), "a.test").unwrap_err();
        assert_eq!(refused, "broker: it failed in TLS: peer sent no certificates");
        for wardrobe in [&required, &optional] {
            let refused = meet(wardrobe, &wrong, "a.test").unwrap_err();
            assert!(refused.contains("UnknownIssuer"), "{refused}");
        }
        let met = meet(&optional, &client().config(), "a.test").unwrap();
        assert_eq!(met.facts().client_certificates, []);
    }
}

#[test]
fn any_certificate_will_do_where_its_fingerprint_decides() {
    let (authority, stranger) = (authority(), Authority::new());
    stranger.sign(&Leaf::new("device", "device.test", 5));
    stranger.sign(&Leaf { ends_in: Duration::days(-1), ..Leaf::new("expired", "old.test", 6) });
    let keys = TlsKeys { client_certificate: Some(ClientCertificate::Any), ..authority.shows("a") };
    let wardrobe = wardrobe(keys);
    let now = crate::clock::Clock::start().wall();
    for versions in [ONLY_12, ONLY_13] {
        let client = || Client { versions, ..authority.client() };
        let with = |file| client().with_certificate(&stranger, file).config();
        let config = with("device");
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut met = meet(&wardrobe, &config, "a.test").unwrap();
            assert_eq!(met.client.handshake_kind(), Some(kind));
            let shown = CertificateDer::from_pem_file(stranger.path("device.pem")).unwrap();
            assert_eq!(met.facts().client_certificates, [shown], "{kind:?}");
            assert!(met.facts().is_current(now) && met.pings());
        }
        let expired = meet(&wardrobe, &with("expired"), "a.test").unwrap().facts();
        assert!(expired.client_certificates.len() == 1 && !expired.is_current(now));
        let without = meet(&wardrobe, &client().config(), "a.test").unwrap().facts();
        assert!(without.client_certificates.is_empty() && !without.is_current(now));
    }
}

/// Shows a certificate, and signs with a key of its own choice.
#[derive(Debug)]
struct Impostor(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Impostor {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Meets a client that shows any bytes as its certificate and signs with any key.
fn meet_showing(
    wardrobe: &Wardrobe,
    authority: &Authority,
    versions: &'static [&'static SupportedProtocolVersion],
    certificate: &[u8],
    key: &Path,
) -> Result<Met, String> {
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let key = default_provider().key_provider.load_private_key(key).unwrap();
    let shown = rustls::sign::CertifiedKey::new(vec![certificate.to_vec().into()], key);
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    let config = builder.with_client_cert_resolver(Arc::new(Impostor(Arc::new(shown))));
    meet(wardrobe, &Arc::new(config), "a.test")
}

#[test]
fn whoever_shows_a_certificate_must_have_its_key() {
    let (authority, stranger) = (authority(), Authority::new());
    stranger.sign(&Leaf::new("device", "device.test", 5));
    let keys = TlsKeys { client_certificate: Some(ClientCertificate::Any), ..authority.shows("a") };
    let wardrobe = wardrobe(keys);
    let attempt = |versions, certificate: &[u8], key: &Path| {
        meet_showing(&wardrobe, &authority, versions, certificate, key).map(drop)
    };
    let certificate = CertificateDer::from_pem_file(stranger.path("device.pem")).unwrap();
    let (own, stolen) = (stranger.path("device.key"), authority.path("client.key"));
    for versions in [ONLY_12, ONLY_13] {
        assert_eq!(attempt(versions, &certificate, &own), Ok(()));
        let refused = attempt(versions, &certificate, &stolen).unwrap_err();
        assert!(refused.contains("BadSignature"), "{refused}");
        for broken in [&certificate[..certificate.len() - 1], b"", b"no certificate"] {
            let refused = attempt(versions, broken, &own).unwrap_err();
            assert!(refused.starts_with("broker: it failed in TLS"), "{refused}");
        }
    }
}

/// They were made by `openssl x509 -req` without extensions, like those of many devices in the field.
#[test]
fn a_certificate_of_the_first_version_and_an_rsa_key_will_do_too() {
    let authority = authority();
    let keys = TlsKeys { client_certificate: Some(ClientCertificate::Any), ..authority.shows("a") };
    let wardrobe = wardrobe(keys);
    for file in ["v1-ecdsa", "v1-rsa"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("doorway/testdata");
        let certificate = CertificateDer::from_pem_file(folder.join(format!("{file}.pem"))).unwrap();
        let key = folder.join(format!("{file}.key"));
        for versions in [ONLY_12, ONLY_13] {
            let met = meet_showing(&wardrobe, &authority, versions, &certificate, &key).unwrap();
            assert_eq!(met.facts().client_certificates.len(), 1, "{file}");
        }
    }
}

#[test]
fn what_is_revoked_is_refused_and_so_is_everything_under_a_list_that_is_out_of_date() {
    let authority = authority();
    authority.sign(&Leaf::new("other", "other.test", 8));
    let keys = || TlsKeys { crl: Some(authority.path("ca.crl")), ..authority.demands("a") };
    let client = |file| authority.client().with_certificate(&authority, file).config();
    authority.revoke(&[7], Duration::days(1));
    let current = wardrobe(keys());
    let refused = meet(&current, &client("client"), "a.test").unwrap_err();
    assert!(refused.contains("Revoked"), "{refused}");
    assert!(meet(&current, &client("other"), "a.test").is_ok());
    authority.revoke(&[], Duration::days(-1));
    let refused = meet(&wardrobe(keys()), &client("other"), "a.test").unwrap_err();
    assert!(refused.contains("revocation list expired"), "{refused}");
    let config = Config { listener: vec![listener(keys())], ..Config::default() };
    let remarks: Vec<String> = inspect(&config).unwrap().iter().map(ToString::to_string).collect();
    assert!(remarks.len() == 1 && remarks[0].contains("is out of date since"), "{remarks:?}");
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let authority = authority();
    authority.sign(&Leaf::new("b", "*.b.test", 2));
    let more = KeyPairs(vec![(authority.path("b.pem"), authority.path("b.key"))]);
    let wardrobe = wardrobe(TlsKeys { certificates: Some(more), ..authority.shows("a") });
    let config = authority.client().config();
    for (host, file) in [("a.test", "a.pem"), ("x.b.test", "b.pem")] {
        let met = meet(&wardrobe, &config, host).unwrap();
        assert_eq!(met.shown(), CertificateDer::from_pem_file(authority.path(file)).unwrap());
        assert_eq!(met.facts().server_name.as_deref(), Some(host));
    }
    let refused = meet(&wardrobe, &config, "c.test").unwrap_err();
    assert!(
        refused.starts_with("client:") && refused.contains("a.test"),
        "the first is shown in doubt: {refused}"
    );
}

#[test]
fn alpn_agrees_on_mqtt_and_refuses_what_is_not_spoken() {
    let authority = authority();
    let mqtts = wardrobe(authority.shows("a"));
    let wss =
        doorway(vec![Listener { protocol: Protocol::Wss, ..listener(authority.shows("a")) }]).wardrobes();
    let offer = |names: &[&str]| {
        let alpn = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Client { alpn, ..authority.client() }.config()
    };
    let agreed = |wardrobe, names| {
        let met = meet(wardrobe, &offer(names), "a.test")?;
        Ok::<_, String>(met.client.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap()))
    };
    assert_eq!(agreed(&mqtts, &["x", "mqtt"]), Ok(Some("mqtt".to_owned())));
    assert_eq!(agreed(&mqtts, &[]), Ok(None));
    assert_eq!(agreed(&wss[0], &["h2", "http/1.1"]), Ok(Some("http/1.1".to_owned())));
    assert!(agreed(&mqtts, &["h2"]).is_err());
}

fn kind(wardrobe: &Wardrobe, config: &Arc<ClientConfig>) -> Result<HandshakeKind, String> {
    meet(wardrobe, config, "a.test").map(|met| met.client.handshake_kind().unwrap())
}

#[test]
fn the_second_handshake_is_resumed_on_this_listener_and_on_no_other() {
    let authority = authority();
    let demands = listener(authority.demands("a"));
    let wardrobes = doorway(vec![listener(authority.shows("a")), demands]).wardrobes();
    for versions in [ONLY_12, ONLY_13] {
        let config = Client { versions, ..authority.client() }.config();
        assert_eq!(kind(&wardrobes[0], &config), Ok(HandshakeKind::Full));
        assert_eq!(kind(&wardrobes[0], &config), Ok(HandshakeKind::Resumed));
        let refused = kind(&wardrobes[1], &config).unwrap_err();
        assert!(refused.contains("peer sent no certificates"), "{refused}");
    }
}

#[test]
fn reading_again_shows_the_new_certificate_and_leaves_connections_alone() {
    let authority = authority();
    let mut doorway = doorway(vec![listener(authority.shows("a"))]);
    let config = authority.client().config();
    let mut old = meet(&doorway.wardrobes()[0], &config, "a.test").unwrap();
    assert_eq!(doorway.reread(), [Tiding::Fresh("mqtts 127.0.0.1:1883: nothing has changed".to_owned())]);
    authority.sign(&Leaf::new("a", "a.test", 9));
    let told = "mqtts 127.0.0.1:1883: what has changed holds for new connections";
    assert_eq!(doorway.reread(), [Tiding::Fresh(told.to_owned())]);
    assert_eq!(kind(&doorway.wardrobes()[0], &config), Ok(HandshakeKind::Resumed), "tickets stay valid");
    let new = meet(&doorway.wardrobes()[0], &authority.client().config(), "a.test").unwrap();
    assert_ne!(new.shown(), old.shown());
    assert!(old.pings());
}

#[test]
fn a_broken_file_keeps_everything_and_says_why_in_one_line() {
    let authority = authority();
    let mut doorway = doorway(vec![listener(authority.shows("a"))]);
    let config = authority.client().config();
    let before = meet(&doorway.wardrobes()[0], &config, "a.test").unwrap().shown();
    authority.sign(&Leaf::new("b", "b.test", 3));
    fs::copy(authority.path("b.key"), authority.path("a.key")).unwrap();
    let told: Vec<String> = doorway.reread().iter().map(Tiding::to_string).collect();
    let (key, certificate) = (authority.path("a.key"), authority.path("a.pem"));
    let why = format!(
        "mqtts 127.0.0.1:1883: configuration: `private_key`: {} does not belong to the first certificate in {}; what was \
         read before stays in use",
        key.display(),
        certificate.display()
    );
    assert_eq!(told, [why]);
    assert_eq!(meet(&doorway.wardrobes()[0], &config, "a.test").unwrap().shown(), before);
}

#[test]
fn a_client_that_was_revoked_cannot_resume_either() {
    let authority = authority();
    authority.revoke(&[], Duration::days(1));
    let mut doorway =
        doorway(vec![listener(TlsKeys { crl: Some(authority.path("ca.crl")), ..authority.demands("a") })]);
    let config = authority.client().with_certificate(&authority, "client").config();
    assert_eq!(kind(&doorway.wardrobes()[0], &config), Ok(HandshakeKind::Full));
    assert_eq!(kind(&doorway.wardrobes()[0], &config), Ok(HandshakeKind::Resumed));
    authority.revoke(&[7], Duration::days(1));
    doorway.reread();
    let refused = kind(&doorway.wardrobes()[0], &config).unwrap_err();
    assert!(refused.contains("Revoked"), "{refused}");
}

#[test]
fn each_mistake_in_a_file_is_told_with_key_and_file() {
    let authority = authority();
    authority.sign(&Leaf::new("b", "b.test", 2));
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(authority.path("locked.key"), locked).unwrap();
    fs::write(authority.path("text.pem"), "hello\n").unwrap();
    let whole = fs::read_to_string(authority.path("a.pem")).unwrap();
    fs::write(authority.path("cut.pem"), &whole[..whole.len() / 2]).unwrap();
    let base = || authority.demands("a");
    let path = |file| Some(authority.path(file));
    let rows = [
        (
            TlsKeys { certificate: path("none.pem"), ..base() },
            "`certificate`: ",
            "none.pem cannot be read: No such file",
        ),
        (
            TlsKeys { certificate: path("text.pem"), ..base() },
            "`certificate`: ",
            "text.pem holds no certificate in PEM",
        ),
        (TlsKeys { certificate: path("cut.pem"), ..base() }, "`certificate`: ", "cut.pem "),
        (
            TlsKeys { private_key: path("b.key"), ..base() },
            "`private_key`: ",
            "b.key does not belong to the first",
        ),
        (
            TlsKeys { private_key: path("a.pem"), ..base() },
            "`private_key`: ",
            "a.pem holds no private key in PEM",
        ),
        (
            TlsKeys { private_key: path("locked.key"), ..base() },
            "`private_key`: ",
            "is locked with a passphrase",
        ),
        (
            TlsKeys { client_ca: path("a.key"), ..base() },
            "`client_ca`: ",
            "a.key holds no certificate in PEM",
        ),
        (TlsKeys { crl: path("a.pem"), ..base() }, "`crl`: ", "a.pem holds no revocation list in PEM"),
    ];
    for (keys, key, text) in rows {
        let told = complaints(keys);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("configuration: {key}")) && told[0].contains(text), "{told:?}");
    }
    let several = TlsKeys { certificate: path("none.pem"), crl: path("none.crl"), ..base() };
    assert_eq!(complaints(several).len(), 2);
}

#[test]
fn an_expired_certificate_and_a_key_for_everybody_are_warned_of() {
    let authority = authority();
    authority.sign(&Leaf { ends_in: Duration::days(-3), ..Leaf::new("a", "a.test", 1) });
    set_mode(&authority.path("a.key"), 0o644);
    let config = Config { listener: vec![listener(authority.shows("a"))], ..Config::default() };
    let remarks: Vec<String> = inspect(&config).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(remarks[0].contains("a.pem has expired on ") && remarks[1].contains("chmod o-r"), "{remarks:?}");
}

#[test]
fn what_ringmq_cert_makes_works_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    super::make_first_certificates(dir.path(), &["broker.test".to_owned()]).unwrap();
    let path = |file: &str| dir.path().join(file);
    let wardrobe = wardrobe(TlsKeys {
        certificate: Some(path("server.pem")),
        private_key: Some(path("server.key")),
        client_ca: Some(path("ca.pem")),
        ..TlsKeys::default()
    });
    let roots = vec![CertificateDer::from_pem_file(path("ca.pem")).unwrap()];
    let certificate = Some((path("client.pem"), path("client.key")));
    let config = Client { roots, certificate, ..Client::default() }.config();
    for host in ["localhost", "broker.test", "127.0.0.1", "::1"] {
        assert!(meet(&wardrobe, &config, host).unwrap().pings(), "{host}");
    }
}

#[test]
fn a_plain_listener_wears_nothing_and_has_nothing_to_read() {
    let mut doorway = doorway(vec![Listener { bind: Bind::Unix("x".into()), ..Listener::default() }]);
    assert!(doorway.wardrobes()[0].is_empty());
    assert_eq!(doorway.reread(), []);
}
