//! What cores say to each other: parcels, in batches.
//!
//! Why batches with one arena: between two cores leaves at most one batch a turn, so a message costs a copy into the
//! arena and no allocation; the receiver reads it in place.
//!
//! Invariants:
//! - Parcels of one batch are handled in order, and batches between two cores arrive in order; interest that precedes a
//!   barrier is known before the barrier is answered.
//! - A message is sent once per core, never once per subscriber.

use std::cell::OnceCell;

use mqtt::QoS;
use stdx::{Instant, narrow, widen};

use crate::core_id::CoreId;
use crate::counters::Counters;
use crate::message::Message;
use crate::retained::RetainedVersion;

/// Parcels that wait for another core above which publishers are not read.
const PARCELS_HELD_MAX: usize = 65_536;
/// Bytes likewise.
const BYTES_HELD_MAX: usize = 33_554_432;

/// Everything one core has to tell another after a turn.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) parcels: Vec<Parcel>,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Parcel {
    /// A message; its bytes stand in the arena in the order of the parcels.
    Publish(PublishParcel),
    /// The sender wants, or wants no more, messages that match a filter.
    Interest { filter: Box<str>, wanted: bool },
    /// How many members of a shared group the sender has.
    Members { name: Box<str>, filter: Box<str>, online: u32, offline: u32 },
    /// Asks for a [`Parcel::BarrierAck`] with the same number.
    Barrier(u64),
    /// Everything up to the barrier has been handled.
    BarrierAck(u64),
    /// The sender's further writes of retained messages have counters above this one.
    WritesAbove(u64),
    /// The sender's counters, for `$SYS`.
    Counters(Box<Counters>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishParcel {
    topic_len: u32,
    forward_len: u32,
    payload_len: u32,
    qos: QoS,
    retain: bool,
    /// Whether the sender knew of subscribers there; without, the parcel only brings a retained message.
    pub deliver: bool,
    /// The group to deliver to, rather than to all subscribers: lengths of its name and filter in the arena.
    group: Option<(u32, u32)>,
    /// How often the parcel was handed on because a group's member had just left.
    pub hops: u8,
    expiry_s: Option<u32>,
    at: Instant,
    origin: u64,
    /// Set if the message is to be kept as retained (or, if empty, to clear one).
    pub store: Option<RetainedVersion>,
}

/// How a message goes to another core.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shipping<'a> {
    pub deliver: bool,
    pub store: Option<RetainedVersion>,
    pub group: Option<(&'a str, &'a str)>,
    pub hops: u8,
}

impl Batch {
    /// Parcels in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parcels.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    fn append(&mut self, mut later: Batch) {
        self.parcels.append(&mut later.parcels);
        self.bytes.extend_from_slice(&later.bytes);
    }

    pub(crate) fn publish(&mut self, message: &Message<'_>, shipping: Shipping<'_>) {
        let group = shipping.group.map(|(name, filter)| {
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(filter.as_bytes());
            (narrow(name.len()), narrow(filter.len()))
        });
        self.bytes.extend_from_slice(message.topic);
        self.bytes.extend_from_slice(message.forward);
        self.bytes.extend_from_slice(message.payload);
        self.parcels.push(Parcel::Publish(PublishParcel {
            topic_len: narrow(message.topic.len()),
            forward_len: narrow(message.forward.len()),
            payload_len: narrow(message.payload.len()),
            qos: message.qos,
            retain: message.retain,
            deliver: shipping.deliver,
            group,
            hops: shipping.hops,
            expiry_s: message.expiry_s,
            at: message.at,
            origin: message.origin,
            store: shipping.store,
        }));
    }
}

/// A message read from a batch, and the group it is meant for.
#[derive(Debug)]
pub(crate) struct Unpacked<'a> {
    pub message: Message<'a>,
    pub group: Option<(&'a str, &'a str)>,
}

impl PublishParcel {
    /// Reads the message from the front of `arena` and moves `arena` behind it.
    pub fn unpack<'a>(&self, arena: &mut &'a [u8]) -> Unpacked<'a> {
        let mut take = |len: u32| {
            let (part, rest) = arena.split_at(widen(len));
            *arena = rest;
            part
        };
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).expect("the sender packed a str");
        let group = self.group.map(|(name, filter)| (text(take(name)), text(take(filter))));
        let (topic, forward, payload) =
            (take(self.topic_len), take(self.forward_len), take(self.payload_len));
        let message = Message {
            topic,
            forward,
            payload,
            qos: self.qos,
            retain: self.retain,
            expiry_s: self.expiry_s,
            at: self.at,
            publisher: None,
            origin: self.origin,
            stored: OnceCell::new(),
            verbatim: None,
        };
        Unpacked { message, group }
    }
}

/// The batches that this core is filling.
#[derive(Debug)]
pub(crate) struct Outgoing {
    here: CoreId,
    batches: Vec<Batch>,
    held_parcels: usize,
    held_bytes: usize,
}

impl Outgoing {
    pub fn new(here: CoreId, cores: u16) -> Self {
        let batches = (0..cores).map(|_| Batch::default()).collect();
        Self { here, batches, held_parcels: 0, held_bytes: 0 }
    }

    /// The batch that is being filled for `core`.
    #[inline]
    pub fn to(&mut self, core: CoreId) -> &mut Batch {
        &mut self.batches[core.index()]
    }

    /// All other cores.
    pub fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let (here, cores) = (self.here, self.batches.len());
        (0..cores)
            .map(|core| CoreId::new(u16::try_from(core).expect("at most 128 cores")))
            .filter(move |core| *core != here)
    }

    /// Tells every other core; `parcel` is called once for each.
    pub fn tell_others(&mut self, parcel: impl Fn() -> Parcel) {
        for core in self.others() {
            self.to(core).parcels.push(parcel());
        }
    }

    /// Moves all batches that have something in them to `out`, lowest core first.
    pub fn take(&mut self, out: &mut Vec<(CoreId, Batch)>) {
        self.held_parcels = 0;
        self.held_bytes = 0;
        for (core, batch) in self.batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            out.push((CoreId::new(u16::try_from(core).expect("at most 128 cores")), std::mem::take(batch)));
        }
    }

    /// A batch that could not be handed over leads what goes to that core next.
    pub fn give_back(&mut self, core: CoreId, batch: Batch) {
        self.held_parcels += batch.len();
        self.held_bytes += batch.bytes.len();
        let later = std::mem::replace(self.to(core), batch);
        self.to(core).append(later);
    }

    /// Whether so much waits for slow cores that publishers should not be read.
    pub fn is_congested(&self) -> bool {
        self.held_parcels > PARCELS_HELD_MAX || self.held_bytes > BYTES_HELD_MAX
    }
}
