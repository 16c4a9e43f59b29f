//! Filters and topics: three matchers must agree, and the filter tree must keep exactly what is in it.
//!
//! Input: one byte that chooses how the rest is read (as text, or mapped to the few characters that matter); then lines.
//! A line that begins with `!` names a filter to take out, one that begins with `=` a topic to ask for, any other a
//! filter to put in.
//!
//! Invariants:
//! - The matcher here shares no code with the two that it judges.
//!
//! Source: MQTT 5.0 section 4.7.

use std::collections::BTreeMap;

use broker::FilterTree;
use mqtt::topic::{check_filter, check_name, matches};

const LETTERS: [char; 16] =
    ['a', 'b', '/', '+', '#', '$', '\n', '=', '!', '/', '+', 'a', '\u{e9}', '\n', '=', '/'];
const LEVELS_MAX: usize = 64;

/// Filters put in and taken out, and topics asked for in between.
pub fn filters(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let text: String = if mode % 2 == 0 {
        String::from_utf8_lossy(rest).into_owned()
    } else {
        rest.iter().map(|byte| LETTERS[usize::from(byte % 16)]).collect()
    };
    let mut tree: FilterTree<u32> = FilterTree::new(u64::from(*mode));
    let mut known: BTreeMap<&str, u32> = BTreeMap::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        if let Some(topic) = line.strip_prefix('=') {
            ask(&tree, &known, topic);
        } else if let Some(filter) = line.strip_prefix('!').filter(|filter| is_filter(filter)) {
            assert_eq!(tree.remove(filter), known.remove(filter), "taking out {filter:?}");
        } else if is_filter(line) {
            *tree.entry(line) = number;
            known.insert(line, number);
        }
        assert_eq!(tree.len(), known.len());
    }
    for (filter, number) in &known {
        assert_eq!(tree.get(filter), Some(number), "{filter:?}");
    }
    let listed: Vec<(String, u32)> = tree.iter().map(|(filter, number)| (filter, *number)).collect();
    let expected: Vec<(String, u32)> =
        known.iter().map(|(filter, number)| ((*filter).to_owned(), *number)).collect();
    assert_eq!(listed, expected);
    let names: Vec<&str> = known.keys().copied().collect();
    for filter in names {
        assert_eq!(tree.remove(filter), known.remove(filter), "taking out {filter:?}");
    }
    assert!(tree.is_empty());
}

fn ask(tree: &FilterTree<u32>, known: &BTreeMap<&str, u32>, topic: &str) {
    let is_name =
        !topic.is_empty() && !topic.contains(['+', '#', '\0']) && topic.split('/').count() <= LEVELS_MAX;
    assert_eq!(check_name(topic.as_bytes(), LEVELS_MAX).is_ok(), is_name, "topic {topic:?}");
    if !is_name {
        return;
    }
    let mut found = Vec::new();
    tree.matches(topic, |number| found.push(*number));
    found.sort_unstable();
    let mut expected = Vec::new();
    for (filter, number) in known {
        let is_match = fits(filter, topic);
        assert_eq!(matches(filter, topic), is_match, "{filter:?} against {topic:?}");
        expected.extend(is_match.then_some(*number));
    }
    expected.sort_unstable();
    assert_eq!(found, expected, "the tree, asked for {topic:?}");
}

/// Whether a filter is lawful, said in another way than the broker says it; the two must agree.
fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let (last, parents) = levels.split_last().expect("a split has at least one part");
    let is_plain = |level: &str| level == "+" || !level.contains(['+', '#']);
    let is_lawful = !filter.is_empty()
        && levels.len() <= LEVELS_MAX
        && parents.iter().all(|level| is_plain(level))
        && (*last == "#" || is_plain(last));
    assert_eq!(check_filter(filter, LEVELS_MAX).is_ok(), is_lawful, "filter {filter:?}");
    is_lawful && !filter.contains('\0')
}

/// Whether a lawful filter matches a lawful topic name, level by level from the left.
fn fits(filter: &str, topic: &str) -> bool {
    if topic.as_bytes()[0] == b'$' && matches!(filter.as_bytes()[0], b'+' | b'#') {
        return false;
    }
    level_fits(Some(filter), Some(topic))
}

fn level_fits(filter: Option<&str>, topic: Option<&str>) -> bool {
    let (Some(filter), topic) = (filter, topic) else { return topic.is_none() };
    if filter == "#" {
        return true;
    }
    let Some(topic) = topic else { return false };
    let (level, filters) = cut(filter);
    let (name, names) = cut(topic);
    (level == "+" || level == name) && level_fits(filters, names)
}

fn cut(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)))
}
