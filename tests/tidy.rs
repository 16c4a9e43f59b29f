//! The house rules that a machine can hold: imports, shape of files and functions, words, unsafe code, documents.
//!
//! Why a test and not a review: a rule that nobody checks is an opinion. Each rule is a function from files to
//! findings, and lies beside a test that breaks it on purpose, so a rule that has gone blind is noticed too.
//!
//! Invariants:
//! - A rule reads the tree and writes nothing.
//! - A finding names file, line and rule, and says what to do instead where that is not plain.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/safety.rs"]
mod safety;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

use std::fmt;

use source::Source;
use tree::Tree;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    text: String,
}

impl Finding {
    /// A finding in a file of the repository; lines count from 1.
    pub fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// Fails with all findings, one a line.
fn report(mut findings: Vec<Finding>) {
    findings.sort();
    findings.dedup();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}\n", lines.len(), lines.join("\n"));
}

/// Applies a rule to every Rust file of the repository.
fn report_sources(rule: impl Fn(&Source) -> Vec<Finding>) {
    let sources = Tree::repository().sources();
    assert!(sources.len() > 10, "the tree was not found");
    report(sources.iter().flat_map(rule).collect());
}

#[test]
fn every_manifest_keeps_to_the_import_table() {
    report(manifests::check(Tree::repository()));
}

#[test]
fn pure_rooms_name_no_window_to_the_world() {
    report_sources(imports::check);
}

#[test]
fn files_and_functions_stay_short() {
    report_sources(shape::lengths);
}

#[test]
fn every_file_says_what_it_is_and_what_holds_in_it() {
    report_sources(shape::header);
}

#[test]
fn mod_files_hold_no_logic() {
    report_sources(shape::mod_file);
}

#[test]
fn files_and_types_have_names_that_say_something() {
    let tree = Tree::repository();
    let mut findings = shape::file_names(tree);
    findings.extend(tree.sources().iter().flat_map(shape::type_names));
    report(findings);
}

#[test]
fn nothing_is_left_for_later() {
    report(words::unfinished(Tree::repository()));
}

#[test]
fn no_code_is_commented_out() {
    report_sources(words::commented_out);
}

#[test]
fn only_tests_unwrap() {
    report_sources(words::unwraps);
}

#[test]
fn no_test_is_ignored_and_none_sleeps() {
    let tree = Tree::repository();
    let mut findings = words::sleeping_scripts(tree);
    findings.extend(tree.sources().iter().flat_map(words::idle_tests));
    report(findings);
}

#[test]
fn unsafe_code_stands_in_named_files_and_gives_its_reason() {
    report_sources(safety::check);
}

#[test]
fn no_path_of_somebody_s_machine_is_in_the_tree() {
    report(words::foreign_paths(Tree::repository()));
}

#[test]
fn documents_name_only_what_exists() {
    report(documents::check(Tree::repository()));
}
