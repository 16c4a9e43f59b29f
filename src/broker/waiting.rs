//! What waits for one session: queued messages and retained replays.
//!
//! Why two queues: QoS 0 messages wait only for the socket, QoS 1 and 2 also for the window; a full window must not
//! hold back QoS 0. Order matters only among messages of one QoS. Source: [MQTT-4.6.0-6], [MQTT-4.9.0-3].
//!
//! Why a queue may have two parts: a lasting session may be away for days, and what waits for it is on disk anyway; only
//! the beginning needs to be in memory.
//!
//! Invariants:
//! - While there is a spilled part, everything new goes behind it.
//! - Bytes are the sum of the costs of both queues.

use std::collections::VecDeque;

use crate::change::MessageCopy;
use crate::retained::RetainedCursor;
use crate::route::SubscriptionIds;

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// QoS 1 and 2, oldest first.
    pub queue: VecDeque<Queued>,
    /// QoS 0, oldest first.
    pub queue_qos0: VecDeque<MessageCopy>,
    /// Retained messages that a SUBSCRIBE asked for, in the order of the requests.
    pub replays: VecDeque<Replay>,
    bytes: usize,
    /// What stands behind `queue` and is on disk only.
    pub spilled: Option<Spilled>,
    /// When the first of what waits was judged, on the clock of changes; 0 is never.
    pub judged_at: u64,
    /// Whose turn it is when both a queued message and a replay could go.
    pub replay_next: bool,
}

/// A message in its place.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    /// As in [`crate::Change::Queued`]; 0 if nothing is written down.
    pub seq: u64,
    pub copy: MessageCopy,
}

/// The end of a queue, of which only the sums are in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spilled {
    /// No message of it has a lower place.
    pub first_seq: u64,
    pub last_seq: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Whether some of it is being read back.
    pub is_fetching: bool,
}

/// A retained replay in progress.
#[derive(Debug)]
pub(crate) struct Replay {
    pub filter: Box<str>,
    pub cursor: RetainedCursor,
    pub qos: mqtt::QoS,
    pub no_local: bool,
    pub ids: SubscriptionIds,
}

impl Waiting {
    /// Bytes of all queued messages in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all queued messages, on disk too.
    pub fn bytes_total(&self) -> u64 {
        count(self.bytes) + self.spilled.map_or(0, |spilled| spilled.bytes)
    }

    /// Queued messages of QoS 1 and 2, on disk too.
    pub fn acknowledged(&self) -> u64 {
        count(self.queue.len()) + self.spilled.map_or(0, |spilled| spilled.messages)
    }

    /// Whether a QoS 1 or 2 message waits.
    #[inline]
    pub fn has_acknowledged(&self) -> bool {
        !self.queue.is_empty() || self.spilled.is_some()
    }

    /// Whether a message of any QoS waits.
    pub fn has_queued(&self) -> bool {
        self.has_acknowledged() || !self.queue_qos0.is_empty()
    }

    /// Queued messages of any QoS, on disk too.
    pub fn len(&self) -> u64 {
        self.acknowledged() + count(self.queue_qos0.len())
    }

    /// A message joined the end on disk only.
    pub fn spill(&mut self, seq: u64, cost_bytes: u64) {
        let spilled = self.spilled.get_or_insert(Spilled {
            first_seq: seq,
            last_seq: seq,
            messages: 0,
            bytes: 0,
            is_fetching: false,
        });
        spilled.last_seq = seq;
        spilled.messages += 1;
        spilled.bytes += cost_bytes;
    }

    /// A message came back from disk; false if it does not belong to the queue any more.
    pub fn unspill(&mut self, seq: u64, copy: MessageCopy) -> bool {
        let Some(spilled) = &mut self.spilled else { return false };
        if seq < spilled.first_seq || seq > spilled.last_seq || spilled.messages == 0 {
            return false;
        }
        spilled.first_seq = seq + 1;
        spilled.messages -= 1;
        spilled.bytes = spilled.bytes.saturating_sub(count(copy.message.cost_bytes()));
        self.push(seq, copy);
        true
    }

    /// Whether nothing waits, so that the whole struct can go.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.replays.is_empty()
    }

    pub fn push(&mut self, seq: u64, copy: MessageCopy) {
        self.bytes += copy.message.cost_bytes();
        self.queue.push_back(Queued { seq, copy });
    }

    pub fn push_qos0(&mut self, sent: MessageCopy) {
        self.bytes += sent.message.cost_bytes();
        self.queue_qos0.push_back(sent);
    }

    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.bytes -= queued.copy.message.cost_bytes();
        Some(queued)
    }

    /// Takes out the message with the place `seq`, for a restart.
    pub fn take(&mut self, seq: u64) -> Option<MessageCopy> {
        let index = self.queue.binary_search_by_key(&seq, |queued| queued.seq).ok()?;
        let queued = self.queue.remove(index)?;
        self.bytes -= queued.copy.message.cost_bytes();
        Some(queued.copy)
    }

    pub fn pop_qos0(&mut self) -> Option<MessageCopy> {
        let sent = self.queue_qos0.pop_front()?;
        self.bytes -= sent.message.cost_bytes();
        Some(sent)
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).expect("a length fits 64 bits")
}
