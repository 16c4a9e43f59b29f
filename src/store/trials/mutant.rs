//! Engines with a fault of their own: what the tests of crashes must find.
//!
//! Why: a test of what a crash may take away proves something only if it notices an engine that loses more.
//!
//! Invariants:
//! - With `Mutation::None` it is the engine itself.

use std::ops::Range;

use crate::engine::{Batch, Engine, Op, Visit};
use crate::fault::Fault;
use crate::memory::MemoryEngine;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    None,
    /// Says that it has synced and has not.
    SkipsSync,
    /// Syncs first and commits then.
    SyncsTooEarly,
    /// Writes a batch in two halves, between which the power may fail.
    TearsBatches,
    /// Does not write removals.
    ForgetsRemovals,
}

pub struct Mutant {
    pub engine: MemoryEngine,
    pub mutation: Mutation,
}

impl Mutant {
    pub fn new(mutation: Mutation) -> Self {
        Self { engine: MemoryEngine::default(), mutation }
    }
}

fn halves(batch: &Batch) -> [Batch; 2] {
    let mut halves = [Batch::default(), Batch::default()];
    for (index, op) in batch.iter().enumerate() {
        let half = &mut halves[usize::from(index >= batch.len() / 2)];
        match op {
            Op::Put { key, value } => half.put(key, |out| out.extend_from_slice(value)),
            Op::Remove { key } => half.remove(key),
        }
    }
    halves
}

impl Engine for Mutant {
    fn commit(&mut self, batch: &Batch) -> Result<(), Fault> {
        match self.mutation {
            Mutation::TearsBatches => halves(batch).iter().try_for_each(|half| self.engine.commit(half)),
            Mutation::SyncsTooEarly => {
                self.engine.sync()?;
                self.engine.commit(batch)
            }
            Mutation::ForgetsRemovals => {
                let mut puts = Batch::default();
                for op in batch.iter() {
                    if let Op::Put { key, value } = op {
                        puts.put(key, |out| out.extend_from_slice(value));
                    }
                }
                self.engine.commit(&puts)
            }
            Mutation::None | Mutation::SkipsSync => self.engine.commit(batch),
        }
    }

    fn sync(&mut self) -> Result<(), Fault> {
        match self.mutation {
            Mutation::SkipsSync | Mutation::SyncsTooEarly => Ok(()),
            Mutation::None | Mutation::TearsBatches | Mutation::ForgetsRemovals => self.engine.sync(),
        }
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.engine.read(key)
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        self.engine.scan(range, visit)
    }

    fn scan_back(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        self.engine.scan_back(range, visit)
    }

    fn records_about(&self) -> u64 {
        self.engine.records_about()
    }
}
