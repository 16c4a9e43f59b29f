//! The mark: the number of the last commit that was synced, kept apart from the journals.
//!
//! Why: from a journal alone one cannot tell whether its last commit was torn by a power cut, which is harmless, or
//! damaged later, which is not. The mark is written after each sync and not synced itself: that would double the flushes.
//! It is exact after anything but a power cut, and then at most as old as the kernel's write-back; each commit also says
//! up to where commits were synced before it. So only damage to the very last flush before a power cut can look torn.
//!
//! Invariants:
//! - The mark is never ahead of what was synced.
//! - Two slots are written in turn, so that one is whole whatever happens to the other.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::fault::Fault;

/// Slots lie in sectors of their own.
const SLOT_BYTES: u64 = 512;

const MAGIC: &[u8; 8] = b"ringmark";

pub(super) struct Mark {
    path: PathBuf,
    file: File,
    synced: u64,
}

impl Mark {
    /// Makes the mark of a new store: nothing was synced.
    pub fn create(path: &Path) -> Result<(), Fault> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path);
        let file = file.map_err(|error| Fault::io(path, &error))?;
        let mark = Self { path: path.to_owned(), file, synced: 0 };
        mark.write(0)?;
        mark.write(1)?;
        mark.persist()
    }

    /// Reads the mark of a store.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Fault::damage(path, "the mark of the last sync is missing"),
            _any_other => Fault::io(path, &error),
        })?;
        let mark = Self { path: path.to_owned(), file, synced: 0 };
        let synced = [0, 1].into_iter().filter_map(|slot| mark.read(slot)).max();
        let Some(synced) = synced else {
            return Err(Fault::damage(path, "the mark of the last sync cannot be read"));
        };
        Ok(Self { synced, ..mark })
    }

    /// The last commit that was synced.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Moves the mark.
    pub fn set(&mut self, synced: u64) -> Result<(), Fault> {
        self.synced = synced;
        self.write(synced % 2)
    }

    /// Makes the mark itself durable.
    pub fn persist(&self) -> Result<(), Fault> {
        self.file.sync_data().map_err(|error| Fault::io(&self.path, &error))
    }

    fn write(&self, slot: u64) -> Result<(), Fault> {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.synced.to_le_bytes());
        let sum = xxh3_64(&bytes[..16]);
        bytes[16..].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&bytes, slot * SLOT_BYTES).map_err(|error| Fault::io(&self.path, &error))
    }

    fn read(&self, slot: u64) -> Option<u64> {
        let mut bytes = [0; 24];
        self.file.read_exact_at(&mut bytes, slot * SLOT_BYTES).ok()?;
        let is_whole = bytes[..8] == *MAGIC && xxh3_64(&bytes[..16]).to_le_bytes() == bytes[16..];
        is_whole.then(|| u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_one_bad_slot_and_no_two() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("synced");
        Mark::create(&path).unwrap();
        let mut mark = Mark::open(&path).unwrap();
        for commit in 1..=7 {
            mark.set(commit).unwrap();
        }
        assert_eq!(Mark::open(&path).unwrap().synced(), 7);
        mark.file.write_all_at(b"x", SLOT_BYTES + 9).unwrap();
        assert_eq!(Mark::open(&path).unwrap().synced(), 6);
        mark.file.write_all_at(b"x", 9).unwrap();
        let fault = Mark::open(&path).err().unwrap();
        assert_eq!(fault.kind, crate::FaultKind::Damaged);
    }

    #[test]
    fn a_missing_mark_is_damage() {
        let fault = Mark::open(Path::new("/nowhere/synced")).err().unwrap();
        assert_eq!(fault.kind, crate::FaultKind::Damaged);
    }
}
