//! What others may see of durability: what each listener promises, and how the store is.
//!
//! Invariants:
//! - Asking never waits for the store.

use std::sync::Arc;

use super::figures::Board;
use super::post::Office;
use crate::config::{Config, name_of};
use crate::listen::Listening;

/// Watches durability from any thread.
#[derive(Clone, Debug)]
pub struct StoreWatch {
    listeners: Arc<str>,
    board: Option<Arc<Board>>,
}

impl StoreWatch {
    pub(crate) fn new(config: &Config, bound: &[Listening], office: Option<&Office>) -> Self {
        let promises = config.listener.iter().zip(bound);
        let promises = promises.map(|(listener, listening)| {
            let durability = name_of(config.durability_of(listener));
            format!(
                "ringmq_listener_info{{address=\"{}\",durability=\"{durability}\"}} 1\n",
                listening.address
            )
        });
        let listeners: String =
            std::iter::once("# TYPE ringmq_listener_info gauge\n".to_owned()).chain(promises).collect();
        Self { listeners: listeners.into(), board: office.map(|office| office.board().clone()) }
    }

    /// Why the broker is not ready, if the store is the reason.
    #[must_use]
    pub fn ailment(&self) -> Option<String> {
        self.board.as_ref().and_then(|board| board.figures().ailment())
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let store = self.board.as_ref().map(|board| board.figures().metrics());
        format!("{}{}", self.listeners, store.unwrap_or_default())
    }
}
