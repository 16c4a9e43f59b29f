//! The window of one session: QoS 1 and 2 messages sent and not yet settled.
//!
//! Why a sliding array: packet ids are given out in sequence and mostly acknowledged in sequence, so an id is an index
//! away from the oldest open one. A message that stays open while thousands pass is moved aside, so that one lost
//! acknowledgement neither stops the session nor grows the array.
//!
//! Invariants:
//! - No id is given out while it is open. Source: [MQTT-2.2.1-4].
//! - Resends keep the order in which messages were first sent. Source: [MQTT-4.6.0-1] of 3.1.1.
//! - `on_link` counts exactly the PUBLISH packets of the present connection that are not settled; it is what Receive
//!   Maximum limits. Source: [MQTT-4.9.0-1].

use std::collections::{BTreeMap, VecDeque};

use mqtt::{PacketId, QoS};

use crate::change::MessageCopy;

/// Above this many slots, a sparse window moves its oldest open message aside.
const SPARSE_LEN: usize = 1_024;

/// Packet ids that there are.
const ID_COUNT: usize = 65_535;

#[derive(Debug)]
enum Slot {
    Free,
    /// PUBLISH sent, no PUBACK or PUBREC yet.
    Published {
        sent: MessageCopy,
        seq: u64,
        on_link: bool,
    },
    /// PUBREC received, PUBREL sent, no PUBCOMP yet.
    Released {
        seq: u64,
        on_link: bool,
    },
}

/// Whether and how an acknowledgement fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// The message with this place is done; the id is free.
    Done(u64),
    /// A PUBREL is due, for the message with this place.
    Release(u64),
    /// No such id is open.
    Unknown,
    /// The id is open in another state or QoS. Source: section 4.3.
    Mismatch,
}

/// What to send again when a session is resumed, oldest first.
#[derive(Debug)]
pub(crate) enum Resend {
    Publish(PacketId, MessageCopy),
    Release(PacketId),
}

#[derive(Debug)]
pub(crate) struct Window {
    slots: VecDeque<Slot>,
    /// Id of the first slot.
    first: u16,
    /// Open messages older than every slot, by id, with their order.
    aside: BTreeMap<u16, (u64, Slot)>,
    aside_next: u64,
    open: u32,
    on_link: u16,
    /// Published before this connection and not sent again yet.
    waiting: u32,
    bytes: usize,
    /// The highest place of a message that was sent.
    sent_seq: u64,
}

impl Window {
    pub fn new() -> Self {
        Self {
            slots: VecDeque::new(),
            first: 1,
            aside: BTreeMap::new(),
            aside_next: 0,
            open: 0,
            on_link: 0,
            waiting: 0,
            bytes: 0,
            sent_seq: 0,
        }
    }

    /// The highest place of a message that was sent.
    pub fn sent_seq(&self) -> u64 {
        self.sent_seq
    }

    /// Messages not settled.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Bytes of the messages that may have to be sent again.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more PUBLISH may be sent under a Receive Maximum of `maximum`.
    pub fn has_room(&self, maximum: u16) -> bool {
        self.on_link < maximum && self.waiting == 0 && self.open < 65_535
    }

    /// Opens an id for the message with the place `seq`; the caller has asked [`Window::has_room`].
    pub fn open_id(&mut self, sent: MessageCopy, seq: u64) -> PacketId {
        self.thin_out();
        let id = self.free_id();
        self.open += 1;
        self.on_link += 1;
        self.bytes += sent.message.cost_bytes();
        self.sent_seq = seq;
        self.slots.push_back(Slot::Published { sent, seq, on_link: true });
        PacketId::new(id).expect("ids run from 1 to 65,535")
    }

    /// The next free id; every id up to it has a slot then.
    fn free_id(&mut self) -> u16 {
        loop {
            if self.slots.len() == ID_COUNT {
                self.set_first_aside();
            }
            let id = self.id_at(self.slots.len());
            if !self.aside.contains_key(&id) {
                return id;
            }
            self.slots.push_back(Slot::Free);
        }
    }

    /// Opens the id under which a message was sent before a restart; ids come in the order in which they were opened.
    /// Without a message only its PUBREL and PUBCOMP are left.
    pub fn restore(&mut self, id: PacketId, seq: u64, sent: Option<MessageCopy>) {
        if self.slots.is_empty() {
            self.first = id.get();
        }
        while self.free_id() != id.get() {
            self.slots.push_back(Slot::Free);
        }
        self.open += 1;
        self.sent_seq = self.sent_seq.max(seq);
        match sent {
            Some(sent) => {
                self.waiting += 1;
                self.bytes += sent.message.cost_bytes();
                self.slots.push_back(Slot::Published { sent, seq, on_link: false });
            }
            None => self.slots.push_back(Slot::Released { seq, on_link: false }),
        }
        self.thin_out();
    }

    /// The place of the open message with this id.
    pub fn place(&self, id: PacketId) -> Option<u64> {
        let index = self.index_of(id);
        let slot = match self.slots.get(index) {
            None | Some(Slot::Free) => self.aside.get(&id.get()).map(|(_, slot)| slot)?,
            Some(slot) => slot,
        };
        match slot {
            Slot::Free => None,
            Slot::Published { seq, .. } | Slot::Released { seq, .. } => Some(*seq),
        }
    }

    /// PUBACK.
    pub fn puback(&mut self, id: PacketId) -> Settled {
        match self.slot(id) {
            Some(Slot::Published { sent, .. }) if sent.qos == QoS::AtLeastOnce => self.settle(id),
            None | Some(Slot::Free) => Settled::Unknown,
            Some(Slot::Published { .. } | Slot::Released { .. }) => Settled::Mismatch,
        }
    }

    /// PUBREC; `failed` if its code is 0x80 or more, which ends the flow. Source: [MQTT-4.3.3-4].
    pub fn pubrec(&mut self, id: PacketId, failed: bool) -> Settled {
        let Some(slot) = self.slot(id) else { return Settled::Unknown };
        match slot {
            Slot::Free => Settled::Unknown,
            Slot::Published { sent, .. } if sent.qos != QoS::ExactlyOnce => Settled::Mismatch,
            Slot::Published { .. } if failed => self.settle(id),
            Slot::Published { sent, seq, on_link } => {
                let (cost, seq, on_link) = (sent.message.cost_bytes(), *seq, *on_link);
                *slot = Slot::Released { seq, on_link };
                self.bytes -= cost;
                self.waiting -= u32::from(!on_link);
                Settled::Release(seq)
            }
            Slot::Released { seq, .. } => Settled::Release(*seq),
        }
    }

    /// PUBCOMP.
    pub fn pubcomp(&mut self, id: PacketId) -> Settled {
        match self.slot(id) {
            None | Some(Slot::Free) => Settled::Unknown,
            Some(Slot::Published { .. }) => Settled::Mismatch,
            Some(Slot::Released { .. }) => self.settle(id),
        }
    }

    /// The connection is gone: nothing is on the link any more, and every open PUBLISH waits to be sent again.
    pub fn link_lost(&mut self) {
        self.on_link = 0;
        self.waiting = 0;
        let aside = self.aside.values_mut().map(|(_, slot)| slot);
        for slot in self.slots.iter_mut().chain(aside) {
            match slot {
                Slot::Free => {}
                Slot::Published { on_link, .. } => {
                    *on_link = false;
                    self.waiting += 1;
                }
                Slot::Released { on_link, .. } => *on_link = false,
            }
        }
    }

    /// Whether messages of an earlier connection still have to be sent again.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// What to send again on a new connection under `maximum`, oldest first; call again when acknowledgements made
    /// room. `releases` asks for the PUBRELs too, which wait for no quota and are sent once.
    pub fn resend(&mut self, maximum: u16, releases: bool, out: &mut Vec<Resend>) {
        let mut aside: Vec<(u64, u16)> = self.aside.iter().map(|(id, (order, _))| (*order, *id)).collect();
        aside.sort_unstable();
        let in_slots = (0..self.slots.len()).map(|index| self.id_at(index));
        let ids: Vec<u16> = aside.into_iter().map(|(_, id)| id).chain(in_slots).collect();
        for id in ids {
            let id = PacketId::new(id).expect("ids run from 1 to 65,535");
            let on_link_now = self.on_link;
            let Some(slot) = self.slot(id) else { continue };
            match slot {
                Slot::Published { sent, on_link, .. } if !*on_link && on_link_now < maximum => {
                    *on_link = true;
                    out.push(Resend::Publish(id, sent.clone()));
                    self.on_link += 1;
                    self.waiting -= 1;
                }
                // The standard does not say whether a repeated PUBREL takes quota; the receiver still has the message
                // under its hands, so it is counted.
                Slot::Released { on_link, .. } if releases => {
                    *on_link = true;
                    out.push(Resend::Release(id));
                    self.on_link += 1;
                }
                Slot::Free | Slot::Published { .. } | Slot::Released { .. } => {}
            }
        }
    }

    /// Frees an id in whatever state it is; returns the place of its message, if it was open.
    pub fn forget(&mut self, id: PacketId) -> Option<u64> {
        self.slot(id)?;
        match self.settle(id) {
            Settled::Done(seq) => Some(seq),
            Settled::Release(_) | Settled::Unknown | Settled::Mismatch => None,
        }
    }

    fn settle(&mut self, id: PacketId) -> Settled {
        let slot = self.slot(id).expect("the caller found the slot");
        let (seq, on_link, waiting, cost) = match std::mem::replace(slot, Slot::Free) {
            Slot::Free => unreachable!("the caller found it open"),
            Slot::Published { sent, seq, on_link } => (seq, on_link, !on_link, sent.message.cost_bytes()),
            Slot::Released { seq, on_link } => (seq, on_link, false, 0),
        };
        self.open -= 1;
        self.bytes -= cost;
        self.on_link -= u16::from(on_link);
        self.waiting -= u32::from(waiting);
        if self.aside.remove(&id.get()).is_none() {
            self.drop_leading_free();
        }
        Settled::Done(seq)
    }

    /// Moves the oldest open message aside while the array is long and mostly free.
    #[inline]
    fn thin_out(&mut self) {
        if self.slots.len() >= SPARSE_LEN {
            self.thin_out_long();
        }
    }

    fn thin_out_long(&mut self) {
        let open_here = stdx::widen(self.open) - self.aside.len();
        if open_here * 4 <= self.slots.len() {
            self.set_first_aside();
            self.drop_leading_free();
        }
    }

    /// Shortens the array by its first slot; a message in it is kept aside.
    fn set_first_aside(&mut self) {
        let id = self.first;
        let Some(slot) = self.slots.pop_front() else { return };
        self.first = add(id, 1);
        if !matches!(slot, Slot::Free) {
            self.aside.insert(id, (self.aside_next, slot));
            self.aside_next += 1;
        }
    }

    fn drop_leading_free(&mut self) {
        while let Some(Slot::Free) = self.slots.front() {
            self.slots.pop_front();
            self.first = add(self.first, 1);
        }
    }

    #[inline]
    fn slot(&mut self, id: PacketId) -> Option<&mut Slot> {
        let index = self.index_of(id);
        if index < self.slots.len() && !matches!(self.slots[index], Slot::Free) {
            return self.slots.get_mut(index);
        }
        self.aside.get_mut(&id.get()).map(|(_, slot)| slot)
    }

    /// Where an id stands among the slots, or would.
    #[inline]
    fn index_of(&self, id: PacketId) -> usize {
        let ahead = (u32::from(id.get()) + 65_535 - u32::from(self.first)) % 65_535;
        stdx::widen(ahead)
    }

    fn id_at(&self, index: usize) -> u16 {
        add(self.first, index)
    }
}

/// The id `count` places after `id`, skipping zero.
fn add(id: u16, count: usize) -> u16 {
    let zero_based = (usize::from(id) - 1 + count) % ID_COUNT;
    u16::try_from(zero_based + 1).expect("below 65,536")
}

#[cfg(test)]
mod tests {
    use std::cell::OnceCell;
    use std::sync::Arc;

    use stdx::{Instant, Prng};

    use super::*;
    use crate::message::Message;

    fn sent(qos: QoS) -> MessageCopy {
        let message = Message {
            topic: b"t",
            forward: &[],
            payload: b"p",
            qos,
            retain: false,
            is_awaited: false,
            expiry_s: None,
            at: Instant::START,
            publisher: None,
            origin: 0,
            stored: OnceCell::new(),
            verbatim: None,
        };
        MessageCopy { message: Arc::clone(message.stored()), qos, retain: false, ids: None }
    }

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    #[test]
    fn ids_run_round_without_zero_and_without_reuse_of_an_open_one() {
        let mut window = Window::new();
        let stuck = window.open_id(sent(QoS::AtLeastOnce), 7);
        let mut open = std::collections::BTreeSet::from([stuck.get()]);
        for _ in 0..200_000u32 {
            assert!(window.has_room(10));
            let next = window.open_id(sent(QoS::AtLeastOnce), 7);
            assert!(open.insert(next.get()), "id {} was open", next.get());
            assert_eq!(window.puback(next), Settled::Done(7));
            open.remove(&next.get());
        }
        assert!(window.slots.len() <= SPARSE_LEN + 1, "one lost acknowledgement must not grow the window");
        assert_eq!(window.puback(stuck), Settled::Done(7));
        assert_eq!((window.open(), window.bytes()), (0, 0));
    }

    #[test]
    fn all_ids_can_be_open_at_once_and_then_there_is_no_room() {
        let mut window = Window::new();
        for expected in 1..=65_535u16 {
            assert!(window.has_room(u16::MAX));
            assert_eq!(window.open_id(sent(QoS::AtLeastOnce), 7).get(), expected);
        }
        assert!(!window.has_room(u16::MAX));
        for freed in [40_000, 1, 65_535] {
            assert_eq!(window.puback(id(freed)), Settled::Done(7));
            assert!(window.has_room(u16::MAX));
            assert_eq!(window.open_id(sent(QoS::AtLeastOnce), 7).get(), freed);
            assert!(!window.has_room(u16::MAX));
        }
        window.link_lost();
        let mut out = Vec::new();
        window.resend(u16::MAX, true, &mut out);
        let Some(Resend::Publish(last, _)) = out.last() else { panic!("all are sent again") };
        assert_eq!((out.len(), last.get()), (65_535, 65_535), "the newest comes last");
    }

    #[test]
    fn an_acknowledgement_must_fit_the_state_of_its_message() {
        let mut window = Window::new();
        let one = window.open_id(sent(QoS::AtLeastOnce), 7);
        let two = window.open_id(sent(QoS::ExactlyOnce), 7);
        assert_eq!(window.pubrec(one, false), Settled::Mismatch);
        assert_eq!(window.puback(two), Settled::Mismatch);
        assert_eq!(window.pubcomp(two), Settled::Mismatch);
        assert_eq!(window.puback(id(99)), Settled::Unknown);
        assert_eq!(window.pubrec(two, false), Settled::Release(7));
        assert_eq!(window.pubrec(two, false), Settled::Release(7));
        assert!(!window.has_room(2));
        assert_eq!(window.pubcomp(two), Settled::Done(7));
        assert!(window.has_room(2));
        assert_eq!(window.pubcomp(two), Settled::Unknown);
    }

    #[test]
    fn a_resumed_window_sends_again_in_order_and_only_as_much_as_the_new_maximum_allows() {
        let mut window = Window::new();
        let ids: Vec<_> = (0..5).map(|_| window.open_id(sent(QoS::ExactlyOnce), 7)).collect();
        assert_eq!(window.pubrec(ids[1], false), Settled::Release(7));
        window.link_lost();
        let mut out = Vec::new();
        window.resend(1, true, &mut out);
        assert!(
            matches!(&out[..], [Resend::Publish(a, _), Resend::Release(b)] if *a == ids[0] && *b == ids[1])
        );
        assert!(window.is_waiting() && !window.has_room(1));
        out.clear();
        assert_eq!(window.pubcomp(ids[1]), Settled::Done(7));
        window.resend(1, false, &mut out);
        assert!(out.is_empty(), "the first message still takes the only place");
        assert_eq!(window.pubrec(ids[0], true), Settled::Done(7));
        window.resend(1, false, &mut out);
        assert!(matches!(&out[..], [Resend::Publish(a, _)] if *a == ids[2]));
    }

    #[test]
    fn random_acknowledgements_leave_nothing_behind() {
        for seed in 0..20 {
            let mut prng = Prng::new(seed);
            let mut window = Window::new();
            let mut open: Vec<PacketId> = Vec::new();
            for _ in 0..20_000 {
                if window.has_room(50) && prng.one_in(2) {
                    let next = window.open_id(sent(QoS::AtLeastOnce), 7);
                    assert!(!open.contains(&next));
                    open.push(next);
                } else if !open.is_empty() {
                    let skewed = prng.below(open.len() as u64) * prng.below(2) + u64::from(open.len() > 1);
                    let next = open.remove(usize::try_from(skewed).unwrap().min(open.len() - 1));
                    assert_eq!(window.puback(next), Settled::Done(7));
                }
                assert_eq!(stdx::widen(window.open()), open.len());
            }
        }
    }
}
