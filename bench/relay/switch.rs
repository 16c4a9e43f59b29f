//! What every null relay decides: it answers CONNECT, SUBSCRIBE and PINGREQ, learns from a publisher's first PUBLISH
//! who hears it, and from then on copies whole packets without looking into them.
//!
//! Why that much MQTT: the same generator with the same options can then be pointed at it. Packets are kept whole,
//! because two publishers of one subscriber must not be mixed within a packet. Acknowledgements travel the same way
//! back, so QoS 1 and 2 between a pair work end to end.
//!
//! Why in a file that knows nothing of its surroundings: the relays on epoll, on glommio and on the broker's own ring
//! are built from this very file, so they differ in how they read and write and in nothing else.
//!
//! Invariants:
//! - A publisher keeps to one topic, and subscribers come first: routes are learned once.
//! - Bytes of one peer leave in the order in which they came.

use std::collections::HashMap;

const PINGRESP: [u8; 2] = [0xd0, 0];
/// Type and the longest remaining length.
const HEAD_BYTES_MAX: usize = 5;

/// The peer says what a relay does not understand, or goodbye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused;

/// Who is there and who hears whom.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    clients: Vec<Option<Client>>,
    /// Subscribers by filters without wildcards.
    exact: HashMap<Vec<u8>, Vec<usize>>,
    /// Subscribers of filters with wildcards.
    wild: Vec<(Vec<u8>, usize)>,
}

#[derive(Debug, Default)]
struct Client {
    version_5: bool,
    filter: Option<Vec<u8>>,
    /// Who gets this client's packets.
    audience: Vec<usize>,
    routed: bool,
    /// The beginning of a packet that was cut.
    carry: Vec<u8>,
}

/// One packet at the beginning of some bytes.
#[derive(Clone, Copy, Debug)]
struct Packet<'a> {
    first: u8,
    body: &'a [u8],
    length: usize,
}

enum Scan<'a> {
    Whole(Packet<'a>),
    /// This many bytes are missing at least.
    Partial(usize),
    Broken,
}

impl Switch {
    /// A new peer sits at `slot`.
    pub(crate) fn admit(&mut self, slot: usize) {
        if self.clients.len() <= slot {
            self.clients.resize_with(slot + 1, || None);
        }
        self.clients[slot] = Some(Client::default());
    }

    /// The peer at `slot` is gone; nobody sends to it from now on.
    pub(crate) fn dismiss(&mut self, slot: usize) {
        let Some(client) = self.clients.get_mut(slot).and_then(Option::take) else { return };
        if let Some(filter) = client.filter {
            if let Some(hearers) = self.exact.get_mut(&filter) {
                hearers.retain(|&hearer| hearer != slot);
            }
            self.wild.retain(|&(_, hearer)| hearer != slot);
        }
        for client in self.clients.iter_mut().flatten() {
            client.audience.retain(|&target| target != slot);
        }
    }

    /// Takes what came from `slot` and hands what must leave to `outlet`, as slot and bytes. Returns how many packets were whole.
    #[inline]
    pub(crate) fn feed(
        &mut self,
        slot: usize,
        bytes: &[u8],
        outlet: &mut impl FnMut(usize, &[u8]),
    ) -> Result<u64, Refused> {
        let Some(Some(client)) = self.clients.get_mut(slot) else { return Ok(0) };
        if client.carry.is_empty() {
            return self.forward(slot, bytes, outlet);
        }
        let mut rest = bytes;
        let mut carry = std::mem::take(&mut client.carry);
        loop {
            match scan(&carry) {
                Scan::Whole(_) => break,
                Scan::Broken => return Err(Refused),
                Scan::Partial(missing) => {
                    let (some, others) = rest.split_at(missing.min(rest.len()));
                    carry.extend_from_slice(some);
                    rest = others;
                    if some.is_empty() {
                        return self.keep(slot, &carry).map(|()| 0);
                    }
                }
            }
        }
        Ok(self.forward(slot, &carry, outlet)? + self.forward(slot, rest, outlet)?)
    }

    /// Copies the whole packets at the beginning of `bytes` and keeps the rest. Returns how many there were.
    #[inline]
    fn forward(
        &mut self,
        slot: usize,
        bytes: &[u8],
        outlet: &mut impl FnMut(usize, &[u8]),
    ) -> Result<u64, Refused> {
        let (mut start, mut end, mut count) = (0, 0, 0);
        loop {
            match scan(&bytes[end..]) {
                Scan::Whole(packet) => {
                    count += 1;
                    if !self.is_traffic(slot, packet) {
                        self.copy(slot, &bytes[start..end], outlet);
                        self.answer(slot, packet, outlet)?;
                        start = end + packet.length;
                    }
                    end += packet.length;
                }
                Scan::Partial(_) => break,
                Scan::Broken => return Err(Refused),
            }
        }
        self.copy(slot, &bytes[start..end], outlet);
        self.keep(slot, &bytes[end..]).map(|()| count)
    }

    #[inline]
    fn is_traffic(&mut self, slot: usize, packet: Packet<'_>) -> bool {
        match packet.first >> 4 {
            3 => {
                if self.clients[slot].as_ref().is_some_and(|client| !client.routed) {
                    self.learn(slot, packet);
                }
                true
            }
            4..=7 => true, // PUBACK, PUBREC, PUBREL and PUBCOMP.
            _ => false,    // What the relay answers itself, or refuses.
        }
    }

    #[inline]
    fn copy(&self, slot: usize, bytes: &[u8], outlet: &mut impl FnMut(usize, &[u8])) {
        let Some(source) = &self.clients[slot] else { return };
        if !bytes.is_empty() {
            source.audience.iter().for_each(|&target| outlet(target, bytes));
        }
    }

    fn keep(&mut self, slot: usize, bytes: &[u8]) -> Result<(), Refused> {
        if let Some(client) = &mut self.clients[slot] {
            client.carry.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Finds out who hears a publisher.
    fn learn(&mut self, slot: usize, packet: Packet<'_>) {
        let Some(topic) = string(packet.body) else { return };
        let mut audience = self.exact.get(topic).cloned().unwrap_or_default();
        audience
            .extend(self.wild.iter().filter(|(filter, _)| matches(filter, topic)).map(|(_, hearer)| hearer));
        if let [only] = audience[..]
            && let Some(subscriber) = &mut self.clients[only]
        {
            subscriber.audience = vec![slot];
            subscriber.routed = true;
        }
        if let Some(publisher) = &mut self.clients[slot] {
            publisher.audience = audience;
            publisher.routed = true;
        }
    }

    /// Answers what is not traffic.
    fn answer(
        &mut self,
        slot: usize,
        packet: Packet<'_>,
        outlet: &mut impl FnMut(usize, &[u8]),
    ) -> Result<(), Refused> {
        let Some(client) = &mut self.clients[slot] else { return Ok(()) };
        match packet.first >> 4 {
            1 => {
                client.version_5 = packet.body.get(6) == Some(&5);
                outlet(slot, if client.version_5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] });
            }
            8 => {
                let [high, low, rest @ ..] = packet.body else { return Err(Refused) };
                // The generator sends no properties, so their length is one byte.
                let rest = if client.version_5 { rest.get(1..).ok_or(Refused)? } else { rest };
                let filter = string(rest).ok_or(Refused)?.to_vec();
                let granted = rest.last().copied().ok_or(Refused)?;
                client.filter = Some(filter.clone());
                if client.version_5 {
                    outlet(slot, &[0x90, 4, *high, *low, 0, granted]);
                } else {
                    outlet(slot, &[0x90, 3, *high, *low, granted]);
                }
                if filter.iter().any(|byte| matches!(byte, b'+' | b'#')) {
                    self.wild.push((filter, slot));
                } else {
                    self.exact.entry(filter).or_default().push(slot);
                }
            }
            12 => outlet(slot, &PINGRESP),
            _ => return Err(Refused), // DISCONNECT, or nothing that a generator sends.
        }
        Ok(())
    }
}

/// The packet at the beginning of `bytes`. Source: MQTT 5.0 section 2.1.
#[inline]
fn scan(bytes: &[u8]) -> Scan<'_> {
    let mut body_bytes = 0;
    for index in 1..HEAD_BYTES_MAX {
        let Some(&byte) = bytes.get(index) else { return Scan::Partial(1) };
        body_bytes |= usize::from(byte & 0x7f) << (7 * (index - 1));
        if byte & 0x80 == 0 {
            let length = index + 1 + body_bytes;
            return match bytes.get(index + 1..length) {
                Some(body) => Scan::Whole(Packet { first: bytes[0], body, length }),
                None => Scan::Partial(length - bytes.len()),
            };
        }
    }
    Scan::Broken
}

fn string(bytes: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*prefix)))
}

/// Whether `topic` matches `filter`. Source: MQTT 5.0 section 4.7.
fn matches(filter: &[u8], topic: &[u8]) -> bool {
    let mut levels = topic.split(|&byte| byte == b'/');
    for wanted in filter.split(|&byte| byte == b'/') {
        if wanted == b"#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == b"+" || wanted == level => {}
            Some(_) | None => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x";
    const SUBSCRIBE: &[u8] = b"\x82\x08\x00\x07\x00\x03a/b\x01";
    const PUBLISH: &[u8] = b"\x30\x07\x00\x03a/bhi";

    fn fed(switch: &mut Switch, slot: usize, bytes: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, Refused> {
        let mut left = vec![];
        switch.feed(slot, bytes, &mut |target, bytes| left.push((target, bytes.to_vec())))?;
        Ok(left)
    }

    /// Slot 0 hears a/b, slot 1 speaks.
    fn pair() -> Switch {
        let mut switch = Switch::default();
        switch.admit(0);
        switch.admit(1);
        assert_eq!(fed(&mut switch, 0, CONNECT), Ok(vec![(0, vec![0x20, 2, 0, 0])]));
        assert_eq!(fed(&mut switch, 0, SUBSCRIBE), Ok(vec![(0, vec![0x90, 3, 0, 7, 1])]));
        assert_eq!(fed(&mut switch, 1, CONNECT), Ok(vec![(1, vec![0x20, 2, 0, 0])]));
        switch
    }

    #[test]
    fn whole_packets_reach_the_subscriber_in_one_piece_and_acknowledgements_go_back() {
        let mut switch = pair();
        let twice = [PUBLISH, PUBLISH].concat();
        assert_eq!(fed(&mut switch, 1, &twice), Ok(vec![(0, twice.clone())]));
        assert_eq!(fed(&mut switch, 0, b"\x40\x02\x00\x01"), Ok(vec![(1, b"\x40\x02\x00\x01".to_vec())]));
    }

    #[test]
    fn a_packet_cut_anywhere_arrives_whole() {
        let stream = [PUBLISH, PUBLISH, PUBLISH].concat();
        for cut in 1..stream.len() {
            let mut switch = pair();
            let mut left = fed(&mut switch, 1, &stream[..cut]).expect("these are packets");
            left.extend(fed(&mut switch, 1, &stream[cut..]).expect("these are packets"));
            assert!(left.iter().all(|(target, bytes)| *target == 0 && bytes.len() % PUBLISH.len() == 0));
            assert_eq!(
                left.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(),
                stream,
                "cut at {cut}"
            );
        }
        let mut switch = pair();
        let left: Vec<_> =
            stream.iter().flat_map(|&byte| fed(&mut switch, 1, &[byte]).expect("bytes")).collect();
        assert_eq!(left, vec![(0, PUBLISH.to_vec()); 3]);
    }

    #[test]
    fn nobody_sends_to_a_slot_whose_peer_is_gone() {
        let mut switch = pair();
        fed(&mut switch, 1, PUBLISH).expect("a packet");
        switch.dismiss(0);
        switch.admit(0);
        assert_eq!(fed(&mut switch, 1, PUBLISH), Ok(vec![]));
        switch.admit(2);
        assert_eq!(fed(&mut switch, 2, PUBLISH), Ok(vec![]));
    }

    #[test]
    fn goodbyes_and_what_is_not_mqtt_are_refused() {
        assert_eq!(fed(&mut pair(), 0, b"\xe0\x00"), Err(Refused));
        assert_eq!(fed(&mut pair(), 0, b"\x30\xff\xff\xff\xff\xff"), Err(Refused));
        assert_eq!(fed(&mut pair(), 0, &[0xc0, 0]), Ok(vec![(0, PINGRESP.to_vec())]));
    }

    #[test]
    fn filters_match_by_level() {
        assert!(matches(b"a/b", b"a/b"));
        assert!(matches(b"a/+/c", b"a/b/c"));
        assert!(matches(b"a/#", b"a/b/c"));
        assert!(!matches(b"a/b", b"a/b/c"));
        assert!(!matches(b"a/+", b"a"));
        assert!(!matches(b"a/b/c", b"a/b"));
    }

    #[test]
    fn a_filter_with_a_wildcard_hears_too() {
        let mut switch = pair();
        switch.admit(2);
        fed(&mut switch, 2, b"\x82\x08\x00\x07\x00\x03a/+\x00").expect("a subscription");
        assert_eq!(fed(&mut switch, 1, PUBLISH), Ok(vec![(0, PUBLISH.to_vec()), (2, PUBLISH.to_vec())]));
    }
}
