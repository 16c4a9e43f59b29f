//! Commands on their way: what waits, what was sent where, and who is told how it went.
//!
//! Why a command is not sent again on the connection on which it was: TCP has delivered it or will; a device that is told
//! twice does it twice. A device that says once more that it listens is told what it has not acknowledged in time. Where
//! commands go one after the other, one that was not acknowledged stands in the way of all others, so it is sent again.
//!
//! Invariants:
//! - A persistent command is written down whenever its state changes; others live only here.
//! - Numbers of one device rise; a number names one command at a time, and so does an id.

use mqtt::QoS;

use super::desk::{Desk, Hub, Listener, Waiting};
use super::outcome::{Addressed, Outcome, Report};
use crate::change::Change;
use crate::command::{Command, CommandKind, CommandState, Order, Submit};
use crate::ids::{CommandId, DeviceId};
use crate::speech::{Downlink, Ear};

/// Why something is not asked of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotOrdered {
    /// More commands wait for it than may.
    TooMany,
    /// One of that id waits for it.
    Known,
}

impl Hub {
    /// Asks something of a device. Returns the number by which the device will know it.
    ///
    /// # Errors
    /// Too many commands wait for it, or this one does already; nothing is changed.
    pub fn order(
        &mut self,
        device: DeviceId,
        order: Order,
        now_ms: i64,
        out: &mut Outcome,
    ) -> Result<i32, NotOrdered> {
        let waiting_max = self.terms.commands.waiting_max;
        let Some(desk) = self.desk(device) else { return Err(NotOrdered::TooMany) };
        if desk.waiting.iter().any(|waiting| waiting.command.order.id == order.id) {
            return Err(NotOrdered::Known);
        }
        if desk.waiting.len() >= waiting_max {
            return Err(NotOrdered::TooMany);
        }
        let number = desk.next_number;
        desk.next_number = number.checked_add(1).unwrap_or(0);
        let command = Command::new(order, number, now_ms);
        note(device, &command, out);
        if !command.has_ended() {
            desk.waiting.push(Waiting { command, sent_to: None, answer_due_ms: None });
            self.send_next(device, out);
        }
        self.plan(device);
        Ok(number)
    }

    /// A command was written to a connection.
    pub fn command_sent(&mut self, device: DeviceId, number: i32, qos: QoS, now_ms: i64, out: &mut Outcome) {
        let terms = self.terms.commands;
        if terms.submit == Submit::AfterAnswer
            && let Some(desk) = self.devices.get_mut(&device)
            && let Some(index) = desk.place(number)
        {
            desk.waiting[index].answer_due_ms = Some(now_ms.saturating_add(terms.answer_ms));
        }
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
        self.send_next(device, out);
        self.plan(device);
    }

    /// A device's answer.
    pub(super) fn answered(&mut self, device: DeviceId, number: i32, answer: &[u8], out: &mut Outcome) {
        self.change_command(device, number, out, |command| command.answered(answer));
    }

    /// Sends what waits to a connection that begins to listen, or says so again.
    pub(super) fn send_again(&mut self, device: DeviceId, ear: Ear, out: &mut Outcome) {
        let submit = self.terms.commands.submit;
        let Some(desk) = self.devices.get_mut(&device) else { return };
        for index in desk.turn(submit) {
            let Waiting { command, sent_to, .. } = &mut desk.waiting[index];
            let is_new_here = *sent_to != Some(ear) || command.state == CommandState::Timeout;
            if command.is_undelivered() && is_new_here {
                *sent_to = Some(ear);
                out.downlinks.push(Addressed { ear, device, downlink: downlink(command) });
            }
        }
    }

    /// Sends what a connection was sent already and has not answered, as often as it asks: what it has acknowledged as well,
    /// unless commands go one after the other. What [`Hub::send_again`] sends is left to that.
    pub(super) fn repeat_commands(&mut self, device: DeviceId, ear: Ear, out: &mut Outcome) {
        let submit = self.terms.commands.submit;
        let Some(desk) = self.devices.get_mut(&device) else { return };
        for index in desk.turn(submit) {
            let Waiting { command, sent_to, .. } = &mut desk.waiting[index];
            let is_repeated = match command.state {
                CommandState::Delivered => submit == Submit::Burst,
                CommandState::Queued | CommandState::Sent => *sent_to == Some(ear),
                CommandState::Timeout
                | CommandState::Successful
                | CommandState::Expired
                | CommandState::Failed
                | CommandState::Deleted => false,
            };
            if is_repeated {
                *sent_to = Some(ear);
                out.downlinks.push(Addressed { ear, device, downlink: downlink(command) });
            }
        }
    }

    /// Sends what was not sent yet and whose turn it is, to all who listen.
    fn send_next(&mut self, device: DeviceId, out: &mut Outcome) {
        let submit = self.terms.commands.submit;
        let Some(desk) = self.devices.get_mut(&device) else { return };
        let hears = |listener: &&Listener| listener.hears_commands.is_some();
        let ears: Vec<Ear> = desk.listeners.iter().filter(hears).map(|listener| listener.ear).collect();
        let Some(last) = ears.last() else { return };
        for index in desk.turn(submit) {
            let Waiting { command, sent_to, .. } = &mut desk.waiting[index];
            let is_missed = command.state == CommandState::Timeout && submit != Submit::Burst;
            if command.is_undelivered() && (sent_to.is_none() || is_missed) {
                *sent_to = Some(*last);
                let told = |ear: &Ear| Addressed { ear: *ear, device, downlink: downlink(command) };
                out.downlinks.extend(ears.iter().map(told));
            }
        }
    }

    pub(super) fn look_at_commands(&mut self, device: DeviceId, now_ms: i64, out: &mut Outcome) {
        let terms = self.terms.commands;
        let Some(desk) = self.devices.get_mut(&device) else { return };
        let mut is_deaf = false;
        for Waiting { command, answer_due_ms, sent_to } in &mut desk.waiting {
            let mut changed = command.look(now_ms, &terms);
            if changed && command.state == CommandState::Queued {
                (is_deaf, *sent_to) = (true, None);
            }
            let is_unanswered = command.state == CommandState::Delivered && !command.has_ended();
            if is_unanswered && answer_due_ms.is_some_and(|due| due <= now_ms) {
                command.fail("There was a timeout awaiting for RPC response from device.");
                changed = true;
            }
            if changed {
                note(device, command, out);
            }
        }
        desk.waiting.retain(|waiting| !waiting.command.has_ended());
        if is_deaf {
            out.evicted.extend(desk.listeners.iter().map(|listener| (listener.ear, device)));
        }
        if terms.submit != Submit::Burst {
            self.send_next(device, out);
        }
    }

    pub(super) fn restore_command(&mut self, device: DeviceId, command: &Command) {
        let desk = self.devices.entry(device).or_default();
        desk.waiting.retain(|waiting| waiting.command.order.id != command.order.id);
        let mut command = command.clone();
        command.cut_off();
        desk.next_number = desk.next_number.max(command.number.checked_add(1).unwrap_or(0));
        if !command.has_ended() {
            desk.waiting.push(Waiting { command, sent_to: None, answer_due_ms: None });
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
        if self.terms.commands.submit != Submit::Burst {
            self.send_next(device, out);
        }
        self.plan(device);
    }
}

impl Desk {
    /// The places of those whose turn it is.
    fn turn(&self, submit: Submit) -> std::ops::Range<usize> {
        match submit {
            Submit::Burst => 0..self.waiting.len(),
            Submit::AfterAck => {
                let first = self.waiting.iter().position(|waiting| waiting.command.is_undelivered());
                first.map_or(0..0, |first| first..first + 1)
            }
            Submit::AfterAnswer => 0..self.waiting.len().min(1),
        }
    }

    fn place(&self, number: i32) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.command.number == number)
    }
}

fn downlink(command: &Command) -> Downlink {
    Downlink::Command {
        number: command.number,
        method: command.order.method.clone(),
        params: command.order.params.clone(),
        is_answered: command.order.kind == CommandKind::TwoWay,
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
