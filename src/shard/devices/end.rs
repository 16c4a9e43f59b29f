//! Our end of a device's connection: its interpreter, whose connection it is, and for whom else it speaks.
//!
//! Why one box: a connection without a device pays for a pointer and nothing else.
//!
//! Invariants:
//! - A child is known by its name and by its id, or not at all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker::CoreId;
use device::{Cookie, DeviceId, Ear, Habits, Interpreter, Keeping, Offer, TenantId, Terms};
use stdx::Instant;

use super::patience::Patience;
use super::verdicts::Verdicts;

/// What a connection has if it is a device's.
#[derive(Debug)]
pub(crate) struct DeviceEnd {
    pub ear: Ear,
    pub habits: Habits,
    pub interpreter: Box<dyn Interpreter>,
    /// None for something that has no credentials yet.
    pub own: Option<Own>,
    pub will: Option<Box<LastWord>>,
    /// None for those that have never spoken for anybody.
    pub children: Option<Box<Children>>,
    /// Commands that were sent and are not acknowledged.
    pub commands: Vec<SentCommand>,
    /// When it must leave, or never.
    pub leaves_at: Instant,
    /// Whether acknowledgements wait for the store.
    pub is_gated: bool,
    /// Whether it wants to be told why in words.
    pub wants_reasons: bool,
    /// Whether the message at hand is answered with what became of it at other cores.
    pub is_judged: bool,
    /// None for those that have said nothing about a child of another core.
    pub verdicts: Option<Box<Verdicts>>,
    /// None for those that have needed none of it.
    pub seldom: Option<Box<Seldom>>,
}

// There is one of these for every connection of a device, and what is larger takes the next size of block.
const _: () = assert!(size_of::<DeviceEnd>() <= 160);

/// Whose connection it is.
#[derive(Debug)]
pub(crate) struct Own {
    pub id: DeviceId,
    pub name: Box<str>,
    pub tenant: TenantId,
    /// Where it is said what it and all devices of its tenant may say, if anything of that is limited.
    pub limits: Option<Arc<Offer>>,
    /// What is kept of its telemetry.
    pub keeping: Keeping,
    /// Whether what it says shows that its children are alive.
    pub speaks_for_all: bool,
    /// Whether it may have children.
    pub is_gateway: bool,
}

/// What a device wants to have said if its connection breaks.
#[derive(Debug)]
pub(crate) struct LastWord {
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
}

/// What few connections need.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    /// Of those that have said too much below 5.0.
    pub patience: Option<Patience>,
    /// Calls that nobody answers, and when each has waited long enough; in order.
    pub vain_calls: VecDeque<(Instant, Cookie)>,
}

/// A command on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SentCommand {
    /// The place of its message.
    pub place: u64,
    pub device: DeviceId,
    pub number: i32,
}

/// For whom a gateway speaks.
#[derive(Debug, Default)]
pub(crate) struct Children {
    by_name: BTreeMap<Arc<str>, Known>,
    by_id: BTreeMap<DeviceId, Arc<str>>,
    /// When they were said to be alive last, in Unix milliseconds.
    pub alive_ms: i64,
}

/// A child, and what the dialect has understood of its profile's settings.
#[derive(Debug)]
struct Known {
    child: Child,
    terms: Option<Terms>,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Child {
    pub id: DeviceId,
    pub home: CoreId,
    /// What is kept of its telemetry.
    pub keeping: Keeping,
}

impl Children {
    /// Whether there is a child of that name.
    pub fn is_known(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }
}

impl DeviceEnd {
    /// How it is named to a human.
    pub fn shown(&self) -> String {
        let Some(own) = &self.own else { return "a client without credentials".to_owned() };
        broker::device_named(&own.name)
    }

    /// The device whose connection it is.
    pub fn own_id(&self) -> Option<DeviceId> {
        self.own.as_ref().map(|own| own.id)
    }

    /// The child of a name, if the gateway speaks for it.
    pub fn child(&self, name: &str) -> Option<Child> {
        self.children.as_ref()?.by_name.get(name).map(|known| known.child)
    }

    /// How many children there are.
    pub fn children_len(&self) -> usize {
        self.children.as_ref().map_or(0, |children| children.by_name.len())
    }

    /// The gateway speaks for a child from now on.
    pub fn add_child(&mut self, name: &str, child: Child, terms: Option<Terms>) {
        let children = self.children.get_or_insert_default();
        let name: Arc<str> = name.into();
        // A device that was renamed has been known by another name.
        if let Some(before) = children.by_id.insert(child.id, Arc::clone(&name)) {
            children.by_name.remove(&before);
        }
        let before = children.by_name.insert(name, Known { child, terms });
        if let Some(before) = before.filter(|before| before.child.id != child.id) {
            children.by_id.remove(&before.child.id);
        }
    }

    /// The gateway speaks for a child no longer. Whether it did.
    pub fn drop_child(&mut self, id: DeviceId) -> bool {
        let Some(children) = &mut self.children else { return false };
        let Some(name) = children.by_id.remove(&id) else { return false };
        children.by_name.remove(&name).is_some()
    }

    /// By which name the gateway knows a child.
    pub fn name_of(&self, id: DeviceId) -> Option<Arc<str>> {
        self.children.as_ref()?.by_id.get(&id).cloned()
    }

    /// All children, in order of names.
    pub fn all_children(&self) -> Vec<Child> {
        self.children
            .as_ref()
            .map_or_else(Vec::new, |children| children.by_name.values().map(|known| known.child).collect())
    }
}

impl Children {
    /// What the dialect has understood of the settings of a child's profile, if the gateway speaks for the child.
    pub fn terms_of(&self, name: &str) -> Option<&Option<Terms>> {
        self.by_name.get(name).map(|known| &known.terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Silent;

    impl Interpreter for Silent {
        fn publish<'a>(
            &mut self,
            _said: &device::Said<'a>,
            _speech: &mut device::Speech<'a>,
        ) -> device::Answer {
            device::Answer::accepted()
        }

        fn subscribe(
            &mut self,
            _filter: &str,
            qos: mqtt::QoS,
            _speech: &mut device::Speech<'_>,
        ) -> Result<mqtt::QoS, mqtt::ReasonCode> {
            Ok(qos)
        }

        fn unsubscribe(&mut self, _filter: &str, _speech: &mut device::Speech<'_>) -> mqtt::ReasonCode {
            mqtt::ReasonCode::Success
        }

        fn downlink(
            &mut self,
            _child: Option<&str>,
            _downlink: &device::Downlink,
            _utterances: &mut Vec<device::Utterance>,
        ) -> Result<(), device::Unspeakable> {
            Ok(())
        }
    }

    #[test]
    fn a_child_that_comes_by_another_name_is_one_child() {
        let mut end = DeviceEnd {
            ear: Ear(0),
            habits: Habits::default(),
            interpreter: Box::new(Silent),
            own: None,
            will: None,
            children: None,
            commands: Vec::new(),
            leaves_at: Instant::NEVER,
            is_gated: false,
            wants_reasons: false,
            is_judged: false,
            verdicts: None,
            seldom: None,
        };
        let child = |byte| Child {
            id: DeviceId::from_bytes([byte; 16]),
            home: CoreId::new(0),
            keeping: Keeping::Latest,
        };
        end.add_child("a", child(1), None);
        end.add_child("b", child(1), None);
        assert_eq!((end.child("a"), end.child("b"), end.children_len()), (None, Some(child(1)), 1));
        end.add_child("b", child(2), None);
        assert_eq!((end.children_len(), end.name_of(child(1).id)), (1, None));
        assert!(end.drop_child(child(2).id) && !end.drop_child(child(2).id));
        assert_eq!(end.children_len(), 0);
    }
}
