//! Records: what stands under which key. The layout is docs/STORE.md.
//!
//! Why a number per session: client ids may be long and a queue has many records, so keys carry eight bytes instead. A
//! number is never given twice; so what an ended session left behind can be removed later, at leisure.
//!
//! Invariants:
//! - Keys of one kind sort as their numbers do; queued messages of a session lie together in the order of their places.
//! - Every value begins with the version of its layout.

use std::ops::Range;
use std::sync::Arc;

use broker::{
    CORES_MAX, CoreId, CoreSet, MessageCopy, RetainedVersion, SessionOwner, Shipped, StoredMessage,
    StoredParts, SubscriptionTerms, WillState,
};
use mqtt::{PacketId, QoS};
use stdx::Instant;
use xxhash_rust::xxh3::xxh3_128;

use crate::anchor::Anchor;
use crate::codec::{Garbled, Input, Output};
use crate::devices::{is_device_key, rewrite_device};

/// The version of all values written today, but those of sessions with an owner.
const VERSION: u8 = 1;
/// The version of sessions with an owner.
const VERSION_OWNED: u8 = 2;

/// Longer names are cut here in keys and told apart by a hash: a key may have at most 65,535 bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64_000;

/// Names one record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    Handled(u16, u16),
    Inflight(u64, u16),
    Message(u64, u64),
    Received(u64, u16),
    Session(u64),
    Retained(Box<str>),
    Subscription(u64, Box<str>),
}

const HANDLED: u8 = b'h';
const INFLIGHT: u8 = b'i';
const MESSAGE: u8 = b'm';
const RECEIVED: u8 = b'r';
const SESSION: u8 = b's';
const RETAINED: u8 = b't';
const SUBSCRIPTION: u8 = b'u';

/// All kinds beside those of devices, in the order in which they are copied: whose record it is comes first.
pub(crate) const KINDS: [u8; 7] = [SESSION, SUBSCRIPTION, RECEIVED, INFLIGHT, MESSAGE, RETAINED, HANDLED];

/// The kinds of records that belong to a session beside the session itself.
pub(crate) const BELONGINGS: [u8; 4] = [INFLIGHT, MESSAGE, RECEIVED, SUBSCRIPTION];

/// What a record says.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Handled {
        turn: u64,
    },
    /// Sent and not settled. Without a copy, it is the queued message of the same place.
    Inflight {
        seq: u64,
        is_released: bool,
        copy: Option<MessageCopy>,
    },
    Message(MessageCopy),
    Received {
        shipped: Vec<Shipped>,
    },
    Session(SessionRecord),
    Retained {
        message: Arc<StoredMessage>,
        version: RetainedVersion,
    },
    Subscription {
        filter: Box<str>,
        terms: SubscriptionTerms,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct SessionRecord {
    pub client_id: Arc<str>,
    pub expiry_s: u32,
    pub ends_at: Instant,
    pub is_connected: bool,
    pub will: Option<WillState>,
    pub owner: Option<SessionOwner>,
}

impl Key {
    /// Writes the key over what `key` holds.
    pub fn encode(&self, key: &mut Vec<u8>) {
        key.clear();
        match self {
            Self::Handled(core, from) => {
                key.push(HANDLED);
                key.extend_from_slice(&core.to_be_bytes());
                key.extend_from_slice(&from.to_be_bytes());
            }
            Self::Inflight(number, id) => push_id(key, INFLIGHT, *number, *id),
            Self::Received(number, id) => push_id(key, RECEIVED, *number, *id),
            Self::Message(number, seq) => {
                push_number(key, MESSAGE, *number);
                key.extend_from_slice(&seq.to_be_bytes());
            }
            Self::Session(number) => push_number(key, SESSION, *number),
            Self::Retained(topic) => {
                key.push(RETAINED);
                push_name(key, topic);
            }
            Self::Subscription(number, filter) => {
                push_number(key, SUBSCRIPTION, *number);
                push_name(key, filter);
            }
        }
    }
}

fn push_number(key: &mut Vec<u8>, kind: u8, number: u64) {
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
}

fn push_id(key: &mut Vec<u8>, kind: u8, number: u64, id: u16) {
    push_number(key, kind, number);
    key.extend_from_slice(&id.to_be_bytes());
}

pub(crate) fn push_name(key: &mut Vec<u8>, name: &str) {
    match name.as_bytes().split_at_checked(NAME_BYTES_MAX) {
        None => key.extend_from_slice(name.as_bytes()),
        Some((start, _rest)) => {
            key.extend_from_slice(start);
            key.extend_from_slice(&xxh3_128(name.as_bytes()).to_be_bytes());
        }
    }
}

/// All keys of one kind.
pub(crate) fn range_of(kind: u8) -> Range<Vec<u8>> {
    vec![kind]..vec![kind + 1]
}

/// All keys of one kind of one session.
pub(crate) fn range_of_session(kind: u8, number: u64) -> Range<Vec<u8>> {
    let (mut start, mut end) = (Vec::new(), Vec::new());
    push_number(&mut start, kind, number);
    match number.checked_add(1) {
        Some(next) => push_number(&mut end, kind, next),
        None => end.push(kind + 1),
    }
    start..end
}

/// The messages of a session from a place on.
pub(crate) fn range_of_messages(number: u64, from_seq: u64) -> Range<Vec<u8>> {
    let mut start = Vec::new();
    Key::Message(number, from_seq).encode(&mut start);
    start..range_of_session(MESSAGE, number).end
}

/// Whose record this is; nothing for records that belong to nobody.
pub(crate) fn number_of(key: &[u8]) -> Option<u64> {
    let (kind, rest) = key.split_first()?;
    let is_owned = *kind == SESSION || BELONGINGS.contains(kind);
    is_owned.then_some(())?;
    Some(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?))
}

/// The place in the key of a queued message.
pub(crate) fn seq_of(key: &[u8]) -> Result<u64, Garbled> {
    let seq =
        key.get(9..).and_then(|seq| seq.try_into().ok()).ok_or(Garbled("a message's key has no place"))?;
    Ok(u64::from_be_bytes(seq))
}

/// The packet id in the key of an inflight or received message.
pub(crate) fn packet_id_of(key: &[u8]) -> Result<PacketId, Garbled> {
    let id = key.get(9..).and_then(|id| id.try_into().ok()).map(u16::from_be_bytes);
    id.and_then(PacketId::new).ok_or(Garbled("a key has no packet id"))
}

/// The two cores in the key of what was handled.
pub(crate) fn cores_of(key: &[u8]) -> Result<(CoreId, CoreId), Garbled> {
    let mut input = Input(key.get(1..).unwrap_or_default());
    let mut core = || {
        let core = u16::from_be_bytes(input.take(2)?.try_into().expect("two bytes"));
        core_of(core)
    };
    let cores = (core()?, core()?);
    input.end()?;
    Ok(cores)
}

fn core_of(index: u16) -> Result<CoreId, Garbled> {
    if index < CORES_MAX { Ok(CoreId::new(index)) } else { Err(Garbled("a core's number is too high")) }
}

impl Record {
    fn version(&self) -> u8 {
        match self {
            Self::Session(session) if session.owner.is_some() => VERSION_OWNED,
            _as_ever => VERSION,
        }
    }

    /// Appends the value.
    pub fn encode(&self, anchor: Anchor, out: &mut Vec<u8>) {
        out.push(self.version());
        match self {
            Self::Handled { turn } => out.push_u64(*turn),
            Self::Inflight { seq, is_released, copy } => {
                out.push_u64(*seq);
                out.push(u8::from(*is_released) | u8::from(copy.is_some()) << 1);
                if let Some(copy) = copy {
                    encode_copy(copy, anchor, out);
                }
            }
            Self::Message(copy) => encode_copy(copy, anchor, out),
            Self::Received { shipped } => shipped.iter().for_each(|step| encode_shipped(step, out)),
            Self::Session(session) => session.encode(anchor, out),
            Self::Retained { message, version } => {
                out.push_u64(version.counter);
                out.push_u16(version.core);
                encode_message(message, anchor, out);
            }
            Self::Subscription { filter, terms } => {
                out.push(
                    terms.qos.bits() | u8::from(terms.no_local) << 2 | u8::from(terms.keeps_retain) << 3,
                );
                out.push_u32(terms.id);
                out.extend_from_slice(filter.as_bytes());
            }
        }
    }

    /// Reads the value that stands under `key`.
    pub fn decode(key: &[u8], value: &[u8], anchor: Anchor) -> Result<Self, Garbled> {
        let is_owned = key.first() == Some(&SESSION) && value.first() == Some(&VERSION_OWNED);
        let mut input = if is_owned { Input(&value[1..]) } else { versioned(value)? };
        let record = match key.first() {
            Some(&HANDLED) => Self::Handled { turn: input.u64()? },
            Some(&INFLIGHT) => decode_inflight(&mut input, anchor)?,
            Some(&MESSAGE) => Self::Message(decode_copy(&mut input, anchor)?),
            Some(&RECEIVED) => {
                let mut shipped = Vec::new();
                while input.end().is_err() {
                    shipped.push(decode_shipped(&mut input)?);
                }
                Self::Received { shipped }
            }
            Some(&SESSION) => Self::Session(SessionRecord::decode(&mut input, is_owned, anchor)?),
            Some(&RETAINED) => {
                let version = RetainedVersion { counter: input.u64()?, core: input.u16()? };
                Self::Retained { message: Arc::new(decode_message(&mut input, anchor)?), version }
            }
            Some(&SUBSCRIPTION) => decode_subscription(&mut input)?,
            _unknown => return Err(Garbled("a key of no known kind")),
        };
        input.end()?;
        Ok(record)
    }
}

fn versioned(value: &[u8]) -> Result<Input<'_>, Garbled> {
    let mut input = Input(value);
    if input.u8()? != VERSION {
        return Err(Garbled("a record of another version"));
    }
    Ok(input)
}

fn decode_inflight(input: &mut Input<'_>, anchor: Anchor) -> Result<Record, Garbled> {
    let seq = input.u64()?;
    let flags = input.u8()?;
    if flags > 3 {
        return Err(Garbled("a message in flight has unknown flags"));
    }
    let copy = if flags & 2 == 0 { None } else { Some(decode_copy(input, anchor)?) };
    Ok(Record::Inflight { seq, is_released: flags & 1 != 0, copy })
}

fn decode_subscription(input: &mut Input<'_>) -> Result<Record, Garbled> {
    let flags = input.u8()?;
    let (no_local, keeps_retain) = (flags & 4 != 0, flags & 8 != 0);
    if flags > 15 {
        return Err(Garbled("a subscription has unknown flags"));
    }
    let terms = SubscriptionTerms { qos: qos_of(flags & 3)?, no_local, keeps_retain, id: input.u32()? };
    let filter = std::str::from_utf8(input.rest()).map_err(|_| Garbled("a filter is not UTF-8"))?;
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) {
        return Err(Garbled("a filter is empty or too long"));
    }
    Ok(Record::Subscription { filter: filter.into(), terms })
}

fn qos_of(bits: u8) -> Result<QoS, Garbled> {
    QoS::from_bits(bits).ok_or(Garbled("a QoS of 3"))
}

fn encode_shipped(step: &Shipped, out: &mut Vec<u8>) {
    out.push_u16(step.core.get());
    out.push_u64(step.turn);
    out.push_u16(step.cores);
    out.extend_from_slice(&step.to.bits().to_le_bytes());
}

fn decode_shipped(input: &mut Input<'_>) -> Result<Shipped, Garbled> {
    let core = core_of(input.u16()?)?;
    let (turn, cores) = (input.u64()?, input.u16()?);
    if cores > CORES_MAX {
        return Err(Garbled("too many cores"));
    }
    Ok(Shipped { core, turn, cores, to: CoreSet::from_bits(input.u128()?) })
}

impl SessionRecord {
    fn encode(&self, anchor: Anchor, out: &mut Vec<u8>) {
        out.push_u32(self.expiry_s);
        out.push_u64(anchor.wall_ms(self.ends_at));
        out.push(u8::from(self.is_connected) | u8::from(self.will.is_some()) << 1);
        out.push_bytes(self.client_id.as_bytes());
        if let Some(owner) = &self.owner {
            encode_owner(owner, out);
        }
        if let Some(will) = &self.will {
            out.push(u8::from(will.expiry_s.is_some()));
            out.push_u32(will.expiry_s.unwrap_or(0));
            out.push_u32(will.delay_s);
            out.push_u64(anchor.wall_ms(will.due_at));
            encode_message(&will.message, anchor, out);
        }
    }

    fn decode(input: &mut Input<'_>, is_owned: bool, anchor: Anchor) -> Result<Self, Garbled> {
        let expiry_s = input.u32()?;
        let ends_at = anchor.instant(input.u64()?);
        let flags = input.u8()?;
        if flags > 3 {
            return Err(Garbled("a session has unknown flags"));
        }
        let client_id = input.text()?;
        if client_id.len() > usize::from(u16::MAX) {
            return Err(Garbled("a client id is too long"));
        }
        let owner = if is_owned { Some(decode_owner(input)?) } else { None };
        let will = if flags & 2 == 0 { None } else { Some(decode_will(input, anchor)?) };
        let (client_id, is_connected) = (client_id.into(), flags & 1 != 0);
        Ok(Self { client_id, expiry_s, ends_at, is_connected, will, owner })
    }
}

fn encode_owner(owner: &SessionOwner, out: &mut Vec<u8>) {
    out.push(u8::from(owner.listener.is_some()) | u8::from(owner.user.is_some()) << 1);
    let names = [owner.listener.as_deref(), owner.user.as_deref()];
    names.into_iter().flatten().for_each(|name| out.push_bytes(name.as_bytes()));
}

fn decode_owner(input: &mut Input<'_>) -> Result<SessionOwner, Garbled> {
    let flags = input.u8()?;
    if flags > 3 {
        return Err(Garbled("an owner has unknown flags"));
    }
    let listener = if flags & 1 == 0 { None } else { Some(input.text()?.into()) };
    let user = if flags & 2 == 0 { None } else { Some(input.text()?.into()) };
    Ok(SessionOwner { listener, user })
}

fn decode_will(input: &mut Input<'_>, anchor: Anchor) -> Result<WillState, Garbled> {
    let expires = match input.u8()? {
        0 => false,
        1 => true,
        _unknown => return Err(Garbled("a will has unknown flags")),
    };
    let expiry_s = input.u32()?;
    let expiry_s = expires.then_some(expiry_s);
    let (delay_s, due_at) = (input.u32()?, anchor.instant(input.u64()?));
    Ok(WillState { message: Arc::new(decode_message(input, anchor)?), expiry_s, delay_s, due_at })
}

fn encode_copy(copy: &MessageCopy, anchor: Anchor, out: &mut Vec<u8>) {
    out.push(copy.qos.bits() | u8::from(copy.retain) << 2 | u8::from(copy.ids.is_some()) << 3);
    if let Some(ids) = &copy.ids {
        out.push_u32(stdx::narrow(ids.len()));
        ids.iter().for_each(|id| out.push_u32(*id));
    }
    encode_message(&copy.message, anchor, out);
}

fn decode_copy(input: &mut Input<'_>, anchor: Anchor) -> Result<MessageCopy, Garbled> {
    let (flags, ids) = decode_grant(input)?;
    let (qos, retain) = (qos_of(flags & 3)?, flags & 4 != 0);
    Ok(MessageCopy { message: Arc::new(decode_message(input, anchor)?), qos, retain, ids })
}

type Grant = (u8, Option<Arc<[u32]>>);

/// Flags and Subscription Identifiers of a copy.
fn decode_grant(input: &mut Input<'_>) -> Result<Grant, Garbled> {
    let flags = input.u8()?;
    if flags > 15 {
        return Err(Garbled("a message has unknown flags"));
    }
    if flags & 8 == 0 {
        return Ok((flags, None));
    }
    let count = stdx::widen(input.u32()?);
    let mut bytes = Input(input.take(count.saturating_mul(4))?);
    let ids: Result<Arc<[u32]>, Garbled> = (0..count).map(|_| bytes.u32()).collect();
    Ok((flags, Some(ids?)))
}

const MESSAGE_HEAD_BYTES: usize = 1 + 8 + 8 + 2 + 4;

fn encode_message(message: &StoredMessage, anchor: Anchor, out: &mut Vec<u8>) {
    let (topic, forward, payload) = (message.topic_bytes(), message.forward(), message.payload());
    out.reserve(MESSAGE_HEAD_BYTES + topic.len() + forward.len() + payload.len());
    out.push(message.qos().bits() | u8::from(message.retain()) << 2);
    out.push_u64(anchor.wall_ms(message.expires_at()));
    out.push_u64(message.origin());
    out.push_u16(u16::try_from(topic.len()).expect("a topic has at most 65,535 bytes"));
    out.push_u32(u32::try_from(forward.len()).expect("a packet has at most 256 MiB"));
    out.extend_from_slice(topic);
    out.extend_from_slice(forward);
    out.extend_from_slice(payload);
}

fn decode_message(input: &mut Input<'_>, anchor: Anchor) -> Result<StoredMessage, Garbled> {
    let flags = input.u8()?;
    if flags > 7 {
        return Err(Garbled("a message has unknown flags"));
    }
    let expires_at = anchor.instant(input.u64()?);
    let origin = input.u64()?;
    let (topic_len, forward_len) = (input.u16()?, input.u32()?);
    let topic = std::str::from_utf8(input.take(usize::from(topic_len))?);
    let topic = topic.map_err(|_| Garbled("a topic is not UTF-8"))?;
    let forward = input.take(stdx::widen(forward_len))?;
    let payload = input.rest();
    let (qos, retain) = (qos_of(flags & 3)?, flags & 4 != 0);
    Ok(StoredMessage::of(&StoredParts { topic, forward, payload, qos, retain, expires_at, origin }))
}

/// What a queued message would cost in memory, as [`StoredMessage::cost_bytes`] counts, without reading it whole.
pub(crate) fn cost_of_message(value: &[u8]) -> Result<u64, Garbled> {
    let mut input = versioned(value)?;
    decode_grant(&mut input)?;
    let head = input.0.len().checked_sub(MESSAGE_HEAD_BYTES).ok_or(Garbled("a record is too short"))?;
    Ok((head + size_of::<StoredMessage>()) as u64)
}

/// Reads a key and a value as recovery would and writes the value anew; nothing if they are no record. For fuzzing.
#[must_use]
pub fn rewrite_record(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if is_device_key(key) {
        return rewrite_device(key, value);
    }
    let anchor = Anchor { at: Instant::START, wall: stdx::WallMs(0) };
    let mut out = Vec::new();
    judge(key, value, anchor).ok()?.encode(anchor, &mut out);
    Some(out)
}

/// Reads any key and value as a record, as recovery would.
pub(crate) fn judge(key: &[u8], value: &[u8], anchor: Anchor) -> Result<Record, Garbled> {
    let record = Record::decode(key, value, anchor)?;
    match &record {
        Record::Handled { .. } => drop(cores_of(key)?),
        Record::Inflight { .. } | Record::Received { .. } => drop(packet_id_of(key)?),
        Record::Message(_) => drop(seq_of(key)?),
        Record::Session(_) if key.len() != 9 => return Err(Garbled("a session's key has another length")),
        Record::Session(_) => {}
        Record::Retained { message, .. } => {
            let mut expected = Vec::new();
            Key::Retained(message.topic().into()).encode(&mut expected);
            if expected != key {
                return Err(Garbled("a retained message stands under another topic"));
            }
        }
        Record::Subscription { filter, .. } => {
            let number = number_of(key).ok_or(Garbled("a subscription belongs to nobody"))?;
            let mut expected = Vec::new();
            Key::Subscription(number, filter.clone()).encode(&mut expected);
            if expected != key {
                return Err(Garbled("a subscription stands under another filter"));
            }
        }
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHOR: Anchor = Anchor { at: Instant::START, wall: stdx::WallMs(0) };

    fn session(value: &[u8]) -> Result<SessionRecord, Garbled> {
        let mut key = Vec::new();
        Key::Session(1).encode(&mut key);
        match judge(&key, value, ANCHOR)? {
            Record::Session(session) => Ok(session),
            _other_kinds_have_other_keys => unreachable!("the key is that of a session"),
        }
    }

    #[test]
    fn a_session_without_an_owner_is_read_and_written_as_ever() {
        let old = b"\x01\x3c\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x01\x05\0\0\0meter";
        let read = session(old).unwrap();
        assert_eq!(
            (&*read.client_id, read.expiry_s, read.is_connected, read.owner.is_none()),
            ("meter", 60, true, true)
        );
        let mut written = Vec::new();
        Record::Session(read).encode(ANCHOR, &mut written);
        assert_eq!(written, old);
    }

    #[test]
    fn the_owner_of_a_session_is_read_back_and_has_a_version_of_its_own() {
        let value =
            b"\x02\x3c\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01\0\0\0a\x03\x04\0\0\0here\x03\0\0\0ann";
        let read = session(value).unwrap();
        let owner = SessionOwner { listener: Some("here".into()), user: Some("ann".into()) };
        assert_eq!(read.owner, Some(owner));
        let mut written = Vec::new();
        Record::Session(read).encode(ANCHOR, &mut written);
        assert_eq!(written, value);
        for len in 0..value.len() {
            assert!(session(&value[..len]).is_err(), "cut at {len}");
        }
        let mut strange = value.to_vec();
        strange[19] = 4;
        assert!(session(&strange).is_err() && session(b"\x03").is_err());
    }
}
