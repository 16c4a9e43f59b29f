//! Those who wait for the store and are no core: the control plane, mostly.
//!
//! Why numbered: what they had written is told of in the order in which it came, so how far it is durable is one number.
//!
//! Invariants:
//! - Each is told once, in order, or dropped: then what he waits for will never be.
//! - Whoever has gone away is forgotten: while nothing becomes durable, not many more are remembered than there are.

use std::collections::VecDeque;

use flume::Sender;

/// So many may wait before those that have gone away are looked for.
const LOOK_LEN: usize = 1_024;

/// Waits.
#[derive(Debug, Default)]
pub(super) struct Bystanders {
    last: u64,
    waiting: VecDeque<(u64, Sender<()>)>,
    /// How many may wait before the next look.
    look_len: usize,
}

impl Bystanders {
    /// Gives out the next ticket, which are numbers that rise, and notes who waits for it.
    pub fn enlist(&mut self, kept: Option<Sender<()>>) -> u64 {
        self.last += 1;
        if let Some(kept) = kept {
            self.waiting.push_back((self.last, kept));
        }
        if self.waiting.len() > self.look_len.max(LOOK_LEN) {
            self.waiting.retain(|(_, kept)| !kept.is_disconnected());
            self.look_len = self.waiting.len() * 2;
        }
        self.last
    }

    /// Everything up to that ticket is durable.
    pub fn tell(&mut self, ticket: u64) {
        while self.waiting.front().is_some_and(|(number, _)| *number <= ticket)
            && let Some((_, kept)) = self.waiting.pop_front()
        {
            // He may have gone away.
            let _ = kept.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_whose_ticket_has_come_are_told_and_no_others() {
        let mut bystanders = Bystanders::default();
        let (first, first_kept) = flume::bounded(1);
        let (third, third_kept) = flume::bounded(1);
        assert_eq!([Some(first), None, Some(third)].map(|kept| bystanders.enlist(kept)), [1, 2, 3]);
        bystanders.tell(2);
        assert_eq!((first_kept.try_recv().is_ok(), third_kept.try_recv().is_ok()), (true, false));
        drop(bystanders);
        assert!(third_kept.is_disconnected());
    }

    #[test]
    fn those_who_have_gone_away_are_not_remembered_for_long() {
        let mut bystanders = Bystanders::default();
        let patient: Vec<_> = (0..LOOK_LEN).map(|_| flume::bounded(1)).collect();
        patient.iter().for_each(|(kept, _)| {
            bystanders.enlist(Some(kept.clone()));
        });
        for _ in 0..10 * LOOK_LEN {
            bystanders.enlist(Some(flume::bounded(1).0));
            assert!(bystanders.waiting.len() <= 2 * (LOOK_LEN + 1));
        }
        bystanders.tell(u64::MAX);
        assert!(patient.iter().all(|(_, kept)| kept.try_recv().is_ok()));
    }
}
