//! The whole broker in one thread from one seed, judged by an independent model.
//!
//! Why: what goes wrong in a broker of many cores goes wrong between events: a takeover while a batch is late, a SUBACK
//! that overtakes the interest it promises, a window that closes during a replay. Here every order of events is one
//! seed, a million of them cost minutes, and each can be played again.
//!
//! Invariants:
//! - One seed, one run, bit for bit.
//! - Nothing here is part of the broker, and the oracle shares no code with it.

mod client;
mod devices;
mod dice;
mod disk;
mod message;
mod mutant;
mod oracle;
mod plan;
mod power;
mod rig;
mod rights;
mod run;
mod topic;
mod trace;
mod wire;
mod world;

pub use devices::{Ending, Trick, run_devices, run_hostile};
pub use dice::Dice;
pub use mutant::{Lie, Mutant};
pub use oracle::{Rule, Violation};
pub use power::{Cut, Fate, Fraud, run_powerless};
pub use rig::{ClientEnd, Place, Rig, Socket, Yield};
pub use rights::{Breach, Paths, Verdict, run_ruled};
pub use run::{Outcome, run, run_spoken, run_with};
pub use topic::{matches, split_share};
pub use trace::Trace;
