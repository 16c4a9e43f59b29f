//! The files of the repository, as a fresh clone has them.
//!
//! Why not ask git: the tests also run from an unpacked archive.
//!
//! Invariants:
//! - Paths are relative to the root and use `/`.
//! - Build output, environments and caches are not part of the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::source::Source;

const LEFT_OUT: &[&str] =
    &[".git", ".venv", ".venv-sdk", ".cache", "__pycache__", ".pytest_cache", "target", "node_modules"];

/// All text files, by path; files that are not UTF-8 have no text.
pub struct Tree {
    files: BTreeMap<String, Option<String>>,
    sources: OnceLock<Vec<Source>>,
}

impl Tree {
    /// The repository that this test was built in, read once.
    pub fn repository() -> &'static Self {
        static REPOSITORY: OnceLock<Tree> = OnceLock::new();
        REPOSITORY.get_or_init(Self::read)
    }

    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder that was just listed").flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                // In a second working tree of the repository `.git` is a file.
                if LEFT_OUT.contains(&name.as_str()) {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let relative =
                    path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
                files.insert(relative, fs::read(&path).ok().and_then(|bytes| String::from_utf8(bytes).ok()));
            }
        }
        Self { files, sources: OnceLock::new() }
    }

    /// A tree of these files, for tests of rules.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned())));
        Self { files: files.collect(), sources: OnceLock::new() }
    }

    /// Path and text of each text file.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether a file or folder stands at this path.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty() || self.files.keys().any(|file| file.strip_prefix(path).is_some_and(at_boundary))
    }

    /// All Rust files, read as tokens. A file whose `mod` line stands under `#[cfg(test)]` counts as a test.
    pub fn sources(&self) -> &[Source] {
        self.sources.get_or_init(|| self.parse())
    }

    fn parse(&self) -> Vec<Source> {
        let mut sources: Vec<Source> = self
            .texts()
            .filter(|(path, _)| path.ends_with(".rs"))
            .filter_map(|(path, text)| Source::parse(path, text))
            .collect();
        let test_modules: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut sources {
            source.is_test |= test_modules.iter().any(|stem| {
                source
                    .path
                    .strip_prefix(stem.as_str())
                    .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            });
        }
        sources
    }
}

fn at_boundary(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

#[test]
fn a_folder_exists_through_its_files() {
    let tree = Tree::of(&[("src/mqtt/topic.rs", "")]);
    assert!(tree.has("src/mqtt") && tree.has("src/mqtt/") && tree.has("src/mqtt/topic.rs"));
    assert!(!tree.has("src/mq") && !tree.has("src/mqtt/topic"));
}

#[test]
fn a_module_declared_for_tests_is_a_test_file() {
    let tree = Tree::of(&[
        ("src/a/lib.rs", "#[cfg(test)]\nmod oracle;\nmod plain;"),
        ("src/a/oracle.rs", ""),
        ("src/a/plain.rs", "#[cfg(test)] mod proofs;"),
        ("src/a/plain/proofs.rs", ""),
    ]);
    let tests: Vec<&str> =
        tree.sources().iter().filter(|source| source.is_test).map(|source| source.path.as_str()).collect();
    assert_eq!(tests, ["src/a/oracle.rs", "src/a/plain/proofs.rs"]);
}
