//! What other cores say to a gateway's message: in 5.0 its acknowledgement waits for it.
//!
//! Why a question behind what was said, and not an answer to each of it: letters are read in order, so one question for a
//! message and a core is enough, and what is well, which is nearly all, costs one letter back.
//!
//! Invariants:
//! - Messages of one connection are acknowledged in the order in which they came.
//! - Every question is answered once. An answer that nobody waits for any more is passed over.
//! - At most [`UNANSWERED_MAX`] messages of one connection wait; then it is left unread.

use std::collections::VecDeque;

use broker::{CoreId, SessionKey};
use device::{Answer, Ear, Outcome, Refusal};
use mqtt::{PacketId, Publish, QoS, ReasonCode};

use super::desk::{Place, place_of};
use super::end::DeviceEnd;
use super::letters::Letter;
use crate::connections::{State, link_of};
use crate::shard::Shard;

/// The most bytes of a reason string: it may quote what was sent.
pub(super) const REASON_BYTES_MAX: usize = 256;
/// Messages of one connection that wait for other cores.
const UNANSWERED_MAX: usize = 1024;

/// What a gateway's connection waits for.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// Where the message at hand has said something.
    asked: Vec<CoreId>,
    /// Messages that are not acknowledged, oldest first.
    waiting: VecDeque<Waiting>,
    next_ticket: u32,
}

#[derive(Debug)]
struct Waiting {
    ticket: u32,
    /// Cores that have not answered.
    left: usize,
    owed: Owed,
    code: Option<ReasonCode>,
    why: Option<Box<str>>,
}

/// Whose acknowledgement is due.
#[derive(Clone, Copy, Debug)]
struct Owed {
    packet_id: Option<PacketId>,
    qos: QoS,
}

impl DeviceEnd {
    /// Something was said at another core.
    pub fn ask_verdict(&mut self, core: CoreId) {
        let asked = &mut self.verdicts.get_or_insert_default().asked;
        if !asked.contains(&core) {
            asked.push(core);
        }
    }

    /// Whether other cores must answer first.
    pub fn has_many_unanswered(&self) -> bool {
        self.verdicts.as_ref().is_some_and(|verdicts| verdicts.waiting.len() >= UNANSWERED_MAX)
    }
}

impl Shard {
    /// Acknowledges a message, when all before it are and the cores have answered that it has said something at.
    pub(crate) fn answer_in_turn(
        &mut self,
        key: SessionKey,
        end: &mut DeviceEnd,
        publish: &Publish<'_>,
        answer: &Answer,
    ) {
        let why = answer.why.as_deref().filter(|_| end.wants_reasons);
        let owed = Owed { packet_id: publish.packet_id, qos: publish.qos };
        let (ear, is_gated) = (end.ear, end.is_gated);
        let Some(verdicts) = end.verdicts.as_deref_mut() else {
            return self.write_answer(key, owed, answer.acknowledge, why);
        };
        if verdicts.asked.is_empty() && (verdicts.waiting.is_empty() || publish.qos == QoS::AtMostOnce) {
            return self.write_answer(key, owed, answer.acknowledge, why);
        }
        let ticket = verdicts.next_ticket;
        verdicts.next_ticket = ticket.wrapping_add(1);
        // What is refused already cannot become worse.
        let is_well = answer.acknowledge.is_some_and(|code| !code.is_failure());
        let left = if is_well { verdicts.asked.len() } else { 0 };
        let why = why.map(Into::into);
        verdicts.waiting.push_back(Waiting { ticket, left, owed, code: answer.acknowledge, why });
        for core in verdicts.asked.drain(..) {
            self.exchange.send_beside(core, Box::new(Letter::Judge { ear, ticket }), false);
        }
        // A connection that ends is told what is known.
        if answer.end.is_some() {
            verdicts.waiting.iter_mut().for_each(|waiting| waiting.left = 0);
        }
        self.write_answered(key, is_gated, verdicts);
    }

    /// Keeps what was not taken, until the gateway's core asks, which it does in the same turn.
    pub(crate) fn keep_refusals(&mut self, out: &mut Outcome) {
        let core = self.core;
        let desk = self.desk();
        for (ear, _, refusal) in out.refused.drain(..) {
            if matches!(place_of(ear), Place::Core(home) if home != core) {
                desk.refusals.entry(ear).or_insert(refusal);
            }
        }
    }

    /// Another core asks whether all was taken.
    pub(crate) fn verdict_wanted(&mut self, ear: Ear, ticket: u32) {
        let refusal = self.desk().refusals.remove(&ear);
        if let Place::Core(core) = place_of(ear) {
            self.send_letter(core, Letter::Judged { ear, ticket, refusal }, false);
        }
    }

    /// Another core has answered.
    pub(crate) fn verdict_told(&mut self, ear: Ear, ticket: u32, refusal: Option<Refusal>) {
        let Some(conn) = self.desk().conn_of(ear) else { return };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let State::Home { key, .. } = connection.state else { return };
        if !self.exchange.is_on(key, link_of(conn)) {
            return;
        }
        let Some(mut end) = self.lend_end(conn) else { return };
        let (is_gated, wants_reasons) = (end.is_gated, end.wants_reasons);
        if let Some(verdicts) = end.verdicts.as_deref_mut() {
            if let Some(waiting) = verdicts.waiting.iter_mut().find(|waiting| waiting.ticket == ticket) {
                waiting.left = waiting.left.saturating_sub(1);
                let is_well = waiting.code.is_some_and(|code| !code.is_failure());
                if let Some(refusal) = refusal.filter(|_| is_well) {
                    waiting.code = Some(refusal.reason());
                    waiting.why = wants_reasons.then(|| refusal.text().into());
                }
            }
            self.write_answered(key, is_gated, verdicts);
        }
        self.return_end(conn, end);
    }

    /// Acknowledges messages that wait for nothing, in their order.
    fn write_answered(&mut self, key: SessionKey, is_gated: bool, verdicts: &mut Verdicts) {
        while verdicts.waiting.front().is_some_and(|waiting| waiting.left == 0) {
            let Some(Waiting { owed, code, why, .. }) = verdicts.waiting.pop_front() else { return };
            // What it promises was asked about in an earlier turn, or in this one.
            if is_gated {
                self.exchange.mark(key);
            }
            self.write_answer(key, owed, code, why.as_deref());
        }
    }

    fn write_answer(&mut self, key: SessionKey, owed: Owed, code: Option<ReasonCode>, why: Option<&str>) {
        let Some(code) = code else { return };
        let Owed { packet_id, qos } = owed;
        match why {
            Some(why) => {
                let why = &why[..why.floor_char_boundary(REASON_BYTES_MAX)];
                self.exchange.answer_because(key, packet_id, qos, code, why);
            }
            None => self.exchange.answer(key, packet_id, qos, code),
        }
    }
}
