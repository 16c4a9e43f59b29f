//! Wills: when they are due, and when they are not.
//!
//! Invariants:
//! - A will is routed once at most; one that was cancelled is void and never may be delivered.
//!
//! Source: MQTT 5.0 sections 3.1.2.5 and 3.1.3.2.2; [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.1.3-9].

use stdx::{Instant, Span};

use super::routing::Sender;
use super::turn::Foresight;
use super::{Oracle, TIMER_SLACK};
use crate::wire::{Publish, Will};

/// A will that waits for its delay or for the end of its session.
#[derive(Debug)]
pub(super) struct PendingWill {
    publish: Publish,
    client: usize,
    pub session: usize,
    pub core: usize,
    due_at: Instant,
    /// A timer may have published it already.
    is_doubtful: bool,
}

impl Oracle {
    /// A connection with a will has ended badly.
    pub(super) fn note_will(&mut self, session: usize, will: &Will, foresight: &Foresight) {
        let state = &self.sessions[session];
        let mut delay_s = will.delay_s.min(state.expiry_s);
        let client = state.client;
        if self.is_broker_gone {
            // Another one comes, which knows of the will and publishes it when it knows its readers.
            delay_s = delay_s.max(1);
        }
        if delay_s == 0 {
            return self.publish_will(&will.publish, client, true, foresight);
        }
        self.pending_wills.push(PendingWill {
            publish: will.publish.clone(),
            client,
            session,
            core: foresight.core,
            due_at: self.now + Span::from_s(u64::from(delay_s)),
            is_doubtful: false,
        });
    }

    /// The timers of a core were fired: wills that are due are routed, those about due may be.
    pub(super) fn fire_wills(&mut self, core: usize, foresight: &Foresight) {
        let now = self.now;
        let (here, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending_wills)
            .into_iter()
            .partition(|will| will.core == core && will.due_at <= now);
        self.pending_wills = others;
        for mut will in here {
            if will.due_at + TIMER_SLACK < now {
                self.publish_will(&will.publish, will.client, true, foresight);
            } else {
                if !will.is_doubtful {
                    self.publish_will(&will.publish, will.client, false, foresight);
                    will.is_doubtful = true;
                }
                self.pending_wills.push(will);
            }
        }
    }

    /// The client came back in time.
    pub(super) fn cancel_will(&mut self, session: usize) {
        let (cancelled, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending_wills).into_iter().partition(|will| will.session == session);
        self.pending_wills = others;
        self.wills_void
            .extend(cancelled.iter().filter(|will| !will.is_doubtful).map(|will| will.publish.message));
    }

    /// A client came back whose session ended when the broker did: its will waits no longer.
    pub(super) fn wills_left_by(&mut self, client: usize, foresight: &Foresight) {
        let (due, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending_wills)
            .into_iter()
            .partition(|will| will.client == client && self.sessions[will.session].ended.is_some());
        self.pending_wills = others;
        for will in due {
            self.publish_will(&will.publish, will.client, true, foresight);
        }
    }

    /// The session ended before the delay did.
    pub(super) fn will_of_ended_session(&mut self, session: usize, foresight: &Foresight) {
        let (due, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending_wills).into_iter().partition(|will| will.session == session);
        self.pending_wills = others;
        for will in due {
            self.publish_will(&will.publish, will.client, true, foresight);
        }
    }

    fn publish_will(&mut self, publish: &Publish, client: usize, is_certain: bool, foresight: &Foresight) {
        let when = self.span;
        let known = self.fates.get_mut(&publish.message).and_then(|fate| fate.sends.first_mut());
        match known {
            // A timer may have routed it before; now it is certain that it has been.
            Some(send) if !send.is_certain => {
                send.is_certain = true;
                send.by = when.by;
                send.needs = std::rc::Rc::clone(&foresight.enqueued);
            }
            Some(_) => {}
            None => self.route(publish, Sender { client, is_will: true, is_certain }, when, foresight),
        }
    }
}
