//! A connection without credentials: it may ask for some, and nothing else.
//!
//! Why JSON first and Protobuf then: a device has no profile yet that would say which of them it speaks.
//!
//! Invariants:
//! - One topic is published to, one is subscribed to; everything else ends the connection or is refused.
//! - An answer has the format of its question.
//!
//! Source: section 6 of the vectors.

use std::borrow::Cow;

use device::{
    Answer, CredentialWanted, DoorQuirks, Downlink, Interpreter, ProvisionRequest, Said, Speech, Unspeakable,
    Uplink, Utterance,
};
use mqtt::{QoS, ReasonCode, Version};

use super::json::{Malformed, Members};
use super::lenient;
use super::proto::{self, transport};
use super::render;

const REQUEST: &str = "/provision/request";
/// As the documentation of that system has it; the system itself refuses it.
const REQUEST_SHORT: &str = "/provision";
const RESPONSE: &str = "/provision/response";

/// Members of a request that are looked at.
const FIELDS: [&str; 10] = [
    "provisionDeviceKey",
    "provisionDeviceSecret",
    "deviceName",
    "credentialsType",
    "token",
    "clientId",
    "username",
    "password",
    "hash",
    "gateway",
];

/// A connection without credentials.
#[derive(Debug)]
pub(super) struct Registrar {
    version: Version,
    door: DoorQuirks,
    subscribed: Option<QoS>,
    speaks_proto: bool,
}

/// Why a request is not taken.
enum Trouble {
    /// It is neither JSON nor Protobuf.
    Unreadable(Malformed),
    /// A field is missing or is something else.
    Field(Malformed),
}

impl Registrar {
    pub fn new(version: Version, door: DoorQuirks) -> Self {
        Self { version, door, subscribed: None, speaks_proto: false }
    }

    fn request<'a>(&mut self, payload: &'a [u8]) -> Result<ProvisionRequest<'a>, Trouble> {
        if let Ok(text) = std::str::from_utf8(payload) {
            if let Ok(members) = Members::read(text) {
                return self.of_members(&members);
            }
            let repaired = lenient::repair(text).ok();
            if let Some(members) = repaired.as_deref().and_then(|json| Members::read(json).ok()) {
                return self.of_members(&members).map(ProvisionRequest::into_owned);
            }
        }
        let message = proto::decode(payload).map_err(Trouble::Unreadable)?;
        let request = of_message(message).map_err(Trouble::Field)?;
        self.speaks_proto = true;
        Ok(request)
    }

    fn of_members<'a>(&self, members: &Members<'a>) -> Result<ProvisionRequest<'a>, Trouble> {
        let null = FIELDS.into_iter().find(|name| members.raw(name) == Some("null"));
        if let (true, Some(name)) = (self.door.nulls_refused, null) {
            return Err(Trouble::Field(Malformed::because(format!("`{name}` is null"))));
        }
        of_text(members).map_err(Trouble::Field)
    }
}

impl Interpreter for Registrar {
    fn publish<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>) -> Answer {
        if said.topic != REQUEST && said.topic != REQUEST_SHORT {
            let why = "only provisioning is open without credentials";
            return Answer::acknowledged_and_ended(ReasonCode::TopicNameInvalid).because(why);
        }
        match self.request(said.payload) {
            Ok(request) => {
                speech.remark(Uplink::Provision(Box::new(request)));
                Answer::accepted()
            }
            Err(Trouble::Field(why)) => {
                Answer::acknowledged_and_ended(ReasonCode::ImplementationSpecificError).because(why.why)
            }
            Err(Trouble::Unreadable(why)) => {
                let code = ReasonCode::PayloadFormatInvalid;
                let stays = self.version == Version::V5 && said.qos != QoS::AtMostOnce;
                let answer = if stays { Answer::acknowledged(code) } else { Answer::ended(code) };
                answer.because(why.why)
            }
        }
    }

    fn subscribe(&mut self, filter: &str, qos: QoS, _speech: &mut Speech<'_>) -> Result<QoS, ReasonCode> {
        if filter != RESPONSE {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let granted = qos.min(QoS::AtLeastOnce);
        self.subscribed = Some(granted);
        Ok(granted)
    }

    fn unsubscribe(&mut self, filter: &str, _speech: &mut Speech<'_>) -> ReasonCode {
        if filter == RESPONSE && self.subscribed.take().is_some() {
            ReasonCode::Success
        } else {
            ReasonCode::NoSubscriptionExisted
        }
    }

    fn downlink(
        &mut self,
        _child: Option<&str>,
        downlink: &Downlink,
        utterances: &mut Vec<Utterance>,
    ) -> Result<(), Unspeakable> {
        let Downlink::Provisioned(reply) = downlink else {
            return Err(Unspeakable::because("only provisioning is open without credentials"));
        };
        let payload = if self.speaks_proto {
            render::provisioned_message(reply)
        } else {
            render::provisioned(reply).map(String::into_bytes)
        };
        let payload = payload.ok_or_else(|| Unspeakable::because("the profile takes no requests"))?;
        let qos = self.subscribed.unwrap_or(QoS::AtLeastOnce);
        utterances.push(Utterance { topic: RESPONSE.into(), payload, qos, command: None });
        Ok(())
    }
}

pub(super) fn of_text<'a>(members: &Members<'a>) -> Result<ProvisionRequest<'a>, Malformed> {
    let needed =
        |name: &str| members.text(name)?.ok_or_else(|| Malformed::because(format!("there is no `{name}`")));
    let or_empty =
        |name: &str| -> Result<Cow<'a, str>, Malformed> { Ok(members.text(name)?.unwrap_or_default()) };
    let credential = match members.text("credentialsType")?.as_deref() {
        None | Some("ACCESS_TOKEN") => {
            CredentialWanted::Token(members.text("token")?.filter(|token| !token.is_empty()))
        }
        Some("MQTT_BASIC") => CredentialWanted::Basic {
            client_id: or_empty("clientId")?,
            user_name: or_empty("username")?,
            password: or_empty("password")?,
        },
        Some("X509_CERTIFICATE") => CredentialWanted::Certificate(or_empty("hash")?),
        Some(other) => return Err(Malformed::because(format!("`{other}` is no type of credentials"))),
    };
    Ok(ProvisionRequest {
        key: needed("provisionDeviceKey")?,
        secret: needed("provisionDeviceSecret")?,
        name: members.text("deviceName")?,
        credential,
        is_gateway: members.flag("gateway")?.unwrap_or_default(),
    })
}

fn of_message(message: transport::ProvisionDeviceRequestMsg) -> Result<ProvisionRequest<'static>, Malformed> {
    use transport::CredentialsType;
    let kind = message.credentials_type();
    let keys = message.provision_device_credentials_msg.unwrap_or_default();
    let shown = message.credentials_data_proto.unwrap_or_default();
    if keys.provision_device_key.is_empty() || keys.provision_device_secret.is_empty() {
        return Err(Malformed::because("there is no key or no secret"));
    }
    let credential = match kind {
        CredentialsType::AccessToken => {
            let token = shown.validate_device_token_request_msg.unwrap_or_default().token;
            CredentialWanted::Token((!token.is_empty()).then(|| token.into()))
        }
        CredentialsType::MqttBasic => {
            let names = shown.validate_basic_mqtt_cred_request_msg.unwrap_or_default();
            CredentialWanted::Basic {
                client_id: names.client_id.into(),
                user_name: names.user_name.into(),
                password: names.password.into(),
            }
        }
        CredentialsType::X509Certificate => CredentialWanted::Certificate(
            shown.validate_device_x509_cert_request_msg.unwrap_or_default().hash.into(),
        ),
        CredentialsType::Lwm2mCredentials => {
            return Err(Malformed::because("these credentials are not for MQTT"));
        }
    };
    Ok(ProvisionRequest {
        key: keys.provision_device_key.into(),
        secret: keys.provision_device_secret.into(),
        name: (!message.device_name.is_empty()).then(|| message.device_name.into()),
        credential,
        is_gateway: message.gateway,
    })
}

#[cfg(test)]
mod tests {
    use device::{Credential, ProvisionReply};
    use prost::Message;

    use super::*;

    fn ask(payload: &[u8]) -> (Registrar, Answer, Option<ProvisionRequest<'_>>) {
        let mut registrar = Registrar::new(Version::V5, DoorQuirks::default());
        let mut speech = Speech::default();
        let said = Said { topic: REQUEST, payload, qos: QoS::AtLeastOnce, now_ms: 0 };
        let answer = registrar.publish(&said, &mut speech);
        let request = speech.remarks.pop().map(|remark| match remark.uplink {
            Uplink::Provision(request) => *request,
            other => panic!("{other:?}"),
        });
        (registrar, answer, request)
    }

    fn message(kind: transport::CredentialsType) -> transport::ProvisionDeviceRequestMsg {
        let mut message = transport::ProvisionDeviceRequestMsg {
            device_name: "n".into(),
            provision_device_credentials_msg: Some(transport::ProvisionDeviceCredentialsMsg {
                provision_device_key: "k1".into(),
                provision_device_secret: "s1".into(),
            }),
            credentials_data_proto: Some(transport::CredentialsDataProto {
                validate_device_token_request_msg: Some(transport::ValidateDeviceTokenRequestMsg {
                    token: "T".into(),
                }),
                validate_device_x509_cert_request_msg: Some(transport::ValidateDeviceX509CertRequestMsg {
                    hash: "MIIB".into(),
                }),
                validate_basic_mqtt_cred_request_msg: Some(transport::ValidateBasicMqttCredRequestMsg {
                    client_id: "c".into(),
                    user_name: "u".into(),
                    password: "p".into(),
                }),
            }),
            gateway: true,
            ..Default::default()
        };
        message.set_credentials_type(kind);
        message
    }

    #[test]
    fn a_request_in_protobuf_is_answered_in_protobuf() {
        use transport::CredentialsType::{AccessToken, MqttBasic, X509Certificate};
        let basic =
            || CredentialWanted::Basic { client_id: "c".into(), user_name: "u".into(), password: "p".into() };
        let rows = [
            (AccessToken, CredentialWanted::Token(Some("T".into()))),
            (MqttBasic, basic()),
            (X509Certificate, CredentialWanted::Certificate("MIIB".into())),
        ];
        for (kind, credential) in rows {
            let payload = message(kind).encode_to_vec();
            let (mut registrar, answer, request) = ask(&payload);
            let request = request.unwrap();
            assert_eq!(answer, Answer::accepted());
            assert!(request.credential == credential && request.is_gateway, "{kind:?}");
            assert_eq!((&*request.key, &*request.secret, request.name.as_deref()), ("k1", "s1", Some("n")));
            let mut utterances = Vec::new();
            let granted = ProvisionReply::Granted(Credential::token("T").unwrap());
            registrar.downlink(None, &Downlink::Provisioned(granted), &mut utterances).unwrap();
            assert_eq!(utterances[0].payload, b"\x08\x01\x1a\x01T");
        }
    }

    #[test]
    fn a_message_without_a_key_or_for_another_protocol_ends_the_connection() {
        let other = message(transport::CredentialsType::Lwm2mCredentials).encode_to_vec();
        let mut keyless = message(transport::CredentialsType::AccessToken);
        keyless.provision_device_credentials_msg = None;
        for payload in [other, keyless.encode_to_vec(), Vec::new()] {
            let (_, answer, request) = ask(&payload);
            assert_eq!(answer.end, Some(ReasonCode::ImplementationSpecificError), "{payload:?}");
            assert!(request.is_none());
        }
    }

    #[test]
    fn null_is_absent_and_a_wrong_type_is_not() {
        let text =
            br#"{"provisionDeviceKey":"k1","provisionDeviceSecret":"s1","deviceName":null,"token":null}"#;
        let (_, _, request) = ask(text);
        let request = request.unwrap();
        assert!(request.name.is_none() && request.credential == CredentialWanted::Token(None));
        let (_, answer, _) = ask(br#"{"provisionDeviceKey":5,"provisionDeviceSecret":"s1"}"#);
        assert_eq!(answer.end, Some(ReasonCode::ImplementationSpecificError));
        let (_, answer, _) =
            ask(br#"{"provisionDeviceKey":"k1","provisionDeviceSecret":"s1","gateway":"yes"}"#);
        assert_eq!(answer.end, Some(ReasonCode::ImplementationSpecificError));
    }

    #[test]
    fn a_profile_that_takes_no_requests_has_no_answer() {
        let mut registrar = Registrar::new(Version::V311, DoorQuirks::default());
        let mut utterances = Vec::new();
        let broken = Downlink::Provisioned(ProvisionReply::Broken);
        assert!(registrar.downlink(None, &broken, &mut utterances).is_err() && utterances.is_empty());
    }
}
