//! Why a doorway is closed: what a peer did wrong below MQTT.
//!
//! Invariants:
//! - A fault ends this connection and no other.

use thiserror::Error;

/// What is wrong with the stream below MQTT. The connection is closed behind the reply that the coats have ready.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CoatFault {
    /// The PROXY header is broken or too long, or there is none where one must be.
    #[error("sent no valid PROXY header: {0}")]
    Proxy(String),
    /// TLS failed: no common version or suite, a certificate that is not accepted, broken records.
    #[error("failed in TLS: {0}")]
    Tls(String),
    /// The HTTP request is not an acceptable upgrade, or a frame breaks the rules of RFC 6455.
    #[error("failed in WebSocket: {0}")]
    WebSocket(String),
    /// MQTT came in a text frame. Source: [MQTT-6.0.0-1].
    #[error("sent a WebSocket text frame")]
    TextFrame,
    /// The peer closed the WebSocket or the TLS session; nothing is wrong, and nothing more will come.
    #[error("has closed its side")]
    Closed,
}
