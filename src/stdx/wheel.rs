//! A hierarchical timer wheel: constant-time insertion, no cancellation.
//!
//! Why no cancellation: keep-alive deadlines move with every packet, so owners store the real deadline beside their
//! state, and when an entry fires they look whether it still holds and insert it again if not. A packet then costs one
//! store instead of two list operations.
//!
//! Invariants:
//! - An entry never fires early; it fires at most one tick (16 ms) late, as long as `advance` is called in time.
//! - Entries that fire in one tick come out in the order of their insertion into that tick's slot.

use crate::Instant;

const TICK_NS: u64 = 16_000_000;
const SLOT_BITS: u32 = 6;
const SLOTS: u64 = 1 << SLOT_BITS;
const LEVELS: usize = 5;

/// Timers of one core. `K` is a small key that lets the owner find what the timer was for.
#[derive(Debug)]
pub struct Wheel<K> {
    tick: u64,
    levels: Vec<Level<K>>,
    len: usize,
}

#[derive(Debug)]
struct Level<K> {
    occupied: u64,
    slots: Vec<Vec<(u64, K)>>,
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel that stands at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let level = || Level { occupied: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() };
        Self { tick: now.ns() / TICK_NS, levels: (0..LEVELS).map(|_| level()).collect(), len: 0 }
    }

    /// How many entries wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry that fires once at `deadline`, or at the next tick if that has passed.
    pub fn insert(&mut self, deadline: Instant, key: K) {
        self.len += 1;
        self.place(deadline.ns().div_ceil(TICK_NS), key);
    }

    /// Moves the wheel to `now` and appends the keys of all entries that are due to `fired`.
    pub fn advance(&mut self, now: Instant, fired: &mut Vec<K>) {
        let target = now.ns() / TICK_NS;
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= target) {
            self.tick = tick;
            self.cascade();
            let slot = slot_of(tick, 0);
            self.levels[0].occupied &= !(1 << slot);
            let slot = &mut self.levels[0].slots[slot];
            self.len -= slot.len();
            fired.extend(slot.drain(..).map(|(_, key)| key));
        }
        self.tick = self.tick.max(target);
    }

    /// When `advance` should be called next; may be earlier than the first deadline, never later. Cost: five words.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_tick().map(|tick| Instant::from_ns(tick.saturating_mul(TICK_NS)))
    }

    fn next_tick(&self) -> Option<u64> {
        let mut earliest = None;
        for (level, wheel) in self.levels.iter().enumerate() {
            if wheel.occupied == 0 {
                continue;
            }
            let shift = shift_of(level);
            let window = self.tick >> shift;
            let here = u32::try_from(window % SLOTS).expect("a slot index is below 64");
            // Distance 1..=64: a slot with the present index belongs to the next turn of the wheel.
            let ahead = u64::from(wheel.occupied.rotate_right((here + 1) % 64).trailing_zeros()) + 1;
            let tick = (window + ahead) << shift;
            earliest = Some(earliest.map_or(tick, |other: u64| other.min(tick)));
        }
        earliest
    }

    fn place(&mut self, tick: u64, key: K) {
        let tick = tick.max(self.tick + 1);
        let ahead = tick - self.tick;
        let level = (0..LEVELS - 1).find(|level| ahead < 1 << shift_of(level + 1)).unwrap_or(LEVELS - 1);
        // Beyond the reach of the last level: park in its farthest slot, and place again when that comes round.
        let reach = (SLOTS - 1) << shift_of(LEVELS - 1);
        let slot = slot_of(self.tick + ahead.min(reach), level);
        self.levels[level].occupied |= 1 << slot;
        self.levels[level].slots[slot].push((tick, key));
    }

    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            if !self.tick.is_multiple_of(1 << shift_of(level)) {
                continue;
            }
            let slot = slot_of(self.tick, level);
            self.levels[level].occupied &= !(1 << slot);
            let entries = std::mem::take(&mut self.levels[level].slots[slot]);
            for (tick, key) in entries {
                if tick <= self.tick {
                    let slot = slot_of(self.tick, 0);
                    self.levels[0].slots[slot].push((tick, key));
                } else {
                    self.place(tick, key);
                }
            }
        }
    }
}

fn shift_of(level: usize) -> u32 {
    SLOT_BITS * u32::try_from(level).expect("five levels")
}

fn slot_of(tick: u64, level: usize) -> usize {
    usize::try_from((tick >> shift_of(level)) % SLOTS).expect("a slot index is below 64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Prng, Span};

    #[test]
    fn every_entry_fires_once_never_early_and_at_most_one_tick_late() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let mut now = Instant::from_ns(prng.below(1 << 40));
            let mut wheel = Wheel::new(now);
            let mut waiting: Vec<Option<Instant>> = Vec::new();
            for _ in 0..2_000 {
                if prng.one_in(2) {
                    let exponent = prng.below(55);
                    let deadline = now + Span::from_ns(prng.below(1 << exponent));
                    wheel.insert(deadline, waiting.len());
                    waiting.push(Some(deadline));
                } else {
                    let exponent = prng.below(45);
                    let target = now + Span::from_ns(prng.below(1 << exponent));
                    while let Some(next) = wheel.next_deadline().filter(|next| *next <= target) {
                        now = next.max(now);
                        fire(&mut wheel, now, &mut waiting);
                    }
                    now = target;
                    fire(&mut wheel, now, &mut waiting);
                    for deadline in waiting.iter().flatten() {
                        assert!(*deadline + Span::from_ns(TICK_NS) > now, "an entry is overdue");
                    }
                }
            }
            assert_eq!(wheel.len(), waiting.iter().flatten().count());
        }
    }

    fn fire(wheel: &mut Wheel<usize>, now: Instant, waiting: &mut [Option<Instant>]) {
        let mut fired = Vec::new();
        wheel.advance(now, &mut fired);
        for key in fired {
            let deadline = waiting[key].take().expect("an entry fires once");
            assert!(deadline <= now, "an entry fired early");
        }
    }

    #[test]
    fn an_empty_wheel_has_no_deadline() {
        let wheel: Wheel<u8> = Wheel::new(Instant::START);
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }
}
