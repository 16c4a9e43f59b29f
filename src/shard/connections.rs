//! The connection table of one core.
//!
//! Why generations: completions and timers of a connection may arrive after its slot has been given to another one.
//!
//! Invariants:
//! - A `ConnId` finds its connection only while that connection lives.

use std::net::SocketAddr;

use broker::{LinkId, SessionKey};
use mqtt::Version;
use stdx::Instant;
use wire::Inlet;

use crate::coating::Coating;
use crate::devices::DeviceEnd;
use crate::effects::{ConnId, ListenerId};

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub listener: ListenerId,
    pub peer: SocketAddr,
    pub inlet: Inlet,
    /// None for plain TCP.
    pub coating: Option<Box<Coating>>,
    /// Whether the doorkeeper has counted it in, and must be told when it is gone.
    pub has_arrived: bool,
    pub state: State,
    /// The driver was told not to read it.
    pub is_paused: bool,
    /// If it is a device's and packets are interpreted.
    pub device: Option<Box<DeviceEnd>>,
}

impl Connection {
    /// Whether its address is not known yet, because a PROXY header comes first.
    pub fn awaits_peer(&self) -> bool {
        self.coating.as_ref().is_some_and(|coating| coating.coats.awaits_peer())
    }

    /// Whether its coats have put it into the effects of this turn.
    pub fn is_dirty_by_coats(&self) -> bool {
        self.coating.as_ref().is_some_and(|coating| coating.is_dirty)
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// No CONNECT yet.
    Lobby { accepted_at: Instant },
    /// Admitted, here.
    Home { key: SessionKey, version: Version },
}

#[derive(Debug)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

impl Connections {
    pub fn new() -> Self {
        Self { slots: Vec::with_capacity(stdx::ROOM), free: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, connection: Connection) -> ConnId {
        self.len += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            stdx::narrow(self.slots.len() - 1)
        });
        let slot = &mut self.slots[stdx::widen(index)];
        slot.connection = Some(connection);
        ConnId { index, generation: slot.generation }
    }

    #[inline]
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(stdx::widen(conn.index))?;
        if slot.generation == conn.generation { slot.connection.as_mut() } else { None }
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        self.get_mut(conn)?;
        let slot = &mut self.slots[stdx::widen(conn.index)];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(conn.index);
        self.len -= 1;
        slot.connection.take()
    }

    /// The connections, lowest slot first.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let conn = ConnId { index: stdx::narrow(index), generation: slot.generation };
            slot.connection.as_ref().map(|connection| (conn, connection))
        })
    }
}

/// The name of a connection inside the exchange.
pub(crate) fn link_of(conn: ConnId) -> LinkId {
    LinkId(u64::from(conn.generation) << 32 | u64::from(conn.index))
}

/// The connection that the exchange calls `link`.
pub(crate) fn conn_of(link: LinkId) -> ConnId {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("masked to 32 bits");
    ConnId { index: half(link.0), generation: half(link.0 >> 32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            listener: ListenerId(0),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            inlet: Inlet::default(),
            coating: None,
            has_arrived: false,
            state: State::Lobby { accepted_at: Instant::START },
            is_paused: false,
            device: None,
        }
    }

    #[test]
    fn a_reused_slot_does_not_answer_to_its_old_name() {
        let mut connections = Connections::new();
        let first = connections.insert(connection());
        assert!(connections.remove(first).is_some());
        let second = connections.insert(connection());
        assert_eq!(first.index, second.index);
        assert!(connections.get_mut(first).is_none() && connections.remove(first).is_none());
        assert!(connections.get_mut(second).is_some());
        assert_eq!((connections.len(), connections.iter().count()), (1, 1));
    }

    #[test]
    fn a_link_and_a_connection_name_each_other() {
        let conn = ConnId { index: 7, generation: u32::MAX };
        assert_eq!(conn_of(link_of(conn)), conn);
    }
}
