//! Whether a packet that came is the packet that a line expects.
//!
//! Why PUBLISH is strict and the others are not: an unexpected flag or property on a message is a fault that no other
//! check would see, while limits and reason strings around acknowledgements are the server's business.

use crate::lexer::Word;
use crate::packet::{Heard, Kind, Version, quoted};
use crate::property::{self, Held, SUBSCRIPTION_ID, Shape, TOPIC_ALIAS, USER_PROPERTY};
use crate::say::is_qos;
use crate::step::Phrase;
use crate::value::{self, Names, alternatives};

/// Compares; the result lists the differences. Names are bound only if there is none.
///
/// # Errors
/// A phrase that makes no sense.
pub fn differences(
    phrase: &Phrase,
    heard: &Heard,
    version: Version,
    names: &mut Names,
) -> Result<Vec<String>, String> {
    let mut fit = Fit { heard, version, names: names.clone(), found: Vec::new(), asked: Asked::default() };
    if phrase.kind != heard.kind {
        return Ok(vec![format!("{} expected, {} came", phrase.kind.word(), heard.kind.word())]);
    }
    for word in &phrase.words {
        fit.compare(word)?;
    }
    fit.finish()?;
    if fit.found.is_empty() {
        *names = fit.names;
    }
    Ok(fit.found)
}

struct Fit<'a> {
    heard: &'a Heard,
    version: Version,
    names: Names,
    found: Vec<String>,
    asked: Asked,
}

/// What the words of a phrase asked for, as far as what was not asked for matters.
#[derive(Default)]
struct Asked {
    codes: Vec<String>,
    qos: bool,
    dup: bool,
    retain: bool,
    topic: bool,
    payload: bool,
    is_open: bool,
    properties: Vec<u8>,
    subscription_ids: Vec<String>,
    user_properties: Vec<Vec<Word>>,
}

impl Fit<'_> {
    fn compare(&mut self, word: &Word) -> Result<(), String> {
        match word.key.as_deref() {
            Some(key) => self.compare_key(key, word),
            None => self.compare_bare(word),
        }
    }

    fn compare_bare(&mut self, word: &Word) -> Result<(), String> {
        let text = word.text.as_str();
        if text == "..." {
            self.asked.is_open = true;
            return Ok(());
        }
        if self.heard.kind == Kind::Publish {
            return self.compare_content(word);
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) || text == "any" {
            self.asked.codes.push(text.to_owned());
            return Ok(());
        }
        Err(format!("{} has no word `{text}` to compare", self.heard.kind.word()))
    }

    fn compare_content(&mut self, word: &Word) -> Result<(), String> {
        let heard = self.heard;
        match word.bare() {
            Some("dup" | "dup?") => {
                self.asked.dup = true;
                self.flag("dup", heard.dup, &word.text);
            }
            Some("retain" | "retain?") => {
                self.asked.retain = true;
                self.flag("retain", heard.retain, &word.text);
            }
            Some("q?") => self.asked.qos = true,
            Some(text) if text.split('|').all(is_qos) => {
                self.asked.qos = true;
                if !text.split('|').any(|q| q == format!("q{}", heard.qos)) {
                    self.found.push(format!("{text} expected, q{} came", heard.qos));
                }
            }
            Some(text) if text.starts_with('~') && !self.asked.topic => {
                self.asked.topic = true;
                if !filter_matches(&text.as_bytes()[1..], &heard.topic) {
                    self.found.push(format!("topic {} does not match {}", quoted(&heard.topic), &text[1..]));
                }
            }
            _ if !self.asked.topic => {
                self.asked.topic = true;
                self.content("topic", &word.text, Some(&heard.topic))?;
            }
            _ if !self.asked.payload => {
                self.asked.payload = true;
                self.content("payload", &word.text, Some(&heard.payload))?;
            }
            _ => return Err(format!("PUBLISH has topic and payload already; what is `{}`?", word.text)),
        }
        Ok(())
    }

    fn flag(&mut self, name: &str, came: bool, asked: &str) {
        if !asked.ends_with('?') && !came {
            self.found.push(format!("{name} is missing"));
        }
    }

    fn content(&mut self, name: &str, pattern: &str, came: Option<&[u8]>) -> Result<(), String> {
        if !value::bytes_match(pattern, came, &mut self.names)? {
            let shown = came.map_or_else(|| "nothing".to_owned(), quoted);
            self.found.push(format!("{name} {} expected, {shown} came", cut(pattern)));
        }
        Ok(())
    }

    fn number(&mut self, name: &str, pattern: &str, came: Option<u64>) -> Result<(), String> {
        if !value::number_matches(pattern, came, &mut self.names)? {
            let shown = came.map_or_else(|| "nothing".to_owned(), |number| number.to_string());
            self.found.push(format!("{name} {pattern} expected, {shown} came"));
        }
        Ok(())
    }

    fn compare_key(&mut self, key: &str, word: &Word) -> Result<(), String> {
        let heard = self.heard;
        let length = u64::try_from(heard.frame.len()).unwrap_or(u64::MAX);
        match key {
            "id" => self.number("id", &word.text, (heard.id != 0).then_some(u64::from(heard.id))),
            "size" => self.number("size", &word.text, Some(length)),
            "sp" if self.version == Version::V31 => Ok(()),
            "sp" => self.number("sp", &word.text, Some(u64::from(heard.session_present))),
            "topic" => {
                self.asked.topic = true;
                self.content("topic", &word.text, Some(&heard.topic))
            }
            "wire-topic" => self.content("wire-topic", &word.text, Some(&heard.wire_topic)),
            "payload" => {
                self.asked.payload = true;
                self.content("payload", &word.text, Some(&heard.payload))
            }
            _ => self.compare_property(key, word),
        }
    }

    fn compare_property(&mut self, key: &str, word: &Word) -> Result<(), String> {
        let heard = self.heard;
        let in_message = heard.kind == Kind::Publish;
        let row = property::by_key(key, in_message)
            .ok_or_else(|| format!("{} has no key `{key}` to compare", heard.kind.word()))?;
        self.asked.properties.push(row.id);
        match (row.id, row.shape, word.group.as_ref()) {
            (USER_PROPERTY, _, Some(pair)) if pair.len() == 2 => {
                self.asked.user_properties.push(pair.clone())
            }
            (USER_PROPERTY, _, Some(_)) => return Err("up(KEY VALUE)".to_owned()),
            (USER_PROPERTY, _, None) => {
                let came = heard.property(USER_PROPERTY).map(|_| 1);
                self.number(key, &word.text, came)?;
            }
            (SUBSCRIPTION_ID, ..) if word.text != "absent" && word.text != "any" => {
                self.asked.subscription_ids.push(word.text.clone());
            }
            (id, Shape::Text | Shape::Binary, _) => {
                let came = match heard.property(id) {
                    Some(Held::Bytes(bytes)) => Some(bytes.as_slice()),
                    _ => None, // Absent; other shapes cannot come out of the decoder.
                };
                self.content(key, &word.text, came)?;
            }
            (id, ..) => self.number(key, &word.text, heard.number(id))?,
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.compare_codes()?;
        self.compare_subscription_ids()?;
        self.compare_user_properties()?;
        if self.heard.kind == Kind::Publish {
            self.find_unasked();
        }
        Ok(())
    }

    fn find_unasked(&mut self) {
        let heard = self.heard;
        let qos_name = format!("q{}", heard.qos);
        for (is_asked, is_there, name) in [
            (self.asked.qos, heard.qos > 0, qos_name.as_str()),
            (self.asked.dup, heard.dup, "dup"),
            (self.asked.retain, heard.retain, "retain"),
        ] {
            if !is_asked && is_there {
                self.found.push(format!("{name} came, which the line does not name"));
            }
        }
        for (id, _) in &heard.properties {
            // Whether to use an alias is the server's choice; its rules are checked elsewhere.
            if !self.asked.is_open && *id != TOPIC_ALIAS && !self.asked.properties.contains(id) {
                self.found.push(format!("{} came, which the line does not name", property::name(*id)));
            }
        }
    }

    fn compare_codes(&mut self) -> Result<(), String> {
        let heard = self.heard;
        let asked = std::mem::take(&mut self.asked.codes);
        if heard.kind == Kind::UnsubAck && self.version != Version::V5 {
            return Ok(());
        }
        let is_list = matches!(heard.kind, Kind::SubAck | Kind::UnsubAck);
        let default = match heard.kind {
            Kind::PubAck | Kind::PubRec => "0x00|0x10",
            Kind::SubAck | Kind::UnsubAck => "0..0x7f",
            Kind::Disconnect | Kind::Auth if asked.is_empty() => {
                return Err(format!("{} must name a code to compare", heard.kind.word()));
            }
            Kind::Publish | Kind::PingResp => return Ok(()),
            _ => "0x00", // CONNACK, PUBREL, PUBCOMP.
        };
        let came: Vec<u8> = if is_list { heard.codes.clone() } else { vec![heard.code()] };
        if !asked.is_empty() && asked.len() != came.len() {
            self.found.push(format!("{} codes expected, {} came", asked.len(), came.len()));
            return Ok(());
        }
        for (at, code) in came.into_iter().enumerate() {
            let pattern = asked.get(at).map_or(default, String::as_str);
            if !code_matches(pattern, code, self.version, &mut self.names)? {
                self.found.push(format!("code {pattern} expected, 0x{code:02x} came"));
            }
        }
        Ok(())
    }

    fn compare_subscription_ids(&mut self) -> Result<(), String> {
        let asked = std::mem::take(&mut self.asked.subscription_ids);
        if asked.is_empty() {
            return Ok(());
        }
        let ids = self.heard.properties.iter().filter(|(id, _)| *id == SUBSCRIPTION_ID);
        let mut came: Vec<u64> = ids.filter_map(|(_, value)| value.number()).collect();
        if asked.len() != came.len() {
            self.found.push(format!(
                "{} subscription identifiers expected, {} came",
                asked.len(),
                came.len()
            ));
        }
        for pattern in asked {
            let mut place = None;
            for (at, number) in came.iter().enumerate() {
                if place.is_none() && value::number_matches(&pattern, Some(*number), &mut self.names)? {
                    place = Some(at);
                }
            }
            match place {
                Some(at) => {
                    came.remove(at);
                }
                None => self.found.push(format!("subscription identifier {pattern} is missing")),
            }
        }
        Ok(())
    }

    fn compare_user_properties(&mut self) -> Result<(), String> {
        let asked = std::mem::take(&mut self.asked.user_properties);
        if asked.is_empty() {
            return Ok(());
        }
        let pairs: Vec<(&[u8], &[u8])> =
            self.heard.properties.iter().filter_map(|(_, value)| pair_of(value)).collect();
        if pairs.len() != asked.len() {
            self.found.push(format!("{} user properties expected, {} came", asked.len(), pairs.len()));
            return Ok(());
        }
        for (halves, (key, value)) in asked.iter().zip(pairs) {
            self.content("user property key", &halves[0].text, Some(key))?;
            self.content("user property value", &halves[1].text, Some(value))?;
        }
        Ok(())
    }
}

fn pair_of(value: &Held) -> Option<(&[u8], &[u8])> {
    match value {
        Held::Pair(key, value) => Some((key, value)),
        Held::Number(_) | Held::Bytes(_) => None,
    }
}

fn cut(pattern: &str) -> String {
    pattern.chars().take(80).collect()
}

/// Whether a code matches `0x81|0x82`, or of `0x87/0x80` the half of this version.
///
/// # Errors
/// A pattern that is none.
pub fn code_matches(pattern: &str, code: u8, version: Version, names: &mut Names) -> Result<bool, String> {
    let half = match pattern.split_once('/') {
        Some((fifth, _)) if version == Version::V5 => fifth,
        Some((_, third)) => third,
        None => pattern,
    };
    if alternatives(half).contains(&"any") {
        return Ok(true);
    }
    value::number_matches(half, Some(u64::from(code)), names)
}

/// Whether a topic matches a filter. Source: MQTT 5.0 section 4.7.
#[must_use]
pub fn filter_matches(filter: &[u8], topic: &[u8]) -> bool {
    if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'#' | b'+')) {
        return false;
    }
    let mut filters = filter.split(|byte| *byte == b'/');
    let mut levels = topic.split(|byte| *byte == b'/');
    loop {
        match (filters.next(), levels.next()) {
            (Some(b"#"), _) => return true,
            (Some(b"+"), Some(_)) => {}
            (Some(filter), Some(level)) if filter == level => {}
            (None, None) => return true,
            _ => return false, // A level differs, or one of the two is longer.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{differences, filter_matches};
    use crate::hear::hear;
    use crate::packet::Version;
    use crate::step::phrase;
    use crate::value::{Bound, Names};

    fn found(line: &str, bytes: &[u8]) -> Vec<String> {
        let heard = hear(bytes, Version::V5).unwrap();
        differences(&phrase(line).unwrap(), &heard, Version::V5, &mut Names::default()).unwrap()
    }

    const PUBLISH: &[u8] = &[0x33, 13, 0, 1, b'a', 0, 7, 5, 2, 0, 0, 0, 9, b'x', b'y'];

    #[test]
    fn a_message_matches_only_a_line_that_names_all_of_it() {
        assert_eq!(found("PUBLISH q1 retain a \"xy\" id=7 expiry=5..9", PUBLISH), Vec::<String>::new());
        assert_eq!(found("PUBLISH q? retain? ~+ expiry=any size=15", PUBLISH), Vec::<String>::new());
        assert_eq!(found("PUBLISH q1 retain a ...", PUBLISH), Vec::<String>::new());
        assert_eq!(
            found("PUBLISH q1 retain a", PUBLISH),
            ["message-expiry came, which the line does not name"]
        );
        assert_eq!(found("PUBLISH q1 a ...", PUBLISH), ["retain came, which the line does not name"]);
        assert_eq!(found("PUBLISH retain a ...", PUBLISH), ["q1 came, which the line does not name"]);
        assert_eq!(found("PUBLISH q1 retain b ...", PUBLISH), ["topic b expected, \"a\" came"]);
        assert_eq!(found("PUBLISH q1 retain a \"x\" ...", PUBLISH), ["payload \"x\" expected, \"xy\" came"]);
        assert_eq!(found("PUBLISH q1 retain a expiry=10..", PUBLISH), ["expiry 10.. expected, 9 came"]);
        assert_eq!(found("PUBLISH dup q1 retain a ...", PUBLISH), ["dup is missing"]);
    }

    #[test]
    fn a_code_left_out_is_a_success() {
        assert_eq!(found("PUBACK", &[0x40, 2, 0, 1]), Vec::<String>::new());
        assert_eq!(found("PUBACK", &[0x40, 3, 0, 1, 0x10]), Vec::<String>::new());
        assert_eq!(found("PUBACK", &[0x40, 3, 0, 1, 0x87]), ["code 0x00|0x10 expected, 0x87 came"]);
        assert_eq!(found("PUBACK 0x80|0x87", &[0x40, 3, 0, 1, 0x87]), Vec::<String>::new());
        assert_eq!(found("SUBACK 0x01 0x87/0x80", &[0x90, 5, 0, 1, 0, 1, 0x87]), Vec::<String>::new());
        assert_eq!(found("SUBACK 0x01", &[0x90, 5, 0, 1, 0, 1, 0x87]), ["1 codes expected, 2 came"]);
    }

    #[test]
    fn names_are_bound_by_a_match_only() {
        let heard = hear(PUBLISH, Version::V5).unwrap();
        let mut names = Names::default();
        differences(&phrase("PUBLISH q1 retain b id=@p ...").unwrap(), &heard, Version::V5, &mut names)
            .unwrap();
        assert_eq!(names.bound("p"), None);
        differences(&phrase("PUBLISH q1 retain a id=@p ...").unwrap(), &heard, Version::V5, &mut names)
            .unwrap();
        assert_eq!(names.bound("p"), Some(&Bound::Number(7)));
    }

    #[test]
    fn a_filter_matches_level_by_level() {
        let rows = [
            ("a/#", "a", true),
            ("+/b", "/b", true),
            ("#", "$SYS/x", false),
            ("a/+", "a", false),
            ("a", "a/", false),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(filter_matches(filter.as_bytes(), topic.as_bytes()), expected, "{filter} {topic}");
        }
    }
}
