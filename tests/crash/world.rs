//! The stage: all clients of the cast and their connections, moved by one loop over poll(2).
//!
//! Why one thread: what the ledger writes down has one order, so "sent before" and "acknowledged before" mean something.
//!
//! Invariants:
//! - Packets are understood in the order in which they arrived, per connection.
//! - When the broker has fallen, everything that it had said is read before its connections are forgotten.

use std::net::SocketAddr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::book::{Book, Rule};
use crate::cast::{Actor, Moment, Want};
use crate::clock::{now_ms, now_us};
use crate::link::{Flow, Link};
use crate::wire::{self, Answer};

/// How long the loop waits for something to happen, in nanoseconds.
const WAIT_NS: i64 = 2_000_000;

/// All clients.
pub struct World {
    /// The clients.
    pub cast: Vec<Box<dyn Actor>>,
    /// The book.
    pub book: Book,
    /// What clients may know.
    pub moment: Moment,
    /// New messages a second, all publishers together.
    rate: u64,
    granted_us: u64,
}

impl World {
    /// A stage with these clients.
    #[must_use]
    pub fn new(cast: Vec<Box<dyn Actor>>, book: Book, moment: Moment, rate: u64) -> Self {
        Self { cast, book, moment, rate, granted_us: now_us() }
    }

    /// One round: connections are opened, what can be read is read, what clients want to say is said.
    pub fn turn(&mut self, address: SocketAddr) {
        self.moment.now_ms = now_ms();
        self.grant();
        for index in 0..self.cast.len() {
            self.open(index, address);
        }
        let readable = self.wait();
        self.moment.now_ms = now_ms();
        for index in readable {
            self.listen(index);
        }
        for index in 0..self.cast.len() {
            self.speak(index);
        }
    }

    /// The broker is gone: reads what it had said and forgets all connections.
    pub fn fall(&mut self) {
        self.moment.now_ms = now_ms();
        for index in 0..self.cast.len() {
            let Some(mut link) = self.cast[index].seat().link.take() else { continue };
            link.read_out();
            self.understand(index, &mut link);
            self.forget(index);
        }
    }

    /// Publishers get what the rate has brought since the last time, never more than a tenth of a second's worth.
    fn grant(&mut self) {
        let now_us = now_us();
        let fresh = (now_us - self.granted_us) * self.rate / 1_000_000;
        if fresh > 0 {
            self.granted_us = now_us;
            self.moment.allowance = (self.moment.allowance + fresh).min(self.rate / 10 + 1);
        }
    }

    fn open(&mut self, index: usize, address: SocketAddr) {
        let actor = &mut self.cast[index];
        if actor.seat().link.is_some() {
            return;
        }
        let Want::Here(terms) = actor.want(&mut self.moment, &mut self.book) else { return };
        let seat = actor.seat();
        // A broker that falls just now is found out by the one who started it.
        let Ok(mut link) = Link::open(address) else { return };
        wire::connect(&mut link.output, seat.version, &terms);
        let flow = link.flush();
        seat.is_cut = false;
        seat.link = Some(link);
        debug_assert_eq!(flow, Flow::Open, "what was not sent is found out by the next read");
    }

    /// The clients that have something to read.
    fn wait(&mut self) -> Vec<usize> {
        let links: Vec<(usize, &Link)> = self
            .cast
            .iter_mut()
            .enumerate()
            .filter_map(|(index, actor)| actor.seat().link.as_ref().map(|link| (index, link)))
            .collect();
        let mut polled: Vec<PollFd<'_>> = links
            .iter()
            .map(|(_, link)| {
                let write = if link.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                PollFd::new(&link.socket, PollFlags::IN | write)
            })
            .collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: WAIT_NS };
        // Interrupted or not: the next round looks again.
        let _ = poll(&mut polled, Some(&timeout));
        let ready =
            |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        polled.iter().zip(&links).filter(|(fd, _)| ready(fd)).map(|(_, (index, _))| *index).collect()
    }

    fn listen(&mut self, index: usize) {
        let Some(mut link) = self.cast[index].seat().link.take() else { return };
        let flow = link.read();
        let is_sound = self.understand(index, &mut link);
        if flow == Flow::Open && is_sound {
            self.cast[index].seat().link = Some(link);
        } else {
            self.forget(index);
        }
    }

    /// Hears every whole packet. Returns false if the connection makes no sense any more.
    fn understand(&mut self, index: usize, link: &mut Link) -> bool {
        let actor = &mut self.cast[index];
        let version = actor.seat().version;
        let mut start = 0;
        let is_sound = loop {
            match wire::decode(version, &link.input[start..]) {
                Ok(None) => break true,
                Ok(Some((answer, length))) => {
                    start += length;
                    Self::tell(actor.as_mut(), &answer, &mut link.output, &mut self.book, &mut self.moment);
                    if matches!(answer, Answer::Disconnect { .. }) {
                        break false;
                    }
                }
                Err(broken) => {
                    self.book.accuse(Rule::Protocol, format!("{}: {}", actor.seat().client_id, broken.0));
                    break false;
                }
            }
        };
        link.input.drain(..start);
        is_sound
    }

    fn tell(
        actor: &mut dyn Actor,
        answer: &Answer<'_>,
        out: &mut Vec<u8>,
        book: &mut Book,
        moment: &mut Moment,
    ) {
        match (answer, actor.seat().is_online) {
            (Answer::ConnAck { is_present, code }, false) => {
                actor.seat().judge(book, *is_present, *code);
                if actor.seat().is_online {
                    actor.welcome(*is_present, out, book, moment);
                }
            }
            // 0x8B: the broker ends as it was asked to.
            (Answer::Disconnect { code: 0x8b }, _) => {}
            (_, true) => actor.hear(answer, out, book, moment),
            (_, false) => {
                let text = format!("{}: {answer:?} before CONNACK", actor.seat().client_id);
                book.accuse(Rule::Protocol, text);
            }
        }
    }

    fn speak(&mut self, index: usize) {
        let actor = &mut self.cast[index];
        let Some(mut link) = actor.seat().link.take() else { return };
        if actor.seat().is_online && !actor.seat().is_cut {
            actor.act(&mut link.output, &mut self.book, &mut self.moment);
        }
        if actor.seat().is_cut {
            self.forget(index);
            return;
        }
        link.flush();
        actor.seat().link = Some(link);
    }

    /// The connection is gone.
    fn forget(&mut self, index: usize) {
        let actor = &mut self.cast[index];
        actor.lose(&mut self.moment, &mut self.book);
        let seat = actor.seat();
        if !seat.is_online && seat.known == crate::cast::Known::Nothing {
            seat.known = crate::cast::Known::Maybe;
        }
        (seat.is_online, seat.is_cut) = (false, false);
    }

    /// Whether nobody is owed anything.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.book.is_settled() && self.cast.iter().all(|actor| actor.is_done(&self.book))
    }

    /// What is outstanding is lost.
    pub fn write_off(&mut self) {
        for actor in &mut self.cast {
            actor.write_off(&mut self.book);
        }
    }
}
