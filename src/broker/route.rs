//! Routes: for one topic, everything that a delivery needs, prepared once and kept until a subscription changes.
//!
//! Why: on the warm path a message costs one hash of its topic; checks of the topic, the match of all filters and the
//! merging of overlapping subscriptions happen only when the topic is new or stale.
//!
//! Invariants:
//! - A route in the cache belongs to a valid topic name.
//! - A client stands in a route once, however many of its filters match: highest QoS, all identifiers. Source:
//!   [MQTT-3.3.4-2], [MQTT-3.3.4-3].
//! - A route is used only if its epoch is the cache's.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use mqtt::QoS;

use crate::core_id::CoreSet;
use crate::holders::Holders;
use crate::link::LinkId;
use crate::session::SessionKey;

/// Subscription Identifiers of the matching subscriptions; most have none.
pub(crate) type SubscriptionIds = Option<Arc<[u32]>>;

/// Topics that a cache holds at most; it starts afresh when full.
const ROUTES_MAX: usize = 65_536;

/// One receiver of a topic.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub session: SessionKey,
    pub qos: QoS,
    /// Forward RETAIN as published.
    pub keeps_retain: bool,
    pub no_local: NoLocal,
    pub ids: SubscriptionIds,
}

/// What a receiver gets of its own messages.
#[derive(Clone, Debug)]
pub(crate) enum NoLocal {
    /// The same as of others' messages.
    Off,
    /// Nothing.
    On,
    /// Some of the matching subscriptions have no-local: this is what the rest grants.
    Rest(Box<Target>),
}

/// One matching subscription, before merging.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub session: SessionKey,
    pub qos: QoS,
    pub keeps_retain: bool,
    pub no_local: bool,
    /// Subscription Identifier; 0 is none.
    pub id: u32,
}

/// Where messages of one topic go.
#[derive(Debug, Default)]
pub(crate) struct Route {
    topic: Box<[u8]>,
    epoch: u64,
    pub targets: Vec<Target>,
    pub remote: CoreSet,
    /// Shared groups, by their number in the table.
    pub groups: Vec<u32>,
    /// Members of those groups on this core that may not receive this topic; mostly nobody.
    pub barred: Barred,
    /// When receivers were judged, on the clock of changes.
    pub judged_at: u64,
    /// Publishers that may publish to this topic: the last that asked.
    pub publishers: [Option<LinkId>; 2],
}

/// Sessions that may not have a message, whatever group they are in.
pub(crate) type Barred = Option<Arc<[SessionKey]>>;

impl Route {
    /// Whether it is known from before that a session may receive this topic.
    pub fn admits(&self, session: SessionKey, holders: &Holders) -> bool {
        holders.is_decided(session, self.judged_at)
            && self.targets.binary_search_by_key(&session, |target| target.session).is_ok()
    }
}

/// The routes of one core.
#[derive(Debug)]
pub(crate) struct RouteCache {
    hasher: RandomState,
    by_topic: HashTable<u32>,
    routes: Vec<Route>,
    epoch: u64,
    /// Moves when places are given to other topics, and when the rules change.
    stamp: u32,
}

/// What the cache knows of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    /// A fresh route.
    Fresh(usize),
    /// The topic is valid, its route is not.
    Stale(usize),
    /// Never seen.
    Unknown,
}

impl RouteCache {
    pub fn new(hasher: RandomState) -> Self {
        Self { hasher, by_topic: HashTable::new(), routes: Vec::new(), epoch: 1, stamp: 1 }
    }

    #[inline]
    pub fn lookup(&self, topic: &[u8]) -> Lookup {
        match self.find(topic) {
            Some(index) => {
                if self.routes[index].epoch == self.epoch {
                    Lookup::Fresh(index)
                } else {
                    Lookup::Stale(index)
                }
            }
            None => Lookup::Unknown,
        }
    }

    #[inline]
    fn find(&self, topic: &[u8]) -> Option<usize> {
        let is_it = |index: &u32| *self.routes[stdx::widen(*index)].topic == *topic;
        self.by_topic.find(self.hasher.hash_one(topic), is_it).map(|index| stdx::widen(*index))
    }

    /// Whether the route at `index`, if there is one, is that of `topic` and fresh.
    #[inline]
    pub fn is_fresh(&self, index: usize, topic: &[u8]) -> bool {
        self.routes.get(index).is_some_and(|route| route.epoch == self.epoch && *route.topic == *topic)
    }

    #[inline]
    pub fn get(&self, index: usize) -> &Route {
        &self.routes[index]
    }

    /// Makes room for a valid topic; returns where its route belongs.
    pub fn reserve(&mut self, topic: &[u8]) -> usize {
        if self.routes.len() >= ROUTES_MAX {
            self.by_topic.clear();
            self.routes.clear();
            self.stamp += 1;
        }
        let index = self.routes.len();
        self.routes.push(Route { topic: topic.into(), ..Route::default() });
        let Self { hasher, by_topic, routes, .. } = self;
        let hash = |index: &u32| hasher.hash_one(&*routes[stdx::widen(*index)].topic);
        by_topic.insert_unique(hasher.hash_one(topic), stdx::narrow(index), hash);
        index
    }

    /// Fills the place with a route, fresh from now on.
    pub fn fill(&mut self, index: usize, mut route: Route) {
        route.epoch = self.epoch;
        route.topic = std::mem::take(&mut self.routes[index].topic);
        self.routes[index] = route;
    }

    /// The rules changed: everything is decided again.
    pub fn renew(&mut self) {
        self.epoch += 1;
        self.stamp += 1;
    }

    /// What says that a place still belongs to the same topic, under the same rules.
    #[inline]
    pub fn stamp(&self) -> u32 {
        self.stamp
    }

    /// A publisher may publish to the topic at `index`.
    pub fn admit(&mut self, index: usize, link: LinkId) {
        let publishers = &mut self.routes[index].publishers;
        *publishers = [Some(link), publishers[0]];
    }

    /// A subscription with this filter changed: an exact filter touches one route, a wildcard may touch all.
    pub fn invalidate(&mut self, filter: &str) {
        if filter.bytes().any(|byte| byte == b'+' || byte == b'#') {
            self.epoch += 1;
        } else if let Some(index) = self.find(filter.as_bytes()) {
            self.routes[index].epoch = 0;
        }
    }
}

/// Merges the matching subscriptions into one target per client. Sorts `found`.
pub(crate) fn merge(found: &mut [Subscriber]) -> Vec<Target> {
    found.sort_unstable_by_key(|subscriber| (subscriber.session, subscriber.id));
    found.chunk_by(|a, b| a.session == b.session).map(merge_client).collect()
}

fn merge_client(subscribers: &[Subscriber]) -> Target {
    let blocked = subscribers.iter().filter(|subscriber| subscriber.no_local).count();
    let mut target = grant(subscribers.iter());
    target.no_local = match blocked {
        0 => NoLocal::Off,
        all if all == subscribers.len() => NoLocal::On,
        _ => NoLocal::Rest(Box::new(grant(subscribers.iter().filter(|subscriber| !subscriber.no_local)))),
    };
    target
}

fn grant<'a>(subscribers: impl Iterator<Item = &'a Subscriber> + Clone) -> Target {
    let first = subscribers.clone().next().expect("a client stands here because a filter matched");
    let ids: Vec<u32> = subscribers.clone().map(|subscriber| subscriber.id).filter(|id| *id != 0).collect();
    Target {
        session: first.session,
        qos: subscribers.clone().map(|subscriber| subscriber.qos).max().unwrap_or(QoS::AtMostOnce),
        keeps_retain: subscribers.clone().any(|subscriber| subscriber.keeps_retain),
        no_local: NoLocal::Off,
        ids: (!ids.is_empty()).then(|| ids.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(session: usize, qos: QoS, no_local: bool, id: u32) -> Subscriber {
        Subscriber { session: SessionKey::new(session), qos, keeps_retain: id == 2, no_local, id }
    }

    #[test]
    fn overlapping_subscriptions_become_one_target_with_the_highest_qos_and_all_ids() {
        let mut found = vec![
            subscriber(2, QoS::AtMostOnce, false, 0),
            subscriber(1, QoS::AtMostOnce, false, 2),
            subscriber(1, QoS::ExactlyOnce, false, 1),
        ];
        let targets = merge(&mut found);
        assert_eq!(targets.len(), 2);
        assert_eq!((targets[0].qos, targets[0].ids.as_deref()), (QoS::ExactlyOnce, Some(&[1u32, 2][..])));
        assert!(targets[0].keeps_retain && !targets[1].keeps_retain);
        assert!(matches!(targets[1].no_local, NoLocal::Off) && targets[1].ids.is_none());
    }

    #[test]
    fn no_local_on_some_filters_leaves_what_the_others_grant() {
        let mut all = vec![subscriber(1, QoS::ExactlyOnce, true, 7)];
        assert!(matches!(merge(&mut all)[0].no_local, NoLocal::On));
        let mut some =
            vec![subscriber(1, QoS::ExactlyOnce, true, 7), subscriber(1, QoS::AtMostOnce, false, 8)];
        let NoLocal::Rest(rest) = &merge(&mut some)[0].no_local else { panic!("the rest must be kept") };
        assert_eq!((rest.qos, rest.ids.as_deref()), (QoS::AtMostOnce, Some(&[8u32][..])));
    }

    #[test]
    fn an_exact_filter_touches_one_route_and_a_wildcard_all() {
        let mut cache = RouteCache::new(RandomState::with_seeds(1, 2, 3, 4));
        for topic in [&b"a"[..], b"b"] {
            let index = cache.reserve(topic);
            cache.fill(index, Route::default());
        }
        cache.invalidate("a");
        assert_eq!((cache.lookup(b"a"), cache.lookup(b"b")), (Lookup::Stale(0), Lookup::Fresh(1)));
        cache.invalidate("x/#");
        assert_eq!((cache.lookup(b"b"), cache.lookup(b"c")), (Lookup::Stale(1), Lookup::Unknown));
    }

    #[test]
    fn the_stamp_moves_when_the_rules_change_and_when_places_are_given_anew() {
        let mut cache = RouteCache::new(RandomState::with_seeds(1, 2, 3, 4));
        let index = cache.reserve(b"a");
        cache.fill(index, Route::default());
        let before = cache.stamp();
        cache.invalidate("#");
        assert_eq!(cache.stamp(), before, "the place is still that of the topic");
        cache.renew();
        assert_eq!(cache.lookup(b"a"), Lookup::Stale(index));
        assert_ne!(cache.stamp(), before);
        let before = cache.stamp();
        for number in 1..=ROUTES_MAX {
            let _place = cache.reserve(format!("t/{number}").as_bytes());
        }
        assert_ne!(cache.stamp(), before);
        assert_eq!(cache.lookup(b"a"), Lookup::Unknown);
    }
}
