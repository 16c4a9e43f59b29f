//! Brokers side by side: starts each, loads it, stops it, in turns, and prints a table.
//!
//! Why interleaved and fresh each time: a machine drifts within minutes, so A B C, A B C, ... lets every broker meet
//! the same weather; a fresh process keeps one run's leftovers out of the next.
//!
//! Invariants:
//! - Broker and generator sit on different processors and the compared figure is the broker's CPU time, so a slow
//!   generator cannot flatter a broker.
//! - What could not be started or failed is named in the table, never left out silently.
//! - Nothing that was started stays behind, however the comparison ends.

mod counters;
mod door;
mod figures;
mod floors;
mod keeper;
mod load;
mod machine;
mod options;
mod page;
mod peers;
mod process;
mod run;
mod table;
mod target;

pub(crate) use door::{CERTIFICATE, Door, KEY, certify};
pub(crate) use keeper::tether;
pub(crate) use machine::Machine;
pub(crate) use options::{CompareOptions, TetherOptions};
pub(crate) use run::compare;
