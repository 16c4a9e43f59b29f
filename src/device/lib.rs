//! What the broker knows of devices, whatever dialect they speak. Today: the trait by which a dialect introduces them.
//!
//! Why a waist: shards must place and admit clients without knowing vendors, and vendors' dialects must not know shards.
//!
//! Invariants:
//! - Nothing here knows a core, a socket or a session.

use mqtt::Connect;

/// One way in which devices speak over MQTT.
pub trait Dialect: Sync + std::fmt::Debug {
    /// The name by which the configuration knows it.
    fn name(&self) -> &'static str;

    /// Says who a CONNECT comes from.
    fn introduce<'a>(&self, connect: &Connect<'a>) -> Introduction<'a>;
}

/// Who a client is, before it is admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Introduction<'a> {
    /// What decides the client's home core: the same for all connections that share a state.
    pub placement_key: &'a str,
}
