//! A subscribing client: the filter it asks for and its record of every publisher it should hear.
//!
//! Why the record lives here: order is promised per publisher and subscriber, so that is where it is checked.
//!
//! Invariants:
//! - One track per publisher heard, at the place that the topology names.

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
    /// One record per publisher.
    pub(crate) tracks: Box<[Track]>,
}

impl Subscriber {
    /// Subscriber `number` of `plan`.
    pub(crate) fn new(plan: &Plan, number: u32) -> Self {
        let heard = plan.topology.publishers_heard(number);
        Self { number, tracks: vec![Track::default(); place(u64::from(heard))].into() }
    }
}

/// The filter that subscriber `number` of `plan` asks for, if any.
pub(crate) fn filter(plan: &Plan, number: u32) -> Option<String> {
    let template = plan.topic.as_deref()?;
    // A pair's topic is its publisher's, so the names are the publisher's too.
    let client_id = plan.ends.publisher_id(number);
    let user = plan.ends.credentials.user.as_deref().unwrap_or_default();
    let named =
        |number| topic::topic(template, &topic::Names { number, client_id: &client_id, user, group: number });
    Some(match plan.topology.shape {
        Shape::FanIn => topic::filter(template, number),
        Shape::FanOut => named(0),
        Shape::Pairs | Shape::Echo | Shape::Idle => named(number),
    })
}
