//! All targets by name.

use super::{connect, filters, packet_v3, packet_v5, properties, store, stream_splitter};
use crate::script::script;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its folder in the corpus.
    pub name: &'static str,
    /// Takes any bytes and panics if a promise is broken.
    pub run: fn(&[u8]),
    /// How many mutants `cargo test -p fuzz` tries.
    pub mutants: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "packet_v3", run: packet_v3, mutants: 300_000 },
    Target { name: "packet_v5", run: packet_v5, mutants: 300_000 },
    Target { name: "connect", run: connect, mutants: 300_000 },
    Target { name: "properties", run: properties, mutants: 200_000 },
    Target { name: "stream_splitter", run: stream_splitter, mutants: 200_000 },
    Target { name: "filters", run: filters, mutants: 40_000 },
    Target { name: "store", run: store, mutants: 300_000 },
    Target { name: "script", run: script, mutants: 10_000 },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
