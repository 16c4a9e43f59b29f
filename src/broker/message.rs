//! One application message: borrowed while it travels, stored when it must outlive the turn.
//!
//! Why two forms: most messages are read in place, copied into some out buffers and forgotten; only those that wait
//! (queued, inflight, retained) are worth an allocation, and then one for all their receivers.
//!
//! Invariants:
//! - `topic` is a valid topic name.
//! - `forward` is what travels unchanged, in 5.0 wire form; it holds no alias, no expiry and no subscription identifier.

use std::cell::OnceCell;
use std::sync::Arc;

use mqtt::QoS;
use stdx::{Instant, Span, widen};

use crate::session::SessionKey;

/// A message on its way through one core.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// UTF-8, as bytes, because the warm path only hashes and copies it.
    pub topic: &'a [u8],
    pub forward: &'a [u8],
    pub payload: &'a [u8],
    pub qos: QoS,
    /// RETAIN as published.
    pub retain: bool,
    /// Whether its publisher waits until it is kept on disk where it must be.
    pub is_awaited: bool,
    /// The Message Expiry Interval as published, in seconds.
    pub expiry_s: Option<u32>,
    /// When it was published; its expiry counts from here.
    pub at: Instant,
    /// The session that published it, if it did so on this core; no-local compares it.
    pub publisher: Option<SessionKey>,
    /// The stable hash of the publisher's client id, 0 for the broker itself; for no-local on retained messages.
    pub origin: u64,
    /// The stored form, made when the first receiver needs it.
    pub stored: OnceCell<Arc<StoredMessage>>,
    /// The packet that brought it, if it can be sent on as it is.
    pub verbatim: Option<Verbatim<'a>>,
}

/// A received PUBLISH of QoS 0 without RETAIN, alias and expiry: byte for byte what a receiver of the same wire form gets
/// of it, if it is granted no subscription identifier and no alias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verbatim<'a> {
    pub packet: &'a [u8],
    pub is_v5: bool,
}

/// The parts of a [`StoredMessage`], for whoever reads one back from disk.
#[derive(Clone, Copy, Debug)]
pub struct StoredParts<'a> {
    /// A valid topic name.
    pub topic: &'a str,
    /// As [`StoredMessage::forward`].
    pub forward: &'a [u8],
    /// The application message.
    pub payload: &'a [u8],
    /// QoS as published.
    pub qos: QoS,
    /// RETAIN as published.
    pub retain: bool,
    /// When it expires; `Instant::NEVER` if it does not.
    pub expires_at: Instant,
    /// As [`StoredMessage::origin`].
    pub origin: u64,
}

/// A message that outlives its turn. Shared by all who keep it, also across cores.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredMessage {
    bytes: Box<[u8]>,
    topic_len: u32,
    forward_len: u32,
    qos: u8,
    retain: bool,
    expires_at: Instant,
    origin: u64,
}

impl Message<'_> {
    /// The topic as text, for those who are off the warm path.
    pub fn topic_text(&self) -> &str {
        std::str::from_utf8(self.topic).expect("a topic name is UTF-8")
    }

    /// Takes the time since its publication off its expiry interval; false if nothing is left.
    pub fn grow_older(&mut self, now: Instant) -> bool {
        let ends_at = expires_at(self.at, self.expiry_s);
        if ends_at == Instant::NEVER {
            return true;
        }
        let left_s = ends_at.since(now).ns().div_ceil(1_000_000_000);
        self.expiry_s = Some(u32::try_from(left_s).unwrap_or(u32::MAX));
        // Rounding up the interval must not move the end.
        self.at = ends_at - Span::from_s(left_s);
        left_s > 0
    }

    /// The stored form without what it says, for whoever only counts that it was sent.
    pub fn stored_head(&self) -> Arc<StoredMessage> {
        let parts = StoredParts {
            topic: self.topic_text(),
            forward: self.forward,
            payload: &[],
            qos: self.qos,
            retain: self.retain,
            expires_at: expires_at(self.at, self.expiry_s),
            origin: self.origin,
        };
        Arc::new(StoredMessage::of(&parts))
    }

    /// The stored form; one allocation for all receivers.
    pub fn stored(&self) -> &Arc<StoredMessage> {
        self.stored.get_or_init(|| Arc::new(StoredMessage::new(self)))
    }
}

impl StoredMessage {
    fn new(message: &Message<'_>) -> Self {
        let parts = [message.topic, message.forward, message.payload];
        Self {
            bytes: parts.concat().into_boxed_slice(),
            topic_len: u32::try_from(message.topic.len()).expect("a topic has at most 65,535 bytes"),
            forward_len: u32::try_from(message.forward.len()).expect("a packet has at most 256 MiB"),
            qos: message.qos.bits(),
            retain: message.retain,
            expires_at: expires_at(message.at, message.expiry_s),
            origin: message.origin,
        }
    }

    /// The message with these parts. Its topic must have at most 65,535 bytes.
    #[must_use]
    pub fn of(parts: &StoredParts<'_>) -> Self {
        let bytes = [parts.topic.as_bytes(), parts.forward, parts.payload];
        Self {
            bytes: bytes.concat().into_boxed_slice(),
            topic_len: u32::try_from(parts.topic.len()).expect("a topic has at most 65,535 bytes"),
            forward_len: u32::try_from(parts.forward.len()).expect("a packet has at most 256 MiB"),
            qos: parts.qos.bits(),
            retain: parts.retain,
            expires_at: parts.expires_at,
            origin: parts.origin,
        }
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.bytes[..widen(self.topic_len)]).expect("a topic name is UTF-8")
    }

    /// The topic name as bytes, without the check.
    #[must_use]
    pub fn topic_bytes(&self) -> &[u8] {
        &self.bytes[..widen(self.topic_len)]
    }

    /// The properties that travel unchanged, in 5.0 wire form.
    #[must_use]
    pub fn forward(&self) -> &[u8] {
        let start = widen(self.topic_len);
        &self.bytes[start..start + widen(self.forward_len)]
    }

    /// The application message.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[widen(self.topic_len) + widen(self.forward_len)..]
    }

    /// QoS as published.
    #[must_use]
    pub fn qos(&self) -> QoS {
        QoS::from_bits(self.qos).expect("it was stored from a QoS")
    }

    /// RETAIN as published.
    #[must_use]
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// When it expires; `Instant::NEVER` if it does not.
    #[must_use]
    pub fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// The stable hash of the publisher's client id; 0 for the broker itself.
    #[must_use]
    pub fn origin(&self) -> u64 {
        self.origin
    }

    /// Whether it has expired.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at <= now
    }

    /// What is left of its expiry interval in whole seconds, rounded up and at least one, or nothing if it has none.
    /// Source: [MQTT-3.3.2-6].
    #[must_use]
    pub fn expiry_left_s(&self, now: Instant) -> Option<u32> {
        (self.expires_at != Instant::NEVER).then(|| {
            let left_ns = self.expires_at.since(now).ns().div_ceil(1_000_000_000);
            u32::try_from(left_ns).unwrap_or(u32::MAX).max(1)
        })
    }

    /// What it costs in memory, for byte limits.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    /// The message as it travels, without a publisher.
    pub(crate) fn message(self: &Arc<Self>, now: Instant) -> Message<'_> {
        Message {
            topic: self.topic_bytes(),
            forward: self.forward(),
            payload: self.payload(),
            qos: self.qos(),
            retain: self.retain,
            is_awaited: false,
            expiry_s: self.expiry_left_s(now),
            at: now,
            publisher: None,
            origin: self.origin,
            stored: OnceCell::from(Arc::clone(self)),
            verbatim: None,
        }
    }
}

/// When a message published at `at` expires.
fn expires_at(at: Instant, expiry_s: Option<u32>) -> Instant {
    expiry_s.map_or(Instant::NEVER, |s| at + Span::from_s(u64::from(s)))
}

impl crate::retained::Retainable for Arc<StoredMessage> {
    fn topic_bytes(&self) -> &[u8] {
        StoredMessage::topic_bytes(self)
    }

    fn cost_bytes(&self) -> usize {
        StoredMessage::cost_bytes(self)
    }

    fn owner(&self) -> u64 {
        self.origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(expiry_s: Option<u32>) -> Message<'static> {
        Message {
            topic: b"a/b",
            forward: &[1, 1],
            payload: b"xyz",
            qos: QoS::AtLeastOnce,
            retain: true,
            is_awaited: false,
            expiry_s,
            at: Instant::from_ns(5),
            publisher: None,
            origin: 0,
            stored: OnceCell::new(),
            verbatim: None,
        }
    }

    #[test]
    fn a_stored_message_gives_back_its_parts() {
        let message = message(None);
        let stored = message.stored();
        assert_eq!((stored.topic(), stored.forward(), stored.payload()), ("a/b", &[1u8, 1][..], &b"xyz"[..]));
        assert_eq!((stored.qos(), stored.retain()), (QoS::AtLeastOnce, true));
        assert!(!stored.is_expired(Instant::from_ns(u64::MAX - 1)));
        assert_eq!(stored.expiry_left_s(Instant::START), None);
    }

    #[test]
    fn what_is_left_of_an_expiry_is_rounded_up_and_never_zero() {
        let message = message(Some(10));
        let stored = message.stored();
        let after = |ms| Instant::from_ns(5) + Span::from_ms(ms);
        assert_eq!(stored.expiry_left_s(after(0)), Some(10));
        assert_eq!(stored.expiry_left_s(after(4_200)), Some(6));
        assert_eq!(stored.expiry_left_s(after(9_999)), Some(1));
        assert!(!stored.is_expired(after(9_999)) && stored.is_expired(after(10_000)));
    }
}
