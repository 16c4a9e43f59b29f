//! Devices that are made by who has signed their certificate: whole shards behind a real listener, handshakes in memory.
//!
//! Invariants:
//! - Every test makes its own authority; what the registry changed counts as kept when the test says so.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use broker::CoreId;
use device::{
    Answer, ChainRule, Dialect, Downlink, Guest, Hello, Interpreter, Introduction, Profile, ProfileId,
    Provisioning, Registry, Said, SharedRegistry, Speech, Tenant, TenantId, Unspeakable, Utterance, Welcome,
    fingerprint,
};
use mqtt::{Connect, QoS, ReasonCode};
use platform::Platform;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, SignatureScheme};
use shard::{Accepted, ConnId, Durability, ListenerId, Settings, Setup, Shard};
use stdx::{Instant, WallMs};
use wire::Wardrobe;

use super::possession::Possession;

const NOW: Instant = Instant::START;
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const CHAINED: ProfileId = ProfileId::from_bytes([2; 16]);
/// 3.1.1 and 5.0, of clients without a name, a user name or a clean end.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
const CONNECT_V5: &[u8] = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const REFUSED: &[u8] = b"\x20\x02\x00\x05";

/// A dialect that knows certificates and chains, and has nothing to say.
#[derive(Debug)]
struct Cards;

#[derive(Debug)]
struct Mute;

impl Dialect for Cards {
    fn name(&self) -> &'static str {
        "cards"
    }

    fn introduce<'a>(&self, connect: &Connect<'a>) -> Introduction<'a> {
        Introduction { placement_key: connect.client_id }
    }

    fn welcome(&self, hello: &Hello<'_>, registry: &Registry) -> Welcome {
        let shown = hello.certificate.filter(|shown| shown.is_current);
        let known = shown.and_then(|shown| registry.log_in_with_certificate(&shown.fingerprint));
        known.map_or(Welcome::Refused(ReasonCode::NotAuthorized), Welcome::Device)
    }

    fn takes_chains(&self) -> bool {
        true
    }

    fn interpreter(&self, _guest: &Guest<'_>) -> Option<Box<dyn Interpreter>> {
        Some(Box::new(Mute))
    }
}

impl Interpreter for Mute {
    fn publish<'a>(&mut self, _said: &Said<'a>, _speech: &mut Speech<'a>) -> Answer {
        Answer::accepted()
    }

    fn subscribe(&mut self, _: &str, qos: QoS, _: &mut Speech<'_>) -> Result<QoS, ReasonCode> {
        Ok(qos)
    }

    fn unsubscribe(&mut self, _: &str, _: &mut Speech<'_>) -> ReasonCode {
        ReasonCode::Success
    }

    fn downlink(&mut self, _: Option<&str>, _: &Downlink, _: &mut Vec<Utterance>) -> Result<(), Unspeakable> {
        Ok(())
    }
}

/// Believes every broker.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

struct Maker {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Maker {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params("maker");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A client that shows a certificate of this name, with that of `shown` behind it.
    fn client(&self, name: &str, shown: &Self) -> ClientConnection {
        let key = KeyPair::generate().unwrap();
        let own = params(name).signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
        let config = builder.with_client_auth_cert(vec![own, shown.certificate.clone()], key).unwrap();
        ClientConnection::new(Arc::new(config), ServerName::try_from("broker.test").unwrap()).unwrap()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Shards that share a registry whose one profile makes devices that `maker` has signed.
struct House {
    shards: Vec<Shard>,
    /// The last turn of each in which something was written that is not kept.
    written: Vec<Option<u64>>,
    platform: Platform,
}

impl House {
    fn new(cores: u16, maker: &Maker) -> Self {
        let platform = Platform::new(Box::new(|_| Ok(None)));
        let rule = ChainRule {
            authority: fingerprint(&maker.certificate),
            name_pattern: "(.+)".into(),
            allows_create: true,
        };
        let provisioning = Provisioning::CertificateChain(Box::new(rule));
        let profile =
            Profile { provisioning, is_default: true, ..Profile::named(CHAINED, TENANT, "chained") };
        let _kept = platform.change(|registry, changes| {
            registry.put_tenant(Tenant::named(TENANT, "acme"), changes);
            registry.put_profile(profile, changes).unwrap();
        });
        let wardrobes: Arc<[Wardrobe]> =
            Arc::new([Wardrobe { tls: Some(listener()), ..Wardrobe::default() }]);
        let registry: Arc<dyn SharedRegistry> = Arc::new(platform.clone());
        let settings = Arc::new(Settings {
            dialects: vec![&Cards],
            wardrobes,
            durabilities: vec![Durability::Fsync],
            sys_interval_s: 0,
            journal_is_on: true,
            registry: Some(registry),
            ..Settings::default()
        });
        let shard = |core| {
            // Other seeds, or two cores would give out the same ids. The middle of 2026.
            let (seed, wall) = (u64::from(core), WallMs(1_782_000_000_000));
            let settings = Arc::clone(&settings);
            Shard::new(Setup { core: CoreId::new(core), cores, seed, settings, wall }, NOW)
        };
        let shards: Vec<_> = (0..cores).map(shard).collect();
        Self { written: vec![None; shards.len()], shards, platform }
    }

    /// A connection on a core.
    fn accept(&mut self, core: usize) -> (usize, ConnId) {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        (core, self.shards[core].handle_accepted(NOW, Accepted { listener: ListenerId(0), peer }).unwrap())
    }

    fn end_turn(&mut self, core: usize) {
        self.shards[core].end_turn(NOW);
        let written = self.shards[core].effects().written.take();
        self.written[core] = written.map(|written| written.turn).or(self.written[core]);
    }

    /// Ends a turn of the core where a connection is, which goes where it is at home.
    fn turn(&mut self, place: &mut (usize, ConnId)) {
        let (core, conn) = *place;
        self.end_turn(core);
        for moved in std::mem::take(&mut self.shards[core].effects().moved) {
            let to = moved.to.index();
            let arrived = self.shards[to].handle_arrival(NOW, *moved.arrival).unwrap();
            self.end_turn(to);
            if moved.conn == conn {
                *place = (to, arrived);
            }
        }
    }

    /// Everything that cores have written so far is kept.
    fn keep(&mut self) {
        for core in 0..self.shards.len() {
            if let Some(turn) = self.written[core].take() {
                self.shards[core].handle_durable(NOW, turn);
                self.end_turn(core);
            }
        }
    }

    /// Both ends talk until neither has anything to say; what the client has heard.
    fn talk(&mut self, client: &mut ClientConnection, place: &mut (usize, ConnId)) -> Vec<u8> {
        loop {
            let mut up = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut up).unwrap();
            }
            let (core, conn) = *place;
            if !up.is_empty() {
                self.shards[core].handle_bytes(NOW, conn, &up);
            }
            self.turn(place);
            let down = self.take_out(*place);
            let mut rest = down.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
            if up.is_empty() && down.is_empty() {
                return heard(client);
            }
        }
    }

    /// What leaves for a connection, its last bytes included.
    fn take_out(&mut self, (core, conn): (usize, ConnId)) -> Vec<u8> {
        let shard = &mut self.shards[core];
        shard.effects().dirty.retain(|dirty| *dirty != conn);
        let mut out = shard.take_out(conn, Vec::new());
        shard.handle_sent(NOW, conn, out.len());
        let closing = &mut shard.effects().closing;
        if let Some(index) = closing.iter().position(|closing| closing.conn == conn) {
            out.extend(closing.remove(index).last);
        }
        out
    }

    fn counters(&self) -> [u64; 4] {
        let mut all = broker::Counters::default();
        self.shards.iter().for_each(|shard| all.add(shard.counters()));
        [all.chains_checked, all.chains_refused, all.provisionings_granted, all.authentications_refused]
    }

    fn devices(&self) -> usize {
        self.platform.read(Registry::len)
    }
}

fn heard(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    // That nothing more has come yet is told as an error.
    let _no_more = client.reader().read_to_end(&mut bytes);
    bytes
}

fn listener() -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["broker.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let verifier = Arc::new(Possession::new(&provider));
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_client_cert_verifier(verifier);
    Arc::new(builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap())
}

#[test]
fn a_device_is_made_where_it_comes_in_and_let_in_at_home_when_that_is_kept() {
    let maker = Maker::new();
    let mut house = House::new(4, &maker);
    let mut has_moved = false;
    for number in 0..8_usize {
        let mut client = maker.client(&format!("meter {number}"), &maker);
        let mut place = house.accept(number % 4);
        client.writer().write_all(CONNECT).unwrap();
        assert_eq!(house.talk(&mut client, &mut place), b"", "nothing is told before it is kept");
        assert_eq!(house.devices(), number + 1);
        has_moved |= place.0 != number % 4;
        house.keep();
        assert_eq!(house.talk(&mut client, &mut place), CONNACK);
    }
    assert!(has_moved, "not all of them are at home where they came in");
    assert_eq!(house.counters(), [8, 0, 8, 0]);
}

#[test]
fn a_renewed_certificate_ends_the_other_connections_of_the_device() {
    let maker = Maker::new();
    let mut house = House::new(2, &maker);
    for core in 0..2 {
        let name = format!("meter {core}");
        let (mut old, mut renewed) = (maker.client(&name, &maker), maker.client(&name, &maker));
        let mut first = house.accept(0);
        old.writer().write_all(CONNECT_V5).unwrap();
        house.talk(&mut old, &mut first);
        house.keep();
        assert_eq!(house.talk(&mut old, &mut first)[3], 0);
        let mut second = house.accept(1);
        renewed.writer().write_all(CONNECT_V5).unwrap();
        house.talk(&mut renewed, &mut second);
        house.keep();
        assert_eq!(house.talk(&mut renewed, &mut second)[3], 0);
        let told = house.talk(&mut old, &mut first);
        assert_eq!((told[0], told[2]), (0xe0, 0x98), "an administrative action: {told:02x?}");
        assert_eq!(house.devices(), core + 1);
    }
    assert_eq!(house.counters(), [4, 0, 4, 0]);
}

#[test]
fn a_forged_chain_makes_nothing_and_is_counted() {
    let (maker, forger) = (Maker::new(), Maker::new());
    let mut house = House::new(1, &maker);
    for (shown, counted) in [(&maker, [1, 1, 0, 1]), (&forger, [1, 1, 0, 2])] {
        let mut client = forger.client("meter", shown);
        let mut place = house.accept(0);
        client.writer().write_all(CONNECT).unwrap();
        assert_eq!(house.talk(&mut client, &mut place), REFUSED);
        assert_eq!((house.devices(), house.counters()), (0, counted));
    }
}

#[test]
fn chains_are_verified_a_few_in_a_turn_and_all_of_them_in_the_end() {
    let maker = Maker::new();
    let mut house = House::new(1, &maker);
    let mut clients: Vec<_> =
        (0..20).map(|number| maker.client(&format!("meter {number}"), &maker)).collect();
    let mut places: Vec<_> = clients.iter().map(|_| house.accept(0)).collect();
    for (client, place) in clients.iter_mut().zip(&mut places) {
        assert_eq!(house.talk(client, place), b"");
    }
    for (client, (_, conn)) in clients.iter_mut().zip(&places) {
        client.writer().write_all(CONNECT).unwrap();
        let mut up = Vec::new();
        client.write_tls(&mut up).unwrap();
        house.shards[0].handle_bytes(NOW, *conn, &up);
    }
    let mut made = vec![house.devices()];
    while house.shards[0].next_deadline() == Some(Instant::START) {
        house.end_turn(0);
        made.push(house.devices());
    }
    assert!(made.windows(2).all(|pair| pair[1] - pair[0] <= 4), "{made:?}");
    assert_eq!((made[0], made.last()), (4, Some(&20)));
    house.keep();
    for (client, place) in clients.iter_mut().zip(&mut places) {
        assert_eq!(house.talk(client, place), CONNACK);
    }
}
