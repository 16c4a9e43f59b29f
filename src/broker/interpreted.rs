//! Clients that somebody else interprets: what they publish is judged here and handed on, what they subscribe to is not kept
//! here, and messages are said to them without a subscription.
//!
//! Why beside publishing and not in it: whoever interprets decides what a message means and how it is answered, but packet ids,
//! repetitions, aliases, windows and the order of acknowledgements are the same for all clients.
//!
//! Invariants:
//! - What such a client publishes reaches nobody by its own topic; only what [`Exchange::bring`] is given does.
//! - An acknowledgement waits for all that was noted or sent since its message was taken in.
//! - Without such clients nothing here is touched.

use std::any::Any;
use std::borrow::Cow;
use std::cell::OnceCell;

use mqtt::{
    AckKind, PacketId, Publish, PublishOut, QoS, ReasonCode, Subscribe, Unsubscribe, Version, Violation,
    encode, topic,
};
use stdx::{Instant, Span};

use crate::change::StoreHealth;
use crate::core_id::CoreId;
use crate::deliver::Grant;
use crate::depart::Departure;
use crate::exchange::Exchange;
use crate::link::LinkId;
use crate::message::Message;
use crate::session::SessionKey;

/// Something that another core shall have, of which the exchange knows nothing.
pub type Freight = Box<dyn Any + Send>;

/// A message without a subscription.
#[derive(Clone, Copy, Debug)]
pub struct Saying<'a> {
    /// A valid topic name.
    pub topic: &'a str,
    /// The application message.
    pub payload: &'a [u8],
    /// The quality.
    pub qos: QoS,
}

/// Who waits until a message that is brought to subscribers is kept where it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behalf {
    /// Nobody.
    Nobody,
    /// A client, for its acknowledgement.
    Client(SessionKey),
    /// Somebody without a connection, for this turn: [`Exchange::await_turn`].
    Caller,
}

impl Exchange {
    /// Takes in a PUBLISH that somebody else interprets: gives its topic name. None if it is answered already: it was repeated,
    /// its id is in use, or there is no space on disk.
    ///
    /// # Errors
    /// The statement that it breaks; the connection must end.
    pub fn take_in<'p>(
        &mut self,
        key: SessionKey,
        publish: &Publish<'p>,
    ) -> Result<Option<Cow<'p, str>>, Violation> {
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += stdx::count(publish.payload.len());
        let named = match publish.topic_alias {
            Some(alias) => Cow::Owned(self.resolve_alias(key, publish.topic, alias)?),
            None => Cow::Borrowed(publish.topic),
        };
        if named.is_empty() {
            return Err(Violation::TopicEmpty);
        }
        let levels_max = stdx::widen(self.limits.topic_levels_max);
        let name = match named {
            Cow::Borrowed(bytes) => Cow::Borrowed(topic::check_name(bytes, levels_max)?),
            Cow::Owned(bytes) => Cow::Owned(topic::check_name(&bytes, levels_max)?.to_owned()),
        };
        if self.limits.strict_strings && !mqtt::is_plain(&name) {
            return Err(Violation::ControlCharacter);
        }
        self.check_offer(publish)?;
        if publish.qos != QoS::AtMostOnce && self.is_settled_by_id(key, publish)? {
            return Ok(None);
        }
        if self.journal.is_on && self.store_health == StoreHealth::Full {
            self.turn_down_for_want_of_space(key, publish)?;
            return Ok(None);
        }
        Ok(Some(name))
    }

    fn resolve_alias(&mut self, key: SessionKey, topic: &[u8], alias: u16) -> Result<Vec<u8>, Violation> {
        let index = self.alias_slot(key, alias)?;
        let link = self.link_mut(key).expect("a connected client publishes");
        if !topic.is_empty() {
            link.aliases_in[index] = Some(topic.into());
        }
        link.aliases_in[index].as_deref().map(<[u8]>::to_vec).ok_or(Violation::TopicAliasUnknown)
    }

    /// Answers a PUBLISH that was taken in, as soon as what was noted since is kept. At QoS 0 nothing is sent.
    pub fn answer(&mut self, key: SessionKey, id: Option<PacketId>, qos: QoS, reason: ReasonCode) {
        self.acknowledge_id(key, id, qos, reason);
    }

    /// As [`Exchange::answer`] with a failure, which a client of 5.0 is told in words as well.
    pub fn answer_because(
        &mut self,
        key: SessionKey,
        id: Option<PacketId>,
        qos: QoS,
        reason: ReasonCode,
        why: &str,
    ) {
        let is_v5 = self.version_of(key) == Some(Version::V5);
        let (true, Some(id)) = (is_v5 && reason.is_failure(), id) else {
            return self.answer(key, id, qos, reason);
        };
        let kind = if qos == QoS::AtLeastOnce { AckKind::PubAck } else { AckKind::PubRec };
        let packet_bytes_max = self.link(key).map_or(u32::MAX, |link| link.packet_bytes_max);
        self.mark_since(key, self.journal.begun);
        self.reply(key, |out, _| encode::ack_because(out, kind, id, reason, why, packet_bytes_max));
    }

    /// Judges a SUBSCRIBE that somebody else interprets.
    ///
    /// # Errors
    /// The statement that it breaks; the connection must end.
    pub fn check_subscribe(&self, key: SessionKey, subscribe: &Subscribe<'_>) -> Result<(), Violation> {
        self.check_answer(key, |version| encode::suback_len(version, subscribe.len()))?;
        subscribe.requests().try_for_each(|request| self.check_request(request))
    }

    /// Answers a SUBSCRIBE, with a code for each filter in their order.
    pub fn answer_subscribe(&mut self, key: SessionKey, id: PacketId, codes: &[ReasonCode]) {
        self.reply(key, |out, version| encode::suback(out, version, id, codes));
    }

    /// Judges an UNSUBSCRIBE that somebody else interprets.
    ///
    /// # Errors
    /// As [`Exchange::check_subscribe`].
    pub fn check_unsubscribe(&self, key: SessionKey, unsubscribe: &Unsubscribe<'_>) -> Result<(), Violation> {
        self.check_answer(key, |version| encode::unsuback_len(version, unsubscribe.len()))
    }

    /// Answers an UNSUBSCRIBE.
    pub fn answer_unsubscribe(&mut self, key: SessionKey, id: PacketId, codes: &[ReasonCode]) {
        self.reply(key, |out, version| encode::unsuback(out, version, id, codes));
    }

    /// Whether a session is on this connection: the name of one that has ended may be another's.
    #[must_use]
    pub fn is_on(&self, key: SessionKey, link: LinkId) -> bool {
        self.link(key).is_some_and(|own| own.id == link)
    }

    /// Says something to a connected client, now or when there is room. Gives the message's place, by which
    /// [`Exchange::place_of`] finds it again (0 at QoS 0); none if it was dropped.
    pub fn say(&mut self, now: Instant, key: SessionKey, saying: Saying<'_>) -> Option<u64> {
        // What a topic is made of was said by clients: no packet could carry it.
        if saying.topic.len() > topic::NAME_BYTES_MAX {
            self.counters.dropped_refused += 1;
            return None;
        }
        let message = message(now, saying, false);
        let (sessions, _, mut delivery) = self.delivery(now);
        let session = sessions.get_mut(key.index())?;
        delivery.templates.reset(false);
        delivery.say(key, session, &message, Grant { qos: saying.qos, retain: false, ids: &None })
    }

    /// Bytes to a connected client that its socket has not taken yet; those of messages that wait behind them, too.
    #[must_use]
    pub fn unsent(&self, key: SessionKey) -> usize {
        let Some(session) = self.sessions.get(key.index()) else { return 0 };
        let written = session.link.as_ref().map_or(0, |link| link.backlog());
        written + session.waiting.as_ref().map_or(0, |waiting| waiting.bytes())
    }

    /// The largest packet that a connected client takes.
    #[must_use]
    pub fn packet_bytes_max(&self, key: SessionKey) -> usize {
        self.link(key).map_or(usize::MAX, |link| stdx::widen(link.packet_bytes_max))
    }

    /// Whether a message is within the largest packet that a connected client takes.
    #[must_use]
    pub fn fits(&self, key: SessionKey, saying: Saying<'_>) -> bool {
        let Some(link) = self.link(key) else { return true };
        let publish = PublishOut {
            dup: false,
            qos: saying.qos,
            retain: false,
            topic: saying.topic.as_bytes(),
            packet_id: (saying.qos != QoS::AtMostOnce).then(|| PacketId::new(1)).flatten(),
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forward: &[],
            payload: saying.payload,
        };
        encode::publish_len(link.version, &publish) <= stdx::widen(link.packet_bytes_max)
    }

    /// The place of a message that a client acknowledges, before that is handled.
    #[must_use]
    pub fn place_of(&self, key: SessionKey, id: PacketId) -> Option<u64> {
        self.sessions.get(key.index())?.window.as_ref()?.place(id)
    }

    /// Brings a message to subscribers with nobody as its publisher. One whose topic is none, or is longer than a packet can
    /// carry, is dropped and counted.
    pub fn bring(&mut self, now: Instant, on_behalf: Behalf, saying: Saying<'_>) {
        let levels_max = stdx::widen(self.limits.topic_levels_max);
        let (link, waits) = match on_behalf {
            Behalf::Nobody => (None, false),
            Behalf::Caller => (None, self.journal.is_on),
            Behalf::Client(key) => {
                let session = self.sessions.get_mut(key.index());
                let link = session.and_then(|session| session.link.as_deref_mut());
                let waits = link.as_ref().is_some_and(|link| link.is_gated);
                (link, waits)
            }
        };
        let is_awaited = saying.qos != QoS::AtMostOnce && waits;
        let mut elsewhere = u32::MAX;
        let near = link.map_or(&mut elsewhere, |link| &mut link.route_near);
        let routed = self.table.route_near(saying.topic.as_bytes(), levels_max, near, &self.holders);
        let Ok((route, was_cached)) = routed else {
            self.counters.dropped_refused += 1;
            return;
        };
        self.counters.route_hits += u64::from(was_cached);
        self.counters.route_misses += u64::from(!was_cached);
        self.route_message(now, route, &message(now, saying, is_awaited));
    }

    /// Ends a connection. A client of 5.0 is told the code, if there is one.
    pub fn end(&mut self, now: Instant, key: SessionKey, farewell: Option<ReasonCode>, why: Option<&str>) {
        self.depart(now, key, Departure::told(farewell, why));
    }

    /// Leaves a client unread for a time; what it has sent waits until [`Exchange::take_ends`] releases its link.
    pub fn hold_for(&mut self, now: Instant, key: SessionKey, span: Span) {
        self.hold_back(now, key, now + span, now);
    }

    /// How long a connected client may be silent, by its keep alive and its listener; zero is for ever.
    #[must_use]
    pub fn silence_max(&self, key: SessionKey) -> Span {
        self.link(key).map_or(Span::ZERO, |link| link.silence_max.max())
    }

    /// Something was written down beside the changes of this core, so many pieces of so many bytes: it belongs to this turn.
    #[inline]
    pub fn note_beside(&mut self, pieces: usize, cost_bytes: usize) {
        if self.journal.is_on {
            self.journal.note_beside(pieces, cost_bytes);
        }
    }

    /// What a client is told from here on leaves only when this turn is safe.
    pub fn mark(&mut self, key: SessionKey) {
        if let Some(link) = self.sessions.get_mut(key.index()).and_then(|session| session.link.as_deref_mut())
        {
            self.journal.gate.mark(key, link);
        }
    }

    /// What a client was told so far, CONNACK, leaves only when this turn is safe: it rests on something that was written down
    /// before.
    pub fn hold_connack(&mut self, key: SessionKey) {
        if let Some(link) = self.sessions.get_mut(key.index()).and_then(|session| session.link.as_deref_mut())
        {
            self.journal.gate.mark_connack(key, link);
        }
    }

    /// Somebody waits for this turn to be safe; says which one it is.
    pub fn await_turn(&mut self) -> u64 {
        if self.journal.is_on {
            self.journal.gate.urge();
        }
        self.journal.gate.turn()
    }

    /// Whether a turn is safe, after [`Exchange::end_turn`].
    #[must_use]
    pub fn is_safe(&self, turn: u64) -> bool {
        !self.journal.is_on || self.journal.gate.safe() >= turn
    }

    /// Sends something to another core, in front of what that is asked about in this turn. If it is awaited, acknowledgements
    /// wait until what the other core writes because of it is kept.
    pub fn send_beside(&mut self, core: CoreId, freight: Freight, is_awaited: bool) {
        self.outgoing.to(core).beside.push(freight);
        if is_awaited && self.journal.is_on {
            self.journal.gate.ask(core, false);
        }
    }
}

fn message<'a>(now: Instant, saying: Saying<'a>, is_awaited: bool) -> Message<'a> {
    Message {
        topic: saying.topic.as_bytes(),
        forward: &[],
        payload: saying.payload,
        qos: saying.qos,
        retain: false,
        is_awaited,
        expiry_s: None,
        at: now,
        publisher: None,
        origin: 0,
        stored: OnceCell::new(),
        verbatim: None,
    }
}
