//! The registry: which tenants, profiles, devices and packages there are, and who a client is by what it shows.

mod kinds;
mod limits;
mod login;
mod shelf;
#[cfg(test)]
mod tests;
mod write;

pub use limits::{NAME_CHARS_MAX, PROFILES_MAX, check_name};
pub use shelf::{Clash, Registry};
pub use write::NewDevice;
