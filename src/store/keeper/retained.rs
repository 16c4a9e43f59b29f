//! Which write of a retained message is the newest.
//!
//! Why it must be known here: two cores may write the same topic at the same time, and what they wrote may reach the store
//! in another order than that of their versions. The highest version counts everywhere, so also here; but reading the
//! disk before each write would cost more than the write.
//!
//! Invariants:
//! - What is not among the recent writes has a version counter of at most `older_max`.

use std::collections::{HashMap, VecDeque};

use broker::RetainedVersion;

const RECENT_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct RecentWrites {
    versions: HashMap<Box<str>, RetainedVersion>,
    order: VecDeque<(Box<str>, RetainedVersion)>,
    older_max: u64,
}

/// Whether a write counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Newer,
    Older,
    /// Only the disk knows.
    Unknown,
}

impl RecentWrites {
    /// Everything on disk has a counter of at most this.
    pub fn note_recovered(&mut self, counter: u64) {
        self.older_max = self.older_max.max(counter);
    }

    pub fn judge(&self, topic: &str, version: RetainedVersion) -> Verdict {
        match self.versions.get(topic) {
            Some(known) if *known < version => Verdict::Newer,
            Some(_newer) => Verdict::Older,
            None if version.counter > self.older_max => Verdict::Newer,
            None => Verdict::Unknown,
        }
    }

    /// A write that counts.
    pub fn note(&mut self, topic: &str, version: RetainedVersion) {
        self.versions.insert(topic.into(), version);
        self.order.push_back((topic.into(), version));
        while self.order.len() > RECENT_MAX {
            let Some((topic, version)) = self.order.pop_front() else { break };
            self.older_max = self.older_max.max(version.counter);
            if self.versions.get(&topic) == Some(&version) {
                self.versions.remove(&topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(counter: u64) -> RetainedVersion {
        RetainedVersion { counter, core: 0 }
    }

    #[test]
    fn the_higher_version_wins_also_when_it_came_first() {
        let mut recent = RecentWrites::default();
        assert_eq!(recent.judge("t", version(5)), Verdict::Newer);
        recent.note("t", version(5));
        assert_eq!(recent.judge("t", version(4)), Verdict::Older);
        assert_eq!(recent.judge("t", version(5)), Verdict::Older);
        assert_eq!(recent.judge("t", RetainedVersion { counter: 5, core: 1 }), Verdict::Newer);
    }

    #[test]
    fn what_is_no_longer_known_must_be_asked_of_the_disk() {
        let mut recent = RecentWrites::default();
        for counter in 1..=RECENT_MAX as u64 + 10 {
            recent.note(&format!("t{counter}"), version(counter));
        }
        assert_eq!(recent.versions.len(), RECENT_MAX);
        assert_eq!(recent.judge("t1", version(10)), Verdict::Unknown);
        assert_eq!(recent.judge("t1", version(11)), Verdict::Newer);
        let mut recovered = RecentWrites::default();
        recovered.note_recovered(100);
        assert_eq!(recovered.judge("t", version(100)), Verdict::Unknown);
    }
}
