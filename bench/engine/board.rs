//! What threads of one run share: the phase, each publisher's progress, counters, doorbells, and troubles.
//!
//! Why atomics and not messages: progress is read many times a second and only the newest value matters.
//!
//! Invariants:
//! - A cell has one writer: `sent` its publisher's thread, `done` its subscribers' thread, counters their own thread.
//! - `sent` is raised before the bytes leave, so nobody receives a number that is not yet on the board.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use hdrhistogram::Histogram;
use rustix::event::{EventfdFlags, eventfd};

use super::crew::histogram;
use super::plan::Plan;
use super::topology::{Cast, Topology};
use crate::failure::Failure;
use crate::number::{place, wide};

const TROUBLES_MAX: usize = 8;

/// What a run is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum Phase {
    /// Clients connect and subscribe.
    Connect,
    /// Traffic flows, nothing counts yet.
    Warmup,
    /// Traffic flows and counts.
    Measure,
    /// Publishers are silent, the last messages arrive.
    Drain,
    /// Say goodbye, and let the broker close, so that everything before the goodbye has had its effect.
    Leave,
    /// End.
    Stop,
}

/// One thread's counters, written once a turn.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// The kernel's id of the thread.
    pub(crate) thread_id: AtomicU32,
    /// Clients whose CONNACK or SUBACK has come.
    pub(crate) ready: AtomicU64,
    /// Connections lost, whether they had become ready or not.
    pub(crate) departed: AtomicU64,
    /// Of those, connections that had been ready.
    pub(crate) dropped: AtomicU64,
    /// Connections that were cut to come again.
    pub(crate) recalled: AtomicU64,
    /// The last wave that the thread has seen.
    pub(crate) wave: AtomicU64,
    /// Messages handed to sockets.
    pub(crate) sent: AtomicU64,
    /// Messages received for the first time.
    pub(crate) received: AtomicU64,
    /// When the last of them, or the last acknowledgement, came.
    pub(crate) received_ns: AtomicU64,
    /// Messages sent that wait for an acknowledgement.
    pub(crate) unacknowledged: AtomicU64,
    /// The thread has ended a turn without publishing and will not publish again; everything has been written.
    pub(crate) silent: AtomicBool,
    /// All clients have said goodbye, and the broker has closed their connections.
    pub(crate) left: AtomicBool,
}

/// The shared board.
#[derive(Debug)]
pub(crate) struct Board {
    /// Clients and threads.
    pub(crate) topology: Topology,
    /// One per thread.
    pub(crate) counters: Box<[Counters]>,
    phase: AtomicU8,
    /// Thousandths of each thread's connections that may be dialled.
    dial_permille: AtomicU64,
    start_ns: AtomicU64,
    wave: AtomicU64,
    wave_ns: AtomicU64,
    second: AtomicU64,
    handed: Box<[Mutex<Histogram<u64>>]>,
    sent: Box<[AtomicU64]>,
    done: Box<[AtomicU64]>,
    gather: Gather,
    bells: Box<[OwnedFd]>,
    troubles: Mutex<Vec<(String, String)>>,
}

/// How the progress of several threads' subscribers becomes that of a publisher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gather {
    /// Everybody hears everything: the slowest thread counts.
    Slowest,
    /// Each message goes to one member of every group: what a group's members have seen on all threads is added up, and
    /// the slowest group counts.
    Sum,
    /// Nobody listens, so nobody holds anybody back.
    Nobody,
}

impl Board {
    /// The board of `plan` before anything has happened.
    pub(crate) fn new(plan: &Plan) -> Result<Self, Failure> {
        let topology = plan.topology;
        let gather = match topology.cast {
            Cast::Publishers => Gather::Nobody,
            Cast::Everybody | Cast::Subscribers if topology.is_pooled() => Gather::Sum,
            Cast::Everybody | Cast::Subscribers => Gather::Slowest,
        };
        let bell = |_| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bells: Result<Box<[OwnedFd]>, _> = (0..topology.threads).map(bell).collect();
        let publishers = 0..topology.publishers;
        let done = publishers.clone().flat_map(|publisher| {
            let cells = topology.threads * topology.groups;
            (0..cells).map(move |cell| match topology.audience(publisher, cell / topology.groups) {
                // Nobody there can hold the publisher back.
                0 if gather == Gather::Slowest => AtomicU64::new(u64::MAX),
                _ => AtomicU64::new(0),
            })
        });
        Ok(Self {
            topology,
            counters: (0..topology.threads).map(|_| Counters::default()).collect(),
            phase: AtomicU8::new(0),
            dial_permille: AtomicU64::new(1_000),
            start_ns: AtomicU64::new(0),
            wave: AtomicU64::new(0),
            wave_ns: AtomicU64::new(0),
            second: AtomicU64::new(0),
            handed: (0..topology.threads).map(|_| Mutex::new(histogram())).collect(),
            sent: publishers.map(|publisher| AtomicU64::new(kept(plan, publisher))).collect(),
            done: done.collect(),
            gather,
            bells: bells.map_err(|source| Failure::os("making a doorbell", source))?,
            troubles: Mutex::new(vec![]),
        })
    }

    /// What the run is doing.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Connect,
            1 => Phase::Warmup,
            2 => Phase::Measure,
            3 => Phase::Drain,
            4 => Phase::Leave,
            _ => Phase::Stop, // Only six values are ever stored.
        }
    }

    /// Opens a phase and wakes everybody.
    pub(crate) fn enter(&self, phase: Phase) {
        let code = match phase {
            Phase::Connect => 0,
            Phase::Warmup => 1,
            Phase::Measure => 2,
            Phase::Drain => 3,
            Phase::Leave => 4,
            Phase::Stop => 5,
        };
        self.phase.store(code, Ordering::Release);
        self.ring_all();
    }

    /// Begins the traffic in `phase`; open-loop schedules count from `start_ns`.
    pub(crate) fn start(&self, start_ns: u64, phase: Phase) {
        self.start_ns.store(start_ns, Ordering::Release);
        self.enter(phase);
    }

    /// When the traffic began.
    pub(crate) fn start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Acquire)
    }

    /// Lets each thread dial this share of its connections.
    pub(crate) fn allow_dialling(&self, permille: u64) {
        self.dial_permille.store(permille, Ordering::Release);
        self.ring_all();
    }

    /// How many of `all` connections a thread may dial now.
    pub(crate) fn dial_allowance(&self, all: usize) -> usize {
        place((wide(all) * self.dial_permille.load(Ordering::Acquire)).div_ceil(1_000))
    }

    /// What `publisher` has sent.
    #[inline]
    pub(crate) fn sent(&self, publisher: u32) -> u64 {
        self.sent[place(u64::from(publisher))].load(Ordering::Acquire)
    }

    /// Raises what `publisher` has sent.
    #[inline]
    pub(crate) fn set_sent(&self, publisher: u32, sent: u64) {
        self.sent[place(u64::from(publisher))].store(sent, Ordering::Release);
    }

    /// Raises what all of `thread`'s subscribers have received from `publisher`.
    #[inline]
    pub(crate) fn set_done(&self, publisher: u32, thread: u32, done: u64) {
        self.done[self.cell(publisher, thread, 0)].store(done, Ordering::Release);
    }

    /// Adds to what `thread`'s members of `group` have received from `publisher`.
    #[inline]
    pub(crate) fn add_done(&self, publisher: u32, thread: u32, group: u32, more: u64) {
        let cell = &self.done[self.cell(publisher, thread, group)];
        // The thread is the only writer of its cells.
        cell.store(cell.load(Ordering::Relaxed) + more, Ordering::Release);
    }

    /// What all subscribers, or all groups of them, have received from `publisher`.
    #[inline]
    pub(crate) fn done(&self, publisher: u32) -> u64 {
        match self.gather {
            Gather::Slowest => {
                let start = self.cell(publisher, 0, 0);
                let cells = self.done[start..start + place(u64::from(self.topology.threads))].iter();
                cells.map(|cell| cell.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
            }
            Gather::Sum => {
                let groups = 0..self.topology.groups;
                groups.map(|group| self.done_in(publisher, group)).min().unwrap_or(u64::MAX)
            }
            Gather::Nobody => u64::MAX,
        }
    }

    /// What the members of `group` have received from `publisher`, on all threads.
    fn done_in(&self, publisher: u32, group: u32) -> u64 {
        let threads = 0..self.topology.threads;
        threads.map(|thread| self.done[self.cell(publisher, thread, group)].load(Ordering::Acquire)).sum()
    }

    /// Lets everybody dial, and times the first wave from here.
    pub(crate) fn begin_first_wave(&self, now_ns: u64) {
        self.wave_ns.store(now_ns, Ordering::Release);
        self.allow_dialling(1_000);
    }

    /// Sends part of the ready connections away and lets them come again.
    pub(crate) fn begin_wave(&self, now_ns: u64) {
        self.wave_ns.store(now_ns, Ordering::Release);
        self.wave.fetch_add(1, Ordering::AcqRel);
        self.ring_all();
    }

    /// How many waves have begun.
    pub(crate) fn wave(&self) -> u64 {
        self.wave.load(Ordering::Acquire)
    }

    /// When the last wave began.
    pub(crate) fn wave_ns(&self) -> u64 {
        self.wave_ns.load(Ordering::Acquire)
    }

    /// Asks every thread for the latencies of the second that ends now.
    pub(crate) fn end_second(&self) {
        self.second.fetch_add(1, Ordering::AcqRel);
        self.ring_all();
    }

    /// How many seconds have ended.
    #[inline]
    pub(crate) fn second(&self) -> u64 {
        self.second.load(Ordering::Acquire)
    }

    /// Takes in what `thread` measured since the last time.
    pub(crate) fn hand_in(&self, thread: u32, latencies: &Histogram<u64>) {
        let mut slot = self.handed[place(u64::from(thread))].lock().expect("nobody panics with this lock");
        slot.add(latencies).expect("all histograms have the same bounds");
    }

    /// Moves everything that was handed in to `total`.
    pub(crate) fn collect(&self, total: &mut Histogram<u64>) {
        for slot in &self.handed {
            let mut slot = slot.lock().expect("nobody panics with this lock");
            total.add(&*slot).expect("all histograms have the same bounds");
            slot.reset();
        }
    }

    /// Wakes `thread`.
    pub(crate) fn ring(&self, thread: u32) {
        // A full counter means that the thread has been rung and has not looked yet.
        let _rung = rustix::io::write(self.bell(thread), &1_u64.to_le_bytes());
    }

    /// The doorbell that `thread` listens to.
    pub(crate) fn bell(&self, thread: u32) -> &OwnedFd {
        &self.bells[place(u64::from(thread))]
    }

    /// Remembers why a client is in trouble; only the first few are kept.
    pub(crate) fn report_trouble(&self, client: String, cause: String) {
        let mut troubles = self.troubles.lock().expect("nobody panics while holding this lock");
        if troubles.len() < TROUBLES_MAX {
            troubles.push((client, cause));
        }
    }

    /// The first troubles, as client id and cause.
    pub(crate) fn troubles(&self) -> Vec<(String, String)> {
        self.troubles.lock().expect("nobody panics while holding this lock").clone()
    }

    /// The sum of one counter over all threads.
    pub(crate) fn total(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.counters.iter().map(|of_thread| counter(of_thread).load(Ordering::Relaxed)).sum()
    }

    /// Deliveries that everything sent so far should lead to.
    pub(crate) fn expected(&self) -> u64 {
        let sent: u64 = self.sent.iter().map(|sent| sent.load(Ordering::Acquire)).sum();
        sent * u64::from(self.topology.deliveries_per_message())
    }

    /// Whether every thread has stopped publishing for good.
    pub(crate) fn is_silent(&self) -> bool {
        self.counters.iter().all(|of_thread| of_thread.silent.load(Ordering::Acquire))
    }

    /// What `publisher` should have led to and has not is given up; every publisher's own thread may say so.
    pub(crate) fn forgive(&self, publisher: u32, thread: u32) {
        for group in 0..self.topology.groups {
            let missing = self.sent(publisher).saturating_sub(self.done_in(publisher, group));
            self.add_done(publisher, thread, group, missing);
        }
    }

    /// Whether every client has gone in peace.
    pub(crate) fn has_left(&self) -> bool {
        self.counters.iter().all(|of_thread| of_thread.left.load(Ordering::Acquire))
    }

    /// Rings every thread.
    fn ring_all(&self) {
        (0..self.topology.threads).for_each(|thread| self.ring(thread));
    }

    fn cell(&self, publisher: u32, thread: u32, group: u32) -> usize {
        let of_publisher = u64::from(publisher) * u64::from(self.topology.threads) + u64::from(thread);
        place(of_publisher * u64::from(self.topology.groups) + u64::from(group))
    }
}

fn kept(plan: &Plan, publisher: u32) -> u64 {
    plan.kept.get(place(u64::from(publisher))).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::tests::plan;
    use crate::engine::topology::Shape;

    #[test]
    fn the_slowest_group_holds_a_publisher_back_wherever_its_members_live() {
        let mut plan = plan(Shape::Shared, [2, 6]);
        plan.topology = Topology { threads: 2, groups: 3, ..plan.topology };
        let board = Board::new(&plan).expect("a doorbell can be made");
        for (thread, group, count) in [(0, 0, 9), (1, 1, 9), (0, 2, 3), (1, 2, 2)] {
            board.add_done(1, thread, group, count);
        }
        assert_eq!((board.done(0), board.done(1)), (0, 5));
        board.set_sent(1, 9);
        board.forgive(1, 1);
        assert_eq!(board.done(1), 9);
    }

    #[test]
    fn the_slowest_thread_holds_a_publisher_back_and_nobody_does_where_nobody_listens() {
        let mut plan = plan(Shape::FanOut, [1, 4]);
        plan.topology = Topology { threads: 2, ..plan.topology };
        let board = Board::new(&plan).expect("a doorbell can be made");
        board.set_done(0, 0, 7);
        board.set_done(0, 1, 4);
        assert_eq!(board.done(0), 4);
        plan.topology = Topology { cast: Cast::Publishers, ..plan.topology };
        assert_eq!(Board::new(&plan).map(|board| board.done(0)).ok(), Some(u64::MAX));
    }
}
