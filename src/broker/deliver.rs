//! Delivery: one message to one session, now or later.
//!
//! Why the choice is made here and nowhere else: whether a copy is written, queued or dropped decides every promise
//! about order, quotas and loss, so live messages, queued ones and retained ones all pass through this file.
//!
//! Invariants:
//! - QoS 1 and 2 are written only under a packet id of the window, and only while the window has room.
//! - A message never overtakes an earlier one of the same QoS that waits.
//! - Every drop is counted under its own reason.
//! - A packet above the receiver's maximum is dropped as if it had been delivered. Source: [MQTT-3.1.2-25].

use std::sync::Arc;

use mqtt::{PacketId, PublishOut, QoS, Version, encode};
use stdx::Instant;

use crate::change::{Change, Fetch, MessageCopy};
use crate::counters::Counters;
use crate::holders::Holders;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::link::{AliasUse, Link};
use crate::message::{Message, StoredMessage};
use crate::route::SubscriptionIds;
use crate::session::{Session, SessionKey};
use crate::spares::Spares;
use crate::template::Templates;
use crate::waiting::{Queued, Waiting};
use crate::window::Window;

/// What one receiver is granted of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant<'a> {
    pub qos: QoS,
    pub retain: bool,
    pub ids: &'a SubscriptionIds,
}

/// What all deliveries of a turn share.
pub(crate) struct Delivery<'a> {
    pub now: Instant,
    pub limits: &'a Limits,
    pub counters: &'a mut Counters,
    pub dirty: &'a mut Vec<SessionKey>,
    pub journal: &'a mut Journal,
    pub holders: &'a Holders,
    pub spares: &'a mut Spares,
    pub templates: &'a mut Templates,
}

impl Delivery<'_> {
    /// Delivers `message` to a session: writes, queues or drops.
    #[inline(always)]
    pub fn deliver(
        &mut self,
        key: SessionKey,
        session: &mut Session,
        message: &Message<'_>,
        grant: Grant<'_>,
    ) {
        if grant.qos == QoS::AtMostOnce {
            self.deliver_qos0(key, session, message, grant);
        } else {
            self.deliver_acknowledged(key, session, message, grant);
        }
    }

    #[inline(always)]
    fn deliver_qos0(
        &mut self,
        key: SessionKey,
        session: &mut Session,
        message: &Message<'_>,
        grant: Grant<'_>,
    ) {
        let Some(link) = &mut session.link else {
            self.keep_qos0_offline(session, message, grant);
            return;
        };
        let is_first = session.waiting.as_ref().is_none_or(|waiting| waiting.queue_qos0.is_empty());
        if is_first && link.backlog() < stdx::widen(self.limits.out_bytes_high) {
            self.write(key, link, message, Outbound { grant, id: None, dup: false });
            return;
        }
        let waiting = session.waiting.get_or_insert_default();
        if waiting.queue_qos0.len() >= stdx::widen(self.limits.queue_qos0_messages_max)
            && let Some(oldest) = waiting.pop_qos0()
        {
            self.counters.dropped_slow_consumer += 1;
            self.counters.queue_shrank(oldest.message.cost_bytes());
        }
        self.queue_qos0(session, message, grant);
    }

    fn keep_qos0_offline(&mut self, session: &mut Session, message: &Message<'_>, grant: Grant<'_>) {
        let waiting = session.waiting.as_ref().map_or(0, |waiting| waiting.queue_qos0.len());
        if !self.limits.queue_qos0_offline || waiting >= stdx::widen(self.limits.queue_qos0_messages_max) {
            self.counters.dropped_offline_qos0 += 1;
            return;
        }
        self.queue_qos0(session, message, grant);
    }

    fn queue_qos0(&mut self, session: &mut Session, message: &Message<'_>, grant: Grant<'_>) {
        let sent = sent(message, grant);
        let cost = sent.message.cost_bytes();
        let bytes = session.waiting.as_ref().map_or(0, |waiting| waiting.bytes());
        if bytes + cost > stdx::widen(self.limits.queue_bytes_max) || !self.has_memory(cost) {
            self.counters.dropped_slow_consumer += 1;
            return;
        }
        let waiting = session.waiting.get_or_insert_default();
        note_judged(self.holders, waiting);
        waiting.push_qos0(sent);
        self.counters.queue_grew(cost);
    }

    fn deliver_acknowledged(
        &mut self,
        key: SessionKey,
        session: &mut Session,
        message: &Message<'_>,
        grant: Grant<'_>,
    ) {
        let is_first = session.waiting.as_ref().is_none_or(|waiting| !waiting.has_acknowledged());
        if is_first && self.has_room(session) {
            let copy = sent(message, grant);
            self.send_new(key, session, copy, message);
        } else {
            self.queue(session, message, grant, None);
        }
    }

    /// Says something without a subscription, to a session that ends with its connection. Gives its place, 0 at QoS 0; none
    /// if it was dropped.
    pub fn say(
        &mut self,
        key: SessionKey,
        session: &mut Session,
        message: &Message<'_>,
        grant: Grant<'_>,
    ) -> Option<u64> {
        if grant.qos == QoS::AtMostOnce {
            self.deliver_qos0(key, session, message, grant);
            return Some(0);
        }
        let is_first = session.waiting.as_ref().is_none_or(|waiting| !waiting.has_acknowledged());
        let seq = session.next_seq();
        let is_said = if is_first && self.has_room(session) {
            let place = if self.is_noted(session) { Place::New(seq) } else { Place::Unwritten(seq) };
            // Nothing is sent again on another connection, so what is large need not be there until it is acknowledged.
            let copy = match message.payload.len() >= LARGE_BYTES && !session.is_lasting {
                true => copy_of(message.stored_head(), grant),
                false => sent(message, grant),
            };
            self.send(key, session, copy, message, place)
        } else {
            self.queue(session, message, grant, Some(seq))
        };
        is_said.then_some(seq)
    }

    /// Writes a message whose turn it is, before anything that waits; the caller has asked for room.
    pub fn deliver_now(
        &mut self,
        key: SessionKey,
        session: &mut Session,
        message: &Message<'_>,
        grant: Grant<'_>,
    ) {
        if grant.qos == QoS::AtMostOnce {
            let link = session.link.as_mut().expect("there is room only with a link");
            self.write(key, link, message, Outbound { grant, id: None, dup: false });
        } else {
            let is_noted = self.is_noted(session);
            let place = if is_noted { Place::New(session.overtaking_seq()) } else { Place::Unwritten(0) };
            self.send(key, session, sent(message, grant), message, place);
        }
    }

    /// Sends a message that never waited.
    #[inline]
    fn send_new(&mut self, key: SessionKey, session: &mut Session, copy: MessageCopy, message: &Message<'_>) {
        let is_noted = self.is_noted(session);
        let place = if is_noted { Place::New(session.next_seq()) } else { Place::Unwritten(0) };
        self.send(key, session, copy, message, place);
    }

    /// Whether what happens to this session is written down.
    #[inline]
    fn is_noted(&self, session: &Session) -> bool {
        self.journal.is_on && session.is_lasting
    }

    /// Whether a QoS 1 or 2 message could be written to this session now.
    pub fn has_room(&self, session: &Session) -> bool {
        let Some(link) = &session.link else { return false };
        let Some(window) = &session.window else {
            return link.backlog() < stdx::widen(self.limits.out_bytes_high);
        };
        link.backlog() < stdx::widen(self.limits.out_bytes_high) && window.has_room(link.window_max)
    }

    /// Opens a packet id and writes the PUBLISH; the caller has asked for room. False if it is too large and was dropped.
    fn send(
        &mut self,
        key: SessionKey,
        session: &mut Session,
        sent: MessageCopy,
        message: &Message<'_>,
        place: Place,
    ) -> bool {
        let link = session.link.as_mut().expect("there is room only with a link");
        let (qos, retain, ids) = (sent.qos, sent.retain, sent.ids.clone());
        let grant = Grant { qos, retain, ids: &ids };
        // The size is judged before an id is opened: a message that cannot be sent takes no place in the window.
        if link.version == Version::V5 && !self.fits(link, message, grant) {
            self.counters.dropped_too_large += 1;
            if let Place::Queued(seq) = place {
                note_dropped(self.journal, &session.client_id, seq);
            }
            return false;
        }
        let copy = matches!(place, Place::New(_)).then(|| sent.clone());
        let window = session.window.get_or_insert_with(|| Box::new(Window::new()));
        let packet_id = window.open_id(sent, place.seq());
        if !matches!(place, Place::Unwritten(_)) {
            let client_id = Arc::clone(&session.client_id);
            self.journal.record(|| Change::Sent { client_id, seq: place.seq(), packet_id, copy });
            // If a crash could take the record of its id, the id would be used again, and the client would take another
            // message for this one.
            if qos == QoS::ExactlyOnce {
                self.journal.gate.mark(key, link);
            }
        }
        self.counters.inflight_messages += 1;
        self.write(key, link, message, Outbound { grant, id: Some(packet_id), dup: false });
        true
    }

    /// Whether a QoS 1 or 2 message can be said within the receiver's maximum, its topic in full.
    pub fn fits(&self, link: &Link, message: &Message<'_>, grant: Grant<'_>) -> bool {
        if link.packet_bytes_max == u32::MAX {
            return true;
        }
        let publish = publish_out(message, Outbound { grant, id: PacketId::new(1), dup: false }, None);
        encode::publish_len(link.version, &publish) <= stdx::widen(link.packet_bytes_max)
    }

    /// Lets a message wait, at a place that it was given already or at a new one; false if it was dropped.
    fn queue(
        &mut self,
        session: &mut Session,
        message: &Message<'_>,
        grant: Grant<'_>,
        place: Option<u64>,
    ) -> bool {
        let is_noted = self.is_noted(session);
        let cost = message.stored().cost_bytes();
        if !self.make_room(session, cost, is_noted) {
            self.counters.dropped_queue_full += 1;
            return false;
        }
        let copy = sent(message, grant);
        let mut seq = place.unwrap_or(0);
        if is_noted {
            seq = place.unwrap_or_else(|| session.next_seq());
            let client_id = Arc::clone(&session.client_id);
            self.journal.record(|| Change::Queued { client_id, seq, copy: copy.clone() });
        }
        self.counters.queue_grew(cost);
        let has_memory = self.has_memory(cost);
        let waiting = session.waiting.get_or_insert_default();
        note_judged(self.holders, waiting);
        let is_spilled = is_noted
            && (waiting.spilled.is_some()
                || waiting.queue.len() >= stdx::widen(self.limits.queue_memory_messages)
                || waiting.bytes() + cost > stdx::widen(self.limits.queue_memory_bytes)
                || !has_memory);
        if is_spilled {
            let bytes = u64::try_from(cost).expect("a length fits 64 bits");
            waiting.spill(seq, bytes);
            self.counters.spilled_messages += 1;
            self.counters.spilled_bytes += bytes;
        } else {
            waiting.push(seq, copy);
        }
        true
    }

    /// Whether all queues in memory may grow by so much.
    fn has_memory(&self, cost: usize) -> bool {
        let bytes = self.counters.queued_bytes - self.counters.spilled_bytes;
        bytes + u64::try_from(cost).expect("a length fits 64 bits")
            <= self.limits.queue_memory_bytes_total_max
    }

    /// Whether a message of this cost may join the queue; drops what must make room for it.
    fn make_room(&mut self, session: &mut Session, cost: usize, is_noted: bool) -> bool {
        let inflight = session.window.as_ref().map_or(0, |window| window.bytes());
        let added = u64::try_from(inflight + cost).expect("a length fits 64 bits");
        let waiting = session.waiting.get_or_insert_default();
        loop {
            let is_heavy = waiting.bytes_total() + added > u64::from(self.limits.queue_bytes_max);
            let is_full = is_heavy
                || waiting.acknowledged() >= u64::from(self.limits.queue_messages_max)
                || self.counters.queued_bytes + added > self.limits.queue_bytes_total_max
                || !is_noted && !self.has_memory(cost);
            if !is_full {
                return true;
            }
            if let Some(oldest) = is_heavy.then(|| waiting.pop_qos0()).flatten() {
                self.counters.dropped_slow_consumer += 1;
                self.counters.queue_shrank(oldest.message.cost_bytes());
                continue;
            }
            if !self.limits.queue_drops_oldest {
                return false;
            }
            let Some(oldest) = waiting.pop() else {
                // The oldest is on disk. It is fetched to be dropped later; until then the newest is.
                self.journal.fetches.extend(fetch(self.limits, &session.client_id, session.serial, waiting));
                return false;
            };
            self.counters.dropped_queue_full += 1;
            self.counters.queue_shrank(oldest.copy.message.cost_bytes());
            if is_noted {
                note_dropped(self.journal, &session.client_id, oldest.seq);
            }
        }
    }

    /// Asks for more of a queue whose part in memory runs low, if its client is there to take it.
    pub fn refill(&mut self, session: &mut Session) {
        let Some(waiting) = session.waiting.as_mut().filter(|_| session.link.is_some()) else { return };
        if waiting.queue.len() * 2 <= stdx::widen(self.limits.queue_memory_messages) {
            self.journal.fetches.extend(fetch(self.limits, &session.client_id, session.serial, waiting));
        }
    }

    /// Sends the oldest QoS 0 message that waits, or else the oldest other one; false if nothing waits or may go.
    pub fn send_next(&mut self, key: SessionKey, session: &mut Session) -> bool {
        let (Some(link), Some(waiting)) = (&mut session.link, &mut session.waiting) else { return false };
        if link.backlog() >= stdx::widen(self.limits.out_bytes_high) {
            return false;
        }
        let judged_at = waiting.judged_at;
        if let Some(sent) = waiting.pop_qos0() {
            self.counters.queue_shrank(sent.message.cost_bytes());
            if sent.message.is_expired(self.now) {
                self.counters.dropped_expired += 1;
                return true;
            }
            if is_barred(self.holders, key, judged_at, &sent) {
                self.counters.dropped_barred += 1;
                return true;
            }
            let message = sent.message.message(self.now);
            let grant = Grant { qos: sent.qos, retain: sent.retain, ids: &sent.ids };
            self.templates.reset(false);
            self.write(key, link, &message, Outbound { grant, id: None, dup: false });
            return true;
        }
        if waiting.queue.is_empty() || !self.has_room(session) {
            return false;
        }
        let Queued { seq, copy } =
            session.waiting.as_mut().and_then(|waiting| waiting.pop()).expect("the queue is not empty");
        self.counters.queue_shrank(copy.message.cost_bytes());
        let is_noted = self.is_noted(session);
        let is_expired = copy.message.is_expired(self.now);
        if is_expired || is_barred(self.holders, key, judged_at, &copy) {
            self.counters.dropped_expired += u64::from(is_expired);
            self.counters.dropped_barred += u64::from(!is_expired);
            if is_noted {
                note_dropped(self.journal, &session.client_id, seq);
            }
            return true;
        }
        let stored = Arc::clone(&copy.message);
        self.templates.reset(false);
        let place = if is_noted { Place::Queued(seq) } else { Place::Unwritten(seq) };
        self.send(key, session, copy, &stored.message(self.now), place);
        true
    }

    /// Writes one PUBLISH into the link's out buffer.
    #[inline(always)]
    pub fn write(&mut self, key: SessionKey, link: &mut Link, message: &Message<'_>, outbound: Outbound<'_>) {
        if link.out.capacity() == 0 {
            link.out = self.spares.take();
        }
        let is_plain = link.aliases_out.is_none() && outbound.grant.ids.is_none() && !outbound.dup;
        let is_v5 = link.version == Version::V5;
        if is_plain && let Some(verbatim) = message.verbatim.filter(|verbatim| verbatim.is_v5 == is_v5) {
            debug_assert!(outbound.id.is_none() && !outbound.grant.retain);
            if verbatim.packet.len() > stdx::widen(link.packet_bytes_max) {
                self.counters.dropped_too_large += 1;
                return;
            }
            link.out.extend_from_slice(verbatim.packet);
        } else if is_plain && self.templates.is_wanted() {
            if !self.templates.write(link, message, outbound) {
                self.counters.dropped_too_large += 1;
                return;
            }
        } else if !write_single(link, message, outbound) {
            self.counters.dropped_too_large += 1;
            return;
        }
        self.counters.publish_sent += 1;
        self.counters.packets_sent += 1;
        self.counters.publish_bytes_sent += stdx::count(message.payload.len());
        if !link.is_dirty {
            link.is_dirty = true;
            self.dirty.push(key);
        }
    }
}

/// What to read back of a queue, if it has a part on disk and nothing was asked for yet.
fn fetch(limits: &Limits, client_id: &Arc<str>, serial: u64, waiting: &mut Waiting) -> Option<Fetch> {
    let here = stdx::narrow(waiting.queue.len());
    let spilled = waiting.spilled.as_mut().filter(|spilled| !spilled.is_fetching)?;
    spilled.is_fetching = true;
    let room = limits.queue_memory_messages.saturating_sub(here).max(1);
    Some(Fetch {
        client_id: Arc::clone(client_id),
        serial,
        from_seq: spilled.first_seq,
        messages_max: u32::try_from(spilled.messages).unwrap_or(u32::MAX).min(room),
        bytes_max: limits.queue_memory_bytes,
    })
}

/// Notes when a queue that is about to grow was empty last: all that joins it is judged later.
fn note_judged(holders: &Holders, waiting: &mut Waiting) {
    if !waiting.has_queued() {
        waiting.judged_at = holders.now();
    }
}

/// Whether a message that has waited may not be received any more.
fn is_barred(holders: &Holders, key: SessionKey, judged_at: u64, copy: &MessageCopy) -> bool {
    !holders.is_decided(key, judged_at) && !holders.may_receive(key, copy.message.topic())
}

fn note_dropped(journal: &mut Journal, client_id: &Arc<str>, seq: u64) {
    journal.record(|| Change::Dropped { client_id: Arc::clone(client_id), seq });
}

/// What the store knows of a message that is about to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Nothing, and it need not; whoever said it may want to find it again.
    Unwritten(u64),
    /// Nothing yet.
    New(u64),
    /// Its place in the queue.
    Queued(u64),
}

impl Place {
    fn seq(self) -> u64 {
        match self {
            Self::Unwritten(seq) | Self::New(seq) | Self::Queued(seq) => seq,
        }
    }
}

/// How one copy of a message goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outbound<'a> {
    pub grant: Grant<'a>,
    pub id: Option<PacketId>,
    pub dup: bool,
}

/// The packet for one receiver; its topic in full.
pub(crate) fn publish_out<'a>(
    message: &Message<'a>,
    outbound: Outbound<'a>,
    alias: Option<u16>,
) -> PublishOut<'a> {
    PublishOut {
        dup: outbound.dup,
        qos: outbound.grant.qos,
        retain: outbound.grant.retain,
        topic: message.topic,
        packet_id: outbound.id,
        topic_alias: alias,
        expiry_s: message.expiry_s,
        subscription_ids: outbound.grant.ids.as_deref().unwrap_or(&[]),
        forward: message.forward,
        payload: message.payload,
    }
}

/// Of a larger message it is remembered on the link that it is on its way.
const LARGE_BYTES: usize = 1 << 20;

/// Encodes for this receiver alone; false if the packet would exceed its maximum.
fn write_single(link: &mut Link, message: &Message<'_>, outbound: Outbound<'_>) -> bool {
    let mut publish = publish_out(message, outbound, None);
    let mut set = None;
    // A packet sent again carries its topic in full: the alias may belong to a connection that is gone.
    if let Some(aliases) = link.aliases_out.as_ref().filter(|_| !outbound.dup) {
        match aliases.use_for(message.topic) {
            AliasUse::None => {}
            AliasUse::Known(alias) => {
                publish.topic = &[];
                publish.topic_alias = Some(alias);
            }
            AliasUse::Set(alias) => {
                publish.topic_alias = Some(alias);
                set = Some(alias);
            }
        }
    }
    if link.packet_bytes_max != u32::MAX
        && encode::publish_len(link.version, &publish) > stdx::widen(link.packet_bytes_max)
    {
        if publish.topic_alias.is_none() {
            return false;
        }
        // Without the alias it may just fit: that is also the form by which its size was judged before.
        publish.topic = message.topic;
        publish.topic_alias = None;
        set = None;
        if encode::publish_len(link.version, &publish) > stdx::widen(link.packet_bytes_max) {
            return false;
        }
    }
    if message.payload.len() >= LARGE_BYTES {
        link.large_bytes = stdx::narrow(encode::publish_len(link.version, &publish));
    }
    encode::publish(&mut link.out, link.version, &publish);
    if let (Some(alias), Some(aliases)) = (set, &mut link.aliases_out) {
        aliases.set(message.topic, alias);
    }
    true
}

fn sent(message: &Message<'_>, grant: Grant<'_>) -> MessageCopy {
    copy_of(Arc::clone(message.stored()), grant)
}

fn copy_of(message: Arc<StoredMessage>, grant: Grant<'_>) -> MessageCopy {
    MessageCopy { message, qos: grant.qos, retain: grant.retain, ids: grant.ids.clone() }
}
