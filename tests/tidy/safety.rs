//! Unsafe code stands in few named files, and each block says why it is sound.
//!
//! Invariants:
//! - A file enters `FILES` together with a record in docs/DECISIONS.md.
//! - `// SAFETY:` stands right above the statement that holds the block.

use crate::Finding;
use crate::source::Source;

/// The ring driver and the hand-over of sockets.
const FILES: &[&str] =
    &["src/server/ring/buffers.rs", "src/server/ring/handover.rs", "src/server/ring/uring.rs"];

/// How many lines a statement may have before its `unsafe` block begins.
const STATEMENT_LINES_MAX: usize = 3;

/// Unsafe code in the wrong file or without its reason.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_named = FILES.contains(&source.path.as_str());
    for (index, token) in source.tokens.iter().enumerate().filter(|(_, token)| token.is("unsafe")) {
        // `#[unsafe(no_mangle)]` and `unsafe_code` in attributes are words, not blocks.
        let opens = source.tokens.get(index + 1).is_some_and(|next| next.is("{") || next.is("impl"));
        if !is_named {
            findings.push(Finding::new(&source.path, token.line, "unsafe code outside of the named files"));
        } else if opens && !has_reason(source, token.line) {
            findings.push(Finding::new(&source.path, token.line, "unsafe without `// SAFETY:` above it"));
        }
    }
    findings
}

fn has_reason(source: &Source, line: usize) -> bool {
    let above =
        (1..=STATEMENT_LINES_MAX).find_map(|distance| comment_at(source, line.checked_sub(distance)?));
    let Some(mut at) = above else { return false };
    loop {
        if source.comments[at].text.starts_with("// SAFETY:") {
            return true;
        }
        // Upwards through the lines of one comment.
        let Some(previous) = comment_at(source, source.comments[at].line - 1) else { return false };
        at = previous;
    }
}

fn comment_at(source: &Source, line: usize) -> Option<usize> {
    source.comments.iter().position(|comment| comment.line == line)
}

#[cfg(test)]
fn lines(path: &str, text: &str) -> Vec<usize> {
    check(&Source::parse(path, text).expect("lexes")).into_iter().map(|finding| finding.line).collect()
}

#[test]
fn unsafe_code_in_another_file_is_found() {
    assert_eq!(lines("src/server/config.rs", "// SAFETY: fine.\nunsafe { f() }"), [2]);
    assert_eq!(lines("tests/x.rs", "unsafe fn f() {}"), [1]);
    assert_eq!(lines("src/server/config.rs", "// unsafe\nconst A: &str = \"unsafe\";"), [0; 0]);
}

#[test]
fn unsafe_code_without_a_reason_is_found() {
    let file = FILES[0];
    assert_eq!(lines(file, "fn f() {\n    unsafe { g() }\n}"), [2]);
    assert_eq!(
        lines(file, "// SAFETY: the buffer lives as long\n// as the ring.\nlet x =\n    unsafe { g() };"),
        [0; 0]
    );
    assert_eq!(lines(file, "// Not a reason.\nunsafe { g() };"), [2]);
    assert_eq!(lines(file, "// SAFETY: far away.\n\n\n\nunsafe { g() };"), [5]);
    assert_eq!(lines(file, "unsafe impl Send for X {}"), [1]);
}
