//! Access rules in Mosquitto's file format.
//!
//! ```text
//! topic read public/#          # for clients without a user name
//! user ann
//! topic readwrite home/#
//! topic deny home/safe
//! pattern write devices/%c/up  # for everybody: %c is the client id, %u the user name
//! ```
//!
//! Why deny first: the order of lines never decides, so two files with the same lines mean the same.
//!
//! Invariants:
//! - What no rule allows is forbidden, and what any rule denies is too.
//! - A file that cannot be understood whole gives no rules at all.

use ahash::RandomState;
use hashbrown::HashMap;
use mqtt::topic;
use thiserror::Error;

use crate::rule::{Access, Identity, Rule, Verdict};

/// Levels that a rule's filter may have.
const LEVELS_MAX: usize = 128;
/// Rules in one file.
const RULES_MAX: usize = 1_000_000;

/// All rules of a file.
#[derive(Debug)]
pub struct Acl {
    anonymous: Vec<Rule>,
    users: HashMap<Box<str>, Vec<Rule>, RandomState>,
    patterns: Vec<Rule>,
}

/// What decided, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ground {
    /// What was decided.
    pub is_allowed: bool,
    /// The line that decided, counted from one; none if no line allows it, which forbids it.
    pub line: Option<u32>,
}

/// Why a file gives no rules.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AclFault {
    /// A line is not a rule.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// There is no rule in it: more likely a mistake than the wish to forbid everything.
    #[error("holds no rule; to forbid everything, write: topic deny #")]
    Empty,
    /// It does not end with a line break: perhaps it was cut.
    #[error("does not end with a line break: it may have been cut short")]
    Cut,
}

impl Acl {
    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AclFault> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(AclFault::Cut);
        }
        // The keys come from the operator; a fixed seed keeps the room free of hidden inputs.
        let users = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        let mut acl = Self { anonymous: Vec::new(), users, patterns: Vec::new() };
        let mut user: Option<Box<str>> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let fault = |what: String| AclFault::Line { line: number, what };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let rest = rest.trim();
            match word {
                "user" if rest.is_empty() => return Err(fault("user needs a name".to_owned())),
                "user" => {
                    user = Some(rest.into());
                    acl.users.entry(rest.into()).or_default();
                }
                "topic" => {
                    let rule = rule(rest, false).map_err(fault)?.at(number);
                    match &user {
                        None => acl.anonymous.push(rule),
                        Some(user) => acl.users.entry(user.clone()).or_default().push(rule),
                    }
                }
                "pattern" => acl.patterns.push(rule(rest, true).map_err(fault)?.at(number)),
                _ => return Err(fault(format!("\"{word}\" is none of user, topic, pattern"))),
            }
        }
        match acl.rules() {
            0 => Err(AclFault::Empty),
            rules if rules > RULES_MAX => {
                Err(AclFault::Line { line: 1, what: format!("more than {RULES_MAX} rules") })
            }
            _ => Ok(acl),
        }
    }

    /// How many rules there are.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.anonymous.len() + self.patterns.len() + self.users.values().map(Vec::len).sum::<usize>()
    }

    /// Whether a client may read or write a topic.
    #[must_use]
    pub fn allows(&self, who: Identity<'_>, access: Access, topic: &str) -> bool {
        let mut is_allowed = false;
        for rule in self.rules_for(who).filter(|rule| rule.matches(who, topic)) {
            if rule.verdict == Verdict::Deny {
                return false;
            }
            is_allowed |= rule.verdict.allows(access);
        }
        is_allowed
    }

    /// Whether a subscription can bring anything at all: some rule lets the client read a part of it, and none denies all
    /// of it. What may be read is asked again for each message. For shared filters pass the inner one.
    #[must_use]
    pub fn may_subscribe(&self, who: Identity<'_>, filter: &str) -> bool {
        let mut is_allowed = false;
        for rule in self.rules_for(who) {
            match rule.verdict {
                Verdict::Deny if rule.covers(who, filter) => return false,
                Verdict::Deny => {}
                verdict => is_allowed |= verdict.allows(Access::Read) && rule.overlaps(who, filter),
            }
        }
        is_allowed
    }

    /// What decides whether a client may read or write a topic, and how.
    #[must_use]
    pub fn explain(&self, who: Identity<'_>, access: Access, topic: &str) -> Ground {
        let mut ground = Ground { is_allowed: false, line: None };
        for rule in self.rules_for(who).filter(|rule| rule.matches(who, topic)) {
            if rule.verdict == Verdict::Deny {
                return Ground { is_allowed: false, line: Some(rule.line) };
            }
            if !ground.is_allowed && rule.verdict.allows(access) {
                ground = Ground { is_allowed: true, line: Some(rule.line) };
            }
        }
        ground
    }

    /// As [`Acl::explain`], for a subscription.
    #[must_use]
    pub fn explain_subscription(&self, who: Identity<'_>, filter: &str) -> Ground {
        let mut ground = Ground { is_allowed: false, line: None };
        for rule in self.rules_for(who) {
            match rule.verdict {
                Verdict::Deny if rule.covers(who, filter) => {
                    return Ground { is_allowed: false, line: Some(rule.line) };
                }
                Verdict::Deny => {}
                verdict => {
                    if !ground.is_allowed && verdict.allows(Access::Read) && rule.overlaps(who, filter) {
                        ground = Ground { is_allowed: true, line: Some(rule.line) };
                    }
                }
            }
        }
        ground
    }

    fn rules_for(&self, who: Identity<'_>) -> impl Iterator<Item = &Rule> {
        let own = match who.user {
            None => Some(&self.anonymous),
            Some(user) => self.users.get(user),
        };
        own.into_iter().flatten().chain(&self.patterns)
    }
}

fn rule(rest: &str, is_pattern: bool) -> Result<Rule, String> {
    let (word, filter) = rest.split_once([' ', '\t']).unwrap_or(("", rest));
    let (verdict, filter) = match (word, rest) {
        ("read", _) => (Verdict::Read, filter.trim()),
        ("write", _) => (Verdict::Write, filter.trim()),
        ("readwrite", _) => (Verdict::ReadWrite, filter.trim()),
        ("deny", _) => (Verdict::Deny, filter.trim()),
        // A word of access with nothing behind it is a cut line, not a topic of that name.
        (_, "read" | "write" | "readwrite" | "deny") => return Err(format!("{rest} needs a topic")),
        _ => (Verdict::ReadWrite, rest),
    };
    if filter.is_empty() {
        return Err("a topic is missing".to_owned());
    }
    topic::check_filter(filter, LEVELS_MAX)
        .map_err(|violation| format!("\"{filter}\" {}", violation.facts().text))?;
    Ok(Rule::new(verdict, filter, is_pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# a comment
topic read public/#

user ann
topic home/#
topic deny home/safe
topic read $SYS/broker/uptime
pattern write devices/%c/up
pattern read devices/%c/down
user bob b
topic write two words/x
";

    fn who(client_id: &'static str, user: Option<&'static str>) -> Identity<'static> {
        Identity { client_id, user }
    }

    #[test]
    fn rules_hold_for_their_user_and_patterns_for_all() {
        let acl = Acl::parse(FILE).unwrap();
        let (nobody, ann, bob) = (who("c", None), who("c", Some("ann")), who("c", Some("bob b")));
        for (asker, access, topic, allowed) in [
            (nobody, Access::Read, "public/a", true),
            (nobody, Access::Write, "public/a", false),
            (ann, Access::Read, "public/a", false),
            (ann, Access::Write, "home/x", true),
            (ann, Access::Read, "home/safe", false),
            (ann, Access::Read, "$SYS/broker/uptime", true),
            (nobody, Access::Write, "devices/c/up", true),
            (ann, Access::Read, "devices/c/up", false),
            (ann, Access::Read, "devices/c/down", true),
            (ann, Access::Read, "devices/d/down", false),
            (bob, Access::Write, "two words/x", true),
            (who("c", Some("eve")), Access::Write, "home/x", false),
        ] {
            assert_eq!(acl.allows(asker, access, topic), allowed, "{asker:?} {access:?} {topic}");
        }
        assert_eq!(acl.rules(), 7);
    }

    #[test]
    fn a_decision_names_its_line() {
        let acl = Acl::parse(FILE).unwrap();
        let ann = who("c", Some("ann"));
        let ground = |is_allowed, line| Ground { is_allowed, line };
        assert_eq!(acl.explain(ann, Access::Read, "home/x"), ground(true, Some(5)));
        assert_eq!(acl.explain(ann, Access::Read, "home/safe"), ground(false, Some(6)));
        assert_eq!(acl.explain(ann, Access::Read, "public/a"), ground(false, None));
        assert_eq!(acl.explain(ann, Access::Write, "devices/c/up"), ground(true, Some(8)));
        assert_eq!(acl.explain(ann, Access::Read, "devices/c/up"), ground(false, None));
        assert_eq!(acl.explain_subscription(ann, "devices/+/down"), ground(true, Some(9)));
        assert_eq!(acl.explain_subscription(ann, "home/safe"), ground(false, Some(6)));
        assert_eq!(acl.explain_subscription(ann, "elsewhere/#"), ground(false, None));
        for (access, topic) in [Access::Read, Access::Write].iter().flat_map(|access| {
            ["home/x", "home/safe", "public/a", "devices/c/up", "$SYS/broker/uptime"]
                .map(|topic| (*access, topic))
        }) {
            assert_eq!(acl.explain(ann, access, topic).is_allowed, acl.allows(ann, access, topic), "{topic}");
        }
    }

    #[test]
    fn a_subscription_needs_something_to_read() {
        let acl = Acl::parse(FILE).unwrap();
        let ann = who("c", Some("ann"));
        for (filter, allowed) in [
            ("home/#", true),
            ("#", true),
            ("home/safe", false),
            ("public/#", false),
            ("devices/+/down", true),
            ("devices/+/up", false),
            ("$SYS/#", true),
            ("$SYS/broker/clients/+", false),
        ] {
            assert_eq!(acl.may_subscribe(ann, filter), allowed, "{filter}");
        }
        assert!(!Acl::parse("topic write #\n").unwrap().may_subscribe(who("c", None), "#"));
    }

    #[test]
    fn a_file_that_is_not_wholly_understood_gives_nothing() {
        for (text, expected) in [
            ("", "holds no rule"),
            ("# only this\n", "holds no rule"),
            ("user ann\n", "holds no rule"),
            ("topic read a", "cut short"),
            ("topic read\n", "line 1: read needs a topic"),
            ("topic\n", "line 1: a topic is missing"),
            ("user\n", "line 1: user needs a name"),
            ("topic a\nallow b\n", "line 2: \"allow\" is none of"),
            ("topic a/#/b\n", "line 1: \"a/#/b\""),
        ] {
            let fault = Acl::parse(text).unwrap_err().to_string();
            assert!(fault.contains(expected), "{text:?}: {fault}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_within_a_line_is_refused() {
        for end in 1..FILE.len() {
            let cut = &FILE[..end];
            assert!(cut.ends_with('\n') || Acl::parse(cut).is_err(), "{cut:?}");
        }
    }
}
