//! How the HTTP API of devices behaves: what the operator decides.
//!
//! Invariants:
//! - The secret never reaches a log.

use std::fmt;

use device::Offer;

/// What the operator decides.
#[derive(Clone)]
pub struct ApiSettings {
    /// Signs tokens; at least 32 bytes that nobody guesses.
    pub jwt_secret: Vec<u8>,
    /// How long a token lasts, in seconds.
    pub token_s: u64,
    /// How long a token that fetches new tokens lasts, in seconds.
    pub refresh_s: u64,
    /// Who answers calls of devices: an address that they are posted to. None answers none.
    pub webhook: Option<String>,
    /// How long it may take, in milliseconds.
    pub webhook_ms: u64,
    /// The largest packet of a device, which a device is told if it asks.
    pub packet_bytes_max: usize,
    /// What a device may say at a listener, which it is told if it asks.
    pub offer: Offer,
    /// The same for a gateway.
    pub gateway_offer: Offer,
    /// The time that a device gets to answer a command if nobody says, in milliseconds.
    pub command_ms: i64,
    /// The shortest such time.
    pub command_ms_min: i64,
    /// Whether every device that nobody owns may be claimed; otherwise an attribute of it must say so.
    pub claiming_allowed: bool,
    /// Whose pages browsers let use the API; `*` is everybody's.
    pub allowed_origins: Vec<String>,
}

impl fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}
