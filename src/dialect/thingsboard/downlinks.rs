//! What is said to a device, in its own words.
//!
//! Why answers need no subscription: much firmware never subscribes to what it asks for, and some asks before its SUBSCRIBE
//! is answered. Only changes of shared attributes and commands, which nobody asked for, go to those who subscribed.
//!
//! Invariants:
//! - An answer has the spelling and the format of its question.
//!
//! Source: sections 3.2, 3.3, 4.1, 7.3 and 10.4 of the vectors.

use device::{Downlink, NoChunk, Unspeakable, Utterance};
use prost::Message;

use super::session::{Session, of_cookie};
use super::settings::Format;
use super::{render, schema};

impl Session {
    /// Says something to the device itself.
    pub fn tell_own(
        &mut self,
        downlink: &Downlink,
        utterances: &mut Vec<Utterance>,
    ) -> Result<(), Unspeakable> {
        let utterance = match downlink {
            Downlink::Attributes { cookie, keys, client, shared } => {
                let (asked, id) = of_cookie(*cookie);
                let spelling = self.spelling(asked, self.last_asked);
                let (client, shared) = (client.as_deref(), shared.as_deref());
                let payload = match self.settings.downlink_format(spelling) {
                    Format::Json => render::attributes(client, shared).into_bytes(),
                    Format::Proto | Format::ProtoOrJson => {
                        render::attributes_message(id, *keys, client, shared).encode_to_vec()
                    }
                };
                Some(self.utter([spelling.attributes_response(), &id.to_string()].concat().into(), payload))
            }
            Downlink::SharedWritten(_) | Downlink::SharedDeleted(_) => self.changes(downlink),
            Downlink::Command { number, method, params, .. } => self.command(*number, method, params)?,
            Downlink::CallAnswered { cookie, answer } => {
                let (spelling, id) = of_cookie(*cookie);
                let answer = match answer {
                    Ok(json) => Ok(&**json),
                    Err(why) => Err(&**why),
                };
                Some(self.call_answer(spelling, id, answer))
            }
            Downlink::Chunk { cookie, package, chunk } => {
                let place = self.downloads.place(*cookie, Some(*package));
                let topic = place.map(|place| {
                    let prefix = place.kind.prefix();
                    format!("v2/{prefix}/response/{}/chunk/{}", place.request, place.index)
                });
                topic.map(|topic| self.utter(topic.into(), chunk.bytes().to_vec()))
            }
            Downlink::NoChunk { cookie, why } => {
                let kind = self.downloads.place(*cookie, None).map(|place| place.kind);
                let text = match why {
                    NoChunk::NotAssigned => "NOT_FOUND",
                    NoChunk::NotHere | NoChunk::TooMany => "FAILURE",
                    NoChunk::TooLarge => "PAYLOAD_TOO_LARGE",
                };
                kind.map(|kind| self.download_error(kind, text))
            }
            // What is about children or about somebody else's credentials has no place here.
            Downlink::Unheard { .. } | Downlink::Provisioned(_) => None,
        };
        utterances.extend(utterance);
        Ok(())
    }

    fn changes(&self, downlink: &Downlink) -> Option<Utterance> {
        let pushed = self.subscriptions.attributes()?;
        let is_json = self.settings.downlink_format(pushed.spelling) == Format::Json;
        let payload = match downlink {
            Downlink::SharedWritten(samples) if is_json => render::object(samples.iter()).into_bytes(),
            Downlink::SharedWritten(samples) => render::changes_message(samples, &[]).encode_to_vec(),
            Downlink::SharedDeleted(keys) if is_json => render::deleted(keys).into_bytes(),
            Downlink::SharedDeleted(keys) => render::changes_message(&[], keys).encode_to_vec(),
            // The caller asks for changes only.
            _other => return None,
        };
        let is_own = pushed.topic != pushed.spelling.attributes();
        let topic = if is_own && self.settings.quirks.pushes_to_default_topic {
            pushed.spelling.attributes().into()
        } else {
            pushed.topic.clone()
        };
        Some(self.utter(topic, payload))
    }

    fn command(&self, number: i32, method: &str, params: &str) -> Result<Option<Utterance>, Unspeakable> {
        let Some(spelling) = self.subscriptions.commands() else { return Ok(None) };
        // Callers compare this text. Source: section 4.1.4.
        let cannot = || {
            Unspeakable::because(format!(
                "Failed to convert device RPC command to MQTT msg: {method}{params}"
            ))
        };
        let payload = match (self.settings.downlink_format(spelling), &self.settings.schemas) {
            (Format::Json, _) => render::command(method, params).into_bytes(),
            (Format::Proto | Format::ProtoOrJson, None) => return Err(cannot()),
            (Format::Proto | Format::ProtoOrJson, Some(schemas)) => {
                schema::encode_command(&schemas.command, number, method, params)
                    .map_err(|_unspeakable| cannot())?
            }
        };
        let topic = [spelling.commands(), &number.to_string()].concat();
        Ok(Some(Utterance { command: Some(number), ..self.utter(topic.into(), payload) }))
    }
}

#[cfg(test)]
mod tests {
    use device::{
        Chunk, Content, Cookie, Interpreter, Package, PackageId, PackageKind, ProfileId, Speech, TenantId,
    };
    use mqtt::{QoS, Version};

    use super::super::session::trial::{PROTO, gateway, publish};
    use super::*;

    fn command(params: &str) -> Downlink {
        Downlink::Command { number: 3, method: "m".into(), params: params.into(), is_answered: true }
    }

    fn tell(session: &mut Session, downlink: &Downlink) -> Result<Vec<Utterance>, Unspeakable> {
        let mut utterances = Vec::new();
        session.tell_own(downlink, &mut utterances).map(|()| utterances)
    }

    #[test]
    fn nobody_is_told_what_nobody_subscribed_to() {
        let mut session = gateway(Version::V5, "");
        assert_eq!(tell(&mut session, &command("1")), Ok(Vec::new()));
        assert_eq!(tell(&mut session, &Downlink::SharedDeleted(["a".into()].into())), Ok(Vec::new()));
    }

    #[test]
    fn a_command_that_the_schema_cannot_carry_is_told_to_the_caller() {
        let mut session = gateway(Version::V5, PROTO);
        session.subscribe("v2/r/req/+", QoS::AtMostOnce, &mut Speech::default()).unwrap();
        let utterance = tell(&mut session, &command("5")).unwrap().remove(0);
        assert_eq!(
            (&*utterance.topic, utterance.command, utterance.qos),
            ("v2/r/req/3", Some(3), QoS::AtMostOnce)
        );
        assert_eq!(utterance.payload, b"\x0a\x01m\x10\x03\x1a\x015");
        let why = tell(&mut session, &command("{\"a\":1}")).unwrap_err().why;
        assert_eq!(&*why, "Failed to convert device RPC command to MQTT msg: m{\"a\":1}");
        let mut plain = gateway(Version::V5, "");
        plain.subscribe("v2/r/req/p/+", QoS::AtMostOnce, &mut Speech::default()).unwrap();
        assert!(tell(&mut plain, &command("5")).is_err(), "no schema, no words");
    }

    #[test]
    fn an_answer_is_spelled_as_its_question_or_if_a_profile_says_so_as_the_last_one() {
        for (settings, topic) in [
            ("", "v2/a/res/1"),
            ("{\"quirks\":{\"lastRequestDecides\":true}}", "v1/devices/me/attributes/response/1"),
        ] {
            let mut session = gateway(Version::V5, settings);
            let (_, speech) = publish(&mut session, "v2/a/req/1", b"{}");
            let device::Uplink::AttributesWanted { cookie, .. } = speech.remarks[0].uplink else {
                panic!("asked")
            };
            publish(&mut session, "v1/devices/me/attributes/request/2", b"{}");
            let answer = Downlink::Attributes { cookie, keys: 0, client: None, shared: None };
            assert_eq!(tell(&mut session, &answer).unwrap()[0].topic, topic);
        }
    }

    #[test]
    fn a_part_of_a_download_that_is_forgotten_goes_nowhere() {
        let mut session = gateway(Version::V5, "");
        let package = Package {
            created_ms: 0,
            id: PackageId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            profile: ProfileId::from_bytes([1; 16]),
            kind: PackageKind::Firmware,
            title: "a".into(),
            version: "1".into(),
            tag: None,
            content: Content::upload([1, 2].into(), device::Algorithm::Crc32, None).unwrap(),
            label: device::Label::default(),
        };
        let chunk: Chunk = package.chunk(0, 0).unwrap();
        let downlink = Downlink::Chunk { cookie: Cookie(7 << 32), package: package.id, chunk };
        assert_eq!(tell(&mut session, &downlink), Ok(Vec::new()));
    }
}
