//! The channels between cores.
//!
//! Why one bounded channel per ordered pair: each carries freight in order from one writer to one reader, so a batch is
//! one lock and one wake-up however many messages it holds, and a full channel names exactly whom to slow down.
//!
//! Invariants:
//! - Freight of one core arrives at another in the order in which it was handed over.
//! - A refused batch returns to its owner; a refused connection waits here, because nobody else could keep its socket.
//! - A core that waits for room is woken when its neighbour has made some.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Batch, CoreId};
use device::{DeviceId, HubCall, HubReply};
use flume::{Receiver, Sender, TrySendError};
use platform::Crowded;
use shard::{Arrival, Call, Reply};
use wire::Wardrobe;

use crate::bell::Bell;

/// Freight that one channel holds at most.
const CHANNEL_FREIGHT_MAX: usize = 256;
/// How long cores may take to put something new into use.
const TAKEN_MAX: Duration = Duration::from_secs(2);

/// What travels between cores.
pub(crate) enum Freight {
    /// Messages.
    Batch(Batch),
    /// A connection that moves to its home.
    Arrival {
        /// Its socket.
        fd: OwnedFd,
        /// What its home must know.
        arrival: Box<Arrival>,
    },
    /// A question of the control plane, which comes through the core's channel to itself.
    Call {
        /// The question.
        call: Call,
        /// Where the answer goes.
        reply: Sender<Reply>,
    },
    /// A call for a device that is at home there, in the same way.
    DeviceCall {
        /// Which device.
        device: DeviceId,
        /// What is asked.
        call: Box<HubCall>,
        /// Where the reply goes.
        reply: Sender<HubReply>,
    },
    /// What new connections wear from now on, in the same way.
    Wardrobes {
        /// By listener.
        wardrobes: Arc<[Wardrobe]>,
        /// Told when they are in use.
        taken: Sender<()>,
    },
}

/// One core's end of the mesh.
pub(crate) struct MeshEnd {
    core: CoreId,
    bells: Arc<[Bell]>,
    links: Vec<Link>,
    sleepers: Vec<CoreId>,
}

/// The two channels to one other core. A core's link to itself carries the questions of the control plane.
struct Link {
    outbound: Sender<Freight>,
    inbound: Receiver<Freight>,
    waiting: VecDeque<Freight>,
}

/// Asks cores from another thread.
#[derive(Clone)]
pub struct Inquiry {
    bells: Arc<[Bell]>,
    calls: Arc<[Sender<Freight>]>,
}

impl Inquiry {
    /// Asks every core for its counters; the answers come through the receivers, in the order of the cores. A core that has ended, or
    /// that has too many questions waiting, gives none: its receiver is disconnected.
    #[must_use]
    pub fn ask_counters(&self) -> Vec<Receiver<Reply>> {
        self.ask(Call::Counters)
    }

    fn ask(&self, call: Call) -> Vec<Receiver<Reply>> {
        let ask = |(core, calls): (usize, &Sender<Freight>)| {
            let (reply, answer) = flume::bounded(1);
            if calls.try_send(Freight::Call { call, reply }).is_ok() {
                self.ring(core);
            }
            answer
        };
        self.calls.iter().enumerate().map(ask).collect()
    }

    /// Gives every core what new connections wear and waits until they do. Returns the cores that have not said so in
    /// time; they do it when they come to it.
    pub(crate) fn give_wardrobes(&self, wardrobes: &Arc<[Wardrobe]>) -> Vec<usize> {
        let deadline = Instant::now() + TAKEN_MAX;
        let give = |(core, calls): (usize, &Sender<Freight>)| {
            let (taken, answer) = flume::bounded(1);
            if calls
                .send_deadline(Freight::Wardrobes { wardrobes: Arc::clone(wardrobes), taken }, deadline)
                .is_ok()
            {
                self.ring(core);
            }
            answer
        };
        let answers: Vec<Receiver<()>> = self.calls.iter().enumerate().map(give).collect();
        let silent =
            |(core, answer): (usize, Receiver<()>)| answer.recv_deadline(deadline).err().map(|_| core);
        answers.into_iter().enumerate().filter_map(silent).collect()
    }

    /// Brings a call to the home of a device. If that has ended, `reply` is dropped.
    fn call_device(&self, device: DeviceId, call: HubCall, reply: Sender<HubReply>) -> Result<(), Crowded> {
        let cores = u16::try_from(self.calls.len()).expect("at most CORES_MAX cores");
        let home = CoreId::home_of(device.bytes(), cores).index();
        let call = Box::new(call);
        match self.calls[home].try_send(Freight::DeviceCall { device, call, reply }) {
            Ok(()) => self.ring(home),
            Err(TrySendError::Full(Freight::DeviceCall { call, .. })) => return Err(Crowded(call)),
            Err(TrySendError::Full(_)) => unreachable!("what is refused is what was offered"),
            Err(TrySendError::Disconnected(_)) => {}
        }
        Ok(())
    }

    fn ring(&self, core: usize) {
        let bell = &self.bells[core];
        bell.mark_mail(CoreId::new(u16::try_from(core).expect("at most CORES_MAX cores")));
        bell.sound_alarm();
    }
}

impl platform::Cores for Inquiry {
    fn ask(&self, device: DeviceId, call: HubCall, reply: Sender<HubReply>) -> Result<(), Crowded> {
        self.call_device(device, call, reply)
    }
}

/// Asks the cores whose mesh ends these are.
pub(crate) fn inquiry(ends: &[MeshEnd]) -> Inquiry {
    let calls = ends.iter().map(|end| end.links[end.core.index()].outbound.clone()).collect();
    Inquiry { bells: ends.first().map_or_else(|| Arc::from([]), |end| end.bells.clone()), calls }
}

/// Makes the mesh for as many cores as there are bells.
pub(crate) fn weave(bells: &Arc<[Bell]>) -> Vec<MeshEnd> {
    let count = bells.len();
    let channel = |_| flume::bounded(CHANNEL_FREIGHT_MAX);
    let channels: Vec<Vec<_>> = (0..count).map(|_| (0..count).map(channel).collect()).collect();
    let end = |here: usize| {
        let link = |there: usize| Link {
            outbound: channels[here][there].0.clone(),
            inbound: channels[there][here].1.clone(),
            waiting: VecDeque::new(),
        };
        let core = CoreId::new(u16::try_from(here).expect("at most CORES_MAX cores"));
        MeshEnd { core, bells: bells.clone(), links: (0..count).map(link).collect(), sleepers: Vec::new() }
    };
    (0..count).map(end).collect()
}

/// Makes `count` bells.
pub(crate) fn bells(count: usize) -> io::Result<Arc<[Bell]>> {
    (0..count).map(|_| Bell::new()).collect()
}

impl MeshEnd {
    /// This core.
    pub(crate) fn core(&self) -> CoreId {
        self.core
    }

    /// This core's bell.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bells[self.core.index()]
    }

    /// The rings of the cores that this core must wake.
    pub(crate) fn take_sleepers(&mut self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sleepers.drain(..).filter_map(|core| self.bells[core.index()].ring_fd())
    }

    /// Wakes all cores, sooner or later.
    pub(crate) fn sound_alarms(&self) {
        self.bells.iter().for_each(Bell::sound_alarm);
    }

    /// Hands a batch over; a full channel gives it back. To a core that has ended it goes nowhere.
    pub(crate) fn send_batch(&mut self, to: CoreId, batch: Batch) -> Result<(), Batch> {
        match self.offer(to, Freight::Batch(batch)) {
            Err(Freight::Batch(batch)) => Err(batch),
            Err(_) => unreachable!("what is refused is what was offered"),
            Ok(()) => Ok(()),
        }
    }

    /// Hands a connection over, or keeps it until there is room.
    pub(crate) fn send_arrival(&mut self, to: CoreId, fd: OwnedFd, arrival: Box<Arrival>) {
        self.links[to.index()].waiting.push_back(Freight::Arrival { fd, arrival });
        self.send_waiting(to);
    }

    /// Tries again what waits for room. Returns whether something still waits.
    pub(crate) fn send_all_waiting(&mut self) -> bool {
        for core in 0..self.links.len() {
            if !self.links[core].waiting.is_empty() {
                self.send_waiting(CoreId::new(u16::try_from(core).expect("at most CORES_MAX cores")));
            }
        }
        self.links.iter().any(|link| !link.waiting.is_empty())
    }

    /// Takes at most `count_max` pieces of freight from each neighbour who has sent some. Returns how many came.
    pub(crate) fn receive(&mut self, count_max: usize, freight: &mut Vec<(CoreId, Freight)>) -> usize {
        let before = freight.len();
        let bell = &self.bells[self.core.index()];
        for from in bell.take_mail().iter() {
            let inbound = &self.links[from.index()].inbound;
            freight.extend(inbound.try_iter().take(count_max).map(|piece| (from, piece)));
            if !inbound.is_empty() {
                bell.mark_mail(from);
            }
        }
        for core in bell.take_starved().iter() {
            wake(&self.bells, core, &mut self.sleepers);
        }
        freight.len() - before
    }

    fn send_waiting(&mut self, to: CoreId) {
        while let Some(piece) = self.links[to.index()].waiting.pop_front() {
            if let Err(piece) = self.offer(to, piece) {
                return self.links[to.index()].waiting.push_front(piece);
            }
        }
    }

    fn offer(&mut self, to: CoreId, piece: Freight) -> Result<(), Freight> {
        assert!(to != self.core);
        let bell = &self.bells[to.index()];
        let link = &self.links[to.index()];
        let refused = match link.outbound.try_send(piece) {
            Err(TrySendError::Full(piece)) => {
                // Say so first and try once more: the neighbour may have emptied the channel just before it could see.
                bell.mark_starved(self.core);
                link.outbound.try_send(piece)
            }
            outcome => outcome,
        };
        match refused {
            Err(TrySendError::Full(piece)) => Err(piece),
            Err(TrySendError::Disconnected(_)) => Ok(()),
            Ok(()) => {
                bell.mark_mail(self.core);
                wake(&self.bells, to, &mut self.sleepers);
                Ok(())
            }
        }
    }
}

fn wake(bells: &[Bell], core: CoreId, sleepers: &mut Vec<CoreId>) {
    if bells[core.index()].must_wake() {
        sleepers.push(core);
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};
    use shard::ListenerId;
    use stdx::Instant;

    use super::*;

    fn two_cores() -> (MeshEnd, MeshEnd) {
        let mut ends = weave(&bells(2).unwrap());
        let second = ends.pop().unwrap();
        (ends.pop().unwrap(), second)
    }

    fn arrival(number: usize) -> Box<Arrival> {
        let bytes = number.to_string().into_bytes();
        let peer = "127.0.0.1:1".parse().unwrap();
        Box::new(Arrival {
            listener: ListenerId(0),
            peer,
            has_arrived: false,
            accepted_at: Instant::START,
            bytes,
            coating: None,
        })
    }

    #[test]
    fn a_full_channel_gives_the_batch_back_and_its_emptying_wakes_the_sender() {
        let (mut sender, mut receiver) = two_cores();
        for _ in 0..CHANNEL_FREIGHT_MAX {
            assert!(sender.send_batch(receiver.core(), Batch::default()).is_ok());
        }
        assert!(sender.send_batch(receiver.core(), Batch::default()).is_err());
        sender.bell().lie_down();
        let mut freight = Vec::new();
        assert_eq!(receiver.receive(1, &mut freight), 1);
        assert_eq!(receiver.sleepers, [sender.core()]);
        assert!(sender.send_batch(receiver.core(), Batch::default()).is_ok());
        // What is left in the channel is not forgotten although nobody has sent anything new.
        assert_eq!(receiver.receive(CHANNEL_FREIGHT_MAX, &mut freight), CHANNEL_FREIGHT_MAX);
        assert_eq!(receiver.receive(CHANNEL_FREIGHT_MAX, &mut freight), 0);
    }

    #[test]
    fn connections_wait_for_room_and_arrive_in_order() {
        let (mut sender, mut receiver) = two_cores();
        let count = CHANNEL_FREIGHT_MAX + 10;
        for number in 0..count {
            let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
            sender.send_arrival(receiver.core(), fd, arrival(number));
        }
        assert!(sender.send_all_waiting());
        let mut freight = Vec::new();
        receiver.receive(CHANNEL_FREIGHT_MAX, &mut freight);
        assert!(!sender.send_all_waiting());
        receiver.receive(CHANNEL_FREIGHT_MAX, &mut freight);
        let arrived = freight.iter().map(|(_, piece)| match piece {
            Freight::Arrival { arrival, .. } => String::from_utf8(arrival.bytes.clone()).unwrap(),
            _ => unreachable!("only connections were sent"),
        });
        assert!(arrived.eq((0..count).map(|number| number.to_string())));
    }

    #[test]
    fn only_a_core_that_sleeps_is_woken() {
        let (mut sender, receiver) = two_cores();
        sender.send_batch(receiver.core(), Batch::default()).unwrap();
        assert!(sender.sleepers.is_empty());
        receiver.bell().lie_down();
        sender.send_batch(receiver.core(), Batch::default()).unwrap();
        sender.send_batch(receiver.core(), Batch::default()).unwrap();
        assert_eq!(sender.sleepers, [receiver.core()]);
    }
}
