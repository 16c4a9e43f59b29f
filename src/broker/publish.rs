//! PUBLISH from a client, and the way of any message to its receivers.
//!
//! Invariants:
//! - An acknowledgement is written after the message has reached every queue it must be in. Source: [MQTT-3.3.4-1].
//! - A QoS 2 message is delivered once however often it is repeated before its PUBREL. Source: [MQTT-4.3.3-10].
//! - A message leaves for another core once, whatever the number of subscribers there.

use std::cell::OnceCell;

use mqtt::{AckKind, PacketId, Publish, QoS, ReasonCode, Version, Violation, encode, properties};
use stdx::Instant;

use crate::change::{Change, Shipped, StoreHealth};
use crate::core_id::CoreId;
use crate::deliver::Grant;
use crate::exchange::Exchange;
use crate::journal::Journal;
use crate::message::{Message, Verbatim};
use crate::notice::{Level, NoticeKind};
use crate::parcel::{Outgoing, Parcel, Shipping};
use crate::route::NoLocal;
use crate::session::{Session, SessionKey};
use crate::table::{Pick, Standing};

/// How often a message for a group may be handed on when its member has just left.
const HOPS_MAX: u8 = 3;

impl Exchange {
    /// Handles a PUBLISH of a connected client.
    ///
    /// # Errors
    /// The statement that it breaks; the connection must end.
    #[inline(never)]
    pub fn publish(&mut self, now: Instant, key: SessionKey, publish: &Publish<'_>) -> Result<(), Violation> {
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += stdx::count(publish.payload.len());
        if let Some(alias) = publish.topic_alias {
            return self.publish_aliased(now, key, publish, alias);
        }
        self.publish_to(now, key, publish, publish.topic)
    }

    // Out of line, and the only way to the topic here: the common path is compiled as one piece.
    #[inline(never)]
    fn publish_aliased(
        &mut self,
        now: Instant,
        key: SessionKey,
        publish: &Publish<'_>,
        alias: u16,
    ) -> Result<(), Violation> {
        let index = self.alias_slot(key, alias)?;
        let link = self.link_mut(key).expect("a connected client publishes");
        if !publish.topic.is_empty() {
            link.aliases_in[index] = Some(publish.topic.into());
        }
        // The topic is lent out for the call, so that nothing is copied; nobody else can look at it meanwhile.
        let topic = link.aliases_in[index].take().ok_or(Violation::TopicAliasUnknown)?;
        let result = self.publish_to(now, key, publish, &topic);
        if let Some(link) = self.link_mut(key) {
            link.aliases_in[index] = Some(topic);
        }
        result
    }

    pub(crate) fn alias_slot(&mut self, key: SessionKey, alias: u16) -> Result<usize, Violation> {
        if alias == 0 {
            return Err(Violation::TopicAliasZero);
        }
        if alias > self.limits.topic_alias_max {
            return Err(Violation::TopicAliasTooLarge);
        }
        let link = self.link_mut(key).expect("a connected client publishes");
        if link.aliases_in.len() < usize::from(alias) {
            link.aliases_in.resize(usize::from(alias), None);
        }
        Ok(usize::from(alias) - 1)
    }

    #[inline(always)]
    fn publish_to(
        &mut self,
        now: Instant,
        key: SessionKey,
        publish: &Publish<'_>,
        topic: &[u8],
    ) -> Result<(), Violation> {
        if topic.is_empty() {
            return Err(Violation::TopicEmpty);
        }
        let levels_max = stdx::widen(self.limits.topic_levels_max);
        let link = self.sessions[key.index()].link.as_deref_mut().expect("a connected client publishes");
        let is_v5 = link.version == Version::V5;
        let near = link.route_near;
        let (route, was_cached) =
            self.table.route_near(topic, levels_max, &mut link.route_near, &self.holders)?;
        self.counters.route_hits += u64::from(was_cached);
        self.counters.route_misses += u64::from(!was_cached);
        // Most of what devices send is neither acknowledged nor retained; one look spares it the questions about both.
        let is_bare = publish.qos == QoS::AtMostOnce && !publish.retain;
        if !is_bare {
            self.check_offer(publish)?;
            if publish.qos != QoS::AtMostOnce && self.is_settled_by_id(key, publish)? {
                return Ok(());
            }
        }
        if self.holders.is_on && !self.is_admitted(key, near, route, topic) {
            return self.turn_down(key, publish, ReasonCode::NotAuthorized);
        }
        if let Some(reason) = self.refusal(key, publish, topic) {
            return self.turn_down(key, publish, reason);
        }
        let mut is_awaited = false;
        if self.journal.is_on {
            if self.wants_space(key, publish, route) {
                return self.turn_down_for_want_of_space(key, publish);
            }
            is_awaited = self.is_awaited(key, publish);
        }
        let mut forward = Vec::new();
        if !publish.raw_is_forwardable {
            forward = std::mem::take(&mut self.forward);
            forward.clear();
            properties::forwardable(publish.raw, &mut forward);
        }
        let message = Message {
            topic,
            forward: if publish.raw_is_forwardable { publish.raw } else { &forward },
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            is_awaited,
            expiry_s: publish.expiry_s,
            at: now,
            publisher: Some(key),
            origin: self.sessions[key.index()].origin,
            stored: OnceCell::new(),
            verbatim: (is_bare && publish.raw_is_forwardable)
                .then_some(Verbatim { packet: publish.packet, is_v5 }),
        };
        let reached = self.route_message(now, route, &message);
        if !publish.raw_is_forwardable {
            self.forward = forward;
        }
        if publish.packet_id.is_some() {
            let reason = if reached { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
            self.acknowledge(key, publish, reason);
        }
        Ok(())
    }

    /// What the CONNACK announced as unavailable. Source: [MQTT-3.2.2-11], [MQTT-3.2.2-14].
    #[inline]
    pub(crate) fn check_offer(&self, publish: &Publish<'_>) -> Result<(), Violation> {
        if publish.qos != QoS::AtMostOnce && publish.qos.bits() > self.limits.qos_max {
            return Err(Violation::PublishQoSTooHigh);
        }
        if publish.retain && !self.limits.retain_available {
            return Err(Violation::RetainNotSupported);
        }
        Ok(())
    }

    /// Whether the packet id says already how to answer: a repeated QoS 2 message, or an id in use.
    pub(crate) fn is_settled_by_id(
        &mut self,
        key: SessionKey,
        publish: &Publish<'_>,
    ) -> Result<bool, Violation> {
        self.journal.begin();
        let id = publish.packet_id.expect("QoS 1 and 2 have a packet id");
        let receive_maximum = self.limits.receive_maximum;
        let session = &mut self.sessions[key.index()];
        let is_open = session.has_received(id.get());
        let link = session.link.as_mut().expect("a connected client publishes");
        match (publish.qos, is_open) {
            (QoS::ExactlyOnce, true) => {
                if let Some(rest) = session.take_partial(id.get()) {
                    self.journal.only = Some(rest.into());
                    return Ok(false);
                }
                self.write_ack(key, AckKind::PubRec, id, ReasonCode::Success);
                Ok(true)
            }
            (QoS::AtLeastOnce, true) if link.version == Version::V5 => {
                self.write_ack(key, AckKind::PubAck, id, ReasonCode::PacketIdInUse);
                Ok(true)
            }
            (QoS::ExactlyOnce, false) if link.inbound_open >= receive_maximum => {
                Err(Violation::ReceiveMaximumExceeded)
            }
            (QoS::AtMostOnce | QoS::AtLeastOnce | QoS::ExactlyOnce, _) => Ok(false),
        }
    }

    /// Whether the rights of a client allow it to publish to the topic of `route`. `near` is the route of the message before:
    /// most publishers have one topic, and what was decided about it holds until the rules change.
    #[inline]
    fn is_admitted(&mut self, key: SessionKey, near: u32, route: usize, topic: &[u8]) -> bool {
        let stamp = self.table.stamp();
        let link = self.link_mut(key).expect("a connected client publishes");
        near == link.route_near && link.admitted_at == stamp || self.admit(key, route, topic)
    }

    #[inline(never)]
    fn admit(&mut self, key: SessionKey, route: usize, topic: &[u8]) -> bool {
        let stamp = self.table.stamp();
        let id = self.link(key).expect("a connected client publishes").id;
        let is_known = self.table.route_at(route).publishers.contains(&Some(id));
        let may_publish =
            || std::str::from_utf8(topic).is_ok_and(|topic| self.holders.may_publish(key, topic));
        let is_admitted = is_known || may_publish();
        if is_admitted && !is_known {
            self.table.admit(route, id);
        }
        let link = self.link_mut(key).expect("a connected client publishes");
        link.admitted_at = if is_admitted { stamp } else { 0 };
        is_admitted
    }

    /// Why a lawful message is not taken. Source: [MQTT-3.3.4-1], sections 3.4.2.1 and 3.3.2.3.2.
    #[inline(always)]
    fn refusal(&self, key: SessionKey, publish: &Publish<'_>, topic: &[u8]) -> Option<ReasonCode> {
        if topic[0] == b'$' {
            if is_under(topic, b"$SYS") {
                return Some(ReasonCode::NotAuthorized);
            }
            if is_under(topic, b"$share") {
                return Some(ReasonCode::TopicNameInvalid);
            }
        }
        if publish.payload_is_utf8
            && self.limits.payload_format_checked
            && std::str::from_utf8(publish.payload).is_err()
        {
            return Some(ReasonCode::PayloadFormatInvalid);
        }
        if publish.retain
            && !publish.payload.is_empty()
            && self.retained_is_full(self.sessions[key.index()].origin, topic, publish.payload.len())
        {
            return Some(ReasonCode::QuotaExceeded);
        }
        None
    }

    /// Answers a message that is not taken. Below 5.0 an acknowledgement cannot say so: a message that may not be
    /// published is acknowledged and dropped, one that cannot be kept ends the connection. Source: [MQTT-3.3.5-2] and
    /// [MQTT-4.8.0-2] of 3.1.1.
    #[cold]
    fn turn_down(
        &mut self,
        key: SessionKey,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Result<(), Violation> {
        self.journal.only = None;
        self.counters.dropped_refused += 1;
        self.counters.retained_refused += u64::from(reason == ReasonCode::QuotaExceeded);
        let is_told = self.version_of(key) == Some(Version::V5) || publish.qos == QoS::AtMostOnce;
        if reason == ReasonCode::QuotaExceeded && !is_told {
            return Err(Violation::RetainedQuotaExceeded);
        }
        self.acknowledge(key, publish, reason);
        Ok(())
    }

    /// Answers a PUBLISH; a QoS 2 id stays open unless the answer is a failure. Source: [MQTT-4.3.3-9].
    #[inline]
    pub(crate) fn acknowledge(&mut self, key: SessionKey, publish: &Publish<'_>, reason: ReasonCode) {
        self.acknowledge_id(key, publish.packet_id, publish.qos, reason);
    }

    /// The same by the packet id, which QoS 1 and 2 have.
    #[inline]
    pub(crate) fn acknowledge_id(
        &mut self,
        key: SessionKey,
        id: Option<PacketId>,
        qos: QoS,
        reason: ReasonCode,
    ) {
        let Some(id) = id else { return };
        if qos == QoS::AtLeastOnce {
            if self.journal.is_on {
                self.mark_since(key, self.journal.begun);
            }
            self.write_ack(key, AckKind::PubAck, id, reason);
        } else {
            self.acknowledge_once(key, id, reason);
        }
    }

    /// Answers a QoS 2 PUBLISH.
    fn acknowledge_once(&mut self, key: SessionKey, id: PacketId, reason: ReasonCode) {
        let session = &mut self.sessions[key.index()];
        let is_v5 = session.link.as_ref().is_some_and(|link| link.version == Version::V5);
        if !(reason.is_failure() && is_v5) {
            session.receive(id.get());
            if let Some(link) = &mut session.link {
                link.inbound_open += 1;
            }
            self.note_received(key, id);
        }
        self.journal.only = None;
        self.mark_since(key, self.journal.begun);
        self.write_ack(key, AckKind::PubRec, id, reason);
    }

    #[inline]
    pub(crate) fn write_ack(&mut self, key: SessionKey, kind: AckKind, id: PacketId, reason: ReasonCode) {
        self.reply(key, |out, version| encode::ack(out, version, kind, id, reason));
    }

    /// Brings a message to everyone who must have it: receivers here, other cores, the retained store. Returns whether
    /// anyone had asked for it. A function of its own, so that what is spilled in it is not spilled for every PUBLISH.
    #[inline(never)]
    pub(crate) fn route_message(&mut self, now: Instant, route: usize, message: &Message<'_>) -> bool {
        self.fan_out(now, route, message);
        let route = self.table.route_at(route);
        let (remote, groups) = (route.remote, route.groups.len());
        let reached = !route.targets.is_empty() || !remote.is_empty() || groups > 0;
        if groups > 0 && self.journal.is_for_groups() {
            let (groups, barred) = (route.groups.clone(), route.barred.clone());
            for group in groups {
                self.give_to_group(now, group, message, barred.as_deref(), 0);
            }
        }
        // What a crash kept from somebody was retained all the same.
        if message.retain && self.journal.only.is_none() && !self.is_unretainable(message) {
            self.retain_everywhere(message, remote);
        } else {
            for core in remote.iter() {
                self.ship(core, message, Shipping { deliver: true, ..Shipping::default() });
            }
        }
        reached
    }

    /// Whether the publisher waits until its message is kept on disk where it must be.
    fn is_awaited(&self, key: SessionKey, publish: &Publish<'_>) -> bool {
        publish.qos != QoS::AtMostOnce && self.link(key).is_some_and(|link| link.is_gated)
    }

    /// Sends a message to another core.
    #[inline]
    pub(crate) fn ship(&mut self, core: CoreId, message: &Message<'_>, shipping: Shipping<'_>) {
        if self.journal.is_on {
            ship_awaited(&mut self.outgoing, &mut self.journal, core, message, shipping);
        } else {
            self.outgoing.to(core).publish(message, shipping);
        }
    }

    /// Delivers to the receivers of this core.
    #[inline(always)]
    pub(crate) fn fan_out(&mut self, now: Instant, route: usize, message: &Message<'_>) {
        let (sessions, table, mut delivery) = self.delivery(now);
        let route = table.route_at(route);
        delivery.templates.reset(route.targets.len() > 1);
        let is_choosy = delivery.journal.only.is_some();
        for target in &route.targets {
            let granted = match &target.no_local {
                NoLocal::On if message.publisher == Some(target.session) => continue,
                NoLocal::Rest(rest) if message.publisher == Some(target.session) => rest,
                NoLocal::Off | NoLocal::On | NoLocal::Rest(_) => target,
            };
            let session = &mut sessions[target.session.index()];
            if is_choosy && !delivery.journal.is_for(session) {
                continue;
            }
            let grant = Grant {
                qos: Session::qos_of(message.qos, granted.qos),
                retain: message.retain && granted.keeps_retain,
                ids: &granted.ids,
            };
            delivery.deliver(target.session, session, message, grant);
        }
    }

    /// Delivers to one member of a shared group, wherever it is. `barred` are those of this core that may not receive it.
    pub(crate) fn give_to_group(
        &mut self,
        now: Instant,
        group: u32,
        message: &Message<'_>,
        barred: Option<&[SessionKey]>,
        hops: u8,
    ) {
        let (sessions, table, mut delivery) = self.delivery(now);
        let standing = |key: SessionKey| match &sessions[key.index()] {
            _barred if barred.is_some_and(|barred| barred.contains(&key)) => Standing::Barred,
            session if session.link.is_some() => Standing::Connected,
            _without_a_link => Standing::Away,
        };
        match table.pick(group, hops > 0, standing) {
            Pick::Local(member) => {
                let grant = Grant {
                    qos: Session::qos_of(message.qos, member.qos),
                    retain: message.retain && member.keeps_retain,
                    ids: &member.ids,
                };
                delivery.templates.reset(false);
                delivery.deliver(member.session, &mut sessions[member.session.index()], message, grant);
            }
            Pick::Remote(core) if hops < HOPS_MAX => self.ship_to_group(core, group, message, hops),
            Pick::Remote(_) | Pick::Nobody => {}
        }
    }

    fn ship_to_group(&mut self, core: CoreId, group: u32, message: &Message<'_>, hops: u8) {
        let shipping = Shipping {
            deliver: true,
            store: None,
            group: Some(self.table.group_name(group)),
            hops: hops + 1,
        };
        ship_awaited(&mut self.outgoing, &mut self.journal, core, message, shipping);
    }

    /// Notes that a QoS 2 message was received, and to which cores it went: each of those writes down that it has it, so
    /// that a repetition after a crash reaches exactly the others.
    fn note_received(&mut self, key: SessionKey, packet_id: PacketId) {
        if !self.journal.is_on {
            return;
        }
        let to = self.journal.gate.take_shipped();
        let (core, turn) = (self.core, self.journal.gate.turn());
        let mut shipped = Vec::new();
        if !to.subscribers.is_empty() {
            shipped = self.journal.only.take().map_or_else(Vec::new, Into::into);
            shipped.retain(|step| !step.is_for_group());
            shipped.push(Shipped { core, turn, cores: self.cores, to: to.subscribers });
        }
        if !to.groups.is_empty() {
            shipped.push(Shipped { core, turn, cores: Shipped::FOR_GROUP, to: to.groups });
        }
        self.note(key, |client_id| Change::Received { client_id, packet_id, shipped });
    }

    /// Whether a message cannot be taken without more space on disk. Other cores are not asked whether they would keep it.
    fn wants_space(&self, key: SessionKey, publish: &Publish<'_>, route: usize) -> bool {
        if publish.qos == QoS::AtMostOnce || self.store_health == StoreHealth::Good {
            return false;
        }
        let is_lasting = |key: SessionKey| self.sessions[key.index()].is_lasting;
        let route = self.table.route_at(route);
        publish.retain && !publish.payload.is_empty()
            || publish.qos == QoS::ExactlyOnce && is_lasting(key)
            || !route.remote.is_empty()
            || !route.groups.is_empty()
            || route.targets.iter().any(|target| target.qos != QoS::AtMostOnce && is_lasting(target.session))
    }

    /// Below 5.0 there is no word for it, so the client hears nothing and may send the message again when it comes back.
    #[cold]
    pub(crate) fn turn_down_for_want_of_space(
        &mut self,
        key: SessionKey,
        publish: &Publish<'_>,
    ) -> Result<(), Violation> {
        self.journal.only = None;
        self.counters.dropped_store_full += 1;
        let text = "has said something that was not taken: there is no space on disk";
        self.notice_of(key, Level::Warn, NoticeKind::Store, text);
        if self.version_of(key) == Some(Version::V5) {
            self.acknowledge(key, publish, ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    /// Whether a message is only delivered because there is no space to retain it.
    fn is_unretainable(&mut self, message: &Message<'_>) -> bool {
        let is_unretainable = self.store_health == StoreHealth::Full
            && !message.payload.is_empty()
            && !message.topic.starts_with(b"$SYS/");
        self.counters.dropped_store_full += u64::from(is_unretainable);
        is_unretainable
    }
}

fn ship_awaited(
    outgoing: &mut Outgoing,
    journal: &mut Journal,
    core: CoreId,
    message: &Message<'_>,
    shipping: Shipping<'_>,
) {
    let batch = outgoing.to(core);
    if let Some(only) = &journal.only {
        batch.parcels.push(Parcel::Only(only.clone()));
    }
    let is_for_group = shipping.group.is_some();
    batch.publish(message, shipping);
    if message.is_awaited {
        journal.gate.ask(core, is_for_group);
    }
}

/// Whether `topic` is `root` or lies below it.
fn is_under(topic: &[u8], root: &[u8]) -> bool {
    topic.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}
