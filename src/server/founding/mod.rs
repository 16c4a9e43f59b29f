//! What a broker with devices has from its first start on: a tenant with a profile, administrators with a password, and the
//! secret that signs their tokens.

mod administrators;
mod secret;
mod tenancy;
#[cfg(test)]
mod tests;

pub use administrators::Founded;
pub(crate) use administrators::found_administrators;
pub(crate) use secret::{Fault, draw, token_secret};
pub(crate) use tenancy::found_tenant;
