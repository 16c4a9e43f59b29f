//! What a shard tells a human: a closed vocabulary of levels, a kind to limit rates by, and one line of text.
//!
//! Invariants:
//! - A notice is never made on the warm path of a message.

use std::fmt;

/// How urgent a notice is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// For someone who watches one client.
    Debug,
    /// The ordinary life of the broker.
    Info,
    /// Somebody should look at it.
    Warn,
}

/// What a notice is about; the edge limits the rate of each kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NoticeKind {
    /// A client connected.
    Connected,
    /// A connection ended as the client wished.
    Disconnected,
    /// A client broke a statement of the standard, or went silent.
    Violation,
    /// A CONNECT was refused.
    Refused,
    /// A limit was reached.
    Limit,
    /// A client exceeds its rates.
    Quota,
    /// The store cannot do what it should.
    Store,
}

/// One line for a human.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How urgent.
    pub level: Level,
    /// About what.
    pub kind: NoticeKind,
    /// The line, without a full stop at its end.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
