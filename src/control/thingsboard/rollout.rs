//! Telling devices of a change: one device at once, all devices of a profile little by little.
//!
//! Why in the background: a profile may have a million devices, each of which is told on its own core and written to disk; no
//! request waits for that. Why one after the other: the devices' messages go first.
//!
//! Invariants:
//! - At most [`TELLING_MAX`] devices are being told at one time, by at most one task.
//! - Of one message to one profile at most one rollout waits; it reads what is assigned when it begins.
//!
//! Source: section 7.1 of the vectors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use device::{DeviceId, HubCall, PackageId, PackageKind, ProfileId, Registry};
use tracing::warn;

use super::house::Api;
use super::refusal::Refusal;

/// Devices that are told at one time.
const TELLING_MAX: usize = 64;
/// Places of the registry that are looked at while its lock is held.
pub(super) const PLACES_AT_ONCE: usize = 4_096;

const KINDS: [PackageKind; 2] = [PackageKind::Firmware, PackageKind::Software];

/// The packages of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Assigned([Option<PackageId>; 2]);

/// Rollouts that wait, and how far they came.
#[derive(Default)]
pub(crate) struct Rollouts {
    state: Mutex<State>,
    told: AtomicU64,
    failed: AtomicU64,
}

/// What all devices of a profile are told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Message {
    /// Their connections end, because what they are reached by is another thing now.
    Leave,
    /// Their profile means something else now, and their connections go on by that.
    Renew,
    /// Which package they have.
    Package(PackageKind),
}

#[derive(Default)]
struct State {
    waiting: BTreeSet<(ProfileId, Message)>,
    is_running: bool,
}

impl Rollouts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next one; without one the task ends.
    fn next(&self) -> Option<(ProfileId, Message)> {
        let mut state = self.state();
        let next = state.waiting.pop_first();
        state.is_running = next.is_some();
        next
    }

    /// Appends counters in Prometheus' text format.
    pub fn render(&self, text: &mut String) {
        let (told, failed) = (self.told.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let waiting = self.state().waiting.len();
        text.push_str(&format!(
            "# TYPE ringmq_rollouts_waiting gauge\nringmq_rollouts_waiting {waiting}\n\
             # TYPE ringmq_rollout_devices_total counter\nringmq_rollout_devices_total {told}\n\
             # TYPE ringmq_rollout_failures_total counter\nringmq_rollout_failures_total {failed}\n"
        ));
    }
}

/// The packages of a device: its own, or else its profile's.
pub(super) fn assigned(registry: &Registry, device: DeviceId) -> Assigned {
    Assigned(KINDS.map(|kind| registry.package_of(device, kind).map(|package| package.id)))
}

impl Api {
    /// Tells a device what was assigned to it, and what no longer is.
    pub async fn tell_assigned(&self, device: DeviceId, had: Assigned, has: Assigned) -> Result<(), Refusal> {
        for (index, kind) in KINDS.into_iter().enumerate() {
            if had.0[index] != has.0[index] {
                self.ask(device, self.assignment(kind, has.0[index])).await?;
            }
        }
        Ok(())
    }

    /// Tells all devices of a profile that have no package of that kind of their own, after the answer.
    pub fn roll_out(&self, profile: ProfileId, kind: PackageKind) {
        self.tell_all(profile, Message::Package(kind));
    }

    /// Ends the connections of all devices of a profile, after the answer.
    pub fn let_in_anew(&self, profile: ProfileId) {
        self.tell_all(profile, Message::Leave);
    }

    /// Lets all connections of a profile's devices go on by what it says now, after the answer.
    pub fn renew_all(&self, profile: ProfileId) {
        self.tell_all(profile, Message::Renew);
    }

    fn tell_all(&self, profile: ProfileId, message: Message) {
        let mut state = self.rollouts().state();
        state.waiting.insert((profile, message));
        if !std::mem::replace(&mut state.is_running, true) {
            tokio::spawn(run(self.clone()));
        }
    }

    fn assignment(&self, kind: PackageKind, package: Option<PackageId>) -> HubCall {
        let package = package.and_then(|package| self.read(|registry| registry.package(package).cloned()));
        match package {
            Some(package) => HubCall::Assign(package.assign(self.now_ms())),
            None => HubCall::Unassign(kind),
        }
    }
}

async fn run(api: Api) {
    while let Some((profile, message)) = api.rollouts().next() {
        let call = match message {
            Message::Leave => HubCall::Evict,
            Message::Renew => HubCall::Renew,
            Message::Package(kind) => {
                let package =
                    api.read(|registry| registry.profile(profile).and_then(|profile| profile.package(kind)));
                api.assignment(kind, package)
            }
        };
        let (mut from, mut failures) = (0, 0_u64);
        while let Some(devices) = part(&api, profile, message, from) {
            from += PLACES_AT_ONCE;
            for some in devices.chunks(TELLING_MAX) {
                failures += tell(&api, some, &call).await;
            }
        }
        if failures > 0 {
            warn!("{failures} devices of profile {profile} could not be told of a change");
        }
    }
}

/// The devices of a part of the registry that a message is for; none behind its end.
fn part(api: &Api, profile: ProfileId, message: Message, from: usize) -> Option<Vec<DeviceId>> {
    api.read(|registry| {
        let is_meant = |device: &&device::Device| {
            let has_own = match message {
                Message::Leave | Message::Renew => false,
                Message::Package(kind) => device.package(kind).is_some(),
            };
            device.profile == profile && !has_own
        };
        let devices = registry.devices_in(from, PLACES_AT_ONCE)?;
        Some(devices.filter(is_meant).map(|device| device.id).collect())
    })
}

/// Tells some devices at one time. Returns how many could not be told.
async fn tell(api: &Api, devices: &[DeviceId], call: &HubCall) -> u64 {
    let answers: Vec<_> = devices.iter().map(|device| api.platform().ask(*device, call.clone())).collect();
    let mut failures = 0;
    for answer in answers {
        let told = tokio::time::timeout(super::house::ANSWER_MAX, answer.recv_async()).await;
        let counter = match told {
            Ok(Ok(_)) => &api.rollouts().told,
            Ok(Err(_)) | Err(_) => {
                failures += 1;
                &api.rollouts().failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    failures
}
