//! The platform: what threads hold on to.
//!
//! Why it is made before cores and store: cores are born with it, and it learns the ways to them and to the disk when they
//! are there. Without a store, what is written is kept as long as the process.
//!
//! Invariants:
//! - Whoever sees a change in the registry hands over anything that rests on it later than the change itself.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use device::{Change, CommandId, DeviceId, Ear, HubCall, HubReply, News, Registry, SharedRegistry, Terms};
use flume::{Receiver, Sender};
use thiserror::Error;

use crate::archive::Archive;
use crate::waiting::{Called, Listening, Waiting, WaitingFigures, Watching};

/// The way to the store.
pub trait Journal: Send + Sync {
    /// Hands changes over; `kept` is told when they and all before them are safe, and dropped if they never will be. Does not
    /// wait.
    fn keep(&self, changes: Vec<Change>, kept: Option<Sender<()>>);

    /// Whether there is space for anything new.
    fn has_space(&self) -> bool;
}

/// The way to the hubs.
pub trait Cores: Send + Sync {
    /// Asks the home of a device. The reply comes when what it tells is safe; the sender is dropped if it never comes.
    ///
    /// # Errors
    /// Too many calls wait there already.
    fn ask(&self, device: DeviceId, call: HubCall, reply: Sender<HubReply>) -> Result<(), Crowded>;
}

/// Reads a profile's settings: [`device::Dialect::read_settings`] of the dialect that they are for.
pub type ReadSettings = dyn Fn(&str) -> Result<Option<Terms>, String> + Send + Sync;

/// What was changed will not be kept: the store has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the store has failed")]
pub struct NotKept;

/// Too many calls wait at the home of the device: the call, back.
#[derive(Debug, Error)]
#[error("too many calls wait at the home of the device")]
pub struct Crowded(pub Box<HubCall>);

/// Whether a change is kept.
#[must_use]
pub struct Kept(Option<Receiver<()>>);

/// The platform. Clones are the same one.
#[derive(Clone)]
pub struct Platform {
    house: Arc<House>,
}

struct House {
    registry: RwLock<Registry>,
    read_settings: Box<ReadSettings>,
    waiting: Waiting,
    journal: OnceLock<Box<dyn Journal>>,
    cores: OnceLock<Box<dyn Cores>>,
    archive: OnceLock<Box<dyn Archive>>,
}

impl Platform {
    /// A platform without devices.
    #[must_use]
    pub fn new(read_settings: Box<ReadSettings>) -> Self {
        let house = House {
            registry: RwLock::default(),
            read_settings,
            waiting: Waiting::default(),
            journal: OnceLock::new(),
            cores: OnceLock::new(),
            archive: OnceLock::new(),
        };
        Self { house: Arc::new(house) }
    }

    /// Tells it the way to the store. Only the first one counts.
    pub fn attach_journal(&self, journal: Box<dyn Journal>) {
        let _first_one_counts = self.house.journal.set(journal);
    }

    /// Tells it the way to the hubs. Only the first one counts.
    pub fn attach_cores(&self, cores: Box<dyn Cores>) {
        let _first_one_counts = self.house.cores.set(cores);
    }

    /// Tells it where history is. Only the first one counts.
    pub fn attach_archive(&self, archive: Box<dyn Archive>) {
        let _first_one_counts = self.house.archive.set(archive);
    }

    /// History; none if nothing is kept.
    #[must_use]
    pub fn archive(&self) -> Option<&dyn Archive> {
        self.house.archive.get().map(Box::as_ref)
    }

    /// Says how many profiles each tenant may have, before cores start.
    pub fn limit_profiles(&self, profiles_max: usize) {
        self.owned().limit_profiles(profiles_max);
    }

    /// Looks into the registry.
    pub fn read<R>(&self, look: impl FnOnce(&Registry) -> R) -> R {
        look(&self.shared())
    }

    /// Changes the registry. What the caller leaves in the list is written down, unless it is empty.
    pub fn change<R>(&self, change: impl FnOnce(&mut Registry, &mut Vec<Change>) -> R) -> (R, Kept) {
        let mut changes = Vec::new();
        let mut registry = self.owned();
        let result = change(&mut registry, &mut changes);
        let kept = self.keep(changes);
        drop(registry);
        (result, kept)
    }

    /// Whether there is space for anything new; without a store there always is.
    #[must_use]
    pub fn has_space(&self) -> bool {
        self.house.journal.get().is_none_or(|journal| journal.has_space())
    }

    /// Repeats a change that an earlier process wrote down, before cores start.
    pub fn restore(&self, change: &Change) {
        self.owned().apply(change);
    }

    /// All was repeated: what dialects understand of profiles is not written down and is read again.
    pub fn finish_restore(&self) {
        let mut registry = self.owned();
        let profiles: Vec<_> = registry.profiles().cloned().collect();
        for mut profile in profiles {
            // Settings were read before they were written down; what a later version no longer understands has its defaults.
            profile.terms = (self.house.read_settings)(&profile.settings).unwrap_or_default();
            registry.apply(&Change::Profile(Box::new(profile)));
        }
    }

    /// What a dialect understands of a profile's settings.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read_settings(&self, settings: &str) -> Result<Option<Terms>, String> {
        (self.house.read_settings)(settings)
    }

    /// Asks the hub of a device. The receiver is disconnected if nobody answers.
    ///
    /// # Errors
    /// Too many calls wait there already.
    pub fn ask(&self, device: DeviceId, call: HubCall) -> Result<Receiver<HubReply>, Crowded> {
        let (reply, answer) = flume::bounded(1);
        match self.house.cores.get() {
            Some(cores) => cores.ask(device, call, reply).map(|()| answer),
            None => Ok(answer),
        }
    }

    /// Waits for what becomes of a command of a device; to be called before it is ordered. None if somebody does already.
    #[must_use]
    pub fn watch(&self, device: DeviceId, command: CommandId) -> Option<Watching> {
        self.house.waiting.watch(self.clone(), device, command)
    }

    /// Listens in the place of a device, once its hub was told so with the ear.
    #[must_use]
    pub fn listen(&self) -> Listening {
        self.house.waiting.listen(self.clone())
    }

    /// Calls of devices that their dialects have no answer to.
    #[must_use]
    pub fn calls(&self) -> Receiver<Called> {
        self.house.waiting.calls()
    }

    /// News of a hub. Returns whether anybody waited for it.
    pub fn tell(&self, news: News) -> bool {
        self.house.waiting.tell(news)
    }

    /// Whether an ear belongs to somebody who listens here, and to no core.
    #[must_use]
    pub const fn is_outside(ear: Ear) -> bool {
        ear.is_outside()
    }

    /// Who waits for news, and what was dropped.
    #[must_use]
    pub fn waiting_figures(&self) -> WaitingFigures {
        self.house.waiting.figures()
    }

    pub(crate) fn waiting(&self) -> &Waiting {
        &self.house.waiting
    }

    fn shared(&self) -> RwLockReadGuard<'_, Registry> {
        self.house.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn owned(&self) -> RwLockWriteGuard<'_, Registry> {
        self.house.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called under the lock, so that the order of changes is the order in which the store gets them.
    fn keep(&self, changes: Vec<Change>) -> Kept {
        match self.house.journal.get() {
            Some(journal) if !changes.is_empty() => {
                let (sender, kept) = flume::bounded(1);
                journal.keep(changes, Some(sender));
                Kept(Some(kept))
            }
            Some(_) | None => Kept(None),
        }
    }
}

impl SharedRegistry for Platform {
    fn read(&self, look: &mut dyn FnMut(&Registry)) {
        look(&self.shared());
    }

    fn change(&self, change: &mut dyn FnMut(&mut Registry, &mut Vec<Change>)) {
        let mut changes = Vec::new();
        let mut registry = self.owned();
        change(&mut registry, &mut changes);
        if let Some(journal) = self.house.journal.get().filter(|_| !changes.is_empty()) {
            journal.keep(changes, None);
        }
        drop(registry);
    }
}

impl Kept {
    /// Waits until it is.
    ///
    /// # Errors
    /// It never will be.
    pub async fn wait(self) -> Result<(), NotKept> {
        match self.0 {
            None => Ok(()),
            Some(kept) => kept.recv_async().await.map_err(|_| NotKept),
        }
    }

    /// Waits until it is, on a thread that may.
    ///
    /// # Errors
    /// It never will be.
    pub fn wait_here(self) -> Result<(), NotKept> {
        match self.0 {
            None => Ok(()),
            Some(kept) => kept.recv().map_err(|_| NotKept),
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("devices", &self.shared().len()).finish_non_exhaustive()
    }
}
