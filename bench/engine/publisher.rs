//! A publishing client: how much it may send now, and the bytes of it.
//!
//! Why a fixed number of messages per write in the closed loop: "16 PUBLISH per write" then means exactly that for
//! every broker, however its answers happen to be cut.
//!
//! Invariants:
//! - `sent` never passes what pace, packet ids and limit allow.

use hdrhistogram::Histogram;

use super::board::Board;
use super::plan::{Pace, Plan};
use super::topology::Shape;
use crate::codec::{Pattern, Qos, Template};
use crate::flow::{Inflight, Schedule};
use crate::stamp::Stamp;

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Its number in the run.
    pub(crate) number: u32,
    /// Its place in the thread's connections.
    pub(crate) connection: usize,
    /// Whether the thread's ready list knows it.
    pub(crate) queued: bool,
    /// Packet ids, when the QoS is above 0.
    pub(crate) inflight: Option<Inflight>,
    template: Template,
    pace: Pace,
    batch: u64,
    sent: u64,
    limit: u64,
}

impl Publisher {
    /// Publisher `number` of `plan`, on the connection at `connection`.
    pub(crate) fn new(plan: &Plan, number: u32, connection: usize) -> Self {
        let group = plan.topology.group(number);
        // In a fan-out every publisher speaks on the one topic that everybody hears.
        let named = if plan.topology.shape == Shape::FanOut { group } else { number };
        let topic = plan.ends.publisher_text(plan.topic.as_deref().unwrap_or_default(), named, group);
        let pattern = Pattern {
            version: plan.ends.version,
            topic: &topic,
            qos: plan.publish_qos,
            retain: plan.retain,
            body: plan.body,
            payload_bytes: plan.payload_bytes,
        };
        Self {
            number,
            connection,
            queued: false,
            inflight: (plan.publish_qos > Qos::AtMostOnce).then(|| Inflight::new(plan.inflight)),
            template: Template::new(&pattern),
            pace: plan.pace,
            batch: plan.batch,
            sent: 0,
            limit: plan.messages_per_publisher,
        }
    }

    /// Messages sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many messages the next write carries; 0 when none may leave now.
    #[inline]
    pub(crate) fn next_write(&self, board: &Board, schedule: Option<&Schedule>, now_ns: u64) -> u64 {
        let left = self.limit - self.sent;
        let room = self.inflight.as_ref().map_or(u64::MAX, Inflight::room);
        match self.pace {
            Pace::Open { .. } => {
                let due = schedule.map_or(0, |schedule| schedule.due(self.number, now_ns));
                due.saturating_sub(self.sent).min(self.batch).min(room).min(left)
            }
            Pace::Closed { window } => {
                let credit = board.done(self.number).saturating_add(window).saturating_sub(self.sent);
                let most = self.inflight.as_ref().map_or(u64::MAX, Inflight::limit);
                let full = self.batch.min(window).min(most).min(left);
                if credit.min(room) < full { 0 } else { full }
            }
        }
    }

    /// Appends `count` messages to `out`; open loops note in `lag` how late each one leaves.
    #[inline]
    pub(crate) fn append(
        &mut self,
        count: u64,
        schedule: Option<&Schedule>,
        now_ns: u64,
        lag: &mut Histogram<u64>,
        out: &mut Vec<u8>,
    ) {
        for _ in 0..count {
            let intended_ns = match schedule {
                Some(schedule) => schedule.intended_ns(self.number, self.sent),
                None => now_ns,
            };
            let packet_id = self.inflight.as_mut().map(|inflight| {
                let reserved = inflight.reserve(intended_ns);
                reserved.expect("next_write counted the free packet ids of this publisher")
            });
            if schedule.is_some() {
                lag.saturating_record(now_ns.saturating_sub(intended_ns));
            }
            let sequence = u32::try_from(self.sent & 0xffff_ffff).expect("32 bits after the mask");
            let stamp = Stamp { sequence, publisher: self.number, intended_ns: Some(intended_ns) };
            self.template.append(&stamp, packet_id, out);
            self.sent += 1;
        }
    }
}

/// The numbers of `publishers`, in their local order.
pub(crate) fn numbers(publishers: &[Publisher]) -> Box<[u32]> {
    publishers.iter().map(|publisher| publisher.number).collect()
}
