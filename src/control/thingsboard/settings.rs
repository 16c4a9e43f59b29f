//! How the HTTP API of devices behaves: what the operator decides.
//!
//! Invariants:
//! - The secret never reaches a log.

use std::fmt;

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
}

impl fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}
