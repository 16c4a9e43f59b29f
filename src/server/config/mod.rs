//! Configuration: one table of keys, from which the parser, the environment overrides, the default file and its
//! comments derive.
//!
//! Why no derive on the structs: the limits belong to a pure room that knows no file format, and a complaint must name
//! the file, the line, the column and the key that was probably meant.
//!
//! Invariants:
//! - A key exists if and only if it stands in the table; the compiler checks that every limit does.
//! - Later sources win: defaults, file, environment, command line.

mod authentication;
mod complaint;
mod devices;
mod file;
mod keys;
mod overrides;
mod render;
mod rules;
mod sections;
mod setting;
mod transport;

#[cfg(test)]
mod tests;

pub(crate) use authentication::ChainMember;
pub use authentication::{Access, Authenticator, AuthenticatorKind, CertificateUse, Names};
pub use complaint::{Complaint, Place};
pub use devices::Devices;
pub use overrides::{Sources, load};
pub use render::default_file;
pub use sections::{Config, ControlPlane, Listener, Log, LogFormat, LogLevel, Server, Store, Sys};
pub(crate) use setting::name_of;
pub(crate) use transport::NamedPair;
pub use transport::{
    Bind, ClientCertificate, KeyPairs, Networks, NotAnAddress, NotNetworks, NotPairs, Protocol, TlsKeys,
    TlsMin,
};
