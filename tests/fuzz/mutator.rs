//! Seeded mutations of inputs.
//!
//! Why these: a parser breaks at lengths, at ends and where two lawful parts meet, so bits, lengths, cuts and splices
//! with other inputs are what changes.
//!
//! Invariants:
//! - The same seed and the same inputs give the same mutants.
//! - A mutant has at most [`BYTES_MAX`] bytes.

use stdx::Prng;

/// Longer inputs cost time and find nothing that shorter ones do not.
const BYTES_MAX: usize = 4096;
/// Values that lengths, flags and ids go wrong at.
const EDGES: [u8; 12] = [0, 1, 2, 4, 0x0f, 0x10, 0x7f, 0x80, 0x82, 0xc0, 0xfe, 0xff];

/// Makes mutants of a corpus.
#[derive(Debug)]
pub struct Mutator {
    prng: Prng,
}

impl Mutator {
    /// The mutations of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { prng: Prng::new(seed) }
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a length fits 64 bits");
        usize::try_from(self.prng.below(bound.max(1))).expect("below a length")
    }

    /// A mutant of one of the inputs, perhaps with parts of another; written over `out`.
    pub fn mutant(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
        out.clear();
        if !corpus.is_empty() {
            out.extend_from_slice(&corpus[self.below(corpus.len())]);
        }
        let changes = 1 << self.below(4);
        for _ in 0..changes {
            self.change(corpus, out);
        }
        out.truncate(BYTES_MAX);
    }

    fn change(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
        let at = self.below(out.len() + 1);
        match self.below(9) {
            0 => self.set(out, at, |byte, bits| byte ^ (1 << (bits % 8))),
            1 => self.set(out, at, |_, bits| EDGES[bits % EDGES.len()]),
            2 => self.set(out, at, |_, bits| bits.to_le_bytes()[0]),
            3 => {
                self.set(out, at, |byte, bits| byte.wrapping_add((bits % 9).to_le_bytes()[0]).wrapping_sub(4))
            }
            4 => {
                let byte = EDGES[self.below(EDGES.len())];
                out.insert(at, byte);
            }
            5 => drop(out.drain(at..(at + 1 + self.below(8)).min(out.len()).max(at))),
            6 => out.truncate(at),
            7 => {
                let end = (at + self.below(64)).min(out.len());
                let copy = out[at..end].to_vec();
                let to = self.below(out.len() + 1);
                out.splice(to..to, copy);
            }
            _eight => self.splice(corpus, out, at),
        }
    }

    fn set(&mut self, out: &mut [u8], at: usize, new: impl Fn(u8, usize) -> u8) {
        let bits = self.below(1 << 16);
        if let Some(byte) = out.get_mut(at) {
            *byte = new(*byte, bits);
        }
    }

    /// Part of another input, instead of or beside what stands there.
    fn splice(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>, at: usize) {
        if corpus.is_empty() {
            return;
        }
        let other = &corpus[self.below(corpus.len())];
        let start = self.below(other.len());
        let end = start + self.below(other.len() - start + 1);
        let until = if self.below(2) == 0 { at } else { (at + end - start).min(out.len()) };
        out.splice(at..until, other[start..end].iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_mutants_and_they_differ_from_each_other() {
        let corpus = [b"0123456789".to_vec(), vec![7; 5000]];
        let mutants = |seed| {
            let (mut mutator, mut out) = (Mutator::new(seed), Vec::new());
            let mut mutants: Vec<Vec<u8>> = Vec::new();
            for _ in 0..200 {
                mutator.mutant(&corpus, &mut out);
                assert!(out.len() <= BYTES_MAX);
                mutants.push(out.clone());
            }
            mutants
        };
        assert_eq!(mutants(1), mutants(1));
        let mut different = mutants(2);
        different.sort();
        different.dedup();
        assert!(different.len() > 150, "{}", different.len());
    }
}
