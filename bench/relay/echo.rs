//! A plain epoll echo server: what comes is sent back on the same connection.
//!
//! Why it is the measure for sparse traffic: with one message in flight per connection a broker must at least read
//! once and write once per message, and this server does exactly that.
//!
//! Invariants:
//! - One `recv` and one `send` per message, if messages come one at a time.

use std::net::TcpListener;

use rustix::event::Timespec;

use super::peer::{Door, Gone, Happening, Peer, seat};
use crate::failure::Failure;

const INBOUND_BYTES: usize = 64 * 1_024;

/// The server.
#[derive(Debug)]
pub(crate) struct Echo {
    door: Door,
    peers: Vec<Option<Peer>>,
    happenings: Vec<Happening>,
    inbound: Vec<u8>,
}

impl Echo {
    /// Serves `listener`.
    pub(crate) fn new(listener: TcpListener) -> Result<Self, Failure> {
        let door = Door::new(listener)?;
        Ok(Self { door, peers: vec![], happenings: vec![], inbound: vec![0; INBOUND_BYTES] })
    }

    /// Waits once and echoes what came.
    pub(crate) fn turn(&mut self, timeout: Option<&Timespec>) -> Result<(), Failure> {
        let peers = &mut self.peers;
        self.door.wait(timeout, &mut self.happenings, |peer| seat(peers, peer.slot(), peer))?;
        for happening in std::mem::take(&mut self.happenings) {
            let Some(Some(peer)) = self.peers.get_mut(happening.slot) else { continue };
            if echo(&self.door, peer, &mut self.inbound, happening) == Err(Gone) {
                self.peers[happening.slot] = None;
                self.door.release(happening.slot);
            }
        }
        Ok(())
    }
}

#[inline]
fn echo(door: &Door, peer: &mut Peer, inbound: &mut [u8], happening: Happening) -> Result<(), Gone> {
    if happening.writable {
        door.unblock(peer)?;
    }
    if happening.readable {
        let count = peer.receive(inbound)?;
        peer.outbox.extend_from_slice(&inbound[..count]);
        door.flush(peer)?;
    }
    Ok(())
}
