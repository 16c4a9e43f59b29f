//! `ringmq acl`: which line of a rule file decides what a client may do with a topic.
//!
//! Why: a file of a thousand rules is right only if somebody can ask it.
//!
//! Invariants:
//! - What is told is what the broker would decide by that file.

use std::path::Path;

use access::{Access, Acl, AclFault, Ground, Identity};

/// What a client may do with a topic, or with a filter, by a file: one line for each thing that it could do.
///
/// # Errors
/// One line that says what is wrong with the file.
pub fn explain_acl(path: &Path, client_id: &str, user: Option<&str>, topic: &str) -> Result<String, String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|failure| format!("{shown}: cannot be read: {failure}"))?;
    let acl = Acl::parse(&text).map_err(|fault| match fault {
        AclFault::Line { line, what } => format!("{shown}:{line}: {what}"),
        AclFault::Empty | AclFault::Cut => format!("{shown}: {fault}"),
    })?;
    let who = Identity { client_id, user };
    let told = |what: &str, ground: Ground| {
        let verdict = if ground.is_allowed { "allowed" } else { "denied" };
        let why = match ground.line {
            Some(line) => format!("{shown}:{line}: {}", line_of(&text, line)),
            None => "no line allows it".to_owned(),
        };
        format!("{what} {topic}: {verdict} ({why})\n")
    };
    let mut lines = String::new();
    if !topic.contains(['+', '#']) {
        lines.push_str(&told("publish", acl.explain(who, Access::Write, topic)));
        lines.push_str(&told("receive", acl.explain(who, Access::Read, topic)));
    }
    lines.push_str(&told("subscribe", acl.explain_subscription(who, topic)));
    if topic.starts_with("$SYS") {
        lines.push_str("administrators may read $SYS whatever the file says\n");
    }
    Ok(lines)
}

fn line_of(text: &str, line: u32) -> &str {
    let index = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    text.lines().nth(index).unwrap_or_default().trim()
}
