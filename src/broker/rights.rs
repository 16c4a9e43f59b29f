//! What one client may do: the question that the exchange asks and somebody else answers.
//!
//! Why per client and not per request: whoever let a client in knows its name, its token and the rules that apply; the
//! exchange keeps the answer-giver with the session and asks it about topics only.
//!
//! Invariants:
//! - Answers are immediate, and may change from one call to the next when rules are changed.
//! - The exchange asks before an effect: before a message is routed, a subscription kept, a message delivered.

use std::fmt::Debug;

use stdx::WallMs;

/// What a client that was let in may do. Shared by its connection, its will and its session.
pub trait Rights: Send + Sync + Debug {
    /// Whether it may publish to a topic, asked again when its will is sent. Source: section 5.4.2.
    fn may_publish(&self, topic: &str) -> bool;
    /// Whether it may subscribe to a filter (the inner one of `$share`).
    fn may_subscribe(&self, filter: &str) -> bool;
    /// Whether it may receive a message of a topic, whatever path the message took.
    fn may_receive(&self, topic: &str) -> bool;
    /// The user that it was let in as; none for anonymous clients. What the store keeps of a session's owner.
    fn user(&self) -> Option<&str>;
    /// When what let it in runs out (a token); the connection ends then.
    fn expires_at(&self) -> Option<WallMs>;
}
