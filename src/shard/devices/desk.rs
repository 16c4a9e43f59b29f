//! The desk of one core: its hub, whose ears are whose connections, and what waits for a turn to be safe.
//!
//! Why one box beside the exchange: a core without devices has none, and touches nothing of this.
//!
//! Invariants:
//! - An ear that this core gave out finds its connection as long as that lives; numbers are never used again.
//! - What a hub leaves behind is noted in the turn in which it happened, before anything is answered to it, and handed over
//!   at its end: until then the hub gathers telemetry in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::CoreId;
use device::{
    Change, DeviceAllowances, DeviceId, Ear, Hub, HubReply, HubTerms, Outcome, Refusal, SharedRegistry,
    Speech, TenantAllowances,
};
use stdx::{Instant, Prng, Wheel};

use super::packages::Packages;
use crate::devices::DeviceEnd;
use crate::effects::ConnId;
use crate::shard::Shard;

/// Bits of an ear that are a running number.
const NUMBER_BITS: u32 = 48;
/// What an ear has instead of a core if it belongs to nobody's connection.
const OUTSIDE: u64 = 0xFFFF;
/// What a change costs the store besides its values, roughly.
const CHANGE_BYTES: usize = 64;
/// What a value costs, roughly.
const SAMPLE_BYTES: usize = 48;

/// What a core knows of devices.
#[derive(Debug)]
pub(crate) struct Desk {
    pub registry: Arc<dyn SharedRegistry>,
    pub hub: Hub,
    pub ears: BTreeMap<u64, ConnId>,
    next_ear: u64,
    /// Connections that are to end some time after something was provisioned, or have calls that wait for nobody.
    pub stays: Wheel<ConnId>,
    /// Of connections that have ended.
    pub parted: Vec<DeviceEnd>,
    pub replies: Vec<PendingReply>,
    /// Lent out to whoever asks the hub something. Between two of them it holds this turn's changes and nothing else.
    pub turn: Outcome,
    /// How many of the changes are noted.
    noted: usize,
    /// Values of telemetry that the hub was told and that are not noted: it may have gathered them in changes that are.
    pub told: usize,
    /// Lent out to interpreters, for its room.
    pub speech: Speech<'static>,
    /// What was not taken of what gateways of other cores have said, until they ask.
    pub refusals: BTreeMap<Ear, Refusal>,
    /// Of tenants that may not say what they like.
    pub allowances: TenantAllowances,
    /// Of devices that may not, connected or not.
    pub spent: DeviceAllowances,
    pub packages: Packages,
}

/// A reply that may leave when its turn is safe.
#[derive(Debug)]
pub(crate) struct PendingReply {
    pub turn: u64,
    pub call: u64,
    pub reply: HubReply,
}

/// Where an ear is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Core(CoreId),
    Outside,
}

impl Desk {
    pub fn new(registry: Arc<dyn SharedRegistry>, terms: HubTerms, cores: u16, now: Instant) -> Self {
        Self {
            registry,
            hub: Hub::new(terms),
            ears: BTreeMap::new(),
            next_ear: 0,
            stays: Wheel::new(now),
            parted: Vec::new(),
            replies: Vec::new(),
            turn: Outcome::default(),
            noted: 0,
            told: 0,
            speech: Speech::default(),
            refusals: BTreeMap::new(),
            allowances: TenantAllowances::new(cores),
            spent: DeviceAllowances::default(),
            packages: Packages::default(),
        }
    }

    /// A new ear of a connection.
    pub fn give_ear(&mut self, core: CoreId, conn: ConnId) -> Ear {
        let number = self.next_ear;
        self.next_ear += 1;
        self.ears.insert(number, conn);
        Ear(u64::from(core.get()) << NUMBER_BITS | number)
    }

    /// The connection of an ear of this core.
    pub fn conn_of(&self, ear: Ear) -> Option<ConnId> {
        self.ears.get(&number_of(ear)).copied()
    }

    /// The connection of an ear has ended.
    pub fn forget_ear(&mut self, ear: Ear) {
        self.ears.remove(&number_of(ear));
    }
}

pub(super) fn number_of(ear: Ear) -> u64 {
    ear.0 & ((1 << NUMBER_BITS) - 1)
}

/// Where an ear is.
pub(crate) fn place_of(ear: Ear) -> Place {
    match ear.0 >> NUMBER_BITS {
        OUTSIDE => Place::Outside,
        core => Place::Core(CoreId::new(u16::try_from(core).expect("16 bits are left"))),
    }
}

impl Shard {
    /// The desk; only for connections of devices and what came for them, which are here only if it is.
    pub(crate) fn desk(&mut self) -> &mut Desk {
        self.devices.as_deref_mut().expect("there are devices only with a desk")
    }

    /// The wall clock, in Unix milliseconds.
    pub(crate) fn wall_ms(&self, now: Instant) -> i64 {
        i64::try_from(self.exchange.wall_at(now).0).unwrap_or(i64::MAX)
    }

    /// Where a device is at home.
    pub(crate) fn home_of(&self, device: DeviceId) -> CoreId {
        CoreId::home_of(device.bytes(), self.cores)
    }

    /// The outcome of this turn, with nothing in it but changes; [`Shard::give_back`] or [`Shard::settle`] takes it back.
    /// Whoever asks while it is lent out gets an empty one.
    pub(crate) fn outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.desk().turn)
    }

    /// Takes back an outcome of which all but the changes was done. What somebody else has left meanwhile comes behind it:
    /// that is about commands and connections, never telemetry or its deletion, so no place for gathering is mistaken.
    pub(crate) fn give_back(&mut self, mut out: Outcome) {
        self.note_kept(&mut out.changes);
        let desk = self.desk();
        let between = std::mem::replace(&mut desk.turn, out);
        desk.noted += between.changes.len();
        desk.turn.changes.extend(between.changes);
    }

    /// Notes changes as part of this turn, as far as they are not: what is answered from here on rests on them.
    pub(crate) fn note_kept(&mut self, changes: &mut Vec<Change>) {
        let journal_is_on = self.settings.journal_is_on;
        let desk = self.desk();
        let told = std::mem::take(&mut desk.told);
        if !journal_is_on {
            return changes.clear();
        }
        let noted = desk.noted.min(changes.len());
        desk.noted = changes.len();
        let grown = &changes[noted..];
        // Nothing new, but there is something in which it may have been gathered: then it waits for that.
        let pieces = grown.len().max(usize::from(told > 0 && !changes.is_empty()));
        if pieces > 0 {
            let cost = grown.iter().map(cost_bytes).sum::<usize>().max(told * SAMPLE_BYTES);
            self.exchange.note_beside(pieces, cost);
        }
    }

    /// Hands over what this turn has changed. Called at its end.
    pub(crate) fn hand_over_changes(&mut self) {
        let Some(desk) = self.devices.as_deref_mut() else { return };
        debug_assert_eq!(desk.noted, desk.turn.changes.len(), "what is not noted is in no turn");
        desk.noted = 0;
        self.effects.device_changes.append(&mut desk.turn.changes);
        let refused = desk.hub.counters();
        let dropped = desk.spent.dropped();
        let counters = self.exchange.counters_mut();
        counters.allowances_forgotten = dropped;
        counters.facts_refused = refused.facts_refused;
        counters.facts_too_large = refused.facts_too_large;
        counters.devices_refused = refused.devices_refused;
    }

    /// Where the credentials of new devices come from.
    pub(crate) fn chance(&mut self) -> impl FnMut() -> u64 + use<> {
        let fit_for_secrets = self.settings.chance;
        let mut prng = Prng::new(self.prng.next_u64());
        move || fit_for_secrets.map_or_else(|| prng.next_u64(), |chance| chance())
    }

    /// The registry was changed by this core, and has told the store itself: what rests on that waits for this turn.
    pub(crate) fn note_registered(&mut self, changes: &[Change]) {
        if !changes.is_empty() {
            self.exchange.note_beside(changes.len(), changes.iter().map(cost_bytes).sum());
        }
    }
}

fn cost_bytes(change: &Change) -> usize {
    let samples = match change {
        Change::Telemetry { samples, .. } => samples.len(),
        _others_have_one_value_or_none => 1,
    };
    CHANGE_BYTES + samples * SAMPLE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ear_says_on_which_core_it_is_and_outside_is_none() {
        assert_eq!(place_of(Ear(3 << 48 | 7)), Place::Core(CoreId::new(3)));
        assert_eq!(place_of(Ear(0xFFFF << 48 | 7)), Place::Outside);
        assert_eq!(number_of(Ear(3 << 48 | 7)), 7);
    }
}
