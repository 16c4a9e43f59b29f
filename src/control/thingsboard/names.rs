//! What becomes of a new device whose name is taken: it is refused, or gets another name.
//!
//! Invariants:
//! - A name that is free is taken as it is.
//! - Looking for a free name ends after [`NUMBERS_MAX`] attempts.
//!
//! Source: rank 3 of section 13.2 of the vectors.

use device::{Registry, TenantId, random_word};

use super::asked::Asked;
use super::clock::chance;
use super::refusal::Refusal;

/// The parameters that say it.
pub(super) const NAMING: &[&str] =
    &["accessToken", "nameConflictPolicy", "uniquifySeparator", "uniquifyStrategy"];

/// Numbers that are tried.
const NUMBERS_MAX: u32 = 10_000;
/// Letters behind a name.
const LETTERS: usize = 6;
/// Bytes of what stands between the name and them.
const SEPARATOR_BYTES_MAX: usize = 16;

/// What to do if a name is taken.
pub(super) enum Naming {
    /// Refuse.
    Fail,
    /// Take another one: the name, this, and what the way finds.
    Uniquify(String, Way),
}

/// How another name is found.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Random,
    Incremental,
}

impl Naming {
    /// Reads the parameters.
    pub fn read(asked: &Asked) -> Result<Self, Refusal> {
        let unknown =
            |what: &str, value: &str| Refusal::bad(format!("Invalid value '{value}' of parameter '{what}'"));
        match asked.get("nameConflictPolicy") {
            None | Some("FAIL") => return Ok(Self::Fail),
            Some("UNIQUIFY") => {}
            Some(other) => return Err(unknown("nameConflictPolicy", other)),
        }
        let separator = asked.get("uniquifySeparator").unwrap_or("_");
        if separator.len() > SEPARATOR_BYTES_MAX {
            return Err(unknown("uniquifySeparator", separator));
        }
        let way = match asked.get("uniquifyStrategy") {
            None | Some("RANDOM") => Way::Random,
            Some("INCREMENTAL") => Way::Incremental,
            Some(other) => return Err(unknown("uniquifyStrategy", other)),
        };
        Ok(Self::Uniquify(separator.to_owned(), way))
    }

    /// The name that a new device gets. One that is taken all the same is refused by the registry.
    pub fn name(&self, registry: &Registry, tenant: TenantId, wanted: String) -> String {
        let is_free = |name: &str| registry.device_named(tenant, name).is_none();
        let Self::Uniquify(separator, way) = self else { return wanted };
        if is_free(&wanted) {
            return wanted;
        }
        let mut tries = (1..=NUMBERS_MAX).map(|number| match way {
            Way::Random => format!("{wanted}{separator}{}", random_word(LETTERS, &mut chance)),
            Way::Incremental => format!("{wanted}{separator}{number}"),
        });
        tries.find(|name| is_free(name)).unwrap_or(wanted)
    }
}
