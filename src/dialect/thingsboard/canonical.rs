//! Canonical topics: where what a device says appears for those who are not it.
//!
//! Why names and not ids: an application that subscribes to `thingsboard/acme/+/telemetry` should read in the topic whose
//! value it is. Ids are in the HTTP API.
//!
//! Invariants:
//! - Two devices never share a canonical topic, whatever their names are; no name makes a wildcard or another level.
//! - Nothing outside the tenant's own level is ever named.
//! - What is remembered of children is bounded in number and length.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Children whose topics are remembered.
const CHILDREN_MAX: usize = 1024;

/// The topics of one device.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub telemetry: Arc<str>,
    pub attributes: Arc<str>,
}

/// The topics of a connection's device and of its children.
#[derive(Debug)]
pub(super) struct Canonical {
    tenant: Box<str>,
    pub own: Names,
    children: BTreeMap<Box<str>, Names>,
}

impl Canonical {
    pub fn new(tenant: &str, device: &str) -> Self {
        let own = names(tenant, device);
        Self { tenant: tenant.into(), own, children: BTreeMap::new() }
    }

    /// The topics of a child; none of a name that no device can have, which would be long and is not remembered.
    pub fn child(&mut self, name: &str) -> Option<Names> {
        if let Some(names) = self.children.get(name) {
            return Some(names.clone());
        }
        device::check_name(name).ok()?;
        if self.children.len() >= CHILDREN_MAX {
            self.children.clear();
        }
        let names = names(&self.tenant, name);
        self.children.insert(name.into(), names.clone());
        Some(names)
    }
}

fn names(tenant: &str, device: &str) -> Names {
    let root = format!("thingsboard/{}/{}/", level(tenant), level(device));
    Names {
        telemetry: [&root, "telemetry"].concat().into(),
        attributes: [&root, "attributes"].concat().into(),
    }
}

/// A name as one level of a topic: what a topic may not have within a level, and the sign that says so, are written as two
/// hexadecimal digits behind a percent sign.
fn level(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut level, character| {
        match character {
            '/' | '+' | '#' | '%' | '$' | '\0'..='\u{1f}' | '\u{7f}' => {
                write!(level, "%{:02X}", u32::from(character)).expect("a string takes all text");
            }
            plain => level.push(plain),
        }
        level
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level_whatever_it_is() {
        let canonical = Canonical::new("acme", "meter 1");
        assert_eq!(&*canonical.own.telemetry, "thingsboard/acme/meter 1/telemetry");
        for (name, expected) in [
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("+", "%2B"),
            ("#", "%23"),
            ("$SYS", "%24SYS"),
            ("a\0\n", "a%00%0A"),
            ("\u{e9}", "\u{e9}"),
        ] {
            assert_eq!(level(name), expected);
            let topic = names("t", name).attributes;
            assert!(mqtt::topic::check_name(topic.as_bytes(), 4).is_ok(), "{topic}");
        }
    }

    #[test]
    fn children_are_remembered_and_not_without_end() {
        let mut canonical = Canonical::new("t", "g");
        for number in 0..3 * CHILDREN_MAX {
            canonical.child(&number.to_string());
            assert!(canonical.children.len() <= CHILDREN_MAX);
        }
        assert_eq!(&*canonical.child("A").unwrap().telemetry, "thingsboard/t/A/telemetry");
    }

    #[test]
    fn a_name_that_no_device_can_have_has_no_topics() {
        let mut canonical = Canonical::new("t", "g");
        assert!(canonical.child(&"/".repeat(30_000)).is_none());
        assert!(canonical.child(&"\u{1f600}".repeat(256)).is_none());
        assert!(canonical.children.is_empty());
        for longest in ["/".repeat(255), "\u{1f600}".repeat(255)] {
            let topic = names(&longest, &longest).attributes;
            assert!(mqtt::topic::check_name(topic.as_bytes(), 4).is_ok(), "{}", topic.len());
            assert!(canonical.child(&longest).is_some());
        }
    }
}
