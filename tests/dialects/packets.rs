//! What MQTT itself promises to devices: retained messages, Receive Maximum, sessions and wills.

use device::{CommandId, CommandKind, HubCall, HubReply, Order, Sample, Scope, Value};
use dialects::client::{self, Will};
use dialects::house::{ClientId, House};
use mqtt::{QoS, Version};
use shard::Settings;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";

fn durable() -> Settings {
    Settings { journal_is_on: true, ..Settings::default() }
}

fn write(house: &mut House, value: i64) {
    let id = house.id("D");
    let samples = vec![Sample { key: "k".into(), value: Value::Long(value), at_ms: 1 }];
    assert_eq!(house.ask(id, HubCall::WriteAttributes { scope: Scope::Shared, samples }), HubReply::Done);
}

fn order(house: &mut House, number: u8) {
    let order = Order {
        id: CommandId::from_bytes([number; 16]),
        method: "m".into(),
        params: number.to_string().into(),
        kind: CommandKind::OneWay,
        is_persistent: false,
        expires_ms: house.now_ms() + 3_600_000,
        retries: None,
        additional: None,
    };
    let id = house.id("D");
    assert!(matches!(house.ask(id, HubCall::Order(order)), HubReply::Ordered(_)));
}

/// Acknowledges the oldest message that is owed, and takes what came.
fn acknowledge(house: &mut House, device: ClientId) -> Vec<String> {
    let id = house.clients[device].owed.remove(0);
    house.send(device, &client::puback(id));
    house.seen(device)
}

#[test]
fn what_a_device_says_with_retain_is_said_and_nothing_is_retained() {
    for version in [Version::V311, Version::V5] {
        let mut house = House::new(2);
        let before = house.subscriber("before", "thingsboard/#");
        let device = house.connect(0, 0, version, &client::connect(version, "", Some("T"), None, None));
        let mut publish = client::publish(version, 9, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
        publish[0] |= 1;
        house.send(device, &publish);
        let acknowledged = if version == Version::V5 { "PUBACK 0x00" } else { "PUBACK" };
        assert_eq!(house.seen(device).last().map(String::as_str), Some(acknowledged));
        let said = "thingsboard/acme/D/telemetry {\"t\":1}";
        assert_eq!(house.seen(before), [format!("PUBLISH q1 {said}")], "not as a retained message");
        house.subscriber("after", "#");
        let retained: u64 = house.shards().iter().map(|shard| shard.counters().retained_messages).sum();
        assert_eq!(retained, 0);
    }
}

#[test]
fn a_device_is_never_told_anything_as_retained() {
    let mut house = House::new(1);
    let plain = house.connect(0, 1, Version::V5, &client::connect(Version::V5, "p", None, None, None));
    let mut retained = client::publish(Version::V5, 9, ATTRIBUTES, QoS::AtLeastOnce, b"{\"k\":9}");
    retained[0] |= 1;
    house.send(plain, &retained);
    write(&mut house, 1);
    let device = house.device("T");
    house.send(device, &client::subscribe(Version::V5, 1, "#", QoS::AtLeastOnce));
    assert_eq!(house.seen(device), ["SUBACK 0x01"], "neither another's message nor an earlier change");
    write(&mut house, 2);
    assert_eq!(house.seen(device), [format!("PUBLISH q1 {ATTRIBUTES} {{\"k\":2}}")]);
}

#[test]
fn a_device_is_sent_as_many_messages_at_a_time_as_it_takes_and_all_of_them_in_order() {
    let connects = [
        // Receive Maximum: 2.
        (
            Version::V5,
            client::with_properties(client::connect(Version::V5, "", Some("T"), None, None), &[0x21, 0, 2]),
            2,
        ),
        (Version::V311, client::connect(Version::V311, "", Some("T"), None, None), 64),
    ];
    for (version, connect, window) in connects {
        let mut house = House::with(1, durable());
        let device = house.connect(0, 0, version, &connect);
        for filter in [ATTRIBUTES, "v1/devices/me/rpc/request/+"] {
            house.send(device, &client::subscribe(version, 1, filter, QoS::AtLeastOnce));
        }
        house.seen(device);
        let mut expected = Vec::new();
        for number in 0..50_u8 {
            write(&mut house, number.into());
            order(&mut house, number);
            expected.push(format!("PUBLISH q1 {ATTRIBUTES} {{\"k\":{number}}}"));
            let command = format!("{{\"method\":\"m\",\"params\":{number}}}");
            expected.push(format!("PUBLISH q1 v1/devices/me/rpc/request/{number} {command}"));
        }
        let mut seen = house.seen(device);
        assert_eq!(seen.len(), window, "{version:?}: no more than it takes");
        while !house.clients[device].owed.is_empty() {
            let came = acknowledge(&mut house, device);
            assert!(came.len() <= 1, "{version:?}: one for one");
            seen.extend(came);
        }
        assert_eq!(seen, expected, "{version:?}");
        let counters = house.shards()[0].counters();
        assert_eq!((counters.inflight_messages, counters.dropped_queue_full), (0, 0));
    }
}

#[test]
fn commands_are_known_to_have_come_when_they_are_acknowledged_and_not_before() {
    let mut house = House::new(1);
    let connect = client::connect(Version::V5, "", Some("T"), None, None);
    let device = house.connect(0, 0, Version::V5, &client::with_properties(connect, &[0x21, 0, 1]));
    house.send(device, &client::subscribe(Version::V5, 1, "v1/devices/me/rpc/request/+", QoS::AtLeastOnce));
    house.seen(device);
    order(&mut house, 0);
    order(&mut house, 1);
    let delivered = |house: &mut House| {
        let news = std::mem::take(&mut house.news);
        let states = news.into_iter().filter_map(|news| match news {
            device::News::Report(report) => Some(report),
            _other => None,
        });
        let reports = states.filter(|report| report.state == device::CommandState::Delivered);
        reports.map(|report| report.command.bytes()[0]).collect::<Vec<u8>>()
    };
    assert_eq!(delivered(&mut house), [0_u8; 0]);
    assert_eq!(house.seen(device).len(), 1);
    assert_eq!(acknowledge(&mut house, device).len(), 1);
    assert_eq!(delivered(&mut house), [0]);
    assert!(acknowledge(&mut house, device).is_empty());
    assert_eq!(delivered(&mut house), [1]);
}

#[test]
fn a_device_has_no_session_that_outlives_its_connection_whatever_it_asks_for() {
    let mut house = House::new(1);
    // Session Expiry Interval: an hour; and no clean start.
    let connect = client::connect(Version::V5, "d", Some("T"), None, None);
    let mut connect = client::with_properties(connect, &[0x11, 0, 0, 0x0e, 0x10]);
    connect[9] &= !2;
    let device = house.connect(0, 0, Version::V5, &connect);
    house.send(device, &client::subscribe(Version::V5, 1, ATTRIBUTES, QoS::AtLeastOnce));
    write(&mut house, 1);
    let push = |value| format!("PUBLISH q1 {ATTRIBUTES} {{\"k\":{value}}}");
    assert_eq!(house.seen(device), ["CONNACK 0x00", "SUBACK 0x01", &push(1)]);
    house.cut(device);
    write(&mut house, 2);
    let device = house.connect(0, 0, Version::V5, &connect);
    assert_eq!(
        house.seen(device),
        ["CONNACK 0x00"],
        "neither what it has not acknowledged nor what it missed"
    );
    assert_eq!(house.clients[device].session_present, Some(false));
    write(&mut house, 3);
    assert!(house.seen(device).is_empty(), "and no subscription");
    assert_eq!(house.shards()[0].counters().sessions, 1);
}

#[test]
fn a_will_is_said_whatever_ended_the_connection_but_a_goodbye() {
    let goodbyes: [(&str, bool); 4] =
        [("DISCONNECT", false), ("with will", true), ("taken over", true), ("changed", true)];
    for (how, is_said) in goodbyes {
        for cores in [1, 2] {
            let mut house = House::new(cores);
            let subscriber = house.subscriber("s", "thingsboard/#");
            let will = Will { topic: TELEMETRY, payload: b"{\"gone\":true}" };
            // Will Retain and Will QoS 1 make no difference, and neither does Session Expiry.
            let mut connect = client::connect(Version::V5, "", Some("T"), None, Some(will));
            connect[9] |= 0x28;
            let device = house.connect(
                0,
                0,
                Version::V5,
                &client::with_properties(connect, &[0x11, 0, 0, 0x0e, 0x10]),
            );
            assert_eq!(house.seen(device), ["CONNACK 0x00"]);
            match how {
                "DISCONNECT" => house.send(device, &client::disconnect()),
                "with will" => house.send(device, &[0xe0, 1, 4]),
                "taken over" => drop(house.device("T")),
                _changed => drop(house.ask(house.id("D"), HubCall::Evict)),
            }
            let said = "PUBLISH q0 thingsboard/acme/D/telemetry {\"gone\":true}";
            let expected: &[&str] = if is_said { &[said] } else { &[] };
            assert_eq!(house.seen(subscriber), expected, "{how}, {cores} cores");
            let retained: u64 = house.shards().iter().map(|shard| shard.counters().retained_messages).sum();
            assert_eq!(retained, 0);
        }
    }
}

#[test]
fn the_will_of_a_device_that_was_deleted_brings_nothing_back() {
    for cores in [1, 2] {
        let mut house = House::with(cores, durable());
        let will = Will { topic: TELEMETRY, payload: b"{\"gone\":true}" };
        let connect = client::connect(Version::V5, "", Some("T"), None, Some(will));
        let device = house.connect(0, 0, Version::V5, &connect);
        let id = house.id("D");
        house.delete(id);
        house.ask(id, HubCall::Forget);
        assert_eq!(house.seen(device), ["CONNACK 0x00", "DISCONNECT 0x98", "close"]);
        assert!(!house.is_known(id));
    }
}
