//! How profiles are found: by tenant and name, by provision key, by the authority of their devices' certificates.
//!
//! Why beside the profiles: a gateway may make thousands, and whoever looks for one holds the registry's lock meanwhile.
//!
//! Invariants:
//! - Every profile stands here under what its record says now, and under nothing else.
//! - A look-up allocates nothing.

use std::collections::BTreeMap;

use crate::credential::{Fingerprint, of_hex};
use crate::ids::{ProfileId, TenantId};
use crate::profile::{Profile, Provisioning};

/// The ways to profiles.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    of_tenants: BTreeMap<TenantId, OfTenant>,
    of_keys: BTreeMap<Box<str>, ProfileId>,
    of_authorities: BTreeMap<Fingerprint, ProfileId>,
}

/// The profiles of one tenant.
#[derive(Debug, Default)]
struct OfTenant {
    named: BTreeMap<Box<str>, ProfileId>,
    default: Option<ProfileId>,
}

impl Kinds {
    /// The profile of a name.
    pub fn named(&self, tenant: TenantId, name: &str) -> Option<ProfileId> {
        self.of_tenants.get(&tenant)?.named.get(name).copied()
    }

    /// The profile of devices without a type.
    pub fn default_of(&self, tenant: TenantId) -> Option<ProfileId> {
        self.of_tenants.get(&tenant)?.default
    }

    /// How many profiles a tenant has.
    pub fn count_of(&self, tenant: TenantId) -> usize {
        self.of_tenants.get(&tenant).map_or(0, |theirs| theirs.named.len())
    }

    /// The profile of a provision key.
    pub fn of_key(&self, key: &str) -> Option<ProfileId> {
        self.of_keys.get(key).copied()
    }

    /// The profile whose devices' certificates an authority signs.
    pub fn of_authority(&self, authority: &Fingerprint) -> Option<ProfileId> {
        self.of_authorities.get(authority).copied()
    }

    /// Whether a provision key is an authority's fingerprint, in lower-case hexadecimal.
    pub fn is_authority(&self, key: &str) -> bool {
        of_hex(key).is_some_and(|authority| self.of_authorities.contains_key(&authority))
    }

    /// Whether any profile knows devices by who signed their certificates.
    pub fn has_authorities(&self) -> bool {
        !self.of_authorities.is_empty()
    }

    /// A profile is there, as its record says.
    pub fn insert(&mut self, profile: &Profile) {
        let theirs = self.of_tenants.entry(profile.tenant).or_default();
        theirs.named.insert(profile.name.clone(), profile.id);
        if profile.is_default {
            theirs.default = Some(profile.id);
        }
        match &profile.provisioning {
            Provisioning::Disabled => {}
            Provisioning::AllowCreate(key) | Provisioning::CheckPreProvisioned(key) => {
                self.of_keys.insert(key.key.clone(), profile.id);
            }
            Provisioning::CertificateChain(rule) => {
                self.of_authorities.insert(rule.authority, profile.id);
            }
        }
    }

    /// A profile is there no longer, as its record said. What another one has taken meanwhile stays that one's.
    pub fn remove(&mut self, profile: &Profile) {
        if let Some(theirs) = self.of_tenants.get_mut(&profile.tenant) {
            if theirs.named.get(&profile.name) == Some(&profile.id) {
                theirs.named.remove(&profile.name);
            }
            theirs.default = theirs.default.filter(|id| *id != profile.id);
        }
        match &profile.provisioning {
            Provisioning::Disabled => {}
            Provisioning::AllowCreate(key) | Provisioning::CheckPreProvisioned(key) => {
                if self.of_keys.get(&key.key) == Some(&profile.id) {
                    self.of_keys.remove(&key.key);
                }
            }
            Provisioning::CertificateChain(rule) => {
                if self.of_authorities.get(&rule.authority) == Some(&profile.id) {
                    self.of_authorities.remove(&rule.authority);
                }
            }
        }
    }
}
