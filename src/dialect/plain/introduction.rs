//! How a plain client is introduced.
//!
//! Invariants:
//! - Connections with one client identifier have one home. Source: [MQTT-3.1.3-2].

use device::{Dialect, Introduction};
use mqtt::Connect;

/// Plain MQTT, as the standard has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

impl Dialect for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn introduce<'a>(&self, connect: &Connect<'a>) -> Introduction<'a> {
        Introduction { placement_key: connect.client_id }
    }
}
