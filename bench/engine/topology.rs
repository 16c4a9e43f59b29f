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
    /// Every subscriber hears every publisher, and all publishers speak on one topic.
    FanOut,
    /// Every subscriber hears every publisher, each on a topic of its own: devices and those who watch them.
    Devices,
    /// Subscriber `s` belongs to group `s mod groups`; each message goes to one member of every group.
    Shared,
    /// What publishers have retained, each on many topics, is replayed to every subscriber.
    Retained,
    /// A connection hears its own messages: the load of an echo server.
    Echo,
    /// Connections that do nothing.
    Idle,
}

/// Which of a workload's clients take part in a run; workloads in several acts have one run for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cast {
    /// Both kinds at once.
    Everybody,
    /// Nobody listens yet.
    Publishers,
    /// Nobody speaks any more.
    Subscribers,
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
    /// Groups of a shared subscription; 1 elsewhere.
    pub(crate) groups: u32,
    /// Who takes part.
    pub(crate) cast: Cast,
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
            Shape::FanOut | Shape::Devices | Shape::Shared | Shape::Retained | Shape::Idle => 0,
        }
    }

    /// Whether messages come to a subscriber in any order, or only some of them, so that a pool keeps the books.
    pub(crate) fn is_pooled(&self) -> bool {
        matches!(self.shape, Shape::Shared | Shape::Retained)
    }

    /// Rows of one thread's pool.
    pub(crate) fn pool_rows(&self, subscribers_here: u32) -> u32 {
        match self.shape {
            Shape::Shared => self.groups,
            Shape::Retained => subscribers_here,
            Shape::Pairs | Shape::FanIn | Shape::FanOut | Shape::Devices | Shape::Echo | Shape::Idle => 0,
        }
    }

    /// The row that subscriber `subscriber`, the `local`th of its thread, shares with others.
    #[inline]
    pub(crate) fn pool_row(&self, subscriber: u32, local: u32) -> u32 {
        if self.shape == Shape::Shared { subscriber % self.groups } else { local }
    }

    /// Publishers that subscriber `subscriber` hears.
    pub(crate) fn publishers_heard(&self, subscriber: u32) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::Echo => 1,
            Shape::FanIn => (self.publishers + self.subscribers - 1 - subscriber) / self.subscribers,
            Shape::FanOut | Shape::Devices | Shape::Shared | Shape::Retained => self.publishers,
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
            Shape::FanOut | Shape::Devices | Shape::Shared | Shape::Retained => Some(publisher),
            Shape::Idle => None,
        }
    }

    /// The publisher whose record is at `slot` of `subscriber`.
    pub(crate) fn publisher_at(&self, subscriber: u32, slot: u32) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::Echo => subscriber,
            Shape::FanIn => slot * self.subscribers + subscriber,
            Shape::FanOut | Shape::Devices | Shape::Shared | Shape::Retained | Shape::Idle => slot,
        }
    }

    /// Subscribers that hear `publisher`, all of its messages and in order, and live on `thread`.
    pub(crate) fn audience(&self, publisher: u32, thread: u32) -> u32 {
        if self.cast == Cast::Publishers {
            return 0;
        }
        match self.shape {
            Shape::Pairs | Shape::Echo | Shape::FanIn => {
                u32::from(self.thread_of(self.group(publisher)) == thread)
            }
            Shape::FanOut | Shape::Devices => (self.subscribers + self.threads - 1 - thread) / self.threads,
            Shape::Shared | Shape::Retained | Shape::Idle => 0,
        }
    }

    /// Deliveries that one message leads to in this run.
    pub(crate) fn deliveries_per_message(&self) -> u32 {
        if self.cast == Cast::Publishers {
            return 0;
        }
        match self.shape {
            Shape::Pairs | Shape::Echo | Shape::FanIn => 1,
            Shape::FanOut | Shape::Devices | Shape::Retained => self.subscribers,
            Shape::Shared => self.groups,
            Shape::Idle => 0,
        }
    }

    /// Publishers that take part.
    pub(crate) fn publishers_cast(&self) -> u32 {
        if self.cast == Cast::Subscribers { 0 } else { self.publishers }
    }

    /// Subscribers that take part; an echo connection is counted as a publisher.
    pub(crate) fn subscribers_cast(&self) -> u32 {
        if self.cast == Cast::Publishers || self.shape == Shape::Echo { 0 } else { self.subscribers }
    }

    /// Connections that the run opens.
    pub(crate) fn connections(&self) -> u64 {
        u64::from(self.publishers_cast()) + u64::from(self.subscribers_cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(shape: Shape, publishers: u32, subscribers: u32) -> Topology {
        Topology { shape, publishers, subscribers, groups: 1, cast: Cast::Everybody, threads: 3 }
    }

    fn all_shapes() -> [Topology; 5] {
        [
            topology(Shape::Pairs, 7, 7),
            topology(Shape::FanIn, 10, 4),
            topology(Shape::FanOut, 2, 5),
            topology(Shape::Echo, 5, 5),
            topology(Shape::Devices, 9, 2),
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
        let [pairs, fan_in, fan_out, ..] = all_shapes();
        assert_eq!(pairs.slot(1, 2), None);
        assert_eq!(fan_in.slot(1, 2), None);
        assert_eq!(fan_in.slot(2, 10), None);
        assert_eq!(fan_out.slot(4, 2), None);
    }

    #[test]
    fn a_run_without_listeners_expects_no_deliveries_and_one_without_speakers_keeps_the_books() {
        let fan_out = topology(Shape::FanOut, 2, 5);
        let speaking = Topology { cast: Cast::Publishers, ..fan_out };
        assert_eq!(
            (speaking.connections(), speaking.deliveries_per_message(), speaking.audience(1, 0)),
            (2, 0, 0)
        );
        let listening = Topology { cast: Cast::Subscribers, ..fan_out };
        assert_eq!((listening.connections(), listening.deliveries_per_message()), (5, 5));
    }

    #[test]
    fn members_of_a_group_share_a_row_and_a_message_goes_to_every_group_once() {
        let shared = Topology { groups: 2, ..topology(Shape::Shared, 3, 5) };
        assert_eq!((0..5).map(|member| shared.pool_row(member, 9)).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
        assert_eq!((shared.deliveries_per_message(), shared.pool_rows(5), shared.connections()), (2, 2, 8));
        let retained = topology(Shape::Retained, 3, 5);
        assert_eq!((retained.pool_row(4, 1), retained.pool_rows(2)), (1, 2), "everybody has a row");
    }

    #[test]
    fn every_client_lives_on_exactly_one_thread() {
        let [pairs, ..] = all_shapes();
        let mut everybody: Vec<u32> = (0..3).flat_map(|thread| pairs.local(7, thread)).collect();
        everybody.sort_unstable();
        assert_eq!(everybody, [0, 1, 2, 3, 4, 5, 6]);
    }
}
