//! The link of a connected session: what belongs to one connection and ends with it.
//!
//! Why the out buffer lives here: a delivery is then one write into the receiver's own memory, and whoever drives the
//! shard swaps the buffer out once per turn.
//!
//! Invariants:
//! - Topic aliases of either direction live exactly as long as the link. Source: [MQTT-3.3.2-7].
//! - `taken` counts bytes handed to the driver and not yet accepted by the socket.

use ahash::RandomState;
use hashbrown::HashMap;
use mqtt::Version;
use stdx::{Instant, Span};

use crate::gate::Marks;

/// The name that the shard gives to a connection; opaque here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinkId(pub u64);

#[derive(Debug)]
pub(crate) struct Link {
    pub id: LinkId,
    pub out: Vec<u8>,
    pub taken: u32,
    pub is_dirty: bool,
    pub version: Version,
    /// Bytes of `out` that wait for the store.
    pub marks: Option<Box<Marks>>,
    /// Whether acknowledgements to this client wait for the store at all.
    pub is_gated: bool,
    /// Why its packets wait, if they do.
    pub hold: Hold,
    pub packet_bytes_max: u32,
    /// Open QoS 1 and 2 messages that this client allows.
    pub window_max: u16,
    /// QoS 2 ids that the client has opened on this connection. Source: [MQTT-3.3.4-7].
    pub inbound_open: u16,
    pub silence_max: Silence,
    pub last_seen: Instant,
    /// The route of the last message, to be tried first.
    pub route_near: u32,
    /// What the stamp of routes said when the client was allowed to publish to that topic; 0 if it was not.
    pub admitted_at: u32,
    /// Bytes of the last message that alone was more than may be unsent; there was room when it was written.
    pub large_bytes: u32,
    pub aliases_in: Vec<Option<Box<[u8]>>>,
    pub aliases_out: Option<Box<AliasesOut>>,
}

/// Silence longer than this closes a link: milliseconds, zero is never. The highest bit says that it is what the listener allows,
/// and less than the client's keep alive does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Silence(u32);

impl Silence {
    const OURS: u32 = 1 << 31;

    /// At most this long, and 24 days.
    pub fn new(max: Span, is_ours: bool) -> Self {
        let ms = u32::try_from(max.ms()).unwrap_or(u32::MAX).min(Self::OURS - 1);
        Self(if is_ours { ms | Self::OURS } else { ms })
    }

    pub fn max(self) -> Span {
        Span::from_ms(u64::from(self.0 & !Self::OURS))
    }

    pub fn is_ours(self) -> bool {
        self.0 & Self::OURS != 0
    }
}

/// Why packets of a connection wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    /// They do not.
    None,
    /// A SUBSCRIBE waits for the other cores; packets behind it wait with it.
    Subscribe,
    /// The client has published more than it may.
    Quota,
}

/// Topic aliases that we set towards the client.
#[derive(Debug)]
pub(crate) struct AliasesOut {
    max: u16,
    by_topic: HashMap<Box<[u8]>, u16, RandomState>,
}

/// Longer topics get no alias, which bounds the memory of the table.
const ALIAS_TOPIC_BYTES_MAX: usize = 1_024;

/// How to write a topic towards a client with aliases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AliasUse {
    /// No alias: the topic in full.
    None,
    /// First use: topic and alias.
    Set(u16),
    /// Known: the alias alone.
    Known(u16),
}

impl Link {
    /// The socket took `count` bytes. A large message that has left speaks for none behind it.
    pub fn sent(&mut self, count: usize) {
        self.taken = self.taken.saturating_sub(stdx::narrow(count));
        if self.large_bytes > 0 && self.backlog() == 0 {
            self.large_bytes = 0;
        }
    }

    /// Bytes that the socket has not taken yet.
    #[inline]
    pub fn backlog(&self) -> usize {
        self.out.len() + stdx::widen(self.taken)
    }

    /// Whether there are bytes that may leave while everything up to the turn `safe` is safe.
    #[inline]
    pub fn has_open(&mut self, safe: u64) -> bool {
        self.marks.is_none() || self.open_bytes(safe) > 0
    }

    /// How many bytes of `out` may leave.
    fn open_bytes(&mut self, safe: u64) -> usize {
        let closed = self.marks.as_mut().and_then(|marks| marks.open(safe));
        closed.unwrap_or(self.out.len())
    }

    /// Takes the bytes that may leave. Only if others must stay, `spare`, an empty buffer, is used for those that go.
    #[inline]
    pub fn take_open(&mut self, safe: u64, spare: &mut Vec<u8>) -> Vec<u8> {
        if self.marks.is_some() {
            return self.take_marked(safe, spare);
        }
        std::mem::take(&mut self.out)
    }

    fn take_marked(&mut self, safe: u64, spare: &mut Vec<u8>) -> Vec<u8> {
        let count = self.open_bytes(safe);
        if count == self.out.len() {
            return std::mem::take(&mut self.out);
        }
        spare.extend_from_slice(&self.out[..count]);
        self.out.drain(..count);
        self.marks.iter_mut().for_each(|marks| marks.shift(count));
        std::mem::take(spare)
    }

    /// Forgets the bytes that may not leave yet. Returns whether CONNACK may leave, or has left.
    pub fn cut_closed(&mut self, safe: u64) -> bool {
        let count = self.open_bytes(safe);
        self.out.truncate(count);
        self.marks.as_ref().is_none_or(|marks| marks.greeted() <= safe)
    }
}

impl AliasesOut {
    /// A table for `max` aliases, or none if the client or we allow none.
    pub fn new(max: u16, hasher: RandomState) -> Option<Box<Self>> {
        (max > 0).then(|| Box::new(Self { max, by_topic: HashMap::with_hasher(hasher) }))
    }

    /// How to write `topic`; the mapping counts as set only once [`AliasesOut::set`] says that it was written.
    pub fn use_for(&self, topic: &[u8]) -> AliasUse {
        if let Some(alias) = self.by_topic.get(topic) {
            return AliasUse::Known(*alias);
        }
        let next = self.by_topic.len() + 1;
        match u16::try_from(next) {
            Ok(next) if next <= self.max && topic.len() <= ALIAS_TOPIC_BYTES_MAX => AliasUse::Set(next),
            Ok(_) | Err(_) => AliasUse::None,
        }
    }

    /// The packet that sets `alias` was written.
    pub fn set(&mut self, topic: &[u8], alias: u16) {
        self.by_topic.insert(topic.into(), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_counts_as_set_only_when_it_was_written() {
        let mut aliases = AliasesOut::new(1, RandomState::with_seeds(1, 2, 3, 4)).unwrap();
        assert_eq!(aliases.use_for(b"a"), AliasUse::Set(1));
        assert_eq!(aliases.use_for(b"a"), AliasUse::Set(1));
        aliases.set(b"a", 1);
        assert_eq!(aliases.use_for(b"a"), AliasUse::Known(1));
        assert_eq!(aliases.use_for(b"b"), AliasUse::None);
        assert!(AliasesOut::new(0, RandomState::with_seeds(1, 2, 3, 4)).is_none());
    }

    #[test]
    fn a_large_message_that_has_left_speaks_for_none_behind_it() {
        let mut link = Link {
            id: LinkId(1),
            out: Vec::new(),
            taken: 3 << 20,
            is_dirty: false,
            version: Version::V5,
            marks: None,
            is_gated: false,
            hold: Hold::None,
            packet_bytes_max: 0,
            window_max: 1,
            inbound_open: 0,
            silence_max: Silence::new(Span::ZERO, false),
            last_seen: Instant::NEVER,
            route_near: 0,
            admitted_at: 0,
            large_bytes: 2 << 20,
            aliases_in: Vec::new(),
            aliases_out: None,
        };
        link.sent(1 << 20);
        assert_eq!((link.backlog(), link.large_bytes), (2 << 20, 2 << 20), "it is on its way");
        link.sent(2 << 20);
        assert_eq!((link.backlog(), link.large_bytes), (0, 0));
    }
}
