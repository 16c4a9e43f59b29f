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
    Answer, CredentialWanted, Downlink, Interpreter, ProvisionRequest, Said, Speech, Unspeakable, Uplink,
    Utterance,
};
use mqtt::{QoS, ReasonCode, Version};

use super::json::{Malformed, Members};
use super::proto::{self, transport};
use super::render;

const REQUEST: &str = "/provision/request";
const RESPONSE: &str = "/provision/response";

/// A connection without credentials.
#[derive(Debug)]
pub(super) struct Registrar {
    version: Version,
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
    pub fn new(version: Version) -> Self {
        Self { version, subscribed: None, speaks_proto: false }
    }

    fn request<'a>(&mut self, payload: &'a [u8]) -> Result<ProvisionRequest<'a>, Trouble> {
        let members = std::str::from_utf8(payload).ok().and_then(|text| Members::read(text).ok());
        if let Some(members) = members {
            return of_text(&members).map_err(Trouble::Field);
        }
        let message = proto::decode(payload).map_err(Trouble::Unreadable)?;
        let request = of_message(message).map_err(Trouble::Field)?;
        self.speaks_proto = true;
        Ok(request)
    }
}

impl Interpreter for Registrar {
    fn publish<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>) -> Answer {
        if said.topic != REQUEST {
            let why = "only provisioning is open without credentials";
            return Answer::acknowledged_and_ended(ReasonCode::TopicNameInvalid).because(why);
        }
        match self.request(said.payload) {
            Ok(request) => {
                speech.remark(Uplink::Provision(Box::new(request)));
                Answer::accepted()
            }
            Err(Trouble::Field(why)) => {
                Answer::acknowledged_and_ended(ReasonCode::ImplementationSpecificError).because(why.0)
            }
            Err(Trouble::Unreadable(why)) => {
                let code = ReasonCode::PayloadFormatInvalid;
                let stays = self.version == Version::V5 && said.qos != QoS::AtMostOnce;
                let answer = if stays { Answer::acknowledged(code) } else { Answer::ended(code) };
                answer.because(why.0)
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

fn of_text<'a>(members: &Members<'a>) -> Result<ProvisionRequest<'a>, Malformed> {
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
