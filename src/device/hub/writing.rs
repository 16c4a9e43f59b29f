//! What the server writes about devices: attributes of its scopes, and what an assignment of firmware sets.
//!
//! Invariants:
//! - A write of shared attributes tells all keys of that write, whether their values changed or not; a delete tells all keys
//!   that it names, whether they existed or not.
//! - Deletions of an assignment are told before what it writes.

use super::desk::Hub;
use super::hearing::{note, shared, tell, write};
use super::outcome::Outcome;
use crate::change::{Change, Scope};
use crate::ids::DeviceId;
use crate::package::Assignment;
use crate::profile::Keeping;
use crate::speech::Downlink;
use crate::value::Sample;

impl Hub {
    /// Writes attributes of a device.
    pub fn write(&mut self, device: DeviceId, scope: Scope, samples: &[Sample<'_>], out: &mut Outcome) {
        let desk = self.devices.entry(device).or_default();
        write(desk, device, scope, samples, out);
        if scope == Scope::Shared && !samples.is_empty() {
            tell(desk, device, &Downlink::SharedWritten(shared(samples)), out);
        }
        self.plan(device);
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

    /// Writes telemetry in a device's name.
    pub fn keep(
        &mut self,
        device: DeviceId,
        samples: Vec<Sample<'static>>,
        keeping: Keeping,
        out: &mut Outcome,
    ) {
        note(self.devices.entry(device).or_default(), device, samples, keeping, out);
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

    /// A package was assigned to a device.
    pub fn assign(&mut self, device: DeviceId, assignment: Assignment, now_ms: i64, out: &mut Outcome) {
        self.keep(device, assignment.telemetry, Keeping::History, out);
        let deleted: Vec<&str> = assignment.deleted.iter().map(String::as_str).collect();
        self.delete(device, Scope::Shared, &deleted, now_ms, out);
        self.write(device, Scope::Shared, &assignment.shared, out);
    }
}
