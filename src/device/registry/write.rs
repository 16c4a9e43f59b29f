//! Verbs that change the registry.
//!
//! Why each of them leaves changes behind: whoever shares and keeps the registry repeats them elsewhere, and nothing is
//! told to anybody before they are kept.
//!
//! Invariants:
//! - A verb that is refused changes nothing.

use std::sync::Arc;

use super::limits::check_name;
use super::shelf::{Clash, Registry};
use crate::change::Change;
use crate::credential::Credential;
use crate::ids::{Chance, CustomerId, DeviceId, PackageId, ProfileId, TenantId, UserId};
use crate::package::{Package, PackageKind};
use crate::profile::{ChainRule, Profile, Provisioning, Terms};
use crate::record::{Customer, Device, Role, Tenant, User};

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

    /// Adds or changes a customer.
    ///
    /// # Errors
    /// The tenant is unknown, the title is too long, or another customer of it has the title.
    pub fn put_customer(&mut self, customer: Customer, changes: &mut Vec<Change>) -> Result<(), Clash> {
        if self.tenant(customer.tenant).is_none() {
            return Err(Clash::TenantUnknown);
        }
        if self.customer(customer.id).is_none_or(|known| known.title != customer.title) {
            check_name(&customer.title)?;
        }
        let has_title = |known: &Customer| {
            known.id != customer.id && known.tenant == customer.tenant && known.title == customer.title
        };
        if self.customers().any(has_title) {
            return Err(Clash::NameTaken);
        }
        self.note(Change::Customer(Box::new(customer)), changes);
        Ok(())
    }

    /// Deletes a customer with all who log in for it; its devices belong to the tenant again.
    ///
    /// # Errors
    /// It is unknown.
    pub fn delete_customer(&mut self, id: CustomerId, changes: &mut Vec<Change>) -> Result<(), Clash> {
        self.customer(id).ok_or(Clash::CustomerUnknown)?;
        let users: Vec<UserId> =
            self.users().filter(|user| user.customer == Some(id)).map(|user| user.id).collect();
        users.into_iter().for_each(|user| self.note(Change::UserGone(user), changes));
        if self.owned_by(id) > 0 {
            let owned: Vec<DeviceId> =
                self.devices().filter(|device| device.customer == Some(id)).map(|device| device.id).collect();
            self.release(id, &owned, changes);
        }
        self.note(Change::CustomerGone(id), changes);
        Ok(())
    }

    /// Gives those of some devices that are a customer's back to the tenant. Whoever deletes a customer with many devices
    /// does this before, a few at a time.
    pub fn release(&mut self, customer: CustomerId, devices: &[DeviceId], changes: &mut Vec<Change>) {
        for id in devices {
            let known = self.device(*id).filter(|device| device.customer == Some(customer));
            if let Some(known) = known {
                let mut device = Device { customer: None, ..known.clone() };
                device.count_change();
                self.note(Change::Device(Box::new(device)), changes);
            }
        }
    }

    /// Adds or changes somebody who may log in.
    ///
    /// # Errors
    /// Tenant or customer are unknown, or somebody else has the name.
    pub fn put_user(&mut self, user: User, changes: &mut Vec<Change>) -> Result<(), Clash> {
        if user.tenant.is_some_and(|tenant| self.tenant(tenant).is_none()) {
            return Err(Clash::TenantUnknown);
        }
        let is_of = |customer: &Customer| Some(customer.tenant) == user.tenant;
        if user.customer.is_some_and(|customer| !self.customer(customer).is_some_and(is_of)) {
            return Err(Clash::CustomerUnknown);
        }
        if user.name.trim().is_empty() {
            return Err(Clash::NameEmpty);
        }
        if self.user_named(&user.name).is_some_and(|known| known.id != user.id) {
            return Err(Clash::NameTaken);
        }
        self.note(Change::User(Box::new(user)), changes);
        Ok(())
    }

    /// Lets somebody log in no longer.
    pub fn delete_user(&mut self, id: UserId, changes: &mut Vec<Change>) {
        if self.user(id).is_some() {
            self.note(Change::UserGone(id), changes);
        }
    }

    /// Deletes a profile.
    ///
    /// # Errors
    /// It is unknown, the tenant's default, or devices have it.
    pub fn delete_profile(&mut self, id: ProfileId, changes: &mut Vec<Change>) -> Result<(), Clash> {
        let profile = self.profile(id).ok_or(Clash::ProfileUnknown)?;
        if profile.is_default || self.devices_like.contains_key(&id) {
            return Err(Clash::ProfileInUse);
        }
        self.note(Change::ProfileGone(id), changes);
        Ok(())
    }

    /// Adds or changes a profile. The first of a tenant is its default, and a new default replaces the old one.
    ///
    /// # Errors
    /// The tenant is unknown or may have no more profiles, the name is too long, another profile has it or the provision key, or
    /// the pattern for names is none.
    pub fn put_profile(&mut self, mut profile: Profile, changes: &mut Vec<Change>) -> Result<(), Clash> {
        if self.tenant(profile.tenant).is_none() {
            return Err(Clash::TenantUnknown);
        }
        let known = self.profile(profile.id);
        if known.is_none() && self.kinds.count_of(profile.tenant) >= self.limits.profiles_max {
            return Err(Clash::TooManyProfiles);
        }
        // A name that was written down before names had a length stays.
        if known.is_none_or(|known| known.name != profile.name) {
            check_name(&profile.name)?;
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
        if let Provisioning::CertificateChain(rule) = &profile.provisioning {
            if is_other(self.kinds.of_authority(&rule.authority).and_then(|id| self.profile(id))) {
                return Err(Clash::ProvisionKeyTaken);
            }
            if !ChainRule::is_pattern(&rule.name_pattern) {
                return Err(Clash::PatternInvalid);
            }
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

    /// A profile that keeps as much, and as long, as the tenant's default one, and is otherwise nothing but a name.
    #[must_use]
    pub fn new_profile(&self, id: ProfileId, tenant: TenantId, name: &str) -> Profile {
        let fresh = Profile::named(id, tenant, name);
        match self.default_profile(tenant) {
            None => fresh,
            Some(pattern) => {
                Profile { keeping: pattern.keeping, retention_ms: pattern.retention_ms, ..fresh }
            }
        }
    }

    /// Creates a device.
    ///
    /// # Errors
    /// Tenant or profile are unknown, name or credential are taken, the name is too long, or the tenant may have no more.
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

    /// As [`Registry::replace`], and counts the change: of the credential, if nothing else is other than before.
    ///
    /// # Errors
    /// As above.
    pub fn save(&mut self, mut device: Device, changes: &mut Vec<Change>) -> Result<(), Clash> {
        let known = self.device(device.id).ok_or(Clash::DeviceUnknown)?;
        let has_other_credential = device.credential != known.credential;
        let is_other = Device { credential: known.credential.clone(), ..device.clone() } != *known;
        if has_other_credential {
            let rare = device.rare_mut();
            rare.credential_changes = rare.credential_changes.saturating_add(1);
        }
        if is_other || !has_other_credential {
            device.count_change();
        }
        self.replace(device, changes)
    }

    /// All devices of a profile were told of its package, if it still has that one.
    pub fn told(
        &mut self,
        profile: ProfileId,
        kind: PackageKind,
        package: Option<PackageId>,
        changes: &mut Vec<Change>,
    ) {
        let known = self.profile(profile);
        let known = known.filter(|known| known.package(kind) == package && known.untold.of(kind)).cloned();
        if let Some(mut profile) = known {
            profile.untold.set(kind, false);
            self.note(Change::Profile(Box::new(profile)), changes);
        }
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

    /// The child of a gateway by its name, if nothing need be written for it; the gateway itself by its own.
    #[must_use]
    pub fn known_child(&self, gateway: DeviceId, name: &str) -> Option<DeviceId> {
        let gateway = self.device(gateway)?;
        let child = self.device_named(gateway.tenant, name)?;
        (child.gateway() == Some(gateway.id) || child.id == gateway.id).then_some(child.id)
    }

    /// Whether a gateway that keeps to its own children may speak for a name: there is no such device yet, it was created for
    /// the gateway, or it is the gateway itself.
    #[must_use]
    pub fn is_own_child(&self, gateway: DeviceId, name: &str) -> bool {
        let Some(tenant) = self.device(gateway).map(|gateway| gateway.tenant) else { return false };
        self.device_named(tenant, name).is_none_or(|child| {
            let creator = child.rare.as_ref().and_then(|rare| rare.creator);
            child.id == gateway || creator == Some(gateway)
        })
    }

    /// What the dialect understood of the settings of a child's profile: of the one that it has, or will have when its gateway
    /// first speaks of it.
    #[must_use]
    pub fn terms_of_child(&self, gateway: DeviceId, name: &str) -> Option<Terms> {
        let tenant = self.device(gateway)?.tenant;
        let profile = match self.device_named(tenant, name) {
            Some(child) => self.profile(child.profile),
            None => self.profile_named(tenant, CHILD_TYPE),
        };
        profile?.terms.clone()
    }

    /// The child of a gateway by its name, created if need be; a gateway may speak for any device of its tenant.
    ///
    /// # Errors
    /// The gateway is unknown, a name is empty or too long, or the tenant may have no more devices or profiles.
    ///
    /// Of a new child that has packages the list has facts as well: [`crate::Hub::learn`] is for them.
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
            let profile = Profile { created_ms: now_ms, ..self.new_profile(id, tenant, kind) };
            self.put_profile(profile, changes)?;
        }
        let new = NewDevice { tenant, profile, customer, role: Role::Ordinary, name, credential: None };
        let id = self.create(new, now_ms, chance, changes)?;
        let mut child = self.device(id).expect("created in the line above").clone();
        let rare = child.rare_mut();
        rare.gateway = Some(gateway);
        rare.creator = Some(gateway);
        self.note(Change::Device(Box::new(child)), changes);
        self.endow(id, now_ms, changes);
        Ok(id)
    }

    /// Writes down what a device's packages say of it, together with the device itself: whoever has called tells its hub.
    pub(crate) fn endow(&self, id: DeviceId, now_ms: i64, changes: &mut Vec<Change>) {
        for kind in [PackageKind::Firmware, PackageKind::Software] {
            if let Some(package) = self.package_of(id, kind) {
                package.assign(now_ms).write_down(id, changes);
            }
        }
    }

    /// Whether there may be one more device of that name, if no other has it.
    ///
    /// # Errors
    /// The name is empty or too long, the tenant is unknown, or may have no more devices.
    pub fn may_create(&self, tenant: TenantId, name: &str) -> Result<(), Clash> {
        check_name(name)?;
        let devices_max = self.tenant(tenant).ok_or(Clash::TenantUnknown)?.devices_max;
        let devices = self.devices_of.get(&tenant).copied().unwrap_or_default();
        if devices_max.is_some_and(|devices_max| devices >= devices_max) {
            return Err(Clash::TooManyDevices);
        }
        Ok(())
    }

    /// Whether a device's name and credential are its own.
    fn check(&self, device: &Device) -> Result<(), Clash> {
        if self.device(device.id).is_none_or(|known| known.name != device.name) {
            check_name(&device.name)?;
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
