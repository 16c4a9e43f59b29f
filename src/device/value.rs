//! Typed values: what a device's telemetry and attributes are made of.
//!
//! Why five kinds and no tree: a value is stored, compared and shown, never walked; an object or array is kept as the
//! compact text that arrived.
//!
//! Invariants:
//! - [`Value::Json`] holds one JSON object or array without white space between its parts.
//! - Writing a value as JSON and typing it again without casts gives the same value.

use std::borrow::Cow;

use serde_json::to_string;

/// One value; borrowed from the packet that brought it, or owned.
#[derive(Clone, PartialEq, Debug)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number of 64 bits.
    Long(i64),
    /// Any other number.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// An object or array, as compact JSON text.
    Json(Cow<'a, str>),
}

/// A key's value at a time: one point of telemetry, or one attribute.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample<'a> {
    /// Its name.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: Value<'a>,
    /// Unix milliseconds, as the device says; any 64-bit number, also before 1970.
    pub at_ms: i64,
}

impl Value<'_> {
    /// The value without its packet.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Bool(value) => Value::Bool(value),
            Self::Long(value) => Value::Long(value),
            Self::Double(value) => Value::Double(value),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Json(text) => Value::Json(Cow::Owned(text.into_owned())),
        }
    }

    /// Appends the value as JSON. A number that JSON has no word for (it comes from Protobuf only) becomes text.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Long(value) => out.push_str(&value.to_string()),
            Self::Double(value) if value.is_finite() => {
                out.push_str(&to_string(value).expect("a finite number is JSON"));
            }
            Self::Double(value) => write_text(&value.to_string(), out),
            Self::Text(text) => write_text(text, out),
            Self::Json(text) => out.push_str(text),
        }
    }

    /// The value as a JSON text of its own.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    /// Bytes on the heap, for accounts of memory.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Bool(_) | Self::Long(_) | Self::Double(_) => 0,
            Self::Text(text) | Self::Json(text) => text.len(),
        }
    }
}

impl Sample<'_> {
    /// The sample without its packet.
    #[must_use]
    pub fn into_owned(self) -> Sample<'static> {
        Sample { key: Cow::Owned(self.key.into_owned()), value: self.value.into_owned(), at_ms: self.at_ms }
    }
}

/// Appends text as a JSON string.
pub fn write_text(text: &str, out: &mut String) {
    out.push_str(&to_string(text).expect("text is JSON"));
}

/// Appends `"key":value` pairs, with commas between them, without braces.
pub fn write_members<'s>(samples: impl IntoIterator<Item = (&'s str, &'s Value<'s>)>, out: &mut String) {
    for (index, (key, value)) in samples.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        value.write_json(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_json_that_means_them() {
        let rows = [
            (Value::Bool(true), "true"),
            (Value::Long(-7), "-7"),
            (Value::Double(5.0), "5.0"),
            (Value::Double(0.001), "0.001"),
            (Value::Double(f64::NAN), "\"NaN\""),
            (Value::Text("a\"\n\u{e9}".into()), "\"a\\\"\\n\u{e9}\""),
            (Value::Json("{\"a\":[1,2]}".into()), "{\"a\":[1,2]}"),
        ];
        for (value, json) in rows {
            assert_eq!(value.to_json(), json, "{value:?}");
        }
    }

    #[test]
    fn members_stand_in_order_with_commas_between() {
        let mut out = String::new();
        write_members([("a", &Value::Long(1)), ("b\"", &Value::Bool(false))], &mut out);
        assert_eq!(out, "\"a\":1,\"b\\\"\":false");
    }
}
