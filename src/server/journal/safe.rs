//! The store of this process: opened, read back into the cores, and then kept by its thread.
//!
//! Why in steps: whatever is wrong with the directory is told before any core runs, and nobody writes while the past is
//! read.
//!
//! Invariants:
//! - Nothing is written before recovery has ended.
//! - [`Keeping::join`] returns when everything that was handed over is durable, or with the reason why it is not.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use broker::Limits;
use sd_notify::NotifyState;
use store::{Anchor, Fault, FaultKind, FjallEngine, Heads, Keeper, Progress};
use thiserror::Error;
use tracing::{info, warn};

use super::archive::StoreArchive;
use super::post::Office;
use super::scribe::Scribe;
use super::space::Space;
use crate::clock::Clock;
use crate::config::Config;
use crate::restore::Homes;
use crate::signals;

/// How often the progress of a recovery is told.
const PROGRESS_SPAN: Duration = Duration::from_secs(1);
/// How long a supervisor shall wait for the next word of a recovery.
const PATIENCE_US: u32 = 60_000_000;

/// The store, open and ours.
pub(crate) struct Safe {
    keeper: Keeper<FjallEngine>,
    space: Space,
    interval: Duration,
    heads: Heads,
}

/// The store thread.
pub(crate) struct Keeping {
    thread: JoinHandle<Result<(), Fault>>,
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum SafeError {
    /// The directory cannot be made.
    #[error("cannot make the data directory {dir}: {reason}; choose another with --data or [store] dir")]
    Dir {
        /// The directory.
        dir: String,
        /// What the operating system says.
        reason: io::Error,
    },
    /// What is in it cannot be used.
    #[error("store: {fault}{}", advice(fault))]
    Fault {
        /// Where and why.
        fault: Fault,
    },
}

impl From<Fault> for SafeError {
    fn from(fault: Fault) -> Self {
        SafeError::Fault { fault }
    }
}

/// What to do about a fault, where there is something.
fn advice(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::Locked => "; another broker runs on this directory, or choose another with --data",
        FaultKind::Newer => "; start the newer version again, or choose another directory with --data",
        FaultKind::Damaged => {
            "; `ringmq store check` tells more, and `ringmq serve --quarantine` moves what is there aside and starts with \
             nothing"
        }
        FaultKind::Sync => "; nothing that was not durable before has been acknowledged",
        FaultKind::Full | FaultKind::Missing | FaultKind::Io => "",
    }
}

impl Safe {
    /// Opens the directory of the configuration; makes it if it is missing.
    pub(crate) fn open(config: &Config, clock: Clock) -> Result<Self, SafeError> {
        let settings = &config.store;
        make_dir(&settings.dir)?;
        if settings.quarantine {
            set_damage_aside(&settings.dir)?;
        }
        let engine = FjallEngine::open(&settings.dir)?;
        if engine.cut_bytes() > 0 {
            info!("{} bytes at the end of the journal were never durable and are gone", engine.cut_bytes());
        }
        let mut keeper = Keeper::new(engine, Anchor { at: clock.now(), wall: clock.wall() });
        keeper.keep_commands(stdx::widen(config.devices.commands_kept_max));
        Ok(Self {
            keeper,
            space: Space::watch(&settings.dir, settings.reserve_bytes),
            interval: Duration::from_millis(settings.interval_ms.into()),
            heads: heads(&config.limits),
        })
    }

    /// Reads everything that was kept, and sends it home.
    pub(crate) fn recover(&mut self, homes: &mut Homes) -> Result<(), Fault> {
        let began_at = Instant::now();
        let mut told_at = began_at;
        let mut progress = |progress: Progress| {
            if told_at.elapsed() >= PROGRESS_SPAN {
                told_at = Instant::now();
                tell(progress);
            }
        };
        // Both lend the homes to the recovery, which calls one of them at a time.
        let homes = RefCell::new(homes);
        let found = self.keeper.recover(
            self.heads,
            &mut |change| homes.borrow_mut().give(change),
            &mut |change| homes.borrow_mut().give_device(change),
            &mut progress,
        )?;
        if found.records > 0 {
            info!(
                "recovered in {} ms: {} sessions, {} subscriptions, {} queued and {} sent messages, {} retained, \
                 {} devices",
                began_at.elapsed().as_millis(),
                found.sessions,
                found.subscriptions,
                found.queued,
                found.inflight,
                found.retained,
                found.devices
            );
        }
        Ok(())
    }

    /// Starts the store thread, which serves the cores from now on.
    pub(crate) fn keep(self, office: Office) -> io::Result<Keeping> {
        let Self { keeper, space, interval, heads: _ } = self;
        if let Some(platform) = office.platform() {
            let archive = StoreArchive::new(keeper.engine().history(), office.journal());
            platform.attach_archive(Box::new(archive));
        }
        let keep = move || {
            let scribe = Scribe::new(keeper, office, space, interval);
            scribe
                .map_err(|(office, failure)| {
                    office.fail();
                    Fault::new(FaultKind::Io, format!("the store thread has no ring: {failure}"))
                })?
                .run()
        };
        let thread = thread::Builder::new().name("ringmq-store".to_owned()).spawn(keep)?;
        Ok(Keeping { thread })
    }
}

impl Keeping {
    /// Waits until the cores have ended and everything is durable.
    pub(crate) fn join(self) -> Result<(), Fault> {
        let died = || Fault::new(FaultKind::Io, "the store thread has died");
        self.thread.join().unwrap_or_else(|_panic| Err(died()))
    }
}

/// Moves everything in the directory aside, if any of it is damaged. Reads all of it to know.
fn set_damage_aside(dir: &Path) -> Result<(), Fault> {
    let read_all = |engine| {
        let anchor = Anchor { at: stdx::Instant::START, wall: stdx::WallMs(0) };
        Keeper::new(engine, anchor).recover(Heads::ALL, &mut drop, &mut drop, &mut |_progress| {})
    };
    match FjallEngine::open(dir).and_then(read_all) {
        Err(fault) if fault.kind == FaultKind::Damaged => {
            let aside = store::quarantine(dir)?;
            warn!(
                "quarantine: {fault}; everything was moved to {}, and nothing is left here",
                aside.display()
            );
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

/// Readable by its owner only, if it is made here.
fn make_dir(dir: &Path) -> Result<(), SafeError> {
    store::make_folder(dir).map_err(|reason| SafeError::Dir { dir: dir.display().to_string(), reason })
}

/// As much of each queue as stands in memory while the broker runs.
fn heads(limits: &Limits) -> Heads {
    Heads { messages_max: limits.queue_memory_messages.into(), bytes_max: limits.queue_memory_bytes.into() }
}

fn tell(progress: Progress) {
    let text = format!("recovering: {} of about {} records", grouped(progress.done), grouped(progress.about));
    info!("{text}");
    signals::tell_supervisor(NotifyState::ExtendTimeoutUsec(PATIENCE_US));
    signals::tell_supervisor(NotifyState::Status(&text));
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    String::from_utf8_lossy(&groups.join(&b',')).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_written_in_groups() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
