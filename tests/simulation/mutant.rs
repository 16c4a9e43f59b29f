//! Lies: ways to falsify what passes between clients and shards, to see whether the oracle notices.
use crate::wire::{ClientPacket, Framed, Version};

/// A liar.
#[derive(Clone, Debug, Default)]
pub struct Mutant {}

impl Mutant {
    /// See.
    pub fn filter(
        &mut self,
        _socket: usize,
        _version: Version,
        packets: Vec<(Framed, Vec<u8>)>,
    ) -> Vec<(Framed, Vec<u8>)> {
        packets
    }
    /// See.
    pub fn lie(&mut self, _packet: &ClientPacket) -> Option<ClientPacket> {
        None
    }
    /// See.
    pub fn closes(&mut self, closed: Vec<usize>) -> Vec<usize> {
        closed
    }
}
