//! Accepts changes of all cores, and flushes them: one commit, one sync.
//!
//! Why a commit takes everything: what one core wrote may rest on what another wrote before, so a commit is a cut through
//! the history of the whole broker.
//!
//! Invariants:
//! - A turn is reported as durable once: after the sync that covers it, or when nothing of it is left to be written.
//! - A flush that found no space has lost nothing: the next one carries it all.
//! - Numbers of sessions are never given twice.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use ahash::RandomState;
use broker::{Change, CoreId, RetainedVersion, Written};
use stdx::Instant;

use crate::anchor::Anchor;
use crate::engine::{Batch, Engine};
use crate::fault::Fault;
use crate::record::{BELONGINGS, Key, Record, SessionRecord, range_of_session};

#[cfg(test)]
use super::devices::Pace;
use super::devices::{Shelf, TooOld};
use super::handovers::{Giver, Settled};
use super::pending::{Before, Pending, is_without_body};
use super::retained::{RecentWrites, Verdict};

/// Records of ended sessions that are removed along with one flush.
const PURGE_MAX: usize = 2_000;

/// The memory of a batch of more bytes is not used again.
const BATCH_KEPT_BYTES: usize = 16_777_216;

/// Turns changes into records on an engine, and back.
pub struct Keeper<E> {
    pub(super) engine: E,
    pub(super) anchor: Anchor,
    pub(super) sessions: HashMap<Arc<str>, u64, RandomState>,
    pub(super) next_number: u64,
    pub(super) pending: Pending,
    /// What is known of devices.
    pub(super) shelf: Shelf,
    pub(super) recent: RecentWrites,
    /// Ended sessions whose records are still there.
    pub(super) ended: VecDeque<u64>,
    /// What the first of them had up to this key is gone.
    purge_from: Vec<u8>,
    /// Why a change could not be accepted: told by the next flush.
    refused: Option<Fault>,
    batch: Batch,
}

/// What one flush has made durable.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flushed {
    /// The last turn of each core that handed something over since the flush before.
    pub turns: Vec<(CoreId, u64)>,
    /// The last ticket since then.
    pub ticket: Option<u64>,
    /// Records written or removed.
    pub writes: usize,
    /// Bytes of their keys and values.
    pub bytes: usize,
    /// Points of history among those removed that had grown too old.
    pub expired: usize,
    /// Commands among those removed that had ended, because younger ones have.
    pub commands: usize,
}

impl<E: Engine> Keeper<E> {
    /// A keeper on an engine whose records it does not know yet: [`Keeper::recover`] comes first.
    #[must_use]
    pub fn new(engine: E, anchor: Anchor) -> Self {
        Self {
            engine,
            anchor,
            sessions: HashMap::default(),
            next_number: 1,
            pending: Pending::default(),
            shelf: Shelf::default(),
            recent: RecentWrites::default(),
            ended: VecDeque::new(),
            purge_from: Vec::new(),
            refused: None,
            batch: Batch::default(),
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Of each device, so many commands that have ended are kept; to be said before [`Keeper::recover`].
    pub fn keep_commands(&mut self, kept_max: usize) {
        self.shelf.ended.kept_max = kept_max;
    }

    /// The engine, to be crashed.
    #[cfg(test)]
    pub(crate) fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Rounds of expiry have slices of so many looks from now on.
    #[cfg(test)]
    pub(crate) fn look_slowly(&mut self, glances_max: usize, looks_max: usize) {
        self.shelf.pace = Pace { glances_max, looks_max, ..Pace::default() };
    }

    /// Deletions take many flushes from now on, however little they delete, and what is said together is written together
    /// from the first time on.
    #[cfg(test)]
    pub(crate) fn clear_slowly(&mut self) {
        self.shelf.pace = Pace { at_once_max: 1, sweep_max: 3, row_after: 1, ..Pace::default() };
    }

    /// Gives the engine back; what was not flushed is lost.
    #[must_use]
    pub fn into_engine(self) -> E {
        self.engine
    }

    /// Takes over what a core wants written: one turn, in one commit.
    pub fn accept(&mut self, core: CoreId, written: Written, device_changes: Vec<device::Change>) {
        self.pending.handovers.begin(Giver::Core(core, written.turn), written.is_urgent);
        for change in written.changes {
            let accepted = self.accept_change(change);
            self.note_refusal(accepted);
        }
        self.accept_devices(device_changes);
    }

    /// Takes over what was changed outside of turns. Tickets rise from call to call; when one is reported, this and all that
    /// was accepted before it is durable. Without changes it only asks for that.
    pub fn keep(&mut self, ticket: u64, changes: Vec<device::Change>) {
        self.pending.handovers.begin(Giver::Outside(ticket), true);
        self.accept_devices(changes);
    }

    fn accept_devices(&mut self, changes: Vec<device::Change>) {
        for change in changes {
            let accepted = self.shelf.accept(&self.engine, &mut self.pending.handovers, change);
            self.note_refusal(accepted);
        }
    }

    /// Points that are older than their profile allows are looked for, some with each flush until the slice is through.
    /// `now_ms` is the time of the wall in Unix milliseconds. To be called now and then; does nothing where all is kept.
    pub fn expire(&mut self, now_ms: i64) {
        self.shelf.begin_expiry(now_ms);
    }

    /// Whether [`Keeper::expire`] has anything to look for.
    #[must_use]
    pub fn can_expire(&self) -> bool {
        self.shelf.can_expire()
    }

    /// Whether a slice of a round was begun by [`Keeper::expire`] and is not done yet.
    #[must_use]
    pub fn is_expiring(&self) -> bool {
        self.shelf.expiry().is_due()
    }

    /// Whether the last slice was the end of a round over all devices.
    #[must_use]
    pub fn is_between_rounds(&self) -> bool {
        self.shelf.expiry().is_between_rounds()
    }

    fn note_refusal(&mut self, accepted: Result<(), Fault>) {
        if let Err(fault) = accepted {
            self.refused.get_or_insert(fault);
        }
    }

    /// What needs no disk any more: all that was to be written of it, and of all before it, has come and gone since. Each is
    /// told once, here or by a flush.
    pub fn take_settled(&mut self) -> Settled {
        // After a fault nothing may be acknowledged any more.
        if self.refused.is_some() { Settled::default() } else { self.pending.handovers.take_settled() }
    }

    /// How many handovers were accepted and not reported.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.pending.handovers.len()
    }

    /// Whether an acknowledgement waits for what was accepted.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.pending.handovers.is_urgent()
    }

    /// Bytes accepted and not yet durable, roughly: messages at what they cost in memory.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.bytes() + self.shelf.bytes()
    }

    /// Whether a flush would have nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.pending.handovers.is_empty()
            && self.ended.is_empty()
            && self.shelf.is_idle()
    }

    /// Makes everything accepted durable.
    ///
    /// # Errors
    /// `Full`: nothing is lost, flush again later. Any other kind: nothing may be acknowledged any more.
    pub fn flush(&mut self) -> Result<Flushed, Fault> {
        if let Some(fault) = &self.refused {
            return Err(fault.clone());
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        self.pending.encode(self.anchor, &mut batch);
        self.shelf.encode(&mut batch);
        let (purged, purge_from) = self.purge(&mut batch)?;
        let swept = self.shelf.sweep(&self.engine, &mut batch)?;
        self.pending.note_tried();
        if !batch.is_empty() {
            self.engine.commit(&batch)?;
            self.engine.sync()?;
        }
        let Settled { turns, ticket } = self.pending.clear();
        self.ended.drain(..purged);
        self.purge_from = purge_from;
        let TooOld { points: expired, commands } = self.shelf.clear(swept);
        let (writes, bytes) = (batch.len(), batch.bytes());
        let flushed = Flushed { turns, ticket, writes, bytes, expired, commands };
        // One upload of firmware shall not be paid for for ever.
        self.batch = if batch.bytes() > BATCH_KEPT_BYTES { Batch::default() } else { batch };
        Ok(flushed)
    }

    /// Adds removals of what ended sessions left behind; returns with how many sessions it is done, and how far it is
    /// with the next one.
    fn purge(&self, batch: &mut Batch) -> Result<(usize, Vec<u8>), Fault> {
        let mut left = PURGE_MAX;
        let mut reached = self.purge_from.clone();
        for (done, number) in self.ended.iter().enumerate() {
            for kind in BELONGINGS {
                let range = range_of_session(kind, *number);
                let start = range.start.max(reached.clone());
                let mut visit = |key: &[u8], _value: &[u8]| {
                    if left == 0 {
                        return Ok(ControlFlow::Break(()));
                    }
                    left -= 1;
                    batch.remove(key);
                    reached = key.to_vec();
                    Ok(ControlFlow::Continue(()))
                };
                self.engine.scan(&start..&range.end, &mut visit)?;
                if left == 0 {
                    return Ok((done, reached));
                }
            }
            reached.clear();
        }
        Ok((self.ended.len(), Vec::new()))
    }

    /// The number of a client's session, if it has one.
    fn known(&self, client_id: &str) -> Option<u64> {
        self.sessions.get(client_id).copied()
    }

    /// The number of a client's session.
    fn number_of(&mut self, client_id: &Arc<str>) -> u64 {
        if let Some(number) = self.sessions.get(client_id) {
            return *number;
        }
        // The exchange writes a session down before anything of it. If it ever did not, keep what comes all the same.
        let never = SessionRecord {
            client_id: Arc::clone(client_id),
            expiry_s: u32::MAX,
            ends_at: Instant::NEVER,
            is_connected: false,
            will: None,
            owner: None,
        };
        self.begin_session(never)
    }

    fn begin_session(&mut self, session: SessionRecord) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.sessions.insert(Arc::clone(&session.client_id), number);
        self.pending.put(Key::Session(number), Record::Session(session), Before::Nothing);
        number
    }

    fn accept_change(&mut self, change: Change) -> Result<(), Fault> {
        match change {
            Change::Session { client_id, expiry_s, ends_at, is_connected, will, owner } => {
                let session = SessionRecord { client_id, expiry_s, ends_at, is_connected, will, owner };
                self.accept_session(session);
            }
            Change::SessionEnded { client_id } => self.end_session(&client_id),
            Change::Subscribed { client_id, filter, terms } => {
                let key = Key::Subscription(self.number_of(&client_id), filter.clone());
                self.pending.put(key, Record::Subscription { filter, terms }, Before::Anything);
            }
            Change::Unsubscribed { client_id, filter } => {
                if let Some(number) = self.known(&client_id) {
                    self.pending.remove(Key::Subscription(number, filter));
                }
            }
            Change::Received { client_id, packet_id, shipped } => {
                let key = Key::Received(self.number_of(&client_id), packet_id.get());
                self.pending.put(key, Record::Received { shipped }, Before::Anything);
            }
            Change::Completed { client_id, packet_id } => {
                if let Some(number) = self.known(&client_id) {
                    self.pending.remove(Key::Received(number, packet_id.get()));
                }
            }
            Change::Handled { core, from, turn } => {
                let key = Key::Handled(core.get(), from.get());
                self.pending.put(key, Record::Handled { turn }, Before::Anything);
            }
            Change::Retained { message, version } => {
                if self.is_newest(message.topic(), version)? {
                    let key = Key::Retained(message.topic().into());
                    self.pending.put(key, Record::Retained { message, version }, Before::Anything);
                }
            }
            Change::RetainedCleared { topic, version } => {
                if self.is_newest(&topic, version)? {
                    self.pending.remove(Key::Retained(topic));
                }
            }
            Change::Spilled { .. } => {}
            on_its_way @ (Change::Queued { .. }
            | Change::Dropped { .. }
            | Change::Sent { .. }
            | Change::Released { .. }
            | Change::Settled { .. }) => self.accept_message(on_its_way),
        }
        Ok(())
    }

    /// A message on its way to one session.
    fn accept_message(&mut self, change: Change) {
        match change {
            Change::Queued { client_id, seq, copy } => {
                let key = Key::Message(self.number_of(&client_id), seq);
                self.pending.put(key, Record::Message(copy), Before::Nothing);
            }
            Change::Dropped { client_id, seq } => {
                if let Some(number) = self.known(&client_id) {
                    self.pending.remove(Key::Message(number, seq));
                }
            }
            Change::Sent { client_id, seq, packet_id, copy } => {
                let key = Key::Inflight(self.number_of(&client_id), packet_id.get());
                let record = Record::Inflight { seq, is_released: false, copy };
                self.pending.put(key, record, Before::Nothing);
            }
            Change::Released { client_id, seq, packet_id } => {
                let number = self.number_of(&client_id);
                let key = Key::Inflight(number, packet_id.get());
                // The message itself, unless it is known that it never was a queued one.
                if !is_without_body(self.pending.find(&key).flatten()) {
                    self.pending.remove(Key::Message(number, seq));
                }
                let record = Record::Inflight { seq, is_released: true, copy: None };
                self.pending.put(key, record, Before::Anything);
            }
            Change::Settled { client_id, seq, packet_id } => {
                if let Some(number) = self.known(&client_id) {
                    let has_no_body = self.pending.settle(number, packet_id.get());
                    if !has_no_body {
                        self.pending.remove(Key::Message(number, seq));
                    }
                }
            }
            _no_message_on_its_way => unreachable!("the caller has sorted these out"),
        }
    }

    fn accept_session(&mut self, session: SessionRecord) {
        match self.sessions.get(&session.client_id) {
            Some(number) => {
                self.pending.put(Key::Session(*number), Record::Session(session), Before::Anything);
            }
            None => drop(self.begin_session(session)),
        }
    }

    fn end_session(&mut self, client_id: &str) {
        let Some(number) = self.sessions.remove(client_id) else { return };
        // Whatever of it is on disk is purged; the rest need not get there.
        self.pending.forget_inflight(number);
        self.pending.forget_range(Key::Message(number, 0)..=Key::Message(number, u64::MAX));
        self.pending.forget_range(Key::Received(number, 0)..=Key::Received(number, u16::MAX));
        self.pending
            .forget_range(Key::Subscription(number, "".into())..=Key::Subscription(number + 1, "".into()));
        self.pending.remove(Key::Session(number));
        if self.pending.find(&Key::Session(number)).is_some() {
            self.ended.push_back(number);
        }
    }

    /// Whether no newer write of this topic was seen; notes this one.
    fn is_newest(&mut self, topic: &str, version: RetainedVersion) -> Result<bool, Fault> {
        let is_newest = match self.recent.judge(topic, version) {
            Verdict::Newer => true,
            Verdict::Older => false,
            Verdict::Unknown => self.version_on_disk(topic)?.is_none_or(|known| known < version),
        };
        if is_newest {
            self.recent.note(topic, version);
        }
        Ok(is_newest)
    }

    fn version_on_disk(&self, topic: &str) -> Result<Option<RetainedVersion>, Fault> {
        let mut key = Vec::new();
        Key::Retained(topic.into()).encode(&mut key);
        let Some(value) = self.engine.read(&key)? else { return Ok(None) };
        match Record::decode(&key, &value, self.anchor)? {
            Record::Retained { version, .. } => Ok(Some(version)),
            _other_kinds_have_other_keys => Ok(None),
        }
    }
}
