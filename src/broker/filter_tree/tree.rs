//! The map from topic filters to values, asked by topic.
//!
//! Why the exact filters stand apart: they are the many, and one look-up answers for all of them at once.
//!
//! Invariants:
//! - `exact` holds no filter with a wildcard and `wild` no filter without.

use crate::directory::{Directory, Named, hasher_of};

use super::trie::Trie;

/// A map from topic filters to values of `T` that finds all filters matching a topic.
///
/// Filters are valid topic filters (section 4.7.1) without a `$share/<group>/` prefix; the caller has checked them.
/// About 170 bytes per wildcard filter of the form `site/<n>/+/x` and 50 bytes per exact filter are needed besides the
/// filter's bytes and `T`.
#[derive(Debug)]
pub struct FilterTree<T> {
    exact: Directory<Exact<T>>,
    wild: Trie<T>,
}

impl<T> FilterTree<T> {
    /// An empty tree whose hash tables are keyed by `seed`, which must be secret where clients choose filters.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = hasher_of(seed);
        Self { exact: Directory::new(hasher.clone()), wild: Trie::new(hasher) }
    }

    /// How many filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.wild.len()
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under exactly this filter. Cost: the levels of the filter.
    #[must_use]
    pub fn get(&self, filter: &str) -> Option<&T> {
        if has_wildcard(filter) {
            return self.wild.get(filter);
        }
        self.exact.find(filter.as_bytes()).map(|id| &self.exact[id].value)
    }

    /// The value under exactly this filter, to change it. Cost: the levels of the filter.
    pub fn get_mut(&mut self, filter: &str) -> Option<&mut T> {
        if has_wildcard(filter) {
            return self.wild.get_mut(filter);
        }
        let id = self.exact.find(filter.as_bytes())?;
        Some(&mut self.exact[id].value)
    }

    /// The value under this filter; a default value is put there first if there is none. Cost: the levels of the filter.
    pub fn entry(&mut self, filter: &str) -> &mut T
    where
        T: Default,
    {
        if has_wildcard(filter) {
            return self.wild.entry(filter);
        }
        let id = match self.exact.find(filter.as_bytes()) {
            Some(id) => id,
            None => self.exact.insert(Exact { filter: filter.into(), value: T::default() }),
        };
        &mut self.exact[id].value
    }

    /// Removes a filter with all that was needed for it alone. Cost: the levels of the filter.
    pub fn remove(&mut self, filter: &str) -> Option<T> {
        if has_wildcard(filter) {
            return self.wild.remove(filter);
        }
        let id = self.exact.find(filter.as_bytes())?;
        Some(self.exact.remove(id).value)
    }

    /// Visits the value of every filter that matches `topic`, each once: the exact filter first, then those with
    /// wildcards, a literal level before `+` and a shorter `#` before a longer one.
    ///
    /// A wildcard in the first level does not match a topic that begins with `$`, and `a/#` matches `a`.
    /// Cost: one look-up, and one step for each node of the trie that matches the beginning of the topic. Without
    /// wildcards in the way these are as many as the topic has levels; the worst that a set of filters can do is to
    /// have all its nodes visited once. No allocation and no recursion, however deep the topic is.
    ///
    /// Source: [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.2-1], [MQTT-4.7.3-4].
    pub fn matches<'a>(&'a self, topic: &str, mut visit: impl FnMut(&'a T)) {
        if let Some(id) = self.exact.find(topic.as_bytes()) {
            visit(&self.exact[id].value);
        }
        if !self.wild.is_empty() {
            self.wild.matches(topic, &mut visit);
        }
    }

    /// All filters and their values, sorted by the filter's bytes. Builds and sorts a list: for dumps and tests.
    pub fn iter(&self) -> impl Iterator<Item = (String, &T)> {
        let exact = self.exact.iter().map(|entry| (entry.filter.to_string(), &entry.value));
        let mut all: Vec<(String, &T)> = exact.chain(self.wild.iter()).collect();
        all.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        all.into_iter()
    }

    #[cfg(test)]
    pub(super) fn slots_in_use(&self) -> usize {
        self.exact.len() + self.wild.slots_in_use()
    }
}

#[derive(Debug)]
struct Exact<T> {
    filter: Box<str>,
    value: T,
}

impl<T> Named for Exact<T> {
    fn name(&self) -> &[u8] {
        self.filter.as_bytes()
    }
}

/// In a valid filter these two characters stand only for wildcards.
fn has_wildcard(filter: &str) -> bool {
    filter.contains(['+', '#'])
}
