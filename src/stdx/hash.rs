//! The stable hash that places a client on a core.
//!
//! Why not the map hasher: maps are keyed per process against hash floods; placement must give the same answer on
//! every core, in every process and in every version, or a client's state would be sought on the wrong core.
//!
//! Invariants:
//! - The hash of a byte string never changes, in no version and on no machine.

/// Hashes `bytes` the same way in every process. Source: XXH3, 64 bits, seed zero.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes_between_versions() {
        assert_eq!(stable_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(stable_hash(b"meter-1"), stable_hash(b"meter-1"));
        assert_ne!(stable_hash(b"meter-1"), stable_hash(b"meter-2"));
    }
}
