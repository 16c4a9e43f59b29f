//! What can go wrong between the socket and MQTT.
//!
//! Invariants:
//! - Every fault ends its connection and says why in words.

/// Why a layer gave up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum LayerFault {
    /// TLS: versions, suites, certificates, records.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The broker did not agree to a WebSocket, or broke its rules.
    #[error("WebSocket failed: {0}")]
    WebSocket(String),
    /// The broker closed the WebSocket with this code.
    #[error("the broker closed the WebSocket with code {0}")]
    Closed(u16),
}
