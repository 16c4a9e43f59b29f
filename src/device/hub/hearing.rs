//! What becomes of what devices say.
//!
//! Invariants:
//! - What a device says counts for itself only, or for a child that the caller has looked up.
//! - Answers go to the ear that asked.
//!
//! Source: sections on telemetry, attributes, commands and claims of the device API.

use std::borrow::Cow;
use std::sync::Arc;

use super::desk::{Desk, Hub};
use super::outcome::{Addressed, Outcome};
use crate::attributes::Facts;
use crate::change::{Change, Scope};
use crate::claim::{self, Claim};
use crate::ids::DeviceId;
use crate::profile::Keeping;
use crate::speech::{Cookie, Downlink, Ear, Uplink, Wanted};
use crate::value::Sample;

impl Hub {
    /// A device says something on a connection that is open for it. Whoever calls answers what needs a registry or a
    /// responder himself: provisioning, parts of packages, calls, and the coming and going of children.
    pub fn hear(&mut self, device: DeviceId, ear: Ear, uplink: Uplink<'_>, now_ms: i64, out: &mut Outcome) {
        let Some(desk) = self.devices.get_mut(&device) else { return };
        let Some(listener) = desk.listener(ear) else { return };
        let keeping = listener.keeping;
        if let Some(turn) = desk.presence.hear(now_ms) {
            out.turns.push((device, turn));
            out.changes.push(Change::Presence { device, presence: desk.presence });
        }
        match uplink {
            Uplink::Telemetry(samples) => keep(desk, device, &samples, keeping, out),
            Uplink::Attributes(samples) => write(desk, device, Scope::Client, &samples, out),
            Uplink::AttributesWanted { cookie, client, shared } => {
                let downlink = attributes(desk, cookie, &client, &shared);
                out.downlinks.push(Addressed { ear, device, downlink });
            }
            Uplink::Listens { attributes, commands } => {
                let listener = desk.listener(ear).expect("found above");
                listener.hears_attributes = attributes;
                let begins = commands.is_some();
                listener.hears_commands = commands;
                if begins {
                    self.send_waiting(device, ear, out);
                }
            }
            Uplink::CommandAnswered { number, answer } => self.answered(device, number, &answer, out),
            Uplink::Claimable { secret, duration_ms } => {
                let offered = Claim::new(&secret, duration_ms, now_ms);
                if claim::offer(&mut desk.claim, offered, now_ms) {
                    out.changes.push(Change::Claim { device, claim: desk.claim.clone() });
                }
            }
            Uplink::Called { .. }
            | Uplink::ChunkWanted(_)
            | Uplink::Provision(_)
            | Uplink::ChildHere { .. }
            | Uplink::ChildGone
            | Uplink::Alive => {}
        }
        self.plan(device);
    }
}

fn keep(desk: &mut Desk, device: DeviceId, samples: &[Sample<'_>], keeping: Keeping, out: &mut Outcome) {
    if keeping == Keeping::Forward {
        return;
    }
    let samples = samples.iter().cloned().map(Sample::into_owned).collect();
    note(desk, device, samples, keeping, out);
}

/// Takes telemetry over. What is older than the latest of its key is told apart, so that whoever writes changes down need
/// not know the latest.
pub(super) fn note(
    desk: &mut Desk,
    device: DeviceId,
    samples: Vec<Sample<'static>>,
    keeping: Keeping,
    out: &mut Outcome,
) {
    let (samples, late): (Vec<_>, Vec<_>) =
        samples.into_iter().partition(|sample| desk.latest.write_newer(sample));
    if !samples.is_empty() {
        out.changes.push(Change::Telemetry { device, samples, keeping });
    }
    if keeping == Keeping::History && !late.is_empty() {
        out.changes.push(Change::Late { device, samples: late });
    }
}

/// Writes attributes and notes those that are other than before.
pub(super) fn write(
    desk: &mut Desk,
    device: DeviceId,
    scope: Scope,
    samples: &[Sample<'_>],
    out: &mut Outcome,
) {
    for sample in samples {
        if desk.scope_mut(scope).write(sample) {
            out.changes.push(Change::Attribute {
                device,
                scope,
                key: sample.key.as_ref().into(),
                value: Some(sample.value.clone().into_owned()),
                at_ms: sample.at_ms,
            });
        }
    }
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
