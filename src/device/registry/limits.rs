//! How long names may be, and how many profiles a tenant may have.
//!
//! Why names have a length: they stand in canonical topics, where one character may take three, and a topic that no packet can
//! carry reaches nobody. Why profiles have a number: a gateway makes one for each type of children that it thinks of.
//!
//! Invariants:
//! - The canonical topic of a device whose names are accepted here fits into a packet.
//!
//! Source: lengths of fields of the system whose API this is.

use super::shelf::{Clash, Registry};

/// The most characters of a name: of devices, profiles, tenants, customers, and of titles and versions of packages.
pub const NAME_CHARS_MAX: usize = 255;

/// Profiles that a tenant may have where nothing else is said.
pub const PROFILES_MAX: usize = 10_000;

/// A character is at most four bytes; written as `%` and two digits it is three.
const CANONICAL_BYTES_MAX: usize = 2 * 4 * NAME_CHARS_MAX + 64;
const _: () = assert!(CANONICAL_BYTES_MAX <= 65_535);

/// How much a registry takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegistryLimits {
    /// Profiles of one tenant.
    pub profiles_max: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self { profiles_max: PROFILES_MAX }
    }
}

impl Registry {
    /// Says how many profiles each tenant may have. Those that are there stay.
    pub fn limit_profiles(&mut self, profiles_max: usize) {
        self.limits.profiles_max = profiles_max;
    }
}

/// Whether a text may be the name of anything.
///
/// # Errors
/// It is blank, or has more than [`NAME_CHARS_MAX`] characters.
pub fn check_name(name: &str) -> Result<(), Clash> {
    if name.trim().is_empty() {
        return Err(Clash::NameEmpty);
    }
    // Most names have fewer bytes than that, and need no count.
    if name.len() > NAME_CHARS_MAX && name.chars().nth(NAME_CHARS_MAX).is_some() {
        return Err(Clash::NameTooLong);
    }
    Ok(())
}
