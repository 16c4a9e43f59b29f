//! The replay of retained messages by filter, in pieces.
//!
//! Why seeks: the answer to `+/status` may be one topic in a thousand. A topic that does not match tells where the next
//! one that could match begins, so whole subtrees and rows of siblings are stepped over.
//!
//! Invariants:
//! - The cursor's bound only grows, and it grows past every topic that was visited.
//! - No topic between two bounds can match.
//! - One call takes at most `chunk` steps, each with at most one visit and one seek.

use std::cmp::Ordering;

use super::order::Place;

/// How far a replay has come; a new one is at the beginning. It belongs to one store and one filter.
///
/// It holds a topic, so any message may come and go between two calls. Size: that of the longest topic seen.
#[derive(Clone, Debug, Default)]
pub struct RetainedCursor {
    bound: Vec<u8>,
    /// Where the bound is, and the edit count of the order for which that is so.
    place: Option<(Place, u64)>,
    finished: bool,
}

/// Whether a replay has more to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The step budget is used up; call again with the same cursor.
    More,
    /// Everything that matches was visited.
    Done,
}

impl RetainedCursor {
    /// The least topic that the replay has not dealt with; empty at the beginning.
    pub(super) fn bound(&self) -> &[u8] {
        &self.bound
    }

    /// The place of the bound, if it is still known.
    pub(super) fn place(&self, edits: u64) -> Option<Place> {
        self.place.filter(|(_, known_at)| *known_at == edits).map(|(place, _)| place)
    }

    pub(super) fn rest(&mut self, place: Place, edits: u64) -> Scan {
        self.place = Some((place, edits));
        Scan::More
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn finish(&mut self) -> Scan {
        *self = Self { finished: true, ..Self::default() };
        Scan::Done
    }

    /// Judges `topic`, the least stored one that is not below the bound, and moves the bound past it, as far as no
    /// topic can match `filter`.
    pub(super) fn step(&mut self, filter: &str, topic: &[u8]) -> Step {
        if topic.starts_with(b"$") && filter.starts_with(['+', '#']) {
            return self.move_to(Step::MISS, &[BEHIND_DOLLAR]);
        }
        let mut filter_start = 0;
        let mut start = 0;
        let mut plus_end = None;
        for level in filter.split('/') {
            if level == "#" {
                return self.move_to(Step::MATCH, &[topic, b"/"]);
            }
            if start > topic.len() {
                return self.move_to(Step::MISS, &[topic, b"/"]);
            }
            let found = level_at(topic, start);
            match (level, found.cmp(level.as_bytes())) {
                ("+", _) => plus_end = Some(start + found.len()),
                (_, Ordering::Equal) => {}
                (_, Ordering::Less) => {
                    let literals = literal_run(&filter[filter_start..]);
                    return self.move_to(Step::MISS, &[&topic[..start], literals.as_bytes()]);
                }
                (_, Ordering::Greater) => return self.leave(Step::MISS, topic, plus_end),
            }
            start += found.len() + 1;
            filter_start += level.len() + 1;
        }
        let judged = if start > topic.len() { Step::MATCH } else { Step::MISS };
        self.leave(judged, topic, plus_end)
    }

    /// Moves the bound behind everything that shares `topic` up to its last level under a `+`: what follows that level
    /// in the filter is literal and has been passed. Without a `+` nothing more can match.
    fn leave(&mut self, step: Step, topic: &[u8], plus_end: Option<usize>) -> Step {
        let Some(end) = plus_end else { return Step { is_last: true, ..step } };
        self.move_to(step, &[&topic[..end], BEHIND_SUBTREE])
    }

    fn move_to(&mut self, step: Step, parts: &[&[u8]]) -> Step {
        self.bound.clear();
        parts.iter().for_each(|part| self.bound.extend_from_slice(part));
        step
    }
}

/// What one step of a replay found out.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// The topic matches the filter.
    pub(super) is_match: bool,
    /// No later topic can.
    pub(super) is_last: bool,
}

impl Step {
    const MATCH: Self = Self { is_match: true, is_last: false };
    const MISS: Self = Self { is_match: false, is_last: false };
}

/// Appended to a topic this makes the least topic behind those that lie below it: U+0001 is the lowest character but
/// the slash, which is ordered first.
const BEHIND_SUBTREE: &[u8] = b"\x01";

/// The least topic behind those that begin with `$`.
const BEHIND_DOLLAR: &[u8] = b"%";

/// The levels of `filter` up to its first wildcard, without the slash before it.
fn literal_run(filter: &str) -> &str {
    let literals = filter.split('/').take_while(|level| !["+", "#"].contains(level));
    let len = literals.map(|level| level.len() + 1).sum::<usize>().saturating_sub(1);
    &filter[..len]
}

fn level_at(topic: &[u8], start: usize) -> &[u8] {
    let rest = &topic[start..];
    let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    &rest[..end]
}
