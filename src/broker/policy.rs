//! Who may do what: the question that the exchange asks and somebody else answers.
//!
//! Invariants:
//! - The exchange asks before an effect: before a session is touched, a message routed, a subscription kept.

use mqtt::{Connect, ReasonCode};

/// Authentication and authorisation. Answers must be immediate; a decision that needs I/O is made before.
pub trait Policy: Send + Sync + std::fmt::Debug {
    /// Judges a CONNECT.
    ///
    /// # Errors
    /// The code for the CONNACK. Source: [MQTT-3.1.4-2].
    fn authenticate(&self, connect: &Connect<'_>) -> Result<(), ReasonCode>;
    /// Whether a client may publish to a topic. Source: section 5.4.2.
    fn may_publish(&self, client_id: &str, topic: &str) -> bool;
    /// Whether a client may subscribe to a filter (the inner one of `$share`).
    fn may_subscribe(&self, client_id: &str, filter: &str) -> bool;
    /// Whether a client may receive a message of a topic, asked at every delivery.
    fn may_receive(&self, client_id: &str, topic: &str) -> bool;
}
