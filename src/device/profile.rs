//! Device profiles: what devices of one kind have in common.
//!
//! Why the transport's settings are text here: topics and payload schemas are the business of one dialect, which reads the
//! text once, says whether it is valid, and leaves what it understood in [`Profile::terms`].
//!
//! Invariants:
//! - A provision key belongs to one profile only.
//! - `terms` is never written down: it follows from `settings`.

use std::any::Any;
use std::sync::Arc;

use crate::credential::Fingerprint;
use crate::ids::{PackageId, ProfileId, TenantId};
use crate::package::PackageKind;

/// What a dialect has understood of a profile's settings.
pub type Terms = Arc<dyn Any + Send + Sync>;

/// What devices of one kind have in common.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id.
    pub id: ProfileId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name, the type of its devices. One of each name in a tenant.
    pub name: Box<str>,
    /// Whether devices without a type get it.
    pub is_default: bool,
    /// How its devices connect.
    pub transport: Transport,
    /// The transport's settings, as the dialect's own JSON; empty for all defaults.
    pub settings: Arc<str>,
    /// What the dialect understood of them; none means the defaults.
    pub terms: Option<Terms>,
    /// How unknown devices introduce themselves.
    pub provisioning: Provisioning,
    /// What is kept of telemetry.
    pub keeping: Keeping,
    /// How long history is kept, in milliseconds; none is for ever.
    pub retention_ms: Option<u64>,
    /// The firmware of devices that have none of their own.
    pub firmware: Option<PackageId>,
    /// The software of devices that have none of their own.
    pub software: Option<PackageId>,
    /// Of which packages not all devices were told yet.
    pub untold: Untold,
    /// When it was created, in Unix milliseconds; 0 if nobody knows.
    pub created_ms: i64,
    /// How often it was saved.
    pub version: u32,
    /// Additional members of its record, as a JSON object: they mean nothing here.
    pub additional: Option<Arc<str>>,
}

/// Kinds of packages of whose assignment not all devices were told yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Untold {
    /// Of their firmware.
    pub firmware: bool,
    /// Of their software.
    pub software: bool,
}

/// How the devices of a profile connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// As the listener speaks, with default settings.
    #[default]
    Default,
    /// MQTT, with settings.
    Mqtt,
    /// Something that is not MQTT: such devices are refused.
    Foreign,
}

/// What is kept of telemetry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keeping {
    /// Every value with its time, and the latest of each key.
    #[default]
    History,
    /// The latest of each key.
    Latest,
    /// Nothing: subscribers get it as it comes.
    Forward,
}

/// How unknown devices introduce themselves.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Provisioning {
    /// Not at all.
    #[default]
    Disabled,
    /// A device that is not known yet is created.
    AllowCreate(ProvisionKey),
    /// A device that was created in advance gets its credentials, once.
    CheckPreProvisioned(ProvisionKey),
    /// By a certificate that a known authority signed; not by a request.
    CertificateChain(Box<ChainRule>),
}

/// What a device shows to be provisioned.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvisionKey {
    /// Says which profile.
    pub key: Box<str>,
    /// Says that it may.
    pub secret: Box<str>,
}

/// Which certificates provision a device.
#[derive(Clone, PartialEq, Eq)]
pub struct ChainRule {
    /// The fingerprint of the authority's certificate.
    pub authority: Fingerprint,
    /// What the common name must look like; its first group is the device's name.
    pub name_pattern: Box<str>,
    /// Whether devices that are not known are created.
    pub allows_create: bool,
}

impl Profile {
    /// A profile with nothing but a name.
    #[must_use]
    pub fn named(id: ProfileId, tenant: TenantId, name: &str) -> Self {
        Self {
            id,
            tenant,
            name: name.into(),
            is_default: false,
            transport: Transport::Default,
            settings: Arc::from(""),
            terms: None,
            provisioning: Provisioning::Disabled,
            keeping: Keeping::History,
            retention_ms: None,
            firmware: None,
            software: None,
            untold: Untold::default(),
            created_ms: 0,
            version: 1,
            additional: None,
        }
    }

    /// The package of its devices that have none of their own.
    #[must_use]
    pub fn package(&self, kind: PackageKind) -> Option<PackageId> {
        match kind {
            PackageKind::Firmware => self.firmware,
            PackageKind::Software => self.software,
        }
    }
}

impl Untold {
    /// Whether not all devices were told of their package.
    #[must_use]
    pub const fn of(self, kind: PackageKind) -> bool {
        match kind {
            PackageKind::Firmware => self.firmware,
            PackageKind::Software => self.software,
        }
    }

    /// Says so, or that all were.
    pub fn set(&mut self, kind: PackageKind, is_untold: bool) {
        match kind {
            PackageKind::Firmware => self.firmware = is_untold,
            PackageKind::Software => self.software = is_untold,
        }
    }
}

impl Provisioning {
    /// By which key the profile is found; none if no request finds it.
    #[must_use]
    pub fn key(&self) -> Option<&ProvisionKey> {
        match self {
            Self::AllowCreate(key) | Self::CheckPreProvisioned(key) => Some(key),
            Self::Disabled | Self::CertificateChain(_) => None,
        }
    }
}

impl std::fmt::Debug for Provisioning {
    // Keys and secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Disabled => "Disabled",
            Self::AllowCreate(_) => "AllowCreate(..)",
            Self::CheckPreProvisioned(_) => "CheckPreProvisioned(..)",
            Self::CertificateChain(_) => "CertificateChain(..)",
        })
    }
}
