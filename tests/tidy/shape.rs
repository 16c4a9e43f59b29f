//! The shape of files: how long they and their functions are, how they begin, what they are called.
//!
//! Why limits that a machine counts: a file grows by one reasonable line at a time.
//!
//! Invariants:
//! - Lengths count every line, with comments and blank lines.
//! - Tests may be long in one function, but no file may be long.

use crate::Finding;
use crate::source::{Kind, Source};
use crate::tree::Tree;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "base", "impls", "types",
    "data", "info",
];
const EMPTY_ENDINGS: &[&str] = &["Util", "Utils", "Helper", "Helpers", "Manager", "Impl", "Misc"];

/// Files and functions that are too long.
pub fn lengths(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(Finding::new(&source.path, lines, format!("{lines} lines, at most {FILE_LINES_MAX}")));
    }
    for (index, token) in source.tokens.iter().enumerate() {
        let named = source.tokens.get(index + 1).is_some_and(|next| next.kind == Kind::Word);
        if source.is_test || token.in_test || !token.is("fn") || !named {
            continue;
        }
        let Some(open) = body(source, index) else { continue };
        let lines = source.tokens[source.close_of(open)].line - token.line + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = &source.tokens[index + 1].text;
            let text = format!("fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}");
            findings.push(Finding::new(&source.path, token.line, text));
        }
    }
    findings
}

/// The brace that opens the body of the function at `index`; a declaration in a trait has none.
fn body(source: &Source, index: usize) -> Option<usize> {
    let mut at = index + 1;
    while at < source.tokens.len() {
        let token = &source.tokens[at];
        match token.kind {
            Kind::Open if token.is("{") => return Some(at),
            Kind::Open => at = source.close_of(at),
            Kind::Sign if token.is(";") => return None,
            Kind::Close => return None,
            Kind::Word | Kind::Sign | Kind::Literal | Kind::Doc => {}
        }
        at += 1;
    }
    None
}

/// Shipped files without the header of STYLE.md: `//!` one sentence, why, and a list of invariants.
pub fn header(source: &Source) -> Vec<Finding> {
    if !source.is_in("src") || source.is_test || source.path == "src/main.rs" {
        return Vec::new();
    }
    let header: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
    if header.is_empty() {
        return vec![Finding::new(
            &source.path,
            1,
            "does not begin with `//!`: what is it, and why is it so?",
        )];
    }
    let lists =
        header.iter().any(|line| line.trim_start_matches(['/', '!', ' ', '*']).starts_with("Invariants:"));
    if lists || is_only_modules(source) {
        return Vec::new();
    }
    vec![Finding::new(&source.path, 1, "the `//!` header has no `Invariants:` list")]
}

fn is_only_modules(source: &Source) -> bool {
    !source.shipped().any(|token| LOGIC.iter().any(|word| token.is(word)))
}

const LOGIC: &[&str] = &["fn", "struct", "enum", "impl", "trait", "const", "static", "macro_rules"];

/// A `mod.rs` with more than documentation, `mod` and `pub use`.
pub fn mod_file(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("src/") || !source.path.ends_with("/mod.rs") {
        return Vec::new();
    }
    let found = source.shipped().find(|token| LOGIC.iter().any(|word| token.is(word)));
    let text = |word: &str| format!("`{word}` in a mod.rs, which holds documentation, `mod` and `pub use`");
    found.map(|token| Finding::new(&source.path, token.line, text(&token.text))).into_iter().collect()
}

/// Files whose name says nothing.
pub fn file_names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in tree.texts() {
        let file = path.rsplit('/').next().unwrap_or(path);
        let Some((stem, "rs" | "py")) = file.rsplit_once('.') else { continue };
        let folders = path.split('/').rev().skip(1);
        for name in folders.chain(stem.split('_')) {
            if EMPTY_NAMES.contains(&name) {
                findings.push(Finding::new(
                    path,
                    1,
                    format!("`{name}` says nothing; which room is missing?"),
                ));
            }
        }
    }
    findings
}

/// Types whose name says nothing.
pub fn type_names(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for two in source.tokens.windows(2) {
        if !["struct", "enum", "trait", "type"].iter().any(|word| two[0].is(word))
            || two[1].kind != Kind::Word
        {
            continue;
        }
        let name = two[1].text.as_str();
        let ends = EMPTY_ENDINGS.iter().any(|ending| name.ends_with(ending));
        if ends || EMPTY_NAMES.contains(&name.to_lowercase().as_str()) {
            findings.push(Finding::new(&source.path, two[1].line, format!("`{name}` says nothing")));
        }
    }
    findings
}

#[cfg(test)]
fn parse(path: &str, text: &str) -> Source {
    Source::parse(path, text).expect("lexes")
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let long = format!(
        "fn short() {{}}\ntrait T {{ fn none(&self) -> [u8; 2]; }}\nfn long(a: u8) {{\n{}}}\n",
        "a;\n".repeat(69)
    );
    assert_eq!(
        lengths(&parse("src/x/y.rs", &long)),
        [Finding::new("src/x/y.rs", 3, "fn long has 71 lines, at most 70")]
    );
    assert_eq!(lengths(&parse("tests/x/y.rs", &long)), []);
    assert_eq!(lengths(&parse("src/x/y.rs", &format!("#[cfg(test)]\nmod tests {{ {long} }}"))), []);
    assert_eq!(lengths(&parse("tests/x.rs", &"\n".repeat(801))).len(), 1);
    assert_eq!(lengths(&parse("tests/x.rs", &"\n".repeat(800))), []);
}

#[test]
fn a_file_without_a_header_is_found() {
    assert_eq!(header(&parse("src/x/y.rs", "fn f() {}")).len(), 1);
    assert_eq!(header(&parse("src/x/y.rs", "//! What.\n//!\n//! Why.\nfn f() {}")).len(), 1);
    assert_eq!(header(&parse("src/x/y.rs", "//! What.\n//!\n//! Invariants:\n//! - One.\nfn f() {}")), []);
    assert_eq!(header(&parse("src/x/mod.rs", "//! What.\nmod y;\npub use y::Y;")), []);
    assert_eq!(header(&parse("src/x/lib.rs", "mod y;")).len(), 1);
    assert_eq!(header(&parse("src/x/tests/y.rs", "fn f() {}")), []);
}

#[test]
fn a_mod_file_with_logic_is_found() {
    assert_eq!(
        mod_file(&parse("src/x/mod.rs", "//! A.\nmod y;\npub use y::Y;\n#[cfg(test)] mod t { fn f() {} }")),
        []
    );
    assert_eq!(mod_file(&parse("src/x/mod.rs", "//! A.\nfn f() {}")).len(), 1);
    assert_eq!(mod_file(&parse("src/x/y.rs", "fn f() {}")), []);
}

#[test]
fn names_that_say_nothing_are_found() {
    let tree = Tree::of(&[
        ("src/x/session_utils.rs", ""),
        ("src/common/y.rs", ""),
        ("tests/data.toml", ""),
        ("a.rs", ""),
    ]);
    let paths: Vec<String> = file_names(&tree).into_iter().map(|finding| finding.path).collect();
    assert_eq!(paths, ["src/common/y.rs", "src/x/session_utils.rs"]);
    let text =
        "struct SessionManager; enum Data {} type Info = u8; struct Session; fn data() {} trait Database {}";
    let names: Vec<String> =
        type_names(&parse("src/x/y.rs", text)).into_iter().map(|finding| finding.text).collect();
    assert_eq!(names, ["`SessionManager` says nothing", "`Data` says nothing", "`Info` says nothing"]);
}
