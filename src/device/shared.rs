//! The registry as cores see it: one for all of them, lent for the length of a call.
//!
//! Why a trait that lends: a device may connect on any core, so all look into the same registry; how it is shared is the
//! business of whoever has threads. A simulator lends a plain one.
//!
//! Invariants:
//! - Cores ask per connection, per new child, per part of a package and per provisioning; never per message.
//! - What a call changed is on its way to the store before anybody else sees it. A core that acknowledges something that
//!   rests on it ends its own turn later, so one commit order holds for both.

use std::fmt::Debug;

use crate::change::Change;
use crate::registry::Registry;

/// Lends the registry.
pub trait SharedRegistry: Send + Sync + Debug {
    /// To look at.
    fn read(&self, look: &mut dyn FnMut(&Registry));

    /// To change; what the caller leaves in the list is written down. Changes in it that are no business of the registry
    /// (attributes) are written down too, and the caller tells them to the hubs that they belong to.
    fn change(&self, change: &mut dyn FnMut(&mut Registry, &mut Vec<Change>));
}
