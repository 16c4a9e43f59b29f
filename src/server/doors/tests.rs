//! The doors as a core meets them: knocks in, answers out, over real files, threads and a service on loopback.
//!
//! Invariants:
//! - No test measures time: what a login costs is told by what was counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use broker::Rights;
use device::{Credential, NewDevice, Profile, ProfileId, Role, Tenant, TenantId};
use jsonwebtoken::{EncodingKey, Header, encode};
use mqtt::{Connect, ConnectProperties, ReasonCode, Version};
use platform::Platform;
use shard::{Answer, ConnId, Doorkeeper, Judgement, Knock, ListenerId, Owner, Question, Turned};
use stdx::WallMs;
use tempfile::TempDir;
use wire::TlsFacts;

use super::desk::Desk;
use super::watch::Watch;
use super::{DoorEnd, Doors, NoWatch};
use crate::clock::Clock;
use crate::config::{Sources, load};
use crate::mesh;
use crate::reload::Tiding;

/// Made by mosquitto_passwd: user `ann`, password `secret`, in hashes that cost little.
const STAFF: &str = include_str!("../../access/testdata/mosquitto-6.passwd");
const DEVICE_DER: &[u8] = &[0x30, 0x03, 0x02, 0x01, 0x07];
const SECRET: &str = "a secret of at least thirty-two bytes";

/// Doors over a folder of files.
struct House {
    folder: TempDir,
    doors: Doors,
    end: DoorEnd,
    clock: Clock,
}

/// What a client shows.
#[derive(Clone, Copy, Default)]
struct Shown<'a> {
    listener: u16,
    client_id: &'a str,
    user: Option<&'a str>,
    password: Option<&'a [u8]>,
    tls: Option<&'a TlsFacts>,
}

/// Three devices: `m1` with a token, `m2` with names and a password, `m3` with a certificate, [`DEVICE_DER`] in Base64.
fn registry() -> Platform {
    let platform = Platform::new(Box::new(|_settings| Ok(None)));
    let tenant = TenantId::from_bytes([1; 16]);
    let credentials = [
        ("m1", Credential::token("T0KEN")),
        ("m2", Credential::basic("c2", "u2", "secret")),
        ("m3", Credential::certificate("MAMCAQc=")),
    ];
    let ((), _kept) = platform.change(|registry, changes| {
        registry.put_tenant(Tenant::named(tenant, "t"), changes);
        let profile = Profile::named(ProfileId::from_bytes([2; 16]), tenant, "default");
        registry.put_profile(profile, changes).unwrap();
        let mut number = 0;
        for (name, credential) in credentials {
            let (profile, customer, credential) = (None, None, Some(credential.unwrap()));
            let new = NewDevice { tenant, profile, customer, role: Role::Ordinary, name, credential };
            let mut chance = || {
                number += 1;
                number
            };
            registry.create(new, 0, &mut chance, changes).unwrap();
        }
    });
    platform
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
    folder
}

/// Opens doors; `@` in the configuration stands for the folder.
fn try_open(config: &str, files: &[(&str, &str)]) -> Result<House, String> {
    try_open_watched(config, files, Arc::new(NoWatch))
}

fn try_open_watched(config: &str, files: &[(&str, &str)], watch: Arc<dyn Watch>) -> Result<House, String> {
    let folder = folder(files);
    let path = folder.path().join("broker.toml");
    std::fs::write(&path, config.replace('@', &folder.path().display().to_string())).unwrap();
    let sources = Sources { file: Some(path), dialects: vec!["plain"], ..Sources::default() };
    let config = load(&sources).map_err(|complaints| format!("{complaints:?}"))?;
    let clock = Clock::start();
    let doors = Doors::open(&config, 1, clock, watch, &registry()).map_err(|fault| fault.to_string())?;
    let end = doors.ends(&mesh::bells(1).unwrap()).remove(0);
    Ok(House { folder, doors, end, clock })
}

fn open(config: &str, files: &[(&str, &str)]) -> House {
    try_open(config, files).unwrap()
}

impl House {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn knock(&self, shown: Shown<'_>) -> Answer {
        let Shown { listener, client_id, user, password, tls } = shown;
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: user,
            password,
            properties: ConnectProperties::default(),
        };
        let from = "192.0.2.7".parse().unwrap();
        let now = self.clock.wall();
        let listener = ListenerId(listener);
        let knock = Knock { listener, from, connect: &connect, client_id, tls, now };
        match self.doors.judge(&knock) {
            Judgement::Admitted(rights) => Answer::Admitted(rights),
            Judgement::Refused(code) => Answer::Refused(code),
            Judgement::Asked(question) => {
                self.end.ask(*question);
                self.end.wait().1
            }
        }
    }

    fn login(&self, user: &str, password: &str) -> Answer {
        self.knock(Shown {
            client_id: "c",
            user: Some(user),
            password: Some(password.as_bytes()),
            ..Shown::default()
        })
    }

    fn nobody(&self) -> Answer {
        self.knock(Shown { client_id: "c", ..Shown::default() })
    }

    /// Passwords hashed so far.
    fn hashes(&self) -> u64 {
        self.doors.desk().figures().hashes.value()
    }
}

fn rights(answer: Answer) -> Arc<dyn Rights> {
    match answer {
        Answer::Admitted(Some(rights)) => rights,
        other => panic!("{other:?}"),
    }
}

fn user(answer: Answer) -> Option<String> {
    rights(answer).user().map(str::to_owned)
}

fn code(answer: Answer) -> ReasonCode {
    match answer {
        Answer::Refused(code) => code,
        other @ Answer::Admitted(_) => panic!("{other:?}"),
    }
}

#[derive(serde::Serialize)]
struct Claims {
    sub: &'static str,
    exp: u64,
}

fn token(claims: Claims) -> String {
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

const CHAIN: &str = r#"
[[listener]]
authentication = "staff, tokens, anonymous"
[[authenticator]]
name = "staff"
kind = "password-file"
file = "@/passwd"
[[authenticator]]
name = "tokens"
kind = "jwt"
secret_file = "@/secret"
"#;

const CHAIN_FILES: &[(&str, &str)] = &[("passwd", STAFF), ("secret", SECRET)];

#[test]
fn the_first_member_that_knows_the_client_decides() {
    let house = open(CHAIN, CHAIN_FILES);
    assert_eq!(user(house.login("ann", "secret")).as_deref(), Some("ann"));
    assert_eq!(code(house.login("ann", "wrong")), ReasonCode::BadUserNameOrPassword);
    let good = token(Claims { sub: "device", exp: 4_000_000_000 });
    let pass = rights(house.login("whoever", &good));
    assert_eq!(pass.user(), Some("device"));
    assert_eq!(pass.expires_at().map(|at| at.0), Some(4_000_000_030_000));
    let late = token(Claims { sub: "device", exp: 1 });
    assert_eq!(code(house.login("whoever", &late)), ReasonCode::BadUserNameOrPassword);
    // The file knows ann, so it is not asked whether her password might be a token.
    assert_eq!(code(house.login("ann", &good)), ReasonCode::BadUserNameOrPassword);
    assert_eq!(code(house.login("eve", "secret")), ReasonCode::BadUserNameOrPassword);
    assert_eq!(user(house.nobody()), None);
}

#[test]
fn the_end_of_the_chain_refuses() {
    let house = open(&CHAIN.replace(", anonymous", ""), CHAIN_FILES);
    assert_eq!(code(house.nobody()), ReasonCode::NotAuthorized);
    assert_eq!(code(house.login("eve", "secret")), ReasonCode::BadUserNameOrPassword);
    let name_only = Shown { client_id: "c", user: Some("ann"), ..Shown::default() };
    assert_eq!(code(house.knock(name_only)), ReasonCode::BadUserNameOrPassword);
}

#[test]
fn an_unknown_user_costs_what_a_wrong_password_costs() {
    let house = open(CHAIN, CHAIN_FILES);
    for (user, password) in [("ann", "wrong"), ("eve", "wrong"), ("ann", "a.b.c"), ("", "x")] {
        let before = house.hashes();
        assert_eq!(code(house.login(user, password)), ReasonCode::BadUserNameOrPassword, "{user}");
        assert_eq!(house.hashes() - before, 1, "{user}");
    }
}

#[test]
fn a_recent_login_spares_the_hash_and_a_wrong_password_never_does() {
    let house = open(CHAIN, CHAIN_FILES);
    assert_eq!(user(house.login("ann", "secret")).as_deref(), Some("ann"));
    for _ in 0..10 {
        assert_eq!(user(house.login("ann", "secret")).as_deref(), Some("ann"));
    }
    assert_eq!((house.hashes(), house.doors.desk().figures().remembered.value()), (1, 10));
    assert_eq!(code(house.login("ann", "secret ")), ReasonCode::BadUserNameOrPassword);
    assert_eq!(house.hashes(), 2);
    assert_eq!(kept(&house.doors), [""; 0]);
    assert_eq!(user(house.login("ann", "secret")).as_deref(), Some("ann"));
    assert_eq!(house.hashes(), 3, "what was known before the file was read again is forgotten");
}

#[test]
fn a_user_who_was_removed_is_refused_after_the_file_was_read_again() {
    let house = open(CHAIN, CHAIN_FILES);
    assert_eq!(user(house.login("ann", "secret")).as_deref(), Some("ann"));
    house.write("passwd", &STAFF.replace("ann:", "bob:"));
    assert_eq!(kept(&house.doors), [""; 0]);
    assert_eq!(code(house.login("ann", "secret")), ReasonCode::BadUserNameOrPassword);
    assert_eq!(user(house.login("bob", "secret")).as_deref(), Some("bob"));
}

const RULES: &str = r#"
[[listener]]
authentication = "staff"
acl_file = "@/acl"
[[listener]]
bind = "127.0.0.1:1884"
acl_file = "@/acl"
[[authenticator]]
name = "staff"
kind = "password-file"
file = "@/passwd"
[access]
admins = "root, ann"
"#;

#[test]
fn new_rules_hold_for_those_who_are_in_already() {
    let house = open(RULES, &[("passwd", STAFF), ("acl", "user ann\ntopic a\n")]);
    let pass = rights(house.login("ann", "secret"));
    assert!(pass.may_publish("a") && !pass.may_publish("b") && pass.may_receive("$SYS/x"));
    let version = house.doors.rules_version();
    house.write("acl", "user ann\ntopic b\n");
    assert_eq!(kept(&house.doors), [""; 0]);
    assert!(!pass.may_publish("a") && pass.may_publish("b"));
    assert!(house.doors.rules_version() > version);
}

#[test]
fn a_file_that_went_bad_keeps_the_old_rules_and_is_named_with_its_line() {
    let house = open(RULES, &[("passwd", STAFF), ("acl", "user ann\ntopic a\n")]);
    let pass = rights(house.login("ann", "secret"));
    let version = house.doors.rules_version();
    for (text, told) in [
        ("", ": holds no rule; to forbid everything, write: topic deny #"),
        ("user ann\ntopic b", ": does not end with a line break: it may have been cut short"),
        ("topic b\nallow c\n", ":2: \"allow\" is none of user, topic, pattern"),
    ] {
        house.write("acl", text);
        assert_eq!(kept(&house.doors), [format!("{}{told}", house.path("acl").display())]);
        assert!(pass.may_publish("a") && !pass.may_publish("b"), "{text:?}");
    }
    std::fs::write(house.path("acl"), b"topic a\ntopic \xff\n").unwrap();
    assert_eq!(kept(&house.doors), [format!("{}:2: is not UTF-8 text", house.path("acl").display())]);
    std::fs::remove_file(house.path("acl")).unwrap();
    std::fs::create_dir(house.path("acl")).unwrap();
    assert_eq!(kept(&house.doors), [format!("{}: is not a plain file", house.path("acl").display())]);
    assert_eq!(house.doors.rules_version(), version);
    assert!(pass.may_publish("a"));
    house.write("passwd", "ann:secret\n");
    assert_eq!(kept(&house.doors).len(), 2);
    assert_eq!(user(house.login("ann", "secret")).as_deref(), Some("ann"));
}

#[test]
fn doors_do_not_open_over_bad_files_and_all_of_them_are_named() {
    let refused = |acl: &str, passwd: &str| match try_open(RULES, &[("acl", acl), ("passwd", passwd)]) {
        Err(told) => told,
        Ok(_) => panic!("opened over {acl:?} and {passwd:?}"),
    };
    let good = "topic a\n";
    for (acl, passwd, ends) in [
        ("", STAFF, &["/acl: holds no rule; to forbid everything, write: topic deny #"][..]),
        ("topic a\ntopic read\n", STAFF, &["/acl:2: read needs a topic"]),
        (good, "", &["/passwd: holds no user"]),
        (good, "ann\n", &["/passwd:1: is not user:hash"]),
        (
            good,
            &STAFF[..STAFF.len() - 1],
            &["/passwd: does not end with a line break: it may have been cut short"],
        ),
        ("x\n", "ann\n", &["/passwd:1: is not user:hash", "/acl:1: \"x\" is none of user, topic, pattern"]),
    ] {
        let told = refused(acl, passwd);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), ends.len(), "{told}");
        assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{told}");
    }
    let Err(told) = try_open(CHAIN, &[("passwd", STAFF), ("secret", "short\n")]) else { panic!("opened") };
    assert!(told.ends_with("/secret: is too short: a secret for tokens has 32 bytes or more"), "{told}");
    let Err(told) = try_open(CHAIN, &[("passwd", STAFF)]) else { panic!("opened") };
    assert!(told.contains("/secret: cannot be read: No such file"), "{told}");
}

#[test]
fn on_loopback_where_nobody_is_asked_everybody_is_an_administrator() {
    let house = open("", &[]);
    assert!(matches!(house.nobody(), Answer::Admitted(None)));
    assert!(matches!(house.login("ann", "x"), Answer::Admitted(None)));
    let house = open("[[listener]]\nbind = \"0.0.0.0:1883\"\nallow_anonymous = true\n", &[]);
    let pass = rights(house.login("root", "x"));
    assert!(pass.may_publish("a") && !pass.may_receive("$SYS/x") && pass.user().is_none());
}

#[test]
fn a_session_that_comes_back_has_the_rules_of_its_listener() {
    let house = open(RULES, &[("passwd", STAFF), ("acl", "user bob\ntopic a\n")]);
    let owner = |listener, user| Owner { listener, client_id: "c", user };
    let remembered = |owner| house.doors.remember(&owner).unwrap();
    let bob = remembered(owner(Some(ListenerId(0)), Some("bob")));
    assert!(bob.may_receive("a") && !bob.may_receive("b") && bob.user() == Some("bob"));
    assert!(remembered(owner(None, Some("bob"))).may_receive("a"));
    assert!(!remembered(owner(None, None)).may_receive("a"));
    assert!(remembered(owner(Some(ListenerId(0)), Some("root"))).may_receive("$SYS/x"));
    let open = open("", &[]);
    assert!(open.doors.remember(&owner(Some(ListenerId(0)), None)).is_none());
}

#[test]
fn more_questions_than_a_queue_holds_are_refused_as_at_a_busy_server() {
    let house = open(CHAIN, CHAIN_FILES);
    let sources =
        Sources { file: Some(house.path("broker.toml")), dialects: vec!["plain"], ..Sources::default() };
    let premises = super::keeper::read(&load(&sources).unwrap(), &registry()).unwrap();
    let (desk, _nobody_works) = Desk::unstaffed(premises, Arc::new(NoWatch), 1, house.clock);
    let desk = Arc::new(desk);
    let end = DoorEnd::all(&desk, &mesh::bells(1).unwrap()).remove(0);
    let question = |index| Question {
        conn: ConnId { index, generation: 0 },
        listener: ListenerId(0),
        from: "192.0.2.7".parse().unwrap(),
        client_id: "c".into(),
        user: Some("ann".into()),
        password: Some(Box::from(*b"wrong")),
        step: 0,
        tls: None,
    };
    (0..256).for_each(|index| end.ask(question(index)));
    assert!(!end.has_mail());
    end.ask(question(256));
    let (conn, answer) = end.wait();
    assert_eq!((conn.index, code(answer)), (256, ReasonCode::ServerBusy));
    assert_eq!((desk.figures().busy.value(), desk.figures().hashes.value()), (1, 0));
}

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Diary(Mutex<Vec<&'static str>>);

impl Watch for Diary {
    fn arrive(&self, _: ListenerId, _: IpAddr, _: WallMs) -> Result<(), Turned> {
        self.0.lock().unwrap().push("arrive");
        Err(Turned::TooFast)
    }

    fn leave(&self, _: ListenerId, _: IpAddr) {
        self.0.lock().unwrap().push("leave");
    }

    fn failed(&self, _: IpAddr, _: WallMs) {
        self.0.lock().unwrap().push("failed");
    }

    fn succeeded(&self, _: IpAddr) {
        self.0.lock().unwrap().push("succeeded");
    }
}

#[test]
fn whoever_watches_is_told_of_failures_that_are_the_clients_own() {
    let diary = Arc::new(Diary::default());
    let gone = "[[authenticator]]\nname = \"gone\"\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\n";
    let config = format!("{}{gone}", CHAIN.replace("tokens, anonymous", "tokens, gone"));
    let house = try_open_watched(&config, CHAIN_FILES, diary.clone()).unwrap();
    let told = || std::mem::take(&mut *diary.0.lock().unwrap());
    let (from, now) = ("192.0.2.7".parse().unwrap(), house.clock.wall());
    assert_eq!(house.doors.arrive(ListenerId(0), from, now), Err(Turned::TooFast));
    house.doors.leave(ListenerId(0), from);
    assert_eq!(told(), ["arrive", "leave"]);
    house.login("ann", "wrong");
    assert_eq!(told(), ["failed"]);
    house.login("ann", "secret");
    assert_eq!(told(), ["succeeded"]);
    assert_eq!(code(house.login("eve", "x")), ReasonCode::ServerUnavailable);
    assert_eq!(told(), [""; 0]);
    let metrics = house.doors.metrics();
    for line in ["admitted_total 1", "refused_total 2", "call_failures_total 1", "password_hashes_total 2"] {
        assert!(metrics.contains(&format!("\nringmq_doors_{line}\n")), "{metrics}");
    }
}

#[test]
fn devices_that_come_in_and_that_do_not_are_counted_and_told_to_the_watch_if_they_are_to_be() {
    let rows: [(&str, &[&str]); 2] =
        [("", &[]), ("[devices]\nfailed_logins_count = true\n", &["failed", "succeeded"])];
    for (key, told) in rows {
        let watch = Arc::new(Diary::default());
        let house = try_open_watched(&format!("[[listener]]\n{key}"), &[], watch.clone()).unwrap();
        let from = "192.0.2.7".parse().unwrap();
        house.doors.note_refused(ListenerId(0), from, house.clock.wall());
        house.doors.note_welcomed(ListenerId(0), from);
        assert_eq!(*watch.0.lock().unwrap(), told, "{key}");
        let metrics = house.doors.metrics();
        assert!(metrics.contains("doors_admitted_total 1\n") && metrics.contains("doors_refused_total 1\n"));
    }
}

// ---- certificates -----------------------------------------------------------------------------------------------------

fn facts(common_name: &str) -> TlsFacts {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    TlsFacts { client_certificates: vec![certificate.der().clone()], ..TlsFacts::default() }
}

const CERTIFICATES: &str = r#"
[[listener]]
authentication = "names, staff"
[[listener]]
bind = "127.0.0.1:1884"
authentication = "devices"
[[authenticator]]
name = "names"
kind = "certificate"
[[authenticator]]
name = "devices"
kind = "certificate"
identity = "cn"
as = "client-id"
[[authenticator]]
name = "staff"
kind = "password-file"
file = "@/passwd"
"#;

#[test]
fn a_certificate_names_its_user_whatever_the_client_says() {
    let house = open(CERTIFICATES, &[("passwd", STAFF)]);
    let (good, wild, nameless) = (facts("meter 7"), facts("#"), TlsFacts::default());
    let shown = Shown { client_id: "c", user: Some("root"), tls: Some(&good), ..Shown::default() };
    assert_eq!(user(house.knock(shown)).as_deref(), Some("meter 7"));
    assert_eq!(code(house.knock(Shown { tls: Some(&wild), ..shown })), ReasonCode::NotAuthorized);
    let with_password = Shown { user: Some("ann"), password: Some(b"secret"), tls: Some(&nameless), ..shown };
    assert_eq!(user(house.knock(with_password)).as_deref(), Some("ann"));
}

#[test]
fn a_device_of_the_registry_is_its_own_user_by_token_names_or_certificate() {
    let chain = "[[listener]]\nauthentication = \"devices, staff\"\nacl_file = \"@/acl\"\n\
                 [[authenticator]]\nname = \"devices\"\nkind = \"registry\"\n\
                 [[authenticator]]\nname = \"staff\"\nkind = \"password-file\"\nfile = \"@/passwd\"\n";
    let house = open(chain, &[("passwd", STAFF), ("acl", "pattern read thingsboard/t/%u/#\n")]);
    let knock =
        |client_id, user, password| house.knock(Shown { client_id, user, password, ..Shown::default() });
    let m1 = rights(knock("c", Some("T0KEN"), Some(b"whatever")));
    assert_eq!(m1.user(), Some("m1"));
    assert!(m1.may_receive("thingsboard/t/m1/telemetry") && !m1.may_receive("thingsboard/t/m2/telemetry"));
    assert_eq!(user(knock("c2", Some("u2"), Some(b"secret"))).as_deref(), Some("m2"));
    let wrong = knock("c2", Some("u2"), Some(b"Secret"));
    assert_eq!(code(wrong), ReasonCode::BadUserNameOrPassword);
    assert_eq!(user(knock("c", Some("ann"), Some(b"secret"))).as_deref(), Some("ann"), "passed on");
    assert_eq!(code(knock("c", Some("t0ken"), None)), ReasonCode::BadUserNameOrPassword);
    assert_eq!(code(knock("c", None, None)), ReasonCode::NotAuthorized);
    let certificate =
        |der: &[u8]| TlsFacts { client_certificates: vec![der.to_vec().into()], ..TlsFacts::default() };
    let (own, other) = (certificate(DEVICE_DER), certificate(b"another"));
    let show = |tls| house.knock(Shown { client_id: "c", tls: Some(tls), ..Shown::default() });
    assert_eq!(user(show(&own)).as_deref(), Some("m3"));
    assert_eq!(code(show(&other)), ReasonCode::NotAuthorized);
    assert_eq!(house.hashes(), 1, "a wrong password of a device is tried against nobody else");
}

#[test]
fn a_certificate_can_give_the_client_id() {
    let house = open(CERTIFICATES, &[("passwd", STAFF)]);
    let good = facts("meter 7");
    let knock = |client_id, tls| Shown { listener: 1, client_id, tls, ..Shown::default() };
    let connect = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive_s: 0,
        client_id: "whoever",
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let told = |listener, tls| {
        let from = "192.0.2.7".parse().unwrap();
        let now = house.clock.wall();
        let listener = ListenerId(listener);
        house.doors.client_id(&Knock { listener, from, connect: &connect, client_id: "whoever", tls, now })
    };
    assert_eq!(told(1, Some(&good)).as_deref(), Some("meter 7"));
    assert_eq!(told(1, None), None);
    assert_eq!(told(0, Some(&good)), None);
    assert_eq!(user(house.knock(knock("meter 7", Some(&good)))), None);
    assert_eq!(code(house.knock(knock("meter 8", Some(&good)))), ReasonCode::NotAuthorized);
    assert_eq!(code(house.knock(knock("meter 7", None))), ReasonCode::NotAuthorized);
}

// ---- services ---------------------------------------------------------------------------------------------------------

/// A service that answers by user name until the test ends, and hands on what it was asked.
fn service() -> (String, flume::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/auth", listener.local_addr().unwrap());
    let (asked, questions) = flume::unbounded();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let asked = asked.clone();
            std::thread::spawn(move || answer_all(stream.unwrap(), &asked));
        }
    });
    (url, questions)
}

fn answer_all(stream: std::net::TcpStream, asked: &flume::Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let question = String::from_utf8(body).unwrap();
        let user = question.split("\"user\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let user = user.unwrap_or("nobody").to_owned();
        let _ = asked.send(question);
        let (status, body) = match user.as_str() {
            "good" => (200, r#"{"allow":true,"acl":{"publish":["up/%c"]}}"#),
            "chief" => (200, r#"{"allow":true,"admin":true}"#),
            "plain" => (204, ""),
            "bad" => (200, r#"{"allow":false}"#),
            "wrong" => (401, "no"),
            "banned" => (403, "no"),
            "strange" => (200, r#"{"allow":true,"acI":{}}"#),
            "ann" => (200, r#"{"known":false}"#),
            "hangs" => continue,
            _ => (500, "oops"),
        };
        let length =
            if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        if writer.write_all(format!("HTTP/1.1 {status} X\r\n{length}\r\n{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn house_with_service(more: &str) -> (House, flume::Receiver<String>) {
    let (url, questions) = service();
    let config = format!(
        "[[listener]]\nauthentication = \"desk, staff\"\n[[authenticator]]\nname = \"desk\"\nkind = \"http\"\nurl = \"{url}\"\n{more}\n\
         [[authenticator]]\nname = \"staff\"\nkind = \"password-file\"\nfile = \"@/passwd\"\n"
    );
    (open(&config, &[("passwd", STAFF)]), questions)
}

#[test]
fn a_service_decides_by_body_and_status() {
    let (house, questions) = house_with_service("");
    let good = rights(house.login("good", "pw"));
    assert_eq!(good.user(), Some("good"));
    assert!(good.may_publish("up/c") && !good.may_publish("up/d") && !good.may_receive("up/c"));
    let asked = questions.recv().unwrap();
    let expected =
        r#"{"client_id":"c","user":"good","password":"pw","peer":"192.0.2.7","listener":"127.0.0.1:1883"}"#;
    assert_eq!(asked, expected);
    assert!(rights(house.login("chief", "pw")).may_receive("$SYS/x"));
    assert!(!rights(house.login("plain", "pw")).may_receive("$SYS/x"));
    for (user, expected) in [
        ("bad", ReasonCode::NotAuthorized),
        ("banned", ReasonCode::NotAuthorized),
        ("wrong", ReasonCode::BadUserNameOrPassword),
    ] {
        assert_eq!(code(house.login(user, "pw")), expected, "{user}");
    }
    assert_eq!(house.doors.desk().figures().call_failures.value(), 0);
    // Whom the service does not know, the next member may.
    assert_eq!(user(house.login("ann", "secret")).as_deref(), Some("ann"));
    assert_eq!(code(house.login("ann", "wrong")), ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_service_that_fails_lets_nobody_in_and_is_counted() {
    let (house, _questions) = house_with_service("timeout_ms = 50");
    let failures = || house.doors.desk().figures().call_failures.value();
    for (count, user) in (1..).zip(["strange", "unheard of", "hangs"]) {
        assert_eq!(code(house.login(user, "pw")), ReasonCode::ServerUnavailable, "{user}");
        assert_eq!(failures(), count, "{user}");
    }
    let gone = "[[listener]]\nauthentication = \"desk\"\n[[authenticator]]\nname = \"desk\"\nkind = \"http\"\n\
                url = \"http://127.0.0.1:1/\"\n";
    let house = open(gone, &[]);
    assert_eq!(code(house.login("good", "pw")), ReasonCode::ServerUnavailable);
    assert_eq!(code(house.login("good", "pw")), ReasonCode::ServerUnavailable, "a failure is not remembered");
    assert_eq!(house.doors.desk().figures().call_failures.value(), 2);
}

#[test]
fn an_answer_holds_for_the_very_same_client_only_and_until_a_reload() {
    let (house, questions) = house_with_service("");
    let asked = || questions.try_iter().count();
    for _ in 0..5 {
        assert_eq!(user(house.login("good", "pw")).as_deref(), Some("good"));
        assert_eq!(code(house.login("bad", "pw")), ReasonCode::NotAuthorized);
    }
    assert_eq!((asked(), house.doors.desk().figures().calls_saved.value()), (2, 8));
    house.login("good", "another");
    house.knock(Shown { client_id: "d", user: Some("good"), password: Some(b"pw"), ..Shown::default() });
    assert_eq!(asked(), 2);
    assert_eq!(kept(&house.doors), [""; 0]);
    house.login("good", "pw");
    assert_eq!(asked(), 1);
    let (house, questions) = house_with_service("cache_s = 0");
    (0..3).for_each(|_| drop(house.login("good", "pw")));
    assert_eq!(questions.try_iter().count(), 3);
}

/// What a reload has complained about.
fn kept(doors: &Doors) -> Vec<String> {
    let tidings = doors.reread().into_iter();
    tidings.filter_map(|tiding| if let Tiding::Kept(line) = tiding { Some(line) } else { None }).collect()
}
