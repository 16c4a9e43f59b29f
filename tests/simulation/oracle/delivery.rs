//! Checks of every PUBLISH that comes out: alias, packet id, window, resends, and that it comes by some right.
//!
//! Why a delivery is first given a name: the payload says which message it is (an empty one only its topic), and then
//! everything else about it is known and can be compared.
//!
//! Invariants:
//! - A resend is judged against the flow it repeats; everything else is a new copy and counted.
//!
//! Source: MQTT 5.0 sections 3.3, 4.3, 4.4, 4.9.

use std::rc::Rc;

use super::session::Flow;
use super::slots::Slot;
use super::{GroupCopy, Oracle, Rule};
use crate::message;
use crate::wire::Delivery;

pub(super) type Verdict = Result<(), (Rule, String)>;

/// What a delivery may be.
#[derive(Debug)]
struct Reading {
    message: usize,
    choices: Vec<Slot>,
}

impl Oracle {
    /// A PUBLISH came out.
    pub(super) fn delivered(&mut self, socket: usize, delivery: &Delivery) -> Verdict {
        let topic = self.resolve_alias(socket, delivery)?;
        let session = self.conns[&socket].session.expect("only attached connections have output");
        if delivery.qos > 0 && !delivery.is_dup {
            self.forget_large(session, socket, delivery.id);
        }
        if let Some(flow) =
            self.sessions[session].flows.get(&delivery.id).filter(|_| delivery.qos > 0).cloned()
        {
            return self.resent(socket, session, delivery, &topic, &flow);
        }
        if delivery.is_dup && self.sessions[session].online_since == self.sessions[session].born {
            return Err((Rule::Content, "DUP on the first connection of a session".into()));
        }
        if delivery.qos > 0 {
            self.check_window(socket, session)?;
        }
        let reading = self.read(session, socket, delivery, &topic)?;
        self.take_right(session, socket, delivery, &topic, reading)
    }

    /// The topic that a packet means. Source: [MQTT-3.1.2-26], [MQTT-3.3.2-7].
    fn resolve_alias(&mut self, socket: usize, delivery: &Delivery) -> Result<Rc<str>, (Rule, String)> {
        let conn = self.conn_mut(socket);
        let Some(alias) = delivery.alias else { return Ok(delivery.topic.as_str().into()) };
        if alias > conn.alias_max {
            return Err((Rule::Legal, format!("alias {alias} above the maximum {}", conn.alias_max)));
        }
        if !delivery.topic.is_empty() {
            conn.aliases.insert(alias, delivery.topic.clone());
        }
        match conn.aliases.get(&alias) {
            Some(topic) => Ok(topic.as_str().into()),
            None => Err((Rule::Legal, format!("alias {alias} was never set on this connection"))),
        }
    }

    /// A packet id that is open comes again: only as a resend after a reconnect. Source: [MQTT-4.4.0-1].
    fn resent(&mut self, socket: usize, session: usize, new: &Delivery, topic: &str, flow: &Flow) -> Verdict {
        let fate = &self.fates[&flow.message];
        let is_same = *fate.publish.topic == *topic && *fate.publish.payload == *new.payload;
        if !new.is_dup && !is_same || flow.socket == socket {
            return Err((Rule::PacketId, format!("id {} is open for m{}", new.id, flow.message)));
        }
        if !is_same || new.qos != flow.qos || new.is_retained != flow.is_retained {
            return Err((Rule::Content, format!("the resend of m{} differs from it", flow.message)));
        }
        if !new.is_dup {
            return Err((Rule::Content, format!("the resend of m{} has no DUP", flow.message)));
        }
        if flow.is_released {
            return Err((Rule::Duplicate, format!("m{} comes again after its PUBREC", flow.message)));
        }
        let is_optional = flow.is_excused || self.may_be_too_large(socket, fate);
        if !is_optional && self.oldest_to_resend(session, socket) != Some(new.id) {
            return Err((Rule::Order, format!("m{} is not the oldest to resend", flow.message)));
        }
        let state = &mut self.sessions[session];
        state.flows.get_mut(&new.id).expect("found by the caller").socket = socket;
        let (open, most) = (state.open_on(socket), self.conns[&socket].receive_maximum);
        if open > usize::from(most) {
            return Err((Rule::Window, format!("{open} messages are open and {most} allowed")));
        }
        Ok(())
    }

    /// The oldest message that was sent on an earlier connection and must be sent again on `socket`.
    fn oldest_to_resend(&self, session: usize, socket: usize) -> Option<u16> {
        let flows = self.sessions[session].flows.iter();
        let unsent = flows.filter(|(_, flow)| {
            let is_open = !flow.is_released && flow.socket != socket;
            is_open && !flow.is_excused && !self.may_be_too_large(socket, &self.fates[&flow.message])
        });
        unsent.min_by_key(|(_, flow)| flow.order).map(|(id, _)| *id)
    }

    /// The id of a message that is too large for this connection, and so counts as delivered, may be used again.
    /// Source: [MQTT-3.1.2-25].
    fn forget_large(&mut self, session: usize, socket: usize, id: u16) {
        let Some(flow) = self.sessions[session].flows.get(&id) else { return };
        let is_open = !flow.is_released && flow.socket != socket;
        if is_open && (flow.is_excused || self.may_be_too_large(socket, &self.fates[&flow.message])) {
            self.sessions[session].flows.remove(&id);
        }
    }

    fn check_window(&self, socket: usize, session: usize) -> Verdict {
        if let Some(id) = self.oldest_to_resend(session, socket) {
            return Err((Rule::Order, format!("a new message before the resend of id {id}")));
        }
        let (open, most) = (self.sessions[session].open_on(socket), self.conns[&socket].receive_maximum);
        if open >= usize::from(most) {
            return Err((Rule::Window, format!("{open} messages are open and {most} allowed")));
        }
        Ok(())
    }

    /// Which message a delivery is, and by which rights it may come.
    fn read(
        &self,
        session: usize,
        socket: usize,
        delivery: &Delivery,
        topic: &Rc<str>,
    ) -> Result<Reading, (Rule, String)> {
        if let Some(message) = message::number(&delivery.payload) {
            let Some(fate) = self.fates.get(&message) else {
                let is_will = self.wills_void.contains(&message) || message::is_will(&delivery.payload);
                let rule = if is_will { Rule::Will } else { Rule::Unmatched };
                return Err((rule, format!("m{message} was never published")));
            };
            if fate.publish.topic != *topic || *fate.publish.payload != *delivery.payload {
                return Err((Rule::Content, format!("m{message} was published to {:?}", fate.publish.topic)));
            }
            let choices = self.choices(session, socket, delivery, message)?;
            return Ok(Reading { message, choices });
        }
        let of_topic = self.fates.iter().filter(|(_, fate)| fate.publish.topic == *topic);
        let empty = of_topic.filter(|(_, fate)| fate.publish.payload.is_empty());
        let mut reading = Reading { message: usize::MAX, choices: Vec::new() };
        let mut objection = (Rule::Unmatched, "no such message was published".to_string());
        for (message, _) in empty {
            match self.choices(session, socket, delivery, *message) {
                Ok(choices) => {
                    reading.message = *message;
                    reading.choices.extend(choices);
                }
                Err(why) => objection = why,
            }
        }
        if reading.choices.is_empty() { Err(objection) } else { Ok(reading) }
    }

    /// Gives the delivery a right, and notes what it changes.
    fn take_right(
        &mut self,
        session: usize,
        socket: usize,
        new: &Delivery,
        topic: &Rc<str>,
        reading: Reading,
    ) -> Verdict {
        let Reading { message, choices } = reading;
        let mut slots = self.sessions[session].slots.remove(topic).unwrap_or_default();
        let fates = &self.fates;
        let capacity = |slot: &Slot| match slot {
            Slot::Plain(message) | Slot::Shared(message, ..) => fates[message].sends.len(),
            Slot::Replayed(_) => 1,
        };
        let is_taken = slots.take(message, choices.clone(), &capacity);
        self.sessions[session].slots.insert(Rc::clone(topic), slots);
        if !is_taken {
            let is_shared = choices.iter().any(|slot| matches!(slot, Slot::Shared(..)));
            let rule = if is_shared { Rule::Share } else { Rule::Duplicate };
            return Err((rule, format!("m{message} comes more often than it may")));
        }
        self.note_copy(session, socket, message, new, &choices);
        Ok(())
    }

    fn note_copy(&mut self, session: usize, socket: usize, message: usize, new: &Delivery, choices: &[Slot]) {
        let is_certain = choices.len() == 1;
        for slot in choices {
            if let Slot::Shared(message, group, inner) = slot {
                let copies = self.groups.entry((group.clone(), inner.clone())).or_default();
                copies.entry(*message).or_default().push(GroupCopy { socket, qos: new.qos, is_certain });
            }
        }
        let fate = &self.fates[&message];
        let (publisher, topic) = (fate.publisher, Rc::clone(&fate.publish.topic));
        let state = &mut self.sessions[session];
        if fate.publish.is_retained && !new.payload.is_empty() {
            state.latest_retained.insert((publisher, Rc::clone(&topic), new.qos), message);
        }
        let is_replay_maybe = choices.iter().any(|slot| matches!(slot, Slot::Replayed(_)));
        if matches!(choices, [Slot::Plain(_)]) && state.arrived.insert(message) {
            state.latest.insert((publisher, topic, fate.publish.qos, new.qos), message);
        }
        if !is_replay_maybe {
            for left in state.waiting.iter_mut().filter_map(|waiting| waiting.get_mut(&message)) {
                *left = left.saturating_sub(1);
            }
        }
        if new.qos > 0 {
            let flow = Flow {
                message,
                qos: new.qos,
                is_retained: new.is_retained,
                is_released: false,
                // Whoever took the session over in the same turn may have been unable to take it.
                is_excused: state.conn != Some(socket),
                order: state.flows_opened,
                socket,
                released_on: None,
            };
            state.flows_opened += 1;
            state.flows.insert(new.id, flow);
        }
    }
}
