//! What the store says: what is safe on disk, what was read back, and how it is.
//!
//! Invariants:
//! - Nothing that the store says late or twice does harm.

use stdx::Instant;

use crate::change::{Fetched, StoreHealth, Written};
use crate::exchange::Exchange;
use crate::link::LinkId;
use crate::notice::{Level, NoticeKind};
use crate::parcel::Parcel;
use crate::session::SessionKey;

impl Exchange {
    /// Everything that this core wanted written up to `turn` is synced.
    pub fn durable(&mut self, turn: u64) {
        assert!(turn < self.journal.gate.turn());
        self.journal.gate.durable(turn);
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

    /// Bytes handed to the store and not synced yet, roughly.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        u64::try_from(self.journal.gate.unsynced_bytes()).expect("usize has 64 bits")
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

    /// Asks the cores that got messages whose publishers wait, and answers those that asked.
    pub(crate) fn ask_and_answer(&mut self) {
        for (core, turn) in self.journal.gate.take_due() {
            self.outgoing.to(core).parcels.push(Parcel::Kept(turn));
        }
        if self.journal.gate.asking() > 0 {
            let turn = self.journal.gate.turn();
            for core in self.journal.gate.take_asked().iter() {
                self.outgoing.to(core).parcels.push(Parcel::Ask(turn));
            }
        }
    }

    /// Gives what this turn wrote; links whose turn has become safe have bytes to send.
    pub(crate) fn close_turn(&mut self) -> Option<Written> {
        let changes = std::mem::take(&mut self.journal.changes);
        let beside = std::mem::take(&mut self.journal.beside) > 0;
        let beside_bytes = std::mem::take(&mut self.journal.beside_bytes);
        let told = self.journal.gate.end_turn(&changes, beside.then_some(beside_bytes));
        while let Some((key, id)) = self.journal.gate.next_opened() {
            self.open_link(key, id);
        }
        told.map(|(turn, is_urgent)| Written { turn, changes, is_urgent })
    }

    /// Compared with a later stamp, this says whether anything was written down or asked of another core in between.
    #[inline]
    pub(crate) fn stamp(&self) -> usize {
        self.journal.stamp()
    }

    /// What is written to this client next depends on what was written down or asked since `stamp` was taken.
    #[inline]
    pub(crate) fn mark_since(&mut self, key: SessionKey, stamp: usize) {
        if self.stamp() == stamp {
            return;
        }
        if let Some(link) = self.sessions.get_mut(key.index()).and_then(|session| session.link.as_deref_mut())
        {
            self.journal.gate.mark(key, link);
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
