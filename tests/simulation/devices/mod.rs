//! Devices, gateways and their children on several cores, with a disk that loses everything that it has not synced.
//!
//! Why its own world: what devices are promised is not what MQTT promises. Values that were acknowledged are there after a
//! crash, and what a tenant's devices say is seen under that tenant's root only.
//!
//! Invariants:
//! - A run is a function of its seed and its [`Trick`].
//! - Every value is a number that is used once, so whatever is seen says who has said it.

mod actor;
mod hostile;
mod leaky;
mod ledger;
mod stage;

pub use hostile::run_hostile;
pub use stage::{Ending, run_devices};

/// A promise that is broken on purpose, to see whether the ledger notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trick {
    /// The disk loses one change of devices.
    LoseChange,
    /// Acknowledgements do not wait for the disk.
    Hurry,
    /// What devices say is brought to subscribers by its own topic too.
    Leak,
    /// What devices say is brought to subscribers under another tenant's root.
    Confuse,
    /// Homes are not told of devices that are deleted.
    Forgetful,
}
