//! The doorway: what connections of each listener wear, made from certificates and keys in files.
//!
//! Why in the room with windows: reading files and asking the wall clock are for nobody else. What comes out are values
//! ([`wire::Wardrobe`]), which cores are given at the start and again whenever the files have changed.

mod first_try;
mod open;
mod papers;
mod possession;
mod server_names;
mod session;

#[cfg(test)]
mod chains;
#[cfg(test)]
mod tests;

pub use first_try::{CertError, make_first_certificates};
pub use open::inspect;
pub(crate) use open::{Doorway, Rereading};
