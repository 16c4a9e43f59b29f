//! What a record of devices says, whatever its kind: for recovery and the tools.
//!
//! Invariants:
//! - Written anew, a record that was read is the same bytes.

use device::{
    Change, Command, CommandId, CustomerId, DeviceId, Package, PackageId, ProfileId, Sample, TenantId,
    UserId, Value,
};

use crate::codec::Garbled;

use super::facts::{
    decode_claim, decode_command, decode_fact, decode_index, decode_numbers, decode_point, decode_presence,
    decode_swath, encode_claim, encode_command, encode_fact, encode_index, encode_numbers, encode_point,
    encode_presence, encode_swath,
};
use super::key::{
    DeviceKey, Series, StoredName, behind_id, id_of, is_latest_row, kind, row_of, scope_of, time_of,
};
use super::registry::{
    decode_customer, decode_device, decode_package, decode_piece, decode_profile, decode_tenant, decode_user,
    encode_customer, encode_device, encode_package, encode_piece, encode_profile, encode_tenant, encode_user,
};
use super::row::{Row, RowKind, decode_points, read_in_row};

/// One record.
#[derive(Debug)]
pub(crate) enum DeviceRecord<'a> {
    /// One that is a change by itself: of the registry, an attribute, a command, a claim, a presence.
    Change(Change),
    /// A package without its bytes, and how many these are.
    Package(Package, u64),
    Piece(PackageId, u32, &'a [u8]),
    /// With the number of its write; so are those below.
    Latest(DeviceId, u64, Sample<'a>),
    Point(DeviceId, u64, Sample<'a>),
    Row(DeviceId, RowKind, Row<'a>),
    /// Numbers of writes may go up to here.
    Numbers(u64),
    Index(CommandId, DeviceId),
    Gone(DeviceId),
    /// Points of a series are gone from a time on, before another.
    Swath(Series, (i64, i64)),
}

impl<'a> DeviceRecord<'a> {
    /// Reads a value and what its key says.
    pub fn decode(key: &'a [u8], value: &'a [u8]) -> Result<Self, Garbled> {
        let id = id_of(key)?;
        let device = DeviceId::from_bytes(id);
        let of_one = key.len() == 17;
        let change = match key[0] {
            kind::TENANT if of_one => {
                Change::Tenant(Box::new(decode_tenant(TenantId::from_bytes(id), value)?))
            }
            kind::CUSTOMER if of_one => {
                Change::Customer(Box::new(decode_customer(CustomerId::from_bytes(id), value)?))
            }
            kind::USER if of_one => Change::User(Box::new(decode_user(UserId::from_bytes(id), value)?)),
            kind::PROFILE if of_one => {
                Change::Profile(Box::new(decode_profile(ProfileId::from_bytes(id), value)?))
            }
            kind::DEVICE if of_one => Change::Device(Box::new(decode_device(device, value)?)),
            kind::CLAIM if of_one => Change::Claim { device, claim: Some(decode_claim(value)?) },
            kind::PRESENCE if of_one => Change::Presence { device, presence: decode_presence(value)? },
            kind::COMMAND => {
                let command: [u8; 16] =
                    behind_id(key).try_into().map_err(|_| Garbled("a key names no command"))?;
                let command = Box::new(decode_command(CommandId::from_bytes(command), value)?);
                Change::Command { device, command }
            }
            kind::ATTRIBUTE => {
                let (scope, name) =
                    behind_id(key).split_first().ok_or(Garbled("an attribute has no scope"))?;
                let (number, Sample { key, value, at_ms }) = decode_fact(StoredName(name), value)?;
                if number > 0 {
                    return Err(Garbled("an attribute has a number"));
                }
                let value = Some(value.into_owned());
                Change::Attribute { device, scope: scope_of(*scope)?, key: (*key).into(), value, at_ms }
            }
            other => return Self::decode_other(other, id, key, value),
        };
        Ok(Self::Change(change))
    }

    fn decode_other(kind: u8, id: [u8; 16], key: &'a [u8], value: &'a [u8]) -> Result<Self, Garbled> {
        let device = DeviceId::from_bytes(id);
        let rest = behind_id(key);
        Ok(match kind {
            kind::PACKAGE if rest.is_empty() => {
                let (package, len) = decode_package(PackageId::from_bytes(id), value)?;
                Self::Package(package, len)
            }
            kind::PIECE => {
                let index = rest.try_into().map_err(|_| Garbled("a piece of a package has no number"))?;
                Self::Piece(PackageId::from_bytes(id), u32::from_be_bytes(index), decode_piece(value)?)
            }
            kind::LATEST if is_latest_row(key) => {
                Self::Row(device, RowKind::Latest, Row::decode(RowKind::Latest, 0, value)?)
            }
            kind::LATEST => {
                let (number, sample) = decode_fact(StoredName(rest), value)?;
                Self::Latest(device, number, sample)
            }
            kind::NUMBERS if rest.is_empty() => Self::Numbers(decode_numbers(value)?),
            kind::INDEX if rest.is_empty() => Self::Index(CommandId::from_bytes(id), decode_index(value)?),
            kind::GONE if rest.is_empty() => {
                decode_swath(value)?;
                Self::Gone(device)
            }
            kind::POINT => match decode_points(key, value)? {
                Some(row) => Self::Row(device, RowKind::Points, row),
                None => {
                    let (name, time) = split_series(rest)?;
                    let at_ms = time_of(time)?;
                    let (number, name, value) = decode_point(name, value)?;
                    Self::Point(device, number, Sample { key: name.into(), value, at_ms })
                }
            },
            kind::SWATH => {
                decode_swath(value)?;
                let (series, times) = Series::split(key)?;
                let (from, to) = times.split_at_checked(8).ok_or(Garbled("a key has no time"))?;
                Self::Swath(series, (time_of(from)?, time_of(to)?))
            }
            _unknown => return Err(Garbled("a key of no known kind")),
        })
    }
}

/// The name of a series behind the id of its device, and what follows it.
fn split_series(rest: &[u8]) -> Result<(StoredName<'_>, &[u8]), Garbled> {
    let short = || Garbled("a key has no name");
    let (len, rest) = rest.split_at_checked(2).ok_or_else(short)?;
    let len = u16::from_be_bytes(len.try_into().expect("two bytes"));
    let (name, rest) = rest.split_at_checked(usize::from(len)).ok_or_else(short)?;
    Ok((StoredName(name), rest))
}

/// Reads any key and value as a record, as recovery would, and sees that the key is the one that belongs to it.
pub(crate) fn judge_device<'a>(key: &'a [u8], value: &'a [u8]) -> Result<DeviceRecord<'a>, Garbled> {
    let record = DeviceRecord::decode(key, value)?;
    if key_of(&record) == key { Ok(record) } else { Err(Garbled("a record stands under another key")) }
}

/// Reads a record and writes its value anew.
pub(crate) fn rewrite_device(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    encode(&judge_device(key, value).ok()?, &mut out);
    Some(out)
}

fn key_of(record: &DeviceRecord<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    match record {
        DeviceRecord::Change(change) => key_of_change(change).encode(&mut key),
        DeviceRecord::Package(package, _) => DeviceKey::Package(package.id).encode(&mut key),
        DeviceRecord::Piece(id, index, _) => DeviceKey::Piece(*id, *index).encode(&mut key),
        DeviceRecord::Latest(device, _, sample) => DeviceKey::Latest(*device, &sample.key).encode(&mut key),
        DeviceRecord::Row(device, kind, row) => row.key(*kind, *device).encode(&mut key),
        DeviceRecord::Numbers(_) => DeviceKey::Numbers.encode(&mut key),
        DeviceRecord::Index(command, _) => DeviceKey::Index(*command).encode(&mut key),
        DeviceRecord::Gone(device) => DeviceKey::Gone(*device).encode(&mut key),
        DeviceRecord::Point(device, _, sample) => {
            Series::new(*device, &sample.key).encode_point(sample.at_ms, &mut key);
        }
        DeviceRecord::Swath(series, span) => series.encode_swath(*span, &mut key),
    }
    key
}

/// Where a change that is a record by itself stands.
pub(crate) fn key_of_change(change: &Change) -> DeviceKey<'_> {
    match change {
        Change::Tenant(tenant) => DeviceKey::Tenant(tenant.id),
        Change::Customer(customer) => DeviceKey::Customer(customer.id),
        Change::User(user) => DeviceKey::User(user.id),
        Change::Profile(profile) => DeviceKey::Profile(profile.id),
        Change::Device(device) => DeviceKey::Device(device.id),
        Change::Attribute { device, scope, key, .. } => DeviceKey::Attribute(*device, *scope, key),
        Change::Command { device, command } => DeviceKey::Command(*device, command.order.id),
        Change::Claim { device, .. } => DeviceKey::Claim(*device),
        Change::Presence { device, .. } => DeviceKey::Presence(*device),
        no_record => unreachable!("{no_record:?} is no record"),
    }
}

fn encode(record: &DeviceRecord<'_>, out: &mut Vec<u8>) {
    match record {
        DeviceRecord::Change(change) => encode_change(change, out),
        DeviceRecord::Package(package, len) => encode_package(package, *len, out),
        DeviceRecord::Piece(_, _, bytes) => encode_piece(bytes, out),
        DeviceRecord::Latest(_, number, sample) => {
            encode_fact(&sample.key, *number, sample.at_ms, &sample.value, out);
        }
        DeviceRecord::Point(_, number, sample) => encode_point(&sample.key, *number, &sample.value, out),
        DeviceRecord::Row(_, kind, row) => row.encode(*kind, out),
        DeviceRecord::Numbers(end) => encode_numbers(*end, out),
        DeviceRecord::Index(_, device) => encode_index(*device, out),
        DeviceRecord::Gone(_) | DeviceRecord::Swath(..) => encode_swath(out),
    }
}

/// The value of a change that is a record by itself.
pub(crate) fn encode_change(change: &Change, out: &mut Vec<u8>) {
    match change {
        Change::Tenant(tenant) => encode_tenant(tenant, out),
        Change::Customer(customer) => encode_customer(customer, out),
        Change::User(user) => encode_user(user, out),
        Change::Profile(profile) => encode_profile(profile, out),
        Change::Device(device) => encode_device(device, out),
        Change::Attribute { key, value: Some(value), at_ms, .. } => encode_fact(key, 0, *at_ms, value, out),
        Change::Command { command, .. } => encode_command(command, out),
        Change::Claim { claim: Some(claim), .. } => encode_claim(claim, out),
        Change::Presence { presence, .. } => encode_presence(presence, out),
        no_record => unreachable!("{no_record:?} is no record"),
    }
}

/// Number and value of a name in a point or a row of points; nothing if the row does not have it any more.
pub(crate) fn read_point<'a>(
    key: &'a [u8],
    value: &'a [u8],
    name: &str,
) -> Result<Option<(u64, Value<'a>)>, Garbled> {
    if row_of(key)?.is_some() {
        return read_in_row(value, name);
    }
    let (stored, _time) = split_series(behind_id(key))?;
    let (number, _name, value) = decode_point(stored, value)?;
    Ok(Some((number, value)))
}

/// A command under its key.
pub(crate) fn read_command(key: &[u8], value: &[u8]) -> Result<Command, Garbled> {
    match DeviceRecord::decode(key, value)? {
        DeviceRecord::Change(Change::Command { command, .. }) => Ok(*command),
        _other_kinds_have_other_keys => Err(Garbled("a command stands under another key")),
    }
}
