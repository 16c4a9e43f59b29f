//! The command line of the null relay.
//!
//! Invariants:
//! - The form on RingMQ's own ring is a program of its own, `ring-relay`, and not among these.

use clap::{Args, ValueEnum};

use crate::options::ListenOptions;

/// Options of `null-relay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct NullRelayOptions {
    #[command(flatten)]
    pub(crate) listening: ListenOptions,
    /// What carries the bytes.
    #[arg(long, value_enum, default_value_t = RelayForm::Epoll)]
    pub(crate) form: RelayForm,
}

/// How a relay reads and writes.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RelayForm {
    /// Plain level-triggered epoll.
    Epoll,
    /// glommio's TcpStream.
    Glommio,
}
