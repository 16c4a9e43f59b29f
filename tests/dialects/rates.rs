//! What devices may say, over connections and cores, and what becomes of that which is too much.

use std::sync::Arc;

use device::{
    CommandId, CommandKind, Dialect, HubCall, HubReply, HubTerms, Keeping, Offer, Order, Profile, Rate,
    Refusal, Role, Sample, Uplink, Value,
};
use dialect::ThingsBoard;
use dialects::client;
use dialects::house::{ClientId, House};
use dialects::world::PROFILE;
use mqtt::{QoS, Version};
use shard::Settings;
use stdx::Span;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const BOTH: [Version; 2] = [Version::V311, Version::V5];

fn rate(text: &str) -> Rate {
    Rate::read(text).expect("a rate")
}

fn house(cores: u16, limit: impl FnOnce(&mut Offer)) -> House {
    let mut offer = Offer::default();
    limit(&mut offer);
    House::with(cores, Settings { offers: vec![Arc::new(offer)], ..Settings::default() })
}

fn connect(house: &mut House, version: Version, token: &str, keep_alive_s: u16) -> ClientId {
    let mut connect = client::connect(version, "", Some(token), None, None);
    connect[10..12].copy_from_slice(&keep_alive_s.to_be_bytes());
    house.connect(0, 0, version, &connect)
}

fn let_in(house: &mut House, version: Version, token: &str) -> ClientId {
    let id = connect(house, version, token, 0);
    assert!(house.seen(id)[0].ends_with('0'), "it is let in");
    id
}

fn say(house: &mut House, id: ClientId, topic: &str, payload: &str) -> Vec<String> {
    house.publish(id, topic, QoS::AtLeastOnce, payload.as_bytes());
    house.seen(id)
}

fn sum(house: &House, counter: fn(&broker::Counters) -> u64) -> u64 {
    house.shards().iter().map(|shard| counter(shard.counters())).sum()
}

/// Puts settings into the devices' profile, and lets connections know.
fn put_settings(house: &mut House, settings: &str) {
    house.shelf.with(|registry, changes| {
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        let terms = ThingsBoard.read_settings(settings).expect("the settings are valid");
        registry
            .put_profile(Profile { settings: settings.into(), terms, ..profile }, changes)
            .expect("the same profile");
    });
    for name in ["D", "G"] {
        house.ask(house.id(name), HubCall::Renew);
    }
}

#[test]
fn a_device_that_comes_back_finds_what_it_has_left_of_its_rate() {
    for (cores, cuts) in [(1, true), (2, false), (4, true)] {
        for version in BOTH {
            let mut house = house(cores, |offer| offer.own.telemetry_messages = rate("2:60"));
            let first = let_in(&mut house, version, "T");
            assert_eq!(say(&mut house, first, TELEMETRY, "{\"t\":1}").len(), 1);
            if cuts {
                house.cut(first);
            }
            let second = let_in(&mut house, version, "T");
            assert_eq!(say(&mut house, second, TELEMETRY, "{\"t\":2}").len(), 1);
            let third = let_in(&mut house, version, "T");
            if version == Version::V5 {
                assert_eq!(say(&mut house, third, TELEMETRY, "{}{"), ["PUBACK 0x99"], "that takes nothing");
            }
            let too_much = say(&mut house, third, TELEMETRY, "{\"t\":3}");
            let told: &[&str] = if version == Version::V5 { &["PUBACK 0x97"] } else { &[] };
            assert_eq!(too_much, told, "{cores} cores");
            house.cut(third);
            house.wait(Span::from_ms(30_000));
            let fourth = let_in(&mut house, version, "T");
            assert_eq!(say(&mut house, fourth, TELEMETRY, "{\"t\":4}").len(), 1, "one is there again");
        }
    }
}

#[test]
fn two_connections_of_a_device_have_one_rate_and_another_device_its_own() {
    let mut offer = Offer::default();
    offer.own.telemetry_messages = rate("2:60");
    let hub = HubTerms { sessions_max: 2, ..HubTerms::default() };
    let mut house = House::with(2, Settings { offers: vec![Arc::new(offer)], hub, ..Settings::default() });
    house.create("E", "TE", Role::Ordinary);
    let [one, other, stranger] = ["T", "T", "TE"].map(|token| let_in(&mut house, Version::V5, token));
    assert_eq!(say(&mut house, one, TELEMETRY, "{\"t\":1}"), ["PUBACK 0x00"]);
    assert_eq!(say(&mut house, other, TELEMETRY, "{\"t\":1}"), ["PUBACK 0x00"]);
    for id in [one, other] {
        assert_eq!(say(&mut house, id, TELEMETRY, "{\"t\":1}"), ["PUBACK 0x97"]);
    }
    assert_eq!(say(&mut house, stranger, TELEMETRY, "{\"t\":1}"), ["PUBACK 0x00"]);
}

#[test]
fn a_gateway_that_comes_back_finds_what_its_children_have_left_and_each_that_it_meets_costs_two() {
    for version in BOTH {
        let mut house = house(2, |offer| offer.children.messages = rate("5:60"));
        let telemetry = "v1/gateway/telemetry";
        let gateway = let_in(&mut house, version, "TG");
        assert_eq!(say(&mut house, gateway, telemetry, "{\"A\":[{\"t\":1}]}").len(), 1);
        assert_eq!(say(&mut house, gateway, telemetry, "{\"A\":[{\"t\":2}]}").len(), 1, "it is known");
        house.cut(gateway);
        let gateway = let_in(&mut house, version, "TG");
        let connect = |name: &str| format!("{{\"device\":\"{name}\"}}");
        assert_eq!(say(&mut house, gateway, "v1/gateway/connect", &connect("B")).len(), 1, "two more");
        let seen = say(&mut house, gateway, telemetry, "{\"A\":[{\"t\":3}]}");
        match version {
            Version::V5 => {
                let told = "PUBLISH q1 v1/gateway/disconnect {\"device\":\"A\",\"reason\":150}";
                assert_eq!(seen, ["PUBACK 0x97", told]);
                assert_eq!(house.clients[gateway].reasons, ["rate limit: child messages 5:60"]);
            }
            Version::V31 | Version::V311 => {
                assert!(seen.is_empty() && house.clients[gateway].is_paused);
            }
        }
    }
}

#[test]
fn a_device_that_is_left_unread_has_its_ping_answered_within_half_its_keep_alive_and_stays() {
    let mut house = house(1, |offer| offer.own.telemetry_messages = rate("1:60"));
    let device = connect(&mut house, Version::V311, "T", 20);
    let publish = |id: u16| {
        let payload = format!("{{\"t\":{id}}}");
        client::publish(Version::V311, id, TELEMETRY, QoS::AtLeastOnce, payload.as_bytes())
    };
    let mut all = vec![0xc0, 0];
    (1..=50).for_each(|id| all.extend(publish(id)));
    all.extend([0xc0, 0]);
    house.send(device, &all);
    assert_eq!(house.seen(device), ["CONNACK 0", "PINGRESP", "PUBACK"]);
    house.wait(Span::from_ms(9_900));
    assert!(house.seen(device).is_empty() && house.clients[device].is_paused, "it is left unread");
    assert!(house.notices.is_empty());
    house.wait(Span::from_ms(200));
    assert_eq!(house.seen(device), ["PINGRESP"], "what was too much is not acknowledged");
    assert_eq!(sum(&house, |counters| counters.dropped_over_rate), 49);
    let told = "device \"D\" was left unread for as long as it may be; what it says too much is dropped: \
        rate limit: device telemetry 1:60";
    assert_eq!(house.notices, [told], "once for all of them");
    for second in 0..10 {
        house.wait(Span::from_ms(1_000));
        house.send(device, &[publish(100 + second), vec![0xc0, 0]].concat());
    }
    assert_eq!(house.seen(device).len(), 4, "until half of it has grown again; then it is left unread again");
    assert_eq!(house.notices.len(), 1, "and nothing is told again");
    for _ in 0..6 {
        house.wait(Span::from_ms(10_000));
        house.send(device, &[0xc0, 0]);
    }
    house.send(device, &publish(9));
    assert_eq!(house.seen(device).last().map(String::as_str), Some("PUBACK"), "it may speak again");
    let HubReply::Facts(facts) = house.ask(house.id("D"), HubCall::Latest { keys: None }) else {
        panic!("values")
    };
    assert_eq!(facts[0].value, Value::Long(9));
}

#[test]
fn a_session_and_a_subscription_that_are_too_much_are_refused_and_counted() {
    for version in BOTH {
        let is_v5 = version == Version::V5;
        let mut house = house(2, |offer| offer.own.messages = rate("2:60"));
        let device = let_in(&mut house, version, "T");
        let subscribe = |id, filter| client::subscribe(version, id, filter, QoS::AtLeastOnce);
        house.send(device, &subscribe(1, "v1/devices/me/attributes"));
        assert_eq!(house.seen(device), ["SUBACK 0x01"]);
        let refused = connect(&mut house, version, "T", 0);
        let connack = if is_v5 { "CONNACK 0x9F" } else { "CONNACK 3" };
        assert_eq!(house.seen(refused), [connack, "close"]);
        assert_eq!(house.notices, ["device \"D\" refused: connection rate exceeded"]);
        assert_eq!(sum(&house, |counters| counters.connects_over_rate), 1);
        assert!(house.seen(device).is_empty(), "the one that is there stays");
        house.send(device, &subscribe(2, "v1/devices/me/rpc/request/+"));
        if is_v5 {
            assert_eq!(house.seen(device), ["SUBACK 0x97"]);
            assert_eq!(sum(&house, |counters| counters.subscriptions_refused), 1);
        } else {
            assert!(house.seen(device).is_empty());
            house.wait(Span::from_ms(30_100));
            assert_eq!(house.seen(device), ["SUBACK 0x01"], "it is granted when it may be");
        }
        // What only says a quality is free, and nobody is told to stay.
        house.send(device, &subscribe(3, "v1/devices/me/attributes/response/+"));
        house.send(device, &client::unsubscribe(version, 4, "v1/devices/me/attributes"));
        let unsuback = if is_v5 { "UNSUBACK 0x00" } else { "UNSUBACK" };
        assert_eq!(house.seen(device), ["SUBACK 0x01", unsuback]);
    }
    let mut house = house(1, |offer| offer.own.messages = rate("1:3600"));
    let device = connect(&mut house, Version::V311, "T", 10);
    let subscribe = client::subscribe(Version::V311, 1, "v1/devices/me/attributes", QoS::AtLeastOnce);
    house.send(device, &subscribe);
    house.wait(Span::from_ms(5_100));
    assert_eq!(house.seen(device), ["CONNACK 0", "SUBACK 0x80"], "it has waited for as long as may be");
}

#[test]
fn leaving_and_word_of_a_command_cost_a_message_each() {
    let mut house = house(1, |offer| offer.own.messages = rate("5:60"));
    let device = let_in(&mut house, Version::V5, "T");
    house.send(device, &client::subscribe(Version::V5, 1, "v1/devices/me/rpc/request/+", QoS::AtLeastOnce));
    let order = Order {
        id: CommandId::from_bytes([1; 16]),
        method: "go".into(),
        params: "1".into(),
        kind: CommandKind::OneWay,
        is_persistent: true,
        expires_ms: house.now_ms() + 3_600_000,
        retries: None,
        additional: None,
    };
    house.ask(house.id("D"), HubCall::Order(order));
    let owed = house.clients[device].owed.clone();
    owed.iter().for_each(|id| house.send(device, &client::puback(*id)));
    house.cut(device);
    let device = connect(&mut house, Version::V5, "T", 0);
    assert_eq!(house.seen(device), ["CONNACK 0x9F", "close"], "come, listen, sent, delivered, gone");
}

#[test]
fn what_is_said_over_http_takes_from_the_same_rate() {
    let mut house = house(2, |offer| offer.own.telemetry_messages = rate("2:60"));
    let subscriber = house.subscriber("s", "thingsboard/#");
    let id = house.id("D");
    let say = |house: &mut House| {
        let sample = Sample { key: "t".into(), value: Value::Long(1), at_ms: 1 };
        let forward =
            device::Forward { topic: "thingsboard/acme/D/telemetry".into(), payload: b"{}"[..].into() };
        let uplink = Uplink::Telemetry(vec![sample]);
        house.ask(id, HubCall::Say { keeping: Keeping::History, uplink, forward: Some(forward) })
    };
    assert_eq!(say(&mut house), HubReply::Done);
    let device = let_in(&mut house, Version::V5, "T");
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    assert_eq!(house.seen(device), ["PUBACK 0x00"]);
    assert_eq!(say(&mut house), HubReply::Refused(Refusal::TooOften));
    assert_eq!(house.seen(subscriber).len(), 2, "what is refused reaches nobody");
    house.wait(Span::from_ms(30_000));
    assert_eq!(say(&mut house), HubReply::Done);
}

#[test]
fn what_a_device_may_not_say_it_may_not_say_with_its_last_breath() {
    let mut house = house(1, |offer| offer.own.telemetry_messages = rate("1:60"));
    let will = client::Will { topic: TELEMETRY, payload: b"{\"gone\":true}" };
    let connect = client::connect(Version::V5, "", Some("T"), None, Some(will));
    let device = house.connect(0, 0, Version::V5, &connect);
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    house.cut(device);
    let HubReply::Facts(facts) = house.ask(house.id("D"), HubCall::Latest { keys: None }) else {
        panic!("values")
    };
    assert_eq!(facts.len(), 1);
}

#[test]
fn a_gateway_that_keeps_to_its_own_children_speaks_for_no_others() {
    for (cores, version) in [(1, Version::V311), (2, Version::V5), (4, Version::V5)] {
        let is_v5 = version == Version::V5;
        let mut house = house(cores, |_| {});
        let subscriber = house.subscriber("s", "thingsboard/#");
        let (device, gateway) = (let_in(&mut house, version, "T"), let_in(&mut house, version, "TG"));
        put_settings(&mut house, "{\"ownChildrenOnly\":true}");
        let telemetry = "v1/gateway/telemetry";
        let seen =
            say(&mut house, gateway, telemetry, "{\"A\":[{\"t\":1}],\"D\":[{\"t\":1}],\"G\":[{\"t\":2}]}");
        assert_eq!(seen, [if is_v5 { "PUBACK 0x87" } else { "PUBACK" }], "{cores} cores");
        let why = "\"D\" was not created for this gateway";
        assert_eq!(house.notices, [format!("device \"G\" may not speak for it: {why}")]);
        if is_v5 {
            assert_eq!(house.clients[gateway].reasons, [why]);
        }
        assert_eq!(sum(&house, |counters| counters.children_refused), 1);
        let topic =
            |name: &str, value| format!("PUBLISH q1 thingsboard/acme/{name}/telemetry [{{\"t\":{value}}}]");
        assert_eq!(house.seen(subscriber), [topic("A", 1), topic("G", 2)], "its own, and itself");
        assert!(house.seen(device).is_empty(), "its connection is left alone");
        for (topic, payload) in [
            ("v1/gateway/connect", "{\"device\":\"D\"}"),
            ("v1/gateway/attributes/request", "{\"id\":1,\"device\":\"D\",\"client\":true,\"key\":\"k\"}"),
            ("v1/gateway/claim", "{\"D\":{\"secretKey\":\"s\"}}"),
            ("v1/gateway/attributes", "{\"D\":{\"a\":1}}"),
        ] {
            assert_eq!(say(&mut house, gateway, topic, payload), seen, "{topic}");
        }
        assert!(house.seen(device).is_empty() && house.seen(subscriber).is_empty());
    }
}

#[test]
fn a_gateway_that_is_told_to_keep_to_its_own_children_listens_for_others_no_longer() {
    for cores in [1, 2, 4] {
        let mut house = house(cores, |_| {});
        let gateway = let_in(&mut house, Version::V5, "TG");
        for name in ["A", "D"] {
            let payload = format!("{{\"device\":\"{name}\"}}");
            assert_eq!(say(&mut house, gateway, "v1/gateway/connect", &payload), ["PUBACK 0x00"]);
        }
        put_settings(&mut house, "{\"ownChildrenOnly\":true}");
        for name in ["A", "D"] {
            let samples = vec![Sample { key: "k".into(), value: Value::Long(5), at_ms: 1 }];
            house.ask(house.id(name), HubCall::WriteAttributes { scope: device::Scope::Shared, samples });
        }
        let told = "PUBLISH q1 v1/gateway/attributes {\"device\":\"A\",\"data\":{\"k\":5}}";
        assert_eq!(house.seen(gateway), [told], "{cores} cores");
        let HubReply::Presence(presence) = house.ask(house.id("D"), HubCall::Presence) else {
            panic!("presence")
        };
        assert_eq!(presence.connections, 0);
    }
}

#[test]
fn lines_of_the_log_name_devices_and_both_peers_of_a_takeover() {
    for cores in [1, 2] {
        let limits = broker::Limits { takeovers_per_minute_max: 1, ..broker::Limits::default() };
        let mut house = House::with(cores, Settings { limits, ..Settings::default() });
        let first = house.device("T");
        let second = house.device("T");
        let _third = connect(&mut house, Version::V5, "T", 0);
        let port = |id: ClientId| 1_000 + id;
        let taken = format!(
            "device \"D\" at 127.0.0.1:{} is taken over by a connection from 127.0.0.1:{}",
            port(first),
            port(second)
        );
        assert_eq!(
            std::mem::take(&mut house.notices),
            [
                taken.as_str(),
                "two clients or more fight for device \"D\"",
                "device \"D\" refused: connection rate exceeded"
            ]
        );
        let id = house.id("D");
        house.shelf.with(|registry, changes| {
            let renamed = device::Device { name: "N".into(), ..registry.device(id).unwrap().clone() };
            registry.replace(renamed, changes).unwrap();
        });
        house.ask(id, HubCall::Renew);
        house.send(second, &[0xf1, 0]);
        let line = house.notices.pop().unwrap();
        assert!(line.starts_with(&format!("device \"N\" at 127.0.0.1:{} ", port(second))), "{line}");
        let silent = connect(&mut house, Version::V311, "TG", 10);
        house.wait(Span::from_ms(15_100));
        let line = house.notices.pop().unwrap();
        assert!(line.starts_with(&format!("device \"G\" at 127.0.0.1:{} ", port(silent))), "{line}");
        let idle = connect(&mut house, Version::V5, "TG", 0);
        house.wait(Span::from_ms(600_100));
        let line = house.notices.pop().unwrap();
        let text = format!("device \"G\" at 127.0.0.1:{} was silent for too long", port(idle));
        assert_eq!(line, text);
        assert!(house.notices.iter().all(|line| !line.contains('\0') && !line.contains("\\0")));
    }
}

#[test]
fn a_gateway_that_takes_a_child_is_named_to_humans_and_so_is_a_plain_client() {
    for cores in [1, 2, 4] {
        let mut house = House::with(cores, Settings::default());
        let (device, gateway) = (house.device("T"), house.device("TG"));
        house.publish(gateway, "v1/gateway/connect", QoS::AtLeastOnce, b"{\"device\":\"D\"}");
        let line = house.notices.pop().unwrap();
        let place = format!("the connection of device \"D\" at 127.0.0.1:{}", 1_000 + device);
        assert!(line.starts_with(&format!("device \"D\" is taken over from {place} by ")), "{line}");
        assert!(line.contains("\"G\""), "{line}");
        let device = house.device("T");
        let line = house.notices.pop().unwrap();
        let place = format!("the connection of device \"G\" at 127.0.0.1:{}", 1_000 + gateway);
        assert!(line.starts_with(&format!("device \"D\" is taken over from {place} by ")), "{line}");
        assert!(!house.seen(device).iter().any(|line| line == "close"));
        let plain = client::connect(Version::V5, "p", None, None, None);
        let [one, other] = [0; 2].map(|_| house.connect(0, 1, Version::V5, &plain));
        let (one, other) = (1_000 + one, 1_000 + other);
        let line =
            format!("client \"p\" at 127.0.0.1:{one} is taken over by a connection from 127.0.0.1:{other}");
        assert_eq!(house.notices, [line]);
    }
}
