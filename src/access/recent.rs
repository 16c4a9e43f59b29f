//! What was found out a moment ago, under names that say nothing: a table from keyed hashes to findings, with a limit and
//! a lifetime.
//!
//! Why: after a power cut ten thousand clients come back at once, and a hash that costs 30 ms on purpose would let them in
//! within minutes. What was proven a short while ago need not be proven again.
//!
//! Why that is sound: a password never stands in here. The name of a finding is HMAC-SHA-256, with a key that lives as
//! long as the table, of everything that the finding depends on; whoever does not know all of that cannot produce the
//! name, and whoever could read the key could read passwords on their way in as well. Only what was proven is kept, so a
//! wrong guess always pays the full price.
//!
//! Invariants:
//! - Parts are told apart by their lengths: no two different lists of parts have one name.
//! - A finding is not used beyond its lifetime, which use does not prolong, nor when the clock stands before its beginning.
//! - The table never holds more than its limit; the oldest goes first.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a key and of a name.
const NAME_BYTES: usize = 32;

/// The name of a finding.
pub type Tag = [u8; NAME_BYTES];

/// Findings of type `T`.
pub struct Recent<T> {
    key: [u8; NAME_BYTES],
    entries: HashMap<Tag, Entry<T>, RandomState>,
    /// In the order in which they were kept; a line whose moment is not that of the entry is out of date.
    order: VecDeque<(Tag, u64)>,
    entries_max: usize,
    lifetime_ms: u64,
}

struct Entry<T> {
    finding: T,
    kept_at_ms: u64,
}

impl<T> std::fmt::Debug for Recent<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl<T> Recent<T> {
    /// An empty table; `key` must be random and known to nobody.
    ///
    /// # Panics
    /// If it may hold nothing.
    #[must_use]
    pub fn new(key: [u8; NAME_BYTES], entries_max: usize, lifetime_ms: u64) -> Self {
        assert!(entries_max > 0);
        // Names are the output of a keyed hash already, so nobody can choose where they fall.
        let entries = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        Self { key, entries, order: VecDeque::new(), entries_max, lifetime_ms }
    }

    /// The name of what depends on exactly these parts.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length is a key");
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// What was found out under a name, unless that is too long ago; the time in milliseconds.
    #[must_use]
    pub fn find(&self, tag: &Tag, now_ms: u64) -> Option<&T> {
        let entry = self.entries.get(tag)?;
        let age_ms = now_ms.checked_sub(entry.kept_at_ms)?;
        (age_ms < self.lifetime_ms).then_some(&entry.finding)
    }

    /// Keeps what was just found out.
    pub fn keep(&mut self, tag: Tag, finding: T, now_ms: u64) {
        if self.lifetime_ms == 0 {
            return;
        }
        while self.order.len() >= self.entries_max {
            self.drop_oldest();
        }
        self.order.push_back((tag, now_ms));
        self.entries.insert(tag, Entry { finding, kept_at_ms: now_ms });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    /// How many findings there are, those included whose time is over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn drop_oldest(&mut self) {
        let Some((tag, kept_at_ms)) = self.order.pop_front() else { return };
        if self.entries.get(&tag).is_some_and(|entry| entry.kept_at_ms == kept_at_ms) {
            self.entries.remove(&tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Recent<u8> {
        Recent::new([7; 32], 3, 1000)
    }

    #[test]
    fn a_finding_is_known_for_its_lifetime_and_use_does_not_prolong_it() {
        let mut recent = table();
        let tag = recent.tag(&[b"ann", b"secret"]);
        recent.keep(tag, 1, 5000);
        assert_eq!(recent.find(&tag, 5000), Some(&1));
        assert_eq!(recent.find(&tag, 5999), Some(&1));
        assert_eq!(recent.find(&tag, 6000), None);
        assert_eq!(recent.find(&tag, 4999), None, "the clock was set back");
    }

    #[test]
    fn parts_cannot_be_moved_from_one_to_the_next() {
        let recent = table();
        let tags = [
            recent.tag(&[b"ann", b"secret"]),
            recent.tag(&[b"anns", b"ecret"]),
            recent.tag(&[b"annsecret", b""]),
            recent.tag(&[b"annsecret"]),
            Recent::<u8>::new([8; 32], 3, 1000).tag(&[b"ann", b"secret"]),
        ];
        for (place, tag) in tags.iter().enumerate() {
            assert!(!tags[..place].contains(tag), "{place}");
        }
    }

    #[test]
    fn the_table_stays_within_its_limit_and_forgets_the_oldest() {
        let mut recent = table();
        let tags: Vec<Tag> = (0..100u8).map(|number| recent.tag(&[&[number]])).collect();
        for (number, tag) in (0..100u8).zip(&tags) {
            recent.keep(*tag, number, 10);
            recent.keep(tags[0], 0, u64::from(number) + 10);
        }
        assert!(recent.len() <= 3 && recent.order.len() <= 3);
        assert_eq!(recent.find(&tags[1], 110), None);
        assert_eq!(recent.find(&tags[0], 110), Some(&0));
    }

    #[test]
    fn without_a_lifetime_nothing_is_kept() {
        let mut recent = Recent::new([7; 32], 3, 0);
        let tag = recent.tag(&[b"ann"]);
        recent.keep(tag, 1, 5);
        assert!(recent.is_empty() && recent.find(&tag, 5).is_none());
        let mut recent = table();
        recent.keep(tag, 1, 5);
        recent.clear();
        assert!(recent.is_empty() && recent.find(&tag, 5).is_none());
    }
}
