//! What the tools say of records of devices.
//!
//! Why no secrets in an export: it is made to be looked at and passed on; what brings a device back is a backup.
//!
//! Invariants:
//! - What belongs to a device that is not there is counted as left over and not shown.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use device::{
    Change, Command, CommandId, Content, Credential, Device, DeviceId, Package, PackageId, Profile, Sample,
};
use serde_json::{Value, json};

use crate::codec::Garbled;
use crate::devices::{DeviceRecord, LatestOf, RowKind, device_of, judge_device, kind};
use crate::fault::Fault;

use super::task::ExportKind;

/// Who is there.
#[derive(Debug, Default)]
pub(super) struct Present {
    devices: HashSet<DeviceId, RandomState>,
}

impl Present {
    /// Notes a device; returns whether the record is of one that is there, or of none.
    fn admits(&mut self, key: &[u8], record: &DeviceRecord<'_>) -> bool {
        if let DeviceRecord::Change(Change::Device(device)) = record {
            self.devices.insert(device.id);
        }
        let of = match record {
            DeviceRecord::Index(_, device) => Some(*device),
            DeviceRecord::Gone(_) => None,
            _its_key_says => device_of(key),
        };
        of.is_none_or(|device| self.devices.contains(&device))
    }
}

/// Looks whether records of devices fit together.
#[derive(Debug, Default)]
pub(super) struct DeviceCheck {
    present: Present,
    commands: HashSet<CommandId, RandomState>,
    /// Bytes of packages that were not seen yet.
    missing: HashMap<PackageId, i128, RandomState>,
    pub left_over: u64,
}

impl DeviceCheck {
    /// # Errors
    /// What is wrong with the record.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Garbled> {
        let record = judge_device(key, value)?;
        if !self.present.admits(key, &record) {
            self.left_over += 1;
            return Ok(());
        }
        match record {
            DeviceRecord::Change(Change::Command { command, .. }) => {
                self.commands.insert(command.order.id);
            }
            DeviceRecord::Index(command, _) if !self.commands.contains(&command) => {
                return Err(Garbled("a command is missing"));
            }
            DeviceRecord::Package(package, len) => {
                self.missing.insert(package.id, len.into());
            }
            DeviceRecord::Piece(id, _, bytes) => {
                let missing = self.missing.get_mut(&id).ok_or(Garbled("a piece of no package"))?;
                *missing -= i128::from(stdx::count(bytes.len()));
            }
            _refers_to_nothing => {}
        }
        Ok(())
    }

    /// What is wrong with all of it.
    pub fn finish(&self) -> Option<String> {
        let torn = self.missing.values().filter(|missing| **missing != 0).count();
        (torn > 0).then(|| format!("{torn} packages have not as many bytes as they should"))
    }
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct DeviceStats {
    present: Present,
    tenants: u64,
    customers: u64,
    users: u64,
    profiles: u64,
    packages: u64,
    package_bytes: u64,
    attributes: u64,
    latest: u64,
    commands: u64,
    /// Those of the device that is being counted.
    newest: LatestOf,
    points: u64,
    point_bytes: u64,
    pub left_over: u64,
}

impl DeviceStats {
    /// # Errors
    /// It is no record.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Garbled> {
        let record = judge_device(key, value)?;
        if !self.present.admits(key, &record) {
            self.left_over += 1;
            return Ok(());
        }
        let counted = match record {
            DeviceRecord::Change(Change::Tenant(_)) => &mut self.tenants,
            DeviceRecord::Change(Change::Customer(_)) => &mut self.customers,
            DeviceRecord::Change(Change::User(_)) => &mut self.users,
            DeviceRecord::Change(Change::Profile(_)) => &mut self.profiles,
            DeviceRecord::Change(Change::Attribute { .. }) => &mut self.attributes,
            DeviceRecord::Change(Change::Command { .. }) => &mut self.commands,
            DeviceRecord::Latest(device, number, sample) => {
                self.take_latest(device, number, std::iter::once(sample));
                return Ok(());
            }
            DeviceRecord::Row(device, RowKind::Latest, row) => {
                self.take_latest(device, row.number, row.samples());
                return Ok(());
            }
            DeviceRecord::Row(_, RowKind::Points, row) => {
                self.point_bytes += stdx::count(key.len() + value.len());
                self.points += stdx::count(row.samples().count());
                return Ok(());
            }
            DeviceRecord::Package(_, len) => {
                self.package_bytes += len;
                &mut self.packages
            }
            DeviceRecord::Point(..) => {
                self.point_bytes += stdx::count(key.len() + value.len());
                &mut self.points
            }
            DeviceRecord::Change(_)
            | DeviceRecord::Piece(..)
            | DeviceRecord::Index(..)
            | DeviceRecord::Gone(_)
            | DeviceRecord::Numbers(_)
            | DeviceRecord::Swath(..) => return Ok(()),
        };
        *counted += 1;
        Ok(())
    }

    /// A key that stands alone and in rows is one latest value.
    fn take_latest<'s>(&mut self, device: DeviceId, number: u64, samples: impl Iterator<Item = Sample<'s>>) {
        for sample in samples {
            let before = self.newest.add(device, number, sample);
            self.latest += before.map_or(0, |(_, samples)| stdx::count(samples.len()));
        }
    }

    /// Everything was counted.
    pub fn finish(&mut self) {
        self.latest += self.newest.take().map_or(0, |(_, samples)| stdx::count(samples.len()));
    }

    /// Name, label and count of each.
    pub fn rows(&self) -> [(&'static str, &'static str, u64); 12] {
        [
            ("tenants", "tenants", self.tenants),
            ("customers", "customers", self.customers),
            ("users", "users", self.users),
            ("profiles", "device profiles", self.profiles),
            ("packages", "packages", self.packages),
            ("package_bytes", "  bytes", self.package_bytes),
            ("devices", "devices", stdx::count(self.present.devices.len())),
            ("attributes", "attributes", self.attributes),
            ("latest", "latest values", self.latest),
            ("commands", "commands", self.commands),
            ("points", "points of history", self.points),
            ("point_bytes", "  bytes", self.point_bytes),
        ]
    }
}

/// Called with each line of an export.
pub(super) type Line<'l> = dyn FnMut(ExportKind, &Value) -> Result<(), Fault> + 'l;

/// Makes lines of records; of what only serves the store, or is not there any more, none.
#[derive(Debug, Default)]
pub(super) struct Lines {
    present: Present,
    latest: LatestOf,
}

impl Lines {
    pub fn record(&mut self, key: &[u8], value: &[u8], line: &mut Line<'_>) -> Result<(), Fault> {
        let record = judge_device(key, value)?;
        if key[0] != kind::LATEST {
            self.finish(line)?;
        }
        if !self.present.admits(key, &record) {
            return Ok(());
        }
        match record {
            DeviceRecord::Change(change) => match line_of_change(&change) {
                Some((kind, text)) => line(kind, &text),
                None => Ok(()),
            },
            DeviceRecord::Package(package, len) => line(ExportKind::Package, &line_of_package(&package, len)),
            DeviceRecord::Latest(device, number, sample) => self.take(device, number, sample, line),
            DeviceRecord::Point(device, number, sample) => {
                line(ExportKind::Point, &line_of_sample("point", device, number, &sample))
            }
            DeviceRecord::Row(device, kind, row) => {
                let number = row.number;
                row.samples().try_for_each(|sample| match kind {
                    RowKind::Points => {
                        line(ExportKind::Point, &line_of_sample("point", device, number, &sample))
                    }
                    RowKind::Latest => self.take(device, number, sample, line),
                })
            }
            DeviceRecord::Piece(..)
            | DeviceRecord::Index(..)
            | DeviceRecord::Gone(_)
            | DeviceRecord::Numbers(_)
            | DeviceRecord::Swath(..) => Ok(()),
        }
    }

    fn take(
        &mut self,
        device: DeviceId,
        number: u64,
        sample: Sample<'_>,
        line: &mut Line<'_>,
    ) -> Result<(), Fault> {
        tell_latest(self.latest.add(device, number, sample), line)
    }

    /// All records of one kind have been seen.
    pub fn finish(&mut self, line: &mut Line<'_>) -> Result<(), Fault> {
        tell_latest(self.latest.take(), line)
    }
}

fn tell_latest(found: Option<(DeviceId, Vec<Sample<'_>>)>, line: &mut Line<'_>) -> Result<(), Fault> {
    let Some((device, samples)) = found else { return Ok(()) };
    let mut tell = |sample| line(ExportKind::Latest, &line_of_sample("latest", device, 0, sample));
    samples.iter().try_for_each(&mut tell)
}

/// `number` tells points of one key and time apart that were written at different times; the highest counts.
fn line_of_sample(kind: &str, device: DeviceId, number: u64, sample: &Sample<'_>) -> Value {
    let value = read(&sample.value);
    let mut line = json!({ "kind": kind, "device": text(device), "key": sample.key, "value": value,
        "at_ms": sample.at_ms });
    if number > 0 {
        line["number"] = number.into();
    }
    line
}

fn line_of_change(change: &Change) -> Option<(ExportKind, Value)> {
    Some(match change {
        Change::Tenant(tenant) => {
            let line = json!({ "kind": "tenant", "id": text(tenant.id), "name": tenant.name,
                "devices_max": tenant.devices_max });
            (ExportKind::Tenant, line)
        }
        Change::Customer(customer) => {
            let line = json!({ "kind": "customer", "id": text(customer.id), "tenant": text(customer.tenant),
                "title": customer.title, "created_ms": customer.created_ms });
            (ExportKind::Customer, line)
        }
        Change::User(user) => {
            let authority = format!("{:?}", user.authority);
            let line = json!({ "kind": "user", "id": text(user.id), "name": user.name, "authority": authority,
                "tenant": user.tenant.map(text), "customer": user.customer.map(text) });
            (ExportKind::User, line)
        }
        Change::Profile(profile) => (ExportKind::Profile, line_of_profile(profile)),
        Change::Device(device) => (ExportKind::Device, line_of_device(device)),
        Change::Attribute { device, scope, key, value, at_ms } => {
            let line = json!({ "kind": "attribute", "device": text(device), "scope": format!("{scope:?}"),
                "key": key, "value": value.as_ref().map(read), "at_ms": at_ms });
            (ExportKind::Attribute, line)
        }
        Change::Command { device, command } => (ExportKind::Command, line_of_command(*device, command)),
        Change::Claim { device, claim: Some(claim) } => {
            let line = json!({ "kind": "claim", "device": text(device), "expires_ms": claim.expires_ms });
            (ExportKind::Claim, line)
        }
        Change::Presence { device, presence } => {
            let line = json!({ "kind": "presence", "device": text(device), "is_active": presence.is_active,
                "connected_ms": presence.connected_ms, "disconnected_ms": presence.disconnected_ms,
                "heard_ms": presence.heard_ms, "alarmed_ms": presence.alarmed_ms });
            (ExportKind::Presence, line)
        }
        _no_record_by_itself => return None,
    })
}

fn line_of_profile(profile: &Profile) -> Value {
    json!({
        "kind": "profile", "id": text(profile.id), "tenant": text(profile.tenant), "name": profile.name,
        "is_default": profile.is_default, "transport": format!("{:?}", profile.transport),
        "keeping": format!("{:?}", profile.keeping), "retention_ms": profile.retention_ms,
        "settings": &*profile.settings, "firmware": profile.firmware.map(text),
        "software": profile.software.map(text),
    })
}

fn line_of_device(device: &Device) -> Value {
    let credential = match device.credential {
        Credential::Token(_) => "token",
        Credential::Basic(_) => "basic",
        Credential::Certificate(_) => "certificate",
    };
    let mut line = json!({
        "kind": "device", "id": text(device.id), "tenant": text(device.tenant), "profile": text(device.profile),
        "customer": device.customer.map(text), "name": device.name, "role": format!("{:?}", device.role),
        "created_ms": device.created_ms, "credential": credential,
    });
    if let Some(rare) = &device.rare {
        line["label"] = rare.label.as_deref().into();
        line["additional"] = rare.additional.as_deref().into();
        line["firmware"] = rare.firmware.map(text).into();
        line["software"] = rare.software.map(text).into();
        line["gateway"] = rare.gateway.map(text).into();
        line["is_provisioned"] = rare.is_provisioned.into();
    }
    line
}

fn line_of_package(package: &Package, len: u64) -> Value {
    let mut line = json!({
        "kind": "package", "id": text(package.id), "tenant": text(package.tenant),
        "profile": text(package.profile), "for": package.kind.prefix(), "title": package.title,
        "version": package.version, "tag": package.tag,
    });
    match &package.content {
        Content::Missing => {}
        Content::Here { algorithm, checksum, .. } => {
            line["bytes"] = len.into();
            line["algorithm"] = algorithm.name().into();
            line["checksum"] = (**checksum).into();
        }
        Content::At { url, .. } => line["url"] = (**url).into(),
    }
    line
}

fn line_of_command(device: DeviceId, command: &Command) -> Value {
    json!({
        "kind": "command", "id": text(command.order.id), "device": text(device), "method": command.order.method,
        "params": command.order.params, "state": command.state.name(), "created_ms": command.created_ms,
        "expires_ms": command.order.expires_ms, "response": command.response,
    })
}

fn text(id: impl std::fmt::Display) -> String {
    id.to_string()
}

/// A value as JSON; an object or array is kept as text that parses.
fn read(value: &device::Value<'_>) -> Value {
    let json = value.to_json();
    serde_json::from_str(&json).unwrap_or(Value::String(json))
}
