//! Topic names and topic filters: their syntax, and which filter matches which name.
//!
//! Why plain strings: names are compared byte by byte and never normalized, so nothing is gained by parsing them into
//! something else. The trie of the exchange is the fast matcher; [`matches()`] is the plain one, for single filters and
//! as the truth that the trie is tested against.
//!
//! Invariants:
//! - An empty level is a level: `/a` has two.
//! - No normalization, no case folding, no trimming. Source: [MQTT-4.7.3-4].
//!
//! Source: MQTT 5.0 sections 4.7 and 4.8.2.

use crate::Violation;

/// What a shared subscription's filter begins with.
const SHARE: &str = "$share/";

/// The longest topic name in bytes. Source: section 1.5.4.
pub const NAME_BYTES_MAX: usize = 65_535;

/// Checks the topic name of a PUBLISH: at least one character, at most [`NAME_BYTES_MAX`] bytes, UTF-8, no U+0000, no
/// wildcard, at most `levels_max` levels. Cost: one pass for UTF-8, one for the rest.
///
/// # Errors
/// [`Violation::TopicEmpty`], [`Violation::TopicTooLong`], [`Violation::Utf8Invalid`], [`Violation::NulCharacter`],
/// [`Violation::TopicHasWildcard`], [`Violation::TopicTooDeep`].
/// Source: [MQTT-4.7.3-1], [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-3.3.2-2].
pub fn check_name(bytes: &[u8], levels_max: usize) -> Result<&str, Violation> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(Violation::TopicTooLong);
    }
    let name = simdutf8::basic::from_utf8(bytes).map_err(|_| Violation::Utf8Invalid)?;
    if name.is_empty() {
        return Err(Violation::TopicEmpty);
    }
    let mut levels = 1;
    for &byte in bytes {
        match byte {
            b'/' => levels += 1,
            b'#' | b'+' => return Err(Violation::TopicHasWildcard),
            0 => return Err(Violation::NulCharacter),
            // Every other character is ordinary in a topic name.
            _ => {}
        }
    }
    if levels > levels_max { Err(Violation::TopicTooDeep) } else { Ok(name) }
}

/// Checks the syntax of a topic filter; for a shared subscription pass the inner filter of [`parse_share`].
///
/// # Errors
/// [`Violation::FilterEmpty`], [`Violation::FilterHashMisplaced`], [`Violation::FilterPlusMisplaced`],
/// [`Violation::FilterTooDeep`]. Source: [MQTT-4.7.3-1], [MQTT-4.7.1-1], [MQTT-4.7.1-2].
pub fn check_filter(filter: &str, levels_max: usize) -> Result<(), Violation> {
    if filter.is_empty() {
        return Err(Violation::FilterEmpty);
    }
    let mut count = 0;
    let mut ended = false;
    for level in levels(filter) {
        if ended || (level.len() > 1 && level.contains('#')) {
            return Err(Violation::FilterHashMisplaced);
        }
        if level.len() > 1 && level.contains('+') {
            return Err(Violation::FilterPlusMisplaced);
        }
        ended = level == "#";
        count += 1;
    }
    if count > levels_max { Err(Violation::FilterTooDeep) } else { Ok(()) }
}

/// Splits `$share/group/filter` into group and inner filter; `None` if the filter is not shared.
///
/// The inner filter has at least one character; its syntax is checked by [`check_filter`].
///
/// # Errors
/// [`Violation::ShareNameEmpty`], [`Violation::ShareNameInvalid`]. Source: [MQTT-4.8.2-1], [MQTT-4.8.2-2].
pub fn parse_share(filter: &str) -> Result<Option<(&str, &str)>, Violation> {
    let Some(shared) = filter.strip_prefix(SHARE) else {
        return if filter == "$share" { Err(Violation::ShareNameInvalid) } else { Ok(None) };
    };
    let (group, inner) = shared.split_once('/').unwrap_or((shared, ""));
    if group.is_empty() {
        return Err(Violation::ShareNameEmpty);
    }
    if has_wildcard(group.as_bytes()) || inner.is_empty() {
        return Err(Violation::ShareNameInvalid);
    }
    Ok(Some((group, inner)))
}

/// Whether a filter asks for a shared subscription, well-formed or not.
#[must_use]
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE)
}

/// Whether a valid filter matches a valid topic name. Not for shared filters: pass the inner one.
///
/// A wildcard as the first level never matches a name that begins with `$`. Source: [MQTT-4.7.2-1], section 4.7.1.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = levels(topic);
    for level in levels(filter) {
        // Asked before a level is taken: `a/#` matches `a` as well.
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(name) if level == "+" || level == name => {}
            Some(_) | None => return false,
        }
    }
    names.next().is_none()
}

/// The levels of a name or filter, from the left; at least one, which may be empty.
pub fn levels(topic: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    topic.split('/')
}

/// Whether `#` or `+` stands anywhere in `text`.
pub(crate) fn has_wildcard(text: &[u8]) -> bool {
    text.iter().any(|&byte| byte == b'#' || byte == b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_is_text_without_wildcards() {
        let rows: [(&[u8], usize, Result<&str, Violation>); 14] = [
            (b"a", 128, Ok("a")),
            (b"/", 128, Ok("/")),
            (b"$SYS/x", 128, Ok("$SYS/x")),
            ("\u{feff}a".as_bytes(), 128, Ok("\u{feff}a")),
            (b" ", 128, Ok(" ")),
            (b"a/b/c", 3, Ok("a/b/c")),
            (b"a/b/c/", 3, Err(Violation::TopicTooDeep)),
            // TN-03 [MQTT-4.7.3-1].
            (b"", 128, Err(Violation::TopicEmpty)),
            // PB-05 [MQTT-3.3.2-2].
            (b"a/+", 128, Err(Violation::TopicHasWildcard)),
            (b"#", 128, Err(Violation::TopicHasWildcard)),
            (b"a+b", 128, Err(Violation::TopicHasWildcard)),
            // FR-14 [MQTT-1.5.4-2].
            (b"a\0b", 128, Err(Violation::NulCharacter)),
            // FR-13 [MQTT-1.5.4-1]: a surrogate, an overlong NUL.
            (b"\xed\xa0\x80", 128, Err(Violation::Utf8Invalid)),
            (b"\xc0\x80", 128, Err(Violation::Utf8Invalid)),
        ];
        for (bytes, levels_max, expected) in rows {
            assert_eq!(check_name(bytes, levels_max), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_filter_has_wildcards_only_as_whole_levels_and_hash_only_last() {
        for filter in ["a", "/", "+", "#", "+/a", "a/+/b", "+/#", "/+", "a//+", "a/#", "$share/g/a", " "] {
            assert_eq!(check_filter(filter, 128), Ok(()), "{filter}");
        }
        // TN-01 [MQTT-4.7.1-1].
        for filter in ["a#", "a/#/b", "#/a", "a/b#", "##", "#/", "#/#"] {
            assert_eq!(check_filter(filter, 128), Err(Violation::FilterHashMisplaced), "{filter}");
        }
        // TN-02 [MQTT-4.7.1-2].
        for filter in ["a+", "+a/b", "a/+b", "++", "a/++/b"] {
            assert_eq!(check_filter(filter, 128), Err(Violation::FilterPlusMisplaced), "{filter}");
        }
        // TN-03 [MQTT-4.7.3-1].
        assert_eq!(check_filter("", 128), Err(Violation::FilterEmpty));
        assert_eq!(check_filter("a/b/c", 3), Ok(()));
        assert_eq!(check_filter("a/b/c/", 3), Err(Violation::FilterTooDeep));
    }

    #[test]
    fn a_share_names_a_group_and_a_filter() {
        let rows = [
            ("a/b", Ok(None)),
            ("$shared/g/a", Ok(None)),
            ("$SHARE/g/a", Ok(None)),
            ("/$share/g/a", Ok(None)),
            ("$share/g/a/+/#", Ok(Some(("g", "a/+/#")))),
            // SH-03: an empty first level is a level.
            ("$share/g//x", Ok(Some(("g", "/x")))),
            ("$share/g//", Ok(Some(("g", "/")))),
            // SH-01 [MQTT-4.8.2-1].
            ("$share//a", Err(Violation::ShareNameEmpty)),
            ("$share/", Err(Violation::ShareNameEmpty)),
            // SH-02 [MQTT-4.8.2-2].
            ("$share", Err(Violation::ShareNameInvalid)),
            ("$share/g", Err(Violation::ShareNameInvalid)),
            ("$share/g/", Err(Violation::ShareNameInvalid)),
            ("$share/+/a", Err(Violation::ShareNameInvalid)),
            ("$share/g#/a", Err(Violation::ShareNameInvalid)),
            ("$share/g+x/a", Err(Violation::ShareNameInvalid)),
        ];
        for (filter, expected) in rows {
            assert_eq!(parse_share(filter), expected, "{filter}");
        }
    }

    #[test]
    fn filters_match_as_the_examples_of_the_standard_say() {
        // Section 4.7, TN-06, TN-07, TN-08, DL-01, DL-02.
        let rows: [(&str, &[&str], &[&str]); 16] = [
            (
                "sport/tennis/player1/#",
                &["sport/tennis/player1", "sport/tennis/player1/score/wimbledon"],
                &["sport"],
            ),
            ("sport/#", &["sport", "sport/", "sport/a/b"], &["sports", "Sport"]),
            ("#", &["a", "/", "a/b", "a/$b", "/$SYS"], &["$SYS/x", "$"]),
            ("+", &["finance", "a"], &["/finance", "a/", "$SYS"]),
            ("+/+", &["/finance", "a/b", "/"], &["finance", "a/b/c", "$SYS/x"]),
            ("/+", &["/finance", "/"], &["finance", "//"]),
            ("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/b"]),
            ("a/+/b", &["a//b", "a/x/b"], &["a/b", "a/x/y/b"]),
            ("+/x", &["/x", "a/x"], &["$SYS/x", "x"]),
            ("+/#", &["a", "a/b", "/"], &["$SYS", "$SYS/x"]),
            ("$SYS/#", &["$SYS", "$SYS/x"], &["$SYSX", "SYS/x"]),
            ("$SYS/+", &["$SYS/x", "$SYS/"], &["$SYS", "$SYS/x/y"]),
            ("a/+", &["a/$b"], &["a"]),
            ("a", &["a"], &["A", "a/", "/a", "a ", "aa"]),
            ("/#", &["/", "/foo"], &["foo"]),
            ("\u{e9}", &["\u{e9}"], &["e\u{301}"]),
        ];
        for (filter, matching, others) in rows {
            for topic in matching {
                assert!(matches(filter, topic), "{filter} should match {topic}");
            }
            for topic in others {
                assert!(!matches(filter, topic), "{filter} should not match {topic}");
            }
        }
    }

    #[test]
    fn a_topic_of_the_greatest_length_and_depth_is_only_a_matter_of_the_limit() {
        // TN-05 [MQTT-4.7.3-3].
        let long = "/".repeat(65_535);
        assert_eq!(check_name(long.as_bytes(), 65_536), Ok(&*long));
        assert_eq!(check_name(long.as_bytes(), 128), Err(Violation::TopicTooDeep));
        // Longer ones do not come in packets, but whoever makes a topic of what was said may ask.
        let longer = "a".repeat(65_536);
        assert_eq!(check_name(longer.as_bytes(), 65_536), Err(Violation::TopicTooLong));
        assert_eq!(check_name(&longer.as_bytes()[1..], 65_536), Ok(&longer[1..]));
        assert_eq!(check_filter(&long, 65_536), Ok(()));
        assert_eq!(check_filter(&long, 128), Err(Violation::FilterTooDeep));
        assert!(matches("#", &long) && matches(&long, &long));
    }

    #[test]
    fn empty_levels_are_levels() {
        assert_eq!(levels("/a//").collect::<Vec<_>>(), ["", "a", "", ""]);
    }
}
