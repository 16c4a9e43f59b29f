//! The null relay: it answers CONNECT and SUBSCRIBE, learns from a publisher's first PUBLISH who hears it, and from
//! then on copies whole packets without looking into them.
//!
//! Why it speaks that much MQTT: the same generator with the same options can then be pointed at it. Packets are kept
//! whole, because two publishers of one subscriber must not be mixed within a packet. Acknowledgements travel the same
//! way back, so QoS 1 and 2 between a pair work end to end.
//!
//! Invariants:
//! - A publisher keeps to one topic, and subscribers come first: routes are learned once.
//! - One `recv` per readable peer and one `send` per written peer in a turn.

use std::net::TcpListener;

use rustix::event::Timespec;

use super::peer::{Door, Gone, Happening, Peer, seat};
use crate::codec::{Frame, PacketType, Scan, scan};
use crate::failure::Failure;

const INBOUND_BYTES: usize = 256 * 1_024;
const PINGRESP: [u8; 2] = [0xd0, 0];

/// The server.
#[derive(Debug)]
pub(crate) struct NullRelay {
    door: Door,
    clients: Vec<Option<Client>>,
    happenings: Vec<Happening>,
    inbound: Vec<u8>,
    dirty: Vec<usize>,
}

#[derive(Debug)]
struct Client {
    peer: Peer,
    version_5: bool,
    filter: Option<Vec<u8>>,
    /// Who gets this client's packets.
    audience: Vec<usize>,
    routed: bool,
    dirty: bool,
    carry: Vec<u8>,
}

impl NullRelay {
    /// Serves `listener`.
    pub(crate) fn new(listener: TcpListener) -> Result<Self, Failure> {
        let door = Door::new(listener)?;
        let inbound = vec![0; INBOUND_BYTES];
        Ok(Self { door, clients: vec![], happenings: vec![], inbound, dirty: vec![] })
    }

    /// Waits once, copies what came, and writes once to everybody concerned.
    pub(crate) fn turn(&mut self, timeout: Option<&Timespec>) -> Result<(), Failure> {
        let clients = &mut self.clients;
        self.door.wait(timeout, &mut self.happenings, |peer| {
            seat(clients, peer.slot(), Client::new(peer));
        })?;
        let mut happenings = std::mem::take(&mut self.happenings);
        for happening in happenings.drain(..) {
            if self.take(happening) == Err(Gone) {
                self.dismiss(happening.slot);
            }
        }
        self.happenings = happenings;
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(Some(client)) = self.clients.get_mut(slot) else { continue };
            client.dirty = false;
            if self.door.flush(&mut client.peer) == Err(Gone) {
                self.dismiss(slot);
            }
        }
        self.dirty = dirty;
        Ok(())
    }

    #[inline]
    fn take(&mut self, happening: Happening) -> Result<(), Gone> {
        let slot = happening.slot;
        let Some(Some(client)) = self.clients.get_mut(slot) else { return Ok(()) };
        if happening.writable {
            self.door.unblock(&mut client.peer)?;
        }
        if !happening.readable {
            return Ok(());
        }
        let mut inbound = std::mem::take(&mut self.inbound);
        let carried = client.carry.len();
        if inbound.len() < 2 * carried {
            inbound.resize(4 * carried, 0);
        }
        inbound[..carried].copy_from_slice(&client.carry);
        client.carry.clear();
        let result = match client.peer.receive(&mut inbound[carried..]) {
            Ok(count) => self.forward(slot, &inbound[..carried + count]),
            Err(Gone) => Err(Gone),
        };
        self.inbound = inbound;
        result
    }

    /// Copies the whole packets at the beginning of `bytes` and keeps the rest.
    #[inline]
    fn forward(&mut self, slot: usize, bytes: &[u8]) -> Result<(), Gone> {
        let (mut start, mut end) = (0, 0);
        loop {
            match scan(&bytes[end..]) {
                Scan::Whole(frame) => {
                    let ours = !self.is_traffic(slot, &frame);
                    if ours {
                        self.copy(slot, &bytes[start..end]);
                        self.answer(slot, &frame)?;
                        start = end + frame.length;
                    }
                    end += frame.length;
                }
                Scan::Partial => break,
                Scan::Broken => return Err(Gone),
            }
        }
        self.copy(slot, &bytes[start..end]);
        if let Some(client) = &mut self.clients[slot] {
            client.carry.extend_from_slice(&bytes[end..]);
        }
        Ok(())
    }

    #[inline]
    fn is_traffic(&mut self, slot: usize, frame: &Frame<'_>) -> bool {
        match frame.packet_type() {
            PacketType::Publish => {
                if self.clients[slot].as_ref().is_some_and(|client| !client.routed) {
                    self.learn(slot, frame);
                }
                true
            }
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => true,
            PacketType::Connect
            | PacketType::Connack
            | PacketType::Subscribe
            | PacketType::Suback
            | PacketType::Pingreq
            | PacketType::Pingresp
            | PacketType::Disconnect
            | PacketType::Other => false,
        }
    }

    #[inline]
    fn copy(&mut self, slot: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let Some(source) = &mut self.clients[slot] else { return };
        let audience = std::mem::take(&mut source.audience);
        for &target in &audience {
            self.append(target, bytes);
        }
        if let Some(source) = &mut self.clients[slot] {
            source.audience = audience;
        }
    }

    #[inline]
    fn append(&mut self, slot: usize, bytes: &[u8]) {
        let Some(Some(client)) = self.clients.get_mut(slot) else { return };
        client.peer.outbox.extend_from_slice(bytes);
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Finds out who hears a publisher.
    fn learn(&mut self, slot: usize, frame: &Frame<'_>) {
        let Some(topic) = string(frame.body) else { return };
        let hears = |client: &&Client| client.filter.as_ref().is_some_and(|filter| matches(filter, topic));
        let audience: Vec<usize> =
            self.clients.iter().flatten().filter(hears).map(|client| client.peer.slot()).collect();
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
    fn answer(&mut self, slot: usize, frame: &Frame<'_>) -> Result<(), Gone> {
        let Some(client) = &mut self.clients[slot] else { return Ok(()) };
        let reply: &[u8] = match frame.packet_type() {
            PacketType::Connect => {
                client.version_5 = frame.body.get(6) == Some(&5);
                if client.version_5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] }
            }
            PacketType::Subscribe => {
                let [high, low, rest @ ..] = frame.body else { return Err(Gone) };
                // The generator sends no properties, so their length is one byte.
                let rest = if client.version_5 { rest.get(1..).ok_or(Gone)? } else { rest };
                client.filter = Some(string(rest).ok_or(Gone)?.to_vec());
                let granted = rest.last().copied().ok_or(Gone)?;
                if client.version_5 {
                    &[0x90, 4, *high, *low, 0, granted]
                } else {
                    &[0x90, 3, *high, *low, granted]
                }
            }
            PacketType::Pingreq => &PINGRESP,
            _ => return Err(Gone), // DISCONNECT, or nothing that a generator sends.
        };
        self.append(slot, reply);
        Ok(())
    }

    fn dismiss(&mut self, slot: usize) {
        if self.clients.get_mut(slot).and_then(Option::take).is_none() {
            return;
        }
        self.door.release(slot);
        for client in self.clients.iter_mut().flatten() {
            client.audience.retain(|&target| target != slot);
        }
    }
}

impl Client {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            version_5: false,
            filter: None,
            audience: vec![],
            routed: false,
            dirty: false,
            carry: vec![],
        }
    }
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

    #[test]
    fn filters_match_by_level() {
        assert!(matches(b"a/b", b"a/b"));
        assert!(matches(b"a/+/c", b"a/b/c"));
        assert!(matches(b"a/#", b"a/b/c"));
        assert!(!matches(b"a/b", b"a/b/c"));
        assert!(!matches(b"a/+", b"a"));
        assert!(!matches(b"a/b/c", b"a/b"));
    }
}
