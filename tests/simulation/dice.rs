//! Seeded choices: the only source of chance in a run.
//!
//! Why on top of `stdx::Prng`: the simulation thinks in shares ("30 of 100 times"), picks and ranges, and every draw must
//! come from the one sequence that the seed names.
//!
//! Invariants:
//! - Two dice of one seed give the same sequence for ever.

use stdx::Prng;

/// A sequence of choices.
#[derive(Clone, Debug)]
pub struct Dice {
    prng: Prng,
}

impl Dice {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { prng: Prng::new(seed) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.prng.next_u64()
    }

    /// A number below `bound`, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("usize has at most 64 bits");
        usize::try_from(self.prng.below(bound)).expect("below a usize")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.prng.below(high - low + 1)
    }

    /// True `share` of 100 times.
    pub fn percent(&mut self, share: u64) -> bool {
        self.prng.below(100) < share
    }

    /// One of the items, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// The index of one of the weights, drawn in proportion; the sum must not be zero.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut point = self.prng.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if point < *weight {
                return index;
            }
            point -= weight;
        }
        unreachable!("the point lies below the sum of the weights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_zero_are_never_drawn_and_others_are() {
        let mut dice = Dice::new(3);
        let mut drawn = [0; 4];
        for _ in 0..1000 {
            drawn[dice.weighted(&[0, 1, 0, 3])] += 1;
        }
        assert_eq!((drawn[0], drawn[2]), (0, 0));
        assert!(drawn[1] > 150 && drawn[3] > 600);
    }

    #[test]
    fn a_range_includes_both_its_ends() {
        let mut dice = Dice::new(4);
        let draws: Vec<u64> = (0..100).map(|_| dice.between(2, 4)).collect();
        assert!(
            (2..=4).all(|number| draws.contains(&number)) && draws.iter().all(|draw| (2..=4).contains(draw))
        );
    }
}
