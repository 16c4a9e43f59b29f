//! Devices that are deleted while something is on its way to them: nothing comes to life of one that is gone.

use std::sync::Arc;

use device::{
    Algorithm, Assignment, Change, CommandId, CommandKind, Content, Ear, HubCall, HubReply, Keeping, Order,
    Package, PackageId, PackageKind, Profile, Role, Sample, Scope, Uplink, Value,
};
use dialects::client;
use dialects::house::House;
use dialects::world::{PROFILE, TENANT};
use mqtt::{QoS, Version};
use shard::Settings;

const OUTSIDE: Ear = Ear(0xFFFF << 48 | 7);

fn durable() -> Settings {
    Settings { journal_is_on: true, ..Settings::default() }
}

fn samples() -> Vec<Sample<'static>> {
    vec![Sample { key: "k".into(), value: Value::Long(5), at_ms: 1 }]
}

/// All that can be said of a device, or asked of it, of which something would be known afterwards.
fn calls(house: &House, device: device::DeviceId) -> Vec<HubCall> {
    let order = Order {
        id: CommandId::from_bytes([1; 16]),
        method: "m".into(),
        params: "1".into(),
        kind: CommandKind::TwoWay,
        is_persistent: true,
        expires_ms: house.now_ms() + 3_600_000,
        retries: None,
        additional: None,
    };
    let assignment = Assignment { deleted: Vec::new(), shared: samples(), telemetry: samples() };
    let change = Change::Attribute {
        device,
        scope: Scope::Server,
        key: "k".into(),
        value: Some(Value::Long(1)),
        at_ms: 1,
    };
    let uplink = Uplink::Telemetry(samples());
    vec![
        HubCall::Open { ear: OUTSIDE, keeping: Keeping::History },
        HubCall::Hear { ear: OUTSIDE, uplink: uplink.clone() },
        HubCall::Say { keeping: Keeping::History, uplink, forward: None },
        HubCall::Keep { samples: samples(), keeping: Keeping::History, forward: None },
        HubCall::WriteAttributes { scope: Scope::Shared, samples: samples() },
        HubCall::Order(order),
        HubCall::Assign(assignment),
        HubCall::Restore(Box::new(change)),
    ]
}

#[test]
fn nothing_that_is_asked_of_a_device_brings_it_back_when_it_was_forgotten() {
    for cores in [1, 2] {
        let mut house = House::with(cores, durable());
        let id = house.id("D");
        let subscriber = house.subscriber("s", "#");
        house.delete(id);
        house.ask(id, HubCall::Forget);
        for call in calls(&house, id) {
            let expected = if call.brings_to_life() { HubReply::Gone } else { HubReply::Done };
            let shown = format!("{call:?}");
            assert_eq!(house.ask(id, call), expected, "{shown}");
            assert!(!house.is_known(id), "{shown}");
        }
        let is_about = |change: &&Change| !change.is_of_registry() && change.device() == Some(id);
        assert_eq!(house.synced().iter().filter(is_about).count(), 0, "{:?}", house.synced());
        assert!(house.seen(subscriber).is_empty());
        let presence = house.ask(id, HubCall::Presence);
        assert!(matches!(presence, HubReply::Presence(presence) if !presence.is_connected()));
    }
}

#[test]
fn what_is_said_without_a_connection_of_a_device_that_is_gone_reaches_no_subscriber() {
    let mut house = House::new(1);
    let id = house.id("D");
    let subscriber = house.subscriber("s", "thingsboard/#");
    let forward = device::Forward { topic: "thingsboard/acme/D/telemetry".into(), payload: b"{}"[..].into() };
    let say = || HubCall::Say {
        keeping: Keeping::History,
        uplink: Uplink::Telemetry(samples()),
        forward: Some(forward.clone()),
    };
    assert_eq!(house.ask(id, say()), HubReply::Done);
    assert_eq!(house.seen(subscriber).len(), 1);
    house.delete(id);
    house.ask(id, HubCall::Forget);
    assert_eq!(house.ask(id, say()), HubReply::Gone);
    assert!(house.seen(subscriber).is_empty());
}

/// A house whose devices' profile has firmware: what is written down of a new device goes to its home in a letter.
fn with_firmware(cores: u16) -> House {
    let house = House::with(cores, durable());
    house.shelf.with(|registry, changes| {
        let id = PackageId::from_bytes([9; 16]);
        let content = Content::upload(Arc::from(&b"123456789"[..]), Algorithm::Crc32, None);
        let package = Package {
            id,
            tenant: TENANT,
            profile: PROFILE,
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1.1".into(),
            tag: None,
            content: content.expect("no checksum is asked for"),
            label: device::Label::default(),
            created_ms: 0,
        };
        registry.put_package(package.into(), changes);
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        let profile = Profile { firmware: Some(id), ..profile };
        registry.put_profile(profile, changes).expect("the same profile");
    });
    house
}

#[test]
fn a_child_that_is_deleted_while_word_of_it_is_on_its_way_home_is_opened_nowhere() {
    for (is_new, version) in [(true, Version::V5), (false, Version::V5), (true, Version::V311)] {
        let mut house = with_firmware(2);
        let own = house.home_of(house.id("G"));
        let other = 1 - own;
        let gateway = house.connect(0, 0, version, &client::connect(version, "", Some("TG"), None, None));
        let telemetry = |name: &str, value: u8| {
            let payload = format!("{{\"{name}\":[{{\"t\":{value}}}]}}");
            client::publish(version, 9, "v1/gateway/telemetry", QoS::AtLeastOnce, payload.as_bytes())
        };
        // A child that is at home on the other core: by chance, if the gateway makes it.
        let mut number = 0;
        let (name, id) = loop {
            number += 1;
            let name = match is_new {
                true => format!("N{number}"),
                false => house.create_at(u16::try_from(other).unwrap(), "K", Role::Ordinary),
            };
            house.seen(gateway);
            house.clients[gateway].unread.extend_from_slice(&telemetry(&name, 1));
            house.turn_alone(own);
            let id = house.id(&name);
            if house.home_of(id) == other {
                break (name, id);
            }
            house.run();
        };
        house.delete(id);
        house.ask(id, HubCall::Forget);
        assert!(!house.is_known(id), "new {is_new}");
        let acknowledged = if version == Version::V5 { "PUBACK 0x00" } else { "PUBACK" };
        assert_eq!(house.seen(gateway), [acknowledged], "new {is_new}");
        // What it says next is about another device of that name.
        house.send(gateway, &telemetry(&name, 2));
        assert!(house.seen(gateway).contains(&acknowledged.to_owned()));
        let again = house.id(&name);
        assert_ne!(again, id, "new {is_new}");
        let keys = || Some(vec!["t".into()]);
        let HubReply::Facts(facts) = house.ask(again, HubCall::Latest { keys: keys() }) else {
            panic!("values")
        };
        assert_eq!(facts[0].value, Value::Long(2));
        let is_about = |change: &&Change| !change.is_of_registry() && change.device() == Some(id);
        let written: Vec<&Change> = house.synced().iter().filter(is_about).collect();
        assert!(written.is_empty(), "new {is_new}: {written:?}");
    }
}
