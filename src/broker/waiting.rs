//! What waits for one session: queued messages and retained replays.
//!
//! Why two queues: QoS 0 messages wait only for the socket, QoS 1 and 2 also for the window; a full window must not
//! hold back QoS 0. Order matters only among messages of one QoS. Source: [MQTT-4.6.0-6], [MQTT-4.9.0-3].
//!
//! Invariants:
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
    /// Bytes of all queued messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queued messages of any QoS.
    pub fn len(&self) -> usize {
        self.queue.len() + self.queue_qos0.len()
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
