//! Names of any length and types without end: what a gateway thinks of must harm nobody else.

use device::{
    Algorithm, Content, Label, Package, PackageId, PackageKind, Profile, ProfileId, Tenant, TenantId,
};
use dialects::client;
use dialects::house::{ClientId, House};
use dialects::world::{PROFILE, TENANT};
use mqtt::{QoS, Version};
use shard::Settings;

const TELEMETRY: &str = "v1/devices/me/telemetry";

fn durable() -> Settings {
    Settings { journal_is_on: true, ..Settings::default() }
}

/// A plain subscriber whose session lasts.
fn lasting(house: &mut House, filter: &str) -> ClientId {
    let mut connect = client::connect(Version::V311, "application", None, None, None);
    // The flags, and among them Clean Session.
    connect[9] &= !2;
    let id = house.connect(0, 1, Version::V311, &connect);
    house.send(id, &client::subscribe(Version::V311, 1, filter, QoS::AtLeastOnce));
    assert_eq!(house.seen(id), ["CONNACK 0", "SUBACK 0x01"]);
    id
}

fn children_refused(house: &House) -> u64 {
    house.shards().iter().map(|shard| shard.counters().children_refused).sum()
}

#[test]
fn a_child_whose_name_is_too_long_is_refused_and_all_else_goes_on() {
    let long = "/".repeat(30_000);
    let said = [
        ("connect", format!("{{\"device\":\"{long}\"}}"), 0x80),
        ("connect", format!("{{\"device\":\"B\",\"type\":\"{long}\"}}"), 0x80),
        ("telemetry", format!("{{\"{long}\":[{{\"t\":1}}]}}"), 0x80),
        ("attributes", format!("{{\"{long}\":{{\"a\":1}}}}"), 0x80),
        ("claim", format!("{{\"{long}\":{{\"secretKey\":\"s\"}}}}"), 0x80),
        ("rpc", format!("{{\"device\":\"{long}\",\"id\":1,\"data\":{{}}}}"), 0x80),
        (
            "attributes/request",
            format!("{{\"id\":1,\"device\":\"{long}\",\"client\":true,\"key\":\"a\"}}"),
            0x83,
        ),
    ];
    for (version, cores) in [(Version::V311, 1), (Version::V5, 1), (Version::V5, 3)] {
        let mut house = House::with(cores, durable());
        let subscriber = lasting(&mut house, "thingsboard/#");
        let gateway = house.connect(0, 0, version, &client::connect(version, "", Some("TG"), None, None));
        house.seen(gateway);
        let before = house.shelf.with(|registry, _| (registry.len(), registry.profiles().count()));
        for (topic, payload, code) in &said {
            house.publish(gateway, &format!("v1/gateway/{topic}"), QoS::AtLeastOnce, payload.as_bytes());
            let told =
                if version == Version::V5 { format!("PUBACK 0x{code:02X}") } else { "PUBACK".to_owned() };
            assert_eq!(house.seen(gateway), [told], "{topic}");
        }
        assert_eq!(children_refused(&house), 7);
        assert_eq!(house.seen(subscriber), [""; 0]);
        let after = house.shelf.with(|registry, _| (registry.len(), registry.profiles().count()));
        assert_eq!(after, before, "nothing is made of it");
        house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, b"{\"A\":[{\"t\":1}]}");
        assert_eq!(house.seen(gateway).len(), 1);
        assert_eq!(house.seen(subscriber), ["PUBLISH q1 thingsboard/acme/A/telemetry [{\"t\":1}]"]);
    }
}

#[test]
fn a_topic_that_no_packet_can_carry_reaches_nobody_and_is_counted() {
    // Names that were written down before names had a length.
    let mut house = House::with(1, durable());
    let tenant = TenantId::from_bytes([8; 16]);
    house.shelf.with(|registry, changes| {
        registry.put_tenant(Tenant::named(tenant, &"/".repeat(30_000)), changes);
        let profile = Profile::named(ProfileId::from_bytes([8; 16]), tenant, "default");
        registry.put_profile(profile, changes).expect("the profile is free");
    });
    house.create_in(tenant, "O", "TO", device::Role::Ordinary);
    let subscriber = lasting(&mut house, "thingsboard/#");
    let (old, other) = (house.device("TO"), house.device("T"));
    house.publish(old, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    assert_eq!(house.seen(old), ["PUBACK 0x00"], "it is kept, and nobody can be told");
    assert_eq!(house.shards()[0].counters().dropped_refused, 1);
    house.publish(other, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":2}");
    assert_eq!(house.seen(subscriber), ["PUBLISH q1 thingsboard/acme/D/telemetry {\"t\":2}"]);
}

#[test]
fn a_gateway_makes_as_many_types_as_its_tenant_may_have() {
    let mut house = House::new(1);
    house.shelf.with(|registry, _| registry.limit_profiles(2));
    let gateway = house.device("TG");
    for (child, kind, told) in
        [("A", "one", "PUBACK 0x00"), ("B", "two", "PUBACK 0x97"), ("B", "one", "PUBACK 0x00")]
    {
        let payload = format!("{{\"device\":\"{child}\",\"type\":\"{kind}\"}}");
        house.publish(gateway, "v1/gateway/connect", QoS::AtLeastOnce, payload.as_bytes());
        assert_eq!(house.seen(gateway), [told], "{child} of type {kind}");
    }
    assert_eq!(children_refused(&house), 1);
}

#[test]
fn a_request_whose_answer_would_have_too_long_a_topic_is_refused() {
    let offer = device::Offer { packet_bytes_max: 1 << 20, ..device::Offer::default() };
    let mut house = House::with(1, Settings { offers: vec![offer.into()], ..durable() });
    house.shelf.with(|registry, changes| {
        let id = PackageId::from_bytes([9; 16]);
        let bytes = std::sync::Arc::from(&b"123456789"[..]);
        let package = Package {
            id,
            tenant: TENANT,
            profile: PROFILE,
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1.1".into(),
            tag: None,
            content: Content::upload(bytes, Algorithm::Crc32, None).expect("no checksum is asked for"),
            created_ms: 0,
            label: Label::default(),
        };
        registry.put_package(package.into(), changes);
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        let profile = Profile { firmware: Some(id), ..profile };
        registry.put_profile(profile, changes).expect("the same profile");
    });
    let device = house.device("T");
    let ask = |house: &mut House, digits: usize| {
        let topic = format!("v2/fw/request/{}/chunk/0", "1".repeat(digits));
        house.publish(device, &topic, QoS::AtLeastOnce, b"");
        house.seen(device)
    };
    assert_eq!(ask(&mut house, 65_513), ["PUBACK 0x99"]);
    assert_eq!(ask(&mut house, 1), ["PUBACK 0x00", "PUBLISH q1 v2/fw/response/1/chunk/0 123456789"]);
}
