//! The world in memory: the real shards on simulated cores, in one thread and in virtual time.

mod policy;
mod settings;
mod world;

pub use settings::settings;
pub use world::MemoryWorld;
