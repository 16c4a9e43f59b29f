//! Packet ids of QoS 1 and 2 messages that a publisher waits for.
//!
//! Why a queue of free ids: brokers may acknowledge out of order, and an id must not be used again before its flow has
//! ended. Taking the oldest free id keeps a late repetition from meeting a young message.
//!
//! Invariants:
//! - An id is either free or in exactly one stage of its flow.

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

/// The broker acknowledged something that was not waiting for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unexpected;

/// The packet ids of one publisher.
#[derive(Clone, Debug)]
pub(crate) struct Inflight {
    stages: Box<[Stage]>,
    free: VecDeque<u16>,
}

impl Inflight {
    /// Room for `limit` messages in flight.
    pub(crate) fn new(limit: u16) -> Self {
        assert!(limit > 0, "at least one message must fit");
        Self { stages: vec![Stage::Free; usize::from(limit)].into(), free: (1..=limit).collect() }
    }

    /// Shrinks the room to what the broker announced, before anything was sent.
    pub(crate) fn restrict(&mut self, receive_maximum: u16) {
        if usize::from(receive_maximum) < self.stages.len() {
            *self = Self::new(receive_maximum.max(1));
        }
    }

    /// Messages that may be sent now.
    pub(crate) fn room(&self) -> u64 {
        crate::number::wide(self.free.len())
    }

    /// Messages that may be in flight at all.
    pub(crate) fn limit(&self) -> u64 {
        crate::number::wide(self.stages.len())
    }

    /// Takes an id for a new message.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Option<u16> {
        let packet_id = self.free.pop_front()?;
        self.stages[usize::from(packet_id) - 1] = Stage::Published;
        Some(packet_id)
    }

    /// PUBACK, or a PUBREC that refuses: the flow ends.
    #[inline]
    pub(crate) fn finish(&mut self, packet_id: u16) -> Result<(), Unexpected> {
        self.step(packet_id, Stage::Published, Stage::Free)?;
        self.free.push_back(packet_id);
        Ok(())
    }

    /// PUBREC: the flow goes on with PUBREL.
    #[inline]
    pub(crate) fn release(&mut self, packet_id: u16) -> Result<(), Unexpected> {
        self.step(packet_id, Stage::Published, Stage::Released)
    }

    /// PUBCOMP: the flow ends.
    #[inline]
    pub(crate) fn complete(&mut self, packet_id: u16) -> Result<(), Unexpected> {
        self.step(packet_id, Stage::Released, Stage::Free)?;
        self.free.push_back(packet_id);
        Ok(())
    }

    fn step(&mut self, packet_id: u16, from: Stage, to: Stage) -> Result<(), Unexpected> {
        let at = usize::from(packet_id).checked_sub(1).ok_or(Unexpected)?;
        let stage = self.stages.get_mut(at).filter(|stage| **stage == from).ok_or(Unexpected)?;
        *stage = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_run_out_at_the_limit_and_come_back_when_acknowledged() {
        let mut inflight = Inflight::new(2);
        assert_eq!((inflight.reserve(), inflight.reserve(), inflight.reserve()), (Some(1), Some(2), None));
        assert_eq!(inflight.finish(2), Ok(()));
        assert_eq!(inflight.reserve(), Some(2));
    }

    #[test]
    fn a_qos_2_flow_holds_its_id_until_pubcomp() {
        let mut inflight = Inflight::new(1);
        inflight.reserve();
        assert_eq!(inflight.complete(1), Err(Unexpected));
        assert_eq!(inflight.release(1), Ok(()));
        assert_eq!(inflight.room(), 0);
        assert_eq!(inflight.complete(1), Ok(()));
        assert_eq!(inflight.room(), 1);
    }

    #[test]
    fn acknowledgements_of_nothing_are_noticed() {
        let mut inflight = Inflight::new(2);
        inflight.reserve();
        assert_eq!(inflight.finish(0), Err(Unexpected));
        assert_eq!(inflight.finish(2), Err(Unexpected));
        assert_eq!(inflight.finish(3), Err(Unexpected));
        assert_eq!(inflight.finish(1), Ok(()));
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
