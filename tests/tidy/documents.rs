//! Documents name only what exists: links, paths in code spans, and the commands of README.md.
//!
//! Why: a README is the first test that a newcomer runs.
//!
//! Invariants:
//! - A link or path with a placeholder (`<name>`, `*`, `...`) is not looked up.
//! - Links to the web are not followed.

use crate::Finding;
use crate::tree::Tree;

const ROOTS: &[&str] = &["src/", "tests/", "docs/", "config/", "perf/", "bench/", "proto/", ".ci/"];
const PLACEHOLDERS: &[char] = &['*', '<', '>', '{', '}', '…', '$', '|'];

/// All findings in the Markdown files of a tree.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if tree.text("README.md").is_none() {
        findings.push(Finding::new("README.md", 1, "is missing"));
    }
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        let mut is_fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_fenced = !is_fenced;
                continue;
            }
            let missing = match (is_fenced, path) {
                (true, "README.md") => command(tree, line),
                (true, _) => Vec::new(),
                (false, _) => prose(tree, path, line),
            };
            findings.extend(missing.into_iter().map(|text| Finding::new(path, index + 1, text)));
        }
    }
    findings
}

/// Links and code spans of one line.
fn prose(tree: &Tree, path: &str, line: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut missing = Vec::new();
    for target in links(line) {
        let file = target.split('#').next().unwrap_or(target);
        if !target.contains("://") && !target.starts_with("mailto:") && !tree.has(&resolve(folder, file)) {
            missing.push(format!("link to {target}, which does not exist"));
        }
    }
    for span in line.split('`').skip(1).step_by(2) {
        missing.extend(span.split_whitespace().filter_map(|word| missing_path(tree, word)));
    }
    missing
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// A word that looks like a path of the repository and leads nowhere.
fn missing_path(tree: &Tree, word: &str) -> Option<String> {
    let word = word.trim_matches(['`', '(', ')', ',', ';', '"', '\'']).trim_end_matches(['.', ':']);
    let path = word.split(':').next().unwrap_or(word);
    // A bare `proto/` speaks of the folder as a part of the house, which may still be empty.
    let is_ours = ROOTS.iter().any(|root| path.starts_with(root) && path != *root);
    let is_exact = !path.contains(PLACEHOLDERS) && !path.contains("...");
    (is_ours && is_exact && !tree.has(path)).then(|| format!("{path} does not exist"))
}

/// One line of a code block of README.md.
fn command(tree: &Tree, line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or(line).trim_start_matches("$ ");
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut missing: Vec<String> = words.iter().filter_map(|word| missing_path(tree, word)).collect();
    for two in words.windows(2) {
        match two {
            ["-p" | "--package", package] if words[0] == "cargo" && !has_package(tree, package) => {
                missing.push(format!("no package {package}"));
            }
            ["--stage", stage] if !has_stage(tree, stage) => missing.push(format!("no stage {stage}")),
            // Other pairs of words are not references.
            _ => {}
        }
    }
    missing
}

fn has_package(tree: &Tree, package: &str) -> bool {
    let line = format!("name = \"{package}\"");
    tree.texts().any(|(path, text)| path.ends_with("Cargo.toml") && text.lines().any(|found| found == line))
}

fn has_stage(tree: &Tree, stage: &str) -> bool {
    let listed = |line: &str| line.split_once('|').is_some_and(|(name, _)| name.trim() == stage);
    tree.text("tests/run").is_some_and(|text| text.lines().any(listed))
}

#[cfg(test)]
fn texts(readme: &str) -> Vec<String> {
    let tree = Tree::of(&[
        ("README.md", readme),
        ("docs/STYLE.md", ""),
        ("tests/run", "talk   | quick | talk files"),
        ("bench/Cargo.toml", "[package]\nname = \"ringmq-bench\""),
    ]);
    check(&tree).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    assert_eq!(texts("[style](docs/STYLE.md) [web](https://example.org) [part](#part)"), [""; 0]);
    assert_eq!(texts("[gone](docs/GONE.md#x)"), ["link to docs/GONE.md#x, which does not exist"]);
    assert_eq!(
        texts("`docs/STYLE.md:7` and `src/<room>/lib.rs`, `tests/gone/`"),
        ["tests/gone/ does not exist"]
    );
}

#[test]
fn a_command_that_cannot_run_is_found() {
    assert_eq!(texts("```\ntests/run --stage talk\ncargo run -p ringmq-bench -- --help\n```"), [""; 0]);
    assert_eq!(texts("```\ntests/run --stage nap\n```"), ["no stage nap"]);
    assert_eq!(texts("```\ncargo run -p attic   # tests/gone\n```"), ["no package attic"]);
    assert_eq!(texts("```\n$ tests/gone --fast\n```"), ["tests/gone does not exist"]);
}

#[test]
fn a_tree_without_readme_is_found() {
    assert_eq!(
        check(&Tree::of(&[("docs/A.md", "[a](../docs/A.md)")])),
        [Finding::new("README.md", 1, "is missing")]
    );
}
