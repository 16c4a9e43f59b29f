//! The hub: what is known of the devices at home on one core, and what becomes of what they say.

mod commands;
mod desk;
mod hearing;
mod outcome;
#[cfg(test)]
mod tests;
mod writing;

pub use commands::NotOrdered;
pub use desk::{Hub, HubCounters, HubTerms};
pub use outcome::{Addressed, Outcome, Refusal, Report};
