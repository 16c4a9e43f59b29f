//! SUBSCRIBE and UNSUBSCRIBE.
//!
//! Why a SUBSCRIBE waits: its SUBACK promises that every later publish arrives, whichever core takes it. So the other
//! cores are told first; when all have answered the barrier, the subscription begins, the SUBACK leaves and retained
//! messages follow. Packets behind the SUBSCRIBE wait with it, so a client sees its own order. On one core nothing waits.
//!
//! Invariants:
//! - A packet is judged whole before it has an effect. Source: [MQTT-3.8.4-5].
//! - SUBACK leaves before the first retained message that it asked for.
//! - A refused filter leaves nothing behind.

use std::sync::Arc;

use mqtt::{
    PacketId, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeOptions, SubscribeRequest, Unsubscribe,
    Version, Violation, encode, topic,
};
use stdx::Instant;

use crate::change::{Change, StoreHealth, SubscriptionTerms};
use crate::core_id::CoreId;
use crate::exchange::Exchange;
use crate::link::{Hold, Link, LinkId};
use crate::parcel::Parcel;
use crate::retained::RetainedCursor;
use crate::route::{Subscriber, SubscriptionIds};
use crate::session::{SessionKey, Subscription};
use crate::table::Member;
use crate::waiting::Replay;

/// A SUBSCRIBE that waits until every other core knows of it.
#[derive(Debug)]
pub(crate) struct PendingSubscribe {
    barrier: u64,
    key: SessionKey,
    link: LinkId,
    packet_id: PacketId,
    subscription_id: u32,
    wishes: Vec<Wish>,
}

/// One topic request, judged.
#[derive(Debug)]
struct Wish {
    filter: Box<str>,
    options: SubscribeOptions,
    reason: ReasonCode,
}

impl Exchange {
    /// Handles a SUBSCRIBE. If it must wait, [`Exchange::is_held`] says so afterwards.
    ///
    /// # Errors
    /// The statement that it breaks; the connection must end.
    pub fn subscribe(
        &mut self,
        now: Instant,
        key: SessionKey,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), Violation> {
        self.check_answer(key, |version| encode::suback_len(version, subscribe.len()))?;
        for request in subscribe.requests() {
            self.check_request(request)?;
        }
        let mut added = 0;
        let mut wishes = Vec::with_capacity(subscribe.len());
        for request in subscribe.requests() {
            let reason = self.judge(key, request, subscribe.subscription_id.is_some(), &mut added);
            self.counters.subscriptions_refused += u64::from(reason == ReasonCode::QuotaExceeded);
            wishes.push(Wish { filter: request.filter.into(), options: request.options, reason });
        }
        let pending = PendingSubscribe {
            barrier: self.barrier,
            key,
            link: self.link(key).expect("a connected client subscribes").id,
            packet_id: subscribe.packet_id,
            subscription_id: subscribe.subscription_id.unwrap_or(0),
            wishes,
        };
        if self.cores == 1 {
            self.complete_subscribe(now, pending);
            return Ok(());
        }
        self.announce(&pending);
        self.barrier_is_due = true;
        self.link_mut(key).expect("a connected client subscribes").hold = Hold::Subscribe;
        self.pending.push_back(pending);
        Ok(())
    }

    /// An answer with a code per filter cannot be trimmed, so a question whose answer would be too large is refused
    /// before it has an effect. Source: [MQTT-3.1.2-24].
    pub(crate) fn check_answer(
        &self,
        key: SessionKey,
        len: impl FnOnce(Version) -> usize,
    ) -> Result<(), Violation> {
        let is_too_large = |link: &Link| len(link.version) > stdx::widen(link.packet_bytes_max);
        if self.link(key).is_some_and(is_too_large) { Err(Violation::AnswerTooLarge) } else { Ok(()) }
    }

    pub(crate) fn check_request(&self, request: SubscribeRequest<'_>) -> Result<(), Violation> {
        let levels_max = stdx::widen(self.limits.topic_levels_max);
        if self.limits.strict_strings && !mqtt::is_plain(request.filter) {
            return Err(Violation::ControlCharacter);
        }
        match topic::parse_share(request.filter)? {
            None => topic::check_filter(request.filter, levels_max),
            Some(_) if request.options.no_local => Err(Violation::NoLocalOnShared),
            Some((_, filter)) => topic::check_filter(filter, levels_max),
        }
    }

    /// The code for one request. Source: section 3.9.3.
    fn judge(
        &self,
        key: SessionKey,
        request: SubscribeRequest<'_>,
        has_id: bool,
        added: &mut u32,
    ) -> ReasonCode {
        let session = &self.sessions[key.index()];
        let (is_shared, inner) = inner_filter(request.filter);
        if is_shared && !self.limits.shared_available {
            return ReasonCode::SharedSubscriptionsNotSupported;
        }
        if has_id && !self.limits.subscription_id_available {
            return ReasonCode::SubscriptionIdsNotSupported;
        }
        if inner.contains(['+', '#']) && !self.limits.wildcard_available {
            return ReasonCode::WildcardSubscriptionsNotSupported;
        }
        if !self.holders.may_subscribe(key, inner) {
            return ReasonCode::NotAuthorized;
        }
        if self.store_health == StoreHealth::Full && session.is_lasting {
            return ReasonCode::QuotaExceeded;
        }
        if session.find(request.filter).is_err() {
            let count = stdx::narrow(session.subscriptions.len()) + *added;
            if count >= self.limits.subscriptions_per_client_max {
                return ReasonCode::QuotaExceeded;
            }
            *added += 1;
        }
        match request.options.qos.bits().min(self.limits.qos_max) {
            0 => ReasonCode::Success,
            1 => ReasonCode::GrantedQoS1,
            _two_is_the_highest => ReasonCode::GrantedQoS2,
        }
    }

    /// Tells the other cores what this core will want.
    fn announce(&mut self, pending: &PendingSubscribe) {
        for wish in pending.wishes.iter().filter(|wish| !wish.reason.is_failure()) {
            match split_share(&wish.filter) {
                Some((name, filter)) => {
                    self.table.group_add_pending(name, filter);
                    self.announce_group(name, filter);
                }
                None => {
                    if self.table.add_pending(&wish.filter) {
                        self.tell_interest(&wish.filter, true);
                    }
                }
            }
        }
    }

    pub(crate) fn tell_interest(&mut self, filter: &str, wanted: bool) {
        self.outgoing.tell_others(|| Parcel::Interest { filter: filter.into(), wanted });
    }

    /// Tells the other cores how many members of a group are here, if that changed.
    pub(crate) fn announce_group(&mut self, name: &str, filter: &str) {
        if self.cores == 1 {
            return;
        }
        let sessions = &self.sessions;
        let Some(group) = self.table.group_mut(name, filter) else { return };
        let is_online =
            |key: SessionKey| sessions.get(key.index()).is_some_and(|session| session.link.is_some());
        let Some((online, offline)) = group.news(is_online) else { return };
        self.outgoing.tell_others(|| Parcel::Members {
            name: name.into(),
            filter: filter.into(),
            online,
            offline,
        });
    }

    /// Asks the other cores to confirm what they were told in this turn.
    pub(crate) fn send_barrier(&mut self) {
        if self.barrier_is_due {
            self.barrier_is_due = false;
            let barrier = self.barrier;
            self.outgoing.tell_others(|| Parcel::Barrier(barrier));
            self.barrier += 1;
        }
    }

    /// Another core has confirmed everything up to `barrier`; completes the SUBSCRIBEs that waited for it last.
    pub(crate) fn barrier_acked(&mut self, now: Instant, core: CoreId, barrier: u64) {
        self.barrier_acked[core.index()] = barrier;
        let others = self.outgoing.others();
        let confirmed = others.map(|core| self.barrier_acked[core.index()]).min().unwrap_or(u64::MAX);
        while self.pending.front().is_some_and(|pending| pending.barrier <= confirmed) {
            let pending = self.pending.pop_front().expect("looked at one line above");
            self.settle_pending(now, pending);
        }
    }

    fn settle_pending(&mut self, now: Instant, pending: PendingSubscribe) {
        let key = pending.key;
        let is_alive = self.link(key).is_some_and(|link| link.id == pending.link);
        let filters: Vec<Box<str>> = pending.accepted().map(|wish| wish.filter.clone()).collect();
        if is_alive {
            let link = pending.link;
            self.complete_subscribe(now, pending);
            self.link_mut(key).expect("alive, as was just asked").hold = Hold::None;
            self.released.push(link);
        }
        for filter in filters {
            self.forget_pending(&filter);
        }
    }

    fn forget_pending(&mut self, full: &str) {
        if let Some((name, filter)) = split_share(full) {
            if let Some(group) = self.table.group_mut(name, filter) {
                group.pending -= 1;
            }
            self.announce_group(name, filter);
            self.table.drop_group_if_empty(name, filter);
            return;
        }
        self.table.remove_pending(full);
        if !self.table.wants(full) {
            self.tell_interest(full, false);
        }
    }

    /// Begins the subscriptions, answers, and starts the retained replays.
    fn complete_subscribe(&mut self, now: Instant, pending: PendingSubscribe) {
        let ids: SubscriptionIds =
            (pending.subscription_id != 0).then(|| Arc::from([pending.subscription_id].as_slice()));
        let mut replays = Vec::new();
        let stamp = self.stamp();
        for wish in pending.accepted() {
            let terms = wish.terms(pending.subscription_id);
            let is_new = self.apply(pending.key, &wish.filter, terms);
            self.note(pending.key, |client_id| Change::Subscribed {
                client_id,
                filter: wish.filter.clone(),
                terms,
            });
            if wish.wants_retained(is_new) {
                replays.push(Replay {
                    filter: wish.filter.clone(),
                    cursor: RetainedCursor::default(),
                    qos: wish.granted(),
                    no_local: wish.options.no_local,
                    ids: ids.clone(),
                });
            }
        }
        self.mark_since(pending.key, stamp);
        let reasons: Vec<ReasonCode> = pending.wishes.iter().map(|wish| wish.reason).collect();
        self.reply(pending.key, |out, version| encode::suback(out, version, pending.packet_id, &reasons));
        if !replays.is_empty() && !self.retained.is_empty() {
            let session = &mut self.sessions[pending.key.index()];
            session.waiting.get_or_insert_default().replays.extend(replays);
            self.pump(now, pending.key);
        }
    }

    /// Makes or replaces one subscription; returns whether it is new.
    pub(crate) fn apply(&mut self, key: SessionKey, full: &str, terms: SubscriptionTerms) -> bool {
        let found = self.sessions[key.index()].find(full);
        let SubscriptionTerms { qos, no_local, keeps_retain, id } = terms;
        let subscriber = Subscriber { session: key, qos, keeps_retain, no_local, id };
        let slot = match (split_share(full), found) {
            (Some((name, filter)), _) => {
                if self.holders.is_on {
                    // Routes know which members of groups may not receive.
                    self.table.doubt(filter);
                }
                let ids: SubscriptionIds = (id != 0).then(|| Arc::from([id].as_slice()));
                self.table.group_add(name, filter, Member { session: key, qos, keeps_retain, ids });
                self.counters.shared_subscriptions += u64::from(found.is_err());
                self.announce_group(name, filter);
                0
            }
            (None, Ok(index)) => {
                let slot = self.sessions[key.index()].subscriptions[index].slot;
                self.table.replace(full, slot, subscriber);
                slot
            }
            (None, Err(_)) => self.table.add(full, subscriber),
        };
        let subscription = Subscription { filter: full.into(), slot };
        let subscriptions = &mut self.sessions[key.index()].subscriptions;
        match found {
            Ok(index) => subscriptions[index] = subscription,
            Err(index) => {
                // Most devices have one subscription; room for four would cost all of them.
                if subscriptions.is_empty() {
                    subscriptions.reserve_exact(1);
                }
                subscriptions.insert(index, subscription);
            }
        }
        self.counters.subscriptions += u64::from(found.is_err());
        found.is_err()
    }

    /// Handles an UNSUBSCRIBE.
    ///
    /// # Errors
    /// Its answer would exceed the client's own maximum; the connection must end.
    pub fn unsubscribe(&mut self, key: SessionKey, unsubscribe: &Unsubscribe<'_>) -> Result<(), Violation> {
        self.check_answer(key, |version| encode::unsuback_len(version, unsubscribe.len()))?;
        let levels_max = stdx::widen(self.limits.topic_levels_max);
        let mut reasons = Vec::with_capacity(unsubscribe.len());
        let stamp = self.stamp();
        for filter in unsubscribe.filters() {
            let (_, inner) = inner_filter(filter);
            let is_valid =
                topic::parse_share(filter).is_ok() && topic::check_filter(inner, levels_max).is_ok();
            reasons.push(match (is_valid, self.sessions[key.index()].find(filter)) {
                (false, _) => ReasonCode::TopicFilterInvalid,
                (true, Err(_)) => ReasonCode::NoSubscriptionExisted,
                (true, Ok(index)) => {
                    let subscription = self.sessions[key.index()].subscriptions.remove(index);
                    self.note(key, |client_id| Change::Unsubscribed { client_id, filter: filter.into() });
                    self.withdraw(key, &subscription);
                    ReasonCode::Success
                }
            });
        }
        self.mark_since(key, stamp);
        let id = unsubscribe.packet_id;
        self.reply(key, |out, version: Version| encode::unsuback(out, version, id, &reasons));
        Ok(())
    }

    /// Takes a subscription that its session has given up out of the table.
    pub(crate) fn withdraw(&mut self, key: SessionKey, subscription: &Subscription) {
        self.counters.subscriptions -= 1;
        if let Some((name, filter)) = split_share(&subscription.filter) {
            self.counters.shared_subscriptions -= 1;
            if let Some(group) = self.table.group_mut(name, filter) {
                group.members.retain(|member| member.session != key);
            }
            self.announce_group(name, filter);
            self.table.drop_group_if_empty(name, filter);
            return;
        }
        if let Some(moved) = self.table.remove(&subscription.filter, subscription.slot) {
            let moved = self.sessions[moved.index()].subscription_mut(&subscription.filter);
            moved.expect("the table and the sessions agree").slot = subscription.slot;
        }
        if self.cores > 1 && !self.table.wants(&subscription.filter) {
            self.tell_interest(&subscription.filter, false);
        }
    }
}

impl PendingSubscribe {
    fn accepted(&self) -> impl Iterator<Item = &Wish> {
        self.wishes.iter().filter(|wish| !wish.reason.is_failure())
    }
}

impl Wish {
    fn terms(&self, id: u32) -> SubscriptionTerms {
        SubscriptionTerms {
            qos: self.granted(),
            no_local: self.options.no_local,
            keeps_retain: self.options.retain_as_published,
            id,
        }
    }

    fn granted(&self) -> QoS {
        QoS::from_bits(self.reason.byte()).expect("an accepted wish has QoS 0, 1 or 2 as its code")
    }

    /// Source: [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]; no retained messages for shared ones: section 4.8.2.
    fn wants_retained(&self, is_new: bool) -> bool {
        match self.options.retain_handling {
            _ if topic::is_shared(&self.filter) => false,
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::Never => false,
        }
    }
}

/// Whether a filter is shared, and the filter that topics are matched with.
pub(crate) fn inner_filter(full: &str) -> (bool, &str) {
    split_share(full).map_or((false, full), |(_, filter)| (true, filter))
}

/// The group name and the inner filter of a shared filter that was checked before.
pub(crate) fn split_share(full: &str) -> Option<(&str, &str)> {
    topic::parse_share(full).ok().flatten()
}
