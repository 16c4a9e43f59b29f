//! What was acknowledged, and what must follow from it, whatever the power did.
//!
//! Why a second judge beside the oracle: the oracle follows every packet and must know what a broker did; after a power
//! cut nobody can know. The ledger only holds what a client has read, which is all that a broker has promised.
//!
//! Invariants:
//! - A promise counts from the moment in which a client has read it, a wish from the moment in which it was written.

use std::collections::{BTreeMap, BTreeSet};

use crate::topic::matches;

/// A point of a run.
pub(super) type Step = u64;

/// Numbers an actor.
pub(super) type ActorId = usize;

/// Everything that was written and promised.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    messages: Vec<Message>,
    wishes: Vec<Wish>,
    /// What each actor has got, first copies in order, and how often.
    got: BTreeMap<ActorId, Got>,
    complaint: Option<String>,
    step: Step,
    /// Everything is settled and on disk, so nobody should hear anything any more.
    is_silent: bool,
}

#[derive(Debug)]
struct Message {
    publisher: ActorId,
    topic: String,
    qos: u8,
    is_retained: bool,
    written: Step,
    acked: Option<Step>,
}

/// A subscription, from SUBSCRIBE to the end.
#[derive(Debug)]
struct Wish {
    actor: ActorId,
    filter: String,
    qos: u8,
    written: Step,
    acked: Option<Step>,
    ended: Option<Step>,
    gone: Option<Step>,
}

#[derive(Debug, Default)]
struct Got {
    first: Vec<usize>,
    counts: BTreeMap<usize, usize>,
}

impl Ledger {
    /// What was broken first.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Messages written.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Notes that a rule is broken.
    pub fn complain(&mut self, text: String) {
        self.complaint.get_or_insert(text);
    }

    /// From now on nothing is left to be delivered or repeated.
    pub fn silence(&mut self) {
        self.is_silent = true;
    }

    /// An actor heard of a message, in whatever way.
    pub fn heard(&mut self, actor: ActorId, what: &str) {
        if self.is_silent {
            self.complain(format!("a{actor} heard {what} when all was settled"));
        }
    }

    fn tick(&mut self) -> Step {
        self.step += 1;
        self.step
    }

    /// A message is written for the first time; returns its number.
    pub fn publish(&mut self, publisher: ActorId, topic: &str, qos: u8, is_retained: bool) -> usize {
        let written = self.tick();
        let topic = topic.to_string();
        self.messages.push(Message { publisher, topic, qos, is_retained, written, acked: None });
        self.messages.len() - 1
    }

    /// Its publisher has read PUBACK, or PUBREC.
    pub fn publish_acked(&mut self, message: usize) {
        let step = self.tick();
        self.messages[message].acked.get_or_insert(step);
    }

    /// A SUBSCRIBE is written.
    pub fn subscribe(&mut self, actor: ActorId, filter: &str, qos: u8) {
        let written = self.tick();
        let filter = filter.to_string();
        self.wishes.push(Wish { actor, filter, qos, written, acked: None, ended: None, gone: None });
    }

    /// Its SUBACK was read.
    pub fn subscribe_acked(&mut self, actor: ActorId, filter: &str) {
        let step = self.tick();
        if let Some(wish) = self.last_wish(actor, filter) {
            wish.acked.get_or_insert(step);
        }
    }

    /// An UNSUBSCRIBE is written; all wishes for this filter may be gone.
    pub fn unsubscribe(&mut self, actor: ActorId, filter: &str) {
        let step = self.tick();
        for wish in self.wishes.iter_mut().filter(|wish| wish.actor == actor && wish.filter == filter) {
            wish.ended.get_or_insert(step);
        }
    }

    /// Its UNSUBACK was read; they are.
    pub fn unsubscribe_acked(&mut self, actor: ActorId, filter: &str) {
        let step = self.tick();
        let ended = |wish: &&mut Wish| wish.actor == actor && wish.filter == filter && wish.ended.is_some();
        for wish in self.wishes.iter_mut().filter(ended) {
            wish.gone.get_or_insert(step);
        }
    }

    fn last_wish(&mut self, actor: ActorId, filter: &str) -> Option<&mut Wish> {
        self.wishes.iter_mut().rev().find(|wish| wish.actor == actor && wish.filter == filter)
    }

    /// A copy of a message came to an actor, as its application sees it.
    pub fn received(&mut self, actor: ActorId, message: usize) {
        self.tick();
        let Some(state) = self.messages.get(message) else {
            return self.complain(format!("a{actor} got message {message}, which nobody wrote"));
        };
        let is_wanted = self.wishes.iter().any(|wish| {
            wish.actor == actor
                && matches(&wish.filter, &state.topic)
                && wish.gone.is_none_or(|gone| gone > state.written)
        });
        let is_once = state.qos == 2 && self.grants(actor, &state.topic).all(|qos| qos == 2);
        let got = self.got.entry(actor).or_default();
        let count = got.counts.entry(message).or_default();
        *count += 1;
        let count = *count;
        if count == 1 {
            got.first.push(message);
        }
        if !is_wanted {
            self.complain(format!("a{actor} got m{message}, written after its UNSUBACK"));
        }
        if count > 1 && is_once {
            self.complain(format!("a{actor} got the QoS 2 message m{message} {count} times"));
        }
    }

    fn grants<'a>(&'a self, actor: ActorId, topic: &'a str) -> impl Iterator<Item = u8> + 'a {
        let mine = move |wish: &&Wish| wish.actor == actor && matches(&wish.filter, topic);
        self.wishes.iter().filter(mine).map(|wish| wish.qos)
    }

    /// The end, at rest and with everybody connected: who has missed what, and what came in the wrong order.
    pub fn settle(&mut self) {
        let mut complaints = Vec::new();
        let actors: BTreeSet<ActorId> = self.wishes.iter().map(|wish| wish.actor).collect();
        for actor in actors {
            let empty = Got::default();
            let got = self.got.get(&actor).unwrap_or(&empty);
            for (number, message) in self.messages.iter().enumerate() {
                if !got.counts.contains_key(&number) && self.is_promised(actor, message) {
                    complaints.push(format!("a{actor} has not got m{number}, which was acknowledged"));
                }
            }
            let mut latest: BTreeMap<(ActorId, &str, u8), usize> = BTreeMap::new();
            // A message from before a subscription may come behind later ones, when its publisher repeats it.
            for number in got.first.iter().filter(|number| self.is_promised(actor, &self.messages[**number]))
            {
                let message = &self.messages[*number];
                let last = latest.insert((message.publisher, &message.topic, message.qos), *number);
                if let Some(last) = last.filter(|last| last > number) {
                    complaints.push(format!("a{actor} got m{number} behind m{last}"));
                }
            }
        }
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
    }

    /// Whether a message must have come: acknowledged, and written under a subscription that stood at least until then.
    fn is_promised(&self, actor: ActorId, message: &Message) -> bool {
        let Some(kept) = message.acked else { return false };
        self.wishes.iter().any(|wish| {
            wish.actor == actor
                && matches(&wish.filter, &message.topic)
                && wish.acked.is_some_and(|acked| acked < message.written)
                && wish.ended.is_none_or(|ended| ended > kept)
                && wish.written < message.written
        })
    }

    /// Looks at what a fresh subscriber found retained for a topic that has one publisher.
    pub fn settle_retained(&mut self, topic: &str, found: Option<usize>) {
        let writes =
            self.messages.iter().enumerate().filter(|(_, known)| known.is_retained && known.topic == topic);
        let writes: Vec<(usize, bool)> =
            writes.map(|(number, known)| (number, known.acked.is_some())).collect();
        let last_acked = writes.iter().rposition(|(_, is_acked)| *is_acked);
        let allowed = &writes[last_acked.unwrap_or(0)..];
        let is_right = match found {
            None => last_acked.is_none(),
            Some(found) => allowed.iter().any(|(number, _)| *number == found),
        };
        if !is_right {
            self.complain(format!("{topic} has {found:?} retained; written and acknowledged: {writes:?}"));
        }
    }
}
