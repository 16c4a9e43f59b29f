//! Where talk files stand, and the worlds that they run in.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::memory::MemoryWorld;
use crate::script::Script;
use crate::world::World;

/// The numbers of simulated cores.
pub const MEMORY_CORES: [u16; 3] = [1, 2, 4];
/// The numbers of cores of the real binary.
pub const TCP_CORES: [u16; 2] = [1, 2];

/// The folder of this crate.
#[must_use]
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The talk files at or below `path`, in the order of their names.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut out = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "talk") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// Reads a talk file.
///
/// # Errors
/// It cannot be read, or is no talk file.
pub fn read(path: &Path) -> Result<Script, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Script::parse(path, &text)
}

/// The real binary: what RINGMQ_BIN names, or the newest one under `target/`.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RINGMQ_BIN") {
        return Some(PathBuf::from(path));
    }
    let target = home().join("../../target");
    let candidates = ["debug", "fast", "release"].map(|profile| target.join(profile).join("ringmq"));
    let age =
        |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    candidates.into_iter().filter(|path| path.is_file()).max_by_key(age)
}

/// A world in memory for this script.
///
/// # Errors
/// An override that the broker does not know.
pub fn memory_world(script: &Script, cores: u16) -> Result<Box<dyn World>, String> {
    Ok(Box::new(MemoryWorld::new(script, cores)?))
}
