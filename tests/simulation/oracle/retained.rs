//! Retained messages: which may be current where and when, what a SUBSCRIBE must be sent, and what is left at the end.
//!
//! Why "may be current": of two publishers that write at the same time either may win, but all cores must agree at rest.
//!
//! Invariants:
//! - A message that was acknowledged before another was handed over is superseded by it, once the other has arrived.
//!
//! Source: MQTT 5.0 section 3.3.1.3; [MQTT-3.3.1-5] to [MQTT-3.3.1-11].

use std::collections::BTreeMap;
use std::rc::Rc;

use stdx::Span;

use super::routing::Fate;
use super::session::Session;
use super::{Oracle, Rule, Step};
use crate::topic::matches;
use crate::wire::Delivery;

impl Oracle {
    /// The requests that a retained delivery may answer, or the rule it breaks.
    pub(super) fn replays_for(
        &self,
        session: usize,
        socket: usize,
        delivery: &Delivery,
        message: usize,
    ) -> Result<Vec<usize>, Rule> {
        let state = &self.sessions[session];
        let fate = &self.fates[&message];
        let topic = &fate.publish.topic;
        if !delivery.is_retained || !fate.publish.is_retained || fate.publish.payload.is_empty() {
            return Err(Rule::Retained);
        }
        let mut rule = Rule::Retained;
        let mut fitting = Vec::new();
        for (index, replay) in state.replays.iter().enumerate() {
            let is_open = replay.socket == socket || delivery.qos > 0;
            if !is_open || !matches(&replay.inner, topic) {
                continue;
            }
            if replay.is_no_local && state.client == fate.publisher && !fate.is_will {
                rule = Rule::NoLocal;
            } else if self.may_be_current(fate, message, state.core, replay.begun) {
                fitting.push(index);
            }
        }
        if fitting.is_empty() { Err(rule) } else { Ok(fitting) }
    }

    /// Whether a retained message can have been the current one on `core` at `begun` or later.
    fn may_be_current(&self, fate: &Fate, message: usize, core: usize, begun: Step) -> bool {
        let rivals = self.retained.get(&fate.publish.topic).map_or(&[][..], Vec::as_slice);
        !rivals.iter().any(|rival| {
            let other = &self.fates[rival];
            *rival != message
                && other.is_certain_to_follow(fate, self.complete(fate))
                && other
                    .first_certain()
                    .and_then(|send| self.settled(send, core))
                    .is_some_and(|step| step < begun)
        })
    }

    /// The retained messages of a topic that may be current on `core` from `begun` on. Nothing (no message) is among
    /// them if one is a clear, or may have expired, or may not have arrived.
    fn candidates(&self, topic: &str, core: usize, begun: Step) -> Candidates {
        let mut candidates = Candidates { messages: Vec::new(), may_be_nothing: true };
        let Some(rivals) = self.retained.get(topic) else { return candidates };
        candidates.may_be_nothing = false;
        let mut has_arrived = false;
        for message in rivals {
            let fate = &self.fates[message];
            if fate.sends.is_empty() || !self.may_be_current(fate, *message, core, begun) {
                continue;
            }
            let arrived = fate.first_certain().and_then(|send| self.settled(send, core));
            has_arrived |= arrived.is_some_and(|step| step < begun);
            let lives_on = self.now + Span::from_s(1) < fate.expires_at_first();
            candidates.may_be_nothing |= fate.publish.payload.is_empty() || !lives_on || fate.is_refused;
            candidates.messages.push(*message);
        }
        candidates.may_be_nothing |= !has_arrived;
        candidates
    }

    /// At rest: which topics the request must have been sent, as its connection still stands.
    pub(super) fn replays_due(&self, session: &Session, index: usize) -> Vec<Rc<str>> {
        let replay = &session.replays[index];
        if replay.is_checked || session.conn != Some(replay.socket) {
            return Vec::new();
        }
        let matching = self.retained.keys().filter(|topic| matches(&replay.inner, topic));
        let due = matching.filter(|topic| {
            let candidates = self.candidates(topic, session.core, replay.begun);
            let is_excused = candidates.messages.iter().any(|message| {
                let fate = &self.fates[message];
                let is_own = replay.is_no_local && fate.publisher == session.client;
                is_own || self.may_be_too_large(replay.socket, fate)
            });
            !candidates.may_be_nothing && !is_excused
        });
        due.cloned().collect()
    }

    /// At the very end: fresh subscribers to everything, one per core, hold the same retained messages.
    pub fn compare_probes(&mut self, sockets: &[usize]) {
        let mut views: Vec<(usize, BTreeMap<Rc<str>, usize>)> = Vec::new();
        for socket in sockets {
            let session = self.conns[socket].session.expect("probes are attached");
            let state = &self.sessions[session];
            let got = state.slots.iter().flat_map(|(topic, slots)| {
                let messages = (0..state.replays.len()).flat_map(|replay| slots.replayed(replay));
                messages.map(|message| (Rc::clone(topic), message))
            });
            views.push((*socket, got.collect()));
        }
        let differing = views.windows(2).find(|pair| pair[0].1 != pair[1].1);
        let text = differing.map(|pair| format!("cores hold different retained messages: {pair:?}"));
        if let Some(text) = text {
            self.fail(Rule::Retained, text);
        }
    }

    /// The topics that may have a retained message now.
    #[must_use]
    pub fn retained_topics(&self) -> Vec<Rc<str>> {
        self.retained.keys().cloned().collect()
    }
}

/// What may be the retained message of a topic.
#[derive(Debug)]
struct Candidates {
    messages: Vec<usize>,
    may_be_nothing: bool,
}

impl Fate {
    /// Whether this message was published after `earlier` by everybody's clock.
    fn is_certain_to_follow(&self, earlier: &Fate, complete: Option<Step>) -> bool {
        let Some(first) = self.first_certain() else { return false };
        if self.publisher == earlier.publisher {
            return earlier.sends.iter().all(|send| send.by < first.from);
        }
        complete.is_some_and(|complete| complete < first.from)
    }
}
