//! An engine in memory that loses, at a crash, what was not synced, and can have a crash at any call.
//!
//! Why a model of power failure and not only of process death: the promise is about the disk. After the power is back,
//! everything synced is there, of the rest any prefix (the disk may have written more than it was asked to), and a batch
//! that was half written is not there at all.
//!
//! Invariants:
//! - `synced` holds exactly what a sync has confirmed; `unsynced` the batches since, oldest first.
//! - Once the fuse has burned, every call fails until [`MemoryEngine::restart`].

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::engine::{Batch, Engine, Op, Visit};
use crate::fault::{Fault, FaultKind};
use crate::history::History;

type Map = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What is there now, which others may read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedMap(Arc<RwLock<Map>>);

impl SharedMap {
    pub fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Map> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of a range.
pub(crate) fn entries<'a>(
    map: &'a Map,
    range: Range<&[u8]>,
) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    let is_some = range.start < range.end;
    let bounds = (Bound::Included(range.start), Bound::Excluded(range.end));
    let entries = is_some.then(|| map.range::<[u8], _>(bounds));
    entries.into_iter().flatten().map(|(key, value)| (&**key, &**value))
}

/// A sorted map in memory. Unbounded: for simulation and tests. A clone is another disk that holds the same.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    now: SharedMap,
    synced: Map,
    unsynced: Vec<Batch>,
    /// How many more writes and syncs succeed before the power fails.
    fuse: Option<u64>,
    /// Writes and syncs until now.
    steps: u64,
    bytes_max: Option<usize>,
}

impl Clone for MemoryEngine {
    fn clone(&self) -> Self {
        let now = SharedMap(Arc::new(RwLock::new(self.now.read().clone())));
        let (synced, unsynced) = (self.synced.clone(), self.unsynced.clone());
        Self { now, synced, unsynced, fuse: self.fuse, steps: self.steps, bytes_max: self.bytes_max }
    }
}

impl MemoryEngine {
    /// Reads beside whoever has the engine.
    #[must_use]
    pub fn history(&self) -> History {
        History::in_memory(self.now.clone())
    }

    /// The power fails at the write or sync after `steps` more of them; each of these is a point at which it may fail.
    pub fn fail_after(&mut self, steps: u64) {
        self.fuse = Some(steps);
    }

    /// Writes and syncs until now: as many crash points as there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// At most so many bytes of keys and values from now on; more is a fault of kind `Full`. None: no limit.
    pub fn limit_bytes(&mut self, bytes_max: Option<usize>) {
        self.bytes_max = bytes_max;
    }

    /// How many batches a crash may take away now.
    #[must_use]
    pub fn unsynced_len(&self) -> usize {
        self.unsynced.len()
    }

    /// The power fails and comes back: what was synced is left, and the `luck` oldest batches of the rest.
    pub fn restart(&mut self, luck: usize) {
        let luck = luck.min(self.unsynced.len());
        for batch in self.unsynced.drain(..).take(luck) {
            apply(&mut self.synced, &batch);
        }
        self.now.write().clone_from(&self.synced);
        self.fuse = None;
    }

    /// Whether the power lasts for one more write or sync.
    fn step(&mut self) -> Result<(), Fault> {
        self.steps += 1;
        match &mut self.fuse {
            Some(0) => Err(Fault::new(FaultKind::Io, "the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn apply(map: &mut Map, batch: &Batch) {
    for op in batch.iter() {
        match op {
            Op::Put { key, value } => drop(map.insert(key.into(), value.into())),
            Op::Remove { key } => drop(map.remove(key)),
        }
    }
}

fn visit_all<'a>(
    entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    visit: &mut Visit<'_>,
) -> Result<(), Fault> {
    for (key, value) in entries {
        if visit(key, value)? == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

fn bytes_of(map: &Map) -> usize {
    map.iter().map(|(key, value)| key.len() + value.len()).sum()
}

impl Engine for MemoryEngine {
    fn commit(&mut self, batch: &Batch) -> Result<(), Fault> {
        let lasts = self.step();
        // Looked at even when the power fails: a disk may have got a batch whose writer never heard of it.
        if let Some(bytes_max) = self.bytes_max
            && !batch.only_removes()
            && bytes_of(&self.now.read()) + batch.bytes() > bytes_max
        {
            return Err(Fault::new(FaultKind::Full, "the limit of the model is reached"));
        }
        apply(&mut self.now.write(), batch);
        self.unsynced.push(batch.clone());
        lasts
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.step()?;
        self.synced.clone_from(&self.now.read());
        self.unsynced.clear();
        Ok(())
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.now.read().get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        visit_all(entries(&self.now.read(), range), visit)
    }

    fn scan_back(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        visit_all(entries(&self.now.read(), range).rev(), visit)
    }

    fn records_about(&self) -> u64 {
        self.now.read().len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(engine: &mut MemoryEngine, key: &[u8]) -> Result<(), Fault> {
        let mut batch = Batch::default();
        batch.put(key, |value| value.push(1));
        engine.commit(&batch)
    }

    fn keys(engine: &MemoryEngine) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        };
        engine.scan(&b"\0"[..]..&b"\xff"[..], &mut visit).unwrap();
        keys
    }

    #[test]
    fn a_crash_takes_what_was_not_synced_or_the_younger_part_of_it() {
        let mut engine = MemoryEngine::default();
        put(&mut engine, b"a").unwrap();
        engine.sync().unwrap();
        put(&mut engine, b"b").unwrap();
        put(&mut engine, b"c").unwrap();
        let mut lucky = engine.clone();
        engine.restart(0);
        assert_eq!(keys(&engine), [b"a"]);
        lucky.restart(1);
        assert_eq!(keys(&lucky), [b"a", b"b"]);
    }

    #[test]
    fn the_power_fails_where_it_was_asked_to() {
        let mut engine = MemoryEngine::default();
        engine.fail_after(1);
        put(&mut engine, b"a").unwrap();
        assert!(engine.sync().is_err());
        assert!(put(&mut engine, b"b").is_err());
        engine.restart(0);
        assert_eq!(keys(&engine), [b""; 0]);
        put(&mut engine, b"b").unwrap();
        assert_eq!(engine.steps(), 4);
    }

    #[test]
    fn a_full_model_still_takes_removals() {
        let mut engine = MemoryEngine::default();
        put(&mut engine, b"a").unwrap();
        engine.limit_bytes(Some(2));
        assert!(put(&mut engine, b"b").unwrap_err().is_full());
        let mut batch = Batch::default();
        batch.remove(b"a");
        engine.commit(&batch).unwrap();
        put(&mut engine, b"b").unwrap();
        assert_eq!(keys(&engine), [b"b"]);
    }
}
