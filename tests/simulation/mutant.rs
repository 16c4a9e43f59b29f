//! Lies: ways to falsify what passes between clients and shards, to see whether the oracle notices.
//!
//! Why: an oracle that never objects proves nothing. Each lie makes the broker look as if it broke one rule, and a test
//! names the rule by which the oracle must object.
//!
//! Invariants:
//! - A mutant without a lie changes nothing.
//! - Clients, shards and oracle each see a lie from the side on which it stands: one about a server packet is seen by the
//!   oracle and the client, one about a client packet by the shard alone.

use crate::wire::{ClientPacket, Framed, Publish, ServerPacket, Version, decode};

/// What is falsified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// A QoS 1 or 2 message does not come.
    LoseMessage,
    /// A will does not come.
    LoseWill,
    /// A QoS 0 message comes twice.
    RepeatQos0,
    /// A QoS 2 message comes again under another packet id.
    RepeatQos2,
    /// Two messages of a topic change places.
    SwapMessages,
    /// A live message has RETAIN.
    RaiseRetain,
    /// A retained message comes without RETAIN.
    ClearRetain,
    /// Two messages have one packet id.
    ReuseId,
    /// Session Present is the opposite.
    FlipSessionPresent,
    /// A message comes to somebody else too.
    Misdeliver,
    /// The last byte of a payload is another one.
    BendPayload,
    /// A message that is new is said to be a repeat.
    RaiseDup,
    /// An acknowledgement of a QoS 1 message does not come.
    LoseAck,
    /// A SUBACK says another QoS than was asked.
    LowerGrant,
    /// A PINGRESP does not come.
    LosePong,
    /// A reserved bit of a PUBACK is set.
    SetReservedBit,
    /// A close does not happen.
    KeepOpen,
    /// The broker unsubscribes from something else.
    SkipUnsubscribe,
    /// The broker hears nothing of No Local.
    DropNoLocal,
    /// The broker hears nothing of Receive Maximum.
    DropReceiveMaximum,
    /// The broker hears nothing of keep alive.
    DropKeepAlive,
    /// One member of a group is in another group.
    SplitGroup,
    /// A clean DISCONNECT asks for the will.
    AskForWill,
    /// The broker believes that messages live longer.
    ProlongExpiry,
    /// Retained messages are not cleared.
    DropClear,
}

/// A liar.
#[derive(Clone, Debug, Default)]
pub struct Mutant {
    lie: Option<Lie>,
    /// Chances to let pass before the lie is told.
    patience: usize,
    lies: usize,
    /// A message on its way to somebody who should not get it.
    stray: Option<(usize, Version, Vec<u8>)>,
}

type Packets = Vec<(Framed, Vec<u8>)>;

/// A packet id that no simulated run gets to.
const FAR_ID: u16 = 60_000;

impl Mutant {
    /// A mutant that lets `patience` chances pass and then tells `lie`: about a server packet once, about a client packet
    /// from then on.
    #[must_use]
    pub fn telling(lie: Lie, patience: usize) -> Self {
        Self { lie: Some(lie), patience, ..Self::default() }
    }

    /// How often it has lied.
    #[must_use]
    pub fn lies(&self) -> usize {
        self.lies
    }

    /// Whether this chance is the one.
    fn dares(&mut self) -> bool {
        if self.lies > 0 {
            return false;
        }
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        self.lies = 1;
        true
    }

    /// What a client gets instead of `packets`, of which each stands beside its bytes.
    pub fn filter(&mut self, socket: usize, version: Version, mut packets: Packets) -> Packets {
        let Some(lie) = self.lie else { return packets };
        self.drop_stray(socket, version, &mut packets);
        let mut index = 0;
        while index < packets.len() {
            if suits(lie, version, &packets, index) && self.dares() {
                if lie == Lie::Misdeliver {
                    self.stray = Some((socket, version, packets[index].1.clone()));
                } else {
                    falsify(lie, version, &mut packets, index);
                }
                break;
            }
            index += 1;
        }
        packets
    }

    /// The stray message comes with the next packets of any other connection of the same version.
    fn drop_stray(&mut self, socket: usize, version: Version, packets: &mut Packets) {
        let Some((owner, spoken, raw)) = &self.stray else { return };
        let is_greeted = packets.iter().all(|(framed, _)| !matches!(framed.packet, ServerPacket::ConnAck(_)));
        if *owner != socket && *spoken == version && is_greeted && !packets.is_empty() {
            packets.insert(0, read(version, raw.clone()));
            self.stray = None;
        }
    }

    /// What a shard is told instead of `packet`, if something else.
    pub fn lie(&mut self, packet: &ClientPacket) -> Option<ClientPacket> {
        let lie = self.lie?;
        let mut told = packet.clone();
        let is_false = match (lie, &mut told) {
            (Lie::SkipUnsubscribe, ClientPacket::Unsubscribe(_, filters)) => {
                filters.iter_mut().for_each(|filter| *filter = "nothing/at/all".into());
                true
            }
            (Lie::DropNoLocal, ClientPacket::Subscribe(subscribe)) => {
                let own = subscribe.requests.iter_mut().filter(|request| request.is_no_local);
                own.map(|request| request.is_no_local = false).count() > 0
            }
            (Lie::DropReceiveMaximum, ClientPacket::Connect(connect)) => {
                connect.receive_maximum.take().is_some()
            }
            (Lie::DropKeepAlive, ClientPacket::Connect(connect)) => {
                std::mem::take(&mut connect.keep_alive_s) > 0
            }
            (Lie::SplitGroup, ClientPacket::Subscribe(subscribe)) if self.lies == 0 => {
                let mut shared =
                    subscribe.requests.iter_mut().filter(|request| request.filter.starts_with("$share/"));
                let first = shared.next();
                first
                    .map(|request| request.filter = request.filter.replacen("$share/", "$share/other-", 1))
                    .is_some()
            }
            (Lie::AskForWill, ClientPacket::Disconnect(code, _)) => std::mem::replace(code, 4) == 0,
            (Lie::ProlongExpiry, ClientPacket::Publish(publish)) => prolong(publish),
            (Lie::DropClear, ClientPacket::Publish(publish)) => {
                publish.payload.is_empty() && std::mem::take(&mut publish.is_retained)
            }
            // Lies about server packets are told in `filter`.
            _ => false,
        };
        self.lies += usize::from(is_false);
        is_false.then_some(told)
    }

    /// Which of the sockets that were closed are seen to be closed.
    pub fn closes(&mut self, closed: Vec<usize>) -> Vec<usize> {
        if self.lie == Some(Lie::KeepOpen) && !closed.is_empty() && self.dares() {
            Vec::new()
        } else {
            closed
        }
    }
}

fn prolong(publish: &mut Publish) -> bool {
    let is_mortal = publish.expiry_s.is_some();
    publish.expiry_s = publish.expiry_s.map(|seconds| seconds.saturating_add(100_000));
    is_mortal
}

/// Whether the packet at `index` is one that the lie can be told about.
fn suits(lie: Lie, version: Version, packets: &Packets, index: usize) -> bool {
    let packet = &packets[index].0.packet;
    let next = packets.get(index + 1).map(|(framed, _)| &framed.packet);
    match (lie, packet) {
        (Lie::FlipSessionPresent, ServerPacket::ConnAck(connack)) => {
            version != Version::V31 && connack.code == 0
        }
        (Lie::LoseAck, ServerPacket::PubAck(..)) | (Lie::LosePong, ServerPacket::PingResp) => true,
        (Lie::SetReservedBit, ServerPacket::PubAck(..)) => true,
        (Lie::LowerGrant, ServerPacket::SubAck(_, codes)) => {
            codes.last().is_some_and(|code| matches!(code, 1 | 2))
        }
        (_, ServerPacket::Publish(delivery)) => {
            let is_will = crate::message::is_will(&delivery.payload);
            let is_new = !delivery.is_dup && delivery.alias.is_none() && !delivery.payload.is_empty();
            let is_live = is_new && !delivery.is_retained && !is_will;
            match lie {
                Lie::LoseMessage => is_live && delivery.qos > 0,
                Lie::LoseWill => is_new && is_will && !delivery.is_retained && delivery.qos > 0,
                Lie::RepeatQos0 | Lie::Misdeliver => is_live && delivery.qos == 0,
                Lie::RepeatQos2 => is_live && delivery.qos == 2,
                Lie::RaiseRetain => is_live,
                Lie::ClearRetain => is_new && delivery.is_retained,
                Lie::RaiseDup => is_live && delivery.qos > 0,
                Lie::BendPayload => is_live && delivery.payload.last() != Some(&b'.'),
                Lie::SwapMessages => is_live && next.is_some_and(|next| is_sibling(delivery, next)),
                Lie::ReuseId => is_live && delivery.qos > 0 && next.is_some_and(has_id),
                // The others are not about messages.
                _ => false,
            }
        }
        // No lie is told about other packets.
        _ => false,
    }
}

fn is_sibling(first: &crate::wire::Delivery, next: &ServerPacket) -> bool {
    let ServerPacket::Publish(next) = next else { return false };
    let is_new = !next.is_dup && !next.is_retained && next.alias.is_none() && !next.payload.is_empty();
    is_new && next.topic == first.topic && next.qos == first.qos && next.payload != first.payload
}

fn has_id(packet: &ServerPacket) -> bool {
    matches!(packet, ServerPacket::Publish(next) if next.qos > 0 && next.alias.is_none() && !next.is_dup)
}

/// Tells the lie about the packet at `index`.
fn falsify(lie: Lie, version: Version, packets: &mut Packets, index: usize) {
    let mut raw = packets[index].1.clone();
    match lie {
        Lie::LoseMessage | Lie::LoseWill | Lie::LoseAck | Lie::LosePong => drop(packets.remove(index)),
        Lie::SwapMessages => packets.swap(index, index + 1),
        Lie::RepeatQos0 => packets.insert(index, read(version, raw)),
        Lie::RepeatQos2 => {
            set_id(&mut raw, FAR_ID);
            packets.insert(index + 1, read(version, raw));
        }
        Lie::ReuseId => {
            let ServerPacket::Publish(first) = &packets[index].0.packet else { return };
            let id = first.id;
            set_id(&mut packets[index + 1].1, id);
            packets[index + 1] = read(version, packets[index + 1].1.clone());
        }
        // Only the client can see what the codec of the oracle would not accept.
        Lie::SetReservedBit => packets[index].1[0] |= 1,
        Lie::RaiseRetain | Lie::ClearRetain => bend(version, packets, index, 0, 1),
        Lie::RaiseDup => bend(version, packets, index, 0, 8),
        Lie::FlipSessionPresent => {
            let at = header_bytes(&raw);
            bend(version, packets, index, at, 1);
        }
        Lie::BendPayload => bend(version, packets, index, raw.len() - 1, 1),
        Lie::LowerGrant => bend(version, packets, index, raw.len() - 1, 3),
        // These are told elsewhere.
        _ => {}
    }
}

/// Flips bits of one byte of a packet.
fn bend(version: Version, packets: &mut Packets, index: usize, at: usize, bits: u8) {
    let mut raw = packets[index].1.clone();
    raw[at] ^= bits;
    packets[index] = read(version, raw);
}

fn set_id(raw: &mut [u8], id: u16) {
    let at = header_bytes(raw);
    let topic = usize::from(u16::from_be_bytes([raw[at], raw[at + 1]]));
    raw[at + 2 + topic..at + 4 + topic].copy_from_slice(&id.to_be_bytes());
}

/// Bytes of the fixed header.
fn header_bytes(raw: &[u8]) -> usize {
    2 + raw[1..].iter().take_while(|byte| **byte >= 0x80).count()
}

fn read(version: Version, raw: Vec<u8>) -> (Framed, Vec<u8>) {
    let framed = decode(version, &raw).ok().flatten().expect("a falsified packet is still a packet");
    (framed, raw)
}
