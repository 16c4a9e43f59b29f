//! Schemas of a profile's own Protobuf messages, compiled when the profile is saved.
//!
//! Why by way of JSON: a message that is turned into its JSON form goes the same way as a JSON payload, so that types and
//! forms of telemetry mean the same in both.
//!
//! Invariants:
//! - A schema is one file of proto3 without imports; its last message is the payload.
//! - However much a message means by what it leaves out, its JSON is no larger than whoever asks for it can bear.
//!
//! Source: section 2.10 of the vectors.

use device::Unspeakable;
use prost::Message;
use prost::bytes::BufMut;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, SerializeOptions, Syntax};
use protox::file::{File, FileResolver};

use super::json::Malformed;

/// Commands, if a profile does not say otherwise.
pub(super) const COMMAND: &str = "syntax = \"proto3\"; package rpc; message RpcRequestMsg { \
     optional string method = 1; optional int32 requestId = 2; optional string params = 3; }";

/// Answers to commands, if a profile does not say otherwise.
pub(super) const COMMAND_ANSWER: &str =
    "syntax = \"proto3\"; package rpc; message RpcResponseMsg { optional string payload = 1; }";

const NAME: &str = "schema.proto";

/// The longest schema in bytes.
const SCHEMA_BYTES_MAX: usize = 65_536;

/// What the JSON of a message may have in any case, in bytes: fields that are not in the payload are in it, and a few bytes
/// can stand for an object with all of them.
pub(super) const JSON_BYTES_MAX: usize = 1 << 20;

/// The only file that there is.
struct OneFile(String);

impl FileResolver for OneFile {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == NAME { File::from_source(name, &self.0) } else { Err(protox::Error::file_not_found(name)) }
    }
}

/// The payload message of a schema.
pub(super) fn compile(text: &str) -> Result<MessageDescriptor, String> {
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(format!("more than {SCHEMA_BYTES_MAX} bytes"));
    }
    let told = |error: protox::Error| error.to_string();
    let mut compiler = protox::Compiler::with_file_resolver(OneFile(text.to_owned()));
    compiler.open_file(NAME).map_err(told)?;
    let pool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(NAME).ok_or_else(|| "no file".to_owned())?;
    if file.syntax() != Syntax::Proto3 {
        return Err("the syntax is not proto3".to_owned());
    }
    file.messages().last().ok_or_else(|| "no message".to_owned())
}

/// Whether a message can carry a command.
pub(super) fn check_command(message: &MessageDescriptor) -> Result<(), String> {
    let names: Vec<String> = message.fields().map(|field| field.name().to_owned()).collect();
    let has = |name: &str| names.iter().any(|known| known == name);
    let method = message.get_field_by_name("method").is_some_and(|field| field.kind() == Kind::String);
    if names.len() == 3 && method && has("requestId") && has("params") {
        return Ok(());
    }
    Err("the schema of commands: a command has `method` (a string), `requestId` and `params`".to_owned())
}

/// A message as JSON text of at most `bytes_max`.
pub(super) fn decode(
    message: &MessageDescriptor,
    payload: &[u8],
    bytes_max: usize,
) -> Result<String, Malformed> {
    as_json(&read(message, payload)?, bytes_max)
}

/// A message of telemetry as JSON text of at most `bytes_max`. Of one that has room for a time and for values, and has no time, the values; `is_whole`
/// says that it stays as it is.
pub(super) fn decode_telemetry(
    message: &MessageDescriptor,
    payload: &[u8],
    is_whole: bool,
    bytes_max: usize,
) -> Result<String, Malformed> {
    let decoded = read(message, payload)?;
    let has_room = || message.fields().len() == 2 && message.get_field_by_name("ts").is_some();
    let values = decoded.get_field_by_name("values");
    if !is_whole
        && has_room()
        && !decoded.has_field_by_name("ts")
        && let Some(values) = values.as_deref().and_then(prost_reflect::Value::as_message)
    {
        return as_json(values, bytes_max);
    }
    as_json(&decoded, bytes_max)
}

fn read(message: &MessageDescriptor, payload: &[u8]) -> Result<DynamicMessage, Malformed> {
    DynamicMessage::decode(message.clone(), payload).map_err(|error| Malformed::because(error.to_string()))
}

fn as_json(decoded: &DynamicMessage, bytes_max: usize) -> Result<String, Malformed> {
    let told = |error: &dyn std::fmt::Display| Malformed::because(error.to_string());
    let mut out = Vec::new().limit(bytes_max).writer();
    let mut serializer = serde_json::Serializer::new(&mut out);
    let options = SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(true);
    decoded.serialize_with_options(&mut serializer, &options).map_err(|error| match error.is_io() {
        true => Malformed::because(format!("the message means more than {bytes_max} bytes of JSON")),
        false => told(&error),
    })?;
    String::from_utf8(out.into_inner().into_inner()).map_err(|error| told(&error))
}

/// A command as the profile's own message.
pub(super) fn encode_command(
    message: &MessageDescriptor,
    number: i32,
    method: &str,
    params: &str,
) -> Result<Vec<u8>, Unspeakable> {
    let is_text = message.get_field_by_name("params").is_some_and(|field| field.kind() == Kind::String);
    let mut text = String::from("{\"method\":");
    device::write_text(method, &mut text);
    text.push_str(",\"requestId\":");
    text.push_str(&number.to_string());
    if params != "null" {
        text.push_str(",\"params\":");
        if is_text && !params.starts_with('"') {
            if params.starts_with(['{', '[']) {
                return Err(Unspeakable::because("the schema takes no object as `params`"));
            }
            device::write_text(params, &mut text);
        } else {
            text.push_str(params);
        }
    }
    text.push('}');
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let message = DynamicMessage::deserialize(message.clone(), &mut deserializer)
        .map_err(|error| Unspeakable::because(error.to_string()))?;
    Ok(message.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_the_json_that_means_it() {
        let schema = compile(
            "syntax = \"proto3\"; package my; enum Mode { OFF = 0; ON = 1; } message Inner { int32 x = 1; } \
             message T { optional double temp = 1; int64 count = 2; optional Mode mode = 3; \
             optional string some_name = 4; Inner inner = 5; repeated int32 list = 6; bytes raw = 7; }",
        )
        .unwrap();
        assert_eq!(schema.name(), "T", "the last message");
        // temp = 21.5, mode = ON, inner.x = 7; count and the lists are absent.
        let payload = b"\x09\x00\x00\x00\x00\x00\x80\x35\x40\x18\x01\x2a\x02\x08\x07";
        assert_eq!(
            decode(&schema, payload, 1000).unwrap(),
            "{\"temp\":21.5,\"count\":\"0\",\"mode\":\"ON\",\"inner\":{\"x\":7},\"list\":[],\"raw\":\"\"}"
        );
        assert!(decode(&schema, b"{\"temp\":1}", 1000).is_err());
    }

    #[test]
    fn a_message_that_means_more_than_can_be_borne_is_refused_with_a_reason() {
        let names: String = (1..=50).map(|number| format!("int64 a_field_{number} = {number}; ")).collect();
        let schema = compile(&format!(
            "syntax = \"proto3\"; message Inner {{ {names} }} message T {{ repeated Inner list = 1; }}"
        ))
        .unwrap();
        let payload = |count| b"\x0a\x00".repeat(count);
        let one = decode(&schema, &payload(1), JSON_BYTES_MAX).unwrap().len();
        assert!(one > 500, "two bytes have become {one}");
        assert!(decode(&schema, &payload(1), one).is_ok());
        let told = |error: Malformed| error.why;
        let why = decode(&schema, &payload(1), one - 1).map_err(told);
        assert_eq!(why, Err(format!("the message means more than {} bytes of JSON", one - 1).into()));
        let why = decode_telemetry(&schema, &payload(30_000), false, JSON_BYTES_MAX).map_err(told);
        assert_eq!(why, Err("the message means more than 1048576 bytes of JSON".into()));
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        for text in [
            "",
            "syntax = \"proto2\"; message T { optional int32 a = 1; }",
            "syntax = \"proto3\";",
            "syntax = \"proto3\"; import \"other.proto\"; message T {}",
            "syntax = \"proto3\"; message T { int32 a = 1; int32 b = 1; }",
        ] {
            assert!(compile(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_is_written_in_the_profiles_message() {
        let command = compile(COMMAND).unwrap();
        check_command(&command).unwrap();
        let encoded = encode_command(&command, 17, "set", "5").unwrap();
        assert_eq!(encoded, b"\x0a\x03set\x10\x11\x1a\x015");
        assert_eq!(encode_command(&command, 17, "set", "\"5\"").unwrap(), encoded);
        assert_eq!(encode_command(&command, 17, "set", "null").unwrap(), b"\x0a\x03set\x10\x11");
        assert!(encode_command(&command, 17, "set", "{\"a\":1}").is_err());
        let own = compile(
            "syntax = \"proto3\"; message P { optional int32 pin = 1; } \
             message R { optional string method = 1; optional int32 requestId = 2; optional P params = 3; }",
        )
        .unwrap();
        assert_eq!(
            encode_command(&own, 0, "m", "{\"pin\":7}").unwrap(),
            b"\x0a\x01m\x10\x00\x1a\x02\x08\x07"
        );
        assert!(check_command(&compile(COMMAND_ANSWER).unwrap()).is_err());
    }
}
