//! The limits of the guard, from the configuration.
//!
//! Invariants:
//! - Zero is no limit, everywhere.

use crate::config::{Config, Listener};

/// The limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Of the whole broker.
    pub(super) broker: Crowd,
    /// Of each listener, in the order of the configuration.
    pub(super) listeners: Vec<Crowd>,
    /// Failed logins of one address.
    pub(super) failed_logins_max: u32,
}

/// How many may be there, and how fast they may come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crowd {
    pub(super) connections_max: u32,
    pub(super) per_address_max: u32,
    pub(super) per_s_max: u32,
    /// Whether failed logins of an address do not matter there.
    pub(super) forgets_failures: bool,
}

impl Rules {
    /// Those of a configuration, for a process that has room for so many connections.
    pub(crate) fn of(config: &Config, connections_max: u32) -> Self {
        let limits = &config.limits;
        let crowd = |listener: &Listener| Crowd {
            connections_max: listener.connections_max,
            per_address_max: listener.connections_per_address_max,
            per_s_max: listener.connects_per_s_max,
            forgets_failures: listener.has_devices && !config.devices.failed_logins_count,
        };
        Self {
            broker: Crowd {
                connections_max,
                per_address_max: limits.connections_per_address_max,
                per_s_max: limits.connects_per_s_max,
                forgets_failures: false,
            },
            listeners: config.listener.iter().map(crowd).collect(),
            failed_logins_max: limits.failed_logins_per_address_max,
        }
    }

    /// Whether connections must be counted by address.
    pub(super) fn count_addresses(&self) -> bool {
        self.listeners.iter().chain([&self.broker]).any(|crowd| crowd.per_address_max > 0)
    }
}
