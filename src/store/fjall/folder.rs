//! The store's directory: who uses it, which version wrote it, and whether everything stands where it must.
//!
//! ```text
//! lock        locked by the process that uses the directory
//! format      "ringmq store 1", or 3 as soon as there are devices
//! synced      the mark: the last commit that was synced
//! reserve     space that the server gives up when the disk is full
//! engine/     the engine's journals and tables
//! desk        socket at which a running broker answers `ringmq store`
//! ```
//!
//! Why look before the engine does: it takes a folder without a manifest for one that was never finished, and removes it.
//!
//! Invariants:
//! - Directories are 0700 and files 0600.
//! - `format` is written last: a directory without it was never used.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::fault::{Fault, FaultKind};

use super::mark::Mark;

/// The newest version of the directory that this program writes and reads; it reads all before it, too.
pub const FORMAT_VERSION: u32 = 3;

/// The version of a directory without devices: versions of this program that know none can go on with it.
const FORMAT_OF_SESSIONS: u32 = 1;
/// The version of a directory that has, or once had, a record of devices.
pub(super) const FORMAT_OF_DEVICES: u32 = 3;

const FORMAT_WORDS: &str = "ringmq store ";

/// The engine's own folder for names, and the one for records.
const TREES: [&str; 2] = ["0", "1"];

/// A directory that this process has locked.
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Locks the directory, which is made if it is not there.
    pub fn make(path: &Path) -> Result<Self, Fault> {
        make_folder(path).map_err(|error| Fault::io(path, &error))?;
        // Also when it was there: what clients say is nobody else's business.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| Fault::io(path, &error))?;
        Self::lock(path)
    }

    /// Locks a directory that is there.
    pub fn lock(path: &Path) -> Result<Self, Fault> {
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&file);
        let lock = lock.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Fault::new(FaultKind::Missing, "").in_file(path),
            _any_other => Fault::io(&file, &error),
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Fault::new(FaultKind::Locked, "").in_file(path)),
            Err(TryLockError::Error(error)) => Err(Fault::io(&file, &error)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    pub fn mark(&self) -> PathBuf {
        self.path.join("synced")
    }

    /// Whether a store was made here; a version that this program does not know is a fault.
    pub fn is_made(&self) -> Result<bool, Fault> {
        Ok(self.format()?.is_some())
    }

    /// The version of the store that was made here, if one was.
    pub fn format(&self) -> Result<Option<u32>, Fault> {
        let path = self.path.join("format");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.is_fresh().map(|()| None);
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(Fault::damage(&path, "it does not say which version wrote the directory"));
            }
            Err(error) => return Err(Fault::io(&path, &error)),
        };
        match version_in(&text) {
            Some(version @ FORMAT_OF_SESSIONS..=FORMAT_VERSION) => Ok(Some(version)),
            Some(version) if version > FORMAT_VERSION => {
                let what = format!("format {version}; this program knows format {FORMAT_VERSION} and older");
                Err(Fault::new(FaultKind::Newer, what).in_file(&self.path))
            }
            _no_version => Err(Fault::damage(&path, "it does not say which version wrote the directory")),
        }
    }

    /// Without `format` there must be no engine: it would be one whose `format` was lost.
    fn is_fresh(&self) -> Result<(), Fault> {
        if self.engine().exists() {
            return Err(Fault::damage(&self.path.join("format"), "it is missing"));
        }
        Ok(())
    }

    /// Says that the store is made. Everything else must be durable.
    pub fn finish(&self) -> Result<(), Fault> {
        Mark::create(&self.mark())?;
        self.raise_format(FORMAT_OF_SESSIONS)
    }

    /// Says which version the directory has from now on.
    pub fn raise_format(&self, version: u32) -> Result<(), Fault> {
        let (path, aside) = (self.path.join("format"), self.path.join("format.new"));
        let written = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside);
        written
            .and_then(|mut file| {
                writeln!(file, "{FORMAT_WORDS}{version}")?;
                file.sync_all()
            })
            .map_err(|error| Fault::io(&aside, &error))?;
        fs::rename(&aside, &path).map_err(|error| Fault::io(&path, &error))?;
        sync_folder(&self.path)
    }

    /// Whether the engine's files are where they must be and its manifests are what was written.
    pub fn inspect_trees(&self) -> Result<(), Fault> {
        let trees = self.engine().join("keyspaces");
        for file in [self.engine().join("version"), self.engine().join("lock")] {
            if !file.is_file() {
                return Err(Fault::damage(&file, "it is missing"));
            }
        }
        for name in TREES {
            inspect_manifest(&trees.join(name))?;
        }
        for entry in fs::read_dir(&trees).map_err(|error| Fault::io(&trees, &error))? {
            let path = entry.map_err(|error| Fault::io(&trees, &error))?.path();
            let is_known = path.file_name().is_some_and(|name| TREES.iter().any(|tree| name == *tree));
            if !is_known {
                return Err(Fault::damage(&path, "nothing of this name belongs here"));
            }
        }
        Ok(())
    }
}

/// `current` names a manifest and its checksum. The engine does not compare them, so it is done here.
fn inspect_manifest(tree: &Path) -> Result<(), Fault> {
    let current = tree.join("current");
    let bytes = fs::read(&current).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::damage(&current, "it is missing"),
        _any_other => Fault::io(&current, &error),
    })?;
    let (Some(version), Some(sum), Some([0])) = (bytes.get(..8), bytes.get(8..24), bytes.get(24..)) else {
        return Err(Fault::damage(&current, "it does not name a manifest"));
    };
    let version = u64::from_le_bytes(version.try_into().expect("eight bytes"));
    let sum = u128::from_le_bytes(sum.try_into().expect("sixteen bytes"));
    let manifest = tree.join(format!("v{version}"));
    let bytes = fs::read(&manifest).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::damage(&manifest, "it is missing"),
        _any_other => Fault::io(&manifest, &error),
    })?;
    if xxh3_128(&bytes) != sum {
        return Err(Fault::damage(&manifest, "it does not match its checksum"));
    }
    Ok(())
}

/// Makes a directory that only its owner may enter, and those above it that are missing; their names are durable then.
///
/// # Errors
/// What the operating system says.
pub fn make_folder(path: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    missing.into_iter().try_for_each(|folder| File::open(parent(folder))?.sync_all())
}

/// The version of the store in a directory, if it says one.
pub(crate) fn format_of(dir: &Path) -> Option<u32> {
    version_in(&fs::read_to_string(dir.join("format")).ok()?)
}

fn version_in(text: &str) -> Option<u32> {
    text.trim_end().strip_prefix(FORMAT_WORDS)?.parse().ok()
}

/// The directory in which a path stands.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _here => Path::new("."),
    }
}

/// Makes names in a directory and in all directories below it durable.
pub(crate) fn sync_folders(path: &Path) -> Result<(), Fault> {
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| Fault::io(&folder, &error))? {
            let path = entry.map_err(|error| Fault::io(&folder, &error))?.path();
            open.extend(path.is_dir().then_some(path));
        }
        sync_folder(&folder)?;
    }
    Ok(())
}

/// Makes names in a directory durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Fault::io(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_users_of_one_directory_are_one_too_many() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let first = Folder::make(&path).unwrap();
        assert_eq!(Folder::make(&path).err().unwrap().kind, FaultKind::Locked);
        drop(first);
        Folder::lock(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_newer_format_is_refused_and_an_unreadable_one_is_damage() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::make(home.path()).unwrap();
        assert!(!folder.is_made().unwrap());
        folder.finish().unwrap();
        assert!(folder.is_made().unwrap());
        assert_eq!(folder.format().unwrap(), Some(1));
        folder.raise_format(3).unwrap();
        assert_eq!(folder.format().unwrap(), Some(3));
        fs::write(home.path().join("format"), "ringmq store 4\n").unwrap();
        let fault = folder.is_made().unwrap_err();
        assert_eq!(fault.kind, FaultKind::Newer);
        assert!(fault.to_string().contains("format 4"), "{fault}");
        for text in ["", "ringmq store", "ringmq store x", "something else 1"] {
            fs::write(home.path().join("format"), text).unwrap();
            assert_eq!(folder.is_made().unwrap_err().kind, FaultKind::Damaged, "{text:?}");
        }
    }

    #[test]
    fn an_engine_without_a_format_is_damage() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::make(home.path()).unwrap();
        fs::create_dir(folder.engine()).unwrap();
        assert_eq!(folder.is_made().unwrap_err().kind, FaultKind::Damaged);
    }

    #[test]
    fn a_missing_directory_has_no_store() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Folder::lock(&home.path().join("no")).err().unwrap().kind, FaultKind::Missing);
    }
}
