//! The ids of retained messages in the order of their topics.
//!
//! Why not a tree map: its keys would be the messages themselves, and replacing a message, which is what most retained
//! traffic does, would have to search for the key. Here an id of four bytes stays in its place while its message
//! changes; only a new topic or a cleared one moves anything, and then at most one block of ids.
//!
//! Why blocks: one sorted vector of a million ids would move megabytes per new topic.
//!
//! Invariants:
//! - Ids are in rising [`compare`] order of their topics, within and across blocks.
//! - No block is empty or holds more than `BLOCK_IDS`.

use std::cmp::Ordering;

use crate::arena::Id;

/// A sorted sequence of ids. It does not know the topics; each search brings its own comparison.
#[derive(Debug)]
pub(super) struct Order {
    blocks: Vec<Vec<Id>>,
    edits: u64,
}

/// Where an id is, or where one would have to be put in. Valid until the next insertion or removal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    block: usize,
    index: usize,
}

impl Order {
    pub(super) fn new() -> Self {
        Self { blocks: Vec::new(), edits: 0 }
    }

    /// The number of insertions and removals so far: while it stands, places are valid.
    pub(super) fn edits(&self) -> u64 {
        self.edits
    }

    /// All ids in order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = Id> {
        self.blocks.iter().flatten().copied()
    }

    /// The id at `place`, or the first of the next block if `place` is the end of one.
    pub(super) fn get(&self, place: Place) -> Option<Id> {
        let block = self.blocks.get(place.block)?;
        block.get(place.index).or_else(|| self.blocks.get(place.block + 1)?.first()).copied()
    }

    /// The place before which all ids are `before` and behind which none is. Cost: O(log n) calls.
    pub(super) fn seek(&self, before: impl Fn(Id) -> bool) -> Place {
        let blocks_before = self.blocks.partition_point(|block| before(block[0]));
        let block = blocks_before.saturating_sub(1);
        let index = self.blocks.get(block).map_or(0, |block| block.partition_point(|&id| before(id)));
        Place { block, index }
    }

    /// Like [`Order::seek`], when the place is known to be behind `place`. Cost: one call if it is the next place,
    /// else as for a seek within the block or within all.
    pub(super) fn seek_behind(&self, place: Place, before: impl Fn(Id) -> bool) -> Place {
        let Some(block) = self.blocks.get(place.block) else { return place };
        let rest = block.get(place.index + 1..).unwrap_or_default();
        let (Some(&next), Some(&last)) = (rest.first(), rest.last()) else { return self.seek(before) };
        if !before(next) {
            return Place { block: place.block, index: place.index + 1 };
        }
        if before(last) {
            return self.seek(before);
        }
        let skipped = rest.partition_point(|&id| before(id));
        Place { block: place.block, index: place.index + 1 + skipped }
    }

    /// Puts `id` in at a place that a seek for its topic found.
    pub(super) fn insert(&mut self, place: Place, id: Id) {
        self.edits += 1;
        let Some(block) = self.blocks.get_mut(place.block) else {
            self.blocks.push(vec![id]);
            return;
        };
        block.insert(place.index, id);
        if block.len() > BLOCK_IDS {
            let upper = block.split_off(BLOCK_IDS / 2);
            self.blocks.insert(place.block + 1, upper);
        }
    }

    /// Takes the id at `place` out. Blocks that have become small are joined, so memory follows the count.
    pub(super) fn remove(&mut self, place: Place) {
        self.edits += 1;
        let is_end = self.blocks[place.block].len() == place.index;
        let (block, index) = if is_end { (place.block + 1, 0) } else { (place.block, place.index) };
        self.blocks[block].remove(index);
        if self.blocks[block].is_empty() {
            self.blocks.remove(block);
            return;
        }
        self.join(block);
        if block > 0 {
            self.join(block - 1);
        }
    }

    /// Joins a block with the next one if both together are at most half full.
    fn join(&mut self, block: usize) {
        let Some(next) = self.blocks.get(block + 1) else { return };
        if self.blocks[block].len() + next.len() > BLOCK_IDS / 2 {
            return;
        }
        let next = self.blocks.remove(block + 1);
        self.blocks[block].extend(next);
    }
}

/// Compares topics level by level: a topic comes right before all topics below it, so a subtree is one range.
///
/// That is byte order, were the slash the lowest of all bytes. It may take the place of U+0000, which no topic has.
/// Source: [MQTT-4.7.3-2].
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let shared = left.iter().zip(right).position(|(left, right)| left != right);
    shared.map_or(left.len().cmp(&right.len()), |at| rank(left[at]).cmp(&rank(right[at])))
}

fn rank(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

/// Small enough that moving half a block costs little, large enough that the vector of blocks stays short.
const BLOCK_IDS: usize = 512;

#[cfg(test)]
mod tests {
    use crate::arena::Arena;

    use super::*;

    #[test]
    fn a_topic_comes_right_before_the_topics_below_it() {
        let sorted =
            ["/", "//", "/a", "a", "a/", "a//b", "a/$x", "a/b", "a/b/c", "a/b-", "a b", "a-b", "a/x0", "a0"];
        let mut topics = sorted;
        topics.sort_by(|left, right| compare(left.as_bytes(), right.as_bytes()));
        let by_levels = |topic: &&str| topic.split('/').map(str::to_owned).collect::<Vec<_>>();
        let mut expected = sorted;
        expected.sort_by_key(by_levels);
        assert_eq!(topics, expected);
    }

    /// An order of as many ids, and the arena that gave them out; a lower id comes before a higher one.
    fn filled(count: usize) -> (Order, Vec<Id>) {
        let mut arena = Arena::new();
        let mut order = Order::new();
        let ids: Vec<Id> = (0..count).map(|_| arena.insert(())).collect();
        for &id in &ids {
            order.insert(order.seek(|other| other < id), id);
        }
        (order, ids)
    }

    #[test]
    fn removing_a_whole_stretch_leaves_the_rest_in_order() {
        let (mut order, mut ids) = filled(5_000);
        for id in ids.drain(700..4_000) {
            order.remove(order.seek(|other| other < id));
        }
        assert!(order.iter().eq(ids.iter().copied()));
        assert!(ids.iter().all(|&id| order.get(order.seek(|other| other < id)) == Some(id)));
    }

    #[test]
    fn blocks_that_become_small_are_joined() {
        for is_upward in [true, false] {
            let (mut order, ids) = filled(50_000);
            let removed = (0..50_000).filter(|number| number % 100 != 0);
            let removed: Vec<usize> = if is_upward { removed.collect() } else { removed.rev().collect() };
            for number in removed {
                order.remove(order.seek(|other| other < ids[number]));
            }
            assert!(order.iter().eq(ids.iter().copied().step_by(100)));
            assert!(order.blocks.len() <= 4, "{} blocks for 500 ids", order.blocks.len());
        }
    }
}
