//! Changes: what must be written down so that devices, and what is known of them, are there after a restart.
//!
//! Why a vocabulary of its own beside that of sessions: sessions belong to clients and devices outlive them; and a store
//! can keep each of these under a key of its own, so that the last one of a key is all that counts.
//!
//! Invariants:
//! - Applied in order to an empty [`crate::Registry`] and empty [`crate::Hub`]s, changes give what made them.
//! - A change holds no reference to a packet.

use std::sync::Arc;

use crate::claim::Claim;
use crate::command::Command;
use crate::ids::{CommandId, CustomerId, DeviceId, PackageId, ProfileId, UserId};
use crate::package::Package;
use crate::presence::Presence;
use crate::profile::{Keeping, Profile};
use crate::record::{Customer, Device, Tenant, User};
use crate::value::{Sample, Value};

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// A tenant is there, or is changed.
    Tenant(Box<Tenant>),
    /// A customer is there, or is changed.
    Customer(Box<Customer>),
    /// A customer is gone.
    CustomerGone(CustomerId),
    /// Somebody may log in, or their record is changed.
    User(Box<User>),
    /// Somebody may log in no longer.
    UserGone(UserId),
    /// A profile is there, or is changed.
    Profile(Box<Profile>),
    /// A profile is gone.
    ProfileGone(ProfileId),
    /// A device is there, or is changed, also in its credential.
    Device(Box<Device>),
    /// A device is gone, with all that was known of it.
    DeviceGone(DeviceId),
    /// A package is there, or is changed.
    Package(Arc<Package>),
    /// A package is gone.
    PackageGone(PackageId),
    /// An attribute was written; without a value it was deleted.
    Attribute {
        /// Whose.
        device: DeviceId,
        /// In which scope.
        scope: Scope,
        /// Which.
        key: Box<str>,
        /// The value.
        value: Option<Value<'static>>,
        /// When, in Unix milliseconds.
        at_ms: i64,
    },
    /// Telemetry came; each value is the latest of its key, for now.
    Telemetry {
        /// Whose.
        device: DeviceId,
        /// The values, in order.
        samples: Vec<Sample<'static>>,
        /// What to keep of them.
        keeping: Keeping,
    },
    /// Telemetry came that is older than what is known of its keys: it belongs into the history and nowhere else.
    Late {
        /// Whose.
        device: DeviceId,
        /// The values, in order.
        samples: Vec<Sample<'static>>,
    },
    /// A part of the history of a key is gone.
    HistoryGone {
        /// Whose.
        device: DeviceId,
        /// Which.
        key: Box<str>,
        /// From this time on, in Unix milliseconds.
        from_ms: i64,
        /// Before this time.
        to_ms: i64,
    },
    /// The latest value of a key is gone; its history is not.
    LatestGone {
        /// Whose.
        device: DeviceId,
        /// Which.
        key: Box<str>,
    },
    /// A command is there, or its state has changed.
    Command {
        /// Whose.
        device: DeviceId,
        /// The command.
        command: Box<Command>,
    },
    /// A command is gone.
    CommandGone {
        /// Whose.
        device: DeviceId,
        /// Which.
        command: CommandId,
    },
    /// A claim may be redeemed; none means no more.
    Claim {
        /// Of which device.
        device: DeviceId,
        /// What.
        claim: Option<Claim>,
    },
    /// Whether a device is there.
    Presence {
        /// Whose.
        device: DeviceId,
        /// How.
        presence: Presence,
    },
}

/// Who writes an attribute and who reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// The device writes, the server reads.
    Client,
    /// The server writes, the device reads and is told of changes.
    Shared,
    /// The server's own.
    Server,
}

impl Change {
    /// Whether the registry is what it changes, and no hub.
    #[must_use]
    pub fn is_of_registry(&self) -> bool {
        match self {
            Self::Tenant(_)
            | Self::Customer(_)
            | Self::CustomerGone(_)
            | Self::User(_)
            | Self::UserGone(_)
            | Self::Profile(_)
            | Self::ProfileGone(_)
            | Self::Device(_)
            | Self::DeviceGone(_)
            | Self::Package(_)
            | Self::PackageGone(_) => true,
            Self::Attribute { .. }
            | Self::Telemetry { .. }
            | Self::Late { .. }
            | Self::HistoryGone { .. }
            | Self::LatestGone { .. }
            | Self::Command { .. }
            | Self::CommandGone { .. }
            | Self::Claim { .. }
            | Self::Presence { .. } => false,
        }
    }

    /// The device that it belongs to; none for what belongs to all.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Device(device) => Some(device.id),
            Self::DeviceGone(device)
            | Self::Attribute { device, .. }
            | Self::Telemetry { device, .. }
            | Self::Late { device, .. }
            | Self::HistoryGone { device, .. }
            | Self::LatestGone { device, .. }
            | Self::Command { device, .. }
            | Self::CommandGone { device, .. }
            | Self::Claim { device, .. }
            | Self::Presence { device, .. } => Some(*device),
            Self::Tenant(_)
            | Self::Customer(_)
            | Self::CustomerGone(_)
            | Self::User(_)
            | Self::UserGone(_)
            | Self::Profile(_)
            | Self::ProfileGone(_)
            | Self::Package(_)
            | Self::PackageGone(_) => None,
        }
    }
}
