//! Names of cores and sets of them.
//!
//! Why a fixed set of 128: a route holds one set per topic, and sixteen bytes copied beat a heap allocation per route.
//!
//! Invariants:
//! - A `CoreId` is below [`CORES_MAX`].

/// The most cores that one broker may run on.
pub const CORES_MAX: u16 = 128;

/// One core of this broker, counted from zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CoreId(u16);

/// A set of cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreSet(u128);

impl CoreId {
    /// Names core `index`, which must be below [`CORES_MAX`].
    #[must_use]
    pub const fn new(index: u16) -> Self {
        assert!(index < CORES_MAX);
        Self(index)
    }

    /// The number of the core.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number of the core, for indexing.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The core on which `key` (a client id) is at home, among `cores` cores.
    #[must_use]
    pub fn home_of(key: &[u8], cores: u16) -> Self {
        let place = stdx::stable_hash(key) % u64::from(cores.max(1));
        Self::new(u16::try_from(place).expect("below the number of cores"))
    }
}

impl CoreSet {
    /// Adds a core.
    pub fn insert(&mut self, core: CoreId) {
        self.0 |= 1 << core.0;
    }

    /// Takes a core out.
    pub fn remove(&mut self, core: CoreId) {
        self.0 &= !(1 << core.0);
    }

    /// The set with one bit per core, the lowest for core 0; for writing it down.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The set that [`CoreSet::bits`] wrote down.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Whether a core is in the set.
    #[must_use]
    pub const fn contains(self, core: CoreId) -> bool {
        self.0 & (1 << core.0) != 0
    }

    /// Whether no core is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds all cores of `other`.
    pub fn merge(&mut self, other: CoreSet) {
        self.0 |= other.0;
    }

    /// The cores, lowest first.
    pub fn iter(self) -> impl Iterator<Item = CoreId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = u16::try_from(rest.trailing_zeros()).ok().filter(|core| *core < CORES_MAX)?;
            rest &= rest - 1;
            Some(CoreId(lowest))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_back_its_cores_in_order() {
        let mut set = CoreSet::default();
        for core in [127, 0, 64] {
            set.insert(CoreId::new(core));
        }
        set.remove(CoreId::new(64));
        assert_eq!(set.iter().map(CoreId::get).collect::<Vec<_>>(), [0, 127]);
        assert!(CoreSet::default().iter().next().is_none());
    }

    #[test]
    fn every_key_has_a_home_that_exists() {
        for cores in 1..9 {
            assert!((0..100u32).all(|key| CoreId::home_of(&key.to_be_bytes(), cores).get() < cores));
        }
    }
}
