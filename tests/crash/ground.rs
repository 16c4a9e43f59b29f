//! What the broker's data directory stands on, and what happens to it when the broker falls.
//!
//! Why a trait: the same campaign runs on a plain directory, where a killed process loses only what it had not handed to
//! the kernel, and on a disk that forgets what was not synced.
//!
//! Invariants:
//! - `fall` is called when no process of the broker runs any more, and before the next one starts.

use std::io;
use std::path::{Path, PathBuf};

/// Ground for a data directory.
pub trait Ground {
    /// The data directory.
    fn store(&self) -> &Path;
    /// The broker has been killed.
    ///
    /// # Errors
    /// If the ground cannot be made ready for the next start.
    fn fall(&mut self) -> io::Result<()>;
    /// The word for a fall: kills, cuts.
    fn word(&self) -> &'static str;
}

/// A directory like any other: the kernel keeps what a killed process wrote.
#[derive(Debug)]
pub struct Plain {
    store: PathBuf,
}

impl Plain {
    /// A data directory inside `work`.
    #[must_use]
    pub fn new(work: &Path) -> Self {
        Self { store: work.join("store") }
    }
}

impl Ground for Plain {
    fn store(&self) -> &Path {
        &self.store
    }

    fn fall(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn word(&self) -> &'static str {
        "kills"
    }
}
