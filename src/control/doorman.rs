//! Who counts failed logins by address, over all ways in.
//!
//! Why a trait: whoever guesses over HTTP and over MQTT is one and the same, and the one who counts stands at the doors of
//! MQTT.
//!
//! Invariants:
//! - Asking never waits.

use std::net::IpAddr;

/// Counts failed logins by address.
pub trait Doorman: Send + Sync {
    /// Whether an address has failed too often lately.
    fn shuts_out(&self, from: IpAddr) -> bool;

    /// Somebody there has shown what nobody has.
    fn failed(&self, from: IpAddr);

    /// Somebody there has shown what is right.
    fn succeeded(&self, from: IpAddr);
}
