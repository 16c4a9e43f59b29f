//! The window to the kernel: executors, the socket driver of each core, the mesh between cores, configuration, signals
//! and the log.
//!
//! Why all of this in one room: every other room of the data plane is a value that is told what happened. Whatever
//! touches a socket, a clock, a thread or a file on their behalf stands here, where it can be reviewed at once.
//!
//! Invariants:
//! - A core's mind is driven by one thread, its own.
//! - `unsafe` occurs only in the folder `ring`.
#![allow(clippy::disallowed_methods, reason = "this room reads the clock for all others")]

mod bell;
mod clock;
mod control;
mod cores;
mod driver;
mod launch;
mod listen;
mod mesh;
mod mind;
mod notices;
mod ring;

pub use clock::Clock;
pub use cores::{Cores, CoresError, allowed_cpus};
pub use launch::{LaunchError, Plan, Running, Stopper, launch};
pub use listen::{ListenError, Listening, listen};
pub use mind::Mind;
