//! What a store can suffer: full, locked, damaged, from the future, or broken.
//!
//! Why one type with a kind: whoever runs a store has to choose between waiting (full), refusing to start (locked, newer,
//! damaged) and ending at once (sync), and whoever reads the report wants to know which file, where in it, and what.
//!
//! Invariants:
//! - After a fault of kind `Full` the engine is as it was before the call, apart from what it had already synced.
//! - After a fault of kind `Sync` or `Io` while writing, nothing may be acknowledged any more.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What to do about a fault depends on this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// No space is left. Try again when there is some.
    Full,
    /// Another process uses the directory.
    Locked,
    /// There is no store in the directory.
    Missing,
    /// The directory was written by a newer version.
    Newer,
    /// Something that was durable is not as it was written.
    Damaged,
    /// The operating system refused to read or write.
    Io,
    /// The operating system could not make durable what was written. Nothing is known about the last writes any more.
    Sync,
}

/// What went wrong, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// In which file, if in one.
    pub file: Option<PathBuf>,
    /// At which byte of the file, if that is known.
    pub at: Option<u64>,
    /// What is wrong, for a human.
    pub what: String,
}

impl Fault {
    /// A fault that belongs to no file.
    pub fn new(kind: FaultKind, what: impl Into<String>) -> Self {
        Self { kind, file: None, at: None, what: what.into() }
    }

    /// The same fault with the file in which it was found.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    /// The same fault with the byte at which it was found.
    #[must_use]
    pub fn at(self, at: u64) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Damage found in a file.
    pub(crate) fn damage(file: &Path, what: impl Into<String>) -> Self {
        Self::new(FaultKind::Damaged, what).in_file(file)
    }

    /// What the operating system said about a file.
    pub(crate) fn io(file: &Path, error: &io::Error) -> Self {
        Self::new(kind_of(error), error.to_string()).in_file(file)
    }

    /// Whether waiting for space can help.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kind == FaultKind::Full
    }
}

/// Whether an error of the operating system is about space.
pub(crate) fn kind_of(error: &io::Error) -> FaultKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FaultKind::Full,
        _any_other => FaultKind::Io,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FaultKind::Full => "no space left",
            FaultKind::Locked => "in use by another process",
            FaultKind::Missing => "no store here",
            FaultKind::Newer => "written by a newer version",
            FaultKind::Damaged => "damaged",
            FaultKind::Io => "input or output failed",
            FaultKind::Sync => "could not be made durable",
        };
        match &self.file {
            Some(file) => write!(out, "{}: {kind}", file.display())?,
            None => out.write_str(kind)?,
        }
        if let Some(at) = self.at {
            write!(out, " at byte {at}")?;
        }
        if self.what.is_empty() { Ok(()) } else { write!(out, ": {}", self.what) }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_which_file_where_and_what() {
        let fault =
            Fault::damage(Path::new("/d/engine/3.jnl"), "commit 7 does not match its checksum").at(42);
        let told = "/d/engine/3.jnl: damaged at byte 42: commit 7 does not match its checksum";
        assert_eq!(fault.to_string(), told);
    }

    #[test]
    fn only_a_lack_of_space_can_be_waited_for() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(Fault::io(Path::new("x"), &full).is_full());
        assert!(!Fault::io(Path::new("x"), &io::Error::from(io::ErrorKind::PermissionDenied)).is_full());
    }
}
