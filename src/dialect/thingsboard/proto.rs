//! The fixed Protobuf messages of the device API, and what they mean.
//!
//! Invariants:
//! - The types are made from the files in `proto/thingsboard`; nothing here repeats a field number.
//!
//! Source: the tables of messages in section 2.10 of the vectors.

use std::borrow::Cow;

use device::{Sample, Value};
use prost::Message;

use super::json::{Malformed, check_key};

/// Messages about values and answers.
#[allow(missing_docs, clippy::all, reason = "made from proto/thingsboard/transport.proto")]
pub(super) mod transport {
    include!(concat!(env!("OUT_DIR"), "/transport.rs"));
}

/// What devices and gateways say.
#[allow(missing_docs, clippy::all, reason = "made from proto/thingsboard/transportapi.proto")]
pub(super) mod transportapi {
    include!(concat!(env!("OUT_DIR"), "/transportapi.rs"));
}

use transport::{KeyValueProto, KeyValueType, PostAttributeMsg, PostTelemetryMsg, TsKvProto};

/// Reads a message.
pub(super) fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Malformed> {
    M::decode(payload).map_err(|error| Malformed::because(error.to_string()))
}

/// Values with their times; without a time they are of now.
pub(super) fn telemetry(message: PostTelemetryMsg, now_ms: i64) -> Result<Vec<Sample<'static>>, Malformed> {
    let mut samples = Vec::new();
    for list in message.ts_kv_list {
        let at_ms = if list.ts == 0 { now_ms } else { list.ts };
        for entry in list.kv {
            samples.push(sample(entry, at_ms)?);
        }
    }
    Ok(samples)
}

/// Attributes of now.
pub(super) fn attributes(message: PostAttributeMsg, now_ms: i64) -> Result<Vec<Sample<'static>>, Malformed> {
    message.kv.into_iter().map(|entry| sample(entry, now_ms)).collect()
}

fn sample(entry: KeyValueProto, at_ms: i64) -> Result<Sample<'static>, Malformed> {
    check_key(&entry.key)?;
    let value = match KeyValueType::try_from(entry.r#type) {
        Ok(KeyValueType::BooleanV) => Value::Bool(entry.bool_v),
        Ok(KeyValueType::LongV) => Value::Long(entry.long_v),
        Ok(KeyValueType::DoubleV) => Value::Double(entry.double_v),
        Ok(KeyValueType::StringV) => Value::Text(entry.string_v.into()),
        Ok(KeyValueType::JsonV) => json(&entry.json_v)?,
        Err(_) => return Err(Malformed::because(format!("`{}` has no known type", entry.key))),
    };
    Ok(Sample { key: Cow::Owned(entry.key), value, at_ms })
}

fn json(text: &str) -> Result<Value<'static>, Malformed> {
    if !super::json::is_json(text) {
        return Err(Malformed::because("a value that is no JSON"));
    }
    Ok(Value::Json(super::json::compact(text).into_owned().into()))
}

/// A value with its time, to be written.
pub(super) fn entry(sample: &Sample<'_>) -> TsKvProto {
    let mut entry = KeyValueProto { key: sample.key.to_string(), ..KeyValueProto::default() };
    match &sample.value {
        Value::Bool(value) => {
            entry.set_type(KeyValueType::BooleanV);
            entry.bool_v = *value;
        }
        Value::Long(value) => {
            entry.set_type(KeyValueType::LongV);
            entry.long_v = *value;
        }
        Value::Double(value) => {
            entry.set_type(KeyValueType::DoubleV);
            entry.double_v = *value;
        }
        Value::Text(text) => {
            entry.set_type(KeyValueType::StringV);
            entry.string_v = text.to_string();
        }
        Value::Json(text) => {
            entry.set_type(KeyValueType::JsonV);
            entry.json_v = text.to_string();
        }
    }
    TsKvProto { ts: sample.at_ms, kv: Some(entry), version: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_way_through_a_message() {
        let values = [
            Value::Bool(true),
            Value::Long(-7),
            Value::Double(1.5),
            Value::Text("0042".into()),
            Value::Json("{\"a\":1}".into()),
        ];
        for value in values {
            let sample = Sample { key: "k".into(), value, at_ms: 17 };
            let entry = entry(&sample);
            let read = super::sample(entry.kv.unwrap(), entry.ts).unwrap();
            assert_eq!(read, sample);
        }
    }

    #[test]
    fn numbers_of_fields_are_those_of_the_tables() {
        // ts = 5, kv { key = "a", type = DOUBLE_V, double_v = 1.0 }.
        let bytes = b"\x0a\x12\x08\x05\x12\x0e\x0a\x01a\x10\x02\x29\x00\x00\x00\x00\x00\x00\xf0\x3f";
        let message: PostTelemetryMsg = decode(bytes).unwrap();
        assert_eq!(message.ts_kv_list.len(), 1);
        let samples = telemetry(message, 99).unwrap();
        assert_eq!(samples, [Sample { key: "a".into(), value: Value::Double(1.0), at_ms: 5 }]);
        // TelemetryMsg: the device's name is field 1, its values are field 3.
        let message: transportapi::TelemetryMsg = decode(b"\x0a\x01A\x1a\x00").unwrap();
        assert!(message.device_name == "A" && message.msg.is_some());
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let json =
            KeyValueProto { key: "a".into(), r#type: 4, json_v: "{".into(), ..KeyValueProto::default() };
        assert!(sample(json, 0).is_err());
        let unknown = KeyValueProto { key: "a".into(), r#type: 9, ..KeyValueProto::default() };
        assert!(sample(unknown, 0).is_err());
        assert!(sample(KeyValueProto::default(), 0).is_err(), "without a key");
    }

    #[test]
    fn values_without_a_time_are_of_now() {
        let entry = KeyValueProto { key: "a".into(), ..KeyValueProto::default() };
        let list = transport::TsKvListProto { ts: 0, kv: vec![entry] };
        let samples = telemetry(PostTelemetryMsg { ts_kv_list: vec![list] }, 99).unwrap();
        assert_eq!(samples[0].at_ms, 99);
    }
}
