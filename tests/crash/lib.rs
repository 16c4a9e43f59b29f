//! Kills the broker, cuts its power, fills and damages its disk, and counts what it had promised.
//!
//! Why from outside: a promise is what a client was told. The ledger knows the broker's command line and MQTT, and nothing
//! else; it keeps its own book of what was acknowledged, and judges by that book alone.
//!
//! Invariants:
//! - No code is shared with the broker, except the seeded randomness of `stdx`.
//! - A rule is broken only by what is certain: what the broker may or may not have done is never held against it.

pub mod book;
pub mod broker;
pub mod campaign;
pub mod cast;
pub mod clock;
pub mod ground;
pub mod link;
pub mod payload;
pub mod ports;
pub mod powercut;
pub mod probe;
pub mod report;
pub mod track;
pub mod wire;
pub mod world;
