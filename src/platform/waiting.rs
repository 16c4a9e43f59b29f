//! Who waits for news of hubs: for the end of a command, or in the place of a device.
//!
//! Why handles that forget themselves: whoever waits behind HTTP may go away at any moment, and nobody else would clean up.
//!
//! Invariants:
//! - Dropping a handle ends the waiting, and nobody else's.
//! - One at a time watches a command, and hears of nothing but the device that he has asked.
//! - Whoever listens in the place of a device that is deleted or recognised anew hears what was said before, and then that it
//!   is over.
//! - At most [`HEARD_MAX`] pieces of news wait for one listener; more are dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use device::{Addressed, CommandId, Cookie, DeviceId, Downlink, Ear, News, Report};
use flume::{Receiver, Sender, TrySendError};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::platform::Platform;

/// News that wait for one listener.
pub(crate) const HEARD_MAX: usize = 1_024;
/// Calls of devices that wait for somebody to answer them.
const CALLS_MAX: usize = 4_096;
/// Bits of an ear that belongs to no core.
const OUTSIDE: u64 = 0xFFFF << 48;

/// A device's call that wants an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Called {
    /// Which device.
    pub device: DeviceId,
    /// The connection that called.
    pub ear: Ear,
    /// To be given back.
    pub cookie: Cookie,
    /// What to do.
    pub method: Box<str>,
    /// With what, as JSON.
    pub params: Box<str>,
}

/// Waits for what becomes of a command.
pub struct Watching {
    platform: Platform,
    command: CommandId,
    reports: Receiver<Report>,
}

/// Listens in the place of a device.
pub struct Listening {
    platform: Platform,
    ear: Ear,
    downlinks: Receiver<Downlink>,
}

/// A command whose end somebody waits for.
struct Watched {
    device: DeviceId,
    sender: Sender<Report>,
}

/// All who wait.
pub(crate) struct Waiting {
    commands: Mutex<HashMap<CommandId, Watched, RandomState>>,
    listeners: Mutex<HashMap<Ear, Sender<Downlink>, RandomState>>,
    next_ear: AtomicU64,
    dropped: AtomicU64,
    calls: (Sender<Called>, Receiver<Called>),
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            commands: Mutex::default(),
            listeners: Mutex::default(),
            next_ear: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            calls: flume::bounded(CALLS_MAX),
        }
    }
}

impl Waiting {
    pub fn watch(&self, platform: Platform, device: DeviceId, command: CommandId) -> Option<Watching> {
        match held(&self.commands).entry(command) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                let (sender, reports) = flume::bounded(HEARD_MAX);
                place.insert(Watched { device, sender });
                Some(Watching { platform, command, reports })
            }
        }
    }

    pub fn listen(&self, platform: Platform) -> Listening {
        let number = self.next_ear.fetch_add(1, Ordering::Relaxed);
        let ear = Ear(OUTSIDE | number & !OUTSIDE);
        let (sender, downlinks) = flume::bounded(HEARD_MAX);
        held(&self.listeners).insert(ear, sender);
        Listening { platform, ear, downlinks }
    }

    pub fn calls(&self) -> Receiver<Called> {
        self.calls.1.clone()
    }

    /// Gives news to whoever waits for it. Whether somebody did.
    pub fn tell(&self, news: News) -> bool {
        match news {
            News::Report(report) => {
                let commands = held(&self.commands);
                let watched = commands.get(&report.command).filter(|watched| watched.device == report.device);
                watched.is_some_and(|watched| self.give(&watched.sender, report))
            }
            News::Told(Addressed { ear, downlink, .. }) => {
                let listener = held(&self.listeners).get(&ear).cloned();
                listener.is_some_and(|sender| self.give(&sender, downlink))
            }
            News::Called { device, ear, cookie, method, params } => {
                self.give(&self.calls.0, Called { device, ear, cookie, method, params })
            }
            // The last sender goes, so that whoever listens finds the way closed.
            News::Evicted(ear) => held(&self.listeners).remove(&ear).is_some(),
            News::Turn(..) => false,
        }
    }
}

impl Waiting {
    /// Gives a piece of news, unless too many wait already.
    fn give<T>(&self, to: &Sender<T>, news: T) -> bool {
        let outcome = to.try_send(news);
        if matches!(outcome, Err(TrySendError::Full(_))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        outcome.is_ok()
    }

    /// Who waits, and what was dropped.
    pub fn figures(&self) -> WaitingFigures {
        WaitingFigures {
            commands: held(&self.commands).len(),
            listeners: held(&self.listeners).len(),
            calls: self.calls.1.len(),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Who waits for news, and what was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingFigures {
    /// Commands whose end somebody waits for.
    pub commands: usize,
    /// Listeners in the place of a device.
    pub listeners: usize,
    /// Calls of devices that nobody has taken yet.
    pub calls: usize,
    /// News for which there was no room.
    pub dropped: u64,
}

impl Watching {
    /// What becomes of the command, each time that its state changes.
    #[must_use]
    pub fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        held(&self.platform.waiting().commands).remove(&self.command);
    }
}

impl Listening {
    /// By what hubs know it.
    #[must_use]
    pub fn ear(&self) -> Ear {
        self.ear
    }

    /// What is said to the device; closed once it listens no longer, because somebody has changed or deleted it.
    #[must_use]
    pub fn downlinks(&self) -> &Receiver<Downlink> {
        &self.downlinks
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        held(&self.platform.waiting().listeners).remove(&self.ear);
    }
}

pub(crate) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use device::CommandState;

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
    const COMMAND: CommandId = CommandId::from_bytes([7; 16]);

    fn report(device: DeviceId) -> News {
        let state = CommandState::Sent;
        News::Report(Report { device, command: COMMAND, state, response: None, is_garbled: false })
    }

    #[test]
    fn whoever_watches_a_command_is_not_put_out_by_another() {
        let platform = Platform::new(Box::new(|_| Ok(None)));
        let first = platform.watch(DEVICE, COMMAND).expect("nobody watches it");
        let other = DeviceId::from_bytes([2; 16]);
        drop(platform.watch(DEVICE, COMMAND));
        assert!(platform.watch(other, COMMAND).is_none() && platform.watch(DEVICE, COMMAND).is_none());
        assert!(platform.tell(report(DEVICE)), "the first one still waits");
        assert!(!platform.tell(report(other)), "it is another device's");
        assert_eq!(first.reports().try_iter().count(), 1);
        drop(first);
        assert!(!platform.tell(report(DEVICE)));
        assert!(platform.watch(other, COMMAND).is_some());
    }
}
