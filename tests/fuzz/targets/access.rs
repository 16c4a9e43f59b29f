//! Files that say who may come in and do what: access rules and passwords.
//!
//! Input of `acl`: lines. One that begins with `?` is a question: client id, user name (none if it is empty) and topic,
//! with `|` between them; all others are the file.
//!
//! Input of `passwords`: the file.
//!
//! Invariants:
//! - The judge here reads a file line by line for each question, and shares no code with the one that it judges.
//! - A fault never shows a hash.

use access::{Access, Acl, Identity, PasswordFault, Passwords};
use mqtt::topic::check_name;

const LEVELS_MAX: usize = 64;

/// Rules and questions.
pub fn acl(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (questions, lines): (Vec<&str>, Vec<&str>) =
        text.split_inclusive('\n').partition(|line| line.starts_with('?'));
    let file = lines.concat();
    let Ok(acl) = Acl::parse(&file) else {
        assert!(Acl::parse(&format!("{file}\n")).is_err() || !file.ends_with('\n'));
        return;
    };
    assert!(Acl::parse(file.trim_end_matches('\n')).is_err(), "a cut file is believed");
    assert!(Acl::parse(&format!("{file}allow #\n")).is_err(), "a line without meaning is passed over");
    for question in questions {
        let mut parts = question[1..].trim_end_matches('\n').splitn(3, '|');
        let (Some(client_id), Some(user), Some(topic)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if check_name(topic.as_bytes(), LEVELS_MAX).is_err() {
            continue;
        }
        ask(&acl, &file, Identity { client_id, user: Some(user).filter(|user| !user.is_empty()) }, topic);
    }
}

fn ask(acl: &Acl, file: &str, who: Identity<'_>, topic: &str) {
    for access in [Access::Read, Access::Write] {
        let is_allowed = acl.allows(who, access, topic);
        assert_eq!(
            is_allowed,
            judge(file, who, access, topic),
            "{who:?} {access:?} {topic:?} under {file:?}"
        );
        if is_allowed && access == Access::Read {
            assert!(acl.may_subscribe(who, topic), "{who:?} may read {topic:?} and not subscribe to it");
            assert!(topic.starts_with('$') || acl.may_subscribe(who, "#"), "{who:?} may read {topic:?}");
        }
    }
}

/// What a file that was understood says.
fn judge(file: &str, who: Identity<'_>, access: Access, topic: &str) -> bool {
    let (mut section, mut is_allowed) = (None, false);
    for line in file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) =
            line.split_once([' ', '\t']).expect("every line has a word and something behind it");
        let rest = rest.trim();
        let is_pattern = word == "pattern";
        if word == "user" {
            section = Some(rest);
            continue;
        }
        if !is_pattern && section != who.user {
            continue;
        }
        let (kind, filter) = match rest.split_once([' ', '\t']) {
            Some((kind @ ("read" | "write" | "readwrite" | "deny"), filter)) => (kind, filter.trim()),
            _ => ("readwrite", rest),
        };
        if !speaks_of(filter, is_pattern, who, topic) {
            continue;
        }
        match kind {
            "deny" => return false,
            "read" => is_allowed |= access == Access::Read,
            "write" => is_allowed |= access == Access::Write,
            _both => is_allowed = true,
        }
    }
    is_allowed
}

fn speaks_of(filter: &str, is_pattern: bool, who: Identity<'_>, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels: Vec<Option<String>> = Vec::new();
    let mut is_open = false;
    for level in filter.split('/') {
        match level {
            "#" => is_open = true,
            "+" => levels.push(None),
            _ if is_pattern => match spelled_out(level, who) {
                Some(text) => levels.push(Some(text)),
                None => return false,
            },
            _ => levels.push(Some(level.to_owned())),
        }
    }
    let names: Vec<&str> = topic.split('/').collect();
    let fits =
        levels.iter().zip(&names).all(|(level, name)| level.as_ref().is_none_or(|level| level == name));
    fits && (names.len() == levels.len() || is_open && names.len() > levels.len())
}

/// A level with the client's names in it; none if one of them names nobody.
fn spelled_out(level: &str, who: Identity<'_>) -> Option<String> {
    let mut text = String::new();
    let mut rest = level;
    while let Some(first) = rest.chars().next() {
        let name = match rest.get(..2) {
            Some("%c") => Some(who.client_id),
            Some("%u") => Some(who.user?),
            _ => None,
        };
        match name {
            Some(name) if name.is_empty() || name.contains(['/', '+', '#', '\0']) => return None,
            Some(name) => {
                text.push_str(name);
                rest = &rest[2..];
            }
            None => {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    Some(text)
}

/// A password file.
pub fn passwords(bytes: &[u8]) {
    let file = String::from_utf8_lossy(bytes);
    match Passwords::parse(&file) {
        Ok(passwords) => {
            let users = file.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
            assert_eq!(passwords.len(), users.count());
            let cut = file.trim_end_matches('\n');
            assert_eq!(Passwords::parse(cut).err(), Some(PasswordFault::Cut));
            let twice = format!("{file}{file}");
            assert!(Passwords::parse(&twice).is_err(), "a user stands in the file twice");
        }
        Err(fault) => {
            let told = fault.to_string();
            let hashes = file.lines().filter_map(|line| line.split_once(':')).map(|(_, hash)| hash.trim());
            for hash in hashes.filter(|hash| hash.len() > 8) {
                assert!(!told.contains(hash), "{told:?} shows a hash");
            }
        }
    }
}
