//! Recovery of devices: first the registry whole, then what is known of each device.
//!
//! Why points of history are not read: there may be thousands of millions of them, and nobody keeps them in memory.
//!
//! Invariants:
//! - The registry is complete before anything of a device comes.
//! - What belongs to a device that is not in the registry is not told, and removed by and by.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use ahash::RandomState;
use device::{Change, Content, DeviceId, Keeping, Package, PackageId, Sample};

use crate::devices::{DeviceRecord, LatestOf, RowKind, judge_device, kind, range_of_id};
use crate::engine::Engine;
use crate::fault::{Fault, FaultKind};
use crate::keeper::keep::Keeper;
use crate::keeper::recover::{Recovery, named};

use super::telemetry::Numbers;

/// What is found on the way.
struct Finding<'a> {
    known: HashSet<DeviceId, RandomState>,
    /// Devices of which something was found and that are not there.
    orphans: BTreeSet<DeviceId>,
    packages: Vec<(Package, u64)>,
    /// Latest values of one device.
    latest: LatestOf,
    visit: &'a mut dyn FnMut(Change),
}

/// Kinds in the order in which they are told; packages with their bytes come between profiles and devices.
const OF_REGISTRY: [u8; 7] =
    [kind::NUMBERS, kind::TENANT, kind::CUSTOMER, kind::USER, kind::PROFILE, kind::PACKAGE, kind::DEVICE];
const OF_DEVICES: [u8; 7] =
    [kind::GONE, kind::SWATH, kind::ATTRIBUTE, kind::LATEST, kind::COMMAND, kind::CLAIM, kind::PRESENCE];

impl<E: Engine> Keeper<E> {
    /// Reads all records of devices but those of history and calls `visit` with changes that bring back what they say.
    pub(in crate::keeper) fn recover_devices(
        &mut self,
        recovery: &mut Recovery<'_>,
        visit: &mut dyn FnMut(Change),
    ) -> Result<(), Fault> {
        let mut finding = Finding {
            known: HashSet::default(),
            orphans: BTreeSet::new(),
            packages: Vec::new(),
            latest: LatestOf::default(),
            visit,
        };
        for kind in OF_REGISTRY {
            self.recover_kind(kind, recovery, &mut finding)?;
            for (package, len) in std::mem::take(&mut finding.packages) {
                let package = self.with_bytes(package, len, recovery)?;
                self.shelf.note_uploaded(&package);
                (finding.visit)(Change::Package(Arc::new(package)));
            }
        }
        for kind in OF_DEVICES {
            self.recover_kind(kind, recovery, &mut finding)?;
            finding.give_latest();
        }
        finding.orphans.into_iter().for_each(|device| self.shelf.note_gone(device));
        Ok(())
    }

    fn recover_kind(
        &mut self,
        kind: u8,
        recovery: &mut Recovery<'_>,
        finding: &mut Finding<'_>,
    ) -> Result<(), Fault> {
        let (engine, shelf) = (&self.engine, &mut self.shelf);
        let range = crate::record::range_of(kind);
        engine.scan(&range.start..&range.end, &mut |key, value| {
            recovery.count();
            match judge_device(key, value).map_err(|garbled| named(key, garbled.into()))? {
                DeviceRecord::Change(change) => {
                    match &change {
                        Change::Profile(profile) => shelf.note_retention(profile),
                        Change::Command { device, command } if command.has_ended() => {
                            shelf.ended.count(*device);
                        }
                        _nothing_beside_it => {}
                    }
                    finding.take(change, recovery);
                }
                DeviceRecord::Package(package, len) => finding.packages.push((package, len)),
                DeviceRecord::Latest(device, number, sample) => {
                    if finding.knows(device) {
                        recovery.found.facts += 1;
                        finding.take_latest(device, number, sample);
                    }
                }
                DeviceRecord::Row(device, RowKind::Latest, row) => {
                    if finding.knows(device) {
                        recovery.found.facts += 1;
                        let number = row.number;
                        row.samples().for_each(|sample| finding.take_latest(device, number, sample));
                    }
                }
                DeviceRecord::Numbers(end) => shelf.numbers = Numbers::recovered(end),
                DeviceRecord::Gone(device) => shelf.note_gone(device),
                DeviceRecord::Swath(series, span) => {
                    if finding.knows(series.device()) {
                        shelf.swaths.entry(series).or_default().push(span);
                    }
                }
                DeviceRecord::Piece(..)
                | DeviceRecord::Point(..)
                | DeviceRecord::Row(..)
                | DeviceRecord::Index(..) => {}
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// A package with its bytes, if they are here.
    fn with_bytes(
        &self,
        mut package: Package,
        len: u64,
        recovery: &mut Recovery<'_>,
    ) -> Result<Package, Fault> {
        let id = package.id;
        if let Content::Here { bytes, .. } = &mut package.content {
            *bytes = self.pieces(id, recovery)?.into();
            if stdx::count(bytes.len()) != len {
                let what = format!("package {id} has {} of {len} bytes", bytes.len());
                return Err(Fault::new(FaultKind::Damaged, what));
            }
        }
        Ok(package)
    }

    fn pieces(&self, id: PackageId, recovery: &mut Recovery<'_>) -> Result<Vec<u8>, Fault> {
        let mut whole = Vec::new();
        let range = range_of_id(kind::PIECE, id.bytes());
        self.engine.scan(&range.start..&range.end, &mut |key, value| {
            recovery.count();
            match judge_device(key, value).map_err(|garbled| named(key, garbled.into()))? {
                DeviceRecord::Piece(_, _, bytes) => whole.extend_from_slice(bytes),
                _other_kinds_have_other_keys => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(whole)
    }
}

impl Finding<'_> {
    /// Whether a device is there; notes it if it is not.
    fn knows(&mut self, device: DeviceId) -> bool {
        let is_known = self.known.contains(&device);
        if !is_known {
            self.orphans.insert(device);
        }
        is_known
    }

    fn take(&mut self, change: Change, recovery: &mut Recovery<'_>) {
        if let Change::Device(device) = &change {
            self.known.insert(device.id);
            recovery.found.devices += 1;
        } else if let Some(device) = change.device() {
            if !self.knows(device) {
                return;
            }
            recovery.found.facts += 1;
        }
        (self.visit)(change);
    }

    fn take_latest(&mut self, device: DeviceId, number: u64, sample: Sample<'_>) {
        if let Some((device, samples)) = self.latest.add(device, number, sample) {
            (self.visit)(Change::Telemetry { device, samples, keeping: Keeping::Latest });
        }
    }

    fn give_latest(&mut self) {
        if let Some((device, samples)) = self.latest.take() {
            (self.visit)(Change::Telemetry { device, samples, keeping: Keeping::Latest });
        }
    }
}
