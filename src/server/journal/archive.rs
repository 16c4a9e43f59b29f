//! History as the platform sees it: what the store has on disk.
//!
//! Why every question first has what was handed over so far written: a device's message may be acknowledged before it is
//! on disk, where that is all that its listener promises, and whoever then asks must see it all the same.
//!
//! Invariants:
//! - What a core has handed over before a question is seen by it, unless the disk takes nothing: then the question is
//!   answered from what it has.

use std::ops::ControlFlow;
use std::time::Duration;

use device::{Command, CommandId, DeviceId, Value};
use platform::{Archive, ArchiveFault, Journal, Points};
use store::{Fault, History, Order, Span};

use super::post::StoreJournal;

/// A disk that takes longer answers from what it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads what is on disk.
pub(crate) struct StoreArchive {
    history: History,
    journal: StoreJournal,
}

impl StoreArchive {
    pub(crate) fn new(history: History, journal: StoreJournal) -> Self {
        Self { history, journal }
    }

    /// Waits until everything that was handed over is written.
    fn catch_up(&self) {
        let (sender, written) = flume::bounded(1);
        self.journal.keep(Vec::new(), Some(sender));
        // If it never will be, there is nothing to wait for.
        let _ = written.recv_timeout(PATIENCE);
    }
}

impl Archive for StoreArchive {
    fn points(
        &self,
        points: Points<'_>,
        visit: &mut dyn FnMut(i64, Value<'_>) -> ControlFlow<()>,
    ) -> Result<(), ArchiveFault> {
        self.catch_up();
        let Points { device, key, from_ms, to_ms, newest_first } = points;
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        self.history.points(device, key, Span { from_ms, to_ms, order }, visit).map_err(told)
    }

    fn command(&self, id: CommandId) -> Result<Option<(DeviceId, Command)>, ArchiveFault> {
        self.catch_up();
        self.history.command(id).map_err(told)
    }

    fn has_command(&self, id: CommandId) -> Result<bool, ArchiveFault> {
        self.catch_up();
        self.history.has_command(id).map_err(told)
    }

    fn commands(&self, device: DeviceId) -> Result<Vec<Command>, ArchiveFault> {
        self.catch_up();
        self.history.commands(device).map_err(told)
    }
}

fn told(fault: Fault) -> ArchiveFault {
    ArchiveFault(fault.to_string())
}
