//! Looks at a store's files without changing any.
//!
//! Why apart from opening: opening cuts off what a power cut left half written; a check only tells.
//!
//! Invariants:
//! - Nothing is written but the lock.

use std::path::Path;

use crate::fault::{Fault, FaultKind};

use super::folder::Folder;
use super::journal::{self, Torn};
use super::mark::Mark;

/// What was seen from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Findings {
    /// The last commit that was synced for certain.
    pub synced: u64,
    /// First and last commit in the journals.
    pub commits: Option<(u64, u64)>,
    /// Bytes at the end of the youngest journal that were never synced and will be cut off.
    pub torn_bytes: u64,
}

/// Looks at journals, manifests and the mark.
pub(crate) fn inspect(path: &Path) -> Result<Findings, Fault> {
    let folder = Folder::lock(path)?;
    if !folder.is_made()? {
        return Err(Fault::new(FaultKind::Missing, "").in_file(path));
    }
    let synced = Mark::open(&folder.mark())?.synced();
    folder.inspect_trees()?;
    let journals = journal::inspect(&folder.engine(), synced, Torn::Leave)?;
    Ok(Findings { synced, commits: journals.commits, torn_bytes: journals.torn.map_or(0, |torn| torn.len()) })
}
