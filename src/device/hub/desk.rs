//! The devices of one core: who listens, what is known, and when to look again.
//!
//! Why the hub holds devices that are away: their attributes are asked for and written while nobody is connected, and their
//! commands wait. A device of which nothing is known has no entry.
//!
//! Invariants:
//! - A device has at most `sessions_max` ears of cores; one more replaces the oldest.
//! - For every device with a deadline there is one entry in `due`, not later than the deadline.
//! - When a device is heard, that is written down if what stands written is older than half of its time of silence or than
//!   five minutes; but for turns of its presence not twice in a second.

use std::collections::BTreeSet;

use ahash::RandomState;
use hashbrown::HashMap;
use mqtt::QoS;

use super::hearing::keep;
use super::outcome::{Outcome, Refusal};
use crate::attributes::{Facts, Room};
use crate::change::{Change, Scope};
use crate::claim::{self, Claim, Redeemed};
use crate::command::{Command, CommandTerms};
use crate::ids::DeviceId;
use crate::presence::{Presence, Turn};
use crate::profile::Keeping;
use crate::speech::Ear;
use crate::value::{Sample, Value};

/// The server attribute with which somebody sets a device's own time of silence, in milliseconds.
const SILENCE_KEY: &str = "inactivityTimeout";

/// The server attribute with which somebody lets a device be claimed.
const CLAIMING_KEY: &str = "claimingAllowed";

/// How old what is written down of when a device was heard may be in any case, and at most.
const LAG_MS_MIN: i64 = 1_000;
const LAG_MS_MAX: i64 = 300_000;

/// How the hub treats devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HubTerms {
    /// How patient deliveries of commands are.
    pub commands: CommandTerms,
    /// How long a device may be silent before it counts as inactive.
    pub silence_ms: i64,
    /// Connections of one device at one time.
    pub sessions_max: usize,
    /// Keys of one device: attributes of all scopes and latest telemetry together. What is said of more is not taken.
    pub facts_per_device_max: usize,
    /// Bytes of these keys, and of the texts, objects and arrays that are their values.
    pub facts_bytes_per_device_max: usize,
    /// Devices of which something is known. The connection of one more is not opened.
    pub devices_max: usize,
    /// How long what a device offers holds if it does not say, in milliseconds.
    pub claim_ms: i64,
    /// Whether every device may be claimed; otherwise its server attribute `claimingAllowed` must say so.
    pub claiming_allowed: bool,
    /// Whether what becomes of a device's presence is telemetry of it as well.
    pub presence_in_telemetry: bool,
}

/// What a hub has refused since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HubCounters {
    /// Values of keys that were too many for their device.
    pub facts_refused: u64,
    /// Values for which their device had not enough bytes left.
    pub facts_too_large: u64,
    /// Connections and writes of devices that were too many.
    pub devices_refused: u64,
}

/// All that is known of the devices of one core.
#[derive(Debug, Default)]
pub struct Hub {
    pub(super) devices: HashMap<DeviceId, Desk, RandomState>,
    due: BTreeSet<(i64, DeviceId)>,
    /// Since when it listens.
    began_ms: i64,
    pub(super) terms: HubTerms,
    pub(super) counters: HubCounters,
}

/// One device.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub client: Facts,
    pub shared: Facts,
    pub server: Facts,
    pub latest: Facts,
    pub presence: Presence,
    /// When the device was heard, as far as that is written down.
    noted_ms: i64,
    /// When that is too long ago.
    pub stale_ms: i64,
    pub claim: Option<Claim>,
    pub listeners: Vec<Listener>,
    pub waiting: Vec<Waiting>,
    pub next_number: i32,
    /// Where in the outcome the telemetry of this turn is gathered; looked at before it is believed.
    pub gathered: Option<u32>,
    due_ms: Option<i64>,
}

/// A connection that is open for the device.
#[derive(Debug)]
pub(super) struct Listener {
    pub ear: Ear,
    pub keeping: Keeping,
    pub hears_attributes: bool,
    pub hears_commands: Option<QoS>,
}

/// A command that has not ended.
#[derive(Debug)]
pub(super) struct Waiting {
    pub command: Command,
    /// Where it was sent last, as long as that connection lasts.
    pub sent_to: Option<Ear>,
    /// Until when its answer must be there, if others wait for it.
    pub answer_due_ms: Option<i64>,
}

impl Waiting {
    fn due_ms(&self) -> Option<i64> {
        self.command.due_ms().map(|due| self.answer_due_ms.map_or(due, |answer_due| due.min(answer_due)))
    }
}

impl Default for HubTerms {
    fn default() -> Self {
        Self {
            commands: CommandTerms::default(),
            silence_ms: 600_000,
            sessions_max: 1,
            facts_per_device_max: 4096,
            facts_bytes_per_device_max: 4 << 20,
            devices_max: 4_000_000,
            claim_ms: claim::CLAIM_MS,
            claiming_allowed: true,
            presence_in_telemetry: false,
        }
    }
}

impl HubTerms {
    /// What one device may have.
    pub(super) const fn room(&self) -> Room {
        Room { keys: self.facts_per_device_max, bytes: self.facts_bytes_per_device_max }
    }
}

impl Hub {
    /// A hub that treats devices so.
    #[must_use]
    pub fn new(terms: HubTerms) -> Self {
        Self { terms, ..Self::default() }
    }

    /// From now on devices are heard: nobody's silence began before. Called before the first of them, and not again.
    pub fn begin(&mut self, now_ms: i64) {
        self.began_ms = now_ms;
    }

    /// A connection is open for a device: its own, or that of a gateway that speaks for it.
    pub fn open(&mut self, device: DeviceId, ear: Ear, keeping: Keeping, now_ms: i64, out: &mut Outcome) {
        let (terms, sessions_max) = (self.terms, self.terms.sessions_max.max(1));
        let Some(desk) = self.desk(device) else {
            out.refused.push((ear, device, Refusal::TooManyDevices));
            return;
        };
        if desk.listener(ear).is_some() {
            return;
        }
        if let Some(turn) = desk.presence.connect(now_ms) {
            note_turn(desk, (device, turn), &terms, out);
        }
        desk.listeners.push(Listener { ear, keeping, hears_attributes: false, hears_commands: None });
        // Whoever listens outside takes nobody's place: requests come and go beside the device's own connection.
        let is_inside = |listener: &Listener| !listener.ear.is_outside();
        while desk.listeners.iter().filter(|listener| is_inside(listener)).count() > sessions_max {
            let index = desk.listeners.iter().position(is_inside).expect("counted in the line above");
            let oldest = desk.listeners.remove(index);
            desk.forget(oldest.ear, device, out);
            desk.presence.disconnect(now_ms);
            out.evicted.push((oldest.ear, device));
        }
        desk.note_presence(device, &terms, out);
    }

    /// A connection is no longer open for a device.
    pub fn close(&mut self, device: DeviceId, ear: Ear, now_ms: i64, out: &mut Outcome) {
        let Some(desk) = self.devices.get_mut(&device) else { return };
        let Some(index) = desk.listeners.iter().position(|listener| listener.ear == ear) else { return };
        desk.listeners.remove(index);
        desk.forget(ear, device, out);
        if let Some(turn) = desk.presence.disconnect(now_ms) {
            note_turn(desk, (device, turn), &self.terms, out);
        }
        desk.note_presence(device, &self.terms, out);
        self.plan(device);
    }

    /// The connection that was opened last for a device.
    #[must_use]
    pub fn newest(&self, device: DeviceId) -> Option<Ear> {
        let inside = |listener: &&Listener| !listener.ear.is_outside();
        self.devices.get(&device)?.listeners.iter().rev().find(inside).map(|listener| listener.ear)
    }

    /// What was refused.
    #[must_use]
    pub fn counters(&self) -> HubCounters {
        self.counters
    }

    /// How many devices something is known of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether nothing is known of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Whether something is known of a device.
    #[must_use]
    pub fn knows(&self, device: DeviceId) -> bool {
        self.devices.contains_key(&device)
    }

    /// The devices that something is known of, in no particular order.
    pub fn known(&self) -> impl Iterator<Item = DeviceId> {
        self.devices.keys().copied()
    }

    /// A device's desk, made if need be; none if there are too many.
    pub(super) fn desk(&mut self, device: DeviceId) -> Option<&mut Desk> {
        if self.devices.len() >= self.terms.devices_max && !self.devices.contains_key(&device) {
            self.counters.devices_refused += 1;
            return None;
        }
        Some(self.devices.entry(device).or_default())
    }

    /// Whether a connection is open for a device.
    #[must_use]
    pub fn is_open(&self, device: DeviceId, ear: Ear) -> bool {
        let desk = self.devices.get(&device);
        desk.is_some_and(|desk| desk.listeners.iter().any(|listener| listener.ear == ear))
    }

    /// How a device is; nothing is known of one that never came.
    #[must_use]
    pub fn presence(&self, device: DeviceId) -> Presence {
        self.devices.get(&device).map_or_else(Presence::default, |desk| desk.presence)
    }

    /// The attributes of a scope, in order of keys.
    pub fn attributes(
        &self,
        device: DeviceId,
        scope: Scope,
    ) -> impl Iterator<Item = (&str, &Value<'static>, i64)> {
        self.devices.get(&device).into_iter().flat_map(move |desk| desk.scope(scope).iter())
    }

    /// The latest telemetry, in order of keys.
    pub fn latest(&self, device: DeviceId) -> impl Iterator<Item = (&str, &Value<'static>, i64)> {
        self.devices.get(&device).into_iter().flat_map(|desk| desk.latest.iter())
    }

    /// Somebody shows a device's secret.
    pub fn redeem(&mut self, device: DeviceId, secret: &str, now_ms: i64, out: &mut Outcome) -> Redeemed {
        let Some(desk) = self.devices.get_mut(&device) else { return Redeemed::NoClaim };
        let had_claim = desk.claim.is_some();
        let redeemed = claim::redeem(&mut desk.claim, secret, now_ms);
        if had_claim {
            out.changes.push(Change::Claim { device, claim: None });
        }
        redeemed
    }

    /// A device or its profile was changed: so is kept what its connections say from here on. The connections, which are to
    /// be told.
    pub fn renew(&mut self, device: DeviceId, keeping: Keeping) -> Vec<Ear> {
        let listeners = self.devices.get_mut(&device).map(|desk| &mut desk.listeners);
        let renewed = listeners.into_iter().flatten().map(|listener| {
            listener.keeping = keeping;
            listener.ear
        });
        renewed.collect()
    }

    /// A device's credential or kind was changed: its connections end, and what is known of it stays.
    pub(crate) fn evict(&mut self, device: DeviceId, out: &mut Outcome) {
        if let Some(desk) = self.devices.get(&device) {
            out.evicted.extend(desk.listeners.iter().map(|listener| (listener.ear, device)));
        }
    }

    /// A device was deleted: everything about it is forgotten, and its connections are evicted.
    pub fn forget(&mut self, device: DeviceId, out: &mut Outcome) {
        if let Some(desk) = self.devices.remove(&device) {
            out.evicted.extend(desk.listeners.iter().map(|listener| (listener.ear, device)));
            if let Some(due_ms) = desk.due_ms {
                self.due.remove(&(due_ms, device));
            }
        }
    }

    /// When [`Hub::advance`] should be called next, in Unix milliseconds.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Looks at everything whose time has come.
    pub fn advance(&mut self, now_ms: i64, out: &mut Outcome) {
        while let Some(&(due_ms, device)) = self.due.first()
            && due_ms <= now_ms
        {
            self.due.pop_first();
            let Some(desk) = self.devices.get_mut(&device) else { continue };
            desk.due_ms = None;
            let silence_ms = desk.silence_ms(self.terms.silence_ms);
            if let Some(turn) = desk.presence.look(now_ms, self.began_ms, silence_ms) {
                note_turn(desk, (device, turn), &self.terms, out);
                desk.note_presence(device, &self.terms, out);
            }
            self.look_at_commands(device, now_ms, out);
            self.plan(device);
        }
    }

    /// Notes when devices without a connection were heard, as nothing else will before the broker ends.
    pub fn note_presences(&mut self, out: &mut Outcome) {
        for (device, desk) in &mut self.devices {
            let has_connection = desk.listeners.iter().any(|listener| !listener.ear.is_outside());
            if desk.presence.heard_ms > desk.noted_ms && !has_connection {
                desk.note_presence(*device, &self.terms, out);
            }
        }
    }

    /// Repeats a change that was written down. Connections do not outlive a restart.
    pub fn restore(&mut self, change: &Change) {
        match change {
            Change::Attribute { device, scope, key, value, at_ms } => {
                let facts = self.devices.entry(*device).or_default().scope_mut(*scope);
                match value {
                    None => {
                        let _was_there = facts.delete(key);
                    }
                    Some(value) => {
                        let key = std::borrow::Cow::Borrowed(&**key);
                        let _is_other = facts.write(&Sample { key, value: value.clone(), at_ms: *at_ms });
                    }
                }
            }
            Change::Telemetry { device, samples, .. } => {
                let desk = self.devices.entry(*device).or_default();
                for sample in samples {
                    desk.latest.write_newer(sample);
                }
            }
            Change::LatestGone { device, key } => {
                let _was_there = self.devices.entry(*device).or_default().latest.delete(key);
            }
            Change::Command { device, command } => self.restore_command(*device, command),
            Change::CommandGone { device, command } => self.drop_command(*device, *command),
            Change::Claim { device, claim } => {
                self.devices.entry(*device).or_default().claim.clone_from(claim);
            }
            Change::Presence { device, presence } => {
                let desk = self.devices.entry(*device).or_default();
                desk.presence = Presence { connections: 0, ..*presence };
                desk.presence_is_noted(&self.terms);
            }
            Change::DeviceGone(device) => {
                self.devices.remove(device);
            }
            Change::Late { .. }
            | Change::HistoryGone { .. }
            | Change::Tenant(_)
            | Change::Customer(_)
            | Change::CustomerGone(_)
            | Change::User(_)
            | Change::UserGone(_)
            | Change::Profile(_)
            | Change::ProfileGone(_)
            | Change::Device(_)
            | Change::Package(_)
            | Change::PackageGone(_) => {}
        }
        if let Some(device) = change.device() {
            self.plan(device);
        }
    }

    /// Notes when to look at a device again.
    pub(super) fn plan(&mut self, device: DeviceId) {
        let Some(desk) = self.devices.get_mut(&device) else { return };
        let silence_ms = desk.silence_ms(self.terms.silence_ms);
        let commands = desk.waiting.iter().filter_map(Waiting::due_ms);
        let due_ms = commands.chain(desk.presence.silent_at_ms(self.began_ms, silence_ms)).min();
        // An entry that comes too early is looked at in vain and planned anew: cheaper than one change per message.
        if due_ms == desk.due_ms
            || matches!((due_ms, desk.due_ms), (Some(due), Some(planned)) if planned <= due)
        {
            return;
        }
        if let Some(planned) = desk.due_ms {
            self.due.remove(&(planned, device));
        }
        desk.due_ms = due_ms;
        if let Some(due_ms) = due_ms {
            self.due.insert((due_ms, device));
        }
    }
}

impl Desk {
    pub fn scope(&self, scope: Scope) -> &Facts {
        match scope {
            Scope::Client => &self.client,
            Scope::Shared => &self.shared,
            Scope::Server => &self.server,
        }
    }

    pub fn scope_mut(&mut self, scope: Scope) -> &mut Facts {
        match scope {
            Scope::Client => &mut self.client,
            Scope::Shared => &mut self.shared,
            Scope::Server => &mut self.server,
        }
    }

    /// How many keys it has.
    pub fn facts(&self) -> usize {
        [&self.client, &self.shared, &self.server, &self.latest].into_iter().map(Facts::len).sum()
    }

    /// How many bytes they and their values have.
    pub fn facts_bytes(&self) -> usize {
        [&self.client, &self.shared, &self.server, &self.latest].into_iter().map(Facts::bytes).sum()
    }

    /// What is left of a device's room for some of its facts, and what they have; all others take from the same account.
    pub fn room_of(&self, facts: &Facts, of_all: Room) -> Room {
        Room {
            keys: of_all.keys.saturating_sub(self.facts() - facts.len()),
            bytes: of_all.bytes.saturating_sub(self.facts_bytes() - facts.bytes()),
        }
    }

    /// Writes down how the device is.
    pub fn note_presence(&mut self, device: DeviceId, terms: &HubTerms, out: &mut Outcome) {
        out.changes.push(Change::Presence { device, presence: self.presence });
        self.presence_is_noted(terms);
    }

    /// How the device is stands written down.
    fn presence_is_noted(&mut self, terms: &HubTerms) {
        let lag_ms = (self.silence_ms(terms.silence_ms) / 2).clamp(LAG_MS_MIN, LAG_MS_MAX);
        self.noted_ms = self.presence.heard_ms;
        self.stale_ms = self.noted_ms.saturating_add(lag_ms);
    }

    pub fn is_planned(&self) -> bool {
        self.due_ms.is_some()
    }

    pub fn listener(&mut self, ear: Ear) -> Option<&mut Listener> {
        self.listeners.iter_mut().find(|listener| listener.ear == ear)
    }

    /// Whether it may be offered to whoever knows its secret.
    pub fn may_be_claimed(&self, terms: &HubTerms) -> bool {
        terms.claiming_allowed || matches!(self.server.get(CLAIMING_KEY), Some((Value::Bool(true), _)))
    }

    /// How long the device may be silent.
    fn silence_ms(&self, otherwise_ms: i64) -> i64 {
        match self.server.get(SILENCE_KEY) {
            Some((Value::Long(own_ms), _)) if *own_ms > 0 => *own_ms,
            Some(_) | None => otherwise_ms,
        }
    }

    /// What was sent on a connection that is gone and not acknowledged waits for another one.
    fn forget(&mut self, ear: Ear, device: DeviceId, out: &mut Outcome) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.sent_to == Some(ear)) {
            waiting.sent_to = None;
            waiting.answer_due_ms = None;
            let before = waiting.command.state;
            waiting.command.cut_off();
            if waiting.command.state != before && waiting.command.order.is_persistent {
                out.changes.push(Change::Command { device, command: Box::new(waiting.command.clone()) });
            }
        }
    }
}

/// Tells what became of a device's presence, and keeps it as telemetry if that is wanted.
pub(super) fn note_turn(
    desk: &mut Desk,
    (device, turn): (DeviceId, Turn),
    terms: &HubTerms,
    out: &mut Outcome,
) {
    out.turns.push((device, turn));
    if terms.presence_in_telemetry {
        let samples = desk.presence.samples_of(turn);
        let _counted = keep(desk, device, &samples, (Keeping::History, terms.room()), out);
        // A connection may end within what another one says: what was gathered last need not be where it was.
        desk.gathered = None;
    }
}
