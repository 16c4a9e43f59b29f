//! What cores and others have handed over and not heard of again, in order, and how much of each is left to be written.
//!
//! Why counted: of a message that came and went before the next commit nothing is left to be written. Once nothing is left
//! of a turn, nor of any before it, whoever waits for it need not wait for the disk.
//!
//! Invariants:
//! - Numbers rise by one with each handover; `open` holds those from `first` on.
//! - A record counts for the oldest handover that a commit of it would make durable.

use std::collections::{BTreeMap, VecDeque};

use broker::CoreId;

#[derive(Debug, Default)]
pub(super) struct Handovers {
    first: u64,
    open: VecDeque<Handover>,
    /// One more than the number of the last urgent one.
    urgent_end: u64,
}

#[derive(Debug)]
struct Handover {
    by: Giver,
    left: u32,
}

/// Who handed something over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Giver {
    /// A core, at the end of that turn.
    Core(CoreId, u64),
    /// Nobody's turn; the ticket says which.
    Outside(u64),
}

/// Of what nothing is left to be written, nor of anything before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// The last turn of each core of which that is news.
    pub turns: Vec<(CoreId, u64)>,
    /// The last ticket of which that is news; so are all before it.
    pub ticket: Option<u64>,
}

impl Handovers {
    /// One more; what is recorded from now on is part of it.
    pub fn begin(&mut self, by: Giver, is_urgent: bool) {
        self.open.push_back(Handover { by, left: 0 });
        if is_urgent {
            self.urgent_end = self.end();
        }
    }

    /// The number of the one that is being taken over.
    pub fn current(&self) -> u64 {
        assert!(!self.open.is_empty());
        self.end() - 1
    }

    /// A record of the current one must be written.
    pub fn add(&mut self) {
        self.open.back_mut().expect("one has begun").left += 1;
    }

    /// A record that counted for that one must not be written any more.
    pub fn settle(&mut self, number: u64) {
        let place = usize::try_from(number - self.first).expect("usize has 64 bits");
        self.open[place].left -= 1;
    }

    /// Takes those of which nothing is left, up to the first of which something is.
    pub fn take_settled(&mut self) -> Settled {
        let (mut turns, mut ticket) = (BTreeMap::new(), None);
        while self.open.front().is_some_and(|first| first.left == 0)
            && let Some(Handover { by, .. }) = self.open.pop_front()
        {
            self.first += 1;
            match by {
                Giver::Core(core, turn) => drop(turns.insert(core, turn)),
                Giver::Outside(number) => ticket = Some(number),
            }
        }
        Settled { turns: turns.into_iter().collect(), ticket }
    }

    /// Takes all: everything is durable.
    pub fn take_all(&mut self) -> Settled {
        self.open.iter_mut().for_each(|handover| handover.left = 0);
        self.take_settled()
    }

    /// Whether somebody waits.
    pub fn is_urgent(&self) -> bool {
        self.urgent_end > self.first
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// The number of the next one.
    fn end(&self) -> u64 {
        self.first + u64::try_from(self.open.len()).expect("a length fits 64 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CoreId = CoreId::new(0);
    const B: CoreId = CoreId::new(1);

    #[test]
    fn a_turn_is_settled_when_nothing_is_left_of_it_and_of_those_before() {
        let mut handovers = Handovers::default();
        handovers.begin(Giver::Core(A, 7), true);
        handovers.add();
        handovers.begin(Giver::Core(B, 1), false);
        handovers.begin(Giver::Core(A, 8), false);
        handovers.add();
        assert_eq!(handovers.take_settled().turns, []);
        handovers.settle(0);
        assert_eq!(handovers.take_settled().turns, [(A, 7), (B, 1)]);
        assert!(!handovers.is_urgent());
        assert_eq!(handovers.current(), 2);
        assert_eq!(handovers.take_all().turns, [(A, 8)]);
        assert!(handovers.is_empty());
    }

    #[test]
    fn somebody_waits_until_the_last_urgent_one_is_settled() {
        let mut handovers = Handovers::default();
        assert!(!handovers.is_urgent());
        handovers.begin(Giver::Core(A, 1), true);
        handovers.begin(Giver::Core(A, 2), false);
        handovers.add();
        assert!(handovers.is_urgent());
        assert_eq!(handovers.take_settled().turns, [(A, 1)]);
        assert!(!handovers.is_urgent());
        handovers.begin(Giver::Core(A, 3), true);
        assert!(handovers.is_urgent());
    }

    #[test]
    fn a_ticket_is_settled_with_all_that_was_handed_over_before_it() {
        let mut handovers = Handovers::default();
        handovers.begin(Giver::Core(A, 1), true);
        handovers.add();
        handovers.begin(Giver::Outside(1), true);
        handovers.begin(Giver::Outside(2), true);
        assert_eq!(handovers.take_settled(), Settled::default());
        handovers.settle(0);
        assert_eq!(handovers.take_settled(), Settled { turns: vec![(A, 1)], ticket: Some(2) });
    }
}
