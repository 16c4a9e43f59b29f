//! One device's connection: what it says by publishing, and what it asks for by subscribing.
//!
//! Why broken payloads are judged in one place: how they are answered depends on the version, the quality and the profile,
//! and never on what was broken.
//!
//! Invariants:
//! - Unknown topics are acknowledged and never end a connection.
//! - A payload that cannot be read changes nothing.
//!
//! Source: sections 2.1, 2.2, 3, 4.2, 5.1 and 7.3 of the vectors.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use device::{
    Answer, ChunkWanted, Cookie, Device, Downlink, Forward, Guest, Habits, Interpreter, Kin, Offer,
    PackageKind, Profile, Said, Sample, Speech, Tenant, Unspeakable, Uplink, Utterance, Wanted, Within,
};
use mqtt::{QoS, ReasonCode, Version};

use super::canonical::Canonical;
use super::downloads::{Downloads, NoDownload};
use super::json::{self, Malformed, Members, Read};
use super::latency::Latencies;
use super::lenient;
use super::proto::transportapi;
use super::quirks::Quirks;
use super::settings::{Format, Schemas, Settings};
use super::subscriptions::Subscriptions;
use super::topics::{Meaning, Spelling, chunk_within, commands_spelling, is_in_table, meaning};
use super::{calls, proto, render, schema};

/// One device's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub version: Version,
    pub settings: Arc<Settings>,
    pub offer: Arc<Offer>,
    pub is_gateway: bool,
    pub subscriptions: Subscriptions,
    pub downloads: Downloads,
    pub canonical: Canonical,
    /// None if no connector of the gateway has told anything.
    pub latencies: Option<Box<Latencies>>,
    /// In which spelling attributes were asked for last, and in which something was called.
    pub last_asked: Spelling,
    pub last_called: Spelling,
}

// There is one of these for every connection of a device.
const _: () = assert!(size_of::<Session>() <= 192);

impl Session {
    pub fn new(guest: &Guest<'_>, settings: Arc<Settings>) -> Self {
        Self {
            version: guest.version,
            settings,
            offer: Arc::clone(guest.offer),
            is_gateway: guest.device.is_gateway(),
            subscriptions: Subscriptions::default(),
            downloads: Downloads::default(),
            canonical: Canonical::new(&guest.tenant.name, &guest.device.name),
            latencies: None,
            last_asked: Spelling::V1,
            last_called: Spelling::V1,
        }
    }

    /// How a payload that cannot be read is answered. Source: section 2.2.
    pub fn malformed(&self, qos: QoS, why: Malformed) -> Answer {
        if why.is_unexpected && self.settings.quirks.broken_numbers_end {
            return Answer::ended(ReasonCode::ServerShuttingDown).because(why.why);
        }
        let code = ReasonCode::PayloadFormatInvalid;
        let is_acknowledged =
            qos != QoS::AtMostOnce && (self.version == Version::V5 || self.settings.acks_malformed);
        let answer = if is_acknowledged { Answer::acknowledged(code) } else { Answer::ended(code) };
        answer.because(why.why)
    }

    /// The payload as JSON text: from the packet, or from a message of the profile's schema.
    fn as_json<'a>(
        &self,
        spelling: Spelling,
        payload: &'a [u8],
        read: impl Fn(&Schemas, &[u8]) -> Result<String, Malformed>,
    ) -> Result<Cow<'a, str>, Malformed> {
        let decode = || match &self.settings.schemas {
            Some(schemas) => read(schemas, payload).map(Cow::Owned),
            None => Err(Malformed::because("the profile has no schema for Protobuf")),
        };
        match self.settings.uplink_format(spelling) {
            Format::Json => Ok(json::payload_text(payload)),
            Format::Proto => decode(),
            Format::ProtoOrJson => decode().or_else(|_| Ok(json::payload_text(payload))),
        }
    }

    /// What the JSON of a Protobuf message may have: as much as a payload of JSON, and no less than is always allowed.
    fn json_bytes_max(&self) -> usize {
        usize::try_from(self.offer.packet_bytes_max).unwrap_or(usize::MAX).max(schema::JSON_BYTES_MAX)
    }

    /// Reads samples; where the text is no JSON and may be made so, out of what becomes of it. Returns the text as well.
    fn samples<'a>(
        &self,
        text: Cow<'a, str>,
        now_ms: i64,
        read: Read,
        speech: &mut Speech<'a>,
    ) -> Result<(Cow<'a, str>, Vec<Sample<'a>>), Malformed> {
        let typing = &self.settings.typing;
        let copied = |text: String| -> Result<(Cow<'a, str>, Vec<Sample<'a>>), Malformed> {
            let mut samples = Vec::new();
            read(&text, now_ms, typing, &mut samples)?;
            let samples = samples.into_iter().map(Sample::into_owned).collect();
            Ok((Cow::Owned(text), samples))
        };
        let broken = match text {
            Cow::Borrowed(borrowed) => {
                let mut samples = speech.samples();
                match read(borrowed, now_ms, typing, &mut samples) {
                    Ok(()) => return Ok((text, samples)),
                    Err(why) => {
                        speech.give_back(samples);
                        (why, Cow::Borrowed(borrowed))
                    }
                }
            }
            Cow::Owned(own) => match copied(own.clone()) {
                Ok(done) => return Ok(done),
                Err(why) => (why, Cow::Owned(own)),
            },
        };
        let (why, text) = broken;
        if !self.settings.quirks.lenient_json {
            return Err(why);
        }
        lenient::repair(&text).map_or(Err(why), copied)
    }

    fn telemetry<'a>(
        &self,
        spelling: Spelling,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Result<Answer, Malformed> {
        let decode = |schemas: &Schemas, payload: &[u8]| {
            let is_whole = self.settings.quirks.untimed_values_whole;
            schema::decode_telemetry(&schemas.telemetry, payload, is_whole, self.json_bytes_max())
        };
        let text = self.as_json(spelling, said.payload, decode)?;
        let (text, samples) = self.samples(text, said.now_ms, json::telemetry, speech)?;
        let is_silent = samples.is_empty() && self.settings.quirks.empty_arrays_unacknowledged;
        let answer = if is_silent && is_empty_array(&text) { unacknowledged() } else { Answer::accepted() };
        speech.forwards.push(forward(&self.canonical.own.telemetry, text));
        speech.remark(Uplink::Telemetry(samples));
        Ok(answer)
    }

    fn attributes<'a>(
        &self,
        spelling: Spelling,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Result<Answer, Malformed> {
        let decode = |schemas: &Schemas, payload: &[u8]| {
            schema::decode(&schemas.attributes, payload, self.json_bytes_max())
        };
        let text = self.as_json(spelling, said.payload, decode)?;
        let (text, samples) = self.samples(text, said.now_ms, json::attributes, speech)?;
        speech.forwards.push(forward(&self.canonical.own.attributes, text));
        speech.remark(Uplink::Attributes(samples));
        Ok(Answer::accepted())
    }

    fn attributes_wanted<'a>(
        &mut self,
        (spelling, id): (Spelling, &str),
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Result<Answer, Malformed> {
        let id = number(id)?;
        let is_lenient = self.settings.quirks.lenient_json;
        let from_message = || {
            let message: transportapi::AttributesRequest = proto::decode(said.payload)?;
            // Without presence an empty text is an absent one.
            let given = |keys: String| (!keys.is_empty()).then_some(Cow::Owned(keys));
            Ok((given(message.client_keys), given(message.shared_keys)))
        };
        let from_text = || {
            let text = json::lawful_text(said.payload, is_lenient);
            let members = Members::read(&text)?;
            let named = |name| -> Result<Option<Cow<'a, str>>, Malformed> {
                Ok(members.word(name)?.map(|text| Cow::Owned(text.into_owned())))
            };
            Ok((named("clientKeys")?, named("sharedKeys")?))
        };
        let wanted: Result<_, Malformed> = match self.settings.uplink_format(spelling) {
            Format::Json => from_text(),
            Format::Proto => from_message(),
            Format::ProtoOrJson => from_message().or_else(|_: Malformed| from_text()),
        };
        let (client, shared) = match wanted? {
            (None, None) => (Wanted::All, Wanted::All),
            (client, shared) => (keys(client), keys(shared)),
        };
        self.last_asked = spelling;
        // A negative number is acknowledged and never answered.
        if id >= 0 {
            speech.remark(Uplink::AttributesWanted { cookie: cookie(spelling, id), client, shared });
        }
        Ok(Answer::accepted())
    }

    fn command_answered<'a>(
        &self,
        (spelling, id): (Spelling, &str),
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Result<Answer, Malformed> {
        let number = number(id)?;
        let schemas = self.settings.schemas.as_ref();
        let decode = || match schemas {
            Some(schemas) => schema::decode(&schemas.command_answer, said.payload, self.json_bytes_max())
                .map(String::into_bytes),
            None => Err(Malformed::because("the profile has no schema for Protobuf")),
        };
        let answer = match self.settings.uplink_format(spelling) {
            Format::Json => Cow::Borrowed(said.payload),
            Format::Proto => Cow::Owned(decode()?),
            Format::ProtoOrJson => decode().map_or(Cow::Borrowed(said.payload), Cow::Owned),
        };
        speech.remark(Uplink::CommandAnswered { number, answer });
        Ok(Answer::accepted())
    }

    fn called<'a>(
        &mut self,
        (spelling, id): (Spelling, &str),
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Result<Answer, Malformed> {
        let id = number(id).map_err(Malformed::unexpected)?;
        let is_lenient = self.settings.quirks.lenient_json;
        let from_message = || -> Result<(String, String), Malformed> {
            let message: transportapi::RpcRequest = proto::decode(said.payload)?;
            Ok((message.method, message.params))
        };
        let from_text = || -> Result<(String, String), Malformed> {
            let text = json::lawful_text(said.payload, is_lenient);
            let members = Members::read(&text)?;
            let absent = || Malformed::because("there is no `method`").unexpected();
            let method = members.word("method")?.ok_or_else(absent)?;
            Ok((method.into_owned(), json::compact(members.get("params").unwrap_or("null")).into_owned()))
        };
        let (method, params) = match self.settings.uplink_format(spelling) {
            Format::Json => from_text()?,
            Format::Proto => from_message()?,
            Format::ProtoOrJson => from_message().or_else(|_| from_text())?,
        };
        self.last_called = spelling;
        let quirks = &self.settings.quirks;
        let is_hidden = quirks.limits_on_v1_only && spelling != Spelling::V1 && method == calls::LIMITS;
        let known = match is_hidden {
            true => None,
            false => calls::answer(&method, &self.offer, self.is_gateway, said.now_ms),
        };
        match known {
            Some(answer) => {
                speech.utterances.push(self.call_answer(spelling, id, Ok(&answer)));
                speech.remark(Uplink::Alive);
            }
            None if self.offer.has_responder => {
                let cookie = cookie(spelling, id);
                speech.remark(Uplink::Called { cookie, method: method.into(), params: params.into() });
            }
            None if quirks.unknown_calls_time_out => {
                let cookie = cookie(spelling, id);
                speech.remark(Uplink::CalledInVain { cookie, wait_ms: calls::WAIT_MS });
            }
            None => {
                let why = format!("unknown method: {method}");
                speech.utterances.push(self.call_answer(spelling, id, Err(&why)));
                speech.remark(Uplink::Alive);
            }
        }
        Ok(Answer::accepted())
    }

    /// The message that answers a call.
    pub fn call_answer(&self, spelling: Spelling, id: i32, answer: Result<&str, &str>) -> Utterance {
        let spelling = self.spelling(spelling, self.last_called);
        let payload = match self.settings.downlink_format(spelling) {
            Format::Json => render::call(answer).into_bytes(),
            Format::Proto | Format::ProtoOrJson => render::call_message(id, answer),
        };
        self.utter([spelling.call_response(), &id.to_string()].concat().into(), payload)
    }

    /// In which spelling something is answered: that of its question, or of the last one.
    pub fn spelling(&self, asked: Spelling, last: Spelling) -> Spelling {
        if self.settings.quirks.last_request_decides { last } else { asked }
    }

    fn claim<'a>(&self, said: &Said<'a>, speech: &mut Speech<'a>) -> Result<Answer, Malformed> {
        let from_message = || -> Result<(Cow<'a, str>, Option<i64>), Malformed> {
            let message: transportapi::ClaimDevice = proto::decode(said.payload)?;
            Ok((message.secret_key.into(), Some(message.duration_ms)))
        };
        let from_text = || {
            if said.payload.is_empty() {
                return Ok((Cow::Borrowed(""), None));
            }
            claim_of(&json::lawful_text(said.payload, self.settings.quirks.lenient_json))
        };
        let (secret, duration_ms) = match self.settings.uplink_format(Spelling::V1) {
            Format::Json => from_text()?,
            Format::Proto => from_message()?,
            Format::ProtoOrJson => from_message().or_else(|_| from_text())?,
        };
        speech.remark(Uplink::Claimable { secret, duration_ms });
        Ok(Answer::accepted())
    }

    fn chunk<'a>(
        &mut self,
        asked: (PackageKind, &str, &str),
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Answer {
        let wanted = self.downloads.wanted(asked, said.payload, u64::from(self.offer.packet_bytes_max));
        match wanted {
            Ok(wanted) => {
                let ends = self.settings.quirks.download_errors_end;
                speech.remark(Uplink::ChunkWanted(ChunkWanted { ends, ..wanted }));
                Answer::accepted()
            }
            Err(NoDownload::Malformed(why)) => self.malformed(said.qos, why.unexpected()),
            Err(NoDownload::TooLarge) => {
                speech.utterances.push(self.download_error(asked.0, "PAYLOAD_TOO_LARGE"));
                let answer = match self.settings.quirks.download_errors_end {
                    true => Answer::ended(ReasonCode::ImplementationSpecificError),
                    false => Answer::acknowledged(ReasonCode::QuotaExceeded),
                };
                answer.because("the part is larger than a packet may be")
            }
        }
    }

    /// The message that tells of a download that fails.
    pub fn download_error(&self, kind: PackageKind, text: &str) -> Utterance {
        let kind = if self.settings.quirks.one_download_error_topic { PackageKind::Firmware } else { kind };
        self.utter(format!("v2/{}/error", kind.prefix()).into(), text.as_bytes().to_vec())
    }

    /// A message to the device, with the quality that it subscribed with.
    pub fn utter(&self, topic: Cow<'static, str>, payload: Vec<u8>) -> Utterance {
        let otherwise =
            if self.settings.quirks.qos1_unsubscribed { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let qos = self.subscriptions.qos(&topic).unwrap_or(otherwise);
        Utterance { topic, payload, qos, command: None }
    }

    /// Takes back what nobody has subscribed to, if that is not sent.
    fn keep_subscribed(&self, utterances: &mut Vec<Utterance>, from: usize) {
        if self.settings.quirks.delivers_unsubscribed {
            return;
        }
        let mut index = 0;
        utterances.retain(|utterance| {
            index += 1;
            index <= from || self.subscriptions.qos(&utterance.topic).is_some()
        });
    }

    /// What a message says, and how it is answered if it may be said.
    fn interpret<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>, kin: Option<&dyn Kin>) -> Answer {
        let settings = &self.settings;
        let meant = match meaning(said.topic, &settings.telemetry_topic, &settings.attributes_topic) {
            Meaning::Unknown if settings.quirks.unanchored_downloads => chunk_within(said.topic),
            meant => meant,
        };
        let done = match meant {
            Meaning::Telemetry(spelling) => self.telemetry(spelling, said, speech),
            Meaning::Attributes(spelling) => self.attributes(spelling, said, speech),
            Meaning::AttributesWanted(spelling, id) => self.attributes_wanted((spelling, id), said, speech),
            Meaning::CommandAnswered(spelling, id) => self.command_answered((spelling, id), said, speech),
            Meaning::Called(spelling, id) => self.called((spelling, id), said, speech),
            Meaning::Claim => self.claim(said, speech),
            Meaning::Chunk { kind, request, index } => {
                return self.chunk((kind, request, index), said, speech);
            }
            Meaning::Gateway(meaning) if self.is_gateway => {
                return self.for_children(meaning, said, speech, kin);
            }
            Meaning::Gateway(_) if self.settings.quirks.gateway_topics_unacknowledged => {
                return unacknowledged();
            }
            Meaning::Gateway(_) => {
                speech.remark(Uplink::Alive);
                return Answer::acknowledged(ReasonCode::TopicNameInvalid).because("the topic means nothing");
            }
            Meaning::Unknown => {
                let code = ReasonCode::TopicNameInvalid;
                if self.version != Version::V5 && !self.settings.quirks.acks_unknown_topics {
                    return Answer::ended(code).because("the topic means nothing");
                }
                speech.remark(Uplink::Alive);
                return Answer::acknowledged(code).because("the topic means nothing");
            }
        };
        match done {
            Ok(answer) => answer,
            Err(why) => self.malformed(said.qos, why),
        }
    }

    fn hear<'a>(
        &mut self,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
        within: Within<'_>,
        kin: Option<&dyn Kin>,
    ) -> Answer {
        let from = speech.utterances.len();
        let answer = self.interpret(said, speech, kin);
        self.keep_subscribed(&mut speech.utterances, from);
        self.limit(said, speech, answer, within)
    }
}

impl Interpreter for Session {
    fn habits(&self) -> Habits {
        let Quirks { qos2_puback, echoes_session, echoes_disconnect, rate_limits_end, .. } =
            self.settings.quirks;
        Habits {
            has_no_qos2: qos2_puback,
            echoes_session,
            echoes_disconnect,
            forgets_subscriptions: rate_limits_end,
            keeps_to_own_children: self.settings.own_children_only,
        }
    }

    fn publish<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>) -> Answer {
        self.hear(said, speech, Within::default(), None)
    }

    fn publish_within<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>, within: Within<'_>) -> Answer {
        self.hear(said, speech, within, None)
    }

    fn publish_among<'a>(
        &mut self,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
        within: Within<'_>,
        kin: &dyn Kin,
    ) -> Answer {
        self.hear(said, speech, within, Some(kin))
    }

    fn is_telling(&self, filter: &str) -> bool {
        Subscriptions::would_tell(filter, &self.settings.attributes_subscribe_topic)
    }

    fn unsay(&mut self, children: &BTreeSet<String>, speech: &mut Speech<'_>) {
        speech.remarks.retain(|remark| !remark.is_of_one(children));
        self.keep_back(children, speech);
    }

    fn subscribe(&mut self, filter: &str, qos: QoS, speech: &mut Speech<'_>) -> Result<QoS, ReasonCode> {
        let own = &self.settings.attributes_subscribe_topic;
        if self.settings.quirks.exact_filters && !is_in_table(filter) && !own.fits(filter) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let granted = self.subscriptions.add(filter, qos, own).ok_or(ReasonCode::TopicFilterInvalid)?;
        if self.subscriptions.is_telling(filter) {
            if self.settings.quirks.repeats_commands && commands_spelling(filter).is_some() {
                speech.remark(Uplink::ListensAgain);
            }
            speech.remark(self.subscriptions.listens());
        }
        Ok(granted)
    }

    fn unsubscribe(&mut self, filter: &str, speech: &mut Speech<'_>) -> ReasonCode {
        let was_telling = self.subscriptions.is_telling(filter);
        if !self.subscriptions.remove(filter) {
            return ReasonCode::NoSubscriptionExisted;
        }
        if was_telling {
            speech.remark(self.subscriptions.listens());
        }
        ReasonCode::Success
    }

    fn renew(&mut self, device: &Device, tenant: &Tenant, profile: &Profile) {
        self.settings = Settings::of(profile);
        self.canonical = Canonical::new(&tenant.name, &device.name);
    }

    fn downlink(
        &mut self,
        child: Option<&str>,
        downlink: &Downlink,
        utterances: &mut Vec<Utterance>,
    ) -> Result<(), Unspeakable> {
        let from = utterances.len();
        let told = match child {
            None => self.tell_own(downlink, utterances),
            Some(child) => self.tell_of_child(child, downlink, utterances),
        };
        self.keep_subscribed(utterances, from);
        told
    }
}

/// A spelling and the number of a request, to be had back with the answer.
pub(super) fn cookie(spelling: Spelling, id: i32) -> Cookie {
    Cookie(u64::from(id.cast_unsigned()) << 2 | spelling.bits())
}

/// What [`cookie`] was made of.
pub(super) fn of_cookie(cookie: Cookie) -> (Spelling, i32) {
    let id = u32::try_from(cookie.0 >> 2 & u64::from(u32::MAX)).expect("masked");
    (Spelling::of_bits(cookie.0), id.cast_signed())
}

/// Secret and duration of a claim as JSON.
pub(super) fn claim_of(text: &str) -> Result<(Cow<'static, str>, Option<i64>), Malformed> {
    let members = Members::read(text)?;
    let secret = members.word("secretKey")?.map(Cow::into_owned).unwrap_or_default();
    Ok((secret.into(), members.whole("durationMs")?))
}

/// No answer at all.
fn unacknowledged() -> Answer {
    Answer { acknowledge: None, ..Answer::accepted() }
}

fn is_empty_array(text: &str) -> bool {
    let inner = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.trim().is_empty())
}

fn forward<'a>(topic: &Arc<str>, text: Cow<'a, str>) -> Forward<'a> {
    let payload = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Forward { topic: Arc::clone(topic), payload }
}

fn number(id: &str) -> Result<i32, Malformed> {
    id.parse().map_err(|_| Malformed::because("the topic does not end with a number"))
}

/// Keys between commas, not trimmed; none and nothing but commas mean that nothing was asked for.
fn keys(list: Option<Cow<'_, str>>) -> Wanted<'_> {
    let list = list.unwrap_or_default();
    let mut keys: Vec<Cow<'_, str>> = Vec::new();
    for key in list.split(',').filter(|key| !key.is_empty()) {
        if !keys.iter().any(|known| known == key) {
            keys.push(Cow::Owned(key.to_owned()));
        }
    }
    if keys.is_empty() { Wanted::Nothing } else { Wanted::Keys(keys) }
}

#[cfg(test)]
pub(super) mod trial {
    //! A session to try things on.

    use device::{Credential, Device, DeviceId, Profile, ProfileId, Role, Tenant, TenantId};

    use super::*;

    /// A profile whose payloads are Protobuf, with one value called `temp`.
    pub const PROTO: &str = r#"{"transportPayloadTypeConfiguration":{"transportPayloadType":"PROTOBUF",
"deviceTelemetryProtoSchema":"syntax = \"proto3\"; message T { optional double temp = 1; }",
"deviceAttributesProtoSchema":"syntax = \"proto3\"; message A { optional string fw = 1; }"}}"#;

    /// The session of a gateway called `g`.
    pub fn gateway(version: Version, settings: &str) -> Session {
        gateway_offered(version, settings, Offer::default())
    }

    /// The same with an offer.
    pub fn gateway_offered(version: Version, settings: &str, offer: Offer) -> Session {
        let (tenant, profile) = (TenantId::from_bytes([1; 16]), ProfileId::from_bytes([2; 16]));
        let device = Device {
            id: DeviceId::from_bytes([3; 16]),
            tenant,
            profile,
            customer: None,
            role: Role::Gateway,
            created_ms: 0,
            name: "g".into(),
            credential: Credential::token("TG").unwrap(),
            rare: None,
        };
        let tenant = Tenant::named(tenant, "t");
        let profile = Profile::named(profile, tenant.id, "default");
        let offer = Arc::new(offer);
        let guest = Guest { version, device: &device, tenant: &tenant, profile: &profile, offer: &offer };
        Session::new(&guest, Arc::new(Settings::read(settings).unwrap()))
    }

    /// What comes of a message of QoS 1 at time 99.
    pub fn publish<'a>(session: &mut Session, topic: &'a str, payload: &'a [u8]) -> (Answer, Speech<'a>) {
        let mut speech = Speech::default();
        let said = Said { topic, payload, qos: QoS::AtLeastOnce, now_ms: 99 };
        (session.publish(&said, &mut speech), speech)
    }
}
