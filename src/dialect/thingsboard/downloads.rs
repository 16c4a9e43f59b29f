//! Downloads of firmware and software: what a device asks for, part by part.
//!
//! Why a download is pinned to a package: a device that is half through one must not get the other half of another that was
//! assigned meanwhile.
//!
//! Invariants:
//! - One request number names one package for as long as the connection lasts, or [`DOWNLOADS_MAX`] newer ones do.
//!
//! Source: section 7.3 of the vectors.

use std::collections::VecDeque;

use device::{ChunkWanted, Cookie, PackageId, PackageKind};

use super::json::Malformed;

/// The most downloads that are remembered for one connection.
const DOWNLOADS_MAX: usize = 16;

/// The most digits of a request's number: an answer's topic is longer than its question's.
const REQUEST_DIGITS_MAX: usize = 255;

/// The downloads of one connection, oldest first.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    next_serial: u32,
    known: VecDeque<Download>,
}

#[derive(Debug)]
struct Download {
    serial: u32,
    kind: PackageKind,
    request: Box<str>,
    /// Bytes of a part, as last asked for; 0 for all at once.
    bytes_max: u64,
    package: Option<PackageId>,
}

/// Why a part is not asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoDownload {
    /// The size is no number.
    Malformed(Malformed),
    /// Parts of that size are larger than a packet may be.
    TooLarge,
}

/// Where a part goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place<'a> {
    pub kind: PackageKind,
    pub request: &'a str,
    pub index: u32,
}

impl Downloads {
    /// A device asks for part `index` of request `request`; the payload says how many bytes a part has.
    pub fn wanted(
        &mut self,
        (kind, request, index): (PackageKind, &str, &str),
        payload: &[u8],
        bytes_max: u64,
    ) -> Result<ChunkWanted, NoDownload> {
        let malformed = |why: &str| NoDownload::Malformed(Malformed::because(why));
        if request.len() > REQUEST_DIGITS_MAX {
            return Err(malformed("the number of the request is too large"));
        }
        let index: u32 = index.parse().map_err(|_| malformed("the number of the part is too large"))?;
        let size = size(payload).ok_or_else(|| malformed("the size of a part is no number"))?;
        if size > bytes_max {
            return Err(NoDownload::TooLarge);
        }
        let download = self.open(kind, request);
        if size > 0 {
            download.bytes_max = size;
        }
        Ok(ChunkWanted {
            cookie: Cookie(u64::from(download.serial) << 32 | u64::from(index)),
            kind,
            index: u64::from(index),
            bytes_max: download.bytes_max,
            package: download.package,
            ends: false,
        })
    }

    /// Where an answer goes; nothing if the download is forgotten. `package` is pinned.
    pub fn place(&mut self, cookie: Cookie, package: Option<PackageId>) -> Option<Place<'_>> {
        let serial = u32::try_from(cookie.0 >> 32).ok()?;
        let index = u32::try_from(cookie.0 & u64::from(u32::MAX)).ok()?;
        let download = self.known.iter_mut().find(|known| known.serial == serial)?;
        download.package = download.package.or(package);
        Some(Place { kind: download.kind, request: &download.request, index })
    }

    fn open(&mut self, kind: PackageKind, request: &str) -> &mut Download {
        let known = |download: &Download| download.kind == kind && *download.request == *request;
        let index = self.known.iter().position(known).unwrap_or_else(|| {
            if self.known.len() >= DOWNLOADS_MAX {
                self.known.pop_front();
            }
            let serial = self.next_serial;
            self.next_serial = serial.wrapping_add(1);
            self.known.push_back(Download {
                serial,
                kind,
                request: request.into(),
                bytes_max: 0,
                package: None,
            });
            self.known.len() - 1
        });
        &mut self.known[index]
    }
}

/// The size as decimal digits; nothing, zero and less mean the size that was asked for before.
fn size(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    if text.is_empty() {
        return Some(0);
    }
    let size: i64 = text.parse().ok()?;
    Some(u64::try_from(size).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FW: PackageKind = PackageKind::Firmware;

    fn wanted(
        downloads: &mut Downloads,
        request: &str,
        index: &str,
        payload: &[u8],
    ) -> Result<(u64, u64), NoDownload> {
        let wanted = downloads.wanted((FW, request, index), payload, 65_536)?;
        Ok((wanted.index, wanted.bytes_max))
    }

    #[test]
    fn a_size_is_remembered_for_its_request() {
        let mut downloads = Downloads::default();
        assert_eq!(wanted(&mut downloads, "1", "0", b""), Ok((0, 0)), "never sized: the whole file");
        assert_eq!(wanted(&mut downloads, "1", "0", b"4096"), Ok((0, 4096)));
        assert_eq!(wanted(&mut downloads, "1", "1", b""), Ok((1, 4096)));
        assert_eq!(wanted(&mut downloads, "1", "2", b"0"), Ok((2, 4096)));
        assert_eq!(wanted(&mut downloads, "1", "3", b"-1"), Ok((3, 4096)));
        assert_eq!(wanted(&mut downloads, "2", "0", b""), Ok((0, 0)), "another request");
    }

    #[test]
    fn a_size_is_a_number_that_a_packet_can_hold() {
        let mut downloads = Downloads::default();
        assert_eq!(wanted(&mut downloads, "1", "0", b"65536"), Ok((0, 65_536)));
        assert_eq!(wanted(&mut downloads, "1", "0", b"65537"), Err(NoDownload::TooLarge));
        for payload in [b"x".as_slice(), b"1.5", b"\xff", b" 1", b"99999999999999999999"] {
            assert!(matches!(wanted(&mut downloads, "1", "0", payload), Err(NoDownload::Malformed(_))));
        }
        assert!(matches!(wanted(&mut downloads, "1", "4294967296", b""), Err(NoDownload::Malformed(_))));
    }

    #[test]
    fn a_download_stays_with_the_package_that_it_began_with() {
        let mut downloads = Downloads::default();
        let (one, two) = (PackageId::from_bytes([1; 16]), PackageId::from_bytes([2; 16]));
        let first = downloads.wanted((FW, "7", "3"), b"10", 100).unwrap();
        assert_eq!(first.package, None);
        let place = downloads.place(first.cookie, Some(one));
        assert_eq!(place, Some(Place { kind: FW, request: "7", index: 3 }));
        assert_eq!(downloads.wanted((FW, "7", "4"), b"", 100).unwrap().package, Some(one));
        downloads.place(first.cookie, Some(two));
        assert_eq!(downloads.wanted((FW, "7", "5"), b"", 100).unwrap().package, Some(one));
        assert_eq!(downloads.wanted((FW, "8", "0"), b"", 100).unwrap().package, None);
        assert_eq!(downloads.wanted((PackageKind::Software, "7", "0"), b"", 100).unwrap().package, None);
    }

    #[test]
    fn old_downloads_make_room() {
        let mut downloads = Downloads::default();
        let first = downloads.wanted((FW, "0", "0"), b"10", 100).unwrap();
        for request in 1..=DOWNLOADS_MAX {
            wanted(&mut downloads, &request.to_string(), "0", b"10").unwrap();
        }
        assert_eq!(downloads.place(first.cookie, None), None);
        assert_eq!(downloads.known.len(), DOWNLOADS_MAX);
    }

    #[test]
    fn a_request_whose_number_has_too_many_digits_is_not_remembered() {
        let mut downloads = Downloads::default();
        let long = "1".repeat(65_513);
        let refused = downloads.wanted((FW, &long, "0"), b"", 64);
        assert!(
            matches!(refused, Err(NoDownload::Malformed(_))),
            "its answer would have a topic of 65,536 bytes"
        );
        assert!(downloads.known.is_empty());
        assert!(downloads.wanted((FW, &long[..255], "0"), b"", 64).is_ok());
    }
}
