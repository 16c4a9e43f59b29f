//! Scenario files: who connects, subscribes and publishes when.
//!
//! Why JSON lines: a person writes ten of them by hand, a script makes ten thousand from a recording, and a mistake is
//! on a line with a number. The format is described in bench/README.md.
//!
//! Invariants:
//! - A scenario that leaves here names only groups that connect, and only lawful topics, filters and QoS.

mod line;
mod script;

pub(crate) use script::{Action, Publication, Scenario};
