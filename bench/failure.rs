//! What can end a run early, as one list.
//!
//! Why one enum: every failure reaches a person as one line, and the exit code must not depend on which room spoke.
//!
//! Invariants:
//! - Each variant names what was being attempted, so that the line is useful without a trace.

use std::io;

/// A reason for ending without a report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The options contradict each other or the machine.
    #[error("{0}")]
    Usage(String),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Os {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A client could not get ready.
    #[error("client {client}: {cause}")]
    Client {
        /// The client id.
        client: String,
        /// What stood in the way.
        cause: String,
    },
    /// Not all clients were ready in time.
    #[error("only {ready} of {wanted} clients were ready after {waited_s} s")]
    Slow {
        /// Clients that got ready.
        ready: u64,
        /// Clients that were asked for.
        wanted: u64,
        /// Patience, in seconds.
        waited_s: u64,
    },
    /// A broker under comparison did not start or a run against it failed.
    #[error("{target}: {cause}")]
    Target {
        /// The target's name.
        target: String,
        /// What went wrong.
        cause: String,
    },
}

impl Failure {
    /// Says what was attempted when the system refused.
    pub(crate) fn os(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Os { what: what.into(), source: source.into() }
    }

    /// The process exit code: 2 for usage, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Os { .. } | Self::Client { .. } | Self::Slow { .. } | Self::Target { .. } => 1,
        }
    }
}
