//! JSON as much firmware writes it: names without quotes, single quotes, `NaN`, comments. It is turned into JSON.
//!
//! Why a second reader and not a lenient scan: what is JSON is read without looking for what is not, and everything behind
//! this file, subscribers of canonical topics among them, sees JSON only.
//!
//! Invariants:
//! - What comes out is JSON, whatever goes in; lawful JSON means the same as before.
//! - The text that comes out is at most [`GROWTH_MAX`] times as long as what went in, and nothing is nested deeper than the
//!   scan allows.
//! - No call is recursive.
//!
//! Source: section 2.4 of the vectors; the lenient mode of Gson's reader.

use super::json::Malformed;
use super::scan::{DEPTH_MAX, unescaped};

/// The most bytes that one byte becomes: a control character as `\u0000`.
#[cfg(test)]
const GROWTH_MAX: usize = 6;

/// Where a text ends that has no quotes.
const ENDS: &[u8] = b"/\\;#={}[]:, \t\x0c\r\n";

struct Repair<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value, or the end of an array behind a comma, which means `null`.
    Value,
    /// Right behind `[`: a value or the end.
    FirstElement,
    /// Right behind `{`: a name or the end.
    FirstName,
    /// A name.
    Name,
    /// A comma or the end of what is open.
    Behind,
}

/// The document as JSON.
pub(super) fn repair(text: &str) -> Result<String, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut repair = Repair { text, at: 0, out: String::with_capacity(text.len() + 16) };
    repair.document()?;
    Ok(repair.out)
}

impl<'a> Repair<'a> {
    fn document(&mut self) -> Result<(), Malformed> {
        let (mut open, mut depth) = (0_u128, 0_u32);
        let mut state = State::Value;
        loop {
            let next = self.peek()?;
            let is_object = open & 1 == 1;
            match (state, next) {
                (State::Value | State::FirstElement, b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return Err(self.wrong("too many levels"));
                    }
                    self.copy();
                    depth += 1;
                    open = open << 1 | u128::from(next == b'{');
                    state = if next == b'{' { State::FirstName } else { State::FirstElement };
                    continue;
                }
                (State::FirstElement, b']') | (State::FirstName, b'}') => {
                    self.copy();
                    depth -= 1;
                    open >>= 1;
                }
                // An element that is left out is `null`: `[1,]` and `[,1]` have two.
                (State::Value | State::FirstElement, b',' | b';' | b']') if depth > 0 && !is_object => {
                    self.out.push_str("null");
                }
                (State::Value | State::FirstElement, _) => self.scalar(next)?,
                (State::FirstName | State::Name, _) => {
                    self.name(next)?;
                    state = State::Value;
                    continue;
                }
                (State::Behind, b',' | b';') => {
                    self.at += 1;
                    self.out.push(',');
                    state = if is_object { State::Name } else { State::Value };
                    continue;
                }
                (State::Behind, b'}' | b']') if is_object == (next == b'}') => {
                    self.copy();
                    depth -= 1;
                    open >>= 1;
                }
                (State::Behind, _) => return Err(self.wrong("a comma is expected")),
            }
            state = State::Behind;
            if depth == 0 {
                return if self.peek()? == 0 { Ok(()) } else { Err(self.wrong("nothing more is expected")) };
            }
        }
    }

    fn name(&mut self, next: u8) -> Result<(), Malformed> {
        match next {
            b'"' | b'\'' => self.quoted(next)?,
            _bare => {
                let word = self.bare()?;
                device::write_text(word, &mut self.out);
            }
        }
        match self.peek()? {
            b':' => self.at += 1,
            b'=' => {
                self.at += 1;
                self.at += usize::from(self.byte() == b'>');
            }
            _other => return Err(self.wrong("a colon is expected")),
        }
        self.out.push(':');
        Ok(())
    }

    fn scalar(&mut self, next: u8) -> Result<(), Malformed> {
        if matches!(next, b'"' | b'\'') {
            return self.quoted(next);
        }
        let word = self.bare()?;
        let keyword = ["true", "false", "null"].into_iter().find(|known| known.eq_ignore_ascii_case(word));
        match keyword {
            Some(known) => self.out.push_str(known),
            None if is_number(word) => self.out.push_str(word),
            None => device::write_text(word, &mut self.out),
        }
        Ok(())
    }

    /// A text without quotes; it has one character at least.
    fn bare(&mut self) -> Result<&'a str, Malformed> {
        let text = self.text;
        let rest = &text[self.at..];
        let end = rest.bytes().position(|byte| ENDS.contains(&byte)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("a value is expected"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    /// A text with quotes of either kind.
    fn quoted(&mut self, quote: u8) -> Result<(), Malformed> {
        let from = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut at = from;
        let mut inner = String::new();
        let mut plain_from = from;
        loop {
            match bytes.get(at) {
                None => return Err(self.wrong("a text without an end")),
                Some(byte) if *byte == quote => break,
                // These two have no escape in JSON.
                Some(b'\\') if matches!(bytes.get(at + 1), Some(b'\'' | b'\n')) => {
                    inner.push_str(&self.text[plain_from..at]);
                    plain_from = at + 1;
                    at += 2;
                }
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
            }
        }
        // An escape may have led behind the end, and into the middle of a character.
        inner.push_str(self.text.get(plain_from..at).ok_or_else(|| self.wrong("an escape that is none"))?);
        self.at = at + 1;
        device::write_text(&unescaped(&inner, inner.contains('\\'))?, &mut self.out);
        Ok(())
    }

    /// The next byte that is neither white space nor part of a comment; 0 at the end.
    fn peek(&mut self) -> Result<u8, Malformed> {
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            match rest {
                [] => return Ok(0),
                [b' ' | b'\t' | b'\r' | b'\n', ..] => self.at += 1,
                [b'#', ..] | [b'/', b'/', ..] => {
                    let line = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    self.at += line.unwrap_or(rest.len());
                }
                [b'/', b'*', behind @ ..] => {
                    let end = behind.windows(2).position(|pair| pair == b"*/");
                    self.at += end.ok_or_else(|| self.wrong("a comment without an end"))? + 4;
                }
                [0, ..] => return Err(self.wrong("a value is expected")),
                [byte, ..] => return Ok(*byte),
            }
        }
    }

    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    fn copy(&mut self) {
        self.out.push(char::from(self.byte()));
        self.at += 1;
    }

    fn wrong(&self, what: &str) -> Malformed {
        Malformed::because(format!("{what} at byte {}", self.at))
    }
}

/// Whether a word is a number of JSON. `01`, `.5`, `5.` and `+5` are texts; the typing casts some of them.
fn is_number(word: &str) -> bool {
    let mut scan = super::scan::Scan::new(word);
    word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && scan.value().is_ok()
        && scan.end().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_much_firmware_writes_becomes_json() {
        let rows = [
            ("{a:1}", "{\"a\":1}"),
            ("{'a':'x\"y'}", "{\"a\":\"x\\\"y\"}"),
            ("{a=1;b=>2}", "{\"a\":1,\"b\":2}"),
            ("{a:NaN,b:-Infinity}", "{\"a\":\"NaN\",\"b\":\"-Infinity\"}"),
            (
                "{a:01,b:+5,c:.5,d:5.,e:-}",
                "{\"a\":\"01\",\"b\":\"+5\",\"c\":\".5\",\"d\":\"5.\",\"e\":\"-\"}",
            ),
            ("{a:1.5e3,b:-7}", "{\"a\":1.5e3,\"b\":-7}"),
            ("{a:TRUE,b:False,c:Null,d:none}", "{\"a\":true,\"b\":false,\"c\":null,\"d\":\"none\"}"),
            ("// x\n{/* y */a:1# z\n}", "{\"a\":1}"),
            ("[1,,2]", "[1,null,2]"),
            ("[1,]", "[1,null]"),
            ("[,]", "[null,null]"),
            ("[]", "[]"),
            ("\u{feff}{\"a\":\"\u{1}\"}", "{\"a\":\"\\u0001\"}"),
            ("{'a\\'b':\"c\\u00e9\\\nd\"}", "{\"a'b\":\"c\u{e9}\\nd\"}"),
            ("{a:{b:[x,{}]}}", "{\"a\":{\"b\":[\"x\",{}]}}"),
            ("word", "\"word\""),
        ];
        for (text, expected) in rows {
            let json = repair(text);
            assert_eq!(json.as_deref(), Ok(expected), "{text}");
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(expected).is_ok(), "{expected}");
            assert_eq!(repair(expected).as_deref(), Ok(expected), "what is JSON stays as it is");
            assert!(expected.len() <= GROWTH_MAX * text.len());
        }
    }

    #[test]
    fn what_nobody_can_have_meant_is_refused() {
        let rows = [
            "",
            " ",
            "nonsense{",
            "{",
            "{a}",
            "{a:}",
            "{a:1,}",
            "{,}",
            "{a:1 b:2}",
            "{a:1}x",
            "[1",
            "'x",
            "\"x",
            "{a:1]",
            "/* x",
            "{:1}",
            "a b",
            "\"\\q\"",
            "\"\\",
            "\"\\u00\"",
            "{a:\0}",
            "[1}",
            "\"\\\u{e9}\"",
        ];
        for text in rows {
            assert!(repair(text).is_err(), "{text:?} became {:?}", repair(text));
        }
        assert!(repair(&"[".repeat(1000)).is_err());
    }
}
