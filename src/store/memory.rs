//! A store in memory that forgets, at a crash, everything that was not synced.
//!
//! Why: a simulated power cut must take away exactly what a real one may.
//!
//! Invariants:
//! - `synced` is never above the number of changes.

use broker::Change;

use crate::{Lsn, Store};

/// Changes in memory. Unbounded: for simulation and tests.
#[derive(Debug, Default)]
pub struct MemoryStore {
    changes: Vec<Change>,
    synced: usize,
}

impl MemoryStore {
    /// The power fails: only what was synced is left.
    pub fn crash(&mut self) {
        self.changes.truncate(self.synced);
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing was ever appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes, oldest first.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

impl Store for MemoryStore {
    fn append(&mut self, changes: &mut Vec<Change>) -> Lsn {
        self.changes.append(changes);
        Lsn(u64::try_from(self.changes.len()).expect("a length fits 64 bits"))
    }

    fn sync(&mut self) {
        self.synced = self.changes.len();
    }

    fn durable(&self) -> Lsn {
        Lsn(u64::try_from(self.synced).expect("a length fits 64 bits"))
    }

    fn replay(&self, visit: &mut dyn FnMut(&Change)) {
        self.changes.iter().for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use broker::CoreId;
    use shard::{Accepted, ConnId, ListenerId, Settings, Setup, Shard};
    use stdx::{Instant, WallMs};

    use super::*;

    const CONNECT_A: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a";
    const CONNECT_B: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01b";
    const SUBSCRIBE: &[u8] = b"\x82\x06\x00\x01\x00\x01t\x02";
    const QOS1: &[u8] = b"\x32\x06\x00\x01t\x00\x01x";
    const QOS2: &[u8] = b"\x34\x06\x00\x01t\x00\x02y";
    const RETAINED: &[u8] = b"\x31\x04\x00\x01rz";

    fn now() -> Instant {
        Instant::START
    }

    fn broker() -> Shard {
        let settings = Arc::new(Settings { journal_is_on: true, sys_interval_s: 0, ..Settings::default() });
        Shard::new(Setup { core: CoreId::new(0), cores: 1, seed: 1, settings, wall: WallMs(0) }, now())
    }

    fn talk(shard: &mut Shard, conn: ConnId, bytes: &[&[u8]]) -> Vec<u8> {
        shard.handle_bytes(now(), conn, &bytes.concat());
        shard.end_turn(now());
        let out = shard.take_out(conn, Vec::new());
        shard.handle_sent(now(), conn, out.len());
        out
    }

    fn accept(shard: &mut Shard) -> ConnId {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        shard.handle_accepted(now(), Accepted { listener: ListenerId(0), peer }).unwrap()
    }

    /// A lasting session with one message inflight, released or not, and one queued; one retained message.
    fn lived(store: &mut MemoryStore) {
        let mut shard = broker();
        let (a, b) = (accept(&mut shard), accept(&mut shard));
        talk(&mut shard, a, &[CONNECT_A, SUBSCRIBE]);
        talk(&mut shard, b, &[CONNECT_B, QOS1, QOS2, RETAINED]);
        assert_eq!(talk(&mut shard, a, &[b"\x50\x02\x00\x02"]).last_chunk(), Some(b"\x62\x02\x00\x02"));
        shard.handle_gone(now(), a);
        talk(&mut shard, b, &[QOS1]);
        let mut changes = Vec::new();
        shard.take_changes(&mut changes);
        store.append(&mut changes);
    }

    fn revived(store: &MemoryStore) -> Vec<u8> {
        let mut shard = broker();
        shard.restore(now(), store.changes());
        let a = accept(&mut shard);
        talk(&mut shard, a, &[CONNECT_A, b"\x82\x06\x00\x02\x00\x01r\x00"])
    }

    #[test]
    fn a_session_comes_back_with_its_inflight_its_queue_its_subscriptions_and_the_retained_messages() {
        let mut store = MemoryStore::default();
        lived(&mut store);
        store.sync();
        assert_eq!(store.durable(), Lsn(store.len() as u64));
        let expected: [&[u8]; 6] = [
            b"\x20\x02\x01\x00",
            b"\x3a\x06\x00\x01t\x00\x01x",
            b"\x62\x02\x00\x02",
            b"\x32\x06\x00\x01t\x00\x03x",
            b"\x90\x03\x00\x02\x00",
            RETAINED,
        ];
        assert_eq!(revived(&store), expected.concat());
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        let mut store = MemoryStore::default();
        lived(&mut store);
        store.crash();
        assert!(store.is_empty());
        assert_eq!(revived(&store), [&b"\x20\x02\x00\x00"[..], b"\x90\x03\x00\x02\x00"].concat());
    }
}
