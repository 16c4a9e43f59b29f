//! What gateways say about their children, whose homes may be other cores.
//!
//! Why the registry is asked once per child and connection: a gateway says thousands of things about the same fifty children.
//! What it says before that is read by the settings that the child's profile has, so those are asked for as well.
//!
//! Invariants:
//! - A gateway speaks for at most `gateway_children_max` children at one time.
//! - What is said about one child reaches its home in order.
//! - A child that was deleted is opened nowhere, and its gateway is told so; what it says next is about another one.
//!
//! Source: section 8.3 of the device API's vectors.

use std::borrow::Cow;
use std::collections::BTreeSet;

use broker::{Level, NoticeKind};
use device::{
    Answer, Change, Clash, DeviceId, Ear, Keeping, Kin, Outcome, SharedRegistry, Speech, Subject, Terms,
    Uplink,
};
use mqtt::{QoS, ReasonCode};
use stdx::Instant;

use super::end::{Child, Children, DeviceEnd};
use super::letters::Letter;
use super::remarks::{Heard, values_kept};
use super::renewal;
use crate::shard::Shard;

/// How often all children of a gateway are said to be alive, in milliseconds.
const ALIVE_EVERY_MS: i64 = 3_000;

impl Shard {
    /// Hears what a gateway says about a child, for whom it speaks and listens from then on.
    pub(crate) fn hear_child(
        &mut self,
        now: Instant,
        end: &mut DeviceEnd,
        name: &str,
        uplink: Uplink<'_>,
        is_awaited: bool,
        out: &mut Outcome,
    ) -> Heard {
        let ear = end.ear;
        if uplink == Uplink::ChildGone {
            if let Some(child) = end.child(name) {
                end.drop_child(child.id);
                self.tell_home(now, child, Letter::Close { device: child.id, ear }, is_awaited, out);
            }
            return Heard::Well;
        }
        let child = match end.child(name) {
            Some(child) => child,
            None => match self.meet_child(now, end, name, &uplink, is_awaited, out) {
                Ok(child) => child,
                Err(code) => return Heard::Not(code),
            },
        };
        if child.home == self.core {
            self.hear_at_home(now, child, ear, uplink, out);
        } else {
            let is_judged = end.is_judged;
            let letter = Letter::Hear { child, ear, uplink: uplink.into_owned(), is_judged };
            self.send_letter(child.home, letter, is_awaited);
            if is_judged {
                end.ask_verdict(child.home);
            }
        }
        Heard::Well
    }

    /// Takes back what a gateway says of children that are not its own, where it keeps to those. How that is answered, if
    /// there is anything of it.
    pub(crate) fn turn_away_others(
        &mut self,
        end: &mut DeviceEnd,
        speech: &mut Speech<'_>,
    ) -> Option<Answer> {
        let gateway = end.own_id().filter(|_| end.habits.keeps_to_own_children)?;
        let (mut others, mut first) = (BTreeSet::new(), None);
        self.desk().registry.read(&mut |registry| {
            let named = speech.remarks.iter().filter_map(|remark| match &remark.subject {
                Subject::Child(name) => Some(&**name),
                Subject::Own => None,
            });
            let mut refused = named.filter(|name| !registry.is_own_child(gateway, name)).map(str::to_owned);
            first = refused.next();
            others.extend(first.clone());
            others.extend(refused);
        });
        let why = format!("{:?} was not created for this gateway", first?);
        end.interpreter.unsay(&others, speech);
        self.exchange.counters_mut().children_refused += stdx::count(others.len());
        let text = format!("{} may not speak for it: {why}", end.shown());
        self.exchange.notice(Level::Warn, NoticeKind::Refused, text);
        Some(Answer::acknowledged(ReasonCode::NotAuthorized).because(why))
    }

    /// A gateway keeps to its own children: those that it speaks for and that are not; of all, or of the one that was changed.
    pub(crate) fn drop_others(&mut self, end: &mut DeviceEnd, changed: Option<DeviceId>) -> Vec<Child> {
        let Some(gateway) = end.own_id() else { return Vec::new() };
        let mut others = match changed {
            None => end.all_children(),
            Some(id) => end.name_of(id).and_then(|name| end.child(&name)).into_iter().collect(),
        };
        self.desk().registry.read(&mut |registry| {
            others.retain(|child| {
                let device = registry.device(child.id);
                device.is_some_and(|device| !registry.is_own_child(gateway, &device.name))
            });
        });
        others.retain(|child| end.drop_child(child.id));
        others
    }

    /// Finds or creates a child and opens it.
    fn meet_child(
        &mut self,
        now: Instant,
        end: &mut DeviceEnd,
        name: &str,
        uplink: &Uplink<'_>,
        is_awaited: bool,
        out: &mut Outcome,
    ) -> Result<Child, ReasonCode> {
        let Some(gateway) = end.own_id() else { return Err(ReasonCode::NotAuthorized) };
        if end.children_len() >= self.settings.gateway_children_max {
            self.exchange.counters_mut().children_refused += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        let kind = match uplink {
            Uplink::ChildHere { kind } => kind.as_deref(),
            _others_name_no_kind => None,
        };
        let found = self.find_child(now, end, name, kind);
        let Found { id, keeping, terms, facts } = found.map_err(|clash| {
            self.exchange.counters_mut().children_refused += 1;
            code_of(clash, uplink)
        })?;
        let child = Child { id, home: self.home_of(id), keeping };
        // A gateway that names itself speaks for itself already.
        if id != gateway {
            end.add_child(name, child, terms);
            self.tell_home(now, child, Letter::Open { child, ear: end.ear }, is_awaited, out);
        }
        // Behind the opening, so that the gateway is told of what its new child is to install.
        if !facts.is_empty() {
            self.tell_home(now, child, Letter::Learn { device: id, changes: facts }, is_awaited, out);
        }
        Ok(child)
    }

    /// A gateway listens for a child at its home, where its own connection may be open, which ends then. Whether it does: a
    /// child that was deleted while word of it was on its way has no home any more.
    pub(crate) fn open_child(&mut self, now: Instant, child: Child, ear: Ear, out: &mut Outcome) -> bool {
        let now_ms = self.wall_ms(now);
        let desk = self.desk();
        // The gateway may have looked before the profile was changed.
        let mut keeping = None;
        desk.registry.read(&mut |registry| keeping = renewal::keeping_of(registry, child.id));
        let Some(keeping) = keeping else {
            out.evicted.push((ear, child.id));
            return false;
        };
        let hub = &mut desk.hub;
        hub.open(child.id, ear, keeping, now_ms, out);
        let listens = Uplink::Listens { attributes: true, commands: Some(QoS::AtLeastOnce) };
        hub.hear(child.id, ear, listens, now_ms, out);
        true
    }

    /// Hears what a gateway says at a child's home. If another connection has taken the child meanwhile, it is taken back,
    /// for what was said is going to be acknowledged; unless the child was deleted.
    pub(crate) fn hear_at_home(
        &mut self,
        now: Instant,
        child: Child,
        ear: Ear,
        uplink: Uplink<'_>,
        out: &mut Outcome,
    ) {
        if !self.desk().hub.is_open(child.id, ear) && !self.open_child(now, child, ear, out) {
            return;
        }
        let now_ms = self.wall_ms(now);
        let desk = self.desk();
        desk.told += values_kept(&uplink, child.keeping);
        desk.hub.hear(child.id, ear, uplink, now_ms, out);
    }

    /// The child, made if need be.
    fn find_child(
        &mut self,
        now: Instant,
        end: &DeviceEnd,
        name: &str,
        kind: Option<&str>,
    ) -> Result<Found, Clash> {
        let gateway = end.own_id().ok_or(Clash::DeviceUnknown)?;
        // Nobody waits for the registry because of a name that no device can have.
        device::check_name(name)?;
        let keeps_to_own = end.habits.keeps_to_own_children;
        let now_ms = self.wall_ms(now);
        let mut chance = self.chance();
        let mut known = None;
        let look = |registry: &device::Registry, id| Found {
            id,
            keeping: renewal::keeping_of(registry, id).unwrap_or_default(),
            terms: registry.terms_of_child(gateway, name),
            facts: Vec::new(),
        };
        self.desk().registry.read(&mut |registry| {
            known = registry.known_child(gateway, name).map(|id| look(registry, id));
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let mut found = Err(Clash::DeviceUnknown);
        let mut changed = Vec::new();
        self.desk().registry.change(&mut |registry, changes| {
            // Another gateway may have made it since this one was asked whether it may.
            if keeps_to_own && !registry.is_own_child(gateway, name) {
                found = Err(Clash::DeviceUnknown);
                return;
            }
            let before = changes.len();
            let child = registry.child(gateway, name, kind, now_ms, &mut chance, changes);
            found = child.map(|id| look(registry, id));
            changed.extend_from_slice(&changes[before..]);
        });
        self.note_registered(&changed);
        changed.retain(|change| !change.is_of_registry());
        found.map(|found| Found { facts: changed, ..found })
    }

    /// What a gateway says shows that all its children are alive; not more often than anybody looks.
    pub(crate) fn hear_for_all(&mut self, now_ms: i64, end: &mut DeviceEnd, out: &mut Outcome) {
        let ear: Ear = end.ear;
        let Some(children) = &mut end.children else { return };
        if now_ms.saturating_sub(children.alive_ms) < ALIVE_EVERY_MS {
            return;
        }
        children.alive_ms = now_ms;
        for child in end.all_children() {
            if child.home == self.core {
                self.desk().hub.hear(child.id, ear, Uplink::Alive, now_ms, out);
            } else {
                let letter = Letter::Hear { child, ear, uplink: Uplink::Alive, is_judged: false };
                self.send_letter(child.home, letter, false);
            }
        }
    }
}

/// A child.
struct Found {
    id: DeviceId,
    /// What is kept of its telemetry.
    keeping: Keeping,
    terms: Option<Terms>,
    /// What was written down of it, if it is new.
    facts: Vec<Change>,
}

/// What a core knows of a gateway's children: of those that it speaks for from its connection, of others from the registry.
pub(super) struct Household<'a> {
    pub children: Option<&'a Children>,
    pub registry: &'a dyn SharedRegistry,
    pub gateway: DeviceId,
}

impl Kin for Household<'_> {
    fn terms_of(&self, child: &str) -> Option<Cow<'_, Terms>> {
        if let Some(terms) = self.children.and_then(|children| children.terms_of(child)) {
            return terms.as_ref().map(Cow::Borrowed);
        }
        let mut terms = None;
        self.registry.read(&mut |registry| terms = registry.terms_of_child(self.gateway, child));
        terms.map(Cow::Owned)
    }
}

/// Source: section 8.4 of the vectors.
fn code_of(clash: Clash, uplink: &Uplink<'_>) -> ReasonCode {
    match clash {
        Clash::TooManyDevices | Clash::TooManyProfiles => ReasonCode::QuotaExceeded,
        _others if matches!(uplink, Uplink::AttributesWanted { .. }) => {
            ReasonCode::ImplementationSpecificError
        }
        _others_are_not_the_gateways_business => ReasonCode::UnspecifiedError,
    }
}
