//! Commands on their way: what waits, what was sent where, and who is told how it went.
//!
//! Why a command is not sent again on the connection on which it was: TCP has delivered it or will; a device that is told
//! twice does it twice. A device that says once more that it listens is told what it has not acknowledged in time.
//!
//! Invariants:
//! - A persistent command is written down whenever its state changes; others live only here.
//! - Numbers of one device rise; a number names one command at a time.

use mqtt::QoS;

use super::desk::{Desk, Hub, Waiting};
use super::outcome::{Addressed, Outcome, Report};
use crate::change::Change;
use crate::command::{Command, CommandKind, CommandState, Order};
use crate::ids::{CommandId, DeviceId};
use crate::speech::{Downlink, Ear};

/// More commands wait for a device than may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyCommands;

impl Hub {
    /// Asks something of a device. Returns the number by which the device will know it.
    ///
    /// # Errors
    /// Too many commands wait for it.
    pub fn order(
        &mut self,
        device: DeviceId,
        order: Order,
        now_ms: i64,
        out: &mut Outcome,
    ) -> Result<i32, TooManyCommands> {
        let waiting_max = self.terms.commands.waiting_max;
        let desk = self.devices.entry(device).or_default();
        if desk.waiting.len() >= waiting_max {
            return Err(TooManyCommands);
        }
        let number = desk.next_number;
        desk.next_number = number.checked_add(1).unwrap_or(0);
        let command = Command::new(order, number, now_ms);
        note(device, &command, out);
        if !command.has_ended() {
            desk.waiting.push(Waiting { command, sent_to: None });
            let ears: Vec<Ear> = desk
                .listeners
                .iter()
                .filter(|listener| listener.hears_commands.is_some())
                .map(|listener| listener.ear)
                .collect();
            for ear in ears {
                self.send_waiting(device, ear, out);
            }
        }
        self.plan(device);
        Ok(number)
    }

    /// A command was written to a connection.
    pub fn command_sent(&mut self, device: DeviceId, number: i32, qos: QoS, now_ms: i64, out: &mut Outcome) {
        let terms = self.terms.commands;
        self.change_command(device, number, out, |command| command.sent(qos, now_ms, &terms));
    }

    /// The device has acknowledged the message with a command.
    pub fn command_acknowledged(&mut self, device: DeviceId, number: i32, out: &mut Outcome) {
        self.change_command(device, number, out, Command::acknowledged);
    }

    /// The dialect had no words for a command.
    pub fn command_failed(&mut self, device: DeviceId, number: i32, why: &str, out: &mut Outcome) {
        self.change_command(device, number, out, |command| command.fail(why));
    }

    /// Somebody takes a command back.
    pub fn delete_command(&mut self, device: DeviceId, id: CommandId, out: &mut Outcome) {
        let desk = self.devices.get_mut(&device);
        let waiting = desk.and_then(|desk| {
            let index = desk.waiting.iter().position(|waiting| waiting.command.order.id == id)?;
            Some(desk.waiting.remove(index))
        });
        if let Some(Waiting { mut command, .. }) = waiting {
            command.delete();
            out.reports.push(report(device, &command));
        }
        out.changes.push(Change::CommandGone { device, command: id });
        self.plan(device);
    }

    /// A device's answer.
    pub(super) fn answered(&mut self, device: DeviceId, number: i32, answer: &[u8], out: &mut Outcome) {
        self.change_command(device, number, out, |command| command.answered(answer));
    }

    /// Sends what waits to a connection that begins to listen, or says so again.
    pub(super) fn send_waiting(&mut self, device: DeviceId, ear: Ear, out: &mut Outcome) {
        let Some(desk) = self.devices.get_mut(&device) else { return };
        for Waiting { command, sent_to } in &mut desk.waiting {
            let is_new_here = *sent_to != Some(ear) || command.state == CommandState::Timeout;
            if !is_new_here || !command.is_undelivered() {
                continue;
            }
            *sent_to = Some(ear);
            let downlink = Downlink::Command {
                number: command.number,
                method: command.order.method.clone(),
                params: command.order.params.clone(),
                is_answered: command.order.kind == CommandKind::TwoWay,
            };
            out.downlinks.push(Addressed { ear, device, downlink });
        }
    }

    pub(super) fn look_at_commands(&mut self, device: DeviceId, now_ms: i64, out: &mut Outcome) {
        let terms = self.terms.commands;
        let Some(desk) = self.devices.get_mut(&device) else { return };
        for waiting in &mut desk.waiting {
            if waiting.command.look(now_ms, &terms) {
                note(device, &waiting.command, out);
            }
        }
        desk.waiting.retain(|waiting| !waiting.command.has_ended());
    }

    pub(super) fn restore_command(&mut self, device: DeviceId, command: &Command) {
        let desk = self.devices.entry(device).or_default();
        desk.waiting.retain(|waiting| waiting.command.order.id != command.order.id);
        let mut command = command.clone();
        command.cut_off();
        desk.next_number = desk.next_number.max(command.number.checked_add(1).unwrap_or(0));
        if !command.has_ended() {
            desk.waiting.push(Waiting { command, sent_to: None });
        }
    }

    pub(super) fn drop_command(&mut self, device: DeviceId, id: CommandId) {
        if let Some(desk) = self.devices.get_mut(&device) {
            desk.waiting.retain(|waiting| waiting.command.order.id != id);
        }
    }

    fn change_command(
        &mut self,
        device: DeviceId,
        number: i32,
        out: &mut Outcome,
        change: impl FnOnce(&mut Command),
    ) {
        let Some(desk) = self.devices.get_mut(&device) else { return };
        let Some(index) = desk.place(number) else { return };
        let command = &mut desk.waiting[index].command;
        let before = command.state;
        change(command);
        if command.state != before {
            note(device, command, out);
        }
        if command.has_ended() {
            desk.waiting.remove(index);
        }
        self.plan(device);
    }
}

impl Desk {
    fn place(&self, number: i32) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.command.number == number)
    }
}

/// Writes down how far a command is, and tells those who wait for it.
fn note(device: DeviceId, command: &Command, out: &mut Outcome) {
    out.reports.push(report(device, command));
    if command.order.is_persistent {
        out.changes.push(Change::Command { device, command: Box::new(command.clone()) });
    }
}

fn report(device: DeviceId, command: &Command) -> Report {
    Report {
        device,
        command: command.order.id,
        state: command.state,
        response: command.response.clone(),
        is_garbled: command.is_garbled,
    }
}
