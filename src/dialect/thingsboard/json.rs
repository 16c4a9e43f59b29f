//! Reading JSON payloads: straight into samples, without a tree.
//!
//! Why raw members: the type of a number depends on its spelling, which a parsed number has lost; so values are cut out of
//! the text as they stand and typed from there. Text without escapes is borrowed from the packet.
//!
//! Invariants:
//! - What follows a document, and every other break of JSON, is an error that says where it is.
//! - Of two members of one name the last counts.
//!
//! Source: sections 2.3 to 2.6 of the vectors.

use std::borrow::Cow;
use std::fmt;

use device::{Sample, Typing, Value};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The longest key in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Why a payload is not what its topic asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Malformed(pub Box<str>);

impl Malformed {
    pub fn because(why: impl Into<Box<str>>) -> Self {
        Self(why.into())
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// The members of an object, in order.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// The elements of an array.
struct Elements<'a>(Vec<&'a RawValue>);

/// A text, borrowed if it has no escapes.
struct Word<'a>(Cow<'a, str>);

impl<'a> Members<'a> {
    /// Reads an object.
    pub fn read(text: &'a str) -> Result<Self, Malformed> {
        Ok(serde_json::from_str(text)?)
    }

    /// The last member of a name, as it is written; `null` is absent.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let last = self.0.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")
    }

    /// The last member of a name, if it is a text.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        self.get(name).map(|raw| text(raw).ok_or_else(|| wrong(name, "a text"))).transpose()
    }

    /// The last member of a name, if it is a whole number.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, Malformed> {
        self.get(name).map(|raw| whole(raw).ok_or_else(|| wrong(name, "a whole number"))).transpose()
    }

    /// The last member of a name, if it is true or false.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Malformed> {
        let read = |raw| match raw {
            "true" => Ok(true),
            "false" => Ok(false),
            _other => Err(wrong(name, "true or false")),
        };
        self.get(name).map(read).transpose()
    }

    /// All members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a str)> {
        self.0.iter().map(|(key, raw)| (key, raw.get()))
    }
}

fn wrong(name: &str, what: &str) -> Malformed {
    Malformed::because(format!("`{name}` is not {what}"))
}

/// The payload as text; bytes that are no UTF-8 are replaced.
pub(super) fn payload_text(payload: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(payload)
}

/// Reads telemetry in any of its forms.
pub(super) fn telemetry<'a>(
    text: &'a str,
    now_ms: i64,
    typing: &Typing,
) -> Result<Vec<Sample<'a>>, Malformed> {
    let mut samples = Vec::new();
    if text.trim_start().starts_with('[') {
        let Elements(elements) = serde_json::from_str(text)?;
        for element in elements {
            moment(element.get(), now_ms, typing, &mut samples)?;
        }
    } else {
        moment(text, now_ms, typing, &mut samples)?;
    }
    Ok(samples)
}

/// Reads one object of telemetry: values, or values with their time.
fn moment<'a>(
    text: &'a str,
    now_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
) -> Result<(), Malformed> {
    let members = Members::read(text)?;
    let member = |name: &str| members.0.iter().rev().find(|(key, _)| key == name).map(|(_, raw)| raw.get());
    match (member("ts"), member("values")) {
        (Some(ts), Some(values)) => {
            let at_ms = time(ts).ok_or_else(|| wrong("ts", "a time in milliseconds"))?;
            sample(Members::read(values)?, at_ms, typing, samples)
        }
        _one_or_none => sample(members, now_ms, typing, samples),
    }
}

/// Reads attributes: one object.
pub(super) fn attributes<'a>(
    text: &'a str,
    now_ms: i64,
    typing: &Typing,
) -> Result<Vec<Sample<'a>>, Malformed> {
    let mut samples = Vec::new();
    sample(Members::read(text)?, now_ms, typing, &mut samples)?;
    Ok(samples)
}

fn sample<'a>(
    members: Members<'a>,
    at_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
) -> Result<(), Malformed> {
    samples.reserve(members.0.len());
    for (key, raw) in members.0 {
        if let Some(value) = value(&key, raw.get(), typing)? {
            check_key(&key)?;
            samples.push(Sample { key, value, at_ms });
        }
    }
    Ok(())
}

/// Source: key validation, section 2.6.
pub(super) fn check_key(key: &str) -> Result<(), Malformed> {
    if key.trim().is_empty() {
        return Err(Malformed::because("a key has no letter"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Malformed::because(format!("a key has more than {KEY_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Types a value as it is written; `null` is none.
fn value<'a>(key: &str, raw: &'a str, typing: &Typing) -> Result<Option<Value<'a>>, Malformed> {
    let typed = match raw.as_bytes().first() {
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        Some(b'n') | None => return Ok(None),
        Some(b'{' | b'[') => Ok(Value::Json(compact(raw))),
        Some(b'"') => {
            let text = text(raw).ok_or_else(|| wrong(key, "a text"))?;
            typing.text(key, text)
        }
        Some(_) => typing.number(raw),
    };
    typed.map(Some).map_err(|why| Malformed::because(format!("`{key}` is {}", why.text())))
}

/// Unix milliseconds: a number, fractions cut off, or a text of digits.
fn time(raw: &str) -> Option<i64> {
    match text(raw) {
        Some(digits) => digits.parse().ok(),
        None => whole(raw),
    }
}

/// A number as written, fractions cut off.
fn whole(raw: &str) -> Option<i64> {
    if let Ok(value) = raw.parse() {
        return Some(value);
    }
    if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    let number: f64 = raw.parse().ok()?;
    format!("{:.0}", number.trunc()).parse().ok()
}

/// A text as written, with its quotes.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw).ok().map(|Word(word)| word)
}

/// The elements of an array of texts.
pub(super) fn texts(raw: &str) -> Option<Vec<Cow<'_, str>>> {
    let Elements(elements) = serde_json::from_str(raw).ok()?;
    elements.into_iter().map(|element| text(element.get())).collect()
}

/// Takes white space between the parts of a document away.
pub(super) fn compact(raw: &str) -> Cow<'_, str> {
    let parts = || {
        let (mut in_text, mut is_escaped) = (false, false);
        raw.chars().filter(move |character| {
            if in_text {
                in_text = is_escaped || *character != '"';
                is_escaped = !is_escaped && *character == '\\';
                return true;
            }
            in_text = *character == '"';
            !matches!(character, ' ' | '\t' | '\r' | '\n')
        })
    };
    if parts().count() == raw.chars().count() { Cow::Borrowed(raw) } else { Cow::Owned(parts().collect()) }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Word(key), raw)) = map.next_entry()? {
                    members.push((key, raw));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Read).map(Members)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(raw) = seq.next_element()? {
                    elements.push(raw);
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(Read).map(Elements)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Read).map(Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, Malformed> {
        let samples = telemetry(text, 99, &Typing::default())?;
        Ok(samples.iter().map(|one| format!("{}@{}={}", one.key, one.at_ms, one.value.to_json())).collect())
    }

    #[test]
    fn telemetry_comes_in_every_form() {
        let rows: [(&str, &[&str]); 15] = [
            ("{\"temp\":21.5,\"on\":true}", &["temp@99=21.5", "on@99=true"]),
            ("{\"ts\":17,\"values\":{\"temp\":21.5}}", &["temp@17=21.5"]),
            ("{\"values\":{\"a\":1},\"ts\":17,\"x\":2}", &["a@17=1"]),
            ("[{\"temp\":1},{\"ts\":17,\"values\":{\"temp\":2}}]", &["temp@99=1", "temp@17=2"]),
            (" [ { \"a\" : 1 } ] ", &["a@99=1"]),
            ("{}", &[]),
            ("[]", &[]),
            ("{\"ts\":5,\"temp\":1}", &["ts@99=5", "temp@99=1"]),
            ("{\"ts\":\"17\",\"values\":{\"a\":1}}", &["a@17=1"]),
            ("{\"ts\":1.76e12,\"values\":{\"a\":1}}", &["a@1760000000000=1"]),
            ("{\"ts\":-1.9,\"values\":{\"a\":1}}", &["a@-1=1"]),
            ("{\"a\":null,\"b\":\"x\"}", &["b@99=\"x\""]),
            ("{\"a\":{ \"b\": [1, \"x y\"] }}", &["a@99={\"b\":[1,\"x y\"]}"]),
            ("{\"a\\u0062\":\"c\\nd\"}", &["ab@99=\"c\\nd\""]),
            ("{\"a\":\"0042\"}", &["a@99=42"]),
        ];
        for (text, expected) in rows {
            assert_eq!(
                read(text).as_deref(),
                Ok(expected.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_telemetry_is_refused_and_says_why() {
        let rows = [
            ("nonsense{", "expected ident at line 1 column 2"),
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{} x", "trailing characters at line 1 column 4"),
            ("5", "invalid type: integer `5`, expected an object at line 1 column 1"),
            ("[1]", "invalid type: integer `1`, expected an object at line 1 column 1"),
            ("{\"ts\":1,\"values\":5}", "invalid type: integer `5`, expected an object at line 1 column 1"),
            ("{\"ts\":null,\"values\":{}}", "`ts` is not a time in milliseconds"),
            ("{\"ts\":\"abc\",\"values\":{\"a\":1}}", "`ts` is not a time in milliseconds"),
            ("{\"\":1}", "a key has no letter"),
            ("{\"a\":1e999999999}", "`a` is a number that fits no type"),
        ];
        for (text, why) in rows {
            assert_eq!(read(text), Err(Malformed::because(why)), "{text}");
        }
        let long = format!("{{\"{}\":1}}", "k".repeat(256));
        assert_eq!(read(&long), Err(Malformed::because("a key has more than 255 bytes")));
    }

    #[test]
    fn attributes_are_one_object_whatever_its_members_are_called() {
        let read = |text| {
            let samples = attributes(text, 9, &Typing::default());
            samples.map(|samples| samples.iter().map(|one| one.key.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(read("{\"ts\":1,\"values\":{\"a\":1}}"), Ok(vec!["ts".to_owned(), "values".to_owned()]));
        assert!(read("[{\"a\":1}]").is_err());
    }

    #[test]
    fn text_without_escapes_is_borrowed_from_the_packet() {
        let samples = telemetry("{\"key\":\"value\",\"j\":{\"a\":1}}", 0, &Typing::default()).unwrap();
        for sample in samples {
            assert!(matches!(sample.key, Cow::Borrowed(_)));
            assert!(matches!(sample.value, Value::Text(Cow::Borrowed(_)) | Value::Json(Cow::Borrowed(_))));
        }
    }

    #[test]
    fn white_space_within_texts_stays() {
        assert_eq!(
            compact("{ \"a b\" :\t\"\\\" \\\\\" , \"c\":[ 1 ] }"),
            "{\"a b\":\"\\\" \\\\\",\"c\":[1]}"
        );
        assert!(matches!(compact("{\"a b\":1}"), Cow::Borrowed(_)));
    }
}
