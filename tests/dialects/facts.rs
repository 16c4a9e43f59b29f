//! What is kept of devices: whether they are there, also over a restart, and how many bytes of what they say.

use device::{Change, HubCall, HubReply, HubTerms, Keeping, Presence, Scope, Uplink};
use dialects::house::House;
use mqtt::QoS;
use shard::Settings;
use stdx::Span;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
const MINUTE: Span = Span::from_ms(60_000);

fn durable() -> Settings {
    Settings { journal_is_on: true, ..Settings::default() }
}

fn presence(house: &mut House) -> Presence {
    let device = house.id("D");
    let HubReply::Presence(presence) = house.ask(device, HubCall::Presence) else { panic!("presence") };
    presence
}

/// Says something as a device without a connection.
fn say(house: &mut House) {
    let device = house.id("D");
    let call = HubCall::Say { keeping: Keeping::Latest, uplink: Uplink::Alive, forward: None };
    assert_eq!(house.ask(device, call), HubReply::Done);
}

/// Hours after the end.
fn restarted_later(mut house: House, cores: u16) -> House {
    house.now = house.now + Span::from_ms(7_200_000);
    let mut house = house.restart(cores);
    house.wait(Span::from_ms(1_000));
    house
}

#[test]
fn a_device_that_was_active_for_hours_is_active_after_a_crash() {
    for cores in [1, 2] {
        let mut house = House::with(cores, durable());
        let device = house.device("T");
        for _ in 0..180 {
            house.publish(device, TELEMETRY, QoS::AtLeastOnce, b"{\"t\":1}");
            house.wait(MINUTE);
        }
        let before = presence(&mut house);
        let noted = house.synced().iter().filter(|change| matches!(change, Change::Presence { .. })).count();
        assert!(noted < 45, "{noted} records of three hours");
        let mut house = restarted_later(house, 2);
        let after = presence(&mut house);
        assert_eq!((after.is_active, after.alarmed_ms), (true, 0), "{cores} cores");
        assert!(before.heard_ms - after.heard_ms <= 300_000, "{} and {}", before.heard_ms, after.heard_ms);
        house.wait(Span::from_ms(598_000));
        assert!(presence(&mut house).is_active);
        house.wait(Span::from_ms(2_000));
        assert!(!presence(&mut house).is_active, "it has not come again");
    }
}

#[test]
fn a_device_without_a_connection_was_heard_when_it_was_heard_after_an_orderly_end() {
    for cores in [1, 2] {
        let mut house = House::with(cores, durable());
        for _ in 0..4 {
            say(&mut house);
            house.wait(MINUTE);
        }
        let before = presence(&mut house);
        house.shut_down();
        let mut house = restarted_later(house, 2);
        assert_eq!(presence(&mut house), before, "{cores} cores");
    }
}

#[test]
fn a_device_with_as_many_bytes_as_it_may_have_is_told_so_and_less_makes_room() {
    let hub = HubTerms { facts_bytes_per_device_max: 1_000, ..HubTerms::default() };
    let mut house = House::with(1, Settings { hub, ..Settings::default() });
    let device = house.device("T");
    let text = |key: &str, len: usize| format!("{{\"{key}\":\"{}\"}}", "x".repeat(len)).into_bytes();
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, &text("a", 900));
    house.publish(device, ATTRIBUTES, QoS::AtLeastOnce, &text("b", 900));
    house.publish(device, TELEMETRY, QoS::ExactlyOnce, &text("c", 900));
    assert_eq!(house.seen(device), ["PUBACK 0x00", "PUBACK 0x97", "PUBREC 0x97"]);
    assert_eq!(house.clients[device].reasons[0], "the device has as many bytes of keys and values as it may");
    house.publish(device, TELEMETRY, QoS::AtLeastOnce, &text("a", 90));
    house.publish(device, ATTRIBUTES, QoS::AtLeastOnce, &text("b", 900));
    assert_eq!(house.seen(device), ["PUBACK 0x00", "PUBACK 0x00"]);
    assert_eq!(house.shards()[0].counters().facts_too_large, 2);
    assert_eq!(house.shards()[0].counters().facts_refused, 0);
    let id = house.id("D");
    let samples =
        vec![device::Sample { key: "s".into(), value: device::Value::Text("x".repeat(90).into()), at_ms: 0 }];
    let write = HubCall::WriteAttributes { scope: Scope::Server, samples };
    assert_eq!(house.ask(id, write), HubReply::Refused(device::Refusal::FactsTooLarge));
}
