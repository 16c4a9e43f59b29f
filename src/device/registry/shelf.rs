//! Where records stand, and how they are found.
//!
//! Why slots and indices of four bytes: a million devices are looked up by id, by name and by credential, and each index
//! holds the number of a slot only; what is compared stands in the record itself.
//!
//! Invariants:
//! - Every device stands in all three indices, under what its record says now; every profile in [`Kinds`].
//! - Ids of credentials are unique over all tenants, names within one tenant.
//! - A look-up allocates nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use stdx::{narrow, widen};

use super::kinds::Kinds;
use super::limits::RegistryLimits;
use crate::change::Change;
use crate::credential::Probe;
use crate::ids::{CustomerId, DeviceId, PackageId, ProfileId, TenantId, UserId};
use crate::package::{Package, PackageKind};
use crate::profile::Profile;
use crate::record::{Customer, Device, Tenant, User};
use crate::speech::{ChunkWanted, Downlink};

/// Tenants, profiles, devices and packages. Reading needs `&self` only: whoever shares it decides how.
#[derive(Debug, Default)]
pub struct Registry {
    hasher: RandomState,
    slots: Vec<Option<Device>>,
    free: Vec<u32>,
    /// What the devices in the slots point to.
    heap_bytes: usize,
    by_id: HashTable<u32>,
    by_name: HashTable<u32>,
    by_credential: HashTable<u32>,
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) customers: BTreeMap<CustomerId, Customer>,
    pub(super) users: BTreeMap<UserId, User>,
    pub(crate) profiles: BTreeMap<ProfileId, Profile>,
    pub(crate) kinds: Kinds,
    pub(super) packages: BTreeMap<PackageId, Arc<Package>>,
    pub(super) devices_of: BTreeMap<TenantId, u32>,
    /// How many devices a profile has, if any.
    pub(super) devices_like: BTreeMap<ProfileId, u32>,
    /// How many devices a customer has, if any.
    owned: BTreeMap<CustomerId, u32>,
    pub(super) limits: RegistryLimits,
}

/// Why a record cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clash {
    /// There is no such tenant.
    TenantUnknown,
    /// There is no such profile in the tenant.
    ProfileUnknown,
    /// There is no such device.
    DeviceUnknown,
    /// A name without a character.
    NameEmpty,
    /// A name of more than [`super::NAME_CHARS_MAX`] characters.
    NameTooLong,
    /// Another record of the tenant has the name.
    NameTaken,
    /// Another device has the credential.
    CredentialTaken,
    /// Another profile has the provision key.
    ProvisionKeyTaken,
    /// The tenant may have no more devices.
    TooManyDevices,
    /// The tenant may have no more profiles.
    TooManyProfiles,
    /// There is no such customer in the tenant.
    CustomerUnknown,
    /// Devices still have the profile, or it is the tenant's default.
    ProfileInUse,
    /// Devices or profiles still have the package.
    PackageInUse,
    /// A pattern for names of certificates that cannot be read, or that has no group.
    PatternInvalid,
}

impl Clash {
    /// In words, for the answer to whoever tried.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::TenantUnknown => "Tenant is unknown!",
            Self::ProfileUnknown => "Device profile is unknown!",
            Self::DeviceUnknown => "Device is unknown!",
            Self::NameEmpty => "Name should be specified!",
            Self::NameTooLong => "Validation error: name length must be equal or less than 255",
            Self::NameTaken => "Device with such name already exists!",
            Self::CredentialTaken => "Device credentials are already assigned to another device!",
            Self::ProvisionKeyTaken => "Device profile with such provision device key already exists!",
            Self::TooManyDevices => "Devices limit reached",
            Self::TooManyProfiles => "Device profiles limit reached",
            Self::CustomerUnknown => "Customer is unknown!",
            Self::ProfileInUse => "The device profile referenced by the devices cannot be deleted!",
            Self::PatternInvalid => "Certificate regular expression is invalid!",
            Self::PackageInUse => "The otaPackage referenced by the devices cannot be deleted!",
        }
    }
}

impl Registry {
    /// How many devices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A device.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        let slot = self.by_id.find(self.hash_id(id), |slot| self.at(*slot).id == id)?;
        Some(self.at(*slot))
    }

    /// The device of a name.
    #[must_use]
    pub fn device_named(&self, tenant: TenantId, name: &str) -> Option<&Device> {
        let slot = self.by_name.find(self.hash_name(tenant, name), |slot| {
            let device = self.at(*slot);
            device.tenant == tenant && *device.name == *name
        })?;
        Some(self.at(*slot))
    }

    /// The device whose credential has an id.
    #[must_use]
    pub fn device_showing(&self, probe: Probe<'_>) -> Option<&Device> {
        let hash = self.hash_probe(&probe);
        let slot = self.by_credential.find(hash, |slot| self.at(*slot).credential.probe() == probe)?;
        Some(self.at(*slot))
    }

    /// All devices, in no particular order that lasts.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.slots.iter().flatten()
    }

    /// The devices in a part of the shelf, so many places from `from` on; none behind its end. Whoever looks at all devices
    /// in parts need not hold a lock for longer than one of them.
    #[must_use]
    pub fn devices_in(&self, from: usize, places: usize) -> Option<impl Iterator<Item = &Device>> {
        let part = self.slots.get(from..).filter(|rest| !rest.is_empty())?;
        Some(part.iter().take(places).flatten())
    }

    /// How many devices are a customer's.
    #[must_use]
    pub fn owned_by(&self, customer: CustomerId) -> u32 {
        self.owned.get(&customer).copied().unwrap_or_default()
    }

    /// A tenant.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Option<&Tenant> {
        self.tenants.get(&id)
    }

    /// All tenants, in order of ids.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.values()
    }

    /// A customer.
    #[must_use]
    pub fn customer(&self, id: CustomerId) -> Option<&Customer> {
        self.customers.get(&id)
    }

    /// All customers, in order of ids.
    pub fn customers(&self) -> impl Iterator<Item = &Customer> {
        self.customers.values()
    }

    /// Somebody who may log in.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id)
    }

    /// Somebody by the name with which they log in, in any case. Cost: one look at each user.
    #[must_use]
    pub fn user_named(&self, name: &str) -> Option<&User> {
        self.users.values().find(|user| user.name.eq_ignore_ascii_case(name))
    }

    /// All who may log in, in order of ids.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// All profiles, in order of ids.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }

    /// All packages, in order of ids.
    pub fn packages(&self) -> impl Iterator<Item = &Arc<Package>> {
        self.packages.values()
    }

    /// A profile.
    #[must_use]
    pub fn profile(&self, id: ProfileId) -> Option<&Profile> {
        self.profiles.get(&id)
    }

    /// The profile of a name.
    #[must_use]
    pub fn profile_named(&self, tenant: TenantId, name: &str) -> Option<&Profile> {
        self.profile(self.kinds.named(tenant, name)?)
    }

    /// The profile of devices without a type.
    #[must_use]
    pub fn default_profile(&self, tenant: TenantId) -> Option<&Profile> {
        self.profile(self.kinds.default_of(tenant)?)
    }

    /// The profile of a provision key.
    #[must_use]
    pub fn profile_of_key(&self, key: &str) -> Option<&Profile> {
        self.profile(self.kinds.of_key(key)?)
    }

    /// A package.
    #[must_use]
    pub fn package(&self, id: PackageId) -> Option<&Arc<Package>> {
        self.packages.get(&id)
    }

    /// The package that is assigned to a device: its own, or else its profile's.
    #[must_use]
    pub fn package_of(&self, id: DeviceId, kind: PackageKind) -> Option<&Arc<Package>> {
        let device = self.device(id)?;
        let of_profile = || self.profile(device.profile).and_then(|profile| profile.package(kind));
        let package = self.package(device.package(kind).or_else(of_profile)?)?;
        (package.kind == kind).then_some(package)
    }

    /// Answers a device that asks for a part of its package.
    #[must_use]
    pub fn chunk(&self, id: DeviceId, wanted: &ChunkWanted) -> Downlink {
        use crate::package::NoChunk;
        let cookie = wanted.cookie;
        let package = match wanted.package {
            Some(package) => self.package(package),
            None => self.package_of(id, wanted.kind),
        };
        let Some(package) = package else { return Downlink::NoChunk { cookie, why: NoChunk::NotAssigned } };
        match package.chunk(wanted.index, wanted.bytes_max) {
            Ok(chunk) => Downlink::Chunk { cookie, package: package.id, chunk },
            Err(why) => Downlink::NoChunk { cookie, why },
        }
    }

    /// Bytes that devices and their indices take, without what an allocator adds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let indices = [&self.by_id, &self.by_name, &self.by_credential];
        self.slots.capacity() * size_of::<Option<Device>>()
            + self.free.capacity() * size_of::<u32>()
            + indices.map(HashTable::allocation_size).iter().sum::<usize>()
            + self.heap_bytes
    }

    /// Makes room for so many more devices.
    pub fn reserve(&mut self, devices: usize) {
        self.slots.reserve(devices);
        let Self { hasher, slots, by_id, by_name, by_credential, .. } = self;
        let at = |slot: &u32| slots[widen(*slot)].as_ref().expect("an index names filled slots");
        by_id.reserve(devices, |slot| hasher.hash_one(at(slot).id));
        by_name.reserve(devices, |slot| hash_name(hasher, at(slot)));
        by_credential.reserve(devices, |slot| hasher.hash_one(at(slot).credential.probe()));
    }

    /// Repeats a change that was written down, at the start or in another copy of the registry. Changes that are no
    /// business of the registry change nothing.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Tenant(tenant) => {
                self.tenants.insert(tenant.id, (**tenant).clone());
            }
            Change::Customer(customer) => {
                self.customers.insert(customer.id, (**customer).clone());
            }
            Change::CustomerGone(id) => {
                self.customers.remove(id);
            }
            Change::User(user) => {
                self.users.insert(user.id, (**user).clone());
            }
            Change::UserGone(id) => {
                self.users.remove(id);
            }
            Change::Profile(profile) => {
                if let Some(old) = self.profiles.insert(profile.id, (**profile).clone()) {
                    self.kinds.remove(&old);
                }
                self.kinds.insert(profile);
            }
            Change::ProfileGone(id) => {
                if let Some(old) = self.profiles.remove(id) {
                    self.kinds.remove(&old);
                }
            }
            Change::Device(device) => {
                self.remove(device.id);
                self.insert((**device).clone());
            }
            Change::DeviceGone(id) => {
                self.remove(*id);
            }
            Change::Package(package) => {
                self.packages.insert(package.id, Arc::clone(package));
            }
            Change::PackageGone(id) => {
                self.packages.remove(id);
            }
            Change::Attribute { .. }
            | Change::Telemetry { .. }
            | Change::Late { .. }
            | Change::HistoryGone { .. }
            | Change::LatestGone { .. }
            | Change::Command { .. }
            | Change::CommandGone { .. }
            | Change::Claim { .. }
            | Change::Presence { .. } => {}
        }
    }

    /// Puts a device into a slot and all indices. Its id, name and credential must be free.
    pub(super) fn insert(&mut self, device: Device) {
        *self.devices_of.entry(device.tenant).or_default() += 1;
        *self.devices_like.entry(device.profile).or_default() += 1;
        if let Some(customer) = device.customer {
            *self.owned.entry(customer).or_default() += 1;
        }
        self.heap_bytes += device.heap_bytes();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            narrow(self.slots.len() - 1)
        });
        self.slots[widen(slot)] = Some(device);
        let Self { hasher, slots, by_id, by_name, by_credential, .. } = self;
        let at = |slot: &u32| slots[widen(*slot)].as_ref().expect("an index names filled slots");
        let hash_id = |slot: &u32| hasher.hash_one(at(slot).id);
        let hash_its_name = |slot: &u32| hash_name(hasher, at(slot));
        let hash_credential = |slot: &u32| hasher.hash_one(at(slot).credential.probe());
        by_id.insert_unique(hash_id(&slot), slot, hash_id);
        by_name.insert_unique(hash_its_name(&slot), slot, hash_its_name);
        by_credential.insert_unique(hash_credential(&slot), slot, hash_credential);
    }

    /// Takes a device out of its slot and all indices.
    pub(super) fn remove(&mut self, id: DeviceId) -> Option<Device> {
        let slot = *self.by_id.find(self.hash_id(id), |slot| self.at(*slot).id == id)?;
        let device = self.slots[widen(slot)].take().expect("an index names filled slots");
        let hashes = [
            self.hash_id(id),
            self.hash_name(device.tenant, &device.name),
            self.hash_probe(&device.credential.probe()),
        ];
        let indices = [&mut self.by_id, &mut self.by_name, &mut self.by_credential];
        for (index, hash) in indices.into_iter().zip(hashes) {
            let entry = index.find_entry(hash, |known| *known == slot);
            entry.expect("every device stands in all indices").remove();
        }
        self.free.push(slot);
        self.heap_bytes -= device.heap_bytes();
        one_less(&mut self.devices_of, &device.tenant);
        one_less(&mut self.devices_like, &device.profile);
        if let Some(customer) = &device.customer {
            one_less(&mut self.owned, customer);
        }
        Some(device)
    }

    fn at(&self, slot: u32) -> &Device {
        self.slots[widen(slot)].as_ref().expect("an index names filled slots")
    }

    fn hash_id(&self, id: DeviceId) -> u64 {
        self.hasher.hash_one(id)
    }

    fn hash_name(&self, tenant: TenantId, name: &str) -> u64 {
        self.hasher.hash_one((tenant, name))
    }

    fn hash_probe(&self, probe: &Probe<'_>) -> u64 {
        self.hasher.hash_one(probe)
    }
}

/// Counts one down; what has none left is not counted at all.
fn one_less<K: Ord>(counts: &mut BTreeMap<K, u32>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

fn hash_name(hasher: &RandomState, device: &Device) -> u64 {
    hasher.hash_one((device.tenant, &*device.name))
}
