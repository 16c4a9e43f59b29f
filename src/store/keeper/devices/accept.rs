//! Changes of devices become records.
//!
//! Invariants:
//! - What a core says of a device that has gone meanwhile is dropped.
//! - The bytes of a package are written once.

use device::{Change, CommandId, Content, DeviceId, Package, PackageId};

use crate::devices::{
    DeviceKey, PIECE_BYTES, encode_change, encode_index, encode_package, encode_piece, key_of_change, kind,
    range_of_id,
};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::keeper::handovers::Handovers;

use super::shelf::Shelf;
use super::telemetry::Kept;

impl Shelf {
    /// Takes over what is to be written.
    pub fn accept<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        change: Change,
    ) -> Result<(), Fault> {
        if !change.is_of_registry() && change.device().is_some_and(|device| self.late.contains(device)) {
            return Ok(());
        }
        match change {
            Change::CustomerGone(id) => self.remove(handovers, DeviceKey::Customer(id)),
            Change::UserGone(id) => self.remove(handovers, DeviceKey::User(id)),
            Change::ProfileGone(id) => {
                self.retention.remove(&id);
                self.remove(handovers, DeviceKey::Profile(id));
            }
            Change::DeviceGone(id) => self.accept_gone(engine, handovers, id)?,
            Change::Package(package) => self.accept_package(engine, handovers, &package)?,
            Change::PackageGone(id) => {
                self.remove_pieces(engine, handovers, id)?;
                self.remove(handovers, DeviceKey::Package(id));
            }
            Change::Attribute { device, scope, ref key, value: None, .. } => {
                self.remove(handovers, DeviceKey::Attribute(device, scope, key));
            }
            Change::Claim { device, claim: None } => self.remove(handovers, DeviceKey::Claim(device)),
            Change::Telemetry { device, ref samples, keeping } => {
                self.accept_telemetry(handovers, device, samples, keeping);
            }
            Change::Late { device, ref samples } => {
                self.put_samples(handovers, device, samples, Kept::Points);
            }
            Change::HistoryGone { device, ref key, from_ms, to_ms } => {
                self.accept_swath(engine, handovers, (device, key), (from_ms, to_ms))?;
            }
            Change::LatestGone { device, ref key } => {
                self.accept_latest_gone(engine, handovers, device, key)?;
            }
            Change::CommandGone { device, command } => {
                self.remove(handovers, DeviceKey::Command(device, command));
                self.remove(handovers, DeviceKey::Index(command));
            }
            record @ (Change::Tenant(_)
            | Change::Customer(_)
            | Change::User(_)
            | Change::Profile(_)
            | Change::Device(_)
            | Change::Attribute { .. }
            | Change::Command { .. }
            | Change::Claim { .. }
            | Change::Presence { .. }) => self.accept_record(engine, handovers, &record)?,
        }
        Ok(())
    }

    /// A change that is a record by itself.
    fn accept_record<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        change: &Change,
    ) -> Result<(), Fault> {
        match change {
            Change::Device(device) if self.late.contains(device.id) => {
                self.revive(engine, handovers, device.id)?;
            }
            Change::Profile(profile) => self.note_retention(profile),
            Change::Command { device, command } => {
                self.put_index(handovers, *device, command.order.id);
                if command.has_ended() {
                    self.ended.count(*device);
                }
            }
            _nothing_beside_it => {}
        }
        key_of_change(change).encode(&mut self.key);
        self.value.clear();
        encode_change(change, &mut self.value);
        self.slots.put(handovers, &self.key, &self.value);
        Ok(())
    }

    /// How long the history of devices of a profile is kept.
    pub fn note_retention(&mut self, profile: &device::Profile) {
        match profile.retention_ms {
            Some(retention_ms) => drop(self.retention.insert(profile.id, retention_ms)),
            None => drop(self.retention.remove(&profile.id)),
        }
    }

    /// The bytes of a package are on disk.
    pub fn note_uploaded(&mut self, package: &Package) {
        if let Content::Here { checksum, .. } = &package.content {
            self.uploaded.insert(package.id, checksum.clone());
        }
    }

    fn put_index(&mut self, handovers: &mut Handovers, device: DeviceId, command: CommandId) {
        DeviceKey::Index(command).encode(&mut self.key);
        self.value.clear();
        encode_index(device, &mut self.value);
        self.slots.put(handovers, &self.key, &self.value);
    }

    pub(super) fn remove(&mut self, handovers: &mut Handovers, key: DeviceKey<'_>) {
        key.encode(&mut self.key);
        self.slots.remove(handovers, &self.key);
    }

    fn accept_package<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        package: &Package,
    ) -> Result<(), Fault> {
        let (bytes, checksum): (&[u8], _) = match &package.content {
            Content::Here { bytes, checksum, .. } => (bytes, Some(checksum)),
            Content::Missing | Content::At { .. } => (&[], None),
        };
        if self.uploaded.get(&package.id) != checksum {
            self.remove_pieces(engine, handovers, package.id)?;
            for (index, piece) in (0u32..).zip(bytes.chunks(PIECE_BYTES)) {
                DeviceKey::Piece(package.id, index).encode(&mut self.key);
                self.value.clear();
                encode_piece(piece, &mut self.value);
                self.slots.put(handovers, &self.key, &self.value);
            }
            self.note_uploaded(package);
        }
        DeviceKey::Package(package.id).encode(&mut self.key);
        self.value.clear();
        encode_package(package, stdx::count(bytes.len()), &mut self.value);
        self.slots.put(handovers, &self.key, &self.value);
        Ok(())
    }

    fn remove_pieces<E: Engine>(
        &mut self,
        engine: &E,
        handovers: &mut Handovers,
        package: PackageId,
    ) -> Result<(), Fault> {
        if self.uploaded.remove(&package).is_none() {
            return Ok(());
        }
        let range = range_of_id(kind::PIECE, package.bytes());
        self.remove_all(engine, handovers, range)
    }
}
