//! A talk file as a tree: its header, and its lines with the blocks they form.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lexer::without_comment;
use crate::packet::Version;
use crate::step::{self, Denial, guard, split_word};

/// A talk file.
#[derive(Clone, Debug)]
pub struct Script {
    /// Where it stands.
    pub path: PathBuf,
    /// What its header says.
    pub header: Header,
    /// Its lines.
    pub body: Vec<Node>,
}

/// The header of a talk file.
#[derive(Clone, Default, Debug)]
pub struct Header {
    /// The obligation.
    pub title: String,
    /// Rows of the checklist.
    pub rows: Vec<String>,
    /// Bugs of the checklist.
    pub bugs: Vec<String>,
    /// Statement ids, each perhaps for one version only.
    pub statements: Vec<(String, Option<String>)>,
    /// The versions to run with.
    pub versions: Vec<Version>,
    /// `memory`, `tcp`; empty is: decide by the content.
    pub transports: Vec<String>,
    /// The numbers of cores; empty is all.
    pub cores: Vec<u16>,
    /// Overrides of the configuration: section, key, value as TOML spells it.
    pub settings: Vec<(String, String, String)>,
    /// What is not allowed.
    pub denials: Vec<Denial>,
    /// User names and their passwords.
    pub passwords: Vec<(String, Vec<u8>)>,
}

/// A line or a block.
#[derive(Clone, Debug)]
pub struct Node {
    /// The line number, from 1.
    pub line: usize,
    /// The versions and runners it is for, as written.
    pub guard: Vec<String>,
    /// What it is.
    pub form: Form,
}

/// The forms of a node.
#[derive(Clone, Debug)]
pub enum Form {
    /// A line, and the `+` lines that belong to it.
    Line(String, Vec<Node>),
    /// `repeat N as i`: the count as written, the variable, the body.
    Repeat(String, Option<String>, Vec<Node>),
    /// `each a b`: the variables, the rows of values, the body.
    Each(Vec<String>, Vec<Vec<String>>, Vec<Node>),
    /// `either`: the branches.
    Either(Vec<Vec<Node>>),
    /// `who < unordered`: who, the packets.
    Unordered(String, Vec<Node>),
}

impl Script {
    /// Reads a talk file from `text`.
    ///
    /// # Errors
    /// `path:line: what is wrong`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let at = |line: usize, error: String| format!("{}:{line}: {error}", path.display());
        let mut lines = Lines { lines: significant(text), at: 0 };
        let mut header = Header::default();
        while let Some((number, line)) = lines.peek() {
            if !header.take(&line).map_err(|error| at(number, error))? {
                break;
            }
            lines.at += 1;
        }
        let body = block(&mut lines).map_err(|(line, error)| at(line, error))?;
        if let Some((number, line)) = lines.peek() {
            return Err(at(number, format!("`{line}` closes nothing")));
        }
        header.finish().map_err(|error| at(1, error))?;
        let script = Self { path: path.to_owned(), header, body };
        script.check(&script.body).map_err(|(line, error)| at(line, error))?;
        Ok(script)
    }

    /// Whether the file can run in this kind of runner.
    #[must_use]
    pub fn runs_in(&self, transport: &str) -> bool {
        if !self.header.transports.is_empty() {
            return self.header.transports.iter().any(|name| name == transport);
        }
        transport == "memory" || (!self.has_policy() && waits(&self.body) <= Duration::from_secs(5))
    }

    /// Whether the file forbids anything, in its header or while it runs.
    #[must_use]
    pub fn has_policy(&self) -> bool {
        !self.header.denials.is_empty() || !self.header.passwords.is_empty() || uses_policy(&self.body)
    }

    /// Whether the file runs with so many cores.
    #[must_use]
    pub fn runs_on(&self, cores: u16) -> bool {
        self.header.cores.is_empty() || self.header.cores.contains(&cores)
    }

    /// Checks what can be checked without running.
    fn check(&self, nodes: &[Node]) -> Result<(), (usize, String)> {
        for node in nodes {
            let at = |error| (node.line, error);
            let words: Vec<&str> = node.guard.iter().map(String::as_str).collect();
            step::passes(&words, Version::V5, "memory").map_err(at)?;
            match &node.form {
                Form::Line(line, joined) => {
                    if !line.contains('{') {
                        step::parse(line).map_err(at)?;
                    }
                    self.check(joined)?;
                }
                Form::Repeat(_, _, body) | Form::Each(_, _, body) => self.check(body)?,
                Form::Either(branches) => branches.iter().try_for_each(|branch| self.check(branch))?,
                Form::Unordered(_, packets) => check_packets(packets)?,
            }
        }
        Ok(())
    }
}

fn check_packets(nodes: &[Node]) -> Result<(), (usize, String)> {
    for node in nodes {
        match &node.form {
            Form::Line(line, _) if !line.contains('{') => {
                step::phrase(line).map_err(|error| (node.line, error))?;
            }
            Form::Line(..) => {}
            Form::Repeat(_, _, body) | Form::Each(_, _, body) => check_packets(body)?,
            Form::Either(_) | Form::Unordered(..) => {
                return Err((
                    node.line,
                    "only packets, repeat and each stand in an unordered block".to_owned(),
                ));
            }
        }
    }
    Ok(())
}

fn uses_policy(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match &node.form {
        Form::Line(line, _) => line.starts_with("policy "),
        Form::Repeat(_, _, body) | Form::Each(_, _, body) => uses_policy(body),
        Form::Either(branches) => branches.iter().any(|branch| uses_policy(branch)),
        Form::Unordered(..) => false,
    })
}

/// The sum of all waits, those in loops as often as they run.
fn waits(nodes: &[Node]) -> Duration {
    let one = |node: &Node| match &node.form {
        Form::Line(line, _) => match split_word(line) {
            ("wait", time) => step::span(time.trim()).unwrap_or(Duration::from_secs(1)),
            _ => Duration::ZERO,
        },
        Form::Repeat(count, _, body) => waits(body).saturating_mul(count.parse().unwrap_or(1)),
        Form::Each(_, rows, body) => {
            waits(body).saturating_mul(u32::try_from(rows.len()).unwrap_or(u32::MAX))
        }
        Form::Either(branches) => branches.iter().map(|branch| waits(branch)).max().unwrap_or_default(),
        Form::Unordered(..) => Duration::ZERO,
    };
    nodes.iter().map(one).fold(Duration::ZERO, Duration::saturating_add)
}

/// The lines that say something, numbered, without comments.
fn significant(text: &str) -> Vec<(usize, String)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let spoken = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    spoken
        .map(|(number, line)| (number, without_comment(line).to_owned()))
        .filter(|(_, l)| !l.is_empty())
        .collect()
}

struct Lines {
    lines: Vec<(usize, String)>,
    at: usize,
}

impl Lines {
    fn peek(&self) -> Option<(usize, String)> {
        self.lines.get(self.at).cloned()
    }

    fn last_number(&self) -> usize {
        self.lines.last().map_or(1, |(number, _)| *number)
    }
}

type Wrong = (usize, String);

/// Reads nodes until `end`, `or`, or the end of the file; leaves the closing line.
fn block(lines: &mut Lines) -> Result<Vec<Node>, Wrong> {
    let mut nodes: Vec<Node> = Vec::new();
    while let Some((number, whole)) = lines.peek() {
        if whole == "end" || whole == "or" {
            return Ok(nodes);
        }
        lines.at += 1;
        let (words, line) = guard(&whole);
        let form = form(number, line, lines)?;
        let node = Node { line: number, guard: words.into_iter().map(str::to_owned).collect(), form };
        let is_joined = matches!(&node.form, Form::Line(line, _) if split_word(split_word(line).1).0 == "+");
        match nodes.last_mut() {
            Some(Node { form: Form::Line(_, joined), .. }) if is_joined => joined.push(node),
            _ if is_joined => return Err((number, "a `+` line must follow a `>` line".to_owned())),
            _ => nodes.push(node),
        }
    }
    Ok(nodes)
}

fn closed_block(number: usize, lines: &mut Lines) -> Result<Vec<Node>, Wrong> {
    let nodes = block(lines)?;
    match lines.peek() {
        Some((_, line)) if line == "end" => {
            lines.at += 1;
            Ok(nodes)
        }
        Some((at, line)) => Err((at, format!("`{line}` does not end the block of line {number}"))),
        None => Err((lines.last_number(), format!("the block of line {number} has no end"))),
    }
}

fn form(number: usize, line: &str, lines: &mut Lines) -> Result<Form, Wrong> {
    let wrong = |error: &str| (number, error.to_owned());
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["repeat", count] => Ok(Form::Repeat((*count).to_owned(), None, closed_block(number, lines)?)),
        ["repeat", count, "as", name] => {
            Ok(Form::Repeat((*count).to_owned(), Some((*name).to_owned()), closed_block(number, lines)?))
        }
        ["repeat", ..] => Err(wrong("repeat COUNT as NAME")),
        ["each", ..] => each(number, line, lines),
        ["either"] => either(number, lines),
        [who, "<", "unordered"] => Ok(Form::Unordered((*who).to_owned(), closed_block(number, lines)?)),
        ["|", ..] => Err(wrong("a table row must follow `each`")),
        _ => Ok(Form::Line(line.to_owned(), Vec::new())),
    }
}

/// `each NAME in VALUES`, or `each NAMES` with the rows of a table below.
fn each(number: usize, line: &str, lines: &mut Lines) -> Result<Form, Wrong> {
    let wrong = |error: String| (number, error);
    if let Some((names, values)) = line.split_once(" in ") {
        let names: Vec<String> = names.split_whitespace().skip(1).map(str::to_owned).collect();
        if names.len() != 1 {
            return Err(wrong("each NAME in VALUES takes one name".to_owned()));
        }
        let rows = values_of(values).map_err(wrong)?.into_iter().map(|value| vec![value]).collect();
        return Ok(Form::Each(names, rows, closed_block(number, lines)?));
    }
    let names: Vec<String> =
        line.split_whitespace().skip(1).map(|name| name.trim_end_matches(':').to_owned()).collect();
    let mut rows = Vec::new();
    while let Some((row_number, row)) = lines.peek().filter(|(_, row)| row.starts_with("| ")) {
        lines.at += 1;
        let cells: Vec<String> =
            row[2..].split(" | ").map(|cell| cell.trim().trim_end_matches(" |").to_owned()).collect();
        if cells.len() != names.len() {
            return Err((row_number, format!("{} cells for {} names", cells.len(), names.len())));
        }
        rows.push(cells);
    }
    match rows.is_empty() {
        true => Err(wrong("each has no rows; a row begins with `| `".to_owned())),
        false => Ok(Form::Each(names, rows, closed_block(number, lines)?)),
    }
}

/// The values of an `each NAME in ...`, as they were written.
fn values_of(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (value, behind) = crate::lexer::first_word(rest)?;
        out.push(value.to_owned());
        rest = behind.trim_start_matches(',').trim_start();
    }
    Ok(out)
}

fn either(number: usize, lines: &mut Lines) -> Result<Form, Wrong> {
    let mut branches = vec![block(lines)?];
    while lines.peek().is_some_and(|(_, line)| line == "or") {
        lines.at += 1;
        branches.push(block(lines)?);
    }
    match lines.peek() {
        Some(_) => lines.at += 1,
        None => return Err((lines.last_number(), format!("the either of line {number} has no end"))),
    }
    match branches.len() >= 2 && branches.iter().all(|branch| !branch.is_empty()) {
        true => Ok(Form::Either(branches)),
        false => Err((number, "either needs two branches, parted by `or`".to_owned())),
    }
}

impl Header {
    /// Takes a line if it belongs to the header.
    fn take(&mut self, line: &str) -> Result<bool, String> {
        if let Some(rest) = line.strip_prefix("deny ") {
            self.denials.push(step::denial(rest)?);
            return Ok(true);
        }
        if let Some((user, password)) = line.strip_prefix("password ").and_then(|rest| rest.split_once('=')) {
            let password = crate::value::bytes(password.trim(), &crate::value::Names::default())?;
            self.passwords.push((user.trim().to_owned(), password));
            return Ok(true);
        }
        if let Some((path, value)) = line.split_once(" = ")
            && let Some((section, key)) = path.split_once('.')
        {
            self.settings.push((section.to_owned(), key.to_owned(), value.trim().to_owned()));
            return Ok(true);
        }
        let Some((key, value)) =
            line.split_once(':').filter(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase()))
        else {
            return Ok(false);
        };
        self.set(key, value.trim())?;
        Ok(true)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let list = || value.split([',', ' ']).filter(|item| !item.is_empty()).map(str::to_owned);
        match key {
            "title" => value.clone_into(&mut self.title),
            "row" => self.rows.extend(list()),
            "bug" => self.bugs.extend(list()),
            "statement" => self.statements.extend(value.split(',').map(|item| statement(item.trim()))),
            "transports" => self.transports.extend(list()),
            "versions" => {
                for word in list() {
                    self.versions
                        .push(Version::from_word(&word).ok_or(format!("no version is called `{word}`"))?);
                }
            }
            "cores" => {
                for word in list() {
                    self.cores.push(word.parse().map_err(|_| format!("no number of cores: {word}"))?);
                }
            }
            _ => return Err(format!("no header key is called `{key}`")),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.versions.is_empty() {
            self.versions.push(Version::V5);
        }
        if self.title.is_empty() {
            return Err("the header has no title".to_owned());
        }
        if self.rows.is_empty() && self.bugs.is_empty() && self.statements.is_empty() {
            return Err("the header names no row, bug or statement".to_owned());
        }
        match self.transports.iter().find(|name| !matches!(name.as_str(), "memory" | "tcp")) {
            Some(name) => Err(format!("no transport is called `{name}`")),
            None => Ok(()),
        }
    }
}

/// `MQTT-4.7.0-1 (5.0)`: the id and the version.
fn statement(item: &str) -> (String, Option<String>) {
    match item.split_once(' ') {
        Some((id, version)) => (id.to_owned(), Some(version.trim_matches(['(', ')', ' ']).to_owned())),
        None => (item.to_owned(), None),
    }
}
