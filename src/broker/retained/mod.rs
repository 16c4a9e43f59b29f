//! Retained messages: one per topic, replayed by filter a piece at a time.
//!
//! Why a replica on every core: a subscriber's replay then asks nobody and its order is simple. Writers on different
//! cores are ordered by versions, so replicas agree whatever order the writes arrive in.
//!
//! Invariants:
//! - Replicas that have applied the same writes hold the same messages, as far as tombstones were kept long enough.
//! - A replay costs a bounded number of steps per call, whatever the filter.
//!
//! Source: MQTT 5.0 section 3.3.1.3, MQTT 3.1.1 section 3.3.1.3.

mod order;
mod scan;
mod store;

#[cfg(test)]
mod tests;

pub use scan::{RetainedCursor, Scan};
pub use store::{Retainable, Retained, RetainedLimits, RetainedVersion, SetOutcome};
