//! Talk files: conformance scenarios in plain text, played in memory or over TCP.
//!
//! Why a language of its own: a scenario is read far more often than it is run, and the same lines must run in virtual
//! time on several simulated cores and against the real binary. `docs/TALK.md` is its reference.
//!
//! Invariants:
//! - Nothing in here uses the broker's codec: what the server says is read by a decoder of its own.
//! - One script, one world, one thread; a run in memory is the same every time.

mod client;
pub mod conformance;
pub mod corpus;
mod exchange;
mod fit;
mod hear;
mod hearing;
mod lexer;
mod memory;
mod packet;
mod play;
mod property;
mod say;
mod script;
mod step;
mod tcp;
mod uttered;
mod value;
mod watch;
mod world;

pub use memory::MemoryWorld;
pub use packet::Version;
pub use play::{Failure, play};
pub use script::{Header, Script};
pub use step::{Denial, Order, PolicyChange, Right};
pub use tcp::{Launch, TcpWorld};
pub use world::{Arrived, HangUp, LineId, World};
