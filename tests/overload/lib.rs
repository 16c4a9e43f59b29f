//! What the scenarios of overload share: a broker to be loaded, crowds of clients in one thread, and a bystander who must
//! be served all the while.
//!
//! Why one thread: a crowd that takes turns with the bystander loads the broker the same on a fast machine and on a slow
//! one, and what is asserted are counts.
//!
//! Invariants:
//! - Nothing waits for a time to pass; every wait is for an event and has an end.

pub mod bystander;
pub mod client;
pub mod crowd;
pub mod process;
pub mod stage;
