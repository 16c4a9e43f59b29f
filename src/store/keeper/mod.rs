//! What the exchange promised, as records: changes in, records out, and changes again at recovery.
//!
//! Why apart from the engine: this is where messages could be lost by a mistake of ours, so it runs on a model that can
//! crash anywhere just as it runs on the disk.
//!
//! Invariants:
//! - A commit holds everything accepted before it, of all cores, and nothing in part.

mod devices;
mod fetch;
mod handovers;
mod keep;
mod pending;
mod recover;
mod retained;

pub use handovers::Settled;
pub use keep::{Flushed, Keeper};
pub use recover::{Heads, Progress, Recovered};
