//! The naive reference: rules as values, and whether they allow something.
//!
//! Why so plain: it is the judge, so it must be plain to see that it is right. It follows Mosquitto's words: lines in front
//! of the first `user` are for clients without a user, lines behind one for that user, `pattern` lines for everybody; here
//! a denial wins whatever comes before or behind it.
//!
//! Invariants:
//! - No line of it is shared with the broker.

use std::fmt::Write;

use crate::dice::Dice;
use crate::topic;

/// Who a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Who {
    pub client_id: &'static str,
    pub user: Option<&'static str>,
}

/// One line of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line {
    whom: Whom,
    word: Word,
    filter: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Whom {
    Anonymous,
    User(&'static str),
    Everybody,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// What somebody wants to do with a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Publish,
    Receive,
}

pub(super) const USERS: [&str; 3] = ["ann", "bob", "+"];
const FILTERS: [&str; 9] = ["a", "a/#", "a/b", "s/#", "s/+", "s/a", "#", "d/#", "+/b"];
const PATTERNS: [&str; 5] = ["d/%c", "d/%u", "%u/%c", "s/%c/#", "#"];
const WORDS: [Word; 6] =
    [Word::Read, Word::Write, Word::ReadWrite, Word::ReadWrite, Word::ReadWrite, Word::Deny];

/// Some rules, mostly generous ones.
pub(super) fn draw(dice: &mut Dice) -> Vec<Line> {
    let mut lines = Vec::new();
    if dice.percent(50) {
        lines.push(Line { whom: Whom::Everybody, word: Word::ReadWrite, filter: "#" });
    }
    for _ in 0..dice.below(7) {
        let whom = match dice.below(6) {
            0 => Whom::Anonymous,
            1..=3 => Whom::User(USERS[dice.below(USERS.len())]),
            _rest => Whom::Everybody,
        };
        let filter = if whom == Whom::Everybody { *dice.pick(&PATTERNS) } else { *dice.pick(&FILTERS) };
        lines.push(Line { whom, word: *dice.pick(&WORDS), filter });
    }
    // An empty file is no file.
    lines.push(Line { whom: Whom::Everybody, word: Word::Read, filter: "none/of/these" });
    lines.sort_by_key(|line| line.whom);
    lines
}

/// The lines as a file; they are sorted by whom they are for.
pub(super) fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut last = Whom::Anonymous;
    for line in lines {
        if let (Whom::User(user), true) = (line.whom, line.whom != last) {
            let _infallible = writeln!(text, "user {user}");
        }
        last = line.whom;
        let kind = if line.whom == Whom::Everybody { "pattern" } else { "topic" };
        let word = match line.word {
            Word::Read => "read",
            Word::Write => "write",
            Word::ReadWrite => "readwrite",
            Word::Deny => "deny",
        };
        let _infallible = writeln!(text, "{kind} {word} {}", line.filter);
    }
    text
}

/// Whether the rules allow it.
pub(super) fn allows(lines: &[Line], who: Who, wish: Wish, topic: &str) -> bool {
    let speaks = |line: &&Line| {
        let is_for = match line.whom {
            Whom::Anonymous => who.user.is_none(),
            Whom::User(user) => who.user == Some(user),
            Whom::Everybody => true,
        };
        is_for && filter_for(line, who).is_some_and(|filter| topic::matches(&filter, topic))
    };
    let words: Vec<Word> = lines.iter().filter(speaks).map(|line| line.word).collect();
    let allowed = match wish {
        Wish::Publish => [Word::Write, Word::ReadWrite],
        Wish::Receive => [Word::Read, Word::ReadWrite],
    };
    !words.contains(&Word::Deny) && words.iter().any(|word| allowed.contains(word))
}

/// The filter of a line with the client's names in it; a name that is missing, or is no plain text, names nobody.
fn filter_for(line: &Line, who: Who) -> Option<String> {
    if line.whom != Whom::Everybody {
        return Some(line.filter.to_owned());
    }
    let names = [("%c", Some(who.client_id)), ("%u", who.user)];
    let mut filter = line.filter.to_owned();
    for (mark, name) in names {
        if filter.contains(mark) {
            let name = name.filter(|name| !name.is_empty() && !name.contains(['+', '#', '/']))?;
            filter = filter.replace(mark, name);
        }
    }
    Some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(whom: Whom, word: Word, filter: &'static str) -> Line {
        Line { whom, word, filter }
    }

    #[test]
    fn a_denial_wins_and_names_are_not_patterns() {
        let lines = [
            line(Whom::Anonymous, Word::Read, "a"),
            line(Whom::User("ann"), Word::ReadWrite, "s/#"),
            line(Whom::User("ann"), Word::Deny, "s/a"),
            line(Whom::Everybody, Word::Write, "d/%c"),
            line(Whom::Everybody, Word::Read, "%u/x"),
        ];
        let who = |client_id, user| Who { client_id, user };
        for (asker, wish, topic, expected) in [
            (who("c", None), Wish::Receive, "a", true),
            (who("c", Some("ann")), Wish::Receive, "a", false),
            (who("c", Some("ann")), Wish::Publish, "s/b", true),
            (who("c", Some("ann")), Wish::Publish, "s/a", false),
            (who("c", None), Wish::Publish, "d/c", true),
            (who("#", None), Wish::Publish, "d/c", false),
            (who("c", Some("+")), Wish::Receive, "y/x", false),
            (who("c", None), Wish::Receive, "/x", false),
        ] {
            assert_eq!(allows(&lines, asker, wish, topic), expected, "{asker:?} {wish:?} {topic}");
        }
        let written = "topic read a\nuser ann\ntopic readwrite s/#\ntopic deny s/a\n\
                       pattern write d/%c\npattern read %u/x\n";
        assert_eq!(text(&lines), written);
    }
}
