//! Words that must not stay in the tree: unfinished work, dead code, `unwrap`, idle tests, paths of one machine.
//!
//! Why the words below are glued together from parts: this file is part of the tree that it checks.
//!
//! Invariants:
//! - Words are looked for where they mean something: in comments, in code, or in all text, never in all three.
//! - A rule that guesses (commented-out code) prefers to miss one case over a false alarm.

use crate::Finding;
use crate::source::{Kind, Source};
use crate::tree::Tree;

const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
const FOREIGN_ANYWHERE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const FOREIGN_IN_SOURCE: &[&str] =
    &[concat!("/tm", "p/"), concat!("/ho", "me/"), concat!("/wo", "rk"), concat!("/ro", "ot")];
const CODE_STARTS: &[&str] = &[
    "let ", "if ", "for ", "while ", "match ", "return", "fn ", "pub ", "use ", "self.", "impl ", "struct ",
    "enum ", "mod ", "assert", "}", "#[",
];

/// Notes for later in comments, documentation, scripts and configuration.
pub fn unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources() {
        let docs =
            source.tokens.iter().filter(|token| token.kind == Kind::Doc).map(|doc| (doc.line, &doc.text));
        let comments = source.comments.iter().map(|comment| (comment.line, &comment.text));
        for (line, text) in docs.chain(comments) {
            findings.extend(unfinished_word(text).map(|word| Finding::new(&source.path, line, later(word))));
        }
    }
    let scripts = tree.texts().filter(|(path, _)| {
        [".py", ".toml", ".talk", ".sh", ".yml", "/run"].iter().any(|end| path.ends_with(end))
    });
    for (path, text) in scripts {
        for (index, line) in text.lines().enumerate() {
            let comment = line.split_once('#').map_or("", |(_, comment)| comment);
            findings.extend(unfinished_word(comment).map(|word| Finding::new(path, index + 1, later(word))));
        }
    }
    findings
}

fn later(word: &str) -> String {
    format!("{word}: finish it, or write it down in docs/DECISIONS.md")
}

fn unfinished_word(text: &str) -> Option<&'static str> {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.find_map(|word| UNFINISHED.iter().find(|known| **known == word).copied())
}

/// Comments that look like Rust.
pub fn commented_out(source: &Source) -> Vec<Finding> {
    let code = source.comments.iter().filter(|comment| is_code(comment.text.trim_start_matches('/').trim()));
    code.map(|comment| Finding::new(&source.path, comment.line, "code in a comment: git remembers it"))
        .collect()
}

fn is_code(text: &str) -> bool {
    let ends = [";", "{", "}", "},", ");", "};"].iter().any(|end| text.ends_with(end));
    let starts = CODE_STARTS.iter().any(|start| text.starts_with(start));
    let holds = ["(", "=", "::", "}", "#["].iter().any(|sign| text.contains(sign));
    ends && starts && holds
}

/// `unwrap` in shipped code.
pub fn unwraps(source: &Source) -> Vec<Finding> {
    if !source.is_in("src") && !source.is_in("bench") {
        return Vec::new();
    }
    let shipped: Vec<_> = source.shipped().collect();
    let called =
        shipped.windows(3).filter(|three| three[0].is(".") && three[1].is("unwrap") && three[2].is("("));
    called
        .map(|three| {
            Finding::new(&source.path, three[1].line, "unwrap: handle it, or expect(\"why it holds\")")
        })
        .collect()
}

/// Tests that are switched off, and tests that wait for the clock.
pub fn idle_tests(source: &Source) -> Vec<Finding> {
    let attributes = source
        .tokens
        .windows(3)
        .filter(|three| three[0].is("#") && three[1].is("[") && three[2].is(concat!("ig", "nore")));
    let mut findings: Vec<Finding> = attributes
        .map(|three| {
            Finding::new(
                &source.path,
                three[0].line,
                "an ignored test: assert today's wrong answer and say why",
            )
        })
        .collect();
    let sleeps = source.tokens.windows(3).filter(|three| {
        three[0].is("thread")
            && three[1].is("::")
            && three[2].is("sleep")
            && (source.is_test || three[2].in_test)
    });
    findings
        .extend(sleeps.map(|three| {
            Finding::new(&source.path, three[2].line, "a test that sleeps: wait for the event")
        }));
    findings
}

/// The same for tests in Python.
pub fn sleeping_scripts(tree: &Tree) -> Vec<Finding> {
    let words = [concat!("time.sl", "eep("), concat!("mark.sk", "ip("), concat!("mark.xf", "ail")];
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.starts_with("tests/") && path.ends_with(".py")) {
        for (index, line) in text.lines().enumerate() {
            let found = words.iter().find(|word| line.contains(**word));
            findings.extend(found.map(|word| Finding::new(path, index + 1, format!("`{word}` in a test"))));
        }
    }
    findings
}

/// Paths that exist on the machine of one person only.
pub fn foreign_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            let found = FOREIGN_ANYWHERE.iter().find(|foreign| line.contains(**foreign));
            findings.extend(
                found.map(|foreign| Finding::new(path, index + 1, format!("`{foreign}` in the tree"))),
            );
        }
    }
    for source in tree.sources().iter().filter(|source| source.is_in("src")) {
        let literals = source.shipped().filter(|token| token.kind == Kind::Literal);
        for literal in literals {
            let found = FOREIGN_IN_SOURCE.iter().find(|foreign| literal.text.contains(**foreign));
            findings.extend(
                found.map(|foreign| Finding::new(&source.path, literal.line, format!("`{foreign}` in code"))),
            );
        }
    }
    findings
}

#[cfg(test)]
fn parse(path: &str, text: &str) -> Source {
    Source::parse(path, text).expect("lexes")
}

#[test]
fn a_note_for_later_is_found_in_every_kind_of_file() {
    let word = UNFINISHED[0];
    let rust = format!("// {word}: more\n/// {word} again\nfn f() {{ \"{word}\"; }}");
    let tree = Tree::of(&[
        ("src/a.rs", &rust),
        ("tests/b.py", &format!("x = 1  # {word}(me)")),
        ("c.toml", "a = 1 # fine"),
    ]);
    let places: Vec<(String, usize)> = unfinished(&tree).into_iter().map(|f| (f.path, f.line)).collect();
    assert_eq!(places, [("src/a.rs".into(), 2), ("src/a.rs".into(), 1), ("tests/b.py".into(), 1)]);
}

#[test]
fn code_in_comments_is_found_and_prose_is_not() {
    for code in [
        "// let x = f();",
        "// self.queue.push(message);",
        "// if (a == b) {",
        "// }",
        "//     #[test]fn f() {}",
    ] {
        assert_eq!(commented_out(&parse("src/a.rs", code)).len(), 1, "{code}");
    }
    for prose in [
        "// Let the oldest go (a meter means the newest);",
        "// for the reader: `x = y`",
        "// A full queue drops; see publish().",
        "// return early",
        "/// let x = f();",
    ] {
        assert_eq!(commented_out(&parse("src/a.rs", prose)), [], "{prose}");
    }
}

#[test]
fn unwrap_is_found_in_shipped_code_only() {
    let text = "fn f() { a.unwrap(); a.unwrap_or(1); a\n.unwrap\n() }\n#[test]\nfn t() { a.unwrap(); }";
    let lines: Vec<usize> =
        unwraps(&parse("src/a/b.rs", text)).into_iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [1, 2]);
    assert_eq!(unwraps(&parse("tests/b.rs", text)), []);
}

#[test]
fn ignored_and_sleeping_tests_are_found() {
    let ignored = concat!("#[test]\n#[ig", "nore]\nfn t() {}");
    assert_eq!(idle_tests(&parse("src/a/b.rs", ignored)).len(), 1);
    let sleeping = "fn f() { thread::sleep(x) }";
    assert_eq!(idle_tests(&parse("tests/b.rs", sleeping)).len(), 1);
    assert_eq!(idle_tests(&parse("bench/b.rs", sleeping)), []);
    let tree = Tree::of(&[("tests/a.py", concat!("import time\ntime.sl", "eep(1)\n"))]);
    assert_eq!(sleeping_scripts(&tree).len(), 1);
}

#[test]
fn paths_of_one_machine_are_found() {
    let path = FOREIGN_ANYWHERE[0];
    let temporary = FOREIGN_IN_SOURCE[0];
    let rust = format!("const A: &str = \"{temporary}x\"; // {temporary}");
    let tree =
        Tree::of(&[("docs/a.md", &format!("see {path}x")), ("src/a/b.rs", &rust), ("tests/c.rs", &rust)]);
    let places: Vec<String> = foreign_paths(&tree).into_iter().map(|finding| finding.path).collect();
    assert_eq!(places, ["docs/a.md", "src/a/b.rs"]);
}
