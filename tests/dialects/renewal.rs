//! Devices and profiles that are changed while devices are connected.

use device::{
    Change, CommandId, CommandKind, Credential, Device, Dialect, HubCall, HubReply, Keeping, Order, Profile,
    Role, Sample, Scope, Value,
};
use dialect::ThingsBoard;
use dialects::client;
use dialects::house::{ClientId, House};
use mqtt::{QoS, Version};
use shard::Settings;
use stdx::Span;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";

/// Changes the profile of a device, as somebody does who saves it.
fn edit_profile(house: &House, name: &str, edit: impl FnOnce(&mut Profile)) {
    let id = house.id(name);
    house.shelf.with(|registry, changes| {
        let profile = registry.device(id).and_then(|device| registry.profile(device.profile));
        let mut profile = profile.expect("it has one").clone();
        edit(&mut profile);
        profile.terms = ThingsBoard.read_settings(&profile.settings).expect("the settings are valid");
        registry.put_profile(profile, changes).expect("the same profile");
    });
}

fn edit_device(house: &House, name: &str, edit: impl FnOnce(&mut Device)) {
    let id = house.id(name);
    house.shelf.with(|registry, changes| {
        let mut device = registry.device(id).expect("it is there").clone();
        edit(&mut device);
        registry.replace(device, changes).expect("the name is free");
    });
}

fn latest(house: &mut House, name: &str) -> String {
    let id = house.id(name);
    let HubReply::Facts(facts) = house.ask(id, HubCall::Latest { keys: None }) else { panic!("values") };
    facts.iter().map(|fact| format!("{}={}", fact.key, fact.value.to_json())).collect::<Vec<_>>().join(" ")
}

fn write(house: &mut House, name: &str, value: i64) {
    let samples = vec![Sample { key: "k".into(), value: Value::Long(value), at_ms: 1 }];
    house.ask(house.id(name), HubCall::WriteAttributes { scope: Scope::Shared, samples });
}

fn order(house: &mut House, name: &str, number: u8) -> HubReply {
    let order = Order {
        id: CommandId::from_bytes([number; 16]),
        method: "go".into(),
        params: "1".into(),
        kind: CommandKind::OneWay,
        is_persistent: false,
        expires_ms: house.now_ms() + 10_000,
        retries: None,
        additional: None,
    };
    house.ask(house.id(name), HubCall::Order(order))
}

fn listening(house: &mut House, token: &str, filter: &str) -> ClientId {
    let device = house.device(token);
    house.send(device, &client::subscribe(Version::V5, 1, filter, QoS::AtMostOnce));
    assert_eq!(house.seen(device), ["SUBACK 0x00"]);
    device
}

#[test]
fn a_profile_that_is_changed_counts_for_who_is_connected_and_ends_nobody() {
    let mut house = House::with(2, Settings { journal_is_on: true, ..Settings::default() });
    let device = listening(&mut house, "T", ATTRIBUTES);
    edit_profile(&house, "D", |profile| {
        profile.settings = "{\"deviceTelemetryTopic\":\"mine/t\",\"typeCastEnabled\":false}".into();
        profile.keeping = Keeping::Latest;
    });
    house.ask(house.id("D"), HubCall::Renew);
    house.publish(device, "mine/t", QoS::AtLeastOnce, b"{\"t\":\"5\"}");
    assert_eq!(house.seen(device), ["PUBACK 0x00"]);
    assert_eq!(latest(&mut house, "D"), "t=\"5\"", "by the filter and the flags as they are now");
    let kept = |house: &House| {
        let mut kept = house.synced().iter().filter_map(|change| match change {
            Change::Telemetry { keeping, .. } => Some(*keeping),
            _nothing_else => None,
        });
        kept.next_back()
    };
    assert_eq!(kept(&house), Some(Keeping::Latest));
    write(&mut house, "D", 7);
    assert_eq!(
        house.seen(device),
        ["PUBLISH q0 v1/devices/me/attributes {\"k\":7}"],
        "it is still subscribed"
    );
    edit_profile(&house, "D", |profile| profile.keeping = Keeping::Forward);
    house.ask(house.id("D"), HubCall::Renew);
    house.publish(device, "mine/t", QoS::AtLeastOnce, b"{\"t\":\"6\"}");
    assert_eq!(latest(&mut house, "D"), "t=\"5\"");
}

#[test]
fn a_device_that_is_renamed_goes_on_by_its_new_name() {
    let mut house = House::new(2);
    let subscriber = house.subscriber("s", "thingsboard/#");
    let device = house.device("T");
    let id = house.id("D");
    edit_device(&house, "D", |device| device.name = "E".into());
    house.ask(id, HubCall::Renew);
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    assert_eq!(house.seen(device), ["PUBACK 0x00"]);
    assert_eq!(house.seen(subscriber), ["PUBLISH q1 thingsboard/acme/E/telemetry {\"t\":1}"]);
}

#[test]
fn a_command_that_was_sent_is_acknowledged_after_its_device_was_changed() {
    let mut house = House::new(1);
    let device = house.device("T");
    house.send(device, &client::subscribe(Version::V5, 1, "v1/devices/me/rpc/request/+", QoS::AtLeastOnce));
    assert_eq!(order(&mut house, "D", 1), HubReply::Ordered(0));
    house.ask(house.id("D"), HubCall::Renew);
    house.news.clear();
    let owed = house.clients[device].owed.clone();
    owed.iter().for_each(|id| house.send(device, &client::puback(*id)));
    assert_eq!((owed.len(), house.news.len()), (1, 1), "{:?}", house.news);
}

#[test]
fn a_child_hears_pushes_and_commands_after_it_was_changed_in_any_way() {
    for cores in [1, 2, 4] {
        for call in [HubCall::Renew, HubCall::Evict] {
            let mut house = House::new(cores);
            let gateway = house.device("TG");
            for filter in ["v1/gateway/attributes", "v1/gateway/rpc"] {
                house.send(gateway, &client::subscribe(Version::V5, 1, filter, QoS::AtMostOnce));
            }
            for name in ["A", "B"] {
                let payload = format!("{{\"device\":\"{name}\"}}");
                house.publish(gateway, "v1/gateway/connect", QoS::AtLeastOnce, payload.as_bytes());
            }
            house.seen(gateway);
            let (id, other) = (house.id("A"), house.id("B"));
            edit_device(&house, "A", |device| device.name = "A2".into());
            for id in [id, other] {
                house.ask(id, call.clone());
            }
            write(&mut house, "A2", 7);
            assert_eq!(
                house.seen(gateway),
                ["PUBLISH q0 v1/gateway/attributes {\"device\":\"A2\",\"data\":{\"k\":7}}"],
                "{cores} cores, {call:?}"
            );
            assert_eq!(order(&mut house, "B", 1), HubReply::Ordered(0));
            let seen = house.seen(gateway);
            assert!(
                seen.len() == 1 && seen[0].starts_with("PUBLISH q0 v1/gateway/rpc {\"device\":\"B\""),
                "{seen:?}"
            );
            let HubReply::Presence(presence) = house.ask(other, HubCall::Presence) else {
                panic!("presence")
            };
            assert_eq!((presence.connections, presence.disconnected_ms), (1, 0), "it was never away");
            house.cut(gateway);
            let HubReply::Presence(presence) = house.ask(id, HubCall::Presence) else { panic!("presence") };
            assert_eq!(presence.connections, 0);
        }
    }
}

#[test]
fn a_child_that_is_kept_otherwise_is_so_at_once() {
    let mut house = House::new(4);
    let gateway = house.device("TG");
    let say = |house: &mut House, value: u8| {
        let payload = format!("{{\"A\":[{{\"t\":{value}}}]}}");
        house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, payload.as_bytes());
        latest(house, "A")
    };
    assert_eq!(say(&mut house, 1), "t=1");
    edit_profile(&house, "A", |profile| profile.keeping = Keeping::Forward);
    house.ask(house.id("A"), HubCall::Renew);
    assert_eq!(say(&mut house, 2), "t=1");
}

#[test]
fn another_credential_ends_a_connection() {
    let mut house = House::new(2);
    let device = house.device("T");
    edit_device(&house, "D", |device| device.credential = Credential::token("T2").expect("a token"));
    house.ask(house.id("D"), HubCall::Evict);
    assert_eq!(house.seen(device), ["DISCONNECT 0x98", "close"]);
    house.device("T2");
}

#[test]
fn a_device_that_never_acknowledges_a_command_is_sent_away_where_that_is_wanted_and_gets_it_again() {
    let mut terms = device::HubTerms::default();
    (terms.commands.closes, terms.commands.retries_max) = (true, 0);
    for cores in [1, 2] {
        let mut house = House::with(cores, Settings { hub: terms, ..Settings::default() });
        let subscribe = client::subscribe(Version::V5, 1, "v1/devices/me/rpc/request/+", QoS::AtLeastOnce);
        let device = house.device("T");
        house.send(device, &subscribe);
        house.ask(house.id("D"), HubCall::Order(go(&house)));
        let command = "PUBLISH q1 v1/devices/me/rpc/request/0 {\"method\":\"go\",\"params\":1}";
        assert_eq!(house.seen(device), ["SUBACK 0x01", command], "{cores} cores");
        house.wait(Span::from_s(9));
        assert!(house.seen(device).is_empty());
        house.wait(Span::from_s(2));
        assert_eq!(house.seen(device), ["DISCONNECT 0x98", "close"], "{cores} cores");
        let device = house.device("T");
        house.send(device, &subscribe);
        assert_eq!(house.seen(device), ["SUBACK 0x01", command], "{cores} cores");
    }
}

#[test]
fn a_command_that_a_child_never_acknowledged_waits_until_its_gateway_speaks_of_it_again() {
    let mut terms = device::HubTerms::default();
    (terms.commands.closes, terms.commands.retries_max) = (true, 0);
    for cores in [1, 2] {
        let mut house = House::with(cores, Settings { hub: terms, ..Settings::default() });
        let gateway = house.device("TG");
        let subscribe = client::subscribe(Version::V5, 1, "v1/gateway/rpc", QoS::AtLeastOnce);
        house.send(gateway, &subscribe);
        let connect = |house: &mut House| {
            house.publish(gateway, "v1/gateway/connect", QoS::AtMostOnce, b"{\"device\":\"A\"}");
        };
        connect(&mut house);
        house.ask(house.id("A"), HubCall::Order(go(&house)));
        let command =
            "PUBLISH q1 v1/gateway/rpc {\"device\":\"A\",\"data\":{\"id\":0,\"method\":\"go\",\"params\":1}}";
        assert_eq!(house.seen(gateway), ["SUBACK 0x01", command], "{cores} cores");
        house.wait(Span::from_s(11));
        assert!(house.seen(gateway).is_empty(), "the gateway stays");
        connect(&mut house);
        assert_eq!(house.seen(gateway), [command], "{cores} cores");
    }
}

fn go(house: &House) -> Order {
    Order {
        id: CommandId::from_bytes([1; 16]),
        method: "go".into(),
        params: "1".into(),
        kind: CommandKind::TwoWay,
        is_persistent: true,
        expires_ms: house.now_ms() + 600_000,
        retries: None,
        additional: None,
    }
}

#[test]
fn what_shows_that_children_are_alive_is_decided_anew() {
    let mut house = House::new(2);
    let gateway = house.device("TG");
    house.publish(gateway, "v1/gateway/connect", QoS::AtLeastOnce, b"{\"device\":\"A\"}");
    let heard_ms = |house: &mut House| {
        let HubReply::Presence(presence) = house.ask(house.id("A"), HubCall::Presence) else {
            panic!("presence")
        };
        presence.heard_ms
    };
    let before = heard_ms(&mut house);
    edit_device(&house, "G", |gateway| gateway.role = Role::GatewayForActivity);
    house.ask(house.id("G"), HubCall::Renew);
    house.wait(stdx::Span::from_ms(5_000));
    house.publish(gateway, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    assert_eq!(heard_ms(&mut house), before + 5_000);
}

#[test]
fn what_a_gateway_says_of_a_child_is_read_by_the_childs_profile_as_it_is_now() {
    for cores in [1, 2] {
        let mut house = House::new(cores);
        let gateway = house.device("TG");
        let say = |house: &mut House| {
            let payload = b"{\"A\":[{\"n\":\"05\"}]}";
            house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, payload);
            assert_eq!(house.seen(gateway), ["PUBACK 0x00"]);
            latest(house, "A")
        };
        house.publish(
            gateway,
            "v1/gateway/connect",
            QoS::AtMostOnce,
            b"{\"device\":\"A\",\"type\":\"thermo\"}",
        );
        assert_eq!(say(&mut house), "n=5", "a profile that was made for it has the defaults");
        edit_profile(&house, "A", |profile| profile.settings = "{\"typeCastExceptKeys\":[\"n\"]}".into());
        house.ask(house.id("A"), HubCall::Renew);
        assert_eq!(say(&mut house), "n=\"05\"", "{cores} cores");
        edit_profile(&house, "A", |profile| profile.settings = "{}".into());
        house.ask(house.id("A"), HubCall::Renew);
        assert_eq!(say(&mut house), "n=5", "{cores} cores");
    }
}
