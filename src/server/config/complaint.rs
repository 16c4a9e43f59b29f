//! What is wrong with the configuration, and where.
//!
//! Invariants:
//! - A complaint is one line and says what to do if that is known.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// Where.
    pub place: Place,
    /// What, and what to do about it.
    pub text: String,
}

/// Where something was set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// In a file as a whole.
    File(PathBuf),
    /// At a place in a file; both count from 1, columns in characters.
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In an environment variable.
    Variable(String),
    /// On the command line.
    Flag(&'static str),
}

impl Place {
    /// The place of a byte range of a file's text.
    pub(super) fn in_text(path: &Path, text: &str, span: &Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// A complaint about this place.
    pub(crate) fn complain(&self, text: impl Into<String>) -> Complaint {
        Complaint { place: self.clone(), text: text.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Default => write!(f, "configuration: {}", self.text),
            Place::File(path) => write!(f, "{}: {}", path.display(), self.text),
            Place::Line { path, line, column } => {
                write!(f, "{}:{line}:{column}: {}", path.display(), self.text)
            }
            Place::Variable(name) => write!(f, "environment variable {name}: {}", self.text),
            Place::Flag(flag) => write!(f, "{flag}: {}", self.text),
        }
    }
}

/// `; did you mean ...?` if one of `known` resembles `word`, otherwise nothing.
pub(super) fn guess<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    const LIKENESS_MIN: f64 = 0.8;
    let likeness = |candidate: &str| strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase());
    let best = known.map(|candidate| (likeness(candidate), candidate)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, candidate)) if likeness >= LIKENESS_MIN => format!("; did you mean `{candidate}`?"),
        Some(_) | None => String::new(),
    }
}
