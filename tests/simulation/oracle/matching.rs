//! Which subscriptions of a session a message may and must have met.
//!
//! Why two sets: a subscription is certain if its SUBACK came out before the message was handed over and it outlived
//! the message's arrival; it is possible if the two lives overlap at all.
//!
//! Invariants:
//! - What is certain is also possible.
//!
//! Source: MQTT 5.0 sections 3.3.4, 3.8.3, 3.8.4; [MQTT-3.10.4-2], [MQTT-3.8.3-3].

use std::collections::BTreeSet;

use super::routing::Fate;
use super::session::{Options, Session, Subscription};
use super::{Oracle, Step};
use crate::topic::matches;

/// What a session's subscriptions say about one message.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Some ordinary subscription may match.
    pub plain: bool,
    /// Some ordinary subscription surely matches.
    pub is_certain: bool,
    /// Groups whose subscription may match: group and inner filter.
    pub groups: BTreeSet<(String, String)>,
    /// QoS of the delivery at least and at most.
    pub qos_low: u8,
    pub qos_high: u8,
    /// The lowest QoS that any of the subscriptions would give it.
    pub qos_least: u8,
    pub keeps_retain_maybe: bool,
    pub keeps_retain_surely: bool,
    pub ids_possible: BTreeSet<u32>,
    pub ids_certain: BTreeSet<u32>,
    /// A subscription matches, but it has No Local and the client published the message itself.
    pub is_own: bool,
}

impl Found {
    /// Whether a copy may come at all.
    pub fn is_possible(&self) -> bool {
        self.copies() > 0
    }

    /// Copies of one routing at most.
    pub fn copies(&self) -> usize {
        usize::from(self.plain) + self.groups.len()
    }
}

impl Oracle {
    /// Compares a message with all subscriptions that a session has or had.
    pub(super) fn matching(&self, session: &Session, fate: &Fate) -> Found {
        let mut found = Found { qos_low: u8::MAX, qos_least: u8::MAX, ..Found::default() };
        let mut low_certain = 0;
        for subscription in &session.subscriptions {
            if subscription.is_refused || !matches(&subscription.inner, &fate.publish.topic) {
                continue;
            }
            let settled = self.settled_for(session, subscription, fate);
            let begins_later = settled.is_some_and(|settled| settled < subscription.begun);
            let ended_before = subscription.gone.is_some_and(|gone| gone < fate.first_from());
            if begins_later || ended_before {
                continue;
            }
            let options = possible_options(subscription, fate, settled);
            let is_own = session.client == fate.publisher && !fate.is_will;
            let open: Vec<&Options> =
                options.iter().copied().filter(|one| !(one.is_no_local && is_own)).collect();
            if open.is_empty() {
                found.is_own = true;
                continue;
            }
            let is_blocked_maybe =
                options.iter().any(|one| one.is_no_local && session.client == fate.publisher);
            let is_certain = !is_blocked_maybe && self.is_certain(session, subscription, fate);
            note(&mut found, subscription, &open, fate, is_certain);
            if is_certain && subscription.group.is_none() {
                low_certain = low_certain.max(low(&open, fate));
            }
        }
        // A message that was sent again may have met other subscriptions the second time.
        if fate.sends.len() > 1 {
            found.ids_certain.clear();
            found.keeps_retain_surely = false;
        } else if found.is_certain && found.groups.is_empty() {
            found.qos_low = low_certain;
        }
        found
    }

    /// Shared messages may be handed on from core to core, so only a rest says where they are.
    fn settled_for(&self, session: &Session, subscription: &Subscription, fate: &Fate) -> Option<Step> {
        if subscription.group.is_none() {
            return self.settled_last(fate, session.core);
        }
        let last = fate.sends.iter().map(|send| send.by).max()?;
        self.rests.get(self.rests.partition_point(|rest| *rest <= last)).copied()
    }

    /// Whether a subscription surely was in force from before the message was handed over until it had arrived.
    pub(super) fn is_certain(&self, session: &Session, subscription: &Subscription, fate: &Fate) -> bool {
        let Some(send) = fate.first_certain() else { return false };
        let is_early = subscription.acked.is_some_and(|acked| acked < send.from);
        let settled = if subscription.group.is_none() {
            self.settled(send, session.core)
        } else {
            self.settled_for(session, subscription, fate)
        };
        let outlived = match (subscription.ended, settled) {
            (None, _) => true,
            (Some(ended), Some(settled)) => settled < ended,
            (Some(_), None) => false,
        };
        is_early && outlived
    }
}

fn possible_options<'a>(
    subscription: &'a Subscription,
    fate: &Fate,
    settled: Option<Step>,
) -> Vec<&'a Options> {
    let from = fate.first_from();
    let all = subscription.options.iter().enumerate();
    let possible = all.filter(|(index, one)| {
        let began = settled.is_none_or(|settled| one.begun <= settled);
        let later = &subscription.options[index + 1..];
        let is_replaced = later.iter().filter_map(|next| next.acked).any(|acked| acked < from);
        began && !is_replaced
    });
    possible.map(|(_, one)| one).collect()
}

fn low(options: &[&Options], fate: &Fate) -> u8 {
    options.iter().map(|one| one.qos.min(fate.publish.qos)).min().unwrap_or(0)
}

fn note(found: &mut Found, subscription: &Subscription, options: &[&Options], fate: &Fate, is_certain: bool) {
    match &subscription.group {
        None => {
            found.plain = true;
            found.is_certain |= is_certain;
        }
        Some(group) => {
            found.groups.insert((group.clone(), subscription.inner.clone()));
        }
    }
    let high = options.iter().map(|one| one.qos.min(fate.publish.qos)).max().unwrap_or(0);
    found.qos_low = found.qos_low.min(low(options, fate));
    found.qos_high = found.qos_high.max(high);
    found.qos_least = found.qos_least.min(low(options, fate));
    found.keeps_retain_maybe |= options.iter().any(|one| one.keeps_retain);
    found.keeps_retain_surely |=
        is_certain && subscription.group.is_none() && options.iter().all(|one| one.keeps_retain);
    found.ids_possible.extend(options.iter().filter_map(|one| one.id));
    if let ([one], true, None) = (options, is_certain, &subscription.group) {
        found.ids_certain.extend(one.id);
    }
}
