//! Devices between connections, cores and disk: what shards do with what a dialect says.

use device::{
    CommandId, CommandKind, CommandState, HubCall, HubReply, Keeping, News, Order, Profile, ProvisionKey,
    Provisioning, Role, Sample, Scope, Value,
};
use dialects::client::{self, Will};
use dialects::house::House;
use dialects::world::PROFILE;
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
    house.publish(device, "v1/devices/me/attributes", QoS::AtMostOnce, b"{\"fw\":\"1.0\"}");
    house.send(
        device,
        &client::subscribe(Version::V5, 3, "v1/devices/me/attributes/response/+", QoS::AtMostOnce),
    );
    house.publish(device, "v1/devices/me/attributes/request/5", QoS::AtMostOnce, b"{}");
    let answer = "PUBLISH q0 v1/devices/me/attributes/response/5 {\"client\":{\"fw\":\"1.0\"}}";
    assert_eq!(house.seen(device), ["SUBACK 0x00", answer]);
    house.send(device, &client::unsubscribe(Version::V5, 4, "v1/devices/me/attributes/response/+"));
    house.send(device, &client::unsubscribe(Version::V5, 5, "v1/devices/me/attributes/response/+"));
    assert_eq!(house.seen(device), ["UNSUBACK 0x00", "UNSUBACK 0x11"]);
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
