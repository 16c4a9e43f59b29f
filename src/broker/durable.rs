//! What the store says: what is safe on disk, what was read back, and how it is.
//!
//! Invariants:
//! - Nothing that the store says late or twice does harm.

use stdx::Instant;

use crate::change::{Fetched, StoreHealth};
use crate::exchange::Exchange;
use crate::link::LinkId;
use crate::notice::{Level, NoticeKind};
use crate::session::SessionKey;

impl Exchange {
    /// Everything that this core wanted written up to `turn` is synced.
    pub fn durable(&mut self, turn: u64) {
        assert!(turn < self.gate.turn());
        self.gate.durable(turn);
    }

    /// Queued messages came back from disk.
    pub fn fetched(&mut self, now: Instant, fetched: Fetched) {
        let Some(key) = self.by_client.get(&fetched.client_id).copied() else { return };
        let session = &mut self.sessions[key.index()];
        let Some(waiting) = session.waiting.as_mut().filter(|_| session.serial == fetched.serial) else {
            return;
        };
        let Some(before) = waiting.spilled else { return };
        let is_empty = fetched.messages.is_empty();
        for (seq, copy) in fetched.messages {
            waiting.unspill(seq, copy);
        }
        let after = waiting.spilled.as_mut().expect("it was there above");
        after.is_fetching = false;
        let lost = if is_empty { after.messages } else { 0 };
        let left = *after;
        if is_empty || left.messages == 0 {
            waiting.spilled = None;
        }
        let left_messages = waiting.spilled.map_or(0, |spilled| spilled.messages);
        let left_bytes = waiting.spilled.map_or(0, |spilled| spilled.bytes);
        self.counters.spilled_messages -= before.messages - left_messages;
        self.counters.spilled_bytes -= before.bytes - left_bytes;
        if waiting.spilled.is_none() {
            self.counters.queued_messages -= lost;
            self.counters.queued_bytes -= left.bytes;
        }
        if lost > 0 {
            self.counters.dropped_unreadable += lost;
            let text = format!("{lost} queued messages of client {:?} are not on disk", fetched.client_id);
            self.notice(Level::Warn, NoticeKind::Store, text);
        }
        self.pump(now, key);
    }

    /// The store has no space, or has it again.
    pub fn store_is(&mut self, health: StoreHealth) {
        if self.store_health != health && self.core.get() == 0 {
            let text = match health {
                StoreHealth::Good => "there is space on disk again",
                StoreHealth::Full => "no space on disk: QoS 1 and 2 messages that must be kept are refused",
            };
            self.notice(Level::Warn, NoticeKind::Store, text.into());
        }
        self.store_health = health;
    }

    /// Compared with a later stamp, this says whether anything was written down or asked of another core in between.
    #[inline]
    pub(crate) fn stamp(&self) -> usize {
        self.journal.changes.len() + self.gate.asking()
    }

    /// What is written to this client next depends on what was written down or asked since `stamp` was taken.
    #[inline]
    pub(crate) fn mark_since(&mut self, key: SessionKey, stamp: usize) {
        if self.stamp() == stamp {
            return;
        }
        if let Some(link) = self.sessions.get_mut(key.index()).and_then(|session| session.link.as_deref_mut())
        {
            self.gate.mark(key, link);
        }
    }

    /// A turn that this link waited for is safe.
    pub(crate) fn open_link(&mut self, key: SessionKey, id: LinkId) {
        let Some(link) = self.link_mut(key).filter(|link| link.id == id) else { return };
        if !link.is_dirty && !link.out.is_empty() {
            link.is_dirty = true;
            self.dirty.push(key);
        }
    }
}
