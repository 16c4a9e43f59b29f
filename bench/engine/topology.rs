//! Who publishes to whom, and on which thread everybody sits.
//!
//! Why arithmetic and not tables: with 100,000 pairs a table of names would be the largest thing in memory, and every
//! question has a one-line answer.
//!
//! Invariants:
//! - A pair always shares a thread.
//! - `slot` and `publisher_at` are inverse to each other.

/// The pattern of a workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One publisher, one subscriber, one topic each.
    Pairs,
    /// Publisher `p` reports to subscriber `p mod subscribers`.
    FanIn,
    /// Every subscriber hears every publisher.
    FanOut,
    /// A connection hears its own messages: the load of an echo server.
    Echo,
    /// Connections that do nothing.
    Idle,
}

/// A workload's clients, laid out over threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Topology {
    /// The pattern.
    pub(crate) shape: Shape,
    /// Publishing clients.
    pub(crate) publishers: u32,
    /// Subscribing clients; idle connections count as these.
    pub(crate) subscribers: u32,
    /// Threads.
    pub(crate) threads: u32,
}

impl Topology {
    /// The thread that client `number` of either kind lives on.
    pub(crate) fn thread_of(&self, number: u32) -> u32 {
        number % self.threads
    }

    /// The numbers below `count` that live on `thread`.
    pub(crate) fn local(&self, count: u32, thread: u32) -> impl Iterator<Item = u32> + use<> {
        (thread..count).step_by(usize::try_from(self.threads).expect("a small number of threads"))
    }

    /// The group of publisher `publisher`: the number that its topic shares with its subscriber.
    pub(crate) fn group(&self, publisher: u32) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::Echo => publisher,
            Shape::FanIn => publisher % self.subscribers,
            Shape::FanOut | Shape::Idle => 0,
        }
    }

    /// Publishers that subscriber `subscriber` hears.
    pub(crate) fn publishers_heard(&self, subscriber: u32) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::Echo => 1,
            Shape::FanIn => (self.publishers + self.subscribers - 1 - subscriber) / self.subscribers,
            Shape::FanOut => self.publishers,
            Shape::Idle => 0,
        }
    }

    /// Where subscriber `subscriber` keeps its record of `publisher`; `None` when it should not hear it.
    #[inline]
    pub(crate) fn slot(&self, subscriber: u32, publisher: u32) -> Option<u32> {
        if publisher >= self.publishers {
            return None;
        }
        match self.shape {
            Shape::Pairs | Shape::Echo => (publisher == subscriber).then_some(0),
            Shape::FanIn => {
                (publisher % self.subscribers == subscriber).then(|| publisher / self.subscribers)
            }
            Shape::FanOut => Some(publisher),
            Shape::Idle => None,
        }
    }

    /// The publisher whose record is at `slot` of `subscriber`.
    pub(crate) fn publisher_at(&self, subscriber: u32, slot: u32) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::Echo => subscriber,
            Shape::FanIn => slot * self.subscribers + subscriber,
            Shape::FanOut | Shape::Idle => slot,
        }
    }

    /// Subscribers that hear `publisher` and live on `thread`.
    pub(crate) fn audience(&self, publisher: u32, thread: u32) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::Echo | Shape::FanIn => {
                u32::from(self.thread_of(self.group(publisher)) == thread)
            }
            Shape::FanOut => (self.subscribers + self.threads - 1 - thread) / self.threads,
            Shape::Idle => 0,
        }
    }

    /// Deliveries that one message leads to.
    pub(crate) fn deliveries_per_message(&self) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::Echo | Shape::FanIn => 1,
            Shape::FanOut => self.subscribers,
            Shape::Idle => 0,
        }
    }

    /// Connections that the run opens.
    pub(crate) fn connections(&self) -> u64 {
        match self.shape {
            Shape::Echo => u64::from(self.publishers),
            Shape::Pairs | Shape::FanIn | Shape::FanOut | Shape::Idle => {
                u64::from(self.publishers) + u64::from(self.subscribers)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_shapes() -> [Topology; 4] {
        let topology =
            |shape, publishers, subscribers| Topology { shape, publishers, subscribers, threads: 3 };
        [
            topology(Shape::Pairs, 7, 7),
            topology(Shape::FanIn, 10, 4),
            topology(Shape::FanOut, 2, 5),
            topology(Shape::Echo, 5, 5),
        ]
    }

    #[test]
    fn slots_and_publishers_are_inverse_and_cover_everybody_once() {
        for topology in all_shapes() {
            let mut deliveries = 0;
            for subscriber in 0..topology.subscribers {
                for slot in 0..topology.publishers_heard(subscriber) {
                    let publisher = topology.publisher_at(subscriber, slot);
                    assert_eq!(topology.slot(subscriber, publisher), Some(slot), "{topology:?}");
                    deliveries += 1;
                }
            }
            assert_eq!(deliveries, topology.publishers * topology.deliveries_per_message(), "{topology:?}");
        }
    }

    #[test]
    fn audiences_of_all_threads_add_up_to_the_deliveries() {
        for topology in all_shapes() {
            for publisher in 0..topology.publishers {
                let audience: u32 = (0..3).map(|thread| topology.audience(publisher, thread)).sum();
                assert_eq!(audience, topology.deliveries_per_message(), "{topology:?}");
            }
        }
    }

    #[test]
    fn a_subscriber_does_not_expect_strangers() {
        let [pairs, fan_in, fan_out, _] = all_shapes();
        assert_eq!(pairs.slot(1, 2), None);
        assert_eq!(fan_in.slot(1, 2), None);
        assert_eq!(fan_in.slot(2, 10), None);
        assert_eq!(fan_out.slot(4, 2), None);
    }

    #[test]
    fn every_client_lives_on_exactly_one_thread() {
        let [pairs, ..] = all_shapes();
        let mut everybody: Vec<u32> = (0..3).flat_map(|thread| pairs.local(7, thread)).collect();
        everybody.sort_unstable();
        assert_eq!(everybody, [0, 1, 2, 3, 4, 5, 6]);
    }
}
