//! When and where messages were routed, as far as anyone outside can know.
//!
//! Why intervals: on the publisher's core a message is routed when its packet is handed over; on another core when the
//! batch that carries it is. In between it may overtake, and be overtaken by, everything on third cores.
//!
//! Invariants:
//! - A batch of a turn holds everything that the turn had for that core, or the next batch there does.
//! - At rest every message has been routed everywhere.

use std::collections::BTreeSet;
use std::rc::Rc;

use stdx::{Instant, Span};

use super::turn::{Foresight, When};
use super::{Oracle, Step};
use crate::wire::Publish;

/// What became of one message.
#[derive(Debug)]
pub(super) struct Fate {
    pub publish: Publish,
    pub publisher: usize,
    pub is_will: bool,
    /// Each time it was routed: more than once if a QoS 1 message was sent again.
    pub sends: Vec<Send>,
    /// When the first acknowledgement of success came out.
    pub acked: Option<Step>,
    pub is_refused: bool,
    /// An acknowledgement said that nobody subscribes.
    pub has_no_match: bool,
}

/// One routing of a message.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub from: Step,
    pub by: Step,
    pub at: Instant,
    pub core: usize,
    /// Which batch from there to each core holds it at the latest.
    pub needs: Rc<[usize]>,
    /// False if a timer may have routed it or not.
    pub is_certain: bool,
}

impl Fate {
    /// The earliest step at which it can have been routed anywhere.
    pub fn first_from(&self) -> Step {
        self.sends.iter().map(|send| send.from).min().unwrap_or(Step::MAX)
    }

    /// The first routing that is certain.
    pub fn first_certain(&self) -> Option<&Send> {
        self.sends.iter().filter(|send| send.is_certain).min_by_key(|send| send.from)
    }

    /// When it was routed last; its expiry counts from there.
    pub fn last_at(&self) -> Instant {
        self.sends.iter().map(|send| send.at).max().unwrap_or(Instant::START)
    }

    /// Whether the broker has taken responsibility for it.
    pub fn is_accepted(&self) -> bool {
        let is_acked = self.publish.qos == 0 || self.is_will || self.acked.is_some();
        is_acked && !self.is_refused && self.first_certain().is_some()
    }

    /// When its last copy expires, if ever.
    pub fn expires_at(&self) -> Instant {
        self.publish.expiry_s.map_or(Instant::NEVER, |s| self.last_at() + Span::from_s(u64::from(s)))
    }

    /// When its first copy expires, if ever.
    pub fn expires_at_first(&self) -> Instant {
        let first_at = self.sends.iter().map(|send| send.at).min().unwrap_or(Instant::START);
        self.publish.expiry_s.map_or(Instant::NEVER, |s| first_at + Span::from_s(u64::from(s)))
    }
}

impl Oracle {
    /// A message is routed on its publisher's core.
    pub(super) fn route(&mut self, publish: &Publish, sender: Sender, when: When, foresight: &Foresight) {
        let message = publish.message;
        let send = Send {
            from: when.from,
            by: when.by,
            at: self.now,
            core: foresight.core,
            needs: Rc::clone(&foresight.enqueued),
            is_certain: sender.is_certain,
        };
        let fate = self.fates.entry(message).or_insert_with(|| Fate {
            publish: publish.clone(),
            publisher: sender.client,
            is_will: sender.is_will,
            sends: Vec::new(),
            acked: None,
            is_refused: false,
            has_no_match: false,
        });
        fate.sends.push(send);
        if publish.is_retained && fate.sends.len() == 1 {
            self.retained.entry(Rc::clone(&publish.topic)).or_default().push(message);
        }
        self.fresh.insert(message);
        for session in 0..self.sessions.len() {
            self.await_message(session, message);
        }
    }

    /// When a routing had reached `core`, if it is certain that it has.
    pub(super) fn settled(&self, send: &Send, core: usize) -> Option<Step> {
        if core == send.core {
            return Some(send.by);
        }
        let batches = self.handled.get(&(send.core, core));
        let handled = send.needs.get(core).and_then(|needed| batches?.get(*needed)).copied();
        let rest = self.rests[self.rests.partition_point(|rest| *rest <= send.by)..].first().copied();
        handled.into_iter().chain(rest).min()
    }

    /// When all routings of a message had reached `core`, if it is certain that they have.
    pub(super) fn settled_last(&self, fate: &Fate, core: usize) -> Option<Step> {
        fate.sends.iter().map(|send| self.settled(send, core)).try_fold(0, |last, next| Some(next?.max(last)))
    }

    /// When a message had surely been routed everywhere: at its acknowledgement if a later publish must come after it,
    /// else when the last batch was handled.
    pub(super) fn complete(&self, fate: &Fate) -> Option<Step> {
        match fate.acked {
            Some(acked) if fate.sends.len() == 1 => Some(acked),
            Some(_) | None => (0..self.cores)
                .map(|core| self.settled_last(fate, core))
                .try_fold(0, |last, next| Some(next?.max(last))),
        }
    }

    /// Counts a message among those that may wait for a session, and forgives what its limits may drop.
    fn await_message(&mut self, session: usize, message: usize) {
        if self.sessions[session].ended.is_some() {
            return;
        }
        let fate = &self.fates[&message];
        let found = self.matching(&self.sessions[session], fate);
        if !found.is_possible() {
            return;
        }
        let [low, high] = &mut self.sessions[session].waiting;
        if found.qos_least == 0 {
            *low.entry(message).or_default() += found.copies();
        }
        if found.qos_high > 0 {
            *high.entry(message).or_default() += found.copies();
        }
        self.forgive_large(session);
        self.forgive(session);
    }

    /// Messages that were already on their way when a SUBSCRIBE came.
    pub(super) fn await_known_messages(&mut self, session: usize) {
        let core = self.sessions[session].core;
        let fresh: BTreeSet<usize> = self.fresh.clone();
        for message in fresh {
            let is_known =
                self.sessions[session].waiting.iter().any(|waiting| waiting.contains_key(&message));
            if !is_known && self.settled_last(&self.fates[&message], core).is_none() {
                self.await_message(session, message);
            }
        }
    }

    /// Messages that are too large for the connection may count as delivered while it lasts. Source: [MQTT-3.1.2-25].
    pub(super) fn forgive_large(&mut self, session: usize) {
        let state = &self.sessions[session];
        let Some(socket) = state.conn.filter(|socket| self.conns[socket].packet_bytes_max != usize::MAX)
        else {
            return;
        };
        let waiting = state.waiting.iter().flat_map(|waiting| waiting.keys());
        let large = waiting.filter(|message| self.may_be_too_large(socket, &self.fates[message]));
        let large: Vec<usize> = large.copied().collect();
        self.sessions[session].forgiven.extend(large);
    }

    fn forgive(&mut self, session: usize) {
        let limits = &self.limits;
        let session = &mut self.sessions[session];
        let counts = [limits.queue_qos0_messages_max, limits.queue_messages_max];
        let extras = [session.waiting_replays, session.waiting_replays];
        for ((waiting, most), extra) in session.waiting.iter().zip(counts).zip(extras) {
            let count: usize = waiting.values().sum();
            if count + extra > usize::try_from(most).expect("32 bits") {
                session.forgiven.extend(waiting.keys().copied());
            }
        }
    }
}

/// Who sends a message, and whether it is certain that it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub client: usize,
    pub is_will: bool,
    pub is_certain: bool,
}
