//! Topics and payloads that nobody would send: nothing panics, and nothing leaves the tenant's own topics.

use std::sync::Arc;

use device::{Dialect, DoorQuirks, Guest, Interpreter, Offer, Role, Said, Speech};
use dialect::ThingsBoard;
use dialects::world::{PROFILE, TENANT, World};
use mqtt::{QoS, Version};
use stdx::Prng;

/// Parts of which topics are made.
const TOPICS: &[&str] = &[
    "v1",
    "devices",
    "me",
    "telemetry",
    "attributes",
    "request",
    "response",
    "rpc",
    "claim",
    "gateway",
    "connect",
    "disconnect",
    "v2",
    "t",
    "a",
    "r",
    "j",
    "p",
    "req",
    "res",
    "fw",
    "sw",
    "chunk",
    "0",
    "17",
    "-1",
    "99999999999",
    "",
    "x",
    "provision",
];

/// Whole topics, so that many hit something.
const WHOLE: &[&str] = &[
    "v1/devices/me/telemetry",
    "v1/devices/me/attributes",
    "v1/devices/me/attributes/request/1",
    "v1/devices/me/rpc/request/1",
    "v1/devices/me/rpc/response/1",
    "v1/devices/me/claim",
    "v2/t/p",
    "v2/a/req/p/1",
    "v2/r/req/p/1",
    "v2/fw/request/1/chunk/0",
    "v1/gateway/telemetry",
    "v1/gateway/attributes",
    "v1/gateway/attributes/request",
    "v1/gateway/rpc",
    "v1/gateway/connect",
    "v1/gateway/disconnect",
    "v1/gateway/claim",
    "/provision/request",
];

/// Payloads to begin with.
const SEEDS: &[&[u8]] = &[
    b"{\"ts\":1760000000123,\"values\":{\"temp\":21.5,\"s\":\"0042\",\"j\":{\"a\":[1,2]}}}",
    b"[{\"a\":1},{\"ts\":\"17\",\"values\":{\"b\":1e308}}]",
    b"{\"clientKeys\":\"a,b\",\"sharedKeys\":\"c\"}",
    b"{\"method\":\"getSessionLimits\",\"params\":{}}",
    b"{\"secretKey\":\"abc\",\"durationMs\":60000}",
    b"{\"A/../+#\":[{\"ts\":5,\"values\":{\"t\":1}},{\"h\":40}],\"B\":[{\"t\":1}]}",
    b"{\"A\":{\"fw\":\"1.0\"},\"$SYS\":{\"n\":2}}",
    b"{\"id\":1,\"device\":\"A\",\"client\":false,\"keys\":[\"interval\"]}",
    b"{\"device\":\"A\",\"id\":0,\"data\":{\"ok\":true}}",
    b"{\"deviceName\":\"n\",\"provisionDeviceKey\":\"k1\",\"provisionDeviceSecret\":\"s1\"}",
    b"4096",
    b"\x0a\x12\x08\x05\x12\x0e\x0a\x01a\x10\x02\x29\x00\x00\x00\x00\x00\x00\xf0\x3f",
    b"",
];

/// A place in something of `length` places.
fn below(length: usize, prng: &mut Prng) -> usize {
    let bound = u64::try_from(length).expect("a length fits 64 bits");
    usize::try_from(prng.below(bound)).expect("below a length")
}

fn mutated(seed: &[u8], prng: &mut Prng) -> Vec<u8> {
    const SIGNS: &[u8] = b"{}[]\",:\\0e-.\x00\xff\x0a\x12";
    let mut bytes = seed.to_vec();
    for _ in 0..prng.below(4) {
        let at = below(bytes.len() + 1, prng);
        match prng.below(4) {
            0 if at < bytes.len() => bytes[at] = prng.next_u64().to_be_bytes()[0],
            1 if at < bytes.len() => {
                let _taken_out = bytes.remove(at);
            }
            2 => bytes.truncate(at),
            _ => bytes.insert(at, SIGNS[below(SIGNS.len(), prng)]),
        }
    }
    bytes
}

fn topic(prng: &mut Prng) -> String {
    if prng.one_in(4) {
        let levels = 1 + prng.below(7);
        return (0..levels).map(|_| TOPICS[below(TOPICS.len(), prng)]).collect::<Vec<_>>().join("/");
    }
    WHOLE[below(WHOLE.len(), prng)].to_owned()
}

#[test]
fn no_topic_and_no_payload_panics_or_leaves_the_tenant() {
    let mut world = World::new(Version::V5);
    world.create("name/with+#$", "X", Role::GatewayForActivity);
    let mut prng = Prng::new(7);
    let (mut heard, mut forwarded) = (0, 0);
    for _ in 0..20_000 {
        let mut interpreter = interpreter(&world, &mut prng);
        for _ in 0..3 {
            let topic = topic(&mut prng);
            let payload = mutated(SEEDS[below(SEEDS.len(), &mut prng)], &mut prng);
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][below(3, &mut prng)];
            let mut speech = Speech::default();
            let said = Said { topic: &topic, payload: &payload, qos, now_ms: 5 };
            let answer = interpreter.publish(&said, &mut speech);
            heard += usize::from(!speech.remarks.is_empty());
            forwarded += speech.forwards.len();
            for forward in &speech.forwards {
                let levels: Vec<&str> = forward.topic.split('/').collect();
                assert!(levels[..2] == ["thingsboard", "acme"] && levels.len() == 4, "{}", forward.topic);
                assert!(!forward.topic.contains(['+', '#', '\0']), "{}", forward.topic);
            }
            for utterance in &speech.utterances {
                assert!(utterance.topic.starts_with("v1/") || utterance.topic.starts_with("v2/"));
            }
            assert!(answer.acknowledge.is_some() || answer.end.is_some(), "every message is answered");
        }
    }
    assert!(heard > 10_000 && forwarded > 1_000, "{heard} were heard, {forwarded} were forwarded");
}

fn interpreter(world: &World, prng: &mut Prng) -> Box<dyn Interpreter> {
    let version = if prng.one_in(2) { Version::V5 } else { Version::V311 };
    if prng.one_in(8) {
        return ThingsBoard.registrar(version, DoorQuirks::default()).expect("an interpreter");
    }
    let name = if prng.one_in(2) { "D" } else { "name/with+#$" };
    let device = world.registry.device_named(TENANT, name).expect("created");
    let profile = world.registry.profile(PROFILE).expect("made at the start");
    let tenant = world.registry.tenant(TENANT).expect("made at the start");
    let guest = Guest { version, device, tenant, profile, offer: &Arc::new(Offer::default()) };
    ThingsBoard.interpreter(&guest).expect("an interpreter")
}
