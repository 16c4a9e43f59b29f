//! Firmware and software packages: what a device is told of one, and how it gets the bytes.
//!
//! Why the attributes are made here and not by a dialect: an assignment is a fact about the device, which every dialect
//! shows in its own way and the HTTP API shows as it is.
//!
//! Invariants:
//! - A package that was uploaded never changes; another content is another package.
//! - A chunk is a part of the package, or empty behind its end; no arithmetic on indices wraps.

use std::sync::Arc;

use crate::change::{Change, Scope};
use crate::checksum::Algorithm;
use crate::ids::{DeviceId, PackageId, ProfileId, TenantId};
use crate::profile::Keeping;
use crate::value::{Sample, Value};

/// What a package updates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PackageKind {
    /// The device itself.
    Firmware,
    /// Something on the device.
    Software,
}

/// One package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// Its id.
    pub id: PackageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// For which devices.
    pub profile: ProfileId,
    /// What it updates.
    pub kind: PackageKind,
    /// What it is.
    pub title: Box<str>,
    /// Which edition of it.
    pub version: Box<str>,
    /// A third name.
    pub tag: Option<Box<str>>,
    /// When it was created, in Unix milliseconds; 0 if nobody knows.
    pub created_ms: i64,
    /// Where its bytes are.
    pub content: Content,
    /// What else its maker said of it.
    pub label: Label,
}

/// What the maker of a package said of it, and no device is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Label {
    /// The name of the file that was uploaded.
    pub file_name: Option<Box<str>>,
    /// What kind of file it is, as MIME says it.
    pub content_type: Option<Box<str>>,
    /// Additional members of the record, as a JSON object.
    pub additional: Option<Box<str>>,
}

/// Where the bytes of a package are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Not uploaded yet.
    Missing,
    /// Here.
    Here {
        /// The bytes.
        bytes: Arc<[u8]>,
        /// How the sum was made.
        algorithm: Algorithm,
        /// The sum.
        checksum: Box<str>,
    },
    /// Elsewhere: the device fetches them itself.
    At {
        /// The address.
        url: Box<str>,
        /// Length in bytes, if known.
        bytes_len: Option<u64>,
        /// How the sum was made and the sum, if known.
        checksum: Option<(Algorithm, Box<str>)>,
    },
}

/// Why an upload is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongChecksum;

/// Why a device gets no chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoChunk {
    /// Nothing is assigned to it, or nothing of that kind.
    NotAssigned,
    /// The bytes are not here.
    NotHere,
    /// The device takes no packet so large.
    TooLarge,
    /// It waits for others already.
    TooMany,
}

/// Shared attributes and telemetry that an assignment sets and deletes.
#[derive(Clone, PartialEq, Debug)]
pub struct Assignment {
    /// Shared attributes to delete, before others are written.
    pub deleted: Vec<String>,
    /// Shared attributes to write.
    pub shared: Vec<Sample<'static>>,
    /// Telemetry to write.
    pub telemetry: Vec<Sample<'static>>,
}

impl PackageKind {
    /// What keys and topics of this kind begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Firmware => "fw",
            Self::Software => "sw",
        }
    }
}

impl Content {
    /// Takes an upload; `wanted` is the sum that the uploader names, in either case.
    ///
    /// # Errors
    /// The sum is another.
    pub fn upload(
        bytes: Arc<[u8]>,
        algorithm: Algorithm,
        wanted: Option<&str>,
    ) -> Result<Self, WrongChecksum> {
        let checksum = algorithm.sum(&bytes);
        match wanted {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&checksum) => Err(WrongChecksum),
            Some(_) | None => Ok(Self::Here { bytes, algorithm, checksum: checksum.into() }),
        }
    }
}

impl Package {
    /// Part `index` of the package in parts of `bytes_max`; all of it if that is zero. Empty behind the end.
    ///
    /// # Errors
    /// The bytes are not here.
    pub fn chunk(&self, index: u64, bytes_max: u64) -> Result<Chunk, NoChunk> {
        let Content::Here { bytes, .. } = &self.content else { return Err(NoChunk::NotHere) };
        let length = u64::try_from(bytes.len()).expect("a length fits 64 bits");
        let (from, to) = match bytes_max {
            0 => (0, length),
            _ => {
                let from = index.saturating_mul(bytes_max).min(length);
                (from, from.saturating_add(bytes_max).min(length))
            }
        };
        let place = |at: u64| usize::try_from(at).expect("within a slice");
        Ok(Chunk { bytes: Arc::clone(bytes), from: place(from), to: place(to) })
    }

    /// What assigning it to a device sets and deletes.
    #[must_use]
    pub fn assign(&self, now_ms: i64) -> Assignment {
        let prefix = self.kind.prefix();
        let text = |key: &str, value: &str| sample(prefix, key, Value::Text(value.to_owned().into()), now_ms);
        let mut deleted = Vec::new();
        let mut shared = vec![text("title", &self.title), text("version", &self.version)];
        match &self.tag {
            Some(tag) => shared.push(text("tag", tag)),
            None => deleted.push(format!("{prefix}_tag")),
        }
        let (url, length, sum) = match &self.content {
            Content::Missing => (None, None, None),
            Content::Here { bytes, algorithm, checksum } => {
                (None, u64::try_from(bytes.len()).ok(), Some((*algorithm, checksum)))
            }
            Content::At { url, bytes_len, checksum } => {
                (Some(url), *bytes_len, checksum.as_ref().map(|(algorithm, sum)| (*algorithm, sum)))
            }
        };
        match length.and_then(|length| i64::try_from(length).ok()) {
            Some(length) => shared.push(sample(prefix, "size", Value::Long(length), now_ms)),
            None => deleted.push(format!("{prefix}_size")),
        }
        match sum {
            Some((algorithm, sum)) => {
                shared.push(text("checksum_algorithm", algorithm.name()));
                shared.push(text("checksum", sum));
            }
            None => deleted.extend(["checksum_algorithm", "checksum"].map(|key| format!("{prefix}_{key}"))),
        }
        match url {
            Some(url) => shared.push(text("url", url)),
            None => deleted.push(format!("{prefix}_url")),
        }
        Assignment { deleted, shared, telemetry: self.targets(now_ms) }
    }

    fn targets(&self, now_ms: i64) -> Vec<Sample<'static>> {
        let prefix = self.kind.prefix();
        let mut targets = vec![("title", &self.title), ("version", &self.version)];
        targets.extend(self.tag.as_ref().map(|tag| ("tag", tag)));
        let mut telemetry: Vec<_> = targets
            .into_iter()
            .map(|(key, value)| target(prefix, key, Value::Text(value.to_string().into()), now_ms))
            .collect();
        telemetry.push(target(prefix, "ts", Value::Long(now_ms), now_ms));
        // A point of history is known by its time, and both are to be seen there: the attributes go out with these.
        telemetry.push(sample(prefix, "state", Value::Text("QUEUED".into()), now_ms));
        telemetry.push(sample(prefix, "state", Value::Text("INITIATED".into()), now_ms.saturating_add(1)));
        telemetry
    }
}

impl Assignment {
    /// What it writes of a device of which nothing is known yet, as changes.
    pub(crate) fn write_down(self, device: DeviceId, changes: &mut Vec<Change>) {
        let samples = self.telemetry;
        changes.push(Change::Telemetry { device, samples, keeping: Keeping::History });
        changes.extend(self.shared.into_iter().map(|sample| Change::Attribute {
            device,
            scope: Scope::Shared,
            key: sample.key.as_ref().into(),
            value: Some(sample.value),
            at_ms: sample.at_ms,
        }));
    }
}

/// The shared attributes that taking an assignment away deletes.
#[must_use]
pub fn unassign(kind: PackageKind) -> Vec<String> {
    ["title", "version", "ts", "state", "size", "checksum", "checksum_algorithm", "url", "tag"]
        .iter()
        .map(|key| format!("{}_{key}", kind.prefix()))
        .collect()
}

/// A part of a package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    bytes: Arc<[u8]>,
    from: usize,
    to: usize,
}

impl Chunk {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }
}

fn sample(prefix: &str, key: &str, value: Value<'static>, at_ms: i64) -> Sample<'static> {
    Sample { key: format!("{prefix}_{key}").into(), value, at_ms }
}

fn target(prefix: &str, key: &str, value: Value<'static>, at_ms: i64) -> Sample<'static> {
    Sample { key: format!("target_{prefix}_{key}").into(), value, at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(content: Content, tag: Option<&str>) -> Package {
        Package {
            created_ms: 0,
            id: PackageId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([2; 16]),
            profile: ProfileId::from_bytes([3; 16]),
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1.1".into(),
            tag: tag.map(Into::into),
            content,
            label: Label::default(),
        }
    }

    fn here(bytes: &[u8]) -> Content {
        Content::upload(Arc::from(bytes), Algorithm::Crc32, None).unwrap()
    }

    #[test]
    fn chunks_are_parts_and_then_nothing() {
        let package = package(here(b"0123456789"), None);
        let chunk = |index, size| package.chunk(index, size).map(|chunk| chunk.bytes().to_vec());
        assert_eq!(chunk(0, 4), Ok(b"0123".to_vec()));
        assert_eq!(chunk(2, 4), Ok(b"89".to_vec()));
        assert_eq!(chunk(3, 4), Ok(Vec::new()));
        assert_eq!(chunk(u64::MAX, u64::MAX), Ok(Vec::new()));
        assert_eq!(chunk(0, 0), Ok(b"0123456789".to_vec()));
        assert_eq!(chunk(7, 0), Ok(b"0123456789".to_vec()), "without a size the index says nothing");
    }

    #[test]
    fn an_assignment_names_what_the_device_needs_and_deletes_the_rest() {
        let assignment = package(here(b"123456789"), None).assign(7);
        let shown = |samples: &[Sample<'_>]| {
            samples.iter().map(|one| format!("{}={}", one.key, one.value.to_json())).collect::<Vec<_>>()
        };
        assert_eq!(assignment.deleted, ["fw_tag", "fw_url"]);
        assert_eq!(
            shown(&assignment.shared),
            [
                "fw_title=\"app\"",
                "fw_version=\"1.1\"",
                "fw_size=9",
                "fw_checksum_algorithm=\"CRC32\"",
                "fw_checksum=\"2639f4cb\"",
            ]
        );
        assert_eq!(
            shown(&assignment.telemetry),
            [
                "target_fw_title=\"app\"",
                "target_fw_version=\"1.1\"",
                "target_fw_ts=7",
                "fw_state=\"QUEUED\"",
                "fw_state=\"INITIATED\""
            ]
        );
        let times: Vec<i64> = assignment.telemetry.iter().map(|one| one.at_ms).collect();
        assert_eq!(times, [7, 7, 7, 7, 8], "no point of history takes another's place");
        let elsewhere = Content::At { url: "https://a/b".into(), bytes_len: None, checksum: None };
        let assignment = package(elsewhere, Some("app 1.1")).assign(7);
        assert_eq!(assignment.deleted, ["fw_size", "fw_checksum_algorithm", "fw_checksum"]);
        assert_eq!(shown(&assignment.shared)[2..], ["fw_tag=\"app 1.1\"", "fw_url=\"https://a/b\""]);
        assert_eq!(unassign(PackageKind::Software)[0], "sw_title");
    }

    #[test]
    fn an_upload_with_another_sum_is_refused() {
        let bytes: Arc<[u8]> = Arc::from(&b"123456789"[..]);
        assert!(Content::upload(bytes.clone(), Algorithm::Crc32, Some("2639F4CB")).is_ok());
        assert_eq!(Content::upload(bytes, Algorithm::Crc32, Some("cbf43926")), Err(WrongChecksum));
    }

    #[test]
    fn bytes_that_are_elsewhere_have_no_chunks() {
        let elsewhere = Content::At { url: "https://a/b".into(), bytes_len: Some(1), checksum: None };
        assert_eq!(package(elsewhere, None).chunk(0, 4), Err(NoChunk::NotHere));
    }
}
