//! The registry: which tenants, profiles, devices and packages there are, and who a client is by what it shows.

mod login;
mod shelf;
#[cfg(test)]
mod tests;
mod write;

pub use shelf::{Clash, Registry};
pub use write::NewDevice;
