//! A world in which dialects are tried: a registry, a hub, and devices that say what a table of vectors says.
//!
//! Why no broker: what a device is told depends on dialect, registry and hub only; the world joins them as a core does, without
//! sockets and windows.
//!
//! Invariants:
//! - Time moves only when a vector waits.
//! - What a device sees is written as one line per packet, in order.

pub mod client;
pub mod house;
pub mod scene;
pub mod script;
pub mod world;
