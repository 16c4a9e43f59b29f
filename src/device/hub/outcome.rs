//! What comes of a call to the hub: effects as values.
//!
//! Invariants:
//! - Changes come in the order in which they happened; so do downlinks of one ear.

use crate::change::Change;
use crate::command::CommandState;
use crate::ids::{CommandId, DeviceId};
use crate::presence::Turn;
use crate::speech::{Downlink, Ear};

/// Filled by the hub, emptied by whoever called it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// To be written down.
    pub changes: Vec<Change>,
    /// To be said.
    pub downlinks: Vec<Addressed>,
    /// Connections that are no longer open for a device: another one has replaced them, or it was deleted. A connection of
    /// the device itself ends; a gateway's goes on without that child.
    pub evicted: Vec<(Ear, DeviceId)>,
    /// What became of commands, for those who wait for them.
    pub reports: Vec<Report>,
    /// What became of devices' presence.
    pub turns: Vec<(DeviceId, Turn)>,
}

/// Something to be said, and to whom.
#[derive(Clone, PartialEq, Debug)]
pub struct Addressed {
    /// On which connection.
    pub ear: Ear,
    /// To which device: that of the connection, or a child of it.
    pub device: DeviceId,
    /// What.
    pub downlink: Downlink,
}

/// How far a command is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Whose.
    pub device: DeviceId,
    /// Which.
    pub command: CommandId,
    /// How far.
    pub state: CommandState,
    /// What was answered, as JSON.
    pub response: Option<Box<str>>,
    /// Whether the answer was no JSON.
    pub is_garbled: bool,
}
