//! What comes of a call to the hub: effects as values.
//!
//! Invariants:
//! - Changes come in the order in which they happened; so do downlinks of one ear.

use mqtt::ReasonCode;

use crate::change::Change;
use crate::command::CommandState;
use crate::ids::{CommandId, DeviceId};
use crate::presence::Turn;
use crate::profile::Keeping;
use crate::speech::{Downlink, Ear};
use crate::value::Sample;

/// The most values of telemetry in one change that several messages were gathered in.
const GATHERED_LATEST_MAX: usize = 64;
const GATHERED_HISTORY_MAX: usize = 1024;

/// Filled by the hub, emptied by whoever called it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// To be written down.
    pub changes: Vec<Change>,
    /// To be said.
    pub downlinks: Vec<Addressed>,
    /// Connections that are no longer open for a device: another one has replaced them, it was deleted, or, when its time
    /// came, it had not acknowledged a command. A connection of
    /// the device itself ends; a gateway's goes on without that child.
    pub evicted: Vec<(Ear, DeviceId)>,
    /// What became of commands, for those who wait for them.
    pub reports: Vec<Report>,
    /// What became of devices' presence.
    pub turns: Vec<(DeviceId, Turn)>,
    /// What was not taken, by whom it was said: in 5.0 the message is answered with [`Refusal::reason`].
    pub refused: Vec<(Ear, DeviceId, Refusal)>,
}

/// Why something is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The device has as many keys as it may, and these are others. What it said of keys that it has was taken.
    TooManyFacts,
    /// The device has as many bytes of keys and values as it may. What takes no more than before was taken.
    FactsTooLarge,
    /// As many devices are known as may be, and this is another: its connection is not open.
    TooManyDevices,
    /// It says more than it may. Nothing of this was taken.
    TooOften,
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

impl Outcome {
    /// Where to write telemetry of a device: into a change that is there already and was not handed over yet, if `place`
    /// says where and nothing speaks against it, or into a new one, of which `place` is told.
    pub(super) fn telemetry(
        &mut self,
        device: DeviceId,
        keeping: Keeping,
        place: &mut Option<u32>,
        wanted: usize,
    ) -> &mut Vec<Sample<'static>> {
        let known = place.and_then(|index| usize::try_from(index).ok()).filter(|index| {
            let fits = |samples: &[Sample<'_>]| match keeping {
                Keeping::Latest => samples.len() < GATHERED_LATEST_MAX,
                Keeping::History | Keeping::Forward => samples.len() < GATHERED_HISTORY_MAX,
            };
            matches!(self.changes.get(*index), Some(Change::Telemetry { device: of, samples, keeping: kept })
                if *of == device && *kept == keeping && fits(samples))
        });
        let index = known.unwrap_or_else(|| {
            let samples = Vec::with_capacity(wanted);
            self.changes.push(Change::Telemetry { device, samples, keeping });
            *place = u32::try_from(self.changes.len() - 1).ok();
            self.changes.len() - 1
        });
        let Change::Telemetry { samples, .. } = &mut self.changes[index] else {
            unreachable!("looked at or pushed in the lines above")
        };
        samples
    }
}

impl Refusal {
    /// The code of the acknowledgement.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::TooManyFacts | Self::FactsTooLarge | Self::TooManyDevices | Self::TooOften => {
                ReasonCode::QuotaExceeded
            }
        }
    }

    /// In words, for the reason string.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::TooManyFacts => "the device has as many keys as it may",
            Self::FactsTooLarge => "the device has as many bytes of keys and values as it may",
            Self::TooManyDevices => "as many devices are known as may be",
            Self::TooOften => "the device says more than it may",
        }
    }
}
