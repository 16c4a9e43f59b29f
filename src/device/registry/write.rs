//! Verbs that change the registry.
//!
//! Why each of them leaves changes behind: whoever shares and keeps the registry repeats them elsewhere, and nothing is
//! told to anybody before they are kept.
//!
//! Invariants:
//! - A verb that is refused changes nothing.

use std::sync::Arc;

use super::shelf::{Clash, Registry};
use crate::change::Change;
use crate::credential::Credential;
use crate::ids::{Chance, CustomerId, DeviceId, PackageId, ProfileId, TenantId};
use crate::package::Package;
use crate::profile::Profile;
use crate::record::{Device, Role, Tenant};

/// The type of children whose gateway does not say.
const CHILD_TYPE: &str = "default";

/// What a new device shall be.
#[derive(Clone, Debug)]
pub struct NewDevice<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// Of what kind; none for the tenant's default.
    pub profile: Option<ProfileId>,
    /// Its owner.
    pub customer: Option<CustomerId>,
    /// What it is on the network.
    pub role: Role,
    /// Its name.
    pub name: &'a str,
    /// Its credential; none for a new token.
    pub credential: Option<Credential>,
}

impl Registry {
    /// Adds or changes a tenant.
    pub fn put_tenant(&mut self, tenant: Tenant, changes: &mut Vec<Change>) {
        self.note(Change::Tenant(Box::new(tenant)), changes);
    }

    /// Adds or changes a profile. The first of a tenant is its default, and a new default replaces the old one.
    ///
    /// # Errors
    /// The tenant is unknown, or another profile has its name or its provision key.
    pub fn put_profile(&mut self, mut profile: Profile, changes: &mut Vec<Change>) -> Result<(), Clash> {
        if self.tenant(profile.tenant).is_none() {
            return Err(Clash::TenantUnknown);
        }
        if profile.name.trim().is_empty() {
            return Err(Clash::NameEmpty);
        }
        let is_other = |known: Option<&Profile>| known.is_some_and(|known| known.id != profile.id);
        if is_other(self.profile_named(profile.tenant, &profile.name)) {
            return Err(Clash::NameTaken);
        }
        if let Some(key) = profile.provisioning.key()
            && is_other(self.profile_of_key(&key.key))
        {
            return Err(Clash::ProvisionKeyTaken);
        }
        match self.default_profile(profile.tenant) {
            None => profile.is_default = true,
            Some(other) if profile.is_default && other.id != profile.id => {
                let other = Profile { is_default: false, ..other.clone() };
                self.note(Change::Profile(Box::new(other)), changes);
            }
            Some(_) => {}
        }
        self.note(Change::Profile(Box::new(profile)), changes);
        Ok(())
    }

    /// Creates a device.
    ///
    /// # Errors
    /// Tenant or profile are unknown, name or credential are taken, or the tenant may have no more.
    pub fn create(
        &mut self,
        new: NewDevice<'_>,
        now_ms: i64,
        chance: Chance<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<DeviceId, Clash> {
        let tenant = self.tenant(new.tenant).ok_or(Clash::TenantUnknown)?;
        let devices = self.devices_of.get(&new.tenant).copied().unwrap_or_default();
        if tenant.devices_max.is_some_and(|devices_max| devices >= devices_max) {
            return Err(Clash::TooManyDevices);
        }
        let profile = match new.profile {
            Some(id) => self.profile(id).filter(|profile| profile.tenant == new.tenant),
            None => self.default_profile(new.tenant),
        };
        let device = Device {
            id: DeviceId::random(&mut *chance),
            tenant: new.tenant,
            profile: profile.ok_or(Clash::ProfileUnknown)?.id,
            customer: new.customer,
            role: new.role,
            created_ms: now_ms,
            name: new.name.into(),
            credential: new.credential.unwrap_or_else(|| Credential::random_token(&mut *chance)),
            rare: None,
        };
        self.check(&device)?;
        let id = device.id;
        self.note(Change::Device(Box::new(device)), changes);
        Ok(id)
    }

    /// Replaces a device's record by another of the same id.
    ///
    /// # Errors
    /// The device is unknown, or what it shall be is taken or unknown.
    pub fn replace(&mut self, device: Device, changes: &mut Vec<Change>) -> Result<(), Clash> {
        let known = self.device(device.id).ok_or(Clash::DeviceUnknown)?;
        if known.tenant != device.tenant {
            return Err(Clash::TenantUnknown);
        }
        if self.profile(device.profile).is_none_or(|profile| profile.tenant != device.tenant) {
            return Err(Clash::ProfileUnknown);
        }
        self.check(&device)?;
        self.note(Change::Device(Box::new(device)), changes);
        Ok(())
    }

    /// Deletes a device.
    ///
    /// # Errors
    /// It is unknown.
    pub fn delete(&mut self, id: DeviceId, changes: &mut Vec<Change>) -> Result<(), Clash> {
        self.device(id).ok_or(Clash::DeviceUnknown)?;
        self.note(Change::DeviceGone(id), changes);
        Ok(())
    }

    /// Adds or changes a package.
    pub fn put_package(&mut self, package: Arc<Package>, changes: &mut Vec<Change>) {
        self.note(Change::Package(package), changes);
    }

    /// Deletes a package; devices that it was assigned to have none then.
    pub fn delete_package(&mut self, id: PackageId, changes: &mut Vec<Change>) {
        self.note(Change::PackageGone(id), changes);
    }

    /// The child of a gateway by its name, if nothing need be written for it.
    #[must_use]
    pub fn known_child(&self, gateway: DeviceId, name: &str) -> Option<DeviceId> {
        let gateway = self.device(gateway)?;
        let child = self.device_named(gateway.tenant, name)?;
        (child.gateway() == Some(gateway.id)).then_some(child.id)
    }

    /// The child of a gateway by its name, created if need be; a gateway may speak for any device of its tenant.
    ///
    /// # Errors
    /// The gateway is unknown, the name is empty, or the tenant may have no more devices.
    pub fn child(
        &mut self,
        gateway: DeviceId,
        name: &str,
        kind: Option<&str>,
        now_ms: i64,
        chance: Chance<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<DeviceId, Clash> {
        let gateway = self.device(gateway).ok_or(Clash::DeviceUnknown)?;
        let (tenant, customer, gateway) = (gateway.tenant, gateway.customer, gateway.id);
        if let Some(child) = self.device_named(tenant, name) {
            let id = child.id;
            if child.gateway() != Some(gateway) && id != gateway {
                let mut child = child.clone();
                child.rare_mut().gateway = Some(gateway);
                self.note(Change::Device(Box::new(child)), changes);
            }
            return Ok(id);
        }
        let kind = kind.unwrap_or(CHILD_TYPE);
        let known = self.profile_named(tenant, kind).map(|profile| profile.id);
        let new_profile = known.is_none().then(|| ProfileId::random(&mut *chance));
        let profile = known.or(new_profile);
        // The device is checked before its profile is made, so that a refusal changes nothing.
        self.may_create(tenant, name)?;
        if let Some(id) = new_profile {
            self.put_profile(Profile::named(id, tenant, kind), changes)?;
        }
        let new = NewDevice { tenant, profile, customer, role: Role::Ordinary, name, credential: None };
        let id = self.create(new, now_ms, chance, changes)?;
        let mut child = self.device(id).expect("created in the line above").clone();
        let rare = child.rare_mut();
        rare.gateway = Some(gateway);
        rare.creator = Some(gateway);
        self.note(Change::Device(Box::new(child)), changes);
        Ok(id)
    }

    fn may_create(&self, tenant: TenantId, name: &str) -> Result<(), Clash> {
        if name.trim().is_empty() {
            return Err(Clash::NameEmpty);
        }
        let devices_max = self.tenant(tenant).ok_or(Clash::TenantUnknown)?.devices_max;
        let devices = self.devices_of.get(&tenant).copied().unwrap_or_default();
        if devices_max.is_some_and(|devices_max| devices >= devices_max) {
            return Err(Clash::TooManyDevices);
        }
        Ok(())
    }

    /// Whether a device's name and credential are its own.
    fn check(&self, device: &Device) -> Result<(), Clash> {
        if device.name.trim().is_empty() {
            return Err(Clash::NameEmpty);
        }
        let is_other = |known: Option<&Device>| known.is_some_and(|known| known.id != device.id);
        if is_other(self.device_named(device.tenant, &device.name)) {
            return Err(Clash::NameTaken);
        }
        if is_other(self.device_showing(device.credential.probe())) {
            return Err(Clash::CredentialTaken);
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, change: Change, changes: &mut Vec<Change>) {
        self.apply(&change);
        changes.push(change);
    }
}
