//! Space on the disk: watched, so that nothing new is promised when little is left, and set aside, so that what is kept can
//! still be taken away.
//!
//! Why both: the watch stops new promises while the engine still has room for its own work. But others write on the same
//! disk; the file that is set aside is ours to give up when they have taken the rest.
//!
//! Invariants:
//! - The reserve is made only where as much again stays free, so making it never fills the disk.
//! - Once space is short, it counts as enough again only with a quarter more than the limit: no flapping.
//! - What must still be set aside is not free: a reserve that was given up is not spent on new promises.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The name of the file that is set aside.
const RESERVE: &str = "reserve";

/// The disk under one directory.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    reserve: Reserve,
    is_short: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reserve {
    /// Given up, or not made yet.
    Missing,
    /// There.
    Held,
    /// The file system cannot set space aside.
    Impossible,
}

impl Space {
    /// Watches the disk of a directory that exists. With zero bytes there is neither watch nor reserve.
    pub(crate) fn watch(dir: &Path, reserve_bytes: u64) -> Self {
        let held = std::fs::metadata(dir.join(RESERVE)).is_ok_and(|file| file.len() == reserve_bytes);
        let reserve = if held { Reserve::Held } else { Reserve::Missing };
        Self { dir: dir.to_owned(), reserve_bytes, reserve, is_short: false }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks how much is free, and sets space aside if there is plenty. Returns whether it is too little for anything new.
    pub(crate) fn look(&mut self) -> bool {
        // A disk that cannot be asked says by itself when it is full.
        if self.reserve_bytes > 0
            && let Ok(disk) = statvfs(&self.dir)
        {
            let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
            if self.reserve == Reserve::Missing && free_bytes / 2 >= self.reserve_bytes {
                self.reserve = if self.set_aside().is_ok() { Reserve::Held } else { Reserve::Impossible };
                return self.look();
            }
            self.judge(free_bytes);
        }
        self.is_short
    }

    /// Gives the reserve up, for the disk is full. Returns whether there was one.
    pub(crate) fn release(&mut self) -> bool {
        self.is_short = self.reserve_bytes > 0;
        let held = self.reserve == Reserve::Held;
        self.reserve = Reserve::Missing;
        held && std::fs::remove_file(self.dir.join(RESERVE)).is_ok()
    }

    fn judge(&mut self, free_bytes: u64) {
        let more = if self.is_short { self.reserve_bytes / 4 } else { 0 };
        let owed = if self.reserve == Reserve::Missing { self.reserve_bytes } else { 0 };
        self.is_short = free_bytes < self.reserve_bytes.saturating_add(more).saturating_add(owed);
    }

    fn set_aside(&self) -> io::Result<()> {
        let path = self.dir.join(RESERVE);
        // The size of an earlier configuration may have been another.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let filled = fallocate(&file, FallocateFlags::empty(), 0, self.reserve_bytes);
        if filled.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        filled.map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty_dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ringmq-space-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn space_is_set_aside_given_up_and_set_aside_again() {
        let dir = empty_dir("reserve");
        let mut space = Space::watch(&dir, 1 << 20);
        for _ in 0..2 {
            assert!(!space.look());
            assert_eq!(std::fs::metadata(dir.join(RESERVE)).unwrap().len(), 1 << 20);
            assert!(space.release());
            assert!(!dir.join(RESERVE).exists());
            assert!(!space.release());
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_reserve_of_an_earlier_process_is_still_ours() {
        let dir = empty_dir("earlier");
        assert!(!Space::watch(&dir, 1 << 20).look());
        assert!(Space::watch(&dir, 1 << 20).release());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_disk_smaller_than_the_reserve_is_short_of_space_and_nothing_is_set_aside() {
        let dir = empty_dir("short");
        assert!(Space::watch(&dir, 1 << 60).look());
        assert!(!dir.join(RESERVE).exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn space_that_was_short_is_enough_again_only_with_a_quarter_more() {
        let mut space = Space::watch(Path::new("/nowhere"), 1000);
        space.judge(1999);
        assert!(space.is_short);
        space.reserve = Reserve::Held;
        space.judge(1999);
        let told = [1000, 999, 1000, 1249, 1250, 1000].map(|free_bytes| {
            space.judge(free_bytes);
            space.is_short
        });
        assert_eq!(told, [false, true, true, true, false, false]);
    }

    #[test]
    fn without_a_limit_there_is_neither_watch_nor_reserve() {
        let dir = empty_dir("none");
        let mut space = Space::watch(&dir, 0);
        assert!(!space.look());
        assert!(!space.release());
        assert!(!dir.join(RESERVE).exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
