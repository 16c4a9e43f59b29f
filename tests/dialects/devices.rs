//! Devices between connections, cores and disk: what shards do with what a dialect says.

use device::{
    CommandId, CommandKind, CommandState, HubCall, HubReply, Keeping, News, Order, Profile, ProvisionKey,
    Provisioning, Role, Sample, Scope, Value,
};
use dialects::client::{self, Will};
use dialects::house::House;
use dialects::world::{PROFILE, TENANT};
use mqtt::{QoS, Version};
use shard::Settings;
use stdx::Span;

const TELEMETRY: &str = "v1/devices/me/telemetry";

fn durable() -> Settings {
    Settings { journal_is_on: true, ..Settings::default() }
}

/// The latest telemetry of a device, as `key=value` words.
fn latest(house: &mut House, name: &str) -> String {
    let Some(id) = house.find(name) else { return "unknown".to_owned() };
    let HubReply::Facts(facts) = house.ask(id, HubCall::Latest { keys: None }) else { panic!("values") };
    facts.iter().map(|fact| format!("{}={}", fact.key, fact.value.to_json())).collect::<Vec<_>>().join(" ")
}

fn order(house: &House, number: u8, method: &str, kind: CommandKind) -> Order {
    Order {
        id: CommandId::from_bytes([number; 16]),
        method: method.into(),
        params: "1".into(),
        kind,
        is_persistent: true,
        expires_ms: house.now_ms() + 3_600_000,
        retries: None,
        additional: None,
    }
}

fn states(house: &mut House) -> Vec<CommandState> {
    let news = std::mem::take(&mut house.news);
    let reports = news.into_iter().filter_map(|news| match news {
        News::Report(report) => Some(report.state),
        _other_news => None,
    });
    reports.collect()
}

#[test]
fn a_device_says_and_asks_and_is_answered() {
    let mut house = House::new(1);
    let device = house.device("T");
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":21.5}");
    assert_eq!(house.seen(device), ["PUBACK 0x00"]);
    assert_eq!(latest(&mut house, "D"), "t=21.5");
    house.publish(device, "v1/devices/me/attributes", QoS::AtMostOnce, b"{\"fw\":\"v1\"}");
    house.send(
        device,
        &client::subscribe(Version::V5, 3, "v1/devices/me/attributes/response/+", QoS::AtMostOnce),
    );
    house.publish(device, "v1/devices/me/attributes/request/5", QoS::AtMostOnce, b"{}");
    let answer = "PUBLISH q0 v1/devices/me/attributes/response/5 {\"client\":{\"fw\":\"v1\"}}";
    assert_eq!(house.seen(device), ["SUBACK 0x00", answer]);
    house.send(device, &client::unsubscribe(Version::V5, 4, "v1/devices/me/attributes/response/+"));
    house.send(device, &client::unsubscribe(Version::V5, 5, "v1/devices/me/attributes/response/+"));
    assert_eq!(house.seen(device), ["UNSUBACK 0x00", "UNSUBACK 0x11"]);
}

#[test]
fn a_device_that_is_sent_away_is_told_why_in_words() {
    let mut house = House::new(1);
    let (device, gateway) = (house.device("T"), house.device("TG"));
    house.publish(device, TELEMETRY, QoS::AtMostOnce, b"nonsense");
    assert_eq!(house.seen(device), ["DISCONNECT 0x99", "close"]);
    assert_eq!(house.clients[device].reasons, ["an object is expected at byte 0"]);
    house.publish(gateway, "v1/gateway/telemetry", QoS::AtMostOnce, b"[1]");
    assert_eq!(house.seen(gateway), ["DISCONNECT 0x83", "close"]);
    assert_eq!(house.clients[gateway].reasons, ["an object is expected at byte 0"]);
}

#[test]
fn telemetry_is_acknowledged_when_it_is_on_disk_and_not_before() {
    let mut house = House::with(1, durable());
    let device = house.device("T");
    house.slow_down_disk();
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    assert!(house.seen(device).is_empty());
    house.publish(device, TELEMETRY, QoS::ExactlyOnce, b"{\"t\":2}");
    house.sync();
    assert_eq!(house.seen(device), ["PUBACK 0x00", "PUBREC 0x00"]);
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":3}");
    let mut house = house.restart(2);
    assert_eq!(latest(&mut house, "D"), "t=2", "what was not acknowledged is lost");
}

#[test]
fn a_gateway_is_answered_when_the_homes_of_its_children_have_kept_what_it_said() {
    let mut house = House::with(4, durable());
    let gateway = house.device("TG");
    house.slow_down_disk();
    let payload =
        b"{\"A\":[{\"t\":1}],\"B\":[{\"t\":2}],\"C\":[{\"t\":3}],\"E\":[{\"t\":4}],\"F\":[{\"t\":5}]}";
    house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, payload);
    assert!(house.seen(gateway).is_empty(), "nothing is on any disk");
    let homes: std::collections::BTreeSet<usize> =
        ["A", "B", "C", "E", "F"].iter().map(|name| house.home_of(house.id(name))).collect();
    assert!(homes.len() > 1, "the children live on several cores");
    house.sync();
    assert_eq!(house.seen(gateway), ["PUBACK 0x00"]);
    house.slow_down_disk();
    let mut house = house.restart(3);
    for (name, value) in [("A", "t=1"), ("B", "t=2"), ("C", "t=3"), ("E", "t=4"), ("F", "t=5")] {
        assert_eq!(latest(&mut house, name), value, "{name}");
    }
}

#[test]
fn a_gateway_waits_for_another_core_although_its_own_has_nothing_to_keep() {
    let mut house = House::with(2, durable());
    let other = u16::try_from(1 - house.home_of(house.id("G"))).unwrap();
    let child = house.create_at(other, "K", Role::Ordinary);
    let gateway = house.device("TG");
    let say = |house: &mut House, value: u8| {
        let payload = format!("{{\"{child}\":[{{\"t\":{value}}}]}}");
        house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, payload.as_bytes());
        house.seen(gateway)
    };
    assert_eq!(say(&mut house, 1), ["PUBACK 0x00"]);
    house.slow_down_disk();
    assert!(say(&mut house, 2).is_empty());
    house.sync();
    assert_eq!(house.seen(gateway), ["PUBACK 0x00"]);
}

#[test]
fn a_child_on_another_core_is_told_and_answers_by_way_of_its_gateway() {
    for cores in [1, 2, 4] {
        let mut house = House::new(cores);
        let gateway = house.device("TG");
        house.publish(gateway, "v1/gateway/connect", QoS::AtLeastOnce, b"{\"device\":\"A\"}");
        assert_eq!(house.seen(gateway), ["PUBACK 0x00"]);
        let child = house.id("A");
        let samples = vec![Sample { key: "k".into(), value: Value::Long(5), at_ms: 1 }];
        house.ask(child, HubCall::WriteAttributes { scope: Scope::Shared, samples });
        let push = "PUBLISH q1 v1/gateway/attributes {\"device\":\"A\",\"data\":{\"k\":5}}";
        assert_eq!(house.seen(gateway), [push], "{cores} cores");
        let asked = house.ask(child, HubCall::Order(order(&house, 1, "reboot", CommandKind::TwoWay)));
        assert_eq!(asked, HubReply::Ordered(0));
        let command = "PUBLISH q1 v1/gateway/rpc {\"device\":\"A\",\"data\":{\"id\":0,\"method\":\"reboot\",\"params\":1}}";
        assert_eq!(house.seen(gateway), [command]);
        assert_eq!(states(&mut house), [CommandState::Queued, CommandState::Sent]);
        let owed = house.clients[gateway].owed.clone();
        owed.iter().for_each(|id| house.send(gateway, &client::puback(*id)));
        assert_eq!(states(&mut house), [CommandState::Delivered]);
        house.publish(
            gateway,
            "v1/gateway/rpc",
            QoS::AtMostOnce,
            b"{\"device\":\"A\",\"id\":0,\"data\":{\"ok\":true}}",
        );
        assert_eq!(states(&mut house), [CommandState::Successful]);
        house.publish(gateway, "v1/gateway/disconnect", QoS::AtMostOnce, b"{\"device\":\"A\"}");
        house.ask(child, HubCall::DeleteAttributes { scope: Scope::Shared, keys: vec!["k".into()] });
        assert!(house.seen(gateway).is_empty(), "a child that is gone is told nothing");
    }
}

#[test]
fn a_second_connection_of_a_device_ends_the_first() {
    for cores in [1, 2] {
        let mut house = House::new(cores);
        let first = house.device("T");
        let second = house.device("T");
        assert_eq!(house.seen(first), ["DISCONNECT 0x8E", "close"]);
        house.publish(second, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
        assert_eq!(house.seen(second), ["PUBACK 0x00"]);
        let HubReply::Presence(presence) = house.ask(house.id("D"), HubCall::Presence) else {
            panic!("presence")
        };
        assert_eq!(presence.connections, 1);
    }
}

#[test]
fn a_gateway_takes_a_child_from_its_own_connection_and_that_takes_it_back() {
    for cores in [1, 2, 4] {
        let mut house = House::new(cores);
        let (device, gateway) = (house.device("T"), house.device("TG"));
        house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, b"{\"D\":[{\"t\":1}]}");
        assert_eq!(house.seen(device), ["DISCONNECT 0x8E", "close"], "{cores} cores");
        assert_eq!(house.seen(gateway), ["PUBACK 0x00"]);
        let device = house.device("T");
        let samples = vec![Sample { key: "k".into(), value: Value::Long(5), at_ms: 1 }];
        house.ask(house.id("D"), HubCall::WriteAttributes { scope: Scope::Shared, samples });
        assert!(house.seen(gateway).is_empty(), "it speaks for the child no longer");
        house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, b"{\"E\":[{\"t\":1}]}");
        assert_eq!(house.seen(gateway), ["PUBACK 0x00"], "and goes on");
        assert!(house.seen(device).is_empty());
    }
}

#[test]
fn a_device_whose_credential_was_changed_is_sent_away() {
    for (version, told) in [(Version::V311, &["close"][..]), (Version::V5, &["DISCONNECT 0x98", "close"])] {
        let mut house = House::new(2);
        let connect = client::connect(version, "", Some("T"), None, None);
        let device = house.connect(0, 0, version, &connect);
        house.seen(device);
        house.ask(house.id("D"), HubCall::Evict);
        assert_eq!(house.seen(device), told);
        assert_eq!(house.shards().iter().map(|shard| shard.counters().clients_sent_away).sum::<u64>(), 1);
    }
}

#[test]
fn a_child_that_was_deleted_is_nobodys_child_any_more() {
    let mut house = House::new(2);
    let gateway = house.device("TG");
    house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, b"{\"A\":[{\"t\":1}]}");
    let id = house.id("A");
    house.shelf.with(|registry, changes| registry.delete(id, changes)).unwrap();
    house.ask(id, HubCall::Forget);
    house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, b"{\"A\":[{\"t\":2}]}");
    assert_eq!(house.seen(gateway), ["PUBACK 0x00", "PUBACK 0x00"]);
    assert_ne!(house.id("A"), id, "another device of that name");
    assert_eq!(latest(&mut house, "A"), "t=2");
}

#[test]
fn a_command_outlives_a_restart_until_the_device_acknowledges_it() {
    let mut house = House::with(2, durable());
    let subscribe = client::subscribe(Version::V5, 1, "v1/devices/me/rpc/request/+", QoS::AtLeastOnce);
    let device = house.device("T");
    house.send(device, &subscribe);
    let asked = house.ask(house.id("D"), HubCall::Order(order(&house, 1, "go", CommandKind::OneWay)));
    assert_eq!(asked, HubReply::Ordered(0));
    let command = "PUBLISH q1 v1/devices/me/rpc/request/0 {\"method\":\"go\",\"params\":1}";
    assert_eq!(house.seen(device), ["SUBACK 0x01", command]);
    let mut house = house.restart(1);
    let device = house.device("T");
    house.send(device, &subscribe);
    assert_eq!(house.seen(device), ["SUBACK 0x01", command], "it was not acknowledged");
    house.news.clear();
    let owed = house.clients[device].owed.clone();
    owed.iter().for_each(|id| house.send(device, &client::puback(*id)));
    assert_eq!(states(&mut house), [CommandState::Delivered]);
    let mut house = house.restart(2);
    let device = house.device("T");
    house.send(device, &subscribe);
    assert_eq!(house.seen(device), ["SUBACK 0x01"]);
}

#[test]
fn a_reply_that_promises_something_waits_for_the_disk() {
    let mut house = House::with(1, durable());
    house.slow_down_disk();
    let id = house.id("D");
    let samples = vec![Sample { key: "k".into(), value: Value::Long(5), at_ms: 1 }];
    let call = house.call(id, HubCall::WriteAttributes { scope: Scope::Server, samples });
    assert_eq!(house.take_reply(call), None);
    let look = house.call(id, HubCall::Attributes { scope: Scope::Server, keys: None });
    assert_eq!(house.take_reply(look), None, "what it would tell may be lost");
    house.sync();
    assert_eq!(house.take_reply(call), Some(HubReply::Done));
    assert!(matches!(house.take_reply(look), Some(HubReply::Facts(facts)) if facts.len() == 1));
}

#[test]
fn what_was_provisioned_is_told_when_it_is_kept_and_its_connection_ends_after_a_minute() {
    let mut house = House::with(2, durable());
    house.shelf.with(|registry, changes| {
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        let key = ProvisionKey { key: "k1".into(), secret: "s1".into() };
        let profile = Profile { provisioning: Provisioning::AllowCreate(key), ..profile };
        registry.put_profile(profile, changes).expect("the same profile");
    });
    house.slow_down_disk();
    let connect = client::connect(Version::V5, "", Some("provision"), None, None);
    let newcomer = house.connect(0, 0, Version::V5, &connect);
    assert_eq!(house.seen(newcomer), ["CONNACK 0x00"]);
    let request =
        b"{\"deviceName\":\"n\",\"provisionDeviceKey\":\"k1\",\"provisionDeviceSecret\":\"s1\",\"token\":\"mine\"}";
    house.publish(newcomer, "/provision/request", QoS::AtMostOnce, request);
    assert!(house.seen(newcomer).is_empty(), "a credential that may be lost is not told");
    house.sync();
    let told = "PUBLISH q1 /provision/response \
        {\"credentialsValue\":\"mine\",\"credentialsType\":\"ACCESS_TOKEN\",\"status\":\"SUCCESS\"}";
    assert_eq!(house.seen(newcomer), [told]);
    let known = house.call(house.id("n"), HubCall::Attributes { scope: Scope::Server, keys: None });
    house.sync();
    let Some(HubReply::Facts(facts)) = house.take_reply(known) else { panic!("values") };
    assert_eq!(facts[0].key, "provisionState");
    house.wait(Span::from_ms(59_900));
    house.send(newcomer, &[0xc0, 0]);
    assert_eq!(house.seen(newcomer), ["PINGRESP"]);
    house.wait(Span::from_ms(200));
    assert_eq!(house.seen(newcomer), ["close"]);
    house.sync();
    let mut house = house.restart(1);
    house.device("mine");
}

#[test]
fn what_is_said_too_often_below_5_0_is_heard_later_and_not_lost() {
    let mut offer = device::Offer::default();
    offer.own.telemetry_messages = device::Rate::read("1:1").unwrap();
    let settings = Settings { offers: vec![offer.into()], ..Settings::default() };
    let mut house = House::with(1, settings);
    let connect = client::connect(Version::V311, "", Some("T"), None, None);
    let device = house.connect(0, 0, Version::V311, &connect);
    let both = [
        client::publish(Version::V311, 1, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}"),
        client::publish(Version::V311, 2, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":2}"),
        vec![0xc0, 0],
    ];
    house.send(device, &both.concat());
    assert_eq!(house.seen(device), ["CONNACK 0", "PUBACK"]);
    assert!(house.clients[device].is_paused, "its socket is left alone");
    assert_eq!(latest(&mut house, "D"), "t=1");
    house.wait(Span::from_ms(1_100));
    assert_eq!(house.seen(device), ["PUBACK", "PINGRESP"], "in the order in which they were sent");
    assert_eq!((latest(&mut house, "D").as_str(), house.clients[device].is_paused), ("t=2", false));
    assert_eq!(house.shards()[0].counters().clients_waiting, 0);
}

#[test]
fn a_subscriber_of_canonical_topics_is_brought_what_devices_say_and_nothing_else_is() {
    for cores in [1, 2, 4] {
        let mut house = House::new(cores);
        let subscribers: Vec<_> =
            ["a", "b", "c"].map(|name| house.subscriber(name, "#")).into_iter().collect();
        let (device, gateway) = (house.device("T"), house.device("TG"));
        house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
        house.publish(device, "something/else", QoS::AtLeastOnce, b"x");
        house.publish(device, "thingsboard/other/D/telemetry", QoS::AtLeastOnce, b"{\"t\":1}");
        house.publish(gateway, "v1/gateway/attributes", QoS::AtMostOnce, b"{\"A\":{\"a\":1}}");
        house.publish(device, "v1/devices/me/attributes/request/1", QoS::AtMostOnce, b"{}");
        for subscriber in subscribers {
            assert_eq!(
                house.seen(subscriber),
                [
                    "PUBLISH q1 thingsboard/acme/D/telemetry {\"t\":1}",
                    "PUBLISH q0 thingsboard/acme/A/attributes {\"a\":1}"
                ],
                "{cores} cores"
            );
        }
    }
}

#[test]
fn a_device_hears_nothing_of_what_others_publish() {
    let mut house = House::new(1);
    let device = house.device("T");
    house.send(device, &client::subscribe(Version::V5, 1, "v1/devices/me/attributes", QoS::AtMostOnce));
    let plain = house.connect(0, 1, Version::V5, &client::connect(Version::V5, "p", None, None, None));
    house.publish(plain, "v1/devices/me/attributes", QoS::AtMostOnce, b"{\"a\":1}");
    assert_eq!(house.seen(device), ["SUBACK 0x00"]);
}

#[test]
fn a_device_of_5_0_is_told_in_words_why_a_message_was_not_taken() {
    let mut house = House::new(1);
    let device = house.device("T");
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"nonsense{");
    let words = house.clients[device].reasons.join(" ");
    assert_eq!(house.seen(device), ["PUBACK 0x99"]);
    assert!(words.len() > 10 && words.len() <= 256, "{words:?}");
    house.publish(device, "foo", QoS::ExactlyOnce, b"x");
    assert_eq!(
        (house.seen(device), house.clients[device].reasons.len()),
        (vec!["PUBREC 0x90".to_owned()], 2)
    );
    // A client that does not want words: Request Problem Information is 0.
    let mut connect = client::connect(Version::V5, "", Some("T"), None, None);
    connect.splice(12..13, [2, 0x17, 0]);
    connect[1] += 2;
    let device = house.connect(0, 0, Version::V5, &connect);
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"nonsense{");
    assert_eq!(house.seen(device), ["CONNACK 0x00", "PUBACK 0x99"]);
    assert!(house.clients[device].reasons.is_empty());
}

#[test]
fn two_connections_that_fight_for_a_device_are_slowed() {
    let limits = broker::Limits { takeovers_per_minute_max: 1, ..broker::Limits::default() };
    for (version, refusal) in [(Version::V311, "CONNACK 3"), (Version::V5, "CONNACK 0x9F")] {
        let mut house = House::with(2, Settings { limits: limits.clone(), ..Settings::default() });
        let connect = client::connect(version, "", Some("T"), None, None);
        let [first, second, third] = [0; 3].map(|core| house.connect(core, 0, version, &connect));
        assert_eq!(house.seen(first).last().map(String::as_str), Some("close"));
        assert!(house.seen(second)[0].ends_with('0'));
        assert_eq!(house.seen(third), [refusal, "close"]);
    }
}

#[test]
fn the_children_of_a_gateway_that_is_gone_are_gone() {
    let mut house = House::new(2);
    let gateway = house.device("TG");
    for name in ["A", "B", "C", "E"] {
        let payload = format!("{{\"device\":\"{name}\"}}");
        house.publish(gateway, "v1/gateway/connect", QoS::AtMostOnce, payload.as_bytes());
    }
    house.cut(gateway);
    for name in ["A", "B", "C", "E", "G"] {
        let HubReply::Presence(presence) = house.ask(house.id(name), HubCall::Presence) else {
            panic!("presence")
        };
        assert_eq!((presence.connections, presence.connected_ms > 0), (0, true), "{name}");
    }
}

#[test]
fn a_topic_alias_stands_for_the_topic_that_it_was_given() {
    let mut house = House::new(1);
    let device = house.device("T");
    // PUBLISH with topic and alias 3, then with the alias alone.
    let topic = TELEMETRY.as_bytes();
    let len = u8::try_from(topic.len()).unwrap();
    let first = [&[0x30, len + 2 + 4 + 7, 0, len], topic, &[3, 0x23, 0, 3], b"{\"t\":1}"].concat();
    house.send(device, &first);
    house.send(device, &[&[0x30, 2 + 4 + 7, 0, 0, 3, 0x23, 0, 3], &b"{\"t\":2}"[..]].concat());
    assert_eq!(latest(&mut house, "D"), "t=2");
    house.send(device, &[&[0x30, 2 + 4 + 7, 0, 0, 3, 0x23, 0, 4], &b"{\"t\":3}"[..]].concat());
    assert_eq!(house.seen(device), ["DISCONNECT 0x82", "close"], "alias 4 was never given");
}

#[test]
fn a_full_disk_refuses_what_devices_say() {
    let mut house = House::with(1, durable());
    let device = house.device("T");
    house.fill_disk();
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    assert_eq!(
        (house.seen(device), latest(&mut house, "D")),
        (vec!["PUBACK 0x97".to_owned()], String::new())
    );
}

#[test]
fn a_will_is_said_by_its_device_when_the_connection_breaks_and_not_when_it_leaves() {
    for says_goodbye in [false, true] {
        let mut house = House::new(2);
        let subscriber = house.subscriber("s", "thingsboard/#");
        let will = Will { topic: TELEMETRY, payload: b"{\"gone\":true}" };
        let connect = client::connect(Version::V5, "", Some("T"), None, Some(will));
        let device = house.connect(0, 0, Version::V5, &connect);
        if says_goodbye {
            house.send(device, &client::disconnect());
            assert!(house.seen(subscriber).is_empty());
            assert_eq!(latest(&mut house, "D"), "");
        } else {
            house.cut(device);
            assert_eq!(house.seen(subscriber), ["PUBLISH q0 thingsboard/acme/D/telemetry {\"gone\":true}"]);
            assert_eq!(latest(&mut house, "D"), "gone=true");
        }
        let HubReply::Presence(presence) = house.ask(house.id("D"), HubCall::Presence) else {
            panic!("presence")
        };
        assert_eq!(presence.connections, 0);
    }
}

#[test]
fn wills_of_a_broker_that_ends_still_find_their_readers() {
    let mut house = House::new(1);
    let will = Will { topic: TELEMETRY, payload: b"{\"gone\":true}" };
    house.connect(0, 0, Version::V5, &client::connect(Version::V5, "", Some("T"), None, Some(will)));
    let subscriber = house.subscriber("s", "thingsboard/#");
    house.shut_down();
    let seen = house.seen(subscriber);
    assert_eq!(seen[0], "PUBLISH q0 thingsboard/acme/D/telemetry {\"gone\":true}");
}

#[test]
fn a_packet_above_what_devices_are_offered_ends_the_connection() {
    let mut house = House::new(1);
    let payload = vec![b' '; 65_536];
    for (version, last) in [
        (Version::V5, &["CONNACK 0x00", "DISCONNECT 0x81", "close"][..]),
        (Version::V311, &["CONNACK 0", "close"]),
    ] {
        let device = house.connect(0, 0, version, &client::connect(version, "", Some("T"), None, None));
        house.publish(device, TELEMETRY, QoS::AtLeastOnce, &payload);
        assert_eq!(house.seen(device), last);
    }
    assert_eq!(house.shards()[0].counters().packets_too_large, 2);
    let plain = house.connect(0, 1, Version::V5, &client::connect(Version::V5, "p", None, None, None));
    house.publish(plain, "t", QoS::AtLeastOnce, &payload);
    assert_eq!(house.seen(plain), ["CONNACK 0x00", "PUBACK 0x10"], "others may say more");
}

#[test]
fn a_gateway_may_speak_for_so_many_children_and_no_more() {
    let settings = Settings { gateway_children_max: 2, ..Settings::default() };
    let mut house = House::with(1, settings);
    let gateway = house.device("TG");
    for (name, code) in [("A", "0x00"), ("B", "0x00"), ("C", "0x97"), ("A", "0x00")] {
        let payload = format!("{{\"{name}\":[{{\"t\":1}}]}}");
        house.publish(gateway, "v1/gateway/telemetry", QoS::AtLeastOnce, payload.as_bytes());
        assert_eq!(house.seen(gateway), [format!("PUBACK {code}")], "{name}");
    }
    assert_eq!((house.find("C"), house.shards()[0].counters().children_refused), (None, 1));
}

#[test]
fn a_gateway_for_activity_shows_that_its_children_are_alive() {
    let mut house = House::new(2);
    house.create("H", "TH", Role::GatewayForActivity);
    let gateway = house.device("TH");
    house.publish(gateway, "v1/gateway/connect", QoS::AtMostOnce, b"{\"device\":\"A\"}");
    house.wait(Span::from_ms(40_000));
    house.send(gateway, &[0xc0, 0]);
    let HubReply::Presence(presence) = house.ask(house.id("A"), HubCall::Presence) else {
        panic!("presence")
    };
    assert_eq!(presence.heard_ms, house.now_ms());
}

#[test]
fn somebody_outside_listens_and_speaks_in_the_place_of_a_device() {
    let mut house = House::new(2);
    let (id, ear) = (house.id("D"), device::Ear(0xFFFF << 48 | 7));
    house.ask(id, HubCall::Open { ear, keeping: Keeping::History });
    let uplink = device::Uplink::Listens { attributes: true, commands: None };
    house.ask(id, HubCall::Hear { ear, uplink });
    house.news.clear();
    let samples = vec![Sample { key: "k".into(), value: Value::Long(5), at_ms: 1 }];
    house.ask(id, HubCall::WriteAttributes { scope: Scope::Shared, samples });
    assert!(matches!(&house.news[..], [News::Told(told)] if told.ear == ear && told.device == id));
    for verb in [HubCall::Evict, HubCall::Forget] {
        house.news.clear();
        house.ask(id, verb);
        assert_eq!(house.news, [News::Evicted(ear)], "whoever waits is told that it is over");
    }
}

#[test]
fn who_is_not_known_is_refused_and_who_is_known_is_brought_home() {
    let mut house = House::new(4);
    for core in 0..4 {
        let bad = client::connect(Version::V311, "", Some("nobody"), None, None);
        let bad = house.connect(core, 0, Version::V311, &bad);
        assert_eq!(house.seen(bad), ["CONNACK 5", "close"]);
        let name = house.create_at(u16::try_from(core).unwrap(), "X", Role::Ordinary);
        let device = house.device(&name);
        assert_eq!(house.clients[device].place.map(|(core, _)| core), Some(core));
    }
}

#[test]
fn a_client_without_a_name_is_told_one_that_a_packet_can_carry() {
    let mut house = House::new(1);
    // Session expiry of an hour: the server says that it is none.
    let mut connect = client::connect(Version::V5, "", Some("T"), None, None);
    connect.splice(12..13, [5, 0x11, 0, 0, 0x0e, 0x10]);
    connect[1] += 5;
    let device = house.connect(0, 0, Version::V5, &connect);
    assert_eq!(house.seen(device), ["CONNACK 0x00"]);
    assert_eq!(house.shards()[0].counters().sessions, 1);
    house.cut(device);
    assert_eq!(house.shards()[0].counters().sessions, 0, "its session has ended with it");
}

/// All values of a key in changes that say telemetry, and how many changes those are.
fn said(changes: &[device::Change], key: &str) -> (usize, Vec<String>) {
    let mut values = Vec::new();
    let mut count = 0;
    for change in changes {
        if let device::Change::Telemetry { samples, .. } = change {
            count += 1;
            let of_key = samples.iter().filter(|sample| sample.key == key);
            values.extend(of_key.map(|sample| sample.value.to_json().to_string()));
        }
    }
    (count, values)
}

#[test]
fn telemetry_of_one_turn_is_one_change_and_every_message_waits_for_it() {
    let mut house = House::with(1, durable());
    let device = house.device("T");
    house.slow_down_disk();
    let publish = |id, payload: &[u8]| client::publish(Version::V5, id, TELEMETRY, QoS::AtLeastOnce, payload);
    let all = [publish(1, b"{\"t\":1}"), publish(2, b"{\"t\":2}"), publish(3, b"{\"t\":3}")].concat();
    house.send(device, &all);
    assert!(house.seen(device).is_empty(), "nothing is on disk");
    house.sync();
    assert_eq!(house.seen(device), ["PUBACK 0x00", "PUBACK 0x00", "PUBACK 0x00"]);
    let (changes, mut values) = said(house.synced(), "t");
    assert_eq!((changes, values.pop().as_deref()), (1, Some("3")));
    let mut house = house.restart(1);
    assert_eq!(latest(&mut house, "D"), "t=3");
}

#[test]
fn what_another_connection_has_begun_to_gather_is_waited_for_too() {
    let terms = device::HubTerms { sessions_max: 2, ..device::HubTerms::default() };
    let mut house = House::with(1, Settings { hub: terms, ..durable() });
    let (one, other) = (house.device("T"), house.device("T"));
    house.slow_down_disk();
    for id in [one, other] {
        let publish = client::publish(Version::V5, 1, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
        house.clients[id].unread.extend_from_slice(&publish);
    }
    house.run();
    assert_eq!((house.seen(one), house.seen(other)), (vec![], vec![]), "nothing is on disk");
    house.sync();
    assert_eq!((house.seen(one).len(), house.seen(other).len()), (1, 1));
    assert_eq!(said(house.synced(), "t").0, 1, "both are in one change");
}

#[test]
fn a_device_with_as_many_keys_as_it_may_have_is_told_so_and_known_keys_are_taken() {
    let terms = device::HubTerms { facts_per_device_max: 2, ..device::HubTerms::default() };
    let mut house = House::with(1, Settings { hub: terms, ..Settings::default() });
    let device = house.device("T");
    let payload = b"{\"a\":1,\"b\":2}";
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, payload);
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"a\":3,\"c\":4}");
    house.publish(device, TELEMETRY, QoS::ExactlyOnce, b"{\"d\":4}");
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"b\":5}");
    assert_eq!(house.seen(device), ["PUBACK 0x00", "PUBACK 0x97", "PUBREC 0x97", "PUBACK 0x00"]);
    assert_eq!(house.clients[device].reasons[0], "the device has as many keys as it may");
    assert_eq!(latest(&mut house, "D"), "a=3 b=5");
    assert_eq!(house.shards()[0].counters().facts_refused, 2);
}

#[test]
fn a_device_above_the_number_of_known_ones_is_let_in_nowhere() {
    let terms = device::HubTerms { devices_max: 1, ..device::HubTerms::default() };
    let mut house = House::with(1, Settings { hub: terms, ..Settings::default() });
    house.create("E", "TE", Role::Ordinary);
    let first = house.device("T");
    let second = house.connect(0, 0, Version::V5, &client::connect(Version::V5, "", Some("TE"), None, None));
    assert_eq!(house.seen(second), ["CONNACK 0x00", "DISCONNECT 0x97", "close"]);
    assert_eq!(house.shards()[0].counters().devices_refused, 1);
    house.publish(first, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    assert_eq!(house.seen(first), ["PUBACK 0x00"], "the one that is known goes on");
}

#[test]
fn devices_of_a_tenant_share_what_it_may_say() {
    let mut offer = device::Offer::default();
    offer.tenant.telemetry_messages = device::Rate::read("2:1").unwrap();
    let settings = Settings { offers: vec![offer.into()], ..Settings::default() };
    let mut house = House::with(1, settings);
    house.create("E", "TE", Role::Ordinary);
    let connect = |token| client::connect(Version::V311, "", Some(token), None, None);
    let one = house.connect(0, 0, Version::V311, &connect("T"));
    let other = house.connect(0, 0, Version::V311, &connect("TE"));
    let publish = |id| client::publish(Version::V311, id, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
    house.send(one, &publish(1));
    house.send(other, &publish(1));
    house.send(other, &publish(2));
    assert_eq!(house.seen(one), ["CONNACK 0", "PUBACK"]);
    assert_eq!(house.seen(other), ["CONNACK 0", "PUBACK"], "the third message of the tenant waits");
    house.wait(Span::from_ms(1_100));
    assert_eq!(house.seen(other), ["PUBACK"]);
}

/// Shared attributes of a device, as `key=value` words.
fn shared(house: &mut House, name: &str) -> String {
    let id = house.id(name);
    let HubReply::Facts(facts) = house.ask(id, HubCall::Attributes { scope: Scope::Shared, keys: None })
    else {
        panic!("values")
    };
    facts.iter().map(|fact| format!("{}={}", fact.key, fact.value.to_json())).collect::<Vec<_>>().join(" ")
}

/// A house whose devices' profile has firmware, and lets devices ask for credentials.
fn with_firmware(cores: u16) -> House {
    let house = House::with(cores, durable());
    house.shelf.with(|registry, changes| {
        let bytes = std::sync::Arc::from(&b"123456789"[..]);
        let package = device::Package {
            id: device::PackageId::from_bytes([9; 16]),
            tenant: TENANT,
            profile: PROFILE,
            kind: device::PackageKind::Firmware,
            title: "app".into(),
            version: "1.1".into(),
            tag: None,
            content: device::Content::upload(bytes, device::Algorithm::Crc32, None)
                .expect("no checksum is asked for"),
            created_ms: 0,
            label: device::Label::default(),
        };
        registry.put_package(package.into(), changes);
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        let key = ProvisionKey { key: "k1".into(), secret: "s1".into() };
        let firmware = Some(device::PackageId::from_bytes([9; 16]));
        let profile = Profile { provisioning: Provisioning::AllowCreate(key), firmware, ..profile };
        registry.put_profile(profile, changes).expect("the same profile");
    });
    house
}

const FIRMWARE: &str =
    "fw_checksum=\"2639f4cb\" fw_checksum_algorithm=\"CRC32\" fw_size=9 fw_title=\"app\" fw_version=\"1.1\"";

#[test]
fn a_device_that_is_made_has_its_profiles_firmware_from_the_beginning_and_after_a_restart() {
    for cores in [1, 2, 4] {
        let mut house = with_firmware(cores);
        let gateway = house.device("TG");
        house.publish(gateway, "v1/gateway/connect", QoS::AtLeastOnce, b"{\"device\":\"A\"}");
        let told = "PUBLISH q1 v1/gateway/attributes {\"device\":\"A\",\"data\":{\"fw_title\":\"app\",\
            \"fw_version\":\"1.1\",\"fw_size\":9,\"fw_checksum_algorithm\":\"CRC32\",\"fw_checksum\":\"2639f4cb\"}}";
        let mut seen = house.seen(gateway);
        seen.sort();
        assert_eq!(seen, ["PUBACK 0x00", told], "{cores} cores");
        house.publish(gateway, "v1/gateway/connect", QoS::AtLeastOnce, b"{\"device\":\"A\"}");
        assert_eq!(house.seen(gateway), ["PUBACK 0x00"], "it is told once");
        let connect = client::connect(Version::V5, "", Some("provision"), None, None);
        let newcomer = house.connect(0, 0, Version::V5, &connect);
        let request =
            b"{\"deviceName\":\"n\",\"provisionDeviceKey\":\"k1\",\"provisionDeviceSecret\":\"s1\"}";
        house.publish(newcomer, "/provision/request", QoS::AtMostOnce, request);
        let targets = "fw_state=\"INITIATED\" target_fw_title=\"app\" target_fw_ts=";
        for name in ["A", "n"] {
            assert_eq!(shared(&mut house, name), FIRMWARE, "{name}");
            assert!(latest(&mut house, name).starts_with(targets), "{name}");
        }
        let mut house = house.restart(3);
        for name in ["A", "n"] {
            assert_eq!(shared(&mut house, name), FIRMWARE, "{name}");
            assert!(latest(&mut house, name).starts_with(targets), "{name}");
        }
    }
}

#[test]
fn a_gateway_is_told_what_the_home_of_a_child_has_refused_in_the_order_of_its_messages() {
    for cores in [1, 2, 4] {
        let terms = device::HubTerms { facts_per_device_max: 1, ..device::HubTerms::default() };
        let mut house = House::with(cores, Settings { hub: terms, ..durable() });
        let own = u16::try_from(house.home_of(house.id("G"))).unwrap();
        let far = house.create_at((own + 1) % cores, "far", Role::Ordinary);
        let near = house.create_at(own, "near", Role::Ordinary);
        let gateway = house.device("TG");
        let say = |id, child: &str, key: &str| {
            let payload = format!("{{\"{child}\":[{{\"{key}\":1}}]}}");
            client::publish(Version::V5, id, "v1/gateway/telemetry", QoS::AtLeastOnce, payload.as_bytes())
        };
        let all = [say(1, &far, "a"), say(2, &far, "b"), say(3, &near, "a"), say(4, &far, "a")];
        house.slow_down_disk();
        house.send(gateway, &all.concat());
        assert!(house.seen(gateway).is_empty(), "nothing is on disk");
        house.sync();
        let told = ["PUBACK 0x00", "PUBACK 0x97", "PUBACK 0x00", "PUBACK 0x00"];
        assert_eq!(house.seen(gateway), told, "{cores} cores");
        assert_eq!(house.clients[gateway].reasons, ["the device has as many keys as it may"]);
    }
}

#[test]
fn a_device_that_is_silent_for_too_long_is_sent_away_whatever_its_keep_alive_is() {
    for (version, told) in [(Version::V311, &["close"][..]), (Version::V5, &["DISCONNECT 0x83", "close"])] {
        for keep_alive_s in [0_u16, 3_000] {
            let mut house = House::new(1);
            let mut connect = client::connect(version, "", Some("T"), None, None);
            connect[10..12].copy_from_slice(&keep_alive_s.to_be_bytes());
            let device = house.connect(0, 0, version, &connect);
            house.seen(device);
            house.wait(Span::from_ms(599_000));
            house.send(device, &[0xc0, 0]);
            house.wait(Span::from_ms(599_000));
            assert_eq!(house.seen(device), ["PINGRESP"]);
            house.wait(Span::from_ms(1_100));
            assert_eq!(house.seen(device), told, "keep alive {keep_alive_s}");
            assert_eq!(house.shards()[0].counters().idle_timeouts, 1);
        }
    }
    let mut offer = device::Offer { silence_max_s: None, ..device::Offer::default() };
    offer.packet_bytes_max = 1_000;
    let mut house = House::with(1, Settings { offers: vec![offer.into()], ..Settings::default() });
    let mut connect = client::connect(Version::V5, "", Some("T"), None, None);
    connect[10..12].copy_from_slice(&[0, 0]);
    let device = house.connect(0, 0, Version::V5, &connect);
    house.wait(Span::from_ms(10_000_000));
    assert_eq!(house.seen(device), ["CONNACK 0x00"], "without a limit it may be silent");
}
