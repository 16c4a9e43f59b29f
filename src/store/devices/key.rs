//! Keys of device records.
//!
//! Why the length of a name stands before it in the key of a point: what follows is a time of any bytes, and the points of
//! one series must lie together in the order of their times. Rows (`row.rs`) stand behind all names: where a name or its
//! length would begin there are bytes with which none does.
//!
//! Invariants:
//! - All records of a device that are of one kind lie together.
//! - Two names of one device never share a key.

use std::ops::Range;

use device::{CommandId, CustomerId, DeviceId, PackageId, ProfileId, Scope, TenantId, UserId};

use crate::codec::{Garbled, Input};
use crate::record::{NAME_BYTES_MAX, push_name};

/// The first byte of a key.
pub(crate) mod kind {
    pub const ATTRIBUTE: u8 = b'A';
    pub const PIECE: u8 = b'B';
    pub const CUSTOMER: u8 = b'C';
    pub const DEVICE: u8 = b'D';
    pub const PRESENCE: u8 = b'E';
    pub const GONE: u8 = b'G';
    pub const PACKAGE: u8 = b'K';
    pub const LATEST: u8 = b'L';
    pub const INDEX: u8 = b'N';
    pub const COMMAND: u8 = b'O';
    pub const PROFILE: u8 = b'P';
    pub const CLAIM: u8 = b'Q';
    pub const NUMBERS: u8 = b'S';
    pub const TENANT: u8 = b'T';
    pub const USER: u8 = b'U';
    pub const POINT: u8 = b'V';
    pub const SWATH: u8 = b'X';
}

/// All kinds, in the order in which they are copied: what owns comes before what is owned.
pub(crate) const DEVICE_KINDS: [u8; 17] = [
    kind::NUMBERS,
    kind::TENANT,
    kind::CUSTOMER,
    kind::USER,
    kind::PROFILE,
    kind::PACKAGE,
    kind::PIECE,
    kind::DEVICE,
    kind::GONE,
    kind::SWATH,
    kind::ATTRIBUTE,
    kind::LATEST,
    kind::COMMAND,
    kind::INDEX,
    kind::CLAIM,
    kind::PRESENCE,
    kind::POINT,
];

/// The kinds of records that belong to a device beside the device itself; the index of commands belongs to the commands.
pub(crate) const BELONGINGS: [u8; 7] =
    [kind::ATTRIBUTE, kind::LATEST, kind::COMMAND, kind::CLAIM, kind::PRESENCE, kind::POINT, kind::SWATH];

const ID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
/// Bytes that say of which names a row is.
const SET_BYTES: usize = 8;
/// Stands where the length of a name would; no name is as long.
const ROW_MARK: [u8; 2] = [0xff; 2];
/// Stands where the name of a latest value would begin; no text begins with it.
const LATEST_ROW_MARK: u8 = 0xff;
/// Stored bytes of a name that was cut: its beginning and the hash of all of it.
const CUT_BYTES: usize = NAME_BYTES_MAX + 16;

/// Names one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeviceKey<'a> {
    Tenant(TenantId),
    Customer(CustomerId),
    User(UserId),
    Profile(ProfileId),
    Device(DeviceId),
    Package(PackageId),
    /// A part of the bytes of a package.
    Piece(PackageId, u32),
    Attribute(DeviceId, Scope, &'a str),
    Latest(DeviceId, &'a str),
    Command(DeviceId, CommandId),
    /// Whose command it is.
    Index(CommandId),
    Claim(DeviceId),
    Presence(DeviceId),
    /// A device is gone, and not all of it has been removed.
    Gone(DeviceId),
    /// Latest values of one device and one set of names.
    LatestRow(DeviceId, u64),
    /// Points of one device, one set of names and one time.
    PointRow(DeviceId, u64, i64),
    /// How far the numbers of writes of telemetry may go.
    Numbers,
}

impl DeviceKey<'_> {
    /// Writes the key over what `key` holds.
    pub fn encode(&self, key: &mut Vec<u8>) {
        key.clear();
        let mut push = |kind: u8, id: &[u8; ID_BYTES]| {
            key.push(kind);
            key.extend_from_slice(id);
        };
        match self {
            Self::Tenant(id) => push(kind::TENANT, id.bytes()),
            Self::Customer(id) => push(kind::CUSTOMER, id.bytes()),
            Self::User(id) => push(kind::USER, id.bytes()),
            Self::Profile(id) => push(kind::PROFILE, id.bytes()),
            Self::Device(id) => push(kind::DEVICE, id.bytes()),
            Self::Package(id) => push(kind::PACKAGE, id.bytes()),
            Self::Index(id) => push(kind::INDEX, id.bytes()),
            Self::Claim(id) => push(kind::CLAIM, id.bytes()),
            Self::Presence(id) => push(kind::PRESENCE, id.bytes()),
            Self::Gone(id) => push(kind::GONE, id.bytes()),
            Self::Numbers => push(kind::NUMBERS, &[0; ID_BYTES]),
            Self::LatestRow(id, set) => {
                push(kind::LATEST, id.bytes());
                key.push(LATEST_ROW_MARK);
                key.extend_from_slice(&set.to_be_bytes());
            }
            Self::PointRow(id, set, at_ms) => {
                push(kind::POINT, id.bytes());
                key.extend_from_slice(&ROW_MARK);
                key.extend_from_slice(&set.to_be_bytes());
                push_time(key, *at_ms);
            }
            Self::Piece(id, index) => {
                push(kind::PIECE, id.bytes());
                key.extend_from_slice(&index.to_be_bytes());
            }
            Self::Attribute(id, scope, name) => {
                push(kind::ATTRIBUTE, id.bytes());
                key.push(bits_of(*scope));
                push_name(key, name);
            }
            Self::Latest(id, name) => {
                push(kind::LATEST, id.bytes());
                push_name(key, name);
            }
            Self::Command(id, command) => {
                push(kind::COMMAND, id.bytes());
                key.extend_from_slice(command.bytes());
            }
        }
    }
}

/// All points of one key of one device, or all its rows of one set of names: what their keys have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Series(Box<[u8]>);

impl Series {
    pub fn new(device: DeviceId, name: &str) -> Self {
        let mut bytes = device.bytes().to_vec();
        bytes.extend_from_slice(&[0, 0]);
        push_name(&mut bytes, name);
        let len = bytes.len() - ID_BYTES - 2;
        let len = u16::try_from(len).expect("a name in a key has at most 64,016 bytes");
        bytes[ID_BYTES..ID_BYTES + 2].copy_from_slice(&len.to_be_bytes());
        Self(bytes.into())
    }

    /// All rows of one set of names.
    pub fn of_rows(device: DeviceId, set: u64) -> Self {
        Self([&device.bytes()[..], &ROW_MARK, &set.to_be_bytes()].concat().into())
    }

    /// The series of a point or a swath, and what follows in its key.
    pub fn split(key: &[u8]) -> Result<(Self, &[u8]), Garbled> {
        let mut input = Input(key.get(1..).unwrap_or_default());
        input.take(ID_BYTES)?;
        let len: [u8; 2] = input.take(2)?.try_into().expect("two bytes");
        let len = if len == ROW_MARK { SET_BYTES } else { usize::from(u16::from_be_bytes(len)) };
        let name = input.take(len)?;
        let series = &key[1..1 + ID_BYTES + 2 + name.len()];
        Ok((Self(series.into()), input.rest()))
    }

    pub fn device(&self) -> DeviceId {
        DeviceId::from_bytes(self.0[..ID_BYTES].try_into().expect("a series begins with a device"))
    }

    /// Its name, if it is so short that the key has all of it.
    pub fn name(&self) -> Option<&str> {
        let name = &self.0[ID_BYTES + 2..];
        if StoredName(name).is_cut() { None } else { std::str::from_utf8(name).ok() }
    }

    /// The first series of a device and the first of the next one, if any are there.
    pub fn range_of_device(device: DeviceId) -> Range<Self> {
        // No name is as long as these two bytes say.
        let end = [&device.bytes()[..], &[0xff, 0xff]].concat();
        Self((*device.bytes()).into())..Self(end.into())
    }

    /// Writes the key of a point over what `key` holds.
    pub fn encode_point(&self, at_ms: i64, key: &mut Vec<u8>) {
        self.encode(kind::POINT, key);
        push_time(key, at_ms);
    }

    /// Writes the key of what says that points are gone over what `key` holds.
    pub fn encode_swath(&self, (from_ms, to_ms): (i64, i64), key: &mut Vec<u8>) {
        self.encode(kind::SWATH, key);
        push_time(key, from_ms);
        push_time(key, to_ms);
    }

    /// Keys of points from a time on, before another.
    pub fn range(&self, (from_ms, to_ms): (i64, i64)) -> Range<Vec<u8>> {
        let (mut start, mut end) = (Vec::new(), Vec::new());
        self.encode_point(from_ms, &mut start);
        self.encode_point(to_ms, &mut end);
        start..end
    }

    /// Keys of what says that points of it are gone.
    pub fn swaths(&self) -> Range<Vec<u8>> {
        let (mut start, mut end) = (Vec::new(), Vec::new());
        self.encode(kind::SWATH, &mut start);
        self.encode(kind::SWATH, &mut end);
        end.extend_from_slice(&[0xff; 2 * TIME_BYTES + 1]);
        start..end
    }

    /// Behind the keys of all its points.
    pub fn end(&self) -> Vec<u8> {
        let mut end = Vec::new();
        self.encode(kind::POINT, &mut end);
        end.extend_from_slice(&[0xff; TIME_BYTES + 1]);
        end
    }

    fn encode(&self, kind: u8, key: &mut Vec<u8>) {
        key.clear();
        key.push(kind);
        key.extend_from_slice(&self.0);
    }
}

/// A name as it stands in a key: whole, or cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StoredName<'a>(pub &'a [u8]);

impl<'a> StoredName<'a> {
    /// Whether the value must have all of it.
    pub fn is_cut(self) -> bool {
        self.0.len() == CUT_BYTES
    }

    /// The name; a value that must have it begins with it.
    pub fn read(self, value: &mut Input<'a>) -> Result<&'a str, Garbled> {
        if !self.is_cut() {
            return std::str::from_utf8(self.0).map_err(|_| Garbled("a name is not UTF-8"));
        }
        let name = value.text()?;
        let mut stored = Vec::new();
        push_name(&mut stored, name);
        if stored == self.0 { Ok(name) } else { Err(Garbled("a value stands under another name")) }
    }
}

/// Whether a name is too long for a key, so that the value must have it.
pub(crate) fn is_long(name: &str) -> bool {
    name.len() >= NAME_BYTES_MAX
}

/// Whether a record is one of devices.
pub(crate) fn is_device_key(key: &[u8]) -> bool {
    key.first().is_some_and(u8::is_ascii_uppercase)
}

/// The device to which a record belongs whose key names it.
pub(crate) fn device_of(key: &[u8]) -> Option<DeviceId> {
    let kind = *key.first()?;
    (BELONGINGS.contains(&kind) || matches!(kind, kind::DEVICE | kind::GONE)).then_some(())?;
    Some(DeviceId::from_bytes(id_of(key).ok()?))
}

/// All keys of one kind of one device.
pub(crate) fn range_of_device(kind: u8, device: DeviceId) -> Range<Vec<u8>> {
    range_of_id(kind, device.bytes())
}

/// All keys of one kind that have an id.
pub(crate) fn range_of_id(kind: u8, id: &[u8; ID_BYTES]) -> Range<Vec<u8>> {
    let mut start = vec![kind];
    start.extend_from_slice(id);
    let end = match u128::from_be_bytes(*id).checked_add(1) {
        Some(next) => [&[kind][..], &next.to_be_bytes()].concat(),
        None => vec![kind + 1],
    };
    start..end
}

/// All rows of points of a device.
pub(crate) fn range_of_rows(device: DeviceId) -> Range<Vec<u8>> {
    let Range { mut start, end } = range_of_device(kind::POINT, device);
    start.extend_from_slice(&ROW_MARK);
    start..end
}

/// All rows of latest values of a device.
pub(crate) fn range_of_latest_rows(device: DeviceId) -> Range<Vec<u8>> {
    let Range { mut start, end } = range_of_device(kind::LATEST, device);
    start.push(LATEST_ROW_MARK);
    start..end
}

/// The set of names of a row of points and its time; nothing if the key is that of a single point.
pub(crate) fn row_of(key: &[u8]) -> Result<Option<(u64, i64)>, Garbled> {
    let Some(rest) = behind_id(key).strip_prefix(&ROW_MARK) else { return Ok(None) };
    let (set, time) = rest.split_at_checked(SET_BYTES).ok_or(Garbled("a row names no set"))?;
    Ok(Some((u64::from_be_bytes(set.try_into().expect("split there")), time_of(time)?)))
}

/// Whether a key of a latest value is that of a row.
pub(crate) fn is_latest_row(key: &[u8]) -> bool {
    behind_id(key).first() == Some(&LATEST_ROW_MARK)
}

/// The sixteen bytes behind the kind.
pub(crate) fn id_of(key: &[u8]) -> Result<[u8; ID_BYTES], Garbled> {
    let id = key.get(1..=ID_BYTES).and_then(|id| id.try_into().ok());
    id.ok_or(Garbled("a key has no id"))
}

/// What follows the id.
pub(crate) fn behind_id(key: &[u8]) -> &[u8] {
    key.get(1 + ID_BYTES..).unwrap_or_default()
}

pub(crate) fn bits_of(scope: Scope) -> u8 {
    match scope {
        Scope::Client => 0,
        Scope::Shared => 1,
        Scope::Server => 2,
    }
}

pub(crate) fn scope_of(bits: u8) -> Result<Scope, Garbled> {
    match bits {
        0 => Ok(Scope::Client),
        1 => Ok(Scope::Shared),
        2 => Ok(Scope::Server),
        _unknown => Err(Garbled("an attribute has an unknown scope")),
    }
}

/// Eight bytes that sort as times do, also those before 1970.
fn push_time(key: &mut Vec<u8>, at_ms: i64) {
    key.extend_from_slice(&(at_ms.cast_unsigned() ^ 1 << 63).to_be_bytes());
}

/// The other way round.
pub(crate) fn time_of(bytes: &[u8]) -> Result<i64, Garbled> {
    let bytes: [u8; TIME_BYTES] = bytes.try_into().map_err(|_| Garbled("a key has no time"))?;
    Ok((u64::from_be_bytes(bytes) ^ 1 << 63).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);

    fn point(name: &str, at_ms: i64) -> Vec<u8> {
        let mut key = Vec::new();
        Series::new(DEVICE, name).encode_point(at_ms, &mut key);
        key
    }

    #[test]
    fn points_lie_in_order_of_time_and_series_do_not_mix() {
        let times = [i64::MIN, -1, 0, 1, 0x6262_6262_6262_6262, i64::MAX];
        assert!(times.map(|at_ms| point("a", at_ms)).is_sorted());
        for at_ms in times {
            let range = Series::new(DEVICE, "a").range((i64::MIN, i64::MAX));
            assert!(!range.contains(&point("ab", at_ms)) && !range.contains(&point("", at_ms)), "{at_ms}");
            let (series, time) =
                Series::split(&point("a", at_ms)).map(|(one, rest)| (one, rest.to_vec())).unwrap();
            assert_eq!((series, time_of(&time)), (Series::new(DEVICE, "a"), Ok(at_ms)));
            assert!(point("a", at_ms) < Series::new(DEVICE, "a").end());
        }
        assert!(Series::new(DEVICE, "a").end() < point("b", i64::MIN));
    }

    #[test]
    fn rows_lie_behind_all_names_of_their_device_in_order_of_time() {
        let mut key = Vec::new();
        let long = "x".repeat(70_000);
        for (device, set) in [(DEVICE, 0), (DEVICE, u64::MAX), (DeviceId::from_bytes([0xff; 16]), u64::MAX)] {
            let rows = range_of_rows(device);
            for at_ms in [i64::MIN, -1, 0, i64::MAX] {
                DeviceKey::PointRow(device, set, at_ms).encode(&mut key);
                assert!(rows.contains(&key) && range_of_device(kind::POINT, device).contains(&key));
                assert_eq!(row_of(&key), Ok(Some((set, at_ms))));
                let (series, time) = Series::split(&key).unwrap();
                assert_eq!((series, time_of(time)), (Series::of_rows(device, set), Ok(at_ms)));
                assert!(key < Series::of_rows(device, set).end());
            }
            Series::new(device, &long).encode_point(i64::MAX, &mut key);
            assert!(!rows.contains(&key) && row_of(&key) == Ok(None));
            DeviceKey::LatestRow(device, set).encode(&mut key);
            assert!(range_of_latest_rows(device).contains(&key) && is_latest_row(&key));
            DeviceKey::Latest(device, "\u{10ffff}").encode(&mut key);
            assert!(!range_of_latest_rows(device).contains(&key) && !is_latest_row(&key));
        }
    }

    #[test]
    fn everything_of_a_device_lies_in_its_range_and_nothing_of_another() {
        let last = DeviceId::from_bytes([0xff; 16]);
        for device in [DEVICE, last] {
            let mut key = Vec::new();
            Series::new(device, &"\u{10ffff}".repeat(9)).encode_point(i64::MAX, &mut key);
            assert!(range_of_device(kind::POINT, device).contains(&key));
            DeviceKey::Latest(device, &"\u{10ffff}".repeat(9)).encode(&mut key);
            assert!(range_of_device(kind::LATEST, device).contains(&key));
            DeviceKey::Command(device, CommandId::from_bytes([0xff; 16])).encode(&mut key);
            assert!(range_of_device(kind::COMMAND, device).contains(&key));
            let series = Series::range_of_device(device);
            assert!(series.contains(&Series::new(device, &"x".repeat(70_000))));
            assert_eq!(device_of(&key), Some(device));
        }
        let mut next = [7; 16];
        next[15] = 8;
        let mut key = Vec::new();
        DeviceKey::Latest(DeviceId::from_bytes(next), "").encode(&mut key);
        assert!(!range_of_device(kind::LATEST, DEVICE).contains(&key));
    }

    #[test]
    fn long_names_are_told_apart_and_read_from_the_value() {
        let long = "x".repeat(70_000);
        let other = format!("{}y", &long[1..]);
        assert_ne!(point(&long, 1), point(&other, 1));
        assert!(point(&long, 1).len() < usize::from(u16::MAX));
        let series = Series::new(DEVICE, &long);
        let mut value = u32::try_from(long.len()).unwrap().to_le_bytes().to_vec();
        value.extend_from_slice(long.as_bytes());
        let stored = |series: &Series| series.0[ID_BYTES + 2..].to_vec();
        assert_eq!(StoredName(&stored(&series)).read(&mut Input(&value)), Ok(&*long));
        let other = Series::new(DEVICE, &other);
        assert!(StoredName(&stored(&other)).read(&mut Input(&value)).is_err());
    }
}
