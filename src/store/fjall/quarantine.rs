//! Moves a damaged store out of the way, because someone asked for it.
//!
//! Why move and not mend: what is readable of a damaged store may be a state that never was. Moved aside it can still be
//! looked at, and the broker can start, with nothing, as the operator decided.
//!
//! Invariants:
//! - Nothing is deleted.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, FaultKind};

use super::folder::{Folder, sync_folder};

/// Moves the store in `dir` into a new directory below it; returns which. The next opening makes a new store.
///
/// # Errors
/// `Locked`, `Missing` if there is nothing to move, `Io`.
pub fn quarantine(dir: &Path) -> Result<PathBuf, Fault> {
    let folder = Folder::lock(dir)?;
    let aside = (1..).map(|number| dir.join(format!("damaged-{number}"))).find(|path| !path.exists());
    let aside = aside.expect("there is always a higher number");
    let mut moved = 0;
    // The format goes last and comes first: half of it moved is a store without a format, which is damage again.
    for name in ["engine", "engine.new", "synced", "format"] {
        let from = dir.join(name);
        if !from.exists() {
            continue;
        }
        if moved == 0 {
            DirBuilder::new().mode(0o700).create(&aside).map_err(|error| Fault::io(&aside, &error))?;
        }
        fs::rename(&from, aside.join(name)).map_err(|error| Fault::io(&from, &error))?;
        moved += 1;
    }
    if moved == 0 {
        return Err(Fault::new(FaultKind::Missing, "").in_file(dir));
    }
    sync_folder(&aside)?;
    sync_folder(folder.path())?;
    Ok(aside)
}
