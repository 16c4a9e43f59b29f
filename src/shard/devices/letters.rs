//! Letters between cores about devices: to the home of a device, and to the connection of an ear.
//!
//! Why they travel with the messages of a turn, in front of its question: a gateway's acknowledgement then waits for its
//! children's homes as a publisher's waits for subscribers.
//!
//! Invariants:
//! - Letters from one core to another are read in the order in which they were written.
//! - What a letter makes its reader write belongs to what the writer asks about.

use broker::{CoreId, Freight};
use device::{Addressed, Change, DeviceId, Ear, Outcome, Refusal, Uplink};
use mqtt::QoS;
use stdx::Instant;

use super::downlinks::Cause;
use super::end::Child;
use crate::shard::Shard;

/// One letter.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A gateway's connection speaks and listens for a child.
    Open { child: Child, ear: Ear },
    /// It says something about it, and may ask for a verdict.
    Hear { child: Child, ear: Ear, uplink: Uplink<'static>, is_judged: bool },
    /// Was all taken that the ear has said since it asked last?
    Judge { ear: Ear, ticket: u32 },
    /// To whoever asked: this was not.
    Judged { ear: Ear, ticket: u32, refusal: Option<Refusal> },
    /// It does so no longer.
    Close { device: DeviceId, ear: Ear },
    /// A command was written to the connection.
    Sent { device: DeviceId, number: i32, qos: QoS },
    /// It was acknowledged.
    Acknowledged { device: DeviceId, number: i32 },
    /// It could not be said.
    Failed { device: DeviceId, number: i32, why: Box<str> },
    /// What was written down already of a device that is new.
    Learn { device: DeviceId, changes: Vec<Change> },
    /// To be said on a connection of the reader.
    Told(Addressed),
    /// A connection of the reader is open for a device no longer.
    Evicted { ear: Ear, device: DeviceId, cause: Cause },
    /// A connection of the reader is open for a device that was changed.
    Renewed { ear: Ear, device: DeviceId },
}

impl Shard {
    /// What came from another core beside its messages.
    pub(crate) fn read_letters(&mut self, now: Instant, freight: Vec<Freight>) {
        for piece in freight {
            let Ok(letter) = piece.downcast::<Letter>() else { continue };
            if self.devices.is_some() {
                let mut out = self.outcome();
                self.read_letter(now, *letter, &mut out);
                self.settle(now, out, Cause::TakenOver);
            }
        }
    }

    /// Brings a letter to a child's home, at once if that is here.
    pub(crate) fn tell_home(
        &mut self,
        now: Instant,
        child: Child,
        letter: Letter,
        is_awaited: bool,
        out: &mut Outcome,
    ) {
        if child.home == self.core {
            self.read_letter(now, letter, out);
        } else {
            self.send_letter(child.home, letter, is_awaited);
        }
    }

    /// As [`Shard::tell_home`], with all that follows from it.
    pub(crate) fn write_to(&mut self, now: Instant, home: CoreId, letter: Letter, is_awaited: bool) {
        if home != self.core {
            return self.send_letter(home, letter, is_awaited);
        }
        let mut out = self.outcome();
        self.read_letter(now, letter, &mut out);
        self.settle(now, out, Cause::TakenOver);
    }

    /// The home of a device that was just made learns what was written down of it besides what the registry knows.
    pub(crate) fn tell_home_of_facts(&mut self, now: Instant, mut changed: Vec<Change>) {
        changed.retain(|change| !change.is_of_registry());
        if let Some(device) = changed.first().and_then(Change::device) {
            let home = self.home_of(device);
            self.write_to(now, home, Letter::Learn { device, changes: changed }, false);
        }
    }

    pub(crate) fn send_letter(&mut self, to: CoreId, letter: Letter, is_awaited: bool) {
        self.exchange.send_beside(to, Box::new(letter), is_awaited);
    }

    fn read_letter(&mut self, now: Instant, letter: Letter, out: &mut Outcome) {
        let now_ms = self.wall_ms(now);
        let hub = &mut self.desk().hub;
        match letter {
            Letter::Open { child, ear } => {
                let _is_open = self.open_child(now, child, ear, out);
            }
            Letter::Hear { child, ear, uplink, is_judged } => {
                self.hear_at_home(now, child, ear, uplink, out);
                if is_judged {
                    self.keep_refusals(out);
                }
            }
            Letter::Close { device, ear } => hub.close(device, ear, now_ms, out),
            Letter::Sent { device, number, qos } => hub.command_sent(device, number, qos, now_ms, out),
            Letter::Acknowledged { device, number } => hub.command_acknowledged(device, number, out),
            Letter::Failed { device, number, why } => hub.command_failed(device, number, &why, out),
            Letter::Learn { device, changes } => {
                if !self.is_gone(device) {
                    self.desk().hub.learn(device, &changes, out);
                }
            }
            Letter::Told(addressed) => self.speak(now, &addressed),
            Letter::Judge { ear, ticket } => self.verdict_wanted(ear, ticket),
            Letter::Judged { ear, ticket, refusal } => self.verdict_told(ear, ticket, refusal),
            Letter::Evicted { ear, device, cause } => self.evict_here(now, ear, device, cause),
            Letter::Renewed { ear, device } => {
                let _is_gone = self.renew_here(now, ear, device);
            }
        }
    }
}
