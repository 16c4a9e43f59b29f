//! What becomes of what devices say.
//!
//! Why telemetry of one turn is gathered: a device that says one key a hundred times before anything is written down is
//! worth one record of its latest value; and where history is kept, one change with all points is cheaper than one for
//! each message. It is gathered where the changes wait, so nothing can be forgotten at the end of a turn.
//!
//! Invariants:
//! - What a device says counts for itself only, or for a child that the caller has looked up.
//! - Answers go to the ear that asked.
//! - History keeps every point; what is gathered stands in the order in which it came, and never crosses a deletion.
//!
//! Source: sections on telemetry, attributes, commands and claims of the device API.

use std::borrow::Cow;
use std::sync::Arc;

use super::desk::{Desk, Hub, HubCounters, note_turn};
use super::outcome::{Addressed, Outcome, Refusal};
use crate::attributes::{Facts, Room, Written};
use crate::change::{Change, Scope};
use crate::claim::{self, Claim};
use crate::ids::DeviceId;
use crate::profile::Keeping;
use crate::speech::{Cookie, Downlink, Ear, Uplink, Wanted};
use crate::value::Sample;

/// Who says something.
#[derive(Clone, Copy)]
enum Speaker {
    /// A device on a connection.
    On(Ear),
    /// A device without one, and what is kept of what it says.
    Apart(Keeping),
}

/// How many values were not taken: their keys are too many, or there are not enough bytes left for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Untaken {
    pub too_many: u64,
    pub too_large: u64,
}

impl Untaken {
    /// Counts what was not taken.
    pub fn count(self, counters: &mut HubCounters) {
        counters.facts_refused += self.too_many;
        counters.facts_too_large += self.too_large;
    }

    /// Why not everything was taken; nothing if it was.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self { too_many: 0, too_large: 0 } => None,
            Self { too_many: 0, .. } => Some(Refusal::FactsTooLarge),
            _ => Some(Refusal::TooManyFacts),
        }
    }
}

impl Hub {
    /// A device says something on a connection that is open for it. Whoever calls answers what needs a registry or a
    /// responder himself: provisioning, parts of packages, calls, and the coming and going of children.
    pub fn hear(&mut self, device: DeviceId, ear: Ear, uplink: Uplink<'_>, now_ms: i64, out: &mut Outcome) {
        self.heed(device, ear, &uplink, now_ms, out);
    }

    /// As [`Hub::hear`], for whoever wants to keep the uplink's room for the next one.
    pub fn heed(&mut self, device: DeviceId, ear: Ear, uplink: &Uplink<'_>, now_ms: i64, out: &mut Outcome) {
        if let Some(refusal) = self.take(device, Speaker::On(ear), uplink, now_ms, out).refusal() {
            out.refused.push((ear, device, refusal));
        }
    }

    /// A device says something without a connection: it is heard as on one, and nobody listens for an answer.
    ///
    /// # Errors
    /// Not all of it was taken.
    pub(crate) fn say(
        &mut self,
        device: DeviceId,
        keeping: Keeping,
        uplink: &Uplink<'_>,
        now_ms: i64,
        out: &mut Outcome,
    ) -> Result<(), Refusal> {
        self.desk(device).ok_or(Refusal::TooManyDevices)?;
        let untaken = self.take(device, Speaker::Apart(keeping), uplink, now_ms, out);
        untaken.refusal().map_or(Ok(()), Err)
    }

    /// Takes what a device says.
    fn take(
        &mut self,
        device: DeviceId,
        speaker: Speaker,
        uplink: &Uplink<'_>,
        now_ms: i64,
        out: &mut Outcome,
    ) -> Untaken {
        let Self { devices, terms, counters, .. } = self;
        let Some(desk) = devices.get_mut(&device) else { return Untaken::default() };
        let (ear, keeping) = match speaker {
            Speaker::On(ear) => match desk.listener(ear) {
                Some(listener) => (ear, listener.keeping),
                None => return Untaken::default(),
            },
            Speaker::Apart(keeping) => (Ear::NOBODY, keeping),
        };
        let turn = desk.presence.hear(now_ms);
        // Not with every word: one that is written down now and then tells after a restart when it was heard.
        if turn.is_some() || now_ms >= desk.stale_ms {
            if let Some(turn) = turn {
                note_turn(desk, (device, turn), terms, out);
            }
            desk.note_presence(device, terms, out);
        }
        let untaken = match uplink {
            Uplink::Telemetry(_) if keeping == Keeping::Forward => Untaken::default(),
            Uplink::Telemetry(samples) => keep(desk, device, samples, (keeping, terms.room()), out),
            Uplink::Attributes(samples) => write(desk, device, Scope::Client, samples, terms.room(), out),
            Uplink::Shared(samples) => write(desk, device, Scope::Shared, samples, terms.room(), out),
            Uplink::Alive => Untaken::default(),
            other => {
                self.heed_other(device, ear, other, now_ms, out);
                self.plan(device);
                return Untaken::default();
            }
        };
        untaken.count(counters);
        // Who goes on speaking is silent later than was planned, and that is found out when the time has come.
        if turn.is_some() || !desk.is_planned() {
            self.plan(device);
        }
        untaken
    }

    fn heed_other(
        &mut self,
        device: DeviceId,
        ear: Ear,
        uplink: &Uplink<'_>,
        now_ms: i64,
        out: &mut Outcome,
    ) {
        let terms = self.terms;
        let Some(desk) = self.devices.get_mut(&device) else { return };
        match uplink {
            Uplink::AttributesWanted { cookie, client, shared } => {
                let downlink = attributes(desk, *cookie, client, shared);
                out.downlinks.push(Addressed { ear, device, downlink });
            }
            Uplink::Listens { attributes, commands } => {
                let Some(listener) = desk.listener(ear) else { return };
                listener.hears_attributes = *attributes;
                listener.hears_commands = *commands;
                if commands.is_some() {
                    self.send_again(device, ear, out);
                }
            }
            Uplink::ListensAgain => self.repeat_commands(device, ear, out),
            Uplink::CommandAnswered { number, answer } => self.answered(device, *number, answer, out),
            Uplink::Claimable { secret, duration_ms } => {
                let offered =
                    Claim::new(secret, duration_ms.filter(|ms| *ms > 0).or(Some(terms.claim_ms)), now_ms);
                if desk.may_be_claimed(&terms) && claim::offer(&mut desk.claim, offered, now_ms) {
                    out.changes.push(Change::Claim { device, claim: desk.claim.clone() });
                }
            }
            Uplink::Telemetry(_)
            | Uplink::Attributes(_)
            | Uplink::Shared(_)
            | Uplink::Called { .. }
            | Uplink::CalledInVain { .. }
            | Uplink::ChunkWanted(_)
            | Uplink::Provision(_)
            | Uplink::ChildHere { .. }
            | Uplink::ChildGone
            | Uplink::Alive => {}
        }
    }
}

/// Keeps telemetry.
pub(super) fn keep(
    desk: &mut Desk,
    device: DeviceId,
    samples: &[Sample<'_>],
    (keeping, room): (Keeping, Room),
    out: &mut Outcome,
) -> Untaken {
    let mut untaken = Untaken::default();
    if samples.is_empty() {
        return untaken;
    }
    let room = desk.room_of(&desk.latest, room);
    // What is older than the latest of its key is told apart, so that whoever writes changes down need not know the latest.
    let mut late = Vec::new();
    let Desk { latest, gathered, .. } = desk;
    for sample in samples {
        match latest.write_newer_within(sample, room) {
            Written::TooMany => untaken.too_many += 1,
            Written::TooLarge => untaken.too_large += 1,
            Written::Same | Written::Changed => {
                gather(out.telemetry(device, keeping, gathered, samples.len()), sample, keeping);
            }
            Written::Late if keeping == Keeping::History => late.push(sample.clone().into_owned()),
            Written::Late => {}
        }
    }
    if !late.is_empty() {
        out.changes.push(Change::Late { device, samples: late });
    }
    untaken
}

fn gather(list: &mut Vec<Sample<'static>>, sample: &Sample<'_>, keeping: Keeping) {
    let known = match keeping {
        Keeping::Latest => list.iter_mut().find(|known| known.key == sample.key),
        Keeping::History | Keeping::Forward => None,
    };
    match known {
        Some(known) => {
            known.value = sample.value.clone().into_owned();
            known.at_ms = sample.at_ms;
        }
        None => list.push(sample.clone().into_owned()),
    }
}

/// Writes attributes and notes those that are other than before.
pub(super) fn write(
    desk: &mut Desk,
    device: DeviceId,
    scope: Scope,
    samples: &[Sample<'_>],
    room: Room,
    out: &mut Outcome,
) -> Untaken {
    let room = desk.room_of(desk.scope(scope), room);
    let mut untaken = Untaken::default();
    for sample in samples {
        match desk.scope_mut(scope).write_within(sample, room) {
            Written::Same | Written::Late => {}
            Written::TooMany => untaken.too_many += 1,
            Written::TooLarge => untaken.too_large += 1,
            Written::Changed => out.changes.push(Change::Attribute {
                device,
                scope,
                key: sample.key.as_ref().into(),
                value: Some(sample.value.clone().into_owned()),
                at_ms: sample.at_ms,
            }),
        }
    }
    untaken
}

fn attributes(desk: &Desk, cookie: Cookie, client: &Wanted<'_>, shared: &Wanted<'_>) -> Downlink {
    let keys = [client, shared].into_iter().map(|wanted| match wanted {
        Wanted::Keys(keys) => keys.len(),
        Wanted::Nothing | Wanted::All => 0,
    });
    Downlink::Attributes {
        cookie,
        keys: keys.sum(),
        client: wanted(&desk.client, client),
        shared: wanted(&desk.shared, shared),
    }
}

fn wanted(facts: &Facts, wanted: &Wanted<'_>) -> Option<Vec<Sample<'static>>> {
    let copy = |key: &str, value: &crate::Value<'static>, at_ms| Sample {
        key: Cow::Owned(key.to_owned()),
        value: value.clone(),
        at_ms,
    };
    match wanted {
        Wanted::Nothing => None,
        Wanted::All => Some(facts.iter().map(|(key, value, at_ms)| copy(key, value, at_ms)).collect()),
        Wanted::Keys(keys) => {
            let mut seen: Vec<&str> = Vec::with_capacity(keys.len());
            for key in keys {
                if !seen.contains(&&**key) {
                    seen.push(key);
                }
            }
            let found = seen.into_iter().filter_map(|key| {
                let (value, at_ms) = facts.get(key)?;
                Some(copy(key, value, at_ms))
            });
            Some(found.collect())
        }
    }
}

/// Tells all who listen for shared attributes.
pub(super) fn tell(desk: &Desk, device: DeviceId, downlink: &Downlink, out: &mut Outcome) {
    for listener in desk.listeners.iter().filter(|listener| listener.hears_attributes) {
        out.downlinks.push(Addressed { ear: listener.ear, device, downlink: downlink.clone() });
    }
}

/// Samples that several listeners are told of.
pub(super) fn shared(samples: &[Sample<'_>]) -> Arc<[Sample<'static>]> {
    samples.iter().cloned().map(Sample::into_owned).collect()
}
