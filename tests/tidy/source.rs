//! A Rust file as a flat list of tokens and a list of comments.
//!
//! Why tokens and not lines: a rule that greps lines finds words in strings and loses them behind line breaks. The
//! lexer is that of `proc-macro2`, so strings, lifetimes and nested comments are read as the compiler reads them.
//!
//! Invariants:
//! - Every token knows its line and whether it stands in code that only tests compile.
//! - Comments are what lies between tokens; doc comments are tokens of the kind `Doc`.

use std::ops::Range;
use std::str::FromStr;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// What a token is, as far as the rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    Sign,
    Literal,
    Doc,
    Open,
    Close,
}

/// One token; `::` is one.
#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
    pub in_test: bool,
    bytes: Range<usize>,
}

impl Token {
    /// Whether this is the word or sign `text` (never a literal).
    pub fn is(&self, text: &str) -> bool {
        !matches!(self.kind, Kind::Literal | Kind::Doc) && self.text == text
    }
}

/// A comment line that is not documentation.
#[derive(Debug)]
pub struct Comment {
    pub text: String,
    pub line: usize,
}

/// One Rust file.
pub struct Source {
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
    pub is_test: bool,
}

impl Source {
    /// Reads a file; `None` if it does not lex (the compiler will say so).
    pub fn parse(path: &str, text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        flatten(TokenStream::from_str(text).ok()?, &mut tokens);
        mark_docs(&mut tokens);
        mark_tests(&mut tokens);
        let comments = comments(text, &tokens);
        Some(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens,
            comments,
            is_test: is_test_path(path),
        })
    }

    /// The tokens that also stand in the shipped code.
    pub fn shipped(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| !self.is_test && !token.in_test)
    }

    /// Whether the file lies in this folder of the root.
    pub fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The index of the token that closes the group opened at `open`.
    pub fn close_of(&self, open: usize) -> usize {
        close_of(&self.tokens, open)
    }

    /// Path stems of the modules that this file declares for tests only: `src/a/lib.rs` with `mod t;` names `src/a/t`.
    pub fn test_modules(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = match file {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let declared =
            self.tokens.windows(3).filter(|three| three[0].in_test && three[0].is("mod") && three[2].is(";"));
        declared.map(|three| format!("{stem}/{}", three[1].text)).collect()
    }
}

fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut colon = None;
    for tree in stream {
        let bytes = tree.span().byte_range();
        let line = tree.span().start().line;
        let mut push =
            |kind, text: String, line, bytes| tokens.push(Token { kind, text, line, in_test: false, bytes });
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = signs(group.delimiter());
                push(Kind::Open, open.to_owned(), line, group.span_open().byte_range());
                let close_span = group.span_close();
                flatten(group.stream(), tokens);
                tokens.push(Token {
                    kind: Kind::Close,
                    text: close.to_owned(),
                    line: close_span.start().line,
                    in_test: false,
                    bytes: close_span.byte_range(),
                });
            }
            TokenTree::Ident(word) => push(Kind::Word, word.to_string(), line, bytes),
            TokenTree::Literal(literal) => push(Kind::Literal, literal.to_string(), line, bytes),
            TokenTree::Punct(sign)
                if sign.as_char() == ':' && colon.is_some_and(|end| end == bytes.start) =>
            {
                let first = tokens.last_mut().expect("the first colon was pushed");
                first.text.push(':');
                first.bytes.end = bytes.end;
                colon = None;
                continue;
            }
            TokenTree::Punct(sign) => {
                push(Kind::Sign, sign.as_char().to_string(), line, bytes.clone());
                colon = (sign.as_char() == ':' && sign.spacing() == Spacing::Joint).then_some(bytes.end);
                continue;
            }
        }
        colon = None;
    }
}

fn signs(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

fn close_of(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            Kind::Word | Kind::Sign | Kind::Literal | Kind::Doc => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len() - 1
}

/// The lexer turns `/// text` into `#[doc = "text"]`.
fn mark_docs(tokens: &mut [Token]) {
    for index in 2..tokens.len() {
        let is_doc = tokens[index - 2].is("doc") && tokens[index - 1].is("=");
        if is_doc && tokens[index].kind == Kind::Literal {
            tokens[index].kind = Kind::Doc;
        }
    }
}

/// Marks each item behind `#[test]` or `#[cfg(test)]`, and a whole file behind `#![cfg(test)]`.
fn mark_tests(tokens: &mut [Token]) {
    for hash in 0..tokens.len() {
        let inner = usize::from(tokens.get(hash + 1).is_some_and(|token| token.is("!")));
        let open = hash + 1 + inner;
        if !tokens[hash].is("#") || !tokens.get(open).is_some_and(|token| token.is("[")) {
            continue;
        }
        let close = close_of(tokens, open);
        if !is_test_attribute(&tokens[open + 1..close]) {
            continue;
        }
        let end = if inner == 1 { tokens.len() - 1 } else { end_of_item(tokens, close + 1) };
        let start = if inner == 1 { 0 } else { hash };
        tokens[start..=end].iter_mut().for_each(|token| token.in_test = true);
    }
}

fn is_test_attribute(attribute: &[Token]) -> bool {
    let words: Vec<&str> =
        attribute.iter().filter(|t| t.kind == Kind::Word).map(|t| t.text.as_str()).collect();
    match words.as_slice() {
        ["test"] => true,
        ["cfg", rest @ ..] => rest.contains(&"test") && !rest.contains(&"not") && !rest.contains(&"any"),
        _ => false,
    }
}

/// An item ends with its first block in braces, with a semicolon outside of all groups, or with the group around it.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let mut index = start;
    while index < tokens.len() {
        if tokens[index].is(";") {
            return index;
        }
        if tokens[index].kind == Kind::Close {
            return index - 1;
        }
        if tokens[index].kind == Kind::Open {
            let close = close_of(tokens, index);
            if tokens[index].is("{") {
                return close;
            }
            index = close;
        }
        index += 1;
    }
    tokens.len().saturating_sub(1)
}

fn comments(text: &str, tokens: &[Token]) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut end = 0;
    let ranges = tokens.iter().map(|token| token.bytes.clone());
    for bytes in ranges.chain(std::iter::once(text.len()..text.len())) {
        if bytes.start > end {
            let first_line = text[..end].matches('\n').count() + 1;
            let lines = text[end..bytes.start].lines().enumerate();
            let said =
                lines.map(|(index, line)| Comment { text: line.trim().to_owned(), line: first_line + index });
            found.extend(said.filter(|comment| !comment.text.is_empty()));
        }
        end = end.max(bytes.end);
    }
    found
}

#[test]
fn tokens_know_their_line_and_comments_are_what_lies_between() {
    let text = "// one\nuse a::b; // two\n/// doc\nfn f() { \"// no\" }\n";
    let source = Source::parse("src/x/y.rs", text).expect("lexes");
    let comments: Vec<(usize, &str)> = source.comments.iter().map(|c| (c.line, c.text.as_str())).collect();
    assert_eq!(comments, [(1, "// one"), (2, "// two")]);
    let word = source.tokens.iter().find(|token| token.is("fn")).expect("there");
    assert_eq!(word.line, 4);
    assert!(source.tokens.iter().any(|token| token.is("::")));
    assert!(source.tokens.iter().any(|token| token.kind == Kind::Doc && token.text.contains("doc")));
}

#[test]
fn code_for_tests_is_told_from_shipped_code() {
    let text = "fn a() {} #[cfg(test)] mod tests { fn b() {} } #[test] fn c() {} #[cfg(not(test))] fn d() {} fn e() {}";
    let source = Source::parse("src/x/y.rs", text).expect("lexes");
    let functions: Vec<&str> = source
        .tokens
        .windows(2)
        .filter(|two| two[0].is("fn") && !two[0].in_test)
        .map(|two| two[1].text.as_str())
        .collect();
    assert_eq!(functions, ["a", "d", "e"]);
}
