//! The paths that a Rust file names, with `use` trees spelled out.
//!
//! Why: `use std::{fs, io}` names `std::fs` without the text ever saying so.
//!
//! Invariants:
//! - Only shipped code is looked at.
//! - A path is reported at the line of its last word.

use crate::source::{Kind, Source, Token};

/// A path such as `std::time::Instant::now`, and its line.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub path: String,
    pub line: usize,
}

impl Named {
    /// Whether the path is `other` or begins with it.
    pub fn is_under(&self, other: &str) -> bool {
        self.path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// All paths of more than one word in the shipped code of a file.
pub fn of(source: &Source) -> Vec<Named> {
    let tokens: Vec<&Token> = source.shipped().collect();
    let mut named = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if tokens[index].is("use") {
            index = tree(&tokens, index + 1, "", &mut named);
        } else if tokens[index].kind == Kind::Word {
            index = plain(&tokens, index, &mut named);
        } else {
            index += 1;
        }
    }
    named
}

/// A path in an expression or a type; returns the index behind it.
fn plain(tokens: &[&Token], start: usize, named: &mut Vec<Named>) -> usize {
    let mut path = tokens[start].text.clone();
    let mut index = start + 1;
    while index + 1 < tokens.len() && tokens[index].is("::") && tokens[index + 1].kind == Kind::Word {
        path = format!("{path}::{}", tokens[index + 1].text);
        index += 2;
    }
    if index > start + 1 {
        named.push(Named { path, line: tokens[index - 1].line });
    }
    index
}

/// One branch of a `use` tree; returns the index behind it.
fn tree(tokens: &[&Token], start: usize, prefix: &str, named: &mut Vec<Named>) -> usize {
    let mut path = prefix.to_owned();
    let mut index = start;
    while index < tokens.len() {
        let token = tokens[index];
        if token.is("{") {
            index += 1;
            while index < tokens.len() && !tokens[index].is("}") {
                index = if tokens[index].is(",") { index + 1 } else { tree(tokens, index, &path, named) };
            }
            return index + 1;
        }
        if token.is("as") {
            index += 2;
        } else if token.kind == Kind::Word || token.is("*") {
            path = if path.is_empty() { token.text.clone() } else { format!("{path}::{}", token.text) };
            index += 1;
        } else if token.is("::") {
            index += 1;
        } else {
            break;
        }
    }
    let path = path.trim_end_matches("::self").to_owned();
    named.push(Named { path, line: tokens[index.min(tokens.len()) - 1].line });
    index
}

#[test]
fn use_trees_are_spelled_out() {
    let text = "use std::{fs::{self, File as F}, io};\nuse a::*;\nfn f() { std::time::Instant::now(); b(); }";
    let source = Source::parse("src/x/y.rs", text).expect("lexes");
    let paths: Vec<String> =
        of(&source).into_iter().map(|named| format!("{} {}", named.line, named.path)).collect();
    assert_eq!(paths, ["1 std::fs", "1 std::fs::File", "1 std::io", "2 a::*", "3 std::time::Instant::now"]);
}
