//! A pull scan of JSON text: each call gives the next member or element, as it stands in the text.
//!
//! Why a scanner of our own: telemetry is typed by its spelling, so values are wanted as text; and they are wanted without
//! a tree, without a list of members and without an allocation, because most messages of most devices are read here.
//!
//! Invariants:
//! - What passes is JSON as RFC 8259 has it, nested at most [`DEPTH_MAX`] levels deep; nothing stands behind it.
//! - A scan reads each byte once, and looks at nothing behind the text.
//! - No call is recursive.

use std::borrow::Cow;

use super::json::Malformed;

/// Where a text is no JSON, and what was expected there. Small and without a text of its own, because every step returns one
/// or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    what: Expected,
    at: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Object,
    Array,
    Key,
    Colon,
    Comma,
    Value,
    Digit,
    Escape,
    NoControl,
    End,
    NothingMore,
    FewerLevels,
}

impl From<Fault> for Malformed {
    #[cold]
    fn from(Fault { what, at }: Fault) -> Self {
        let what = match what {
            Expected::Object => "an object is expected",
            Expected::Array => "an array is expected",
            Expected::Key => "a key is expected",
            Expected::Colon => "a colon is expected",
            Expected::Comma => "a comma is expected",
            Expected::Value => "a value is expected",
            Expected::Digit => "a digit is expected",
            Expected::Escape => "an escape that is none",
            Expected::NoControl => "a control character in a text",
            Expected::End => "a text without an end",
            Expected::NothingMore => "nothing more is expected",
            Expected::FewerLevels => "too many levels",
        };
        Self::because(format!("{what} at byte {at}"))
    }
}

/// The deepest nesting.
pub(super) const DEPTH_MAX: u32 = 120;

/// A place in a text.
#[derive(Clone, Debug)]
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// One value as it stands in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Raw<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    /// What stands between the quotes.
    Text {
        inner: &'a str,
        has_escapes: bool,
    },
    /// An object or an array.
    Nested {
        text: &'a str,
        has_spaces: bool,
    },
}

/// A key as it stands in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key<'a> {
    /// What stands between the quotes.
    inner: &'a str,
    has_escapes: bool,
}

impl<'a> Key<'a> {
    /// The key without its escapes.
    #[inline]
    pub fn text(self) -> Result<Cow<'a, str>, Malformed> {
        unescaped(self.inner, self.has_escapes)
    }
}

impl<'a> Scan<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Whether the next value is an array.
    pub fn is_array(&mut self) -> bool {
        self.peek() == b'['
    }

    /// Goes into an object or an array, which begins with `opening`.
    #[inline]
    pub fn enter(&mut self, opening: u8) -> Result<(), Fault> {
        if self.peek() != opening {
            return Err(self.expected(if opening == b'{' { Expected::Object } else { Expected::Array }));
        }
        self.at += 1;
        Ok(())
    }

    /// The key of the next member of the object that was entered, or nothing behind its last one. `is_first` is true at
    /// the first call and becomes false.
    #[inline]
    pub fn key(&mut self, is_first: &mut bool) -> Result<Option<Key<'a>>, Fault> {
        if self.ends(b'}', is_first)? {
            return Ok(None);
        }
        if self.peek() != b'"' {
            return Err(self.expected(Expected::Key));
        }
        let (inner, has_escapes) = self.quoted()?;
        if self.peek() != b':' {
            return Err(self.expected(Expected::Colon));
        }
        self.at += 1;
        Ok(Some(Key { inner, has_escapes }))
    }

    /// Whether there is another element in the array that was entered; `is_first` as in [`Scan::key`].
    pub fn has_element(&mut self, is_first: &mut bool) -> Result<bool, Fault> {
        self.ends(b']', is_first).map(|ends| !ends)
    }

    /// The next value.
    #[inline]
    pub fn value(&mut self) -> Result<Raw<'a>, Fault> {
        match self.peek() {
            b'"' => {
                let (inner, has_escapes) = self.quoted()?;
                Ok(Raw::Text { inner, has_escapes })
            }
            b'-' | b'0'..=b'9' => self.number().map(Raw::Number),
            b'{' | b'[' => self.nested(),
            b't' => self.word("true", Raw::Bool(true)),
            b'f' => self.word("false", Raw::Bool(false)),
            b'n' => self.word("null", Raw::Null),
            _nothing_else => Err(self.expected(Expected::Value)),
        }
    }

    /// The next value as it stands in the text, with its quotes.
    pub fn raw(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        let from = self.at;
        self.value()?;
        Ok(&self.text[from..self.at])
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.peek();
        if self.at < self.text.len() { Err(self.expected(Expected::NothingMore)) } else { Ok(()) }
    }

    /// The next byte that is no white space; 0 at the end.
    #[inline]
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return *byte;
            }
            self.at += 1;
        }
        0
    }

    #[inline]
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    /// Whether the object or array ends here; if not, a comma stands before all but the first.
    #[inline]
    fn ends(&mut self, closing: u8, is_first: &mut bool) -> Result<bool, Fault> {
        let next = self.peek();
        if next == closing {
            self.at += 1;
            return Ok(true);
        }
        if std::mem::take(is_first) {
            return Ok(false);
        }
        if next != b',' {
            return Err(self.expected(Expected::Comma));
        }
        self.at += 1;
        Ok(false)
    }

    /// A text; the scan stands on its first quote. Returns what stands between the quotes and whether it has escapes.
    #[inline]
    fn quoted(&mut self) -> Result<(&'a str, bool), Fault> {
        let bytes = self.text.as_bytes();
        let from = self.at + 1;
        let mut at = from;
        let mut has_escapes = false;
        loop {
            at += plain_len(&bytes[at..]);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    at += escape_len(&bytes[at..]).ok_or_else(|| fault(Expected::Escape, at))?;
                }
                Some(_) => return Err(fault(Expected::NoControl, at)),
                None => return Err(fault(Expected::End, at)),
            }
        }
        self.at = at + 1;
        Ok((&self.text[from..at], has_escapes))
    }

    #[inline]
    fn number(&mut self) -> Result<&'a str, Fault> {
        let from = self.at;
        self.at += usize::from(self.byte() == b'-');
        match self.byte() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits()?,
            _no_digit => return Err(self.expected(Expected::Digit)),
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), b'+' | b'-'));
            self.digits()?;
        }
        Ok(&self.text[from..self.at])
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let from = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == from { Err(self.expected(Expected::Digit)) } else { Ok(()) }
    }

    #[inline]
    fn word(&mut self, word: &str, raw: Raw<'a>) -> Result<Raw<'a>, Fault> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected(Expected::Value));
        }
        self.at += word.len();
        Ok(raw)
    }

    /// An object or array, whole. What is open is kept as bits: a one for an object.
    fn nested(&mut self) -> Result<Raw<'a>, Fault> {
        let from = self.at;
        let (mut open, mut depth, mut has_spaces) = (0_u128, 0_u32, false);
        let mut is_first = true;
        loop {
            // A value is due here, or the end of what was just opened.
            let before = self.at;
            let next = self.peek();
            has_spaces |= self.at > before;
            match next {
                b'{' | b'[' => {
                    if depth == DEPTH_MAX {
                        return Err(self.expected(Expected::FewerLevels));
                    }
                    self.at += 1;
                    depth += 1;
                    open = open << 1 | u128::from(next == b'{');
                    is_first = true;
                }
                _scalar => {
                    self.value()?;
                }
            }
            loop {
                let is_object = open & 1 == 1;
                let before = self.at;
                self.peek();
                has_spaces |= self.at > before;
                if !self.ends(if is_object { b'}' } else { b']' }, &mut is_first)? {
                    if is_object {
                        has_spaces |= self.nested_key()?;
                    }
                    break;
                }
                is_first = false;
                depth -= 1;
                open >>= 1;
                if depth == 0 {
                    return Ok(Raw::Nested { text: &self.text[from..self.at], has_spaces });
                }
            }
        }
    }

    /// A key and its colon within a value; whether there is white space around them.
    fn nested_key(&mut self) -> Result<bool, Fault> {
        let from = self.at;
        if self.peek() != b'"' {
            return Err(self.expected(Expected::Key));
        }
        let mut has_spaces = self.at > from;
        self.quoted()?;
        let from = self.at;
        if self.peek() != b':' {
            return Err(self.expected(Expected::Colon));
        }
        has_spaces |= self.at > from;
        self.at += 1;
        Ok(has_spaces)
    }

    #[cold]
    fn expected(&self, what: Expected) -> Fault {
        fault(what, self.at)
    }
}

#[cold]
fn fault(what: Expected, at: usize) -> Fault {
    Fault { what, at: u32::try_from(at).unwrap_or(u32::MAX) }
}

/// How many bytes stand before the first quote, backslash or control character. Cost: a few steps for eight bytes.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut len = 0;
    // A borrow may mark bytes above the first that is meant, never one below it.
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quotes = is_zero(word ^ (ONES * u64::from(b'"')));
        let backslashes = is_zero(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quotes | backslashes | controls) & HIGHS;
        if found != 0 {
            return len + usize::try_from(found.trailing_zeros() / 8).expect("below eight");
        }
        len += 8;
    }
    let is_plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    len + bytes[len..].iter().take_while(is_plain).count()
}

/// The bytes of the escape at the beginning, if it is one.
fn escape_len(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _other => None,
    }
}

/// A text without its escapes; borrowed if it has none. Half a pair of surrogates is no character: it is replaced.
#[inline]
pub(super) fn unescaped(inner: &str, has_escapes: bool) -> Result<Cow<'_, str>, Malformed> {
    if has_escapes { spelled_out(inner).map(Cow::Owned) } else { Ok(Cow::Borrowed(inner)) }
}

#[cold]
fn spelled_out(inner: &str) -> Result<String, Malformed> {
    let mut out = String::with_capacity(inner.len());
    let mut units: Vec<u16> = Vec::new();
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        if !plain.is_empty() {
            flush(&mut units, &mut out);
            out.push_str(plain);
        }
        let no_escape = || Malformed::because("an escape that is none");
        let len = escape_len(escape.as_bytes()).ok_or_else(no_escape)?;
        let character = match escape.as_bytes()[1] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                units.push(u16::from_str_radix(&escape[2..6], 16).map_err(|_| no_escape())?);
                rest = &escape[len..];
                continue;
            }
            itself => char::from(itself),
        };
        flush(&mut units, &mut out);
        out.push(character);
        rest = &escape[len..];
    }
    flush(&mut units, &mut out);
    out.push_str(rest);
    Ok(out)
}

fn flush(units: &mut Vec<u16>, out: &mut String) {
    let characters = char::decode_utf16(units.drain(..));
    out.extend(characters.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<&str, Malformed> {
        let mut scan = Scan::new(text);
        let raw = scan.raw()?;
        scan.end()?;
        Ok(raw)
    }

    #[test]
    fn what_is_json_passes_and_nothing_else_does() {
        let lawful = [
            "0",
            "-0",
            "1.5e3",
            "1E+9",
            "12",
            "\"\"",
            "\"\\u00e9\\\\\"",
            "true",
            "false",
            "null",
            "{}",
            "[]",
            " [ ] ",
            "{\"a\":{\"b\":[1,{}]},\"c\":[[],[[]]]}",
            "[1,2,\"x\"]",
            "\t{ \"a\" : 1 , \"b\" : [ ] }\n",
        ];
        for text in lawful {
            assert_eq!(whole(text), Ok(text.trim()), "{text}");
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "{text}");
        }
        let unlawful = [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "1e+",
            "tru",
            "nul",
            "True",
            "NaN",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "{",
            "}",
            "[",
            "]",
            "{]",
            "[}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "[,1]",
            "{,}",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{'a':1}",
            "1 2",
            "{}x",
            "[{}",
            "{\"a\":[1}",
            "//x\n1",
            "\u{feff}1",
        ];
        for text in unlawful {
            assert!(whole(text).is_err(), "{text}");
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn members_and_elements_come_in_order_as_they_stand() {
        let mut scan = Scan::new(
            " { \"a\" : -1.5 , \"b\\n\":\"x\\ty\", \"c\":[1, 2],\"d\":{\"e\":1},\"f\":null,\"g\":true }",
        );
        scan.enter(b'{').unwrap();
        let mut is_first = true;
        let mut seen = Vec::new();
        while let Some(key) = scan.key(&mut is_first).unwrap() {
            seen.push((key.text().unwrap().into_owned(), scan.value().unwrap()));
        }
        scan.end().unwrap();
        let expected = [
            ("a", Raw::Number("-1.5")),
            ("b\n", Raw::Text { inner: "x\\ty", has_escapes: true }),
            ("c", Raw::Nested { text: "[1, 2]", has_spaces: true }),
            ("d", Raw::Nested { text: "{\"e\":1}", has_spaces: false }),
            ("f", Raw::Null),
            ("g", Raw::Bool(true)),
        ];
        assert_eq!(seen, expected.map(|(key, raw)| (key.to_owned(), raw)));
    }

    #[test]
    fn the_first_byte_that_is_not_plain_is_found_wherever_it_stands() {
        for len in 0..40 {
            for at in 0..len {
                for byte in [b'"', b'\\', 0, 0x1f, b'\n'] {
                    let mut bytes = vec![b'!'; len];
                    bytes[at] = byte;
                    bytes[len - 1] = if at < len - 1 { b'"' } else { byte };
                    assert_eq!(plain_len(&bytes), at, "{bytes:?}");
                }
            }
            for byte in [b' ', b'#', b'[', b']', 0x7f, 0x80, 0xff, b'!'] {
                assert_eq!(plain_len(&vec![byte; len]), len, "{byte}");
            }
        }
    }

    #[test]
    fn depth_has_an_end() {
        let levels = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(whole(&levels(120)).is_ok());
        assert_eq!(whole(&levels(121)), Err(Malformed::because("too many levels at byte 120")));
        assert!(whole(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn escapes_mean_characters_and_half_a_pair_is_replaced() {
        let rows = [
            ("a\\u00e9\\n\\/\\\"", "a\u{e9}\n/\""),
            ("\\ud83d\\ude00", "\u{1f600}"),
            ("\\ud83dx", "\u{fffd}x"),
            ("\\b\\f\\r\\t\\\\", "\u{8}\u{c}\r\t\\"),
        ];
        for (inner, text) in rows {
            assert_eq!(unescaped(inner, true).as_deref(), Ok(text), "{inner}");
        }
        assert!(matches!(unescaped("plain", false), Ok(Cow::Borrowed("plain"))));
    }
}
