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

use device::{Sample, Typing, Value};

use super::lenient;
use super::scan::{Raw, Scan, unescaped};

/// The longest key in characters.
const KEY_CHARS_MAX: usize = 255;

/// Why a payload is not what its topic asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Malformed {
    pub why: Box<str>,
    /// Whether the system whose API this is does not expect it either, and ends the connection.
    pub is_unexpected: bool,
}

/// Reads samples out of a text.
pub(super) type Read = for<'t> fn(&'t str, i64, &Typing, &mut Vec<Sample<'t>>) -> Result<(), Malformed>;

impl Malformed {
    pub fn because(why: impl Into<Box<str>>) -> Self {
        Self { why: why.into(), is_unexpected: false }
    }

    pub fn unexpected(self) -> Self {
        Self { is_unexpected: true, ..self }
    }
}

/// The members of an object, in order, as they stand in the text; of two of one name the last.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads an object.
    pub fn read(text: &'a str) -> Result<Self, Malformed> {
        let mut scan = Scan::new(text);
        scan.enter(b'{')?;
        let (mut members, mut is_first) = (Vec::new(), true);
        while let Some(key) = scan.key(&mut is_first)? {
            members.push((key.text()?, scan.raw()?));
        }
        scan.end()?;
        keep_last(&mut members, 0, |(key, _)| key);
        Ok(Self(members))
    }

    /// The member of a name, as it is written; `null` is absent.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|raw| *raw != "null")
    }

    /// The member of a name, as it is written, even if that is `null`.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, raw)| *raw)
    }

    /// The member of a name, if it is a text.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        self.get(name).map(|raw| text(raw).ok_or_else(|| wrong(name, "a text"))).transpose()
    }

    /// The member of a name as a text, if it is a text, a number, true or false.
    pub fn word(&self, name: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        self.get(name).map(|raw| word(raw).ok_or_else(|| wrong(name, "a text"))).transpose()
    }

    /// The member of a name, if it is a whole number or a text with one.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, Malformed> {
        let unquoted =
            |raw: &'a str| raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        self.get(name)
            .map(|raw| whole(unquoted(raw)).ok_or_else(|| wrong(name, "a whole number")))
            .transpose()
    }

    /// The member of a name, if it is true or false.
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
        self.0.iter().map(|(key, raw)| (key, *raw))
    }
}

fn wrong(name: &str, what: &str) -> Malformed {
    Malformed::because(format!("`{name}` is not {what}"))
}

/// The payload as text; bytes that are no UTF-8 are replaced.
pub(super) fn payload_text(payload: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(payload) {
        Ok(text) => Cow::Borrowed(text),
        Err(_broken) => Cow::Owned(String::from_utf8_lossy(payload).into_owned()),
    }
}

/// The payload as text that is JSON if it can be made so; `is_lenient` says whether that is tried.
pub(super) fn lawful_text(payload: &[u8], is_lenient: bool) -> Cow<'_, str> {
    let text = payload_text(payload);
    if is_lenient
        && !is_json(&text)
        && let Ok(json) = lenient::repair(&text)
    {
        return Cow::Owned(json);
    }
    text
}

/// Whether a text is JSON.
pub(super) fn is_json(text: &str) -> bool {
    let mut scan = Scan::new(text);
    scan.value().is_ok() && scan.end().is_ok()
}

/// Reads telemetry in any of its forms.
pub(super) fn telemetry<'a>(
    text: &'a str,
    now_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
) -> Result<(), Malformed> {
    telemetry_with(text, now_ms, typing, samples, &mut |_| Ok(()))
}

/// Reads telemetry in any of its forms; hands over what stands as `metadata` beside a time and its values.
#[inline(always)]
pub(super) fn telemetry_with<'a>(
    text: &'a str,
    now_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
    metadata: &mut dyn FnMut(&'a str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut scan = Scan::new(text);
    if scan.is_array() {
        scan.enter(b'[')?;
        let mut is_first = true;
        while scan.has_element(&mut is_first)? {
            moment(&mut scan, now_ms, typing, samples, metadata)?;
        }
    } else {
        moment(&mut scan, now_ms, typing, samples, metadata)?;
    }
    Ok(scan.end()?)
}

/// Reads one object of telemetry: values, or values with their time.
fn moment<'a>(
    scan: &mut Scan<'a>,
    now_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
    metadata: &mut dyn FnMut(&'a str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    scan.enter(b'{')?;
    let from = samples.len();
    let (mut ts, mut values, mut about) = (None, None, None);
    let (mut trouble, mut is_first, mut seen) = (None, true, Seen::default());
    while let Some(key) = scan.key(&mut is_first)? {
        let raw = scan.value()?;
        let key = key.text()?;
        match &*key {
            "ts" => ts = Some(raw),
            "values" => values = Some(raw),
            other => {
                if let ("metadata", Raw::Nested { text, .. }) = (other, raw) {
                    about = Some(text);
                }
                seen.note(other, raw);
                // In a timed object this member does not count, whatever it is.
                if let Err(why) = sample(key, raw, now_ms, typing, samples) {
                    trouble = Some(why);
                }
            }
        }
    }
    let (Some(ts), Some(values)) = (ts, values) else {
        // At most one of the two, which is a member like others then.
        if let Some((name, raw)) = ts.map(|raw| ("ts", raw)).or(values.map(|raw| ("values", raw))) {
            seen.note(name, raw);
            sample(Cow::Borrowed(name), raw, now_ms, typing, samples)?;
        }
        seen.settle(samples, from);
        return trouble.map_or(Ok(()), Err);
    };
    samples.truncate(from);
    let at_ms = time(ts).ok_or_else(|| wrong("ts", "a time in milliseconds").unexpected())?;
    let Raw::Nested { text, .. } = values else { return Err(wrong("values", "an object")) };
    members(&mut Scan::new(text), at_ms, typing, samples)?;
    about.map_or(Ok(()), metadata)
}

/// Reads attributes: one object.
pub(super) fn attributes<'a>(
    text: &'a str,
    now_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
) -> Result<(), Malformed> {
    let mut scan = Scan::new(text);
    members(&mut scan, now_ms, typing, samples)?;
    Ok(scan.end()?)
}

/// Reads an object, whatever its members are called.
fn members<'a>(
    scan: &mut Scan<'a>,
    at_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
) -> Result<(), Malformed> {
    scan.enter(b'{')?;
    let from = samples.len();
    let (mut is_first, mut seen) = (true, Seen::default());
    while let Some(key) = scan.key(&mut is_first)? {
        let raw = scan.value()?;
        let key = key.text()?;
        seen.note(&key, raw);
        sample(key, raw, at_ms, typing, samples)?;
    }
    seen.settle(samples, from);
    Ok(())
}

/// What stands for `null` until its object is read: no value is a JSON text without a letter.
const NULL: Value<'static> = Value::Json(Cow::Borrowed(""));

/// What was seen of the keys of one object. Most objects have few keys, which differ in their lengths or their ends: then no
/// two of them are ever compared.
#[derive(Default)]
struct Seen {
    /// One bit for each length and end that a key has had.
    kinds: u64,
    /// The bits of those that more than one key has had.
    doubled: u64,
    has_null: bool,
}

impl Seen {
    #[inline]
    fn note(&mut self, key: &str, raw: Raw<'_>) {
        let end = key.as_bytes().last().copied().unwrap_or_default();
        let kind = 1_u64 << ((usize::from(end) + 11 * key.len()) & 63);
        self.doubled |= self.kinds & kind;
        self.kinds |= kind;
        if matches!(raw, Raw::Null) {
            self.has_null = true;
        }
    }

    /// Of the samples of the object, from `from` on, the last of each key counts; one that is `null` counts as none.
    #[inline]
    fn settle(&self, samples: &mut Vec<Sample<'_>>, from: usize) {
        if self.doubled != 0 {
            keep_last(samples, from, |sample| &sample.key);
        }
        if self.has_null {
            let mut index = 0;
            samples.retain(|sample| {
                index += 1;
                index <= from || sample.value != NULL
            });
        }
    }
}

/// As many entries as are compared with each other.
const COMPARED_MAX: usize = 32;

/// Takes out of a list, from `from` on, what has the key of a later entry.
fn keep_last<T>(list: &mut Vec<T>, from: usize, key: impl Fn(&T) -> &str + Copy) {
    let new = &list[from..];
    let is_double = match new.len() {
        0..=COMPARED_MAX => {
            let twin = |(at, one): (usize, &T)| new[..at].iter().any(|other| is_same(key(one), key(other)));
            new.iter().enumerate().any(twin)
        }
        _many => has_twins(new, key),
    };
    if is_double {
        drop_earlier(list, from, key);
    }
}

/// Keys of one length that differ mostly do so at their ends.
#[inline]
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.as_bytes().last() == other.as_bytes().last() && one == other
}

fn has_twins<T>(list: &[T], key: impl Fn(&T) -> &str) -> bool {
    let mut keys: Vec<&str> = list.iter().map(key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

#[cold]
fn drop_earlier<T>(list: &mut Vec<T>, from: usize, key: impl Fn(&T) -> &str) {
    let mut order: Vec<usize> = (from..list.len()).collect();
    order.sort_by_key(|at| key(&list[*at]));
    // Of those of one key the last comes last, because the sort is stable.
    let is_earlier = |pair: &[usize]| key(&list[pair[0]]) == key(&list[pair[1]]);
    let mut earlier: Vec<usize> =
        order.windows(2).filter(|pair| is_earlier(pair)).map(|pair| pair[0]).collect();
    earlier.sort_unstable();
    let mut at = 0;
    list.retain(|_| {
        at += 1;
        earlier.binary_search(&(at - 1)).is_err()
    });
}

/// Types a value and adds it, [`NULL`] for `null`.
#[inline(always)]
fn sample<'a>(
    key: Cow<'a, str>,
    raw: Raw<'a>,
    at_ms: i64,
    typing: &Typing,
    samples: &mut Vec<Sample<'a>>,
) -> Result<(), Malformed> {
    let typed = match raw {
        Raw::Null => {
            samples.push(Sample { key, value: NULL, at_ms });
            return Ok(());
        }
        Raw::Bool(value) => Ok(Value::Bool(value)),
        Raw::Number(text) => typing.number(text),
        Raw::Text { inner, has_escapes } => typing.text(&key, unescaped(inner, has_escapes)?),
        Raw::Nested { text, has_spaces: false } => Ok(Value::Json(Cow::Borrowed(text))),
        Raw::Nested { text, has_spaces: true } => Ok(Value::Json(compact(text))),
    };
    let value = typed.map_err(|why| Malformed::because(format!("`{key}` is {}", why.text())))?;
    check_key(&key)?;
    samples.push(Sample { key, value, at_ms });
    Ok(())
}

/// Source: key validation, section 2.6.
#[inline]
pub(super) fn check_key(key: &str) -> Result<(), Malformed> {
    let is_plain = key.len() <= KEY_CHARS_MAX && key.as_bytes().first().is_some_and(u8::is_ascii_graphic);
    if is_plain { Ok(()) } else { check_odd_key(key) }
}

#[cold]
fn check_odd_key(key: &str) -> Result<(), Malformed> {
    if key.trim().is_empty() {
        return Err(Malformed::because("a key has no letter"));
    }
    if key.chars().count() > KEY_CHARS_MAX {
        return Err(Malformed::because(format!("a key has more than {KEY_CHARS_MAX} characters")));
    }
    Ok(())
}

/// Unix milliseconds: a number, fractions cut off, or a text of digits.
fn time(raw: Raw<'_>) -> Option<i64> {
    match raw {
        Raw::Text { inner, .. } => inner.parse().ok(),
        Raw::Number(text) => whole(text),
        Raw::Null | Raw::Bool(_) | Raw::Nested { .. } => None,
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
    match Scan::new(raw).value().ok()? {
        Raw::Text { inner, has_escapes } => unescaped(inner, has_escapes).ok(),
        Raw::Null | Raw::Bool(_) | Raw::Number(_) | Raw::Nested { .. } => None,
    }
}

/// A text, or the spelling of a number, of true or of false.
fn word(raw: &str) -> Option<Cow<'_, str>> {
    match Scan::new(raw).value().ok()? {
        Raw::Text { inner, has_escapes } => unescaped(inner, has_escapes).ok(),
        Raw::Bool(_) | Raw::Number(_) => Some(Cow::Borrowed(raw)),
        Raw::Null | Raw::Nested { .. } => None,
    }
}

/// The elements of an array of texts.
pub(super) fn texts(raw: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut scan = Scan::new(raw);
    scan.enter(b'[').ok()?;
    let (mut texts, mut is_first) = (Vec::new(), true);
    while scan.has_element(&mut is_first).ok()? {
        texts.push(word(scan.raw().ok()?)?);
    }
    Some(texts)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, Malformed> {
        let mut samples = Vec::new();
        telemetry(text, 99, &Typing::default(), &mut samples)?;
        Ok(samples.iter().map(|one| format!("{}@{}={}", one.key, one.at_ms, one.value.to_json())).collect())
    }

    #[test]
    fn telemetry_comes_in_every_form() {
        let rows: [(&str, &[&str]); 16] = [
            ("{\"temp\":21.5,\"on\":true}", &["temp@99=21.5", "on@99=true"]),
            ("{\"ts\":17,\"values\":{\"temp\":21.5}}", &["temp@17=21.5"]),
            ("{\"values\":{\"a\":1},\"ts\":17,\"x\":2}", &["a@17=1"]),
            ("[{\"temp\":1},{\"ts\":17,\"values\":{\"temp\":2}}]", &["temp@99=1", "temp@17=2"]),
            (" [ { \"a\" : 1 } ] ", &["a@99=1"]),
            ("{}", &[]),
            ("[]", &[]),
            ("{\"ts\":5,\"temp\":1}", &["temp@99=1", "ts@99=5"]),
            ("{\"x\":1e999999999,\"ts\":5,\"values\":{}}", &[]),
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
    fn of_two_members_of_one_name_the_last_counts() {
        let rows: [(&str, &[&str]); 10] = [
            ("{\"a\":1,\"b\":2,\"a\":3}", &["b@99=2", "a@99=3"]),
            ("{\"a\":1,\"a\":2,\"a\":\"x\"}", &["a@99=\"x\""]),
            ("{\"a\":1,\"\\u0061\":2}", &["a@99=2"]),
            ("{\"a\":1,\"a\":null}", &[]),
            ("{\"a\":null,\"a\":1}", &["a@99=1"]),
            ("[{\"a\":1},{\"a\":null,\"b\":1},{\"a\":2,\"a\":3}]", &["a@99=1", "b@99=1", "a@99=3"]),
            ("{\"ts\":5,\"values\":{\"a\":1,\"a\":2},\"ts\":6}", &["a@6=2"]),
            ("{\"ts\":5,\"values\":{\"a\":1},\"values\":{\"b\":1}}", &["b@5=1"]),
            ("{\"ts\":5,\"a\":1,\"a\":2,\"ts\":6}", &["a@99=2", "ts@99=6"]),
            ("{\"ts\":null,\"\":null,\"a\":1}", &["a@99=1"]),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        let members = Members::read("{\"a\":1,\"b\":2,\"a\":3}").unwrap();
        assert_eq!(
            members.iter().map(|(key, raw)| (&**key, raw)).collect::<Vec<_>>(),
            [("b", "2"), ("a", "3")]
        );
    }

    #[test]
    fn doubles_are_found_among_few_members_and_among_many() {
        for count in [2, COMPARED_MAX - 1, COMPARED_MAX, COMPARED_MAX + 1, 5_000] {
            let members: Vec<String> = (0..count).map(|number| format!("\"k{number}\":{number}")).collect();
            let single = format!("{{{}}}", members.join(","));
            assert_eq!(read(&single).unwrap().len(), count);
            let double = format!("{{\"k0\":-1,\"k1\":null,{}}}", members.join(","));
            let kept = read(&double).unwrap();
            assert_eq!((kept.len(), &*kept[0], &*kept[1]), (count, "k0@99=0", "k1@99=1"));
        }
    }

    #[test]
    fn what_is_no_telemetry_is_refused_and_says_why() {
        let rows = [
            ("nonsense{", "an object is expected at byte 0"),
            ("", "an object is expected at byte 0"),
            ("{} x", "nothing more is expected at byte 3"),
            ("5", "an object is expected at byte 0"),
            ("[1]", "an object is expected at byte 1"),
            ("[[{}]]", "an object is expected at byte 1"),
            ("{\"ts\":1,\"values\":5}", "`values` is not an object"),
            ("{\"ts\":1,\"values\":[]}", "an object is expected at byte 0"),
            ("{\"ts\":null,\"values\":{}}", "`ts` is not a time in milliseconds"),
            ("{\"ts\":\"abc\",\"values\":{\"a\":1}}", "`ts` is not a time in milliseconds"),
            ("{\"\":1}", "a key has no letter"),
            ("{\"a\":1e999999999}", "`a` is a number that fits no type"),
        ];
        for (text, why) in rows {
            let malformed = read(text).unwrap_err();
            assert_eq!(&*malformed.why, why, "{text}");
            assert_eq!(malformed.is_unexpected, why.starts_with("`ts`"), "{text}");
        }
        let long = format!("{{\"{}\":1}}", "k".repeat(256));
        assert!(read(&long.replace("kk", "k\u{e4}")).is_err(), "of whatever letters");
        let just = format!("{{\"{}\":1}}", "\u{e4}".repeat(255));
        assert_eq!(read(&just).map(|samples| samples.len()), Ok(1), "letters count, not bytes");
        assert_eq!(read(&long), Err(Malformed::because("a key has more than 255 characters")));
    }

    #[test]
    fn attributes_are_one_object_whatever_its_members_are_called() {
        let read = |text| {
            let mut samples = Vec::new();
            let read = attributes(text, 9, &Typing::default(), &mut samples);
            read.map(|()| samples.iter().map(|one| one.key.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(read("{\"ts\":1,\"values\":{\"a\":1}}"), Ok(vec!["ts".to_owned(), "values".to_owned()]));
        assert!(read("[{\"a\":1}]").is_err());
    }

    #[test]
    fn text_without_escapes_is_borrowed_from_the_packet() {
        let mut samples = Vec::new();
        telemetry("{\"key\":\"value\",\"j\":{\"a\":1}}", 0, &Typing::default(), &mut samples).unwrap();
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
