//! Switches that change how a connection behaves, and not what a message means.

use device::{Dialect, HubCall, HubReply, Profile, Scope};
use dialect::ThingsBoard;
use dialects::client;
use dialects::house::House;
use dialects::world::PROFILE;
use mqtt::{QoS, Version};
use stdx::Span;

/// A profile whose payloads are Protobuf, and its switches.
const PROTO: &str = r#"{"transportPayloadTypeConfiguration":{"transportPayloadType":"PROTOBUF",
"deviceTelemetryProtoSchema":"syntax = \"proto3\"; message V { optional int64 n = 1; } message T { optional int64 ts = 1; V values = 2; }",
"deviceAttributesProtoSchema":"syntax = \"proto3\"; message A { optional string fw = 1; }"},"quirks":"#;

/// A house whose devices' profile has these switches.
fn house(quirks: &str) -> House {
    house_with(&format!("{{\"quirks\":{quirks}}}"))
}

/// A house whose devices' profile has these settings.
fn house_with(settings: &str) -> House {
    let house = House::new(2);
    house.shelf.with(|registry, changes| {
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        let terms = ThingsBoard.read_settings(settings).expect("the settings are valid");
        let profile = Profile { settings: settings.into(), terms, ..profile };
        registry.put_profile(profile, changes).expect("the same profile");
    });
    house
}

/// CONNECT that asks for no clean session.
fn lasting(version: Version) -> Vec<u8> {
    let mut connect = client::connect(version, "c", Some("T"), None, None);
    connect[9] &= !0x02;
    connect
}

#[test]
fn a_message_of_qos_2_is_answered_as_the_switch_says() {
    for (quirks, v311, v5) in
        [("{}", "PUBREC", "PUBREC 0x00"), ("{\"qos2Puback\":true}", "PUBACK", "PUBACK 0x00")]
    {
        for (version, told) in [(Version::V311, v311), (Version::V5, v5)] {
            let mut house = house(quirks);
            let connect = client::connect(version, "", Some("T"), None, None);
            let device = house.connect(0, 0, version, &connect);
            house.seen(device);
            house.publish(device, "v2/t", QoS::ExactlyOnce, b"{\"a\":1}");
            assert_eq!(house.seen(device), [told], "{quirks}");
        }
    }
}

#[test]
fn a_session_that_is_not_there_is_told_of_only_if_the_switch_says_so() {
    for (quirks, flag) in [("{}", 0), ("{\"echoesSession\":true}", 1)] {
        for version in [Version::V311, Version::V5] {
            let mut house = house(quirks);
            let device = house.connect(0, 0, version, &lasting(version));
            assert_eq!(house.clients[device].session_present, Some(flag == 1), "{quirks}");
            let clean = client::connect(version, "c", Some("T"), None, None);
            let device = house.connect(0, 0, version, &clean);
            assert_eq!(house.clients[device].session_present, Some(false), "it asked for a clean one");
        }
    }
}

#[test]
fn a_disconnect_is_answered_only_if_the_switch_says_so_and_in_5_0() {
    let rows = [
        ("{}", Version::V5, &["close"][..]),
        ("{\"echoesDisconnect\":true}", Version::V5, &["DISCONNECT 0x00", "close"]),
        ("{\"echoesDisconnect\":true}", Version::V311, &["close"]),
    ];
    for (quirks, version, expected) in rows {
        let mut house = house(quirks);
        let device = house.connect(0, 0, version, &client::connect(version, "", Some("T"), None, None));
        house.seen(device);
        house.send(device, &client::disconnect());
        assert_eq!(house.seen(device), expected, "{quirks}");
    }
}

/// The attributes of a scope, as `key=value` words.
fn attributes(house: &mut House, device: &str, scope: Scope) -> String {
    let call = HubCall::Attributes { scope, keys: None };
    let HubReply::Facts(facts) = house.ask(house.id(device), call) else { panic!("values") };
    facts.iter().map(|fact| format!("{}={}", fact.key, fact.value.to_json())).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_a_gateway_calls_shared_is_the_childs_own_unless_the_switch_says_otherwise() {
    // Of A: k = 5, which is shared.
    let payload = b"\x0a\x10\x0a\x01A\x12\x0b\x0a\x07\x0a\x01k\x10\x01\x20\x05\x10\x01";
    for (quirks, client, shared) in [("{}", "k=5", ""), ("{\"sharedFromGateways\":true}", "", "k=5")] {
        for (version, acknowledged) in [(Version::V311, "PUBACK"), (Version::V5, "PUBACK 0x00")] {
            let mut house = house_with(&format!("{PROTO}{quirks}}}"));
            let connect = client::connect(version, "", Some("TG"), None, None);
            let gateway = house.connect(0, 0, version, &connect);
            house.seen(gateway);
            house.publish(gateway, "v1/gateway/attributes", QoS::AtLeastOnce, payload);
            assert_eq!(house.seen(gateway), [acknowledged], "nobody is told what it has said itself");
            assert_eq!(attributes(&mut house, "A", Scope::Client), client, "{quirks}");
            assert_eq!(attributes(&mut house, "A", Scope::Shared), shared, "{quirks}");
        }
    }
}

#[test]
fn values_in_protobuf_without_a_time_are_of_now_unless_the_switch_says_otherwise() {
    for (quirks, latest) in [("{}", "n=7"), ("{\"untimedValuesWhole\":true}", "values={\"n\":\"7\"}")] {
        let mut house = house_with(&format!("{PROTO}{quirks}}}"));
        let device = house.device("T");
        house.publish(device, "v2/t", QoS::AtLeastOnce, b"\x12\x02\x08\x07");
        assert_eq!(house.seen(device), ["PUBACK 0x00"]);
        let HubReply::Facts(facts) = house.ask(house.id("D"), HubCall::Latest { keys: None }) else {
            panic!("values")
        };
        let seen: Vec<_> =
            facts.iter().map(|fact| format!("{}={}", fact.key, fact.value.to_json())).collect();
        assert_eq!(seen, [latest], "{quirks}");
        house.publish(device, "v2/t", QoS::AtLeastOnce, b"\x08\x05\x12\x02\x08\x08");
        let HubReply::Facts(facts) = house.ask(house.id("D"), HubCall::Latest { keys: None }) else {
            panic!("values")
        };
        assert!(facts.iter().any(|fact| fact.key == "n") && facts.len() <= 2, "with a time they are values");
    }
}

#[test]
fn calls_that_nobody_answers_do_not_gather_without_end_and_end_with_their_connection() {
    let mut house = house("{\"unknownCallsTimeOut\":true}");
    let call = |house: &mut House, device, number: u32| {
        let topic = format!("v1/devices/me/rpc/request/{number}");
        house.publish(device, &topic, QoS::AtMostOnce, b"{\"method\":\"x\"}");
    };
    let listening = |house: &mut House| {
        let device = house.device("T");
        let filter = "v1/devices/me/rpc/response/+";
        house.send(device, &client::subscribe(Version::V5, 1, filter, QoS::AtMostOnce));
        house.seen(device);
        device
    };
    let device = listening(&mut house);
    (0..100).for_each(|number| call(&mut house, device, number));
    assert_eq!(house.seen(device), [""; 0]);
    call(&mut house, device, 100);
    let refused = "PUBLISH q0 v1/devices/me/rpc/response/100 {\"error\":\"too many calls wait\"}";
    assert_eq!(house.seen(device), [refused]);
    let counted: u64 = house.shards().iter().map(|shard| shard.counters().calls_refused).sum();
    assert_eq!(counted, 1);
    house.wait(Span::from_ms(61_000));
    let told = house.seen(device);
    assert_eq!(told.len(), 100);
    assert_eq!(told[99], "PUBLISH q0 v1/devices/me/rpc/response/99 {\"error\":\"timeout\"}");
    call(&mut house, device, 1);
    house.wait(Span::from_ms(30_000));
    house.cut(device);
    let device = listening(&mut house);
    house.wait(Span::from_ms(61_000));
    assert_eq!(house.seen(device), [""; 0], "it has not called on this connection");
}
