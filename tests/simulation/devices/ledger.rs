//! What was said, by whom, what was acknowledged, and who may see it.
//!
//! Invariants:
//! - A number says which tenant's which device it is about, and as which key.
//! - Of one key of one device only one client speaks, so its numbers rise.

use std::collections::BTreeMap;

/// Whose value: the tenant's name, the device's name, the key.
pub(crate) type Owner = (&'static str, String, String);

/// Which kind of value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Telemetry,
    Attribute,
    /// It was sent to a topic that means nothing.
    Nothing,
}

/// All that was said.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    said: BTreeMap<u64, (Owner, Kind)>,
    acknowledged: BTreeMap<Owner, (Kind, u64)>,
    last: u64,
}

impl Ledger {
    /// A number for something that is about to be said.
    pub fn say(&mut self, owner: Owner, kind: Kind) -> u64 {
        self.last += 1;
        self.said.insert(self.last, (owner, kind));
        self.last
    }

    /// Something was acknowledged.
    pub fn acknowledge(&mut self, number: u64) {
        let (owner, kind) = self.said[&number].clone();
        if kind != Kind::Nothing {
            let known = self.acknowledged.entry(owner).or_insert((kind, 0));
            known.1 = known.1.max(number);
        }
    }

    /// Numbers that were said.
    pub fn len(&self) -> usize {
        self.said.len()
    }

    /// What was acknowledged, last of each.
    pub fn acknowledged(&self) -> Vec<(Owner, Kind, u64)> {
        self.acknowledged.iter().map(|(owner, (kind, number))| (owner.clone(), *kind, *number)).collect()
    }

    /// Whether what is known of a value can be, if `number` was acknowledged last.
    pub fn judge_kept(&self, owner: &Owner, number: u64, found: Option<u64>) -> Result<(), String> {
        let Some(found) = found else {
            return Err(format!("{number} of {owner:?} was acknowledged and is lost"));
        };
        if found < number {
            return Err(format!("{number} of {owner:?} was acknowledged, and there is {found}"));
        }
        match self.said.get(&found) {
            Some((said_by, _)) if said_by == owner => Ok(()),
            _somebody_else => Err(format!("{found} of {owner:?} was never said of it")),
        }
    }

    /// Whether a subscriber may see a message.
    pub fn judge_seen(&self, topic: &str, payload: &str) -> Result<(), String> {
        for number in numbers(payload) {
            let Some(((tenant, device, _), kind)) = self.said.get(&number) else {
                return Err(format!("nobody has said {number}, which came to {topic}"));
            };
            let what = match kind {
                Kind::Telemetry => "telemetry",
                Kind::Attribute => "attributes",
                Kind::Nothing => return Err(format!("{number} means nothing and came to {topic}")),
            };
            let allowed = format!("thingsboard/{tenant}/{}/{what}", escaped(device));
            if topic != allowed {
                return Err(format!("{number} of {allowed} came to {topic}"));
            }
        }
        Ok(())
    }

    /// Whether a subscriber may see a message, whatever its device is called now: it has said it under its tenant's root.
    pub fn judge_root(&self, topic: &str, payload: &str) -> Result<(), String> {
        for number in numbers(payload) {
            let Some(((tenant, _, _), _)) = self.said.get(&number) else {
                return Err(format!("nobody has said {number}, which came to {topic}"));
            };
            let levels: Vec<&str> = topic.split('/').collect();
            if levels.len() != 4 || levels[..2] != ["thingsboard", tenant] {
                return Err(format!("{number} of {tenant} came to {topic}"));
            }
        }
        Ok(())
    }

    /// Whether a device of a tenant may be told something.
    pub fn judge_told(&self, tenant: &str, payload: &str) -> Result<(), String> {
        for number in numbers(payload) {
            match self.said.get(&number) {
                Some(((owner, _, _), _)) if *owner == tenant => {}
                _somebody_else => return Err(format!("a device of {tenant} was told {number}")),
            }
        }
        Ok(())
    }
}

/// Numbers of the ledger in a payload: those that follow a colon and are large.
fn numbers(payload: &str) -> Vec<u64> {
    payload
        .split(|symbol: char| !symbol.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix('n').and_then(|digits| digits.parse().ok()))
        .collect()
}

/// A number as a value that is found again.
pub(crate) fn word(number: u64) -> String {
    format!("n{number}")
}

/// The number of a value.
pub(crate) fn number(word: &str) -> Option<u64> {
    word.trim_matches('"').strip_prefix('n')?.parse().ok()
}

/// A name as one level of a canonical topic.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for symbol in name.chars() {
        if "/+#%$".contains(symbol) {
            out.push_str(&format!("%{:02X}", u32::from(symbol)));
        } else {
            out.push(symbol);
        }
    }
    out
}
