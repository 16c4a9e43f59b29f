//! Telling devices of a change: one device at once, all devices of a profile little by little.
//!
//! Why in the background: a profile may have a million devices, each of which is told on its own core and written to disk; no
//! request waits for that. Why one after the other: the devices' messages go first.
//!
//! Invariants:
//! - At most [`TELLING_MAX`] devices are being told at one time, by at most one task.
//! - Of one message to one profile at most one rollout waits; it reads what is assigned when it begins.
//! - That a profile's package is not known to all its devices is written down with the assignment, and that all know it when
//!   the last of them was told: a rollout that was cut off goes on with the next start, and tells nobody twice.
//!
//! Source: section 7.1 of the vectors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device::{DeviceId, HubCall, HubReply, PackageId, PackageKind, ProfileId, Registry, Sample, Scope};
use tracing::{info, warn};

use super::house::Api;
use super::refusal::Refusal;

/// Devices that are told at one time.
const TELLING_MAX: usize = 64;
/// How often it is looked whether the disk has space again.
const SPACE_STEP: Duration = Duration::from_secs(1);
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
    /// Those that an earlier process has begun.
    resumed: BTreeSet<(ProfileId, PackageKind)>,
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

    /// Goes on with rollouts that an earlier process has not brought to an end.
    pub fn resume_rollouts(&self) {
        let cut_off: Vec<_> = self.read(|registry| {
            let of = |kind| registry.profiles().filter(move |profile| profile.untold.of(kind));
            KINDS.iter().flat_map(|kind| of(*kind).map(|profile| (profile.id, *kind))).collect()
        });
        if !cut_off.is_empty() {
            info!("{} rollouts of packages go on", cut_off.len());
        }
        for (profile, kind) in cut_off {
            self.rollouts().state().resumed.insert((profile, kind));
            self.tell_all(profile, Message::Package(kind));
        }
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
        let failures = match message {
            Message::Leave => tell_devices(&api, profile, message, &HubCall::Evict, false).await,
            Message::Renew => tell_devices(&api, profile, message, &HubCall::Renew, false).await,
            Message::Package(kind) => roll_out(&api, profile, kind).await,
        };
        if failures > 0 {
            warn!("{failures} devices of profile {profile} could not be told of a change");
        }
    }
}

/// Tells all devices of a profile of its package, and notes that all know it. Returns how many could not be told: then it is
/// not noted, and tried again by the next process.
async fn roll_out(api: &Api, profile: ProfileId, kind: PackageKind) -> u64 {
    let is_resumed = api.rollouts().state().resumed.remove(&(profile, kind));
    let package = api.read(|registry| registry.profile(profile).and_then(|profile| profile.package(kind)));
    let call = api.assignment(kind, package);
    let failures = tell_devices(api, profile, Message::Package(kind), &call, is_resumed).await;
    if failures > 0 {
        return failures;
    }
    let noted = api.change_anyway(|registry, changes| {
        registry.told(profile, kind, package, changes);
        Ok(())
    });
    if noted.await.is_err() {
        warn!(
            "the end of a rollout to devices of profile {profile} is not kept: it begins again with the next start"
        );
    }
    0
}

/// Tells all devices of a profile something; those that know it already are left out if it is asked for. Returns how many
/// could not be told.
async fn tell_devices(
    api: &Api,
    profile: ProfileId,
    message: Message,
    call: &HubCall,
    leaves_out: bool,
) -> u64 {
    let (mut from, mut failures) = (0, 0);
    while let Some(devices) = part(api, profile, message, from) {
        from += PLACES_AT_ONCE;
        for some in devices.chunks(TELLING_MAX) {
            while !api.platform().has_space() {
                tokio::time::sleep(SPACE_STEP).await;
            }
            failures += if leaves_out {
                let (left, unknown) = ignorant(api, some, call).await;
                unknown + tell(api, &left, call).await
            } else {
                tell(api, some, call).await
            };
        }
    }
    failures
}

/// Those of some devices that were not told of an assignment yet, and how many of them have not answered.
async fn ignorant(api: &Api, devices: &[DeviceId], call: &HubCall) -> (Vec<DeviceId>, u64) {
    let keys = match call {
        HubCall::Assign(assignment) => {
            let written = assignment.shared.iter().map(|sample| sample.key.as_ref());
            written.chain(assignment.deleted.iter().map(String::as_str)).map(Box::from).collect()
        }
        HubCall::Unassign(kind) => device::unassign(*kind).into_iter().map(String::into_boxed_str).collect(),
        _nothing_else_is_assigned => Vec::new(),
    };
    let asked = HubCall::Attributes { scope: Scope::Shared, keys: Some(keys) };
    let (mut left, mut unknown) = (Vec::new(), 0);
    let answers = ask_all(api, devices, &asked).await;
    for (device, answer) in devices.iter().zip(answers) {
        match answer {
            Some(HubReply::Facts(facts)) => {
                if !knows(&facts, call) {
                    left.push(*device);
                }
            }
            Some(_) | None => {
                api.rollouts().failed.fetch_add(1, Ordering::Relaxed);
                unknown += 1;
            }
        }
    }
    (left, unknown)
}

/// Whether a device's shared attributes are those that an assignment leaves behind.
fn knows(facts: &[Sample<'_>], call: &HubCall) -> bool {
    let HubCall::Assign(assignment) = call else { return facts.is_empty() };
    let has =
        |wanted: &Sample<'_>| facts.iter().any(|fact| fact.key == wanted.key && fact.value == wanted.value);
    facts.len() == assignment.shared.len() && assignment.shared.iter().all(has)
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
    let mut failures = 0;
    for told in ask_all(api, devices, call).await {
        let counter = match told {
            Some(_) => &api.rollouts().told,
            None => {
                failures += 1;
                &api.rollouts().failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    failures
}

/// Asks some devices at one time; nothing of those that do not answer in time.
pub(super) async fn ask_all(api: &Api, devices: &[DeviceId], call: &HubCall) -> Vec<Option<HubReply>> {
    let mut answers = Vec::with_capacity(devices.len());
    for device in devices {
        answers.push(api.hand(*device, call.clone()).await.ok());
    }
    let mut replies = Vec::with_capacity(devices.len());
    for answer in answers {
        replies.push(match answer {
            Some(answer) => {
                let reply = tokio::time::timeout(super::house::ANSWER_MAX, answer.recv_async()).await;
                reply.ok().and_then(Result::ok)
            }
            None => None,
        });
    }
    replies
}
