//! The control plane: HTTP on a thread of its own, never on a data core.
//!
//! Why apart: whoever reads metrics must not cost a message its turn. The thread asks the cores through their own
//! channels and waits for the answers; a core that does not answer in time makes the broker not ready.
//!
//! Invariants:
//! - Nothing here blocks a core.

mod doorman;
mod metrics;
mod serve;
mod thingsboard;

pub use doorman::Doorman;
pub use serve::{Ask, ControlError, Reloaded, Sources, start};
pub use thingsboard::ApiSettings;
