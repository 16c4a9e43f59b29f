//! The capacity planner: measures what things cost on this machine and says how many machines the devices need.
//!
//! Why measured each time: a cost belongs to a processor, a kernel, a disk and a configuration, and a plan made with
//! somebody else's costs is a wish.
//!
//! Invariants:
//! - Measurements are made by commands of this program that a person can repeat.
//! - What the measurements do not determine is printed as unknown or as the two ends of what it could be.

mod broker;
mod campaign;
mod client;
mod coat;
mod disk;
mod limits;
mod listeners;
mod load;
mod memory;
mod options;
mod page;
mod planner;
mod profile;
mod report;
mod scaling;
mod search;
mod slo;
mod statistics;
mod usl;
mod verify;
mod wire;

pub(crate) use options::PlanOptions;
pub(crate) use planner::plan;
