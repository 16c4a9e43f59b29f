//! What must be true when nothing is on its way any more.
//!
//! Why at rest: "must be delivered" has no deadline while streams stall and batches are late; once the world lets
//! everything through, it has.
//!
//! Invariants:
//! - At rest every byte was handed over, every batch handled, every output read, every acknowledgement sent.
//!
//! Source: [MQTT-4.5.0-1], [MQTT-3.8.4-1], sections 4.4 and 4.8.2.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stdx::Span;

use super::delivery::Verdict;
use super::routing::Fate;
use super::session::Session;
use super::slots::{Slot, Slots};
use super::{Oracle, Rule, Step};

impl Oracle {
    /// The world is at rest at `step`.
    pub fn rest(&mut self, step: Step) {
        self.step = step;
        self.rests.push(step);
        self.check_answers();
        self.check_deliveries();
        self.check_groups();
        self.fresh.clear();
        for session in &mut self.sessions {
            if session.conn.is_some() {
                session.waiting = [BTreeMap::new(), BTreeMap::new()];
            } else {
                session.waiting[0].clear();
            }
            session.waiting_replays = 0;
        }
    }

    /// Every question was answered, and every open message was sent again.
    fn check_answers(&mut self) {
        let mut complaint = None;
        for (socket, conn) in self.conns.iter().filter(|(_, conn)| !conn.is_over) {
            let Some(session) =
                conn.session.filter(|_| conn.ended.is_none()).map(|index| &self.sessions[index])
            else {
                continue;
            };
            let owed = conn.owed.describe();
            if !owed.is_empty() || conn.held.is_some() {
                complaint = Some(format!("c{socket} still waits for {owed}"));
            }
            let open = session.flows.iter().find(|(_, flow)| {
                let is_excused =
                    flow.is_excused || self.may_be_too_large(*socket, &self.fates[&flow.message]);
                flow.is_released || flow.socket == *socket || !is_excused
            });
            if let Some((id, flow)) = open {
                let sent = if flow.socket == *socket { "never finished" } else { "never sent again" };
                complaint = Some(format!("c{socket}: id {id} with m{} was {sent}", flow.message));
            }
        }
        if let Some(text) = complaint {
            self.fail(Rule::Answer, text);
        }
    }

    /// Every message reached everybody whom it had to reach, and every request was answered with what is retained.
    fn check_deliveries(&mut self) {
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            if session.ended.is_some() || session.is_uncertain {
                continue;
            }
            let messages: BTreeSet<usize> = session.due.union(&self.fresh).copied().collect();
            let due: BTreeSet<usize> = messages
                .into_iter()
                .filter(|message| self.must_have(session, &self.fates[message], *message))
                .collect();
            if session.conn.is_none() {
                let missing = due.into_iter().filter(|message| self.is_missing(session, *message)).collect();
                self.sessions[index].due = missing;
                continue;
            }
            if let Err((rule, text)) = self.check_session(session, &due) {
                self.fail(rule, text);
            }
            let session = &mut self.sessions[index];
            session.due.clear();
            session.replays.iter_mut().for_each(|replay| replay.is_checked = true);
        }
    }

    fn is_missing(&self, session: &Session, message: usize) -> bool {
        let slots = session.slots.get(&self.fates[&message].publish.topic);
        slots.is_none_or(|slots| slots.unserved(&[Slot::Plain(message)]).is_some())
    }

    fn check_session(&self, session: &Session, due: &BTreeSet<usize>) -> Verdict {
        let mut by_topic: BTreeMap<Rc<str>, Vec<Slot>> = BTreeMap::new();
        for message in due {
            let topic = Rc::clone(&self.fates[message].publish.topic);
            by_topic.entry(topic).or_default().push(Slot::Plain(*message));
        }
        for replay in 0..session.replays.len() {
            for topic in self.replays_due(session, replay) {
                by_topic.entry(topic).or_default().push(Slot::Replayed(replay));
            }
        }
        for (topic, due) in by_topic {
            let none = Slots::default();
            let slots = session.slots.get(&topic).unwrap_or(&none);
            let Some(missing) = slots.unserved(&due) else { continue };
            let rule = match missing {
                Slot::Plain(message) if self.fates[message].is_will => Rule::Will,
                Slot::Plain(_) | Slot::Shared(..) => Rule::Loss,
                Slot::Replayed(_) => Rule::Retained,
            };
            let (name, socket) = (self.client_name(session.client), session.conn);
            return Err((rule, format!("{name} ({socket:?}) never got {missing:?} on {topic:?}")));
        }
        Ok(())
    }

    /// Whether a session must have an ordinary copy of a message by now, or once it is connected again.
    fn must_have(&self, session: &Session, fate: &Fate, message: usize) -> bool {
        let Some(send) = fate.first_certain().filter(|_| fate.is_accepted()) else { return false };
        if session.born >= send.from || session.forgiven.contains(&message) {
            return false;
        }
        let found = self.matching(session, fate);
        if !found.is_certain || self.now + Span::from_s(1) >= fate.expires_at_first() {
            return false;
        }
        let qos = if found.groups.is_empty() { found.qos_low } else { 0 };
        let was_online = session.conn.is_some() && session.online_since < send.from;
        let is_kept = qos > 0 || was_online;
        is_kept && session.conn.is_none_or(|socket| !self.may_be_too_large(socket, fate))
    }

    /// Whether a message may exceed what its receiver takes. Properties that the broker may add are generously counted.
    pub(super) fn may_be_too_large(&self, socket: usize, fate: &Fate) -> bool {
        let meta = &fate.publish.meta;
        let user: usize = meta.user.iter().map(|(key, value)| key.len() + value.len() + 5).sum();
        let texts = [&meta.content_type, &meta.response_topic];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len() + 3).sum();
        let correlation = meta.correlation.as_ref().map_or(0, |bytes| bytes.len() + 3);
        let content = fate.publish.topic.len() + fate.publish.payload.len() + user + texts + correlation;
        content + 80 > self.conns[&socket].packet_bytes_max
    }

    /// Every group with a member that was online all the time got every message.
    fn check_groups(&mut self) {
        let mut complaint = None;
        for message in &self.fresh {
            let fate = &self.fates[message];
            let Some(send) = fate.first_certain().filter(|_| fate.is_accepted()) else { continue };
            if self.now + Span::from_s(1) >= fate.expires_at_first() {
                continue;
            }
            for group in self.groups_that_must(fate, send.from) {
                let has_copy = self.groups.get(&group).is_some_and(|copies| copies.contains_key(message));
                if !has_copy {
                    complaint = Some(format!("no member of {group:?} got m{message}"));
                }
            }
        }
        if let Some(text) = complaint {
            self.fail(Rule::Share, text);
        }
    }

    /// Groups of which a member was surely there and online, and nobody else came or went, since `from`.
    fn groups_that_must(&self, fate: &Fate, from: Step) -> BTreeSet<(String, String)> {
        let mut certain = BTreeSet::new();
        let mut doubtful = BTreeSet::new();
        for session in &self.sessions {
            for known in
                session.subscriptions.iter().filter(|known| known.group.is_some() && !known.is_refused)
            {
                let group = (known.group.clone().unwrap_or_default(), known.inner.clone());
                let is_past = known.gone.is_some_and(|gone| gone < from);
                if is_past || !crate::topic::matches(&known.inner, &fate.publish.topic) {
                    continue;
                }
                let socket = session.conn;
                let stays = socket.is_some() && session.online_since < from && known.ended.is_none();
                let fits = socket.is_some_and(|socket| !self.may_be_too_large(socket, fate));
                let is_free = !session.forgiven.contains(&fate.publish.message) && !session.is_uncertain;
                let is_early = known.acked.is_some_and(|acked| acked < from);
                if stays && fits && is_free && is_early {
                    certain.insert(group);
                } else {
                    doubtful.insert(group);
                }
            }
        }
        &certain - &doubtful
    }
}
