//! The filter tree: which filters match a topic, and what is kept under each of them.
//!
//! Why two indexes: most filters of devices name one topic exactly, and those need one hash look-up; only filters with
//! a wildcard need a trie.
//!
//! Invariants:
//! - A filter is in exactly one of the two: with `+` or `#` in the trie, else in the directory.
//! - What is visited, and in which order, depends on the set of filters alone.
//!
//! Source: MQTT 5.0 and 3.1.1, section 4.7.

mod tree;
mod trie;

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod tests;

pub use tree::FilterTree;
