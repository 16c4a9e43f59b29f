//! What the server writes about devices: attributes of its scopes, and what an assignment of firmware sets.
//!
//! Invariants:
//! - A write of shared attributes tells all keys of that write, whether their values changed or not; a delete tells all keys
//!   that it names, whether they existed or not.
//! - Deletions of an assignment are told before what it writes.
//! - Telemetry that comes behind a deletion is never gathered with telemetry before it.

use super::desk::Hub;
use super::hearing::{Untaken, keep, shared, tell, write};
use super::outcome::{Outcome, Refusal};
use crate::attributes::Room;
use crate::change::{Change, Scope};
use crate::ids::DeviceId;
use crate::package::Assignment;
use crate::profile::Keeping;
use crate::speech::Downlink;
use crate::value::Sample;

impl Hub {
    /// Writes attributes of a device, all of them or, if they are too many or too large, none.
    pub fn write(&mut self, device: DeviceId, scope: Scope, samples: &[Sample<'_>], out: &mut Outcome) {
        // Whoever does not ask for the outcome finds the refusal in the counters.
        let _counted = self.write_all(device, scope, samples, out);
    }

    /// As [`Hub::write`], for whoever can be told.
    pub(crate) fn write_all(
        &mut self,
        device: DeviceId,
        scope: Scope,
        samples: &[Sample<'_>],
        out: &mut Outcome,
    ) -> Result<(), Refusal> {
        let room = self.terms.room();
        let desk = self.desk(device).ok_or(Refusal::TooManyDevices)?;
        let (mut new_keys, mut grown) = (0, 0);
        // What becomes smaller makes room for the next write, not for this one.
        for sample in samples {
            let bytes = sample.value.heap_bytes();
            match desk.scope(scope).get(&sample.key) {
                Some((known, _)) => grown += bytes.saturating_sub(known.heap_bytes()),
                None => {
                    new_keys += 1;
                    grown += sample.key.len() + bytes;
                }
            }
        }
        let mut untaken = Untaken::default();
        if new_keys > 0 && desk.facts() + new_keys > room.keys {
            untaken.too_many = u64::try_from(new_keys).unwrap_or(u64::MAX);
        } else if grown > 0 && desk.facts_bytes() + grown > room.bytes {
            untaken.too_large = u64::try_from(samples.len()).unwrap_or(u64::MAX);
        }
        if let Some(refusal) = untaken.refusal() {
            untaken.count(&mut self.counters);
            return Err(refusal);
        }
        let _all_taken = write(desk, device, scope, samples, Room::ENDLESS, out);
        if scope == Scope::Shared && !samples.is_empty() {
            tell(desk, device, &Downlink::SharedWritten(shared(samples)), out);
        }
        self.plan(device);
        Ok(())
    }

    /// Deletes attributes of a device.
    pub fn delete(&mut self, device: DeviceId, scope: Scope, keys: &[&str], now_ms: i64, out: &mut Outcome) {
        let Some(desk) = self.devices.get_mut(&device) else { return };
        for key in keys {
            if desk.scope_mut(scope).delete(key) {
                out.changes.push(Change::Attribute {
                    device,
                    scope,
                    key: (*key).into(),
                    value: None,
                    at_ms: now_ms,
                });
            }
        }
        if scope == Scope::Shared && !keys.is_empty() {
            let keys = keys.iter().map(|key| Box::from(*key)).collect();
            tell(desk, device, &Downlink::SharedDeleted(keys), out);
        }
    }

    /// Writes telemetry in a device's name; values that are too many or too large are not taken.
    pub fn keep(
        &mut self,
        device: DeviceId,
        samples: Vec<Sample<'static>>,
        keeping: Keeping,
        out: &mut Outcome,
    ) {
        let _counted = self.keep_all(device, &samples, keeping, out);
    }

    /// As [`Hub::keep`], for whoever can be told.
    pub(crate) fn keep_all(
        &mut self,
        device: DeviceId,
        samples: &[Sample<'static>],
        keeping: Keeping,
        out: &mut Outcome,
    ) -> Result<(), Refusal> {
        if keeping == Keeping::Forward {
            return Ok(());
        }
        let room = self.terms.room();
        let desk = self.desk(device).ok_or(Refusal::TooManyDevices)?;
        let untaken = keep(desk, device, samples, (keeping, room), out);
        untaken.count(&mut self.counters);
        untaken.refusal().map_or(Ok(()), Err)
    }

    /// Deletes history of a key from `from_ms` up to `to_ms`, and its latest value if that is wanted and it lies there;
    /// `rewritten` takes its place.
    pub(crate) fn delete_history(
        &mut self,
        device: DeviceId,
        key: Box<str>,
        (from_ms, to_ms): (i64, i64),
        deletes_latest: bool,
        rewritten: Option<Sample<'static>>,
        out: &mut Outcome,
    ) {
        if let Some(desk) = self.devices.get_mut(&device) {
            desk.gathered = None;
        }
        if from_ms < to_ms {
            out.changes.push(Change::HistoryGone { device, key: key.clone(), from_ms, to_ms });
        }
        let Some(desk) = self.devices.get_mut(&device).filter(|_| deletes_latest) else { return };
        let lies_there = desk.latest.get(&key).is_some_and(|(_, at_ms)| (from_ms..to_ms).contains(&at_ms));
        if !lies_there {
            return;
        }
        let _was_there = desk.latest.delete(&key);
        out.changes.push(Change::LatestGone { device, key });
        if let Some(sample) = rewritten {
            desk.latest.write_newer(&sample);
            out.changes.push(Change::Telemetry { device, samples: vec![sample], keeping: Keeping::Latest });
        }
    }

    /// Takes over what the registry has written down of a new device, and tells those who listen of what is shared.
    pub fn learn(&mut self, device: DeviceId, changes: &[Change], out: &mut Outcome) {
        let mut samples = Vec::new();
        for change in changes {
            self.restore(change);
            if let Change::Attribute { scope: Scope::Shared, key, value: Some(value), at_ms, .. } = change {
                let key = std::borrow::Cow::Owned(key.to_string());
                samples.push(Sample { key, value: value.clone(), at_ms: *at_ms });
            }
        }
        if let Some(desk) = self.devices.get(&device).filter(|_| !samples.is_empty()) {
            tell(desk, device, &Downlink::SharedWritten(samples.into()), out);
        }
    }

    /// A package was assigned to a device.
    pub fn assign(&mut self, device: DeviceId, assignment: Assignment, now_ms: i64, out: &mut Outcome) {
        self.keep(device, assignment.telemetry, Keeping::History, out);
        let deleted: Vec<&str> = assignment.deleted.iter().map(String::as_str).collect();
        self.delete(device, Scope::Shared, &deleted, now_ms, out);
        self.write(device, Scope::Shared, &assignment.shared, out);
    }
}
