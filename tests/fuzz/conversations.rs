//! Golden inputs for the dialects of devices: every inbound topic with a payload that means something, in JSON and in
//! Protobuf, and everything that a device can be told.
//!
//! Invariants:
//! - As in `golden.rs`: every input has a name, and no two of a target have the same.

use crate::targets::TOPICS;

type Named = Vec<(&'static str, Vec<u8>)>;

const DEVICE: u8 = 0;
const GATEWAY: u8 = 1;
const REGISTRAR: u8 = 2;
const V5: u8 = 4;
const SCHEMAS: u8 = 8;
const BOTH: u8 = 16;
const OWN: u8 = 24;
const HISTORY: u8 = 32;

fn step(kind: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short payloads");
    let place = TOPICS.iter().position(|known| *known == topic);
    let named = match place.and_then(|place| u8::try_from(place).ok()) {
        Some(place) => vec![kind, place],
        None => [&[kind, 255, u8::try_from(topic.len()).expect("short topics")], topic.as_bytes()].concat(),
    };
    [&named[..], &[len], payload].concat()
}

fn talk(who: u8, steps: &[(u8, &str, &[u8])]) -> Vec<u8> {
    let steps: Vec<u8> =
        steps.iter().flat_map(|(kind, topic, payload)| step(*kind, topic, payload)).collect();
    [&[who][..], &steps].concat()
}

/// A publication of QoS 1, a subscription, something told.
const SAY: u8 = 1;
const ASK: u8 = 4;
const TELL: u8 = 6;
/// With a long text in it.
const LONG: u8 = 0x40;

const TIMED: &[u8] =
    b"{\"ts\":1760000000123,\"values\":{\"t\":21.5,\"s\":\"0042\",\"j\":{\"a\":[1, 2]},\"n\":null}}";
const LENIENT: &[u8] = b"{t:NaN,'u':01;v=>\"\\u00e9\", /* w */ w:TRUE}";

pub(crate) fn of_devices() -> Named {
    [values(), requests(), formats(), gateways(), registrars()].concat()
}

fn values() -> Named {
    vec![
        (
            "telemetry",
            talk(
                DEVICE | V5,
                &[
                    (SAY, "v1/devices/me/telemetry", TIMED),
                    (SAY, "v2/t", b"[{\"a\":1},{\"ts\":\"17\",\"values\":{\"b\":1e308}}]"),
                    (SAY, "v2/t/j", b"{\"a\\u0062\":true,\"c\":-0.0,\"d\":12345678901.5}"),
                    (SAY, "v2/t", LENIENT),
                    (0, "v1/devices/me/telemetry", b"{\"a\":\"\xff\"}"),
                ],
            ),
        ),
        (
            "history",
            talk(
                DEVICE | HISTORY,
                &[(SAY, "v2/t", TIMED), (SAY, "v2/t", b"{\"t\":1}"), (SAY, "v2/t", b"[]")],
            ),
        ),
        (
            "attributes",
            talk(
                DEVICE | V5,
                &[
                    (SAY, "v1/devices/me/attributes", b"{\"fw\":\"1.2\",\"cfg\":{\"a\":1}}"),
                    (SAY, "v2/a/j", LENIENT),
                    (
                        SAY,
                        "v1/devices/me/attributes/request/1",
                        b"{\"clientKeys\":\"fw,cfg\",\"sharedKeys\":\"k\"}",
                    ),
                    (SAY, "v2/a/req/j/1", b"{}"),
                    (SAY, "v2/a/req/p/1", b"\x0a\x02fw\x12\x01k"),
                ],
            ),
        ),
    ]
}

fn requests() -> Named {
    vec![
        (
            "commands",
            talk(
                DEVICE | V5,
                &[
                    (ASK, "v1/devices/me/#", b"q"),
                    (ASK, "v2/r/req/p/+", b""),
                    (TELL, "x", b"\x03method"),
                    (SAY, "v1/devices/me/rpc/response/0", b"{\"ok\":true}"),
                    (SAY, "v2/r/res/p/0", b"\x0a\x01x"),
                    (5, "v1/devices/me/#", b""),
                ],
            ),
        ),
        (
            "calls",
            talk(
                DEVICE,
                &[
                    (SAY, "v1/devices/me/rpc/request/1", b"{\"method\":\"getSessionLimits\",\"params\":{}}"),
                    (SAY, "v2/r/req/j/1", b"{method:ping}"),
                    (SAY, "v2/r/req/p/1", b"\x0a\x0egetCurrentTime"),
                    (SAY, "v2/r/req/1", b"{\"method\":\"x\"}"),
                ],
            ),
        ),
        (
            "claims_and_downloads",
            talk(
                DEVICE | V5,
                &[
                    (SAY, "v1/devices/me/claim", b"{\"secretKey\":\"abc\",\"durationMs\":60000}"),
                    (SAY, "v1/devices/me/claim", b""),
                    (SAY, "v2/fw/request/1/chunk/0", b"4096"),
                    (SAY, "v2/sw/request/1/chunk/0", b""),
                    (SAY, "v2/fw/request/7/chunk/99999999999", b"1"),
                    (SAY, "foo/bar", b"x"),
                ],
            ),
        ),
    ]
}

fn formats() -> Named {
    let told: Vec<(u8, &str, &[u8])> = (0..9_usize)
        .map(|kind| {
            (
                TELL,
                "x",
                [
                    &b"\x00k"[..],
                    b"\x01k",
                    b"\x02k",
                    b"\x03k",
                    b"\x04k",
                    b"\x05k",
                    b"\x06k",
                    b"\x07k",
                    b"\x08k",
                ][kind],
            )
        })
        .collect();
    vec![
        (
            "schemas",
            talk(
                DEVICE | V5 | SCHEMAS,
                &[
                    (SAY, "v1/devices/me/telemetry", b"\x09\x00\x00\x00\x00\x00\x80\x35\x40\x10\x2a"),
                    (SAY, "v2/t/p", b"\x10\x2b\x1a\x01a\x1a\x01b"),
                    (SAY, "v2/a/p", b"\x0a\x031.0"),
                    (SAY, "v2/r/res/0", b"\x0a\x02{}"),
                    (SAY, "v2/t/j", TIMED),
                ],
            ),
        ),
        (
            "schemas_or_json",
            talk(
                DEVICE | BOTH,
                &[(SAY, "v2/t", b"\x10\x2b"), (SAY, "v2/t", TIMED), (SAY, "v2/a", b"{\"a\":1}")],
            ),
        ),
        (
            "own_topics",
            talk(
                DEVICE | V5 | OWN,
                &[(SAY, "mine/data", TIMED), (SAY, "v2/t", LENIENT), (SAY, "v1/devices/me/claim", b"1")],
            ),
        ),
        ("told", talk(DEVICE | V5, &[&[(ASK, "v1/devices/me/#", &b"q"[..])], &told[..]].concat())),
    ]
}

fn gateways() -> Named {
    vec![
        (
            "gateway",
            talk(
                GATEWAY | V5,
                &[
                    (SAY, "v1/gateway/connect", b"{\"device\":\"A\",\"type\":\"thermo\"}"),
                    (SAY, "v1/gateway/telemetry", b"{\"A/../+#\":[{\"ts\":5,\"values\":{\"t\":1}},{\"h\":40}],\"B\":5}"),
                    (SAY, "v1/gateway/attributes", b"{\"A\":{\"fw\":\"1.0\"},\"$SYS\":{\"n\":2}}"),
                    (SAY, "v1/gateway/attributes/request", b"{\"id\":1,\"device\":\"A\",\"client\":false,\"keys\":[\"k\"]}"),
                    (SAY, "v1/gateway/rpc", b"{\"device\":\"A\",\"id\":0,\"data\":{\"ok\":true}}"),
                    (SAY, "v1/gateway/claim", b"{\"A\":{\"secretKey\":\"s\"},\"B\":{}}"),
                    (SAY, "v1/gateway/disconnect", b"{\"device\":\"A\"}"),
                ],
            ),
        ),
        ("gateway_lenient", talk(GATEWAY, &[(SAY, "v1/gateway/telemetry", b"{A:[{t:NaN}],'B':[{h:01}]}")])),
        (
            "gateway_latency",
            talk(
                GATEWAY | V5,
                &[(
                    SAY,
                    "v1/gateway/telemetry",
                    b"{\"A\":[{\"ts\":5,\"values\":{\"t\":1},\"metadata\":{\"connector\":\"m\",\"receivedTs\":1,\"publishedTs\":5}}]}",
                )],
            ),
        ),
        (
            "gateway_schemas",
            talk(
                GATEWAY | V5 | SCHEMAS,
                &[
                    (SAY, "v1/gateway/connect", b"\x0a\x01A\x12\x01x"),
                    (SAY, "v1/gateway/telemetry", b"\x0a\x11\x0a\x01A\x1a\x0c\x0a\x0a\x08\x11\x12\x06\x0a\x01t\x10\x01\x20"),
                    (SAY, "v1/gateway/attributes", b"\x0a\x0c\x0a\x01A\x12\x07\x0a\x05\x0a\x01t\x10\x00"),
                    (SAY, "v1/gateway/attributes/request", b"\x08\x07\x12\x01A\x18\x01\x22\x01k"),
                    (SAY, "v1/gateway/rpc", b"\x0a\x01A\x10\x03\x1a\x02{}"),
                    (SAY, "v1/gateway/claim", b"\x0a\x08\x0a\x01A\x12\x03\x0a\x01s"),
                    (SAY, "v1/gateway/disconnect", b"\x0a\x01A"),
                ],
            ),
        ),
        (
            "gateway_long_names",
            talk(
                GATEWAY | V5,
                &[
                    (LONG | SAY, "v1/gateway/connect", b"{\"device\":\"~\",\"type\":\"x\"}"),
                    (LONG | SAY, "v1/gateway/telemetry", b"{\"~\":[{\"t\":1}],\"A\":[{\"t\":2}]}"),
                    (LONG | SAY, "v1/gateway/attributes", b"{\"~\":{\"a\":1}}"),
                    (LONG | TELL, "x", b"\x20~"),
                ],
            ),
        ),
        ("gateway_told", talk(GATEWAY | V5, &[(TELL, "x", b"\x20A"), (TELL, "x", b"\x25A"), (TELL, "x", b"\x2cA"), (TELL, "x", b"\x23A")])),
    ]
}

fn registrars() -> Named {
    let request = b"{\"deviceName\":\"n\",\"provisionDeviceKey\":\"k1\",\"provisionDeviceSecret\":\"s1\"}";
    vec![
        ("provision", talk(REGISTRAR | V5, &[(ASK, "/provision/response", b"q"), (SAY, "/provision/request", request), (TELL, "x", b"\x07")])),
        (
            "provision_lenient",
            talk(REGISTRAR, &[(SAY, "/provision", b"{provisionDeviceKey:k1,provisionDeviceSecret:s1,token:null}")]),
        ),
        (
            "provision_names",
            talk(
                REGISTRAR,
                &[(
                    SAY,
                    "/provision/request",
                    b"{\"provisionDeviceKey\":\"k1\",\"provisionDeviceSecret\":\"s1\",\"credentialsType\":\"MQTT_BASIC\",\"username\":\"u\",\"clientId\":null}",
                )],
            ),
        ),
        ("provision_message", talk(REGISTRAR | V5, &[(SAY, "/provision/request", b"\x0a\x01n\x1a\x08\x0a\x02k1\x12\x02s1"), (TELL, "x", b"\x07")])),
        ("provision_elsewhere", talk(REGISTRAR | V5, &[(SAY, "v2/t", TIMED)])),
    ]
}
