//! Telemetry becomes records: rows where a device says what is said often, single values otherwise.
//!
//! Why not always rows: a question about one key looks into each set of names that its device ever said it with. Devices
//! that say whatever has changed would have thousands of sets; what is seldom said together is kept apart.
//!
//! Invariants:
//! - Of values of one key and time, and of latest values of one key, the last one accepted has the highest number.
//! - Numbers are never given twice: what is used is below what the disk says, at the latest from the same commit on.

use device::{DeviceId, Keeping, Sample};

use crate::devices::{
    DeviceKey, ROW_LEN_MAX, RowDraft, RowKind, Series, encode_fact, encode_numbers, encode_point,
};
use crate::keeper::handovers::Handovers;

use super::shelf::Shelf;

/// Numbers that are made ready at once: one record for so many writes.
const NUMBERS_STEP: u64 = 1 << 20;
/// Sets of names about which something is remembered.
const SETS_MAX: usize = 4_096;
/// How much more is remembered of a set than is needed: so often others may take its place before it is forgotten.
const MEMORY: u8 = 64;

/// Which of a device's values are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    Latest,
    Points,
    Both,
}

/// The numbers of writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    last: u64,
    /// What the disk says, or will with the next flush.
    end: u64,
}

impl Numbers {
    /// All up to here may have been used.
    pub fn recovered(end: u64) -> Self {
        Self { last: end, end }
    }
}

/// Which sets of names are said often, as far as it is remembered.
#[derive(Debug, Default)]
pub(super) struct Habits {
    sets: Vec<(u64, u8)>,
}

impl Habits {
    /// Whether a set was said as often as `wanted` by now, this time included.
    pub fn is_usual(&mut self, set: u64, wanted: u8) -> bool {
        if self.sets.is_empty() {
            self.sets = vec![(0, 0); SETS_MAX];
        }
        let place = usize::try_from(set % stdx::count(SETS_MAX)).expect("less than a usize");
        let (known, count) = &mut self.sets[place];
        if *known == set {
            *count = count.saturating_add(1).min(wanted.saturating_add(MEMORY));
            return *count >= wanted;
        }
        // Two sets of one place: the one that is said more often stays.
        *count = count.saturating_sub(1);
        if *count == 0 {
            (*known, *count) = (set, 1);
            return wanted <= 1;
        }
        false
    }
}

impl Shelf {
    pub(super) fn accept_telemetry(
        &mut self,
        handovers: &mut Handovers,
        device: DeviceId,
        samples: &[Sample<'_>],
        keeping: Keeping,
    ) {
        match keeping {
            Keeping::Forward => {}
            Keeping::Latest => self.put_samples(handovers, device, samples, Kept::Latest),
            Keeping::History => self.put_samples(handovers, device, samples, Kept::Both),
        }
    }

    pub(super) fn put_samples(
        &mut self,
        handovers: &mut Handovers,
        device: DeviceId,
        samples: &[Sample<'_>],
        kept: Kept,
    ) {
        let mut draft = std::mem::take(&mut self.draft);
        for of_one_time in samples.chunk_by(|one, next| one.at_ms == next.at_ms) {
            for samples in of_one_time.chunks(ROW_LEN_MAX) {
                let number = self.next_number(handovers);
                if kept != Kept::Latest && !self.swaths.is_empty() {
                    for sample in samples {
                        self.spare_point(handovers, &Series::new(device, &sample.key), sample.at_ms);
                    }
                }
                if draft.begin(samples) && self.habits.is_usual(draft.set(), self.pace.row_after) {
                    self.put_row(handovers, device, (&mut draft, samples), number, kept);
                } else {
                    samples
                        .iter()
                        .for_each(|sample| self.put_sample(handovers, device, sample, number, kept));
                }
            }
        }
        self.draft = draft;
    }

    fn next_number(&mut self, handovers: &mut Handovers) -> u64 {
        self.numbers.last += 1;
        if self.numbers.last > self.numbers.end {
            self.numbers.end = self.numbers.last + NUMBERS_STEP;
            DeviceKey::Numbers.encode(&mut self.key);
            self.value.clear();
            encode_numbers(self.numbers.end, &mut self.value);
            self.slots.put(handovers, &self.key, &self.value);
        }
        self.numbers.last
    }

    fn put_row(
        &mut self,
        handovers: &mut Handovers,
        device: DeviceId,
        (draft, samples): (&mut RowDraft, &[Sample<'_>]),
        number: u64,
        kept: Kept,
    ) {
        if kept != Kept::Points {
            DeviceKey::LatestRow(device, draft.set()).encode(&mut self.key);
            self.value.clear();
            draft.encode(RowKind::Latest, number, samples, &mut self.value);
            self.slots.put(handovers, &self.key, &self.value);
        }
        if kept != Kept::Latest {
            DeviceKey::PointRow(device, draft.set(), samples[0].at_ms).encode(&mut self.key);
            self.value.clear();
            draft.encode(RowKind::Points, number, samples, &mut self.value);
            self.slots.put(handovers, &self.key, &self.value);
        }
    }

    fn put_sample(
        &mut self,
        handovers: &mut Handovers,
        device: DeviceId,
        sample: &Sample<'_>,
        number: u64,
        kept: Kept,
    ) {
        let Sample { key: name, value, at_ms } = sample;
        if kept != Kept::Points {
            DeviceKey::Latest(device, name).encode(&mut self.key);
            self.value.clear();
            encode_fact(name, number, *at_ms, value, &mut self.value);
            self.slots.put(handovers, &self.key, &self.value);
        }
        if kept != Kept::Latest {
            Series::new(device, name).encode_point(*at_ms, &mut self.key);
            self.value.clear();
            encode_point(name, number, value, &mut self.value);
            self.slots.put(handovers, &self.key, &self.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_usual_once_it_was_said_often_enough_and_seldom_ones_do_not_take_its_place() {
        let mut habits = Habits::default();
        let said: Vec<bool> = (0..4).map(|_| habits.is_usual(7, 3)).collect();
        assert_eq!(said, [false, false, true, true]);
        (0..100).for_each(|_| assert!(habits.is_usual(7, 3)));
        // Other sets, each said once, fall to the same place.
        let rival = |at: u64| 7 + (at + 1) * stdx::count(SETS_MAX);
        (0..u64::from(MEMORY)).for_each(|at| assert!(!habits.is_usual(rival(at), 3)));
        assert!(habits.is_usual(7, 3));
        (0..100).for_each(|at| assert!(!habits.is_usual(rival(at), 3)));
        assert!(!habits.is_usual(7, 3), "it is forgotten in the end");
        assert!(Habits::default().is_usual(7, 1) && Habits::default().is_usual(0, 1));
    }
}
