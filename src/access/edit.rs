//! Changing one line of a password file.
//!
//! Invariants:
//! - All other lines stay as they are, comments included.
//! - What comes out is read back without complaint, unless nobody is left in it.

use thiserror::Error;

/// Why a user cannot stand in a password file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum UserFault {
    /// It is empty.
    #[error("the user name is empty")]
    Empty,
    /// It holds what separates lines and fields, or a wildcard.
    #[error("a user name must not hold a colon, a control character, + or #, nor begin with #")]
    Letter,
    /// Nobody of that name is in the file.
    #[error("there is no such user")]
    Unknown,
}

/// Whether a name can be a user's.
///
/// # Errors
/// Why not.
pub fn check_user(user: &str) -> Result<(), UserFault> {
    if user.is_empty() || user.trim() != user {
        return Err(if user.is_empty() { UserFault::Empty } else { UserFault::Letter });
    }
    let is_bad = |letter: char| letter.is_control() || matches!(letter, ':' | '+' | '#');
    if user.contains(is_bad) { Err(UserFault::Letter) } else { Ok(()) }
}

/// The file with a user's hash in it, in the place of the old one or as a new last line.
///
/// # Errors
/// The name cannot stand in a file.
pub fn with_user(text: &str, user: &str, hash: &str) -> Result<String, UserFault> {
    check_user(user)?;
    let new = format!("{user}:{hash}");
    let mut is_replaced = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let is_theirs = is_of(line, user);
        is_replaced |= is_theirs;
        lines.push(if is_theirs { &new } else { line });
    }
    if !is_replaced {
        lines.push(&new);
    }
    Ok(joined(&lines))
}

/// The file without a user.
///
/// # Errors
/// Nobody of that name is in it.
pub fn without_user(text: &str, user: &str) -> Result<String, UserFault> {
    let lines: Vec<&str> = text.lines().filter(|line| !is_of(line, user)).collect();
    if lines.len() == text.lines().count() { Err(UserFault::Unknown) } else { Ok(joined(&lines)) }
}

fn is_of(line: &str, user: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| name == user && !name.starts_with('#'))
}

fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Passwords;

    const FILE: &str = concat!("# staff\n", include_str!("testdata/mosquitto-7.passwd"));

    #[test]
    fn users_are_added_changed_and_removed_and_the_rest_stays() {
        let hash = crate::hash(b"secret", [7; 16]);
        let both = with_user(FILE, "bob", &hash).unwrap();
        assert_eq!(both, format!("{FILE}bob:{hash}\n"));
        let passwords = Passwords::parse(&both).unwrap();
        assert!(passwords.knows("ann") && passwords.verify("bob", b"secret"));
        let changed = with_user(&both, "ann", &hash).unwrap();
        assert!(changed.starts_with(&format!("# staff\nann:{hash}\n")), "{changed}");
        assert_eq!(without_user(&both, "bob").unwrap(), FILE);
        assert_eq!(without_user(FILE, "bob"), Err(UserFault::Unknown));
        assert_eq!(without_user(FILE, "an"), Err(UserFault::Unknown));
    }

    #[test]
    fn names_that_would_break_the_file_are_refused() {
        for user in ["", "a:b", "a\nb", "#a", "a+", "a\0", " a", "a\t"] {
            assert!(with_user(FILE, user, "x").is_err(), "{user:?}");
        }
        assert!(with_user(FILE, "two words", "x").is_ok());
    }
}
