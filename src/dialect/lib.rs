//! The dialects that devices speak, one folder each.
//!
//! Why a table: the front door finds a dialect by the name in the configuration; deleting a dialect means deleting its
//! folder and its line here.
//!
//! Invariants:
//! - A dialect knows neither broker nor shard nor store.

mod plain;
mod thingsboard;

use device::Dialect;

pub use thingsboard::{ThingsBoard, http};

/// Every dialect, by the name that the configuration uses.
pub const DIALECTS: &[&dyn Dialect] = &[&plain::Plain, &ThingsBoard];

/// Finds a dialect by its name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.iter().copied().find(|dialect| dialect.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_found_by_its_own_name_only() {
        for dialect in DIALECTS {
            assert_eq!(by_name(dialect.name()).map(Dialect::name), Some(dialect.name()));
        }
        assert!(by_name("morse").is_none());
    }
}
