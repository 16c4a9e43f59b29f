//! The table of what is shown and how: every statement, row and bug with its talk files, or the reason why none can
//! show it.
//!
//! Why generated: a claim of conformance is worth as much as the file that proves it, so the document is made from the
//! headers of the files and compared with them in the tests.
//!
//! Invariants:
//! - A statement counts for a version only if a file that runs in this version shows it. 3.1 has no numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::corpus;
use crate::packet::Version;
use crate::script::Script;

/// What must be shown.
#[derive(Debug)]
struct Checklist {
    areas: Vec<(String, String)>,
    rows: Vec<Row>,
    bugs: Vec<(String, String)>,
}

#[derive(Debug)]
struct Row {
    id: String,
    statements: Vec<(Standard, String)>,
    text: String,
}

/// The standards that number their statements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Standard {
    V311,
    V5,
}

impl Standard {
    const fn word(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    const fn version(self) -> Version {
        match self {
            Self::V311 => Version::V311,
            Self::V5 => Version::V5,
        }
    }
}

/// What is shown by which files, and what cannot be.
#[derive(Debug, Default)]
struct Shown {
    rows: BTreeMap<String, BTreeSet<String>>,
    bugs: BTreeMap<String, BTreeSet<String>>,
    statements: BTreeMap<(Standard, String), BTreeSet<String>>,
    reasons: BTreeMap<String, String>,
}

/// Makes the document from the corpus in the folder of this crate.
///
/// # Errors
/// A file that is no talk file, or names something unknown.
pub fn document() -> Result<String, String> {
    let (checklist, shown) = gather()?;
    Ok(written(&checklist, &shown))
}

/// What has neither a talk file nor a reason.
///
/// # Errors
/// As [`document`].
pub fn missing() -> Result<Vec<String>, String> {
    let (checklist, shown) = gather()?;
    let mut out = Vec::new();
    for row in &checklist.rows {
        if !shown.rows.contains_key(&row.id) && reason(&shown, &format!("row {}", row.id)).is_none() {
            out.push(row.id.clone());
        }
    }
    for (id, _) in &checklist.bugs {
        if !shown.bugs.contains_key(id) && reason(&shown, &format!("bug {id}")).is_none() {
            out.push(id.clone());
        }
    }
    for (standard, id) in statements(&checklist, &shown) {
        let key = (standard, id);
        if !shown.statements.contains_key(&key) && statement_reason(&checklist, &shown, &key).is_none() {
            out.push(format!("{} {}", standard.word(), key.1));
        }
    }
    Ok(out)
}

fn gather() -> Result<(Checklist, Shown), String> {
    let home = corpus::home();
    let checklist = read_checklist(&text(&home.join("checklist.tsv"))?)?;
    let mut shown =
        Shown { reasons: read_reasons(&text(&home.join("not-observable.txt"))?)?, ..Shown::default() };
    for path in corpus::files(&home.join("corpus")) {
        let script = corpus::read(&path)?;
        let name = path.strip_prefix(home.join("corpus")).unwrap_or(&path).display().to_string();
        shown.add(&script, &name, &checklist)?;
    }
    Ok((checklist, shown))
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_checklist(text: &str) -> Result<Checklist, String> {
    let mut checklist = Checklist { areas: Vec::new(), rows: Vec::new(), bugs: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let owned = |cell: &str| cell.to_owned();
        match line.split('\t').collect::<Vec<_>>().as_slice() {
            ["area", id, text] => checklist.areas.push((owned(id), owned(text))),
            ["bug", id, text] => checklist.bugs.push((owned(id), owned(text))),
            ["row", id, fifth, third, text] => {
                let of = |standard, cell: &str| {
                    let ids = cell.split(',').map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
                    ids.map(|id| (standard, id)).collect::<Vec<_>>()
                };
                let statements = [of(Standard::V5, fifth), of(Standard::V311, third)].concat();
                checklist.rows.push(Row { id: owned(id), statements, text: owned(text) });
            }
            _ => return Err(format!("checklist.tsv: {line}")),
        }
    }
    Ok(checklist)
}

/// Lines `row ID: reason`, `bug ID: reason`, `5.0 ID: reason`, `3.1.1 ID: reason`.
fn read_reasons(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, reason) = line.split_once(": ").ok_or_else(|| format!("not-observable.txt: {line}"))?;
        out.insert(key.to_owned(), reason.to_owned());
    }
    Ok(out)
}

fn reason<'a>(shown: &'a Shown, key: &str) -> Option<&'a str> {
    shown.reasons.get(key).map(String::as_str)
}

/// The reason of a statement, or of the rows that it belongs to.
fn statement_reason(checklist: &Checklist, shown: &Shown, key: &(Standard, String)) -> Option<String> {
    if let Some(reason) = reason(shown, &format!("{} {}", key.0.word(), key.1)) {
        return Some(reason.to_owned());
    }
    let rows: Vec<&Row> = checklist.rows.iter().filter(|row| row.statements.contains(key)).collect();
    let reasons: Vec<&str> =
        rows.iter().filter_map(|row| reason(shown, &format!("row {}", row.id))).collect();
    (!rows.is_empty() && reasons.len() == rows.len()).then(|| reasons.join("; "))
}

/// All statements, of the checklist and of the reasons.
fn statements(checklist: &Checklist, shown: &Shown) -> BTreeSet<(Standard, String)> {
    let of_rows = checklist.rows.iter().flat_map(|row| row.statements.iter().cloned());
    let of_reasons = shown.reasons.keys().filter_map(|key| match key.split_once(' ')? {
        ("5.0", id) => Some((Standard::V5, id.to_owned())),
        ("3.1.1", id) => Some((Standard::V311, id.to_owned())),
        _ => None, // A row or a bug.
    });
    of_rows.chain(of_reasons).collect()
}

impl Shown {
    fn add(&mut self, script: &Script, name: &str, checklist: &Checklist) -> Result<(), String> {
        let header = &script.header;
        let unknown = |what: &str| {
            Err(format!("{}:1: no row, bug or statement is called {what}", script.path.display()))
        };
        let runs_in = |standard: &Standard| header.versions.contains(&standard.version());
        for id in &header.bugs {
            if !checklist.bugs.iter().any(|(known, _)| known == id) {
                return unknown(id);
            }
            self.bugs.entry(id.clone()).or_default().insert(name.to_owned());
        }
        for id in &header.rows {
            let Some(row) = checklist.rows.iter().find(|row| row.id == *id) else { return unknown(id) };
            self.rows.entry(id.clone()).or_default().insert(name.to_owned());
            for key in row.statements.iter().filter(|(standard, _)| runs_in(standard)) {
                if header.statements.is_empty() {
                    self.statements.entry(key.clone()).or_default().insert(name.to_owned());
                }
            }
        }
        for (id, version) in &header.statements {
            let is_meant =
                |standard: &Standard| version.as_ref().is_none_or(|version| version == standard.word());
            let known = statements(checklist, self);
            let mut keys = known.into_iter().filter(|(_, known)| known == id).peekable();
            if keys.peek().is_none() {
                return unknown(id);
            }
            for key in keys.filter(|(standard, _)| is_meant(standard) && runs_in(standard)) {
                self.statements.entry(key).or_default().insert(name.to_owned());
            }
        }
        Ok(())
    }
}

fn written(checklist: &Checklist, shown: &Shown) -> String {
    let mut out = String::from(
        "# Conformance\n\n\
         Made from the headers of the talk files by `cargo run -p talk --bin conformance`; a test compares it with them. \
         The files are\nin `tests/talk/corpus/` and run in memory on 1, 2 and 4 simulated cores and over TCP against the \
         binary (see [TALK.md](TALK.md)).\nEvery packet of the server in every run is also checked against the rules \
         listed there.\n\n",
    );
    let of = |standard| {
        statements(checklist, shown).into_iter().filter(move |(s, _)| *s == standard).collect::<Vec<_>>()
    };
    let counted = |standard| {
        let all = of(standard);
        let files = all.iter().filter(|key| shown.statements.contains_key(key)).count();
        (files, all.len())
    };
    let rows = checklist.rows.iter().filter(|row| shown.rows.contains_key(&row.id)).count();
    let bugs = checklist.bugs.iter().filter(|(id, _)| shown.bugs.contains_key(id)).count();
    out.push_str("| | shown by talk files | all |\n|---|---|---|\n");
    for (name, (part, all)) in [
        ("statements of MQTT 5.0", counted(Standard::V5)),
        ("statements of MQTT 3.1.1", counted(Standard::V311)),
        ("rows of the checklist", (rows, checklist.rows.len())),
        ("bugs that brokers had", (bugs, checklist.bugs.len())),
    ] {
        line(&mut out, &[name, &part.to_string(), &all.to_string()]);
    }
    for standard in [Standard::V5, Standard::V311] {
        let _infallible = write!(out, "\n## Statements of MQTT {}\n\n", standard.word());
        out.push_str("| statement | talk files, or the reason why none |\n|---|---|\n");
        let mut ids = of(standard);
        ids.sort_by_key(|(_, id)| numbers(id));
        for key in ids {
            let why = statement_reason(checklist, shown, &key);
            line(&mut out, &[&key.1, &cell(shown.statements.get(&key), why.as_deref())]);
        }
    }
    out.push_str("\n## Rows of the checklist\n");
    for (area, title) in &checklist.areas {
        let _infallible = write!(
            out,
            "\n### {title}\n\n| row | obligation | talk files, or the reason why none |\n|---|---|---|\n"
        );
        for row in checklist.rows.iter().filter(|row| row.id.starts_with(area.as_str())) {
            let why = reason(shown, &format!("row {}", row.id));
            line(&mut out, &[&row.id, &row.text, &cell(shown.rows.get(&row.id), why)]);
        }
    }
    out.push_str("\n## Bugs that brokers had\n\n| bug | what went wrong | talk files, or the reason why none |\n|---|---|---|\n");
    for (id, text) in &checklist.bugs {
        let why = reason(shown, &format!("bug {id}"));
        line(&mut out, &[id, text, &cell(shown.bugs.get(id), why)]);
    }
    out
}

fn line(out: &mut String, cells: &[&str]) {
    let _infallible = writeln!(out, "| {} |", cells.join(" | "));
}

fn cell(files: Option<&BTreeSet<String>>, why: Option<&str>) -> String {
    let Some(files) = files else { return why.unwrap_or("**missing**").to_owned() };
    let links: Vec<String> = files
        .iter()
        .map(|file| format!("[{}](../tests/talk/corpus/{file})", file.trim_end_matches(".talk")))
        .collect();
    links.join(", ")
}

/// The numbers of an id, so that 3.1.2-9 stands in front of 3.1.2-10.
fn numbers(id: &str) -> Vec<u32> {
    id.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Shown, Standard, document, missing, read_checklist, statement_reason};
    use crate::corpus;
    use crate::script::Script;

    #[test]
    fn the_committed_document_is_fresh() {
        let committed =
            std::fs::read_to_string(corpus::home().join("../../docs/CONFORMANCE.md")).unwrap_or_default();
        assert!(document().unwrap() == committed, "run `cargo run -p talk --bin conformance`");
    }

    #[test]
    fn everything_is_shown_or_explained() {
        assert_eq!(missing().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_file_shows_the_statements_of_its_versions() {
        let list = "area\tAA\tA\nrow\tAA-01\tMQTT-1.1.1-1, MQTT-1.1.1-2\tMQTT-1.1.1-1\ttext\nrow\tAA-02\tMQTT-9.9.9-9\t\tx\n";
        let checklist = read_checklist(list).unwrap();
        let shown_by = |header: &str| {
            let text = format!("title: t\nrow: AA-01\n{header}\na pings");
            let mut shown = Shown::default();
            shown.add(&Script::parse(Path::new("x"), &text).unwrap(), "x", &checklist).map(|()| {
                shown
                    .statements
                    .into_keys()
                    .map(|(standard, id)| format!("{} {id}", standard.word()))
                    .collect::<Vec<_>>()
            })
        };
        let all_of_5 = ["5.0 MQTT-1.1.1-1".to_owned(), "5.0 MQTT-1.1.1-2".to_owned()];
        assert_eq!(shown_by("versions: v5").unwrap(), all_of_5);
        assert_eq!(shown_by("versions: v31 v311").unwrap(), ["3.1.1 MQTT-1.1.1-1"]);
        assert_eq!(shown_by("versions: v5\nstatement: MQTT-1.1.1-2").unwrap(), ["5.0 MQTT-1.1.1-2"]);
        assert_eq!(
            shown_by("versions: v311 v5\nstatement: MQTT-1.1.1-1 (3.1.1)").unwrap(),
            ["3.1.1 MQTT-1.1.1-1"]
        );
        assert!(shown_by("bug: B-99").is_err());
        let mut shown = Shown::default();
        shown.reasons.insert("row AA-02".to_owned(), "why".to_owned());
        let reason = |id: &str| statement_reason(&checklist, &shown, &(Standard::V5, id.to_owned()));
        assert_eq!(reason("MQTT-9.9.9-9").as_deref(), Some("why"));
        assert_eq!(reason("MQTT-1.1.1-1"), None);
    }
}
