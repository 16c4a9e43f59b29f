//! What is on disk and in no core's memory: history of telemetry, and persistent commands that have ended.
//!
//! Why read past the cores: a query over a million points must not cost a message its turn.
//!
//! Invariants:
//! - What was acknowledged is seen by a question that is asked afterwards.

use std::ops::ControlFlow;

use device::{Command, CommandId, DeviceId, Value};
use thiserror::Error;

/// Which points of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Points<'a> {
    /// Whose.
    pub device: DeviceId,
    /// Which key.
    pub key: &'a str,
    /// From this time on, in Unix milliseconds.
    pub from_ms: i64,
    /// Before this time.
    pub to_ms: i64,
    /// Whether the latest come first.
    pub newest_first: bool,
}

/// The archive cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the archive cannot be read: {0}")]
pub struct ArchiveFault(pub String);

/// Reads what is on disk.
pub trait Archive: Send + Sync {
    /// Visits points in order of time until `visit` breaks.
    ///
    /// # Errors
    /// The disk fails, or what is on it is damaged.
    fn points(
        &self,
        points: Points<'_>,
        visit: &mut dyn FnMut(i64, Value<'_>) -> ControlFlow<()>,
    ) -> Result<(), ArchiveFault>;

    /// A persistent command and its device, whether it has ended or not.
    ///
    /// # Errors
    /// As above.
    fn command(&self, id: CommandId) -> Result<Option<(DeviceId, Command)>, ArchiveFault>;

    /// Whether that is the id of a persistent command: of one that is there, or was and is not quite gone.
    ///
    /// # Errors
    /// As above.
    fn has_command(&self, id: CommandId) -> Result<bool, ArchiveFault>;

    /// The persistent commands of a device, in no particular order.
    ///
    /// # Errors
    /// As above.
    fn commands(&self, device: DeviceId) -> Result<Vec<Command>, ArchiveFault>;
}
