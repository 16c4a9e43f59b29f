//! A subscribing client: the filter it asks for and its record of every publisher it should hear.
//!
//! Why the record lives here: order is promised per publisher and subscriber, so that is where it is checked.
//!
//! Invariants:
//! - One track per publisher heard, at the place that the topology names; where a pool keeps the books, only the newest
//!   number of each publisher.

use super::plan::Plan;
use super::topology::Shape;
use crate::ledger::Track;
use crate::number::place;
use crate::topic;

/// One subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Its number in the run.
    pub(crate) number: u32,
    /// Its books.
    pub(crate) books: Books,
    /// Messages that it has seen for the first time.
    pub(crate) received: u64,
    /// Messages after which it has all; `u64::MAX` when nobody can know.
    pub(crate) wanted: u64,
    /// When it asked for what had been kept, in nanoseconds of the monotonic clock.
    pub(crate) asked_ns: u64,
}

/// What a subscriber remembers.
#[derive(Debug)]
pub(crate) enum Books {
    /// One record per publisher heard.
    Tracks(Box<[Track]>),
    /// The number behind the newest message of each publisher; which ones came stands in the thread's pool.
    Newest(Box<[u64]>),
}

impl Subscriber {
    /// Subscriber `number` of `plan`.
    pub(crate) fn new(plan: &Plan, number: u32) -> Self {
        let topology = &plan.topology;
        let heard = topology.publishers_heard(number);
        let places = place(u64::from(heard));
        let books = if topology.is_pooled() {
            Books::Newest(vec![0; places].into())
        } else {
            Books::Tracks(vec![Track::default(); places].into())
        };
        let kept = |slot| plan.kept.get(place(u64::from(topology.publisher_at(number, slot)))).copied();
        let wanted = if plan.kept.is_empty() { u64::MAX } else { (0..heard).filter_map(kept).sum() };
        Self { number, books, received: 0, wanted, asked_ns: 0 }
    }
}

/// The filter that subscriber `number` of `plan` asks for, if any.
pub(crate) fn filter(plan: &Plan, number: u32) -> Option<String> {
    if plan.filter.is_some() {
        return plan.filter.clone();
    }
    let template = plan.topic.as_deref()?;
    Some(match plan.topology.shape {
        Shape::FanIn => topic::filter(template, number),
        Shape::Devices | Shape::Retained => topic::filter(template, 0),
        Shape::Shared => format!("$share/g{}/{}", number % plan.topology.groups, topic::filter(template, 0)),
        // A pair's topic is its publisher's, so the names are the publisher's too.
        Shape::FanOut => plan.ends.publisher_text(template, 0, 0),
        Shape::Pairs | Shape::Echo | Shape::Idle => plan.ends.publisher_text(template, number, number),
    })
}
