//! Topic names and topic filters: their syntax, and which filter matches which name.
//!
//! Why plain strings: names are compared byte by byte and never normalized, so nothing is gained by parsing them into
//! something else. The trie of the exchange is the fast matcher; [`matches()`] is the plain one, for single filters and as
//! the truth that the trie is tested against.
//!
//! Invariants:
//! - An empty level is a level: `/a` has two.
//! - No normalization, no case folding, no trimming. Source: [MQTT-4.7.3-4].
//!
//! Source: MQTT 5.0 sections 4.7 and 4.8.2.

use crate::Violation;

/// What a shared subscription's filter begins with.
const SHARE: &str = "$share/";

/// Checks the topic name of a PUBLISH: at least one character, UTF-8, no U+0000, no wildcard, at most `levels_max`
/// levels. Cost: one pass for UTF-8, one for the rest.
///
/// # Errors
/// [`Violation::TopicEmpty`], [`Violation::Utf8Invalid`], [`Violation::NulCharacter`],
/// [`Violation::TopicHasWildcard`], [`Violation::TopicTooDeep`].
/// Source: [MQTT-4.7.3-1], [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-3.3.2-2].
pub fn check_name(bytes: &[u8], levels_max: usize) -> Result<&str, Violation> {
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
