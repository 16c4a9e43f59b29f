//! What is known of one device, and of one tenant.
//!
//! Why so little: a million of these stand in memory. What few devices have lies behind one pointer.
//!
//! Invariants:
//! - A [`Device`] is at most [`DEVICE_BYTES_MAX`] bytes without what it points to.

use crate::credential::Credential;
use crate::ids::{CustomerId, DeviceId, PackageId, ProfileId, TenantId, UserId};
use crate::package::PackageKind;

/// The most bytes of a [`Device`] itself.
pub const DEVICE_BYTES_MAX: usize = 136;

const _: () = assert!(size_of::<Device>() <= DEVICE_BYTES_MAX);

/// One tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name, the first level of canonical topics of its devices.
    pub name: Box<str>,
    /// How many devices it may have; none is no limit.
    pub devices_max: Option<u32>,
    /// What stands beside it.
    pub margin: Margin,
}

/// What stands beside a record and means nothing here: whoever keeps records reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Margin {
    /// How often the record was changed.
    pub changes: u32,
    /// Additional members of the record, as a JSON object.
    pub additional: Option<Box<str>>,
}

impl Margin {
    /// Counts changes of the record from 1 on, for whoever changes what he has read.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.changes.saturating_add(1)
    }

    /// Beside the record when it has been changed once more.
    #[must_use]
    pub fn changed(&self, additional: Option<Box<str>>) -> Self {
        Self { changes: self.changes.saturating_add(1), additional }
    }
}

impl Tenant {
    /// A tenant with nothing but a name.
    #[must_use]
    pub fn named(id: TenantId, name: &str) -> Self {
        Self { id, name: name.into(), devices_max: None, margin: Margin::default() }
    }
}

/// One customer of a tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Customer {
    /// Its id.
    pub id: CustomerId,
    /// Whose customer.
    pub tenant: TenantId,
    /// When it was created, in Unix milliseconds.
    pub created_ms: i64,
    /// Its name. One of each in a tenant.
    pub title: Box<str>,
    /// What stands beside it.
    pub margin: Margin,
}

/// Somebody who may log in to the HTTP API.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// In which tenant; none for those who look after the whole broker.
    pub tenant: Option<TenantId>,
    /// Of which customer; only with [`Authority::CustomerUser`].
    pub customer: Option<CustomerId>,
    /// What they may do.
    pub authority: Authority,
    /// When the record was made, in Unix milliseconds.
    pub created_ms: i64,
    /// The name by which they log in, in lower case. One of each in the broker.
    pub name: Box<str>,
    /// The hash of their password as a PHC string; empty for one that was never set.
    pub password_hash: Box<str>,
    /// What stands beside the record.
    pub margin: Margin,
}

/// What somebody may do in the HTTP API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Authority {
    /// Tenants and the broker itself.
    SystemAdmin,
    /// Everything of one tenant.
    TenantAdmin,
    /// Devices of one customer.
    CustomerUser,
}

impl std::fmt::Debug for User {
    // Hashes of passwords stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("User");
        shown.field("name", &self.name).field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// One device.
#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Of what kind it is.
    pub profile: ProfileId,
    /// Which customer owns it.
    pub customer: Option<CustomerId>,
    /// What it is; gateways speak for other devices.
    pub role: Role,
    /// When it was created, in Unix milliseconds.
    pub created_ms: i64,
    /// Its name. One of each in a tenant.
    pub name: Box<str>,
    /// By what it is recognized.
    pub credential: Credential,
    /// What most devices do not have.
    pub rare: Option<Box<Rare>>,
}

/// What a device is on the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// It speaks for itself.
    #[default]
    Ordinary,
    /// It speaks for children as well.
    Gateway,
    /// As a gateway, and what it says shows that all its children are alive.
    GatewayForActivity,
}

/// What most devices do not have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rare {
    /// A second name, for people.
    pub label: Option<Box<str>>,
    /// Additional members of the device's record, as a JSON object.
    pub additional: Option<Box<str>>,
    /// Its own firmware.
    pub firmware: Option<PackageId>,
    /// Its own software.
    pub software: Option<PackageId>,
    /// The gateway that spoke for it last.
    pub gateway: Option<DeviceId>,
    /// The gateway for which it was created.
    pub creator: Option<DeviceId>,
    /// Whether it got its credentials by introducing itself.
    pub is_provisioned: bool,
    /// How often it was changed.
    pub changes: u32,
    /// How often its credential was changed.
    pub credential_changes: u32,
}

impl Device {
    /// Whether it speaks for children.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.role != Role::Ordinary
    }

    /// The gateway that spoke for it last.
    #[must_use]
    pub fn gateway(&self) -> Option<DeviceId> {
        self.rare.as_ref().and_then(|rare| rare.gateway)
    }

    /// Its own package.
    #[must_use]
    pub fn package(&self, kind: PackageKind) -> Option<PackageId> {
        let rare = self.rare.as_ref()?;
        match kind {
            PackageKind::Firmware => rare.firmware,
            PackageKind::Software => rare.software,
        }
    }

    /// Counts its changes from 1 on, for whoever changes what he has read.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.changes).saturating_add(1)
    }

    /// Counts the changes of its credential from 1 on.
    #[must_use]
    pub fn credential_version(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.credential_changes).saturating_add(1)
    }

    /// Somebody has changed it.
    pub(crate) fn count_change(&mut self) {
        let rare = self.rare_mut();
        rare.changes = rare.changes.saturating_add(1);
    }

    /// What it has of the rare things, to be changed.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Bytes on the heap, for accounts of memory.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let some = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let rare = self
            .rare
            .as_ref()
            .map_or(0, |rare| size_of::<Rare>() + some(&rare.label) + some(&rare.additional));
        self.name.len() + self.credential.heap_bytes() + rare
    }
}
