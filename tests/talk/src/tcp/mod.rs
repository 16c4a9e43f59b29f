//! The world of real sockets: a server process, connections to it, and a fence.

mod fence;
mod plug;
mod server;
mod world;

pub use server::Launch;
pub use world::TcpWorld;
