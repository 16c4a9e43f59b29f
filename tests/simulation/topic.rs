//! Matching of topics and filters, written as the standard tells it and without a thought for speed.
//!
//! Why a second matcher: an oracle that asks the broker's own matcher agrees with its mistakes.
//!
//! Invariants:
//! - Both arguments are valid; the matcher judges nothing but the match.
//!
//! Source: MQTT 5.0 section 4.7.

/// Whether `filter` (without a `$share` prefix) matches `topic`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    let starts_wild = filter.starts_with('#') || filter.starts_with('+');
    if topic.starts_with('$') && starts_wild {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    for (index, level) in filter.iter().enumerate() {
        if *level == "#" {
            return true;
        }
        match topic.get(index) {
            Some(name) if *level == "+" || level == name => {}
            Some(_) | None => return false,
        }
    }
    filter.len() == topic.len()
}

/// The group and the inner filter of `$share/group/filter`, or no group and the filter itself.
#[must_use]
pub fn split_share(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, inner)) => (Some(group), inner),
        None => (None, filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        let matching = [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "sport"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/a"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("a/+", "a/$b"),
            ("a/+/b", "a//b"),
            ("+/#", "a"),
        ];
        assert!(matching.iter().all(|(filter, topic)| matches(filter, topic)));
    }

    #[test]
    fn what_must_not_match_does_not() {
        let apart = [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/a"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("a", "A"),
            ("a", "a/"),
            ("/#", "foo"),
            ("a/b", "a"),
            ("a", "a/b"),
        ];
        assert!(apart.iter().all(|(filter, topic)| !matches(filter, topic)));
    }

    #[test]
    fn a_shared_filter_falls_into_group_and_filter() {
        assert_eq!(split_share("$share/g/a/+"), (Some("g"), "a/+"));
        assert_eq!(split_share("$share/g//x"), (Some("g"), "/x"));
        assert_eq!(split_share("a/b"), (None, "a/b"));
    }
}
