//! What a device has subscribed to.
//!
//! Why remembered here: in this API most messages are written whether they were subscribed to or not, and a subscription says
//! with which quality; changes of shared attributes and commands are written only if they were subscribed to, in the
//! spelling of the subscription that came last.
//!
//! Invariants:
//! - One entry per filter; at most [`FILTERS_MAX`].
//!
//! Source: section 10 of the vectors.

use std::borrow::Cow;

use device::Uplink;
use mqtt::QoS;
use mqtt::topic::matches;

use super::topics::{self, Filter, Spelling};

/// The most filters of one connection; there are fewer topics.
const FILTERS_MAX: usize = 64;

/// The filters of one connection, oldest first.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<Subscription>);

#[derive(Debug)]
struct Subscription {
    filter: Box<str>,
    qos: QoS,
    attributes: Option<Pushed>,
    commands: Option<Spelling>,
}

/// Where and how changes of shared attributes are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pushed {
    pub topic: Cow<'static, str>,
    pub spelling: Spelling,
}

impl Subscriptions {
    /// Adds a filter; `own` is the profile's filter for attributes. Returns the granted quality, or none if nothing that is
    /// written to devices matches.
    pub fn add(&mut self, filter: &str, qos: QoS, own: &Filter) -> Option<QoS> {
        let attributes = topics::attributes_spelling(filter)
            .map(|spelling| Pushed { topic: Cow::Borrowed(spelling.attributes()), spelling })
            .or_else(|| pushed_to_own(filter, own));
        if attributes.is_none() && !topics::is_heard(filter) {
            return None;
        }
        let qos = qos.min(QoS::AtLeastOnce);
        self.remove(filter);
        if self.0.len() >= FILTERS_MAX {
            return None;
        }
        let commands = topics::commands_spelling(filter);
        self.0.push(Subscription { filter: filter.into(), qos, attributes, commands });
        Some(qos)
    }

    /// Whether a filter would take part in what a device listens to; `own` is the profile's filter for attributes.
    pub fn would_tell(filter: &str, own: &Filter) -> bool {
        own.fits(filter)
            || topics::attributes_spelling(filter).is_some()
            || topics::commands_spelling(filter).is_some()
    }

    /// Takes a filter away. Returns whether it was there.
    pub fn remove(&mut self, filter: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|known| *known.filter != *filter);
        self.0.len() < before
    }

    /// With which quality something is written to a topic; none if nothing that was subscribed to matches it.
    pub fn qos(&self, topic: &str) -> Option<QoS> {
        let matching = self.0.iter().filter(|known| matches(&known.filter, topic));
        matching.map(|known| known.qos).max()
    }

    /// Where changes of shared attributes are told, if anywhere.
    pub fn attributes(&self) -> Option<&Pushed> {
        self.0.iter().rev().find_map(|known| known.attributes.as_ref())
    }

    /// In which spelling commands are told, if any.
    pub fn commands(&self) -> Option<Spelling> {
        self.0.iter().rev().find_map(|known| known.commands)
    }

    /// What the device listens to.
    pub fn listens(&self) -> Uplink<'static> {
        let commands = self.0.iter().filter(|known| known.commands.is_some()).map(|known| known.qos).max();
        Uplink::Listens { attributes: self.attributes().is_some(), commands }
    }

    /// Whether a filter takes part in what the device listens to.
    pub fn is_telling(&self, filter: &str) -> bool {
        let known = self.0.iter().find(|known| *known.filter == *filter);
        known.is_some_and(|known| known.attributes.is_some() || known.commands.is_some())
    }
}

/// A profile's own topic for attributes; if that has wildcards, what is told goes to the default topic.
fn pushed_to_own(filter: &str, own: &Filter) -> Option<Pushed> {
    if !own.fits(filter) {
        return None;
    }
    let topic = if filter.contains(['+', '#']) {
        Cow::Borrowed(topics::ATTRIBUTES)
    } else {
        Cow::Owned(filter.to_owned())
    };
    Some(Pushed { topic, spelling: Spelling::V1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Filter {
        Filter::new("v1/devices/me/attributes")
    }

    #[test]
    fn qos_is_granted_up_to_one_and_used_for_what_matches() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.qos("v2/a"), None, "without a subscription");
        assert_eq!(subscriptions.add("v2/a", QoS::ExactlyOnce, &own()), Some(QoS::AtLeastOnce));
        assert_eq!(subscriptions.add("v2/a", QoS::AtMostOnce, &own()), Some(QoS::AtMostOnce));
        assert_eq!(subscriptions.qos("v2/a"), Some(QoS::AtMostOnce));
        assert_eq!(subscriptions.add("#", QoS::AtLeastOnce, &own()), Some(QoS::AtLeastOnce));
        assert_eq!(subscriptions.qos("v2/a"), Some(QoS::AtLeastOnce), "the highest that matches");
        assert_eq!(subscriptions.add("a/b", QoS::AtLeastOnce, &own()), None);
    }

    #[test]
    fn the_last_subscription_says_in_which_spelling() {
        let mut subscriptions = Subscriptions::default();
        let spelling = |known: &Subscriptions| known.attributes().map(|pushed| pushed.spelling);
        assert_eq!((spelling(&subscriptions), subscriptions.commands()), (None, None));
        subscriptions.add("v2/a/j", QoS::AtLeastOnce, &own());
        subscriptions.add("v1/devices/me/attributes", QoS::AtLeastOnce, &own());
        assert_eq!(spelling(&subscriptions), Some(Spelling::V1));
        assert!(subscriptions.remove("v1/devices/me/attributes"));
        assert!(!subscriptions.remove("v1/devices/me/attributes"));
        assert_eq!(spelling(&subscriptions), Some(Spelling::V2Json), "the one before it counts again");
        subscriptions.add("v2/r/req/+", QoS::AtMostOnce, &own());
        assert_eq!(subscriptions.commands(), Some(Spelling::V2));
        assert_eq!(
            subscriptions.listens(),
            Uplink::Listens { attributes: true, commands: Some(QoS::AtMostOnce) }
        );
        assert!(subscriptions.is_telling("v2/a/j") && !subscriptions.is_telling("v2/a"));
        let telling = |filter| Subscriptions::would_tell(filter, &Filter::new("mine"));
        assert!(["v2/a/j", "v2/r/req/+", "#", "mine"].into_iter().all(telling));
        assert!(!telling("v1/devices/me/attributes/response/+"));
    }

    #[test]
    fn a_profiles_own_topic_is_where_changes_are_told() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.add("mine/attributes", QoS::AtLeastOnce, &Filter::new("mine/attributes"));
        assert_eq!(subscriptions.attributes().map(|pushed| &*pushed.topic), Some("mine/attributes"));
        subscriptions.add("mine/+", QoS::AtLeastOnce, &Filter::new("mine/+"));
        assert_eq!(subscriptions.attributes().map(|pushed| &*pushed.topic), Some(topics::ATTRIBUTES));
    }

    #[test]
    fn filters_do_not_gather_without_end() {
        let mut subscriptions = Subscriptions::default();
        let added = (0..100)
            .filter(|number| {
                subscriptions.add(&format!("v2/fw/response/{number}/#"), QoS::AtMostOnce, &own()).is_some()
            })
            .count();
        assert_eq!(added, FILTERS_MAX);
    }
}
