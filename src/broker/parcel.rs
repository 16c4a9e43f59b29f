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

use mqtt::{Frame, Framing, QoS, frame};
use stdx::{Instant, narrow, widen};

use crate::change::Shipped;
use crate::core_id::CoreId;
use crate::counters::Counters;
use crate::interpreted::Freight;
use crate::message::{Message, Verbatim};
use crate::retained::RetainedVersion;

/// Parcels that wait for another core above which publishers are not read.
const PARCELS_HELD_MAX: usize = 65_536;
/// Bytes likewise.
const BYTES_HELD_MAX: usize = 33_554_432;

/// Larger batches are not kept for another use.
const SPARE_PARCELS_MAX: usize = 4_096;
const SPARE_BYTES_MAX: usize = 262_144;
/// Most room that a batch is given before it has anything to hold.
const SIBLING_PARCELS_MAX: usize = 512;
const SIBLING_BYTES_MAX: usize = 32_768;

/// Everything one core has to tell another after a turn.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) parcels: Vec<Parcel>,
    pub(crate) bytes: Vec<u8>,
    /// What the exchange knows nothing of; it goes in front of the parcels.
    pub(crate) beside: Vec<Freight>,
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
    /// Asks for a [`Parcel::Kept`] when everything in front of it, sent in the same turn or before, is kept.
    Ask(u64),
    /// What that turn of the receiver sent is kept.
    Kept(u64),
    /// The next message is a repetition, for the sessions that a crash kept from having it.
    Only(Box<[Shipped]>),
    /// The sender has said everything that it brought back from an earlier process.
    Restored,
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
    /// If the packet itself stands in the arena, and not its parts: its length, and whether it is one of 5.0.
    packet: Option<(u32, bool)>,
    qos: QoS,
    retain: bool,
    is_awaited: bool,
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
        self.parcels.len() + self.beside.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty() && self.beside.is_empty()
    }

    /// Takes out what lies beside the messages, in the order in which it was sent; to be handled before
    /// [`crate::Exchange::handle_batch`].
    #[must_use]
    pub fn take_beside(&mut self) -> Vec<Freight> {
        std::mem::take(&mut self.beside)
    }

    /// An empty batch with room for as much, within limits, because it may never be filled.
    fn sibling(&self) -> Self {
        Self {
            parcels: Vec::with_capacity(self.parcels.len().min(SIBLING_PARCELS_MAX)),
            bytes: Vec::with_capacity(self.bytes.len().min(SIBLING_BYTES_MAX)),
            beside: Vec::new(),
        }
    }

    fn append(&mut self, mut later: Batch) {
        self.parcels.append(&mut later.parcels);
        self.bytes.extend_from_slice(&later.bytes);
        self.beside.append(&mut later.beside);
    }

    pub(crate) fn publish(&mut self, message: &Message<'_>, shipping: Shipping<'_>) {
        let group = shipping.group.map(|(name, filter)| {
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(filter.as_bytes());
            (narrow(name.len()), narrow(filter.len()))
        });
        if let Some(verbatim) = message.verbatim {
            self.bytes.extend_from_slice(verbatim.packet);
        } else {
            self.bytes.extend_from_slice(message.topic);
            self.bytes.extend_from_slice(message.forward);
            self.bytes.extend_from_slice(message.payload);
        }
        self.parcels.push(Parcel::Publish(PublishParcel {
            topic_len: narrow(message.topic.len()),
            forward_len: narrow(message.forward.len()),
            payload_len: narrow(message.payload.len()),
            packet: message.verbatim.map(|verbatim| (narrow(verbatim.packet.len()), verbatim.is_v5)),
            qos: message.qos,
            retain: message.retain,
            is_awaited: message.is_awaited,
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
    /// Whether its publisher's repetition after a crash must not reach a session twice.
    pub fn is_once(&self) -> bool {
        self.is_awaited && self.qos == QoS::ExactlyOnce
    }

    /// Reads the message from the front of `arena` and moves `arena` behind it.
    pub fn unpack<'a>(&self, arena: &mut &'a [u8]) -> Unpacked<'a> {
        let mut take = |len: u32| {
            let (part, rest) = arena.split_at(widen(len));
            *arena = rest;
            part
        };
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).expect("the sender packed a str");
        let group = self.group.map(|(name, filter)| (text(take(name)), text(take(filter))));
        let (topic, forward, payload, verbatim) = match self.packet {
            Some((len, is_v5)) => {
                let verbatim = Verbatim { packet: take(len), is_v5 };
                let (topic, forward, payload) = self.parts(verbatim.packet);
                (topic, forward, payload, Some(verbatim))
            }
            None => (take(self.topic_len), take(self.forward_len), take(self.payload_len), None),
        };
        let message = Message {
            topic,
            forward,
            payload,
            qos: self.qos,
            retain: self.retain,
            is_awaited: self.is_awaited,
            expiry_s: self.expiry_s,
            at: self.at,
            publisher: None,
            origin: self.origin,
            stored: OnceCell::new(),
            verbatim,
        };
        Unpacked { message, group }
    }

    /// Topic, forwarded properties and payload of a packet of QoS 0: the topic stands in front, the others at the end.
    fn parts<'a>(&self, packet: &'a [u8]) -> (&'a [u8], &'a [u8], &'a [u8]) {
        let Ok(Framing::Whole(Frame { body, .. })) = frame(packet, u32::MAX) else {
            unreachable!("the sender has read this packet")
        };
        let (rest, payload) = body.split_at(body.len() - widen(self.payload_len));
        let forward = &rest[rest.len() - widen(self.forward_len)..];
        (&body[2..2 + widen(self.topic_len)], forward, payload)
    }
}

/// The batches that this core is filling.
#[derive(Debug)]
pub(crate) struct Outgoing {
    here: CoreId,
    batches: Vec<Batch>,
    /// Batches that other cores sent and that are empty by now: what they have learned about sizes is used again.
    spares: Vec<Batch>,
    held_parcels: usize,
    held_bytes: usize,
}

impl Outgoing {
    pub fn new(here: CoreId, cores: u16) -> Self {
        let batches = (0..cores).map(|_| Batch::default()).collect();
        Self { here, batches, spares: Vec::new(), held_parcels: 0, held_bytes: 0 }
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
            // The next turn will have as much to say; growing to it step by step would copy everything twice.
            let next = self.spares.pop().unwrap_or_else(|| batch.sibling());
            let filled = std::mem::replace(batch, next);
            out.push((CoreId::new(u16::try_from(core).expect("at most 128 cores")), filled));
        }
    }

    /// Keeps a handled batch, to be filled again; its parcels are gone already.
    pub fn keep(&mut self, mut batch: Batch) {
        debug_assert!(batch.parcels.is_empty());
        if self.spares.len() < self.batches.len()
            && batch.bytes.capacity() <= SPARE_BYTES_MAX
            && batch.parcels.capacity() <= SPARE_PARCELS_MAX
        {
            batch.bytes.clear();
            self.spares.push(batch);
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
