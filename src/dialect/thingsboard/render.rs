//! Payloads that go to devices.
//!
//! Invariants:
//! - The order of members is that of the system whose API this is, where clients may have come to rely on it.
//!
//! Source: sections 3.2, 3.3, 4.1, 6.3 and 8.5 of the vectors.

use device::{Credential, ProvisionReply, Sample, Value, write_members, write_text};
use prost::Message;

use super::proto::{self, transport};

/// Values as one object.
pub(super) fn object<'s>(samples: impl IntoIterator<Item = &'s Sample<'s>>) -> String {
    let mut out = String::from("{");
    write_members(samples.into_iter().map(|sample| (&*sample.key, &sample.value)), &mut out);
    out.push('}');
    out
}

/// Attributes that were asked for; a scope without values is absent.
pub(super) fn attributes(client: Option<&[Sample<'_>]>, shared: Option<&[Sample<'_>]>) -> String {
    let mut out = String::from("{");
    for (name, samples) in [("client", client), ("shared", shared)] {
        let samples = samples.unwrap_or_default();
        if samples.is_empty() {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        write_text(name, &mut out);
        out.push(':');
        out.push_str(&object(samples));
    }
    out.push('}');
    out
}

/// Attributes that were asked for, as a message.
pub(super) fn attributes_message(
    request: i32,
    keys: usize,
    client: Option<&[Sample<'_>]>,
    shared: Option<&[Sample<'_>]>,
) -> transport::GetAttributeResponseMsg {
    let entries =
        |samples: Option<&[Sample<'_>]>| samples.unwrap_or_default().iter().map(proto::entry).collect();
    transport::GetAttributeResponseMsg {
        request_id: request,
        client_attribute_list: entries(client),
        shared_attribute_list: entries(shared),
        is_multiple_attributes_request: keys > 1,
        ..transport::GetAttributeResponseMsg::default()
    }
}

/// Names of what was deleted.
pub(super) fn deleted(keys: &[Box<str>]) -> String {
    let mut out = String::from("{\"deleted\":[");
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(key, &mut out);
    }
    out.push_str("]}");
    out
}

/// Changes of shared attributes, as a message.
pub(super) fn changes_message(
    written: &[Sample<'_>],
    deleted: &[Box<str>],
) -> transport::AttributeUpdateNotificationMsg {
    transport::AttributeUpdateNotificationMsg {
        shared_updated: written.iter().map(proto::entry).collect(),
        shared_deleted: deleted.iter().map(ToString::to_string).collect(),
    }
}

/// A command to a device.
pub(super) fn command(method: &str, params: &str) -> String {
    let mut out = String::from("{\"method\":");
    write_text(method, &mut out);
    out.push_str(",\"params\":");
    out.push_str(params);
    out.push('}');
    out
}

/// What came of a call.
pub(super) fn call(answer: Result<&str, &str>) -> String {
    match answer {
        Ok(json) => json.to_owned(),
        Err(why) => {
            let mut out = String::from("{\"error\":");
            write_text(why, &mut out);
            out.push('}');
            out
        }
    }
}

/// What came of a call, as a message.
pub(super) fn call_message(request: i32, answer: Result<&str, &str>) -> Vec<u8> {
    let (payload, error) = match answer {
        Ok(json) => (json.to_owned(), String::new()),
        Err(why) => (String::new(), why.to_owned()),
    };
    transport::ToServerRpcResponseMsg { request_id: request, payload, error }.encode_to_vec()
}

/// Something about a child: `{"device":"A","data":...}`.
pub(super) fn of_child(child: &str, data: &str) -> String {
    let mut out = String::from("{\"device\":");
    write_text(child, &mut out);
    out.push_str(",\"data\":");
    out.push_str(data);
    out.push('}');
    out
}

/// A command to a child.
pub(super) fn command_of_child(child: &str, number: i32, method: &str, params: &str) -> String {
    let rest = command(method, params);
    of_child(child, &format!("{{\"id\":{number},{}", &rest[1..]))
}

/// Attributes of a child that a gateway asked for. Of one key the value stands alone.
pub(super) fn attributes_of_child(request: i32, child: &str, keys: usize, samples: &[&Sample<'_>]) -> String {
    let mut out = format!("{{\"id\":{request},\"device\":");
    write_text(child, &mut out);
    match samples {
        [] => {}
        [only] if keys <= 1 => {
            out.push_str(",\"value\":");
            only.value.write_json(&mut out);
        }
        several => {
            out.push_str(",\"values\":");
            out.push_str(&object(several.iter().copied()));
        }
    }
    out.push('}');
    out
}

/// What came of asking for credentials; nothing if the connection ends instead.
pub(super) fn provisioned(reply: &ProvisionReply) -> Option<String> {
    let failure =
        |text: &str, status: &str| Some(format!("{{\"errorMsg\":\"{text}\",\"status\":\"{status}\"}}"));
    let (kind, value) = match reply {
        ProvisionReply::Granted(credential) => credential_value(credential),
        ProvisionReply::NotFound => return failure("Provision data was not found!", "NOT_FOUND"),
        ProvisionReply::Failed => return failure("Failed to provision device!", "FAILURE"),
        ProvisionReply::Broken => return None,
    };
    let value = value.to_json();
    Some(format!(
        "{{\"credentialsValue\":{value},\"credentialsType\":\"{}\",\"status\":\"SUCCESS\"}}",
        kind.as_str_name()
    ))
}

/// What came of asking for credentials, as a message.
pub(super) fn provisioned_message(reply: &ProvisionReply) -> Option<Vec<u8>> {
    use transport::ResponseStatus;
    let mut message = transport::ProvisionDeviceResponseMsg::default();
    match reply {
        ProvisionReply::Granted(credential) => {
            let (kind, value) = credential_value(credential);
            message.set_status(ResponseStatus::Success);
            message.set_credentials_type(kind);
            message.credentials_value = match value {
                Value::Text(text) | Value::Json(text) => text.into_owned(),
                Value::Bool(_) | Value::Long(_) | Value::Double(_) => String::new(),
            };
        }
        ProvisionReply::NotFound => message.set_status(ResponseStatus::NotFound),
        ProvisionReply::Failed => message.set_status(ResponseStatus::Failure),
        ProvisionReply::Broken => return None,
    }
    Some(message.encode_to_vec())
}

fn credential_value(credential: &Credential) -> (transport::CredentialsType, Value<'_>) {
    match credential {
        Credential::Token(token) => (transport::CredentialsType::AccessToken, Value::Text((&**token).into())),
        Credential::Certificate(certificate) => {
            (transport::CredentialsType::X509Certificate, Value::Text(certificate.text().into()))
        }
        Credential::Basic(basic) => {
            let mut out = String::from("{\"clientId\":");
            let members = [
                ("", basic.client_id()),
                (",\"userName\":", basic.user_name()),
                (",\"password\":", basic.password()),
            ];
            for (name, value) in members {
                out.push_str(name);
                match value {
                    Some(value) => write_text(value, &mut out),
                    None => out.push_str("null"),
                }
            }
            out.push('}');
            (transport::CredentialsType::MqttBasic, Value::Json(out.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(key: &'static str, value: i64) -> Sample<'static> {
        Sample { key: key.into(), value: Value::Long(value), at_ms: 0 }
    }

    #[test]
    fn attributes_name_only_scopes_that_have_values() {
        let one = [sample("fw", 1)];
        let two = [sample("a", 1), sample("b", 2)];
        assert_eq!(
            attributes(Some(&one), Some(&two)),
            "{\"client\":{\"fw\":1},\"shared\":{\"a\":1,\"b\":2}}"
        );
        assert_eq!(attributes(Some(&[]), Some(&one)), "{\"shared\":{\"fw\":1}}");
        assert_eq!(attributes(None, Some(&[])), "{}");
    }

    #[test]
    fn one_attribute_of_a_child_stands_alone() {
        let (a, b) = (sample("a", 60), sample("b", 1));
        assert_eq!(attributes_of_child(1, "A", 1, &[&a]), "{\"id\":1,\"device\":\"A\",\"value\":60}");
        assert_eq!(
            attributes_of_child(1, "A", 2, &[&a]),
            "{\"id\":1,\"device\":\"A\",\"values\":{\"a\":60}}"
        );
        assert_eq!(
            attributes_of_child(1, "A", 0, &[&a, &b]),
            "{\"id\":1,\"device\":\"A\",\"values\":{\"a\":60,\"b\":1}}"
        );
        assert_eq!(attributes_of_child(1, "A", 1, &[]), "{\"id\":1,\"device\":\"A\"}");
    }

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        assert_eq!(of_child("A\",\"x\":\"", "1"), "{\"device\":\"A\\\",\\\"x\\\":\\\"\",\"data\":1}");
        assert_eq!(deleted(&["a\"".into(), "b".into()]), "{\"deleted\":[\"a\\\"\",\"b\"]}");
        assert_eq!(
            command_of_child("A", 0, "re\"boot", "{}"),
            "{\"device\":\"A\",\"data\":{\"id\":0,\"method\":\"re\\\"boot\",\"params\":{}}}"
        );
        assert_eq!(call(Err("no \"x\"")), "{\"error\":\"no \\\"x\\\"\"}");
    }

    #[test]
    fn every_provisioning_reply_is_exact() {
        let granted =
            |credential: Result<Credential, _>| provisioned(&ProvisionReply::Granted(credential.unwrap()));
        assert_eq!(
            granted(Credential::token("8kJ2")).as_deref(),
            Some(
                "{\"credentialsValue\":\"8kJ2\",\"credentialsType\":\"ACCESS_TOKEN\",\"status\":\"SUCCESS\"}"
            )
        );
        assert_eq!(
            granted(Credential::basic("c3", "u3", "p3")).as_deref(),
            Some(
                "{\"credentialsValue\":{\"clientId\":\"c3\",\"userName\":\"u3\",\"password\":\"p3\"},\
                 \"credentialsType\":\"MQTT_BASIC\",\"status\":\"SUCCESS\"}"
            )
        );
        assert_eq!(
            granted(Credential::certificate("MIIB")).as_deref(),
            Some(
                "{\"credentialsValue\":\"MIIB\",\"credentialsType\":\"X509_CERTIFICATE\",\"status\":\"SUCCESS\"}"
            )
        );
        assert_eq!(
            provisioned(&ProvisionReply::NotFound).as_deref(),
            Some("{\"errorMsg\":\"Provision data was not found!\",\"status\":\"NOT_FOUND\"}")
        );
        assert_eq!(
            provisioned(&ProvisionReply::Failed).as_deref(),
            Some("{\"errorMsg\":\"Failed to provision device!\",\"status\":\"FAILURE\"}")
        );
        assert_eq!(provisioned(&ProvisionReply::Broken), None);
        let message = provisioned_message(&ProvisionReply::NotFound).unwrap();
        assert_eq!(message, b"\x08\x02");
    }
}
