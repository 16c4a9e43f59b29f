//! Who has called the hub of this core from another thread, and waits.
//!
//! Why numbers: a shard knows no channels, and a reply may leave many turns after its call.
//!
//! Invariants:
//! - A caller is told once, or finds his channel closed.

use std::collections::BTreeMap;

use device::{HubReply, News};
use flume::Sender;
use platform::Platform;

/// Those who wait for replies and news.
#[derive(Default)]
pub(super) struct Callers {
    platform: Option<Platform>,
    waiting: BTreeMap<u64, Sender<HubReply>>,
    next_call: u64,
}

impl Callers {
    /// Nobody yet; `platform` is told the news.
    pub(super) fn new(platform: Option<Platform>) -> Self {
        Self { platform, ..Self::default() }
    }

    /// Somebody calls. Gives the number of the call.
    pub(super) fn add(&mut self, reply: Sender<HubReply>) -> u64 {
        let call = self.next_call;
        self.next_call += 1;
        self.waiting.insert(call, reply);
        call
    }

    /// Gives a reply to whoever waits for it.
    pub(super) fn answer(&mut self, call: u64, reply: HubReply) {
        if let Some(caller) = self.waiting.remove(&call) {
            // Whoever called may have given up waiting.
            let _ = caller.send(reply);
        }
    }

    /// Tells news to those who are outside.
    pub(super) fn tell(&self, news: News) {
        if let Some(platform) = &self.platform {
            let _somebody_waited = platform.tell(news);
        }
    }
}
