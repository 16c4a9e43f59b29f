//! Bytes that nobody meant, against everything that reads bytes.
//!
//! Why plain functions: a target takes bytes and panics if a promise is broken, so a test, the loop in `main.rs` and any
//! coverage-guided fuzzer can call the same one. A target that only must not panic finds little, so each also holds an
//! invariant: what was decoded can be encoded again, two ways to cut a stream agree, two matchers agree, a bystander is
//! served while others misbehave.
//!
//! Invariants:
//! - A target is a function of its bytes: no clock, no chance, no state between two calls.

mod arrivals;
mod conversations;
mod golden;
mod mutator;
mod packet;
mod script;
mod targets;
mod watch;

pub use golden::golden;
pub use mutator::Mutator;
pub use script::{Bystander, Network, bend, script};
pub use targets::{
    TARGETS, Target, acl, config, connect, devices, filters, packet_v3, packet_v5, passwords, properties,
    proxy, store, stream_splitter, target, tls, websocket,
};
pub use watch::{begin, crashes_folder, load, watch};
