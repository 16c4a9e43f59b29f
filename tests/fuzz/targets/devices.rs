//! What devices, gateways and those without credentials say in ThingsBoard's dialect, and what they are told.
//!
//! Input: one byte that says who speaks (two bits: device, gateway, registrar), in which version (one bit) and with which
//! profile (two bits); then steps: a byte for what is done, a byte for the topic (an index into [`TOPICS`], or 255 and a
//! length and the topic itself), a byte for the length of the payload, and the payload. If the byte for what is done has its
//! seventh bit, the first tilde of the payload is a text of [`LONG`].
//!
//! Invariants:
//! - What is forwarded lies in the tenant's own level and is JSON.
//! - Every message of QoS 1 is answered.
//! - What a hub has written down makes the same hub again; no device has more keys than it may.
//!
//! Source: the tables of topics of the device API.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use device::{
    Chunk, Content, Cookie, Credential, Device, DeviceId, Dialect, Downlink, Ear, Guest, Hub, HubTerms,
    Interpreter, Keeping, NoChunk, Offer, Outcome, Package, PackageId, PackageKind, Profile, ProfileId,
    ProvisionReply, Role, Said, Sample, Scope, Speech, Subject, Tenant, TenantId, Value,
};
use dialect::ThingsBoard;
use mqtt::topic::{check_filter, check_name};
use mqtt::{QoS, ReasonCode, Version};

/// Every topic that means something, and some that nearly do.
pub(crate) const TOPICS: &[&str] = &[
    "v1/devices/me/telemetry",
    "v1/devices/me/attributes",
    "v1/devices/me/attributes/request/1",
    "v1/devices/me/rpc/request/1",
    "v1/devices/me/rpc/response/0",
    "v1/devices/me/claim",
    "v2/t",
    "v2/t/j",
    "v2/t/p",
    "v2/a",
    "v2/a/j",
    "v2/a/p",
    "v2/a/req/1",
    "v2/a/req/j/1",
    "v2/a/req/p/1",
    "v2/r/req/1",
    "v2/r/req/j/1",
    "v2/r/req/p/1",
    "v2/r/res/0",
    "v2/r/res/p/0",
    "v2/fw/request/1/chunk/0",
    "v2/sw/request/1/chunk/0",
    "v1/gateway/connect",
    "v1/gateway/disconnect",
    "v1/gateway/telemetry",
    "v1/gateway/attributes",
    "v1/gateway/attributes/request",
    "v1/gateway/rpc",
    "v1/gateway/claim",
    "v1/gateway/x",
    "/provision/request",
    "/provision",
    "v1/devices/me/#",
    "v1/devices/me/rpc/request/+",
    "v2/r/req/p/+",
    "mine/data",
];

const SCHEMAS: &str = r#"{"transportPayloadTypeConfiguration":{"transportPayloadType":"PROTOBUF",
"deviceTelemetryProtoSchema":"syntax = \"proto3\"; message T { optional double temp = 1; optional int64 count = 2; repeated string s = 3; }",
"deviceAttributesProtoSchema":"syntax = \"proto3\"; message A { optional string fw = 1; }"}}"#;

/// Settings of profiles: JSON, schemas, schemas or JSON, and one that casts nothing and has topics of its own.
static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    let both =
        SCHEMAS.replace("\"PROTOBUF\",", "\"PROTOBUF\",\"enableCompatibilityWithJsonPayloadFormat\":true,");
    let own =
        "{\"deviceTelemetryTopic\":\"mine/#\",\"typeCastEnabled\":false,\"quirks\":{\"lenientJson\":false}}";
    let all = ["", SCHEMAS, &both, own].map(|settings| Profile {
        settings: Arc::from(settings),
        terms: ThingsBoard.read_settings(settings).expect("the settings are valid"),
        ..Profile::named(ProfileId::from_bytes([2; 16]), TENANT, "default")
    });
    all.into()
});

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const DEVICE: DeviceId = DeviceId::from_bytes([3; 16]);
const CHILD: DeviceId = DeviceId::from_bytes([4; 16]);
const EAR: Ear = Ear(7);
const FACTS_MAX: usize = 8;
const LEVELS_MAX: usize = 64;
/// How long a text is that is longer than a step may be: as one level of a topic it would be longer than any topic.
const LONG: usize = 30_000;

/// One connection and the hub behind it.
struct Talk {
    interpreter: Box<dyn Interpreter>,
    version: Version,
    is_registrar: bool,
    hub: Hub,
    out: Outcome,
    now_ms: i64,
}

/// A conversation.
pub fn devices(bytes: &[u8]) {
    let Some((who, mut rest)) = bytes.split_first() else { return };
    let mut talk = Talk::new(*who);
    while let Some((kind, topic, payload)) = step(&mut rest) {
        talk.now_ms += 1000;
        let payload = &*stretched(kind, payload);
        match kind % 8 {
            0 => talk.publish(topic, QoS::AtMostOnce, payload),
            1..=3 => talk.publish(topic, QoS::AtLeastOnce, payload),
            4 => talk.subscribe(topic, payload),
            5 => {
                let mut speech = Speech::default();
                let _code = talk.interpreter.unsubscribe(topic, &mut speech);
                talk.hear(&speech);
            }
            _tell => talk.tell(payload),
        }
        talk.listen();
    }
    talk.end();
}

/// The payload as it is meant.
fn stretched(kind: u8, payload: &[u8]) -> Cow<'_, [u8]> {
    let tilde = payload.iter().position(|byte| *byte == b'~').filter(|_| kind & 0x40 != 0);
    let Some(at) = tilde else { return Cow::Borrowed(payload) };
    Cow::Owned([&payload[..at], &[b'/'; LONG], &payload[at + 1..]].concat())
}

/// The next step, if it is whole.
fn step<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a str, &'a [u8])> {
    let (kind, bytes) = rest.split_first()?;
    let (index, mut bytes) = bytes.split_first()?;
    let topic = if *index == 255 {
        let (len, behind) = bytes.split_first()?;
        let (topic, behind) = behind.split_at_checked(usize::from(*len))?;
        bytes = behind;
        // A broker lets nothing else through.
        std::str::from_utf8(topic).ok().filter(|topic| !topic.contains('\0')).unwrap_or("x")
    } else {
        TOPICS[usize::from(*index) % TOPICS.len()]
    };
    let (len, bytes) = bytes.split_first()?;
    let (payload, bytes) = bytes.split_at_checked(usize::from(*len))?;
    *rest = bytes;
    Some((*kind, topic, payload))
}

impl Talk {
    fn new(who: u8) -> Self {
        let version = if who & 4 == 0 { Version::V311 } else { Version::V5 };
        let is_registrar = who & 3 == 2;
        let interpreter = if is_registrar {
            ThingsBoard.registrar(version, device::DoorQuirks::default()).expect("this dialect has one")
        } else {
            let device = Device {
                id: DEVICE,
                tenant: TENANT,
                profile: ProfileId::from_bytes([2; 16]),
                customer: None,
                role: if who & 3 == 0 { Role::Ordinary } else { Role::Gateway },
                created_ms: 0,
                name: "a/b+#".into(),
                credential: Credential::token("T").expect("a word"),
                rare: None,
            };
            let tenant = Tenant::named(TENANT, "acme");
            let profile = &PROFILES[usize::from(who >> 3 & 3)];
            let offer = Arc::new(Offer::default());
            let guest = Guest { version, device: &device, tenant: &tenant, profile, offer: &offer };
            ThingsBoard.interpreter(&guest).expect("this dialect has one")
        };
        let mut hub = Hub::new(HubTerms { facts_per_device_max: FACTS_MAX, ..HubTerms::default() });
        let mut out = Outcome::default();
        let keeping = if who & 0x20 == 0 { Keeping::Latest } else { Keeping::History };
        for device in [DEVICE, CHILD] {
            hub.open(device, EAR, keeping, 0, &mut out);
        }
        Self { interpreter, version, is_registrar, hub, out, now_ms: 0 }
    }

    fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        // A broker lets no other name through, nor another filter below.
        if check_name(topic.as_bytes(), LEVELS_MAX).is_err() {
            return;
        }
        let said = Said { topic, payload, qos, now_ms: self.now_ms };
        let mut speech = Speech::default();
        let answer = self.interpreter.publish(&said, &mut speech);
        let is_answered = answer.acknowledge.is_some() || answer.end.is_some();
        assert!(is_answered, "{topic} is not answered");
        assert!(answer.again_ms.is_none(), "nothing is limited here");
        if self.version == Version::V5 && qos == QoS::AtLeastOnce {
            assert!(answer.acknowledge.is_some(), "in 5.0 there is always a code for a message of QoS 1");
        }
        for forward in &speech.forwards {
            let levels: Vec<&str> = forward.topic.split('/').collect();
            assert!(
                matches!(levels[..], ["thingsboard", "acme", _, "telemetry" | "attributes"]),
                "{levels:?}"
            );
            assert!(check_name(forward.topic.as_bytes(), 4).is_ok(), "{}", forward.topic);
            let json = serde_json::from_slice::<serde::de::IgnoredAny>(&forward.payload);
            assert!(json.is_ok(), "{:?} is forwarded", String::from_utf8_lossy(&forward.payload));
        }
        let is_of_children = topic.starts_with("v1/gateway");
        if answer.acknowledge.is_none_or(|code| code == ReasonCode::PayloadFormatInvalid) && !is_of_children {
            assert!(speech.forwards.is_empty(), "what cannot be read is not forwarded");
        }
        self.check_utterances(&speech.utterances);
        self.hear(&speech);
        let again: Speech<'static> = speech.recycle();
        assert_eq!(again, Speech::default());
    }

    fn subscribe(&mut self, filter: &str, payload: &[u8]) {
        if check_filter(filter, LEVELS_MAX).is_err() {
            return;
        }
        let mut speech = Speech::default();
        let qos = if payload.is_empty() { QoS::AtMostOnce } else { QoS::ExactlyOnce };
        if let Ok(granted) = self.interpreter.subscribe(filter, qos, &mut speech) {
            assert!(granted <= QoS::AtLeastOnce);
        }
        self.hear(&speech);
    }

    fn hear(&mut self, speech: &Speech<'_>) {
        for remark in &speech.remarks {
            let device = match &remark.subject {
                Subject::Own => DEVICE,
                Subject::Child(name) => {
                    assert!(!name.trim().is_empty(), "a child has a name");
                    CHILD
                }
            };
            self.hub.heed(device, EAR, &remark.uplink, self.now_ms, &mut self.out);
        }
    }

    /// Tells the device whatever can be told.
    fn tell(&mut self, payload: &[u8]) {
        let Some((kind, payload)) = payload.split_first() else { return };
        let text = String::from_utf8_lossy(payload).into_owned();
        let value = if kind & 0x10 == 0 { Value::Text(text.clone().into()) } else { Value::Double(f64::NAN) };
        let samples = vec![Sample { key: text.clone().into(), value, at_ms: self.now_ms }];
        let cookie = Cookie(u64::from(*kind) << 30 | u64::from(*kind));
        let child = (kind & 0x20 != 0).then_some(text.as_str());
        let downlink = match kind % 9 {
            0 => {
                Downlink::Attributes { cookie, keys: 1, client: Some(samples.clone()), shared: Some(samples) }
            }
            1 => Downlink::SharedWritten(samples.into()),
            2 => Downlink::SharedDeleted([text.as_str().into()].into()),
            3 => {
                let params = if payload.len() > 4 { "{\"a\":1}" } else { "7" };
                let method = text.as_str().into();
                Downlink::Command { number: i32::MAX, method, params: params.into(), is_answered: true }
            }
            4 => Downlink::CallAnswered { cookie, answer: Err(text.as_str().into()) },
            5 => Downlink::Chunk { cookie, package: PackageId::from_bytes([9; 16]), chunk: chunk(payload) },
            6 => Downlink::NoChunk { cookie, why: NoChunk::NotAssigned },
            7 => Downlink::Provisioned(ProvisionReply::Granted(Credential::token("t").expect("a word"))),
            _last => Downlink::Unheard { reason: ReasonCode::MessageRateTooHigh },
        };
        let mut utterances = Vec::new();
        // A dialect may have no words; it must not have the wrong ones.
        if self.interpreter.downlink(child, &downlink, &mut utterances).is_err() {
            assert!(utterances.is_empty());
        }
        self.check_utterances(&utterances);
        self.hub.write(
            DEVICE,
            Scope::Shared,
            &[Sample { key: text.into(), value: Value::Bool(true), at_ms: 0 }],
            &mut self.out,
        );
    }

    /// Says to the device what the hub has for it.
    fn listen(&mut self) {
        for addressed in std::mem::take(&mut self.out.downlinks) {
            let child = (addressed.device == CHILD).then_some("child");
            let mut utterances = Vec::new();
            let _spoken = self.interpreter.downlink(child, &addressed.downlink, &mut utterances);
            self.check_utterances(&utterances);
        }
    }

    fn check_utterances(&self, utterances: &[device::Utterance]) {
        for utterance in utterances {
            let is_own = utterance.topic.starts_with("v1/") || utterance.topic.starts_with("v2/");
            assert!(is_own != self.is_registrar, "{}", utterance.topic);
            assert!(check_name(utterance.topic.as_bytes(), 16).is_ok(), "{}", utterance.topic);
            assert!(utterance.qos <= QoS::AtLeastOnce);
        }
    }

    fn end(&mut self) {
        let mut again = Hub::default();
        self.out.changes.iter().for_each(|change| again.restore(change));
        for device in [DEVICE, CHILD] {
            let scopes = [Scope::Client, Scope::Shared, Scope::Server];
            let mut keys = self.hub.latest(device).count();
            let same = |one: &Value<'_>, other: &Value<'_>| one.to_json() == other.to_json();
            let pairs = self.hub.latest(device).zip(again.latest(device));
            for ((key, value, at_ms), (key_again, value_again, at_ms_again)) in pairs {
                assert_eq!((key, at_ms), (key_again, at_ms_again));
                assert!(same(value, value_again), "{key} is {value:?} and was {value_again:?}");
            }
            assert_eq!(self.hub.latest(device).count(), again.latest(device).count());
            for scope in scopes {
                keys += self.hub.attributes(device, scope).count();
                assert_eq!(
                    self.hub.attributes(device, scope).count(),
                    again.attributes(device, scope).count()
                );
            }
            assert!(keys <= FACTS_MAX, "{keys} keys");
        }
    }
}

fn chunk(payload: &[u8]) -> Chunk {
    let package = Package {
        created_ms: 0,
        id: PackageId::from_bytes([9; 16]),
        tenant: TENANT,
        profile: ProfileId::from_bytes([2; 16]),
        kind: PackageKind::Firmware,
        title: "a".into(),
        version: "1".into(),
        tag: None,
        content: Content::upload(payload.into(), device::Algorithm::Crc32, None)
            .expect("no sum is asked for"),
        label: device::Label::default(),
    };
    package.chunk(0, 0).expect("it is here")
}
