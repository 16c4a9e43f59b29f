//! One rule: a filter whose levels may name the client, and what it allows or forbids.
//!
//! Invariants:
//! - What a client calls itself is compared as text: a wildcard or a slash in a client id or user name never makes a rule
//!   match more.

use mqtt::topic;

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The user name, if the client has one that was checked.
    pub user: Option<&'a str>,
}

/// What a client wants to do with a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Receive messages.
    Read,
    /// Publish.
    Write,
}

/// What a rule says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Read,
    Write,
    ReadWrite,
    Deny,
}

impl Verdict {
    pub fn allows(self, access: Access) -> bool {
        match self {
            Self::ReadWrite => true,
            Self::Read => access == Access::Read,
            Self::Write => access == Access::Write,
            Self::Deny => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub verdict: Verdict,
    /// Where in its file it stands, counted from one; zero for rules that come from elsewhere.
    pub line: u32,
    levels: Vec<Level>,
}

/// One level of a rule's filter.
#[derive(Debug)]
enum Level {
    /// `#`
    Rest,
    /// `+`
    Any,
    Text(Box<str>),
    /// With `%c` or `%u` in it.
    Named(Vec<Piece>),
}

#[derive(Debug)]
enum Piece {
    Text(Box<str>),
    ClientId,
    User,
}

impl Rule {
    /// A rule whose filter stands for itself, or in which `%c` and `%u` stand for the client.
    pub fn new(verdict: Verdict, filter: &str, is_pattern: bool) -> Self {
        let level = |level: &str| match level {
            "#" => Level::Rest,
            "+" => Level::Any,
            _ if is_pattern && (level.contains("%c") || level.contains("%u")) => Level::Named(pieces(level)),
            _ => Level::Text(level.into()),
        };
        Self { verdict, line: 0, levels: topic::levels(filter).map(level).collect() }
    }

    /// The rule with its place in a file.
    pub fn at(self, line: usize) -> Self {
        Self { line: u32::try_from(line).unwrap_or(u32::MAX), ..self }
    }

    /// Whether the rule speaks of a topic.
    pub fn matches(&self, who: Identity<'_>, topic: &str) -> bool {
        if self.leads_astray(topic) {
            return false;
        }
        let mut names = topic::levels(topic);
        for level in &self.levels {
            if matches!(level, Level::Rest) {
                return true;
            }
            match names.next() {
                Some(name) if level.is(who, name) => {}
                Some(_) | None => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether some topic could match both the rule and a subscriber's filter.
    pub fn overlaps(&self, who: Identity<'_>, filter: &str) -> bool {
        let is_apart = filter.starts_with(['+', '#']) && self.begins_with_dollar();
        if is_apart || self.leads_astray(filter) || !self.levels.iter().all(|level| level.is_possible(who)) {
            return false;
        }
        let mut names = topic::levels(filter);
        for level in &self.levels {
            if matches!(level, Level::Rest) {
                return true;
            }
            match names.next() {
                Some("#") => return true,
                Some("+") => {}
                Some(name) if level.is(who, name) => {}
                Some(_) | None => return false,
            }
        }
        names.next().is_none_or(|name| name == "#")
    }

    /// Whether every topic that matches a subscriber's filter matches the rule.
    pub fn covers(&self, who: Identity<'_>, filter: &str) -> bool {
        if self.leads_astray(filter) {
            return false;
        }
        let mut names = topic::levels(filter);
        for level in &self.levels {
            if matches!(level, Level::Rest) {
                return true;
            }
            match (level, names.next()) {
                (_, None | Some("#")) => return false,
                (Level::Any, Some(_)) => {}
                (_, Some("+")) => return false,
                (level, Some(name)) if level.is(who, name) => {}
                (_, Some(_)) => return false,
            }
        }
        names.next().is_none()
    }

    /// Wildcards in front do not reach into `$` topics. Source: [MQTT-4.7.2-1].
    fn leads_astray(&self, name: &str) -> bool {
        name.starts_with('$') && matches!(self.levels.first(), Some(Level::Rest | Level::Any))
    }

    fn begins_with_dollar(&self) -> bool {
        matches!(self.levels.first(), Some(Level::Text(text)) if text.starts_with('$'))
    }
}

impl Level {
    /// Whether any name could be meant.
    fn is_possible(&self, who: Identity<'_>) -> bool {
        let Self::Named(pieces) = self else { return true };
        pieces.iter().all(|piece| piece.text(who).is_some())
    }

    fn is(&self, who: Identity<'_>, name: &str) -> bool {
        match self {
            Self::Rest | Self::Any => true,
            Self::Text(text) => **text == *name,
            Self::Named(pieces) => is_named(pieces, who, name),
        }
    }
}

fn pieces(level: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = level;
    while let Some(at) = rest.find("%c").into_iter().chain(rest.find("%u")).min() {
        let (text, name) = rest.split_at(at);
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        pieces.push(if name.starts_with("%c") { Piece::ClientId } else { Piece::User });
        rest = &name[2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    pieces
}

fn is_named(pieces: &[Piece], who: Identity<'_>, name: &str) -> bool {
    let strip = |rest: &'_ str, piece: &Piece| -> Option<usize> {
        piece.text(who).filter(|text| rest.starts_with(text)).map(str::len)
    };
    let mut rest = name;
    for piece in pieces {
        match strip(rest, piece) {
            Some(len) => rest = &rest[len..],
            None => return false,
        }
    }
    rest.is_empty()
}

impl Piece {
    /// What stands here for this client. A name that is empty or holds what topics are made of names nobody.
    fn text<'a>(&'a self, who: Identity<'a>) -> Option<&'a str> {
        let name = match self {
            Self::Text(text) => return Some(text),
            Self::ClientId => who.client_id,
            Self::User => who.user?,
        };
        let names_nobody = name.is_empty() || name.contains(['+', '#', '/', '\0']);
        if names_nobody { None } else { Some(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Identity<'_> = Identity { client_id: "c1", user: Some("ann") };

    fn pattern(filter: &str) -> Rule {
        Rule::new(Verdict::ReadWrite, filter, true)
    }

    #[test]
    fn a_pattern_names_the_client_and_nobody_else() {
        let rule = pattern("home/%u/dev-%c/#");
        assert!(rule.matches(ANN, "home/ann/dev-c1/t") && rule.matches(ANN, "home/ann/dev-c1"));
        assert!(!rule.matches(ANN, "home/bob/dev-c1/t") && !rule.matches(ANN, "home/ann/dev-c2"));
        assert!(!rule.matches(Identity { user: None, ..ANN }, "home/ann/dev-c1"));
        assert!(Rule::new(Verdict::Read, "a/%c", false).matches(ANN, "a/%c"));
    }

    #[test]
    fn a_name_made_of_wildcards_widens_nothing() {
        for user in ["+", "#", "a/b", "", "a+"] {
            let who = Identity { client_id: user, user: Some(user) };
            let topic = format!("home/{user}");
            assert!(!pattern("home/%u").matches(who, "home/ann"), "{user}");
            assert!(!pattern("home/%c").matches(who, &topic), "{user}");
            assert!(!pattern("home/%u").overlaps(who, &topic), "{user}");
        }
    }

    #[test]
    fn filters_overlap_and_cover_as_the_topics_they_stand_for() {
        let rule = pattern("a/+/c");
        for (filter, overlaps, covers) in [
            ("a/b/c", true, true),
            ("a/+/c", true, true),
            ("a/#", true, false),
            ("#", true, false),
            ("a/b/+", true, false),
            ("a/b", false, false),
            ("a/b/c/#", true, false),
            ("b/#", false, false),
            ("$SYS/#", false, false),
        ] {
            assert_eq!(
                (rule.overlaps(ANN, filter), rule.covers(ANN, filter)),
                (overlaps, covers),
                "{filter}"
            );
        }
        assert!(pattern("a/#").covers(ANN, "a") && pattern("a/#").covers(ANN, "a/#"));
        assert!(!pattern("#").matches(ANN, "$SYS/x") && !pattern("#").covers(ANN, "$SYS/#"));
        assert!(!pattern("$SYS/#").overlaps(ANN, "#"));
    }
}
