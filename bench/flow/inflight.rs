//! Packet ids of QoS 1 and 2 messages that a publisher waits for.
//!
//! Why a queue of free ids: brokers may acknowledge out of order, and an id must not be used again before its flow has
//! ended. Taking the oldest free id keeps a late repetition from meeting a young message.
//!
//! Invariants:
//! - An id is either free or in exactly one stage of its flow, and remembers when its message left.

use std::collections::VecDeque;

/// Where the flow of one packet id stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Free,
    /// PUBLISH sent; PUBACK or PUBREC comes next.
    Published,
    /// PUBREL sent; PUBCOMP comes next.
    Released,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    stage: Stage,
    begun_ns: u64,
}

/// The broker acknowledged something that was not waiting for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unexpected;

/// The packet ids of one publisher.
#[derive(Clone, Debug)]
pub(crate) struct Inflight {
    slots: Box<[Slot]>,
    free: VecDeque<u16>,
}

impl Inflight {
    /// Room for `limit` messages in flight.
    pub(crate) fn new(limit: u16) -> Self {
        assert!(limit > 0, "at least one message must fit");
        let empty = Slot { stage: Stage::Free, begun_ns: 0 };
        Self { slots: vec![empty; usize::from(limit)].into(), free: (1..=limit).collect() }
    }

    /// Shrinks the room to what the broker announced, before anything was sent.
    pub(crate) fn restrict(&mut self, receive_maximum: u16) {
        if usize::from(receive_maximum) < self.slots.len() {
            *self = Self::new(receive_maximum.max(1));
        }
    }

    /// Messages that may be sent now.
    pub(crate) fn room(&self) -> u64 {
        crate::number::wide(self.free.len())
    }

    /// Messages that may be in flight at all.
    pub(crate) fn limit(&self) -> u64 {
        crate::number::wide(self.slots.len())
    }

    /// Takes an id for a message that leaves, or should have left, at `begun_ns`.
    #[inline]
    pub(crate) fn reserve(&mut self, begun_ns: u64) -> Option<u16> {
        let packet_id = self.free.pop_front()?;
        self.slots[usize::from(packet_id) - 1] = Slot { stage: Stage::Published, begun_ns };
        Some(packet_id)
    }

    /// PUBACK, or a PUBREC that refuses: the flow ends; returns when it began.
    #[inline]
    pub(crate) fn finish(&mut self, packet_id: u16) -> Result<u64, Unexpected> {
        let begun_ns = self.step(packet_id, Stage::Published, Stage::Free)?;
        self.free.push_back(packet_id);
        Ok(begun_ns)
    }

    /// PUBREC: the flow goes on with PUBREL.
    #[inline]
    pub(crate) fn release(&mut self, packet_id: u16) -> Result<u64, Unexpected> {
        self.step(packet_id, Stage::Published, Stage::Released)
    }

    /// PUBCOMP: the flow ends; returns when it began.
    #[inline]
    pub(crate) fn complete(&mut self, packet_id: u16) -> Result<u64, Unexpected> {
        let begun_ns = self.step(packet_id, Stage::Released, Stage::Free)?;
        self.free.push_back(packet_id);
        Ok(begun_ns)
    }

    #[inline]
    fn step(&mut self, packet_id: u16, from: Stage, to: Stage) -> Result<u64, Unexpected> {
        let at = usize::from(packet_id).checked_sub(1).ok_or(Unexpected)?;
        let slot = self.slots.get_mut(at).filter(|slot| slot.stage == from).ok_or(Unexpected)?;
        slot.stage = to;
        Ok(slot.begun_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_run_out_at_the_limit_and_come_back_when_acknowledged() {
        let mut inflight = Inflight::new(2);
        assert_eq!((inflight.reserve(7), inflight.reserve(8), inflight.reserve(9)), (Some(1), Some(2), None));
        assert_eq!(inflight.finish(2), Ok(8), "it tells when its message left");
        assert_eq!(inflight.reserve(10), Some(2));
    }

    #[test]
    fn a_qos_2_flow_holds_its_id_until_pubcomp() {
        let mut inflight = Inflight::new(1);
        inflight.reserve(5);
        assert_eq!(inflight.complete(1), Err(Unexpected));
        assert_eq!(inflight.release(1), Ok(5));
        assert_eq!(inflight.room(), 0);
        assert_eq!(inflight.complete(1), Ok(5));
        assert_eq!(inflight.room(), 1);
    }

    #[test]
    fn acknowledgements_of_nothing_are_noticed() {
        let mut inflight = Inflight::new(2);
        inflight.reserve(5);
        assert_eq!(inflight.finish(0), Err(Unexpected));
        assert_eq!(inflight.finish(2), Err(Unexpected));
        assert_eq!(inflight.finish(3), Err(Unexpected));
        assert_eq!(inflight.finish(1), Ok(5));
        assert_eq!(inflight.finish(1), Err(Unexpected));
    }

    #[test]
    fn the_brokers_receive_maximum_narrows_the_window() {
        let mut inflight = Inflight::new(64);
        inflight.restrict(10);
        assert_eq!(inflight.room(), 10);
        inflight.restrict(20);
        assert_eq!(inflight.limit(), 10);
    }
}
