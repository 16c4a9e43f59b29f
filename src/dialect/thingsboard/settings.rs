//! A profile's settings: topics, payload format, and how broken payloads are answered.
//!
//! Why read once: schemas are compiled when a profile is saved, which is also when somebody can be told that they are wrong.
//!
//! Invariants:
//! - What is absent has the default of the system whose API this is.
//! - Members that are not known are passed over, since profiles are copied between systems.
//!
//! Source: section 2.8 of the vectors.

use std::sync::Arc;

use device::{Profile, Typing};
use prost_reflect::MessageDescriptor;
use serde::Deserialize;

use super::quirks::Quirks;
use super::schema;
use super::topics::{ATTRIBUTES, Filter, Spelling, TELEMETRY};

/// What was understood of a profile's settings.
#[derive(Debug)]
pub(super) struct Settings {
    pub telemetry_topic: Filter,
    pub attributes_topic: Filter,
    pub attributes_subscribe_topic: Filter,
    pub schemas: Option<Box<Schemas>>,
    /// Whether a broken payload is acknowledged below 5.0 instead of ending the connection.
    pub acks_malformed: bool,
    pub typing: Typing,
    /// Whether a gateway speaks only for children that were created for it.
    pub own_children_only: bool,
    pub quirks: Quirks,
}

/// The schemas of a profile whose payloads are Protobuf.
#[derive(Debug)]
pub(super) struct Schemas {
    pub telemetry: MessageDescriptor,
    pub attributes: MessageDescriptor,
    pub command: MessageDescriptor,
    pub command_answer: MessageDescriptor,
    /// Whether a payload that is no Protobuf is read as JSON.
    pub falls_back: bool,
    /// Whether what is written to the default topics is JSON.
    pub has_json_downlinks: bool,
}

/// How a payload is read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Json,
    Proto,
    ProtoOrJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    device_telemetry_topic: String,
    device_attributes_topic: String,
    device_attributes_subscribe_topic: String,
    transport_payload_type_configuration: WrittenPayload,
    send_ack_on_validation_exception: bool,
    sparkplug: bool,
    /// Ours: whether text that looks like a number becomes one.
    type_cast_enabled: bool,
    /// Ours: keys whose texts stay texts.
    type_cast_except_keys: Vec<Box<str>>,
    /// Ours: the longest text; 0 is no limit.
    max_string_value_length: usize,
    /// Ours: a gateway speaks only for children that were created for it.
    own_children_only: bool,
    /// Ours.
    quirks: Quirks,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenPayload {
    transport_payload_type: String,
    device_telemetry_proto_schema: Option<String>,
    device_attributes_proto_schema: Option<String>,
    device_rpc_request_proto_schema: Option<String>,
    device_rpc_response_proto_schema: Option<String>,
    enable_compatibility_with_json_payload_format: bool,
    use_json_payload_format_for_default_downlink_topics: bool,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            device_telemetry_topic: TELEMETRY.to_owned(),
            device_attributes_topic: ATTRIBUTES.to_owned(),
            device_attributes_subscribe_topic: ATTRIBUTES.to_owned(),
            transport_payload_type_configuration: WrittenPayload::default(),
            send_ack_on_validation_exception: false,
            sparkplug: false,
            type_cast_enabled: true,
            type_cast_except_keys: Vec::new(),
            max_string_value_length: 0,
            own_children_only: false,
            quirks: Quirks::default(),
        }
    }
}

impl Default for WrittenPayload {
    fn default() -> Self {
        Self {
            transport_payload_type: "JSON".to_owned(),
            device_telemetry_proto_schema: None,
            device_attributes_proto_schema: None,
            device_rpc_request_proto_schema: None,
            device_rpc_response_proto_schema: None,
            enable_compatibility_with_json_payload_format: false,
            use_json_payload_format_for_default_downlink_topics: false,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            telemetry_topic: Filter::new(TELEMETRY),
            attributes_topic: Filter::new(ATTRIBUTES),
            attributes_subscribe_topic: Filter::new(ATTRIBUTES),
            schemas: None,
            acks_malformed: false,
            typing: Typing::default(),
            own_children_only: false,
            quirks: Quirks::default(),
        }
    }
}

impl Settings {
    /// What was understood of a profile's settings when they were saved.
    pub fn of(profile: &Profile) -> Arc<Self> {
        let terms = profile.terms.clone();
        terms.and_then(|terms| terms.downcast::<Self>().ok()).unwrap_or_default()
    }

    /// Reads what stands in a profile; an empty text means all defaults.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if written.sparkplug {
            return Err("Sparkplug is a dialect of its own".to_owned());
        }
        let filters = [
            &written.device_telemetry_topic,
            &written.device_attributes_topic,
            &written.device_attributes_subscribe_topic,
        ];
        for filter in filters {
            let checked = mqtt::topic::check_filter(filter, usize::from(u8::MAX));
            checked.map_err(|violation| format!("`{filter}` {}", violation.facts().text))?;
        }
        Ok(Self {
            telemetry_topic: Filter::new(&written.device_telemetry_topic),
            attributes_topic: Filter::new(&written.device_attributes_topic),
            attributes_subscribe_topic: Filter::new(&written.device_attributes_subscribe_topic),
            schemas: schemas(&written.transport_payload_type_configuration)?,
            acks_malformed: written.send_ack_on_validation_exception,
            typing: Typing {
                casts: written.type_cast_enabled,
                text_keys: written.type_cast_except_keys.into(),
                text_bytes_max: written.max_string_value_length,
                rereads_doubles: written.quirks.rereads_doubles,
            },
            own_children_only: written.own_children_only,
            quirks: written.quirks,
        })
    }

    /// How a payload that came in a spelling is read.
    pub fn uplink_format(&self, spelling: Spelling) -> Format {
        match (spelling, &self.schemas) {
            (Spelling::V2Json, _) | (Spelling::V1 | Spelling::V2, None) => Format::Json,
            (Spelling::V1 | Spelling::V2, Some(schemas)) if schemas.falls_back => Format::ProtoOrJson,
            (Spelling::V2Proto, _) | (Spelling::V1 | Spelling::V2, Some(_)) => Format::Proto,
        }
    }

    /// How a payload that goes out in a spelling is written: never [`Format::ProtoOrJson`].
    pub fn downlink_format(&self, spelling: Spelling) -> Format {
        match (spelling, &self.schemas) {
            (Spelling::V2Json, _) | (Spelling::V1 | Spelling::V2, None) => Format::Json,
            (Spelling::V1, Some(schemas)) if schemas.has_json_downlinks => Format::Json,
            (Spelling::V2Proto, _) | (Spelling::V1 | Spelling::V2, Some(_)) => Format::Proto,
        }
    }
}

fn schemas(written: &WrittenPayload) -> Result<Option<Box<Schemas>>, String> {
    match written.transport_payload_type.as_str() {
        "JSON" => return Ok(None),
        "PROTOBUF" => {}
        other => return Err(format!("`{other}` is no payload type")),
    }
    let own = |text: &Option<String>, otherwise: &'static str| -> String {
        text.clone().filter(|text| !text.trim().is_empty()).unwrap_or_else(|| otherwise.to_owned())
    };
    let named = |what: &str, text: String| {
        schema::compile(&text).map_err(|why| format!("the schema of {what}: {why}"))
    };
    let command = named("commands", own(&written.device_rpc_request_proto_schema, schema::COMMAND))?;
    schema::check_command(&command)?;
    Ok(Some(Box::new(Schemas {
        telemetry: named("telemetry", own(&written.device_telemetry_proto_schema, ""))?,
        attributes: named("attributes", own(&written.device_attributes_proto_schema, ""))?,
        command,
        command_answer: named(
            "answers to commands",
            own(&written.device_rpc_response_proto_schema, schema::COMMAND_ANSWER),
        )?,
        falls_back: written.enable_compatibility_with_json_payload_format,
        has_json_downlinks: written.use_json_payload_format_for_default_downlink_topics,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "syntax = \\\"proto3\\\"; message T { optional double temp = 1; }";

    fn proto(more: &str) -> Settings {
        let text = format!(
            "{{\"transportPayloadTypeConfiguration\":{{\"transportPayloadType\":\"PROTOBUF\",\
             \"deviceTelemetryProtoSchema\":\"{SCHEMA}\",\"deviceAttributesProtoSchema\":\"{SCHEMA}\"{more}}}}}"
        );
        Settings::read(&text).unwrap()
    }

    #[test]
    fn what_is_absent_is_the_default() {
        for text in ["", "{\"type\":\"DEFAULT\"}", "{\"type\":\"MQTT\",\"unknown\":1}"] {
            let settings = Settings::read(text).unwrap();
            assert_eq!(settings.telemetry_topic, Filter::new("v1/devices/me/telemetry"));
            assert!(settings.schemas.is_none() && settings.typing.casts && !settings.acks_malformed);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let rows = [
            ("{", "EOF while parsing an object at line 1 column 1"),
            ("{\"sparkplug\":true}", "Sparkplug is a dialect of its own"),
            (
                "{\"transportPayloadTypeConfiguration\":{\"transportPayloadType\":\"XML\"}}",
                "`XML` is no payload type",
            ),
        ];
        for (text, why) in rows {
            assert_eq!(Settings::read(text).err().as_deref(), Some(why), "{text}");
        }
        let filter = Settings::read("{\"deviceTelemetryTopic\":\"a/#/b\"}").err().unwrap();
        assert!(filter.starts_with("`a/#/b` "), "{filter}");
    }

    #[test]
    fn formats_follow_the_profile_and_the_spelling() {
        use Format::{Json, Proto, ProtoOrJson};
        use Spelling::{V1, V2, V2Json, V2Proto};
        let formats = |settings: &Settings| {
            Spelling::ALL.map(|one| (settings.uplink_format(one), settings.downlink_format(one)))
        };
        assert_eq!([V1, V2, V2Json, V2Proto], Spelling::ALL);
        let plain = Settings::default();
        assert_eq!(formats(&plain), [(Json, Json), (Json, Json), (Json, Json), (Proto, Proto)]);
        assert_eq!(formats(&proto("")), [(Proto, Proto), (Proto, Proto), (Json, Json), (Proto, Proto)]);
        let both = proto(",\"enableCompatibilityWithJsonPayloadFormat\":true");
        let expected = [(ProtoOrJson, Proto), (ProtoOrJson, Proto), (Json, Json), (Proto, Proto)];
        assert_eq!(formats(&both), expected);
        let json_down = proto(
            ",\"enableCompatibilityWithJsonPayloadFormat\":true,\
             \"useJsonPayloadFormatForDefaultDownlinkTopics\":true",
        );
        let expected = [(ProtoOrJson, Json), (ProtoOrJson, Proto), (Json, Json), (Proto, Proto)];
        assert_eq!(formats(&json_down), expected);
    }

    #[test]
    fn casting_can_be_turned_off_for_all_keys_or_for_some() {
        let settings =
            Settings::read("{\"typeCastExceptKeys\":[\"iccid\"],\"maxStringValueLength\":9}").unwrap();
        assert!(settings.typing.casts && &*settings.typing.text_keys[0] == "iccid");
        assert_eq!(settings.typing.text_bytes_max, 9);
        assert!(!Settings::read("{\"typeCastEnabled\":false}").unwrap().typing.casts);
    }
}
