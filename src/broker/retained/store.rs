//! The retained messages of one core's replica.
//!
//! Why versions and tombstones: cores write concurrently and hear of each other's writes late and in different orders.
//! The higher version wins everywhere; a cleared topic must therefore remember by which version it was cleared, or an
//! older message that arrives late would come back on some cores and not on others.
//!
//! Invariants:
//! - A topic has one entry: a message or a tombstone. `order` holds exactly the ids of messages.
//! - `bytes` is the sum of the messages' costs, `tombstone_bytes` that of the tombstones' costs; `owned` has the same sum
//!   for each owner that has a message, and nobody else.
//! - Tombstones never exceed their limits; messages exceed theirs only by what other cores accepted concurrently.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::mem;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Account;

use crate::arena::Id;
use crate::directory::{Directory, Named, hasher_of};

use super::order::{Order, Place, compare};
use super::scan::{RetainedCursor, Scan};

/// What can be retained: it knows its topic, so that the topic is kept once.
pub trait Retainable {
    /// The topic name; always the same for one value.
    fn topic_bytes(&self) -> &[u8];

    /// What it costs in memory, in bytes; always the same for one value.
    fn cost_bytes(&self) -> usize;

    /// Who wrote it; always the same for one value. 0 is the broker itself, which has no share to exceed.
    fn owner(&self) -> u64;
}

/// The age of a write: the higher counter is newer, and among equals the higher core.
///
/// The counter is a Lamport clock: each core counts its writes and first moves its count up to any counter it hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetainedVersion {
    /// Rises with every write on a core.
    pub counter: u64,
    /// The core that wrote.
    pub core: u16,
}

/// How much a replica may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Messages, that is, topics.
    pub messages_max: usize,
    /// Bytes of all messages, as [`Retainable::cost_bytes`] counts them.
    pub bytes_max: usize,
    /// Bytes of the messages of one owner.
    pub owner_bytes_max: usize,
    /// Tombstones; the one with the lowest version goes first.
    pub tombstones_max: usize,
    /// Bytes of all tombstones.
    pub tombstone_bytes_max: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self {
            messages_max: 1_000_000,
            bytes_max: 1_073_741_824,
            owner_bytes_max: 268_435_456,
            tombstones_max: 65_536,
            tombstone_bytes_max: 16_777_216,
        }
    }
}

/// What became of a message that was to be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// It is retained now.
    Stored {
        /// The topic had no message before.
        was_new: bool,
    },
    /// The topic was set or cleared by this or a newer version; nothing changed.
    Older,
    /// A limit is reached; nothing changed, and a previous message of the topic is still retained.
    Full,
}

/// One retained message per topic.
///
/// About 70 bytes per message are needed besides its own cost.
#[derive(Debug)]
pub struct Retained<M> {
    entries: Directory<Entry<M>>,
    order: Order,
    tombstones: BTreeSet<(RetainedVersion, Id)>,
    owned: HashMap<u64, usize, ahash::RandomState>,
    limits: RetainedLimits,
    messages: usize,
    bytes: usize,
    tombstone_bytes: usize,
}

impl<M: Retainable> Retained<M> {
    /// An empty replica whose hash table is keyed by `seed`, which must be secret where clients choose topics.
    #[must_use]
    pub fn new(seed: u64, limits: RetainedLimits) -> Self {
        Self {
            entries: Directory::new(hasher_of(seed)),
            order: Order::new(),
            tombstones: BTreeSet::new(),
            owned: HashMap::with_hasher(hasher_of(seed)),
            limits,
            messages: 0,
            bytes: 0,
            tombstone_bytes: 0,
        }
    }

    /// How many messages are retained.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether no message is retained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// The cost of all messages in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many cleared topics are remembered.
    #[cfg(test)]
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// The message of a topic. Cost: one look-up.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&M> {
        self.entries[self.entries.find(topic.as_bytes())?].message()
    }

    /// The version by which a topic was last set or cleared, as far as that is remembered. Cost: one look-up.
    #[cfg(test)]
    #[must_use]
    pub fn version_of(&self, topic: &str) -> Option<RetainedVersion> {
        self.entries.find(topic.as_bytes()).map(|id| self.entries[id].version)
    }

    /// All messages with their versions, sorted level by level.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (&M, RetainedVersion)> {
        self.order.iter().map(|id| (self.message(id), self.entries[id].version))
    }

    /// Whether `owner` may write a message of that cost for that topic.
    ///
    /// In place of another message it needs room only for what it is larger. Cost: two look-ups.
    #[must_use]
    pub fn has_room(&self, topic: &str, cost_bytes: usize, owner: u64) -> bool {
        self.is_within_limits(self.entries.find(topic.as_bytes()), cost_bytes, owner)
    }

    /// Retains what was written on this core, within the limits as [`Retained::has_room`] says.
    ///
    /// Cost: one look-up; for a new topic also a search in the order of topics.
    /// Source: [MQTT-3.3.1-5].
    pub fn set(&mut self, message: M, version: RetainedVersion) -> SetOutcome {
        let known = self.entries.find(message.topic_bytes());
        if self.is_stale(known, version) {
            return SetOutcome::Older;
        }
        if !self.is_within_limits(known, message.cost_bytes(), message.owner()) {
            return SetOutcome::Full;
        }
        self.put(known, message, version)
    }

    /// Retains what another core has accepted, or what is restored: never [`SetOutcome::Full`].
    ///
    /// Replicas must not judge limits again, since near a limit they would disagree for ever about what was accepted.
    /// The excess is bounded by what the cores accept before they hear of each other.
    pub fn replicate(&mut self, message: M, version: RetainedVersion) -> SetOutcome {
        let known = self.entries.find(message.topic_bytes());
        if self.is_stale(known, version) {
            return SetOutcome::Older;
        }
        self.put(known, message, version)
    }

    /// Clears a topic, whether written here or elsewhere, and says whether a message went.
    ///
    /// The version is remembered even if there was no message, since an older one may still be on its way.
    /// Source: [MQTT-3.3.1-6], [MQTT-3.3.1-7].
    pub fn clear(&mut self, topic: &str, version: RetainedVersion) -> bool {
        let known = self.entries.find(topic.as_bytes());
        if self.is_stale(known, version) {
            return false;
        }
        self.bury(known, topic, version)
    }

    /// Removes the message of a topic because its time is over, and says whether there was one.
    ///
    /// Every replica does so by itself. The version is remembered like that of a clear, and newer writes are not hindered.
    /// Source: [MQTT-3.3.2-5].
    pub fn expire(&mut self, topic: &str) -> bool {
        let Some(id) = self.entries.find(topic.as_bytes()) else { return false };
        self.bury(Some(id), topic, self.entries[id].version)
    }

    /// Forgets the tombstones whose counter is below `counter`.
    ///
    /// Safe when no write below `counter` can arrive any more. Channels between cores keep their order and counters of
    /// one core rise, so that is the least of the counters last heard from the other cores.
    ///
    /// The limits on tombstones may forget sooner: those of the lowest versions, whose rivals have had the longest time
    /// to arrive. If a rival is still on its way after so many clears, a cleared message shows again on the cores where
    /// it arrives late, until the topic is written next. Refusing all late messages instead would lose messages of other
    /// topics, which nobody could see and mend.
    pub fn forget_tombstones_before(&mut self, counter: u64) {
        while self.tombstones.first().is_some_and(|(version, _)| version.counter < counter) {
            self.forget_oldest_tombstone();
        }
    }

    /// Visits messages whose topics match `filter`, in the order of their topics' levels, from where `cursor` stands.
    ///
    /// Call again with the same filter and cursor while the answer is [`Scan::More`]; messages may be set and cleared in
    /// between. A message that is retained during the whole replay is visited once. One that is replaced is visited
    /// once, in its state at that moment; one that comes or goes meanwhile is visited at most once.
    ///
    /// `chunk`, at least 1, bounds the steps of this call. A step visits at most one message and costs at most one
    /// search, O(log n); often it costs one comparison. So no more than `chunk` messages are visited, and possibly none.
    ///
    /// An exact filter is one look-up and `a/b/#` takes one step per message. A filter with `+` takes about two steps per
    /// distinct beginning of a topic that matches the filter up to a `+`, however many topics lie below it.
    ///
    /// Source: [MQTT-3.3.1-9], [MQTT-4.7.2-1], section 4.7.1.
    pub fn scan(
        &self,
        filter: &str,
        cursor: &mut RetainedCursor,
        chunk: usize,
        mut visit: impl FnMut(&M),
    ) -> Scan {
        assert!(chunk > 0);
        if cursor.is_finished() {
            return Scan::Done;
        }
        if !filter.contains(['+', '#']) {
            self.get(filter).into_iter().for_each(visit);
            return cursor.finish();
        }
        let edits = self.order.edits();
        let mut place = cursor.place(edits).unwrap_or_else(|| self.place_of(cursor.bound()));
        for _ in 0..chunk {
            let Some(id) = self.order.get(place) else { return cursor.finish() };
            let message = self.message(id);
            let step = cursor.step(filter, message.topic_bytes());
            if step.is_match {
                visit(message);
            }
            if step.is_last {
                return cursor.finish();
            }
            place = self.order.seek_behind(place, |id| self.is_before(id, cursor.bound()));
        }
        cursor.rest(place, edits)
    }

    fn is_stale(&self, known: Option<Id>, version: RetainedVersion) -> bool {
        known.is_some_and(|id| self.entries[id].version >= version)
    }

    fn is_within_limits(&self, known: Option<Id>, cost_bytes: usize, owner: u64) -> bool {
        let replaced = known.and_then(|id| self.entries[id].message());
        let replaced_bytes = replaced.map_or(0, M::cost_bytes);
        let is_smaller = replaced.is_some() && cost_bytes <= replaced_bytes;
        let messages = self.messages + usize::from(replaced.is_none());
        let bytes = self.bytes - replaced_bytes + cost_bytes;
        let has_total = messages <= self.limits.messages_max && bytes <= self.limits.bytes_max;
        let own_replaced = replaced.filter(|message| message.owner() == owner).map_or(0, M::cost_bytes);
        let owned = self.owned.get(&owner).copied().unwrap_or(0) - own_replaced + cost_bytes;
        let has_share = owner == 0 || owned <= self.limits.owner_bytes_max || cost_bytes <= own_replaced;
        (is_smaller || has_total) && has_share
    }

    fn put(&mut self, known: Option<Id>, message: M, version: RetainedVersion) -> SetOutcome {
        let had_message = self.write(known, Entry { version, held: Held::Message(message) });
        SetOutcome::Stored { was_new: !had_message }
    }

    fn bury(&mut self, known: Option<Id>, topic: &str, version: RetainedVersion) -> bool {
        let had_message =
            self.write(known, Entry { version, held: Held::Tombstone(topic.as_bytes().into()) });
        while self.tombstones.len() > self.limits.tombstones_max
            || self.tombstone_bytes > self.limits.tombstone_bytes_max
        {
            self.forget_oldest_tombstone();
        }
        had_message
    }

    /// Puts `entry` in the place of what its topic had, and says whether that was a message.
    fn write(&mut self, known: Option<Id>, entry: Entry<M>) -> bool {
        let is_message = entry.message().is_some();
        let (id, had_message) = match known {
            None => (self.entries.insert(entry), false),
            Some(id) => {
                let old = mem::replace(&mut self.entries[id], entry);
                self.unbook(id, &old);
                (id, old.message().is_some())
            }
        };
        self.book(id);
        if is_message != had_message {
            let place = self.place_of(self.entries[id].name());
            if is_message { self.order.insert(place, id) } else { self.order.remove(place) }
        }
        had_message
    }

    fn book(&mut self, id: Id) {
        let entry = &self.entries[id];
        match &entry.held {
            Held::Message(message) => {
                self.messages += 1;
                self.bytes += message.cost_bytes();
                *self.owned.entry(message.owner()).or_default() += message.cost_bytes();
            }
            Held::Tombstone(topic) => {
                self.tombstone_bytes += tombstone_cost_bytes(topic);
                self.tombstones.insert((entry.version, id));
            }
        }
    }

    fn unbook(&mut self, id: Id, old: &Entry<M>) {
        match &old.held {
            Held::Message(message) => {
                self.messages -= 1;
                self.bytes -= message.cost_bytes();
                if let Account::Occupied(mut owned) = self.owned.entry(message.owner()) {
                    *owned.get_mut() -= message.cost_bytes();
                    if *owned.get() == 0 {
                        owned.remove();
                    }
                }
            }
            Held::Tombstone(topic) => {
                self.tombstone_bytes -= tombstone_cost_bytes(topic);
                self.tombstones.remove(&(old.version, id));
            }
        }
    }

    fn forget_oldest_tombstone(&mut self) {
        let Some((_, id)) = self.tombstones.first().copied() else { return };
        let entry = self.entries.remove(id);
        self.unbook(id, &entry);
    }

    fn place_of(&self, topic: &[u8]) -> Place {
        self.order.seek(|id| self.is_before(id, topic))
    }

    fn is_before(&self, id: Id, topic: &[u8]) -> bool {
        compare(self.entries[id].name(), topic) == Ordering::Less
    }

    fn message(&self, id: Id) -> &M {
        self.entries[id].message().expect("the order holds ids of messages only")
    }
}

/// An entry of the directory: what a topic has, and since which write.
#[derive(Debug)]
struct Entry<M> {
    version: RetainedVersion,
    held: Held<M>,
}

#[derive(Debug)]
enum Held<M> {
    Message(M),
    /// The topic that was cleared.
    Tombstone(Box<[u8]>),
}

impl<M> Entry<M> {
    fn message(&self) -> Option<&M> {
        match &self.held {
            Held::Message(message) => Some(message),
            Held::Tombstone(_) => None,
        }
    }
}

impl<M: Retainable> Named for Entry<M> {
    fn name(&self) -> &[u8] {
        match &self.held {
            Held::Message(message) => message.topic_bytes(),
            Held::Tombstone(topic) => topic,
        }
    }
}

fn tombstone_cost_bytes(topic: &[u8]) -> usize {
    topic.len() + 128
}
