//! The gateway API: one connection speaks for many children.
//!
//! Why one child's broken values do not stop the others: a gateway gathers what it cannot check, and fifty devices must not
//! suffer for one.
//!
//! Invariants:
//! - A child is named by what the gateway says only; whose child it is, is decided by whoever hears the remark.
//! - One answer per message, whatever the number of children in it.
//!
//! Source: section 8 of the vectors.

use std::borrow::Cow;
use std::sync::Arc;

use device::{
    Answer, Cookie, Downlink, Forward, Kin, Said, Sample, Speech, Terms, Typing, Unspeakable, Uplink,
    Utterance, Wanted,
};
use mqtt::{QoS, ReasonCode, Version};
use prost::Message;

use super::canonical::Names;
use super::json::{self, Malformed, Members};
use super::lenient;
use super::proto::{self, transport, transportapi};
use super::render;
use super::session::{Session, claim_of};
use super::settings::Settings;
use super::topics::GatewayMeaning;

/// Why a gateway's message is not taken.
enum Trouble {
    /// It cannot be read at all.
    Malformed(Malformed),
    /// It can be read and is not what its topic asks for.
    Shape(Malformed),
    /// What it says of some of the children cannot be read; the others were heard.
    Some(Malformed),
}

/// The bit of a cookie that says that the device's own attributes were asked for.
const CLIENT_BIT: u64 = 1 << 32;

type Heard = Result<(), Trouble>;

/// How a child's values are typed.
enum ChildTyping<'a> {
    /// As its gateway's: nobody knows it.
    Gateway(&'a Typing),
    /// By its own profile; none means the defaults.
    Own(Option<Cow<'a, Terms>>, Typing),
}

impl<'a> ChildTyping<'a> {
    fn of(child: &str, kin: Option<&'a dyn Kin>, gateway: &'a Typing) -> Self {
        match kin {
            None => Self::Gateway(gateway),
            Some(kin) => Self::Own(kin.terms_of(child), Typing::default()),
        }
    }

    fn typing(&self) -> &Typing {
        match self {
            Self::Gateway(typing) => typing,
            Self::Own(terms, otherwise) => {
                let settings = terms.as_ref().and_then(|terms| terms.downcast_ref::<Settings>());
                settings.map_or(otherwise, |settings| &settings.typing)
            }
        }
    }
}

impl From<Malformed> for Trouble {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why)
    }
}

impl Session {
    /// A message of a gateway about its children.
    pub fn for_children<'a>(
        &mut self,
        meaning: GatewayMeaning,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
        kin: Option<&dyn Kin>,
    ) -> Answer {
        if meaning == GatewayMeaning::Unknown {
            speech.remark(Uplink::Alive);
            return Answer::acknowledged(ReasonCode::TopicNameInvalid).because("the topic means nothing");
        }
        let heard = if self.settings.schemas.is_some() {
            self.messages_of_children(meaning, said, speech)
        } else {
            match json::payload_text(said.payload) {
                Cow::Borrowed(text) => {
                    let heard = self.texts_of_children(meaning, text, said.now_ms, speech, kin);
                    match heard {
                        Err(Trouble::Malformed(why)) if self.settings.quirks.lenient_json => {
                            match lenient::repair(text) {
                                // A bare word becomes JSON, but nobody has meant it so.
                                Ok(json) if json.starts_with(['{', '[']) => {
                                    self.repaired_of_children(meaning, &json, said.now_ms, speech, kin)
                                }
                                Ok(_) | Err(_) => Err(Trouble::Malformed(why)),
                            }
                        }
                        heard => heard,
                    }
                }
                Cow::Owned(text) => self.repaired_of_children(meaning, &text, said.now_ms, speech, kin),
            }
        };
        if matches!(heard, Err(Trouble::Malformed(_) | Trouble::Shape(_))) {
            speech.clear();
        }
        let told = self.latencies.as_mut().and_then(|latencies| latencies.report(said.now_ms));
        if let Some(sample) = told {
            speech.remark(Uplink::Telemetry(vec![sample]));
        }
        match heard {
            Ok(()) => Answer::accepted(),
            Err(Trouble::Malformed(why)) => self.malformed(said.qos, why),
            Err(Trouble::Shape(why)) => {
                Answer::acknowledged_and_ended(ReasonCode::ImplementationSpecificError).because(why.why)
            }
            Err(Trouble::Some(why)) => self.some_malformed(why),
        }
    }

    /// What was repaired lives here only, so what is said with it is copied.
    fn repaired_of_children(
        &mut self,
        meaning: GatewayMeaning,
        text: &str,
        now_ms: i64,
        speech: &mut Speech<'_>,
        kin: Option<&dyn Kin>,
    ) -> Heard {
        let mut own = Speech::default();
        let heard = self.texts_of_children(meaning, text, now_ms, &mut own, kin);
        copy(own, speech);
        heard
    }

    /// How a message is answered of which some children were not understood: in 5.0 the connection stays at any quality.
    fn some_malformed(&self, why: Malformed) -> Answer {
        let code = ReasonCode::PayloadFormatInvalid;
        match self.version {
            Version::V5 => Answer::acknowledged(code).because(why.why),
            Version::V31 | Version::V311 => self.malformed(QoS::AtLeastOnce, why),
        }
    }

    fn texts_of_children<'a>(
        &mut self,
        meaning: GatewayMeaning,
        text: &'a str,
        now_ms: i64,
        speech: &mut Speech<'a>,
        kin: Option<&dyn Kin>,
    ) -> Heard {
        let members = Members::read(text)
            .map_err(|why| if json::is_json(text) { Trouble::Shape(why) } else { Trouble::Malformed(why) })?;
        match meaning {
            GatewayMeaning::Connect => {
                let kind = shaped(members.word("type"))?;
                speech.remark_of(named(&members)?, Uplink::ChildHere { kind });
                Ok(())
            }
            GatewayMeaning::Disconnect => {
                speech.remark_of(named(&members)?, Uplink::ChildGone);
                Ok(())
            }
            GatewayMeaning::Telemetry => self.each(&members, '[', speech, |session, child, raw, speech| {
                let mut samples = speech.samples();
                let Session { latencies, settings, .. } = session;
                let theirs = ChildTyping::of(child, kin, &settings.typing);
                let mut gather = |metadata: &str| latencies.get_or_insert_default().gather(metadata, now_ms);
                json::telemetry_with(raw, now_ms, theirs.typing(), &mut samples, &mut gather)?;
                if let Some(Names { telemetry: topic, .. }) = session.canonical.child(child) {
                    speech.forwards.push(Forward { topic, payload: Cow::Borrowed(raw.as_bytes()) });
                }
                Ok(Uplink::Telemetry(samples))
            }),
            GatewayMeaning::Attributes => self.each(&members, '{', speech, |session, child, raw, speech| {
                let mut samples = speech.samples();
                let theirs = ChildTyping::of(child, kin, &session.settings.typing);
                json::attributes(raw, now_ms, theirs.typing(), &mut samples)?;
                if let Some(Names { attributes: topic, .. }) = session.canonical.child(child) {
                    speech.forwards.push(Forward { topic, payload: Cow::Borrowed(raw.as_bytes()) });
                }
                Ok(Uplink::Attributes(samples))
            }),
            GatewayMeaning::Claim => self.each(&members, '{', speech, |_, _, raw, _| {
                let (secret, duration_ms) = claim_of(raw)?;
                Ok(Uplink::Claimable { secret, duration_ms })
            }),
            GatewayMeaning::AttributesWanted => attributes_wanted(&members, speech),
            GatewayMeaning::CommandAnswered => {
                let number = shaped(members.whole("id"))?.and_then(|id| i32::try_from(id).ok());
                let (Some(number), Some(answer)) = (number, members.raw("data")) else {
                    return Err(Trouble::Shape(Malformed::because("there is no `id` or no `data`")));
                };
                let answer = Cow::Borrowed(answer.as_bytes());
                speech.remark_of(named(&members)?, Uplink::CommandAnswered { number, answer });
                Ok(())
            }
            // The caller has answered it.
            GatewayMeaning::Unknown => Ok(()),
        }
    }

    /// What is said of each child, as values that begin with `opening`; others are passed over.
    fn each<'a>(
        &mut self,
        members: &Members<'a>,
        opening: char,
        speech: &mut Speech<'a>,
        read: impl Fn(&mut Self, &str, &'a str, &mut Speech<'a>) -> Result<Uplink<'a>, Malformed>,
    ) -> Heard {
        let mut trouble = None;
        let mut found = false;
        for (child, raw) in members.iter().filter(|(_, raw)| raw.starts_with(opening)) {
            found = true;
            if child.trim().is_empty() {
                trouble = Some(Malformed::because("a child has no name"));
                continue;
            }
            match read(self, child, raw, speech) {
                Ok(uplink) => speech.remark_of(child.clone(), uplink),
                Err(why) => trouble = Some(Malformed::because(format!("`{child}`: {}", why.why))),
            }
        }
        match trouble {
            _ if !found => Err(Trouble::Shape(Malformed::because("nothing is said of any child"))),
            None => Ok(()),
            Some(why) => Err(Trouble::Some(why)),
        }
    }

    fn messages_of_children<'a>(
        &mut self,
        meaning: GatewayMeaning,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Heard {
        let payload = said.payload;
        match meaning {
            GatewayMeaning::Connect => {
                let message: transportapi::ConnectMsg = proto::decode(payload)?;
                let kind = (!message.device_type.is_empty()).then(|| message.device_type.into());
                speech.remark_of(name(message.device_name)?, Uplink::ChildHere { kind });
            }
            GatewayMeaning::Disconnect => {
                let message: transportapi::DisconnectMsg = proto::decode(payload)?;
                speech.remark_of(name(message.device_name)?, Uplink::ChildGone);
            }
            GatewayMeaning::Telemetry => {
                let message: transportapi::GatewayTelemetryMsg = proto::decode(payload)?;
                for entry in some(message.msg)? {
                    let child = name(entry.device_name)?;
                    let samples = proto::telemetry(entry.msg.unwrap_or_default(), said.now_ms)?;
                    if let Some(Names { telemetry: topic, .. }) = self.canonical.child(&child) {
                        speech.forwards.push(Forward { topic, payload: as_telemetry(&samples) });
                    }
                    speech.remark_of(child, Uplink::Telemetry(samples));
                }
            }
            GatewayMeaning::Attributes => {
                let message: transportapi::GatewayAttributesMsg = proto::decode(payload)?;
                for entry in some(message.msg)? {
                    let child = name(entry.device_name)?;
                    let message = entry.msg.unwrap_or_default();
                    let is_shared = message.shared && self.settings.quirks.shared_from_gateways;
                    let samples = proto::attributes(message, said.now_ms)?;
                    if let Some(Names { attributes: topic, .. }) = self.canonical.child(&child) {
                        let payload = render::object(&samples).into_bytes().into();
                        speech.forwards.push(Forward { topic, payload });
                    }
                    let written =
                        if is_shared { Uplink::Shared(samples) } else { Uplink::Attributes(samples) };
                    speech.remark_of(child, written);
                }
            }
            GatewayMeaning::Claim => {
                let message: transportapi::GatewayClaimMsg = proto::decode(payload)?;
                for entry in some(message.msg)? {
                    let claim = entry.claim_request.unwrap_or_default();
                    let (secret, duration_ms) = (claim.secret_key.into(), Some(claim.duration_ms));
                    speech.remark_of(name(entry.device_name)?, Uplink::Claimable { secret, duration_ms });
                }
            }
            GatewayMeaning::AttributesWanted => {
                let message: transportapi::GatewayAttributesRequestMsg = proto::decode(payload)?;
                let keys = message.keys.into_iter().map(Cow::Owned).collect();
                ask(name(message.device_name)?, message.id, message.client, keys, speech);
            }
            GatewayMeaning::CommandAnswered => {
                let message: transportapi::GatewayRpcResponseMsg = proto::decode(payload)?;
                let (number, answer) = (message.id, message.data.into_bytes().into());
                speech.remark_of(name(message.device_name)?, Uplink::CommandAnswered { number, answer });
            }
            // The caller has answered it.
            GatewayMeaning::Unknown => {}
        }
        Ok(())
    }

    /// Says something to a child, by way of its gateway.
    pub fn tell_of_child(
        &mut self,
        child: &str,
        downlink: &Downlink,
        utterances: &mut Vec<Utterance>,
    ) -> Result<(), Unspeakable> {
        let is_json = self.settings.schemas.is_none();
        let mut number = None;
        let (topic, payload) = match downlink {
            Downlink::Attributes { cookie, keys, client, shared } => {
                let (client, shared) = (client.as_deref(), shared.as_deref());
                let payload = child_attributes(child, (*cookie, *keys), client, shared, is_json);
                ("v1/gateway/attributes/response", payload)
            }
            Downlink::SharedWritten(samples) => {
                let data = if is_json { render::object(samples.iter()) } else { String::new() };
                ("v1/gateway/attributes", child_changes(child, &data, (samples, &[]), is_json))
            }
            Downlink::SharedDeleted(keys) => {
                let data = if is_json { render::deleted(keys) } else { String::new() };
                ("v1/gateway/attributes", child_changes(child, &data, (&[], keys), is_json))
            }
            Downlink::Command { number: id, method, params, is_answered } => {
                number = Some(*id);
                let payload = if is_json {
                    render::command_of_child(child, *id, method, params).into_bytes()
                } else {
                    child_command(child, *id, (method, params), *is_answered)
                };
                ("v1/gateway/rpc", payload)
            }
            // Below 5.0 a gateway does not know this message.
            Downlink::Unheard { .. } if self.version != Version::V5 => return Ok(()),
            Downlink::Unheard { reason } => ("v1/gateway/disconnect", child_unheard(child, *reason, is_json)),
            Downlink::CallAnswered { .. }
            | Downlink::Chunk { .. }
            | Downlink::NoChunk { .. }
            | Downlink::Provisioned(_) => {
                return Err(Unspeakable::because("a gateway has no words for that about a child"));
            }
        };
        utterances.push(Utterance { command: number, ..self.utter(topic.into(), payload) });
        Ok(())
    }
}

fn attributes_wanted<'a>(members: &Members<'a>, speech: &mut Speech<'a>) -> Heard {
    let id = shaped(members.whole("id"))?.and_then(|id| i32::try_from(id).ok());
    let client = shaped(members.flag("client"))?;
    let keys = match (members.get("keys"), shaped(members.word("key"))?) {
        (Some(raw), _) => json::texts(raw),
        (None, Some(key)) => Some(vec![key]),
        (None, None) => None,
    };
    let (Some(id), Some(client), Some(keys)) = (id, client, keys) else {
        return Err(Trouble::Shape(Malformed::because("there is no `id`, `client` or `keys`")));
    };
    ask(named(members)?, id, client, keys, speech);
    Ok(())
}

/// A gateway asks for attributes of a child; without keys for all of both scopes.
fn ask<'a>(child: Cow<'a, str>, id: i32, client: bool, keys: Vec<Cow<'a, str>>, speech: &mut Speech<'a>) {
    let cookie = Cookie(u64::from(id.cast_unsigned()) | if client { CLIENT_BIT } else { 0 });
    let (client, shared) = match (keys.is_empty(), client) {
        (true, _) => (Wanted::All, Wanted::All),
        (false, true) => (Wanted::Keys(keys), Wanted::Nothing),
        (false, false) => (Wanted::Nothing, Wanted::Keys(keys)),
    };
    speech.remark_of(child, Uplink::AttributesWanted { cookie, client, shared });
}

fn child_attributes(
    child: &str,
    (cookie, keys): (Cookie, usize),
    client: Option<&[Sample<'_>]>,
    shared: Option<&[Sample<'_>]>,
    is_json: bool,
) -> Vec<u8> {
    let id = u32::try_from(cookie.0 & u64::from(u32::MAX)).expect("masked").cast_signed();
    if is_json {
        let samples: Vec<_> = client.unwrap_or_default().iter().chain(shared.unwrap_or_default()).collect();
        return render::attributes_of_child(id, child, keys, &samples).into_bytes();
    }
    let response_msg = Some(render::attributes_message(id, keys, client, shared));
    transportapi::GatewayAttributeResponseMsg { device_name: child.to_owned(), response_msg }.encode_to_vec()
}

fn child_changes(
    child: &str,
    data: &str,
    (written, deleted): (&[Sample<'_>], &[Box<str>]),
    is_json: bool,
) -> Vec<u8> {
    if is_json {
        return render::of_child(child, data).into_bytes();
    }
    let notification_msg = Some(render::changes_message(written, deleted));
    let device_name = child.to_owned();
    transportapi::GatewayAttributeUpdateNotificationMsg { device_name, notification_msg }.encode_to_vec()
}

fn child_command(child: &str, id: i32, (method, params): (&str, &str), is_answered: bool) -> Vec<u8> {
    let message = transport::ToDeviceRpcRequestMsg {
        request_id: id,
        method_name: method.to_owned(),
        params: params.to_owned(),
        oneway: !is_answered,
        ..transport::ToDeviceRpcRequestMsg::default()
    };
    let device_name = child.to_owned();
    transportapi::GatewayDeviceRpcRequestMsg { device_name, rpc_request_msg: Some(message) }.encode_to_vec()
}

fn child_unheard(child: &str, reason: ReasonCode, is_json: bool) -> Vec<u8> {
    let code = i32::from(reason.byte());
    if is_json {
        let data = render::of_child(child, &code.to_string());
        return data.replace(",\"data\":", ",\"reason\":").into_bytes();
    }
    transport::GatewayDisconnectDeviceMsg { device_name: child.to_owned(), reason_code: code }.encode_to_vec()
}

/// Telemetry as JSON, for those who read canonical topics.
fn as_telemetry(samples: &[Sample<'_>]) -> Cow<'static, [u8]> {
    let mut out = String::from("[");
    for (index, moment) in samples.chunk_by(|one, other| one.at_ms == other.at_ms).enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&format!("{{\"ts\":{},\"values\":{}}}", moment[0].at_ms, render::object(moment)));
    }
    out.push(']');
    Cow::Owned(out.into_bytes())
}

fn named<'a>(members: &Members<'a>) -> Result<Cow<'a, str>, Trouble> {
    let name = shaped(members.word("device"))?.filter(|name| !name.trim().is_empty());
    name.ok_or_else(|| Trouble::Shape(Malformed::because("there is no `device`")))
}

/// A name in a message; without one the message is broken.
fn name(name: String) -> Result<Cow<'static, str>, Trouble> {
    if name.trim().is_empty() {
        return Err(Trouble::Malformed(Malformed::because("a child has no name")));
    }
    Ok(Cow::Owned(name))
}

/// A list in a message; without entries the message is broken.
fn some<T>(entries: Vec<T>) -> Result<Vec<T>, Trouble> {
    if entries.is_empty() {
        return Err(Trouble::Malformed(Malformed::because("nothing is said of any child")));
    }
    Ok(entries)
}

fn shaped<T>(read: Result<T, Malformed>) -> Result<T, Trouble> {
    read.map_err(Trouble::Shape)
}

/// Moves what was said with repaired text to where it outlives that.
fn copy(from: Speech<'_>, to: &mut Speech<'_>) {
    for device::Remark { subject, uplink } in from.remarks {
        let device::Subject::Child(child) = subject else { continue };
        let child = Cow::Owned(child.into_owned());
        to.remark_of(child, uplink.into_owned());
    }
    let forwards = from.forwards.into_iter().map(|forward| Forward {
        topic: Arc::clone(&forward.topic),
        payload: Cow::Owned(forward.payload.into_owned()),
    });
    to.forwards.extend(forwards);
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use device::{Subject, Value};

    use super::super::session::trial::{PROTO, gateway, publish};
    use super::*;

    fn child() -> String {
        "A".to_owned()
    }

    /// What was said of child A, if that is all.
    fn only<'a>(speech: &'a Speech<'a>) -> &'a Uplink<'a> {
        assert_eq!(speech.remarks.len(), 1);
        assert_eq!(speech.remarks[0].subject, Subject::Child("A".into()));
        &speech.remarks[0].uplink
    }

    #[test]
    fn a_gateway_whose_profile_has_schemas_speaks_in_fixed_messages() {
        let entry = transport::KeyValueProto { key: "t".into(), r#type: 1, long_v: 21, ..Default::default() };
        let list = transport::TsKvListProto { ts: 17, kv: vec![entry.clone()] };
        let telemetry = transport::PostTelemetryMsg { ts_kv_list: vec![list] };
        let attributes = transport::PostAttributeMsg { kv: vec![entry], shared: true };
        let claim = transportapi::ClaimDevice { secret_key: "s".into(), duration_ms: 5 };
        let sample = |at_ms| Sample { key: "t".into(), value: Value::Long(21), at_ms };
        let rows: [(&str, Vec<u8>, Uplink<'_>); 7] = [
            (
                "connect",
                transportapi::ConnectMsg { device_name: child(), device_type: "x".into() }.encode_to_vec(),
                Uplink::ChildHere { kind: Some("x".into()) },
            ),
            (
                "disconnect",
                transportapi::DisconnectMsg { device_name: child() }.encode_to_vec(),
                Uplink::ChildGone,
            ),
            (
                "telemetry",
                transportapi::GatewayTelemetryMsg {
                    msg: vec![transportapi::TelemetryMsg { device_name: child(), msg: Some(telemetry) }],
                }
                .encode_to_vec(),
                Uplink::Telemetry(vec![sample(17)]),
            ),
            (
                "attributes",
                transportapi::GatewayAttributesMsg {
                    msg: vec![transportapi::AttributesMsg { device_name: child(), msg: Some(attributes) }],
                }
                .encode_to_vec(),
                Uplink::Attributes(vec![sample(99)]),
            ),
            (
                "claim",
                transportapi::GatewayClaimMsg {
                    msg: vec![transportapi::ClaimDeviceMsg {
                        device_name: child(),
                        claim_request: Some(claim),
                    }],
                }
                .encode_to_vec(),
                Uplink::Claimable { secret: "s".into(), duration_ms: Some(5) },
            ),
            (
                "attributes/request",
                transportapi::GatewayAttributesRequestMsg {
                    id: 7,
                    device_name: child(),
                    client: true,
                    keys: vec!["k".into()],
                }
                .encode_to_vec(),
                Uplink::AttributesWanted {
                    cookie: Cookie(7 | CLIENT_BIT),
                    client: Wanted::Keys(vec!["k".into()]),
                    shared: Wanted::Nothing,
                },
            ),
            (
                "rpc",
                transportapi::GatewayRpcResponseMsg { device_name: child(), id: 3, data: "{}".into() }
                    .encode_to_vec(),
                Uplink::CommandAnswered { number: 3, answer: b"{}".as_slice().into() },
            ),
        ];
        for (name, payload, expected) in &rows {
            let mut session = gateway(Version::V5, PROTO);
            let topic = format!("v1/gateway/{name}");
            let (answer, speech) = publish(&mut session, &topic, payload);
            assert_eq!(answer, Answer::accepted(), "{name}");
            assert_eq!(only(&speech), expected, "{name}");
        }
        let mut session = gateway(Version::V5, PROTO);
        let (_, speech) = publish(&mut session, "v1/gateway/telemetry", &rows[2].1);
        assert_eq!(&*speech.forwards[0].topic, "thingsboard/t/A/telemetry");
        assert_eq!(*speech.forwards[0].payload, *b"[{\"ts\":17,\"values\":{\"t\":21}}]");
    }

    #[test]
    fn a_message_without_names_or_entries_is_broken() {
        let nameless = transportapi::GatewayTelemetryMsg { msg: vec![transportapi::TelemetryMsg::default()] };
        let second = transportapi::GatewayTelemetryMsg {
            msg: vec![
                transportapi::TelemetryMsg { device_name: child(), msg: None },
                transportapi::TelemetryMsg::default(),
            ],
        };
        for payload in [Vec::new(), nameless.encode_to_vec(), second.encode_to_vec(), b"{\"A\":[]}".to_vec()]
        {
            let mut session = gateway(Version::V5, PROTO);
            let (answer, speech) = publish(&mut session, "v1/gateway/telemetry", &payload);
            assert_eq!(answer.acknowledge, Some(ReasonCode::PayloadFormatInvalid), "{payload:?}");
            assert!(speech.remarks.is_empty() && answer.end.is_none());
        }
    }

    #[test]
    fn what_is_said_to_a_child_is_a_fixed_message_too() {
        let mut session = gateway(Version::V5, PROTO);
        let mut tell = |downlink: Downlink| {
            let mut utterances = Vec::new();
            session.tell_of_child("A", &downlink, &mut utterances).unwrap();
            let utterance = utterances.remove(0);
            (utterance.topic, utterance.payload)
        };
        let sample = Sample { key: "k".into(), value: Value::Long(1), at_ms: 5 };
        let (topic, payload) = tell(Downlink::SharedWritten([sample.clone()].into()));
        assert_eq!(topic, "v1/gateway/attributes");
        let message: transportapi::GatewayAttributeUpdateNotificationMsg = proto::decode(&payload).unwrap();
        assert_eq!(message.notification_msg.unwrap().shared_updated, [proto::entry(&sample)]);

        let (_, payload) = tell(Downlink::SharedDeleted(["k".into()].into()));
        let message: transportapi::GatewayAttributeUpdateNotificationMsg = proto::decode(&payload).unwrap();
        assert_eq!(message.notification_msg.unwrap().shared_deleted, ["k"]);

        let (cookie, client) = (Cookie(7 | CLIENT_BIT), Some(vec![sample.clone()]));
        let (topic, payload) = tell(Downlink::Attributes { cookie, keys: 1, client, shared: None });
        assert_eq!(topic, "v1/gateway/attributes/response");
        let message: transportapi::GatewayAttributeResponseMsg = proto::decode(&payload).unwrap();
        let response = message.response_msg.unwrap();
        assert_eq!((response.request_id, response.client_attribute_list), (7, vec![proto::entry(&sample)]));

        let command =
            Downlink::Command { number: 3, method: "m".into(), params: "{}".into(), is_answered: false };
        let (topic, payload) = tell(command);
        assert_eq!(topic, "v1/gateway/rpc");
        let message: transportapi::GatewayDeviceRpcRequestMsg = proto::decode(&payload).unwrap();
        let command = message.rpc_request_msg.unwrap();
        assert_eq!((command.request_id, &*command.method_name, command.oneway), (3, "m", true));

        let (topic, payload) = tell(Downlink::Unheard { reason: ReasonCode::MessageRateTooHigh });
        assert_eq!((&*topic, &*payload), ("v1/gateway/disconnect", b"\x0a\x01A\x10\x96\x01".as_slice()));
    }

    #[test]
    fn a_gateway_below_5_0_is_not_told_what_it_does_not_know() {
        let mut session = gateway(Version::V311, "");
        let mut utterances = Vec::new();
        let told = Downlink::Unheard { reason: ReasonCode::MessageRateTooHigh };
        assert_eq!(session.tell_of_child("A", &told, &mut utterances), Ok(()));
        assert_eq!(utterances, []);
    }

    #[test]
    fn moments_of_one_time_stand_together() {
        let at = |key: &'static str, at_ms| Sample { key: key.into(), value: Value::Long(1), at_ms };
        let samples = [at("a", 1), at("b", 1), at("a", 2)];
        assert_eq!(
            *as_telemetry(&samples),
            *b"[{\"ts\":1,\"values\":{\"a\":1,\"b\":1}},{\"ts\":2,\"values\":{\"a\":1}}]"
        );
        assert_eq!(*as_telemetry(from_ref(&samples[2])), *b"[{\"ts\":2,\"values\":{\"a\":1}}]");
    }
}
