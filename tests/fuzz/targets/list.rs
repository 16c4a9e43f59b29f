//! All targets by name.

use super::{
    acl, config, connect, devices, filters, packet_v3, packet_v5, passwords, properties, proxy, store,
    stream_splitter, tls, websocket,
};
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
    Target { name: "websocket", run: websocket, mutants: 30_000 },
    Target { name: "proxy", run: proxy, mutants: 100_000 },
    Target { name: "tls", run: tls, mutants: 4_000 },
    Target { name: "acl", run: acl, mutants: 60_000 },
    Target { name: "passwords", run: passwords, mutants: 60_000 },
    Target { name: "config", run: config, mutants: 20_000 },
    Target { name: "devices", run: devices, mutants: 100_000 },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
