//! Checksums of firmware and software.
//!
//! Why the short ones are written backwards: the clients of this API read CRC-32 and Murmur sums with the lowest byte
//! first, and turn them round before they compare.
//!
//! Invariants:
//! - A sum is lower-case hexadecimal of a length that depends on the algorithm only.
//!
//! Source: section OTA of the device API; seed 0 for Murmur.

use std::io::Cursor;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha384, Sha512};

use crate::credential::hex;

/// How a sum is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// CRC-32, lowest byte first.
    Crc32,
    /// Murmur 3, 32 bits, lowest byte first.
    Murmur32,
    /// Murmur 3, 128 bits for 64-bit machines, lowest byte first.
    Murmur128,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Md5, Self::Sha256, Self::Sha384, Self::Sha512, Self::Crc32, Self::Murmur32, Self::Murmur128];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
            Self::Crc32 => "CRC32",
            Self::Murmur32 => "MURMUR3_32",
            Self::Murmur128 => "MURMUR3_128",
        }
    }

    /// The algorithm of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The sum of `bytes`. Cost: one pass.
    #[must_use]
    pub fn sum(self, bytes: &[u8]) -> String {
        let mut cursor = Cursor::new(bytes);
        match self {
            Self::Md5 => hex(&Md5::digest(bytes)),
            Self::Sha256 => hex(&Sha256::digest(bytes)),
            Self::Sha384 => hex(&Sha384::digest(bytes)),
            Self::Sha512 => hex(&Sha512::digest(bytes)),
            Self::Crc32 => hex(&crc32fast::hash(bytes).to_le_bytes()),
            Self::Murmur32 => {
                let sum = murmur3::murmur3_32(&mut cursor, 0).expect("memory is read without errors");
                hex(&sum.to_le_bytes())
            }
            Self::Murmur128 => {
                let sum = murmur3::murmur3_x64_128(&mut cursor, 0).expect("memory is read without errors");
                hex(&sum.to_le_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_clients_compare_with() {
        // printf 123456789 | md5sum, sha256sum, sha384sum, sha512sum, and for the last three Guava's HashCode.toString().
        let rows = [
            ("MD5", "25f9e794323b453885f5181f1b624d0b"),
            ("SHA256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
            ("CRC32", "2639f4cb"),
        ];
        for (name, sum) in rows {
            assert_eq!(
                Algorithm::named(name).map(|algorithm| algorithm.sum(b"123456789")),
                Some(sum.to_owned())
            );
        }
        // The known sums of "hello" are 248bfa47 as a number, and cbd8a7b341bd9b02 5b1e906a48ae1d19 as two.
        assert_eq!(Algorithm::Murmur32.sum(b"hello"), "47fa8b24");
        assert_eq!(Algorithm::Murmur128.sum(b"hello"), "029bbd41b3a7d8cb191dae486a901e5b");
        assert_eq!(Algorithm::Sha384.sum(b"").len(), 96);
        assert_eq!(Algorithm::Sha512.sum(b"").len(), 128);
    }

    #[test]
    fn an_unknown_name_is_no_algorithm() {
        assert_eq!(Algorithm::named("sha256"), None);
        assert!(Algorithm::ALL.into_iter().all(|one| Algorithm::named(one.name()) == Some(one)));
    }
}
