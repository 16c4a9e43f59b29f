//! By which rights a delivery may come, and whether everything about it agrees with them.
//!
//! Invariants:
//! - Every right that is not refused by a check is offered; only the matching of all deliveries decides.
//!
//! Source: MQTT 5.0 sections 3.3.1 to 3.3.4, 4.6, 4.8.2; [MQTT-3.3.2-5], [MQTT-3.3.2-6], [MQTT-3.8.4-8].

use std::collections::BTreeSet;

use stdx::Span;

use super::delivery::Verdict;
use super::matching::Found;
use super::slots::Slot;
use super::{GroupCopy, Oracle, Rule};
use crate::wire::{Delivery, Version};

impl Oracle {
    /// The rights by which a message may come to a session in this form.
    pub(super) fn choices(
        &self,
        session: usize,
        socket: usize,
        new: &Delivery,
        message: usize,
    ) -> Result<Vec<Slot>, (Rule, String)> {
        let fate = &self.fates[&message];
        let found = self.matching(&self.sessions[session], fate);
        let replays = self.replays_for(session, socket, new, message);
        let is_flag_right = !new.is_retained || (fate.publish.is_retained && found.keeps_retain_maybe);
        let mut candidates = Vec::new();
        if is_flag_right {
            candidates.extend(found.plain.then_some(Slot::Plain(message)));
            let open = found.groups.iter().filter(|group| self.group_is_open(group, message));
            candidates.extend(open.map(|(group, inner)| Slot::Shared(message, group.clone(), inner.clone())));
        }
        candidates.extend(replays.iter().flatten().map(|replay| Slot::Replayed(*replay)));
        let mut choices = Vec::new();
        let mut objections: Vec<(Rule, String)> = Vec::new();
        for slot in candidates {
            let content = self.check_content(session, socket, message, new, &found, &slot);
            match content.and_then(|()| self.check_order(session, message, new, &slot)) {
                Ok(()) => choices.push(slot),
                Err((rule, text)) => objections.push((rule, format!("as {slot:?}: {text}"))),
            }
        }
        if !choices.is_empty() {
            return Ok(choices);
        }
        let rule = objections.first().map(|(rule, _)| *rule);
        let texts: Vec<String> = objections.into_iter().map(|(_, text)| text).collect();
        Err(match rule {
            Some(rule) => (rule, texts.join("; ")),
            None => complaint(&found, is_flag_right, new, message, replays.err()),
        })
    }

    /// Whether a group may still hand this message to somebody.
    fn group_is_open(&self, group: &(String, String), message: usize) -> bool {
        let Some(copies) = self.groups.get(group).and_then(|copies| copies.get(&message)) else {
            return true;
        };
        let certain = copies.iter().filter(|copy| copy.is_certain).count();
        certain < self.fates[&message].sends.len() || copies.iter().any(|copy| self.may_be_handed_on(copy))
    }

    /// A QoS 1 copy whose receiver has left may go to another member. Source: section 4.8.2.
    fn may_be_handed_on(&self, copy: &GroupCopy) -> bool {
        copy.qos == 1 && self.conns[&copy.socket].ended.is_some()
    }

    fn check_content(
        &self,
        session: usize,
        socket: usize,
        message: usize,
        new: &Delivery,
        found: &Found,
        slot: &Slot,
    ) -> Verdict {
        let fate = &self.fates[&message];
        let is_5 = self.conns[&socket].version == Version::V5;
        let wrong =
            |what: &str, got: String| Err((Rule::Content, format!("m{message} has the wrong {what}: {got}")));
        let (low, high) = match slot {
            Slot::Plain(_) | Slot::Shared(..) => (found.qos_low, found.qos_high),
            Slot::Replayed(replay) => {
                let qos = self.sessions[session].replays[*replay].qos.min(fate.publish.qos);
                (qos, qos)
            }
        };
        if new.qos < low || new.qos > high {
            return wrong("QoS", format!("{} instead of {low} to {high}", new.qos));
        }
        let must_keep = fate.publish.is_retained && found.keeps_retain_surely;
        if matches!(slot, Slot::Plain(_)) && must_keep && !new.is_retained {
            return wrong("RETAIN", "0 although Retain As Published is set".into());
        }
        if is_5 && new.meta != *fate.publish.meta {
            return wrong("properties", format!("{:?} instead of {:?}", new.meta, fate.publish.meta));
        }
        if is_5 {
            self.check_ids(session, message, new, found, slot)?;
        }
        if fate.has_no_match && fate.sends.len() == 1 && !matches!(slot, Slot::Replayed(_)) {
            return wrong("acknowledgement", "it said that nobody subscribes".into());
        }
        // What was sent before goes on being sent. Source: [MQTT-4.3.3-7].
        if new.is_dup { Ok(()) } else { self.check_expiry(message, new, is_5) }
    }

    /// Subscription Identifiers. Source: [MQTT-3.3.4-3] to [MQTT-3.3.4-5].
    fn check_ids(
        &self,
        session: usize,
        message: usize,
        new: &Delivery,
        found: &Found,
        slot: &Slot,
    ) -> Verdict {
        let ids: BTreeSet<u32> = new.subscription_ids.iter().copied().collect();
        let (certain, possible) = match slot {
            Slot::Replayed(replay) => {
                let own: BTreeSet<u32> = self.sessions[session].replays[*replay].id.into_iter().collect();
                (own.clone(), own)
            }
            Slot::Plain(_) => (found.ids_certain.clone(), found.ids_possible.clone()),
            Slot::Shared(..) => (BTreeSet::new(), found.ids_possible.clone()),
        };
        if ids.is_superset(&certain) && ids.is_subset(&possible) {
            return Ok(());
        }
        Err((Rule::Content, format!("m{message} has ids {ids:?}, must {certain:?}, may {possible:?}")))
    }

    /// Message expiry. Source: [MQTT-3.3.2-5], [MQTT-3.3.2-6].
    fn check_expiry(&self, message: usize, new: &Delivery, is_5: bool) -> Verdict {
        let fate = &self.fates[&message];
        let Some(expiry_s) = fate.publish.expiry_s else {
            let is_right = new.expiry_s.is_none();
            return if is_right { Ok(()) } else { Err((Rule::Expiry, format!("m{message} never expires"))) };
        };
        if self.now >= fate.expires_at() + Span::from_s(1) {
            let late = self.now.since(fate.expires_at()).ms();
            return Err((Rule::Expiry, format!("m{message} expired {late} ms ago")));
        }
        if !is_5 {
            return Ok(());
        }
        // A store and the wall clock count milliseconds, so the end may be two later.
        let store_ms = if self.has_store { 2 } else { 0 };
        let ends_at = fate.expires_at() + Span::from_ms(store_ms);
        let left_s = ends_at.since(self.now).s().saturating_add(1).min(u64::from(expiry_s) + store_ms.min(1));
        let least_s = fate.expires_at_first().since(self.now).s().saturating_sub(1).max(1);
        match new.expiry_s.map(u64::from) {
            Some(told_s) if (least_s..=left_s.max(1)).contains(&told_s) => Ok(()),
            told_s => Err((
                Rule::Expiry,
                format!("m{message} says {told_s:?} s are left, {least_s} to {left_s} are"),
            )),
        }
    }

    /// Order of one publisher's messages. Source: [MQTT-4.6.0-5], [MQTT-4.6.0-6].
    fn check_order(&self, session: usize, message: usize, new: &Delivery, slot: &Slot) -> Verdict {
        let fate = &self.fates[&message];
        let state = &self.sessions[session];
        let topic = &fate.publish.topic;
        let overtaken = |latest: Option<&usize>| {
            latest.copied().filter(|latest| {
                let latest = &self.fates[latest];
                latest.publisher == fate.publisher
                    && fate.sends.iter().all(|send| send.by < latest.first_from())
            })
        };
        let key = (fate.publisher, topic.clone(), new.qos);
        if matches!(slot, Slot::Replayed(_))
            && let Some(latest) = overtaken(state.latest_retained.get(&key))
        {
            return Err((Rule::Retained, format!("retained m{message} comes after the newer m{latest}")));
        }
        let has_shared = state.subscriptions.iter().any(|known| known.group.is_some());
        if matches!(slot, Slot::Plain(_)) && !state.arrived.contains(&message) && !has_shared {
            let key = (fate.publisher, topic.clone(), fate.publish.qos, new.qos);
            if let Some(latest) = overtaken(state.latest.get(&key)) {
                return Err((Rule::Order, format!("m{message} comes after m{latest}")));
            }
        }
        Ok(())
    }
}

/// Why a delivery is not by right.
fn complaint(
    found: &Found,
    is_flag_right: bool,
    new: &Delivery,
    message: usize,
    replay: Option<Rule>,
) -> (Rule, String) {
    if let (true, Some(rule)) = (new.is_retained && !is_flag_right, replay) {
        return (rule, format!("m{message} with RETAIN is not what a SUBSCRIBE asked for"));
    }
    if !found.is_possible() && found.is_own {
        return (Rule::NoLocal, format!("m{message} comes back to its publisher"));
    }
    if !found.is_possible() {
        return (Rule::Unmatched, format!("no subscription can have matched m{message}"));
    }
    (Rule::Share, format!("m{message} comes more often than its group may get it"))
}
