//! The disk that forgets, mounted as ground for a data directory.
//!
//! Why a new mount after each cut: the kernel keeps pages of the old one, and a machine that has lost its power does not.
//!
//! Invariants:
//! - The mount is gone when its owner is dropped; the disk lives on in memory until then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};
use stdx::Prng;

use super::disk::{Cut, Disk};
use super::fs::Fs;
use crate::ground::Ground;

/// A mounted disk whose power can be cut.
#[derive(Debug)]
pub struct PowerCut {
    disk: Arc<Mutex<Disk>>,
    point: PathBuf,
    store: PathBuf,
    session: Option<BackgroundSession>,
    dice: Prng,
}

impl PowerCut {
    /// Mounts an empty disk of so many bytes inside `work`.
    ///
    /// # Errors
    /// If this machine lets us mount nothing.
    pub fn mount(work: &Path, bytes_max: u64, seed: u64) -> io::Result<Self> {
        let point = work.join("disk");
        fs::create_dir_all(&point)?;
        let disk = Arc::new(Mutex::new(Disk::new(bytes_max)));
        let store = point.join("store");
        let mut mounted = Self { disk, point, store, session: None, dice: Prng::new(seed) };
        mounted.power_on()?;
        Ok(mounted)
    }

    /// The disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn power_on(&mut self) -> io::Result<()> {
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powercut".into()), MountOption::NoAtime];
        let fs = Fs::new(Arc::clone(&self.disk), owner);
        self.session = Some(fuser::spawn_mount(fs, &self.point, &config)?);
        Ok(())
    }

    /// Cuts the power: what was not synced is gone, or part of it is.
    ///
    /// # Errors
    /// If the disk cannot be mounted again.
    pub fn cut(&mut self, cut: Cut) -> io::Result<()> {
        if let Some(session) = self.session.take() {
            session.umount_and_join()?;
        }
        let mut dice = self.dice.clone();
        self.disk().cut(cut, &mut dice);
        self.dice = dice;
        self.power_on()
    }
}

impl Ground for PowerCut {
    fn store(&self) -> &Path {
        &self.store
    }

    fn fall(&mut self) -> io::Result<()> {
        let cut = if self.dice.one_in(2) { Cut::Torn } else { Cut::Clean };
        self.cut(cut)
    }

    fn word(&self) -> &'static str {
        "power cuts"
    }
}

impl Drop for PowerCut {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // A mount that does not go away by itself goes with the mount namespace, or stays and says what it is.
            let _ = session.umount_and_join();
        }
    }
}
