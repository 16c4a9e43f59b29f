//! Topic templates: `%i`, `%c`, `%u` and `%g` in a topic become a client's number, id, user name and group.
//!
//! `%s`, the number of the message, is left to the codec, because it differs per message.
//!
//! Why emqtt-bench's letters: published benchmark commands use them. `%g` is ours: with several subscribers in a
//! fan-in it names the subscriber that a publisher reports to.
//!
//! Invariants:
//! - A template that has no placeholder is the same topic for everybody.
//! - A filter replaces whole levels only, so it is always a valid MQTT filter.

/// What the placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    /// `%i`: the client's number.
    pub(crate) number: u32,
    /// `%c`: the client id.
    pub(crate) client_id: &'a str,
    /// `%u`: the user name.
    pub(crate) user: &'a str,
    /// `%g`: the group's number.
    pub(crate) group: u32,
}

/// The topic that a client called `names` publishes to.
pub(crate) fn topic(template: &str, names: &Names<'_>) -> String {
    template
        .replace("%i", &names.number.to_string())
        .replace("%c", names.client_id)
        .replace("%u", names.user)
        .replace("%g", &names.group.to_string())
}

/// The filter that catches the topics of all clients of one group: levels that differ between clients become `+`.
pub(crate) fn filter(template: &str, group: u32) -> String {
    let level = |level: &str| {
        if ["%i", "%c", "%u", "%s"].iter().any(|placeholder| level.contains(placeholder)) {
            "+".to_owned()
        } else {
            level.replace("%g", &group.to_string())
        }
    };
    template.split('/').map(level).collect::<Vec<_>>().join("/")
}

/// Whether `filter` catches `topic`. Source: MQTT 5.0 section 4.7.
pub(crate) fn is_matched(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false, // Another level, or none.
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_catch_what_the_standard_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("+/b", "/b", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
        ] {
            assert_eq!(is_matched(filter, topic), expected, "{filter} and {topic}");
        }
    }

    const NAMES: Names<'_> = Names { number: 3, client_id: "bench-3", user: "ann", group: 1 };

    #[test]
    fn placeholders_become_the_clients_names() {
        assert_eq!(topic("a/%i/%c/%u/%g", &NAMES), "a/3/bench-3/ann/1");
        assert_eq!(topic("plain", &NAMES), "plain");
    }

    #[test]
    fn a_filter_turns_each_clients_level_into_a_wildcard() {
        assert_eq!(filter("in/%g/meter-%i/x", 4), "in/4/+/x");
        assert_eq!(filter("kept/%i/%s", 0), "kept/+/+");
        assert_eq!(filter("plain/topic", 0), "plain/topic");
    }
}
