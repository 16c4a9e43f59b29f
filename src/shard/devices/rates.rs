//! What devices take of their rates beside what their messages say: connecting, subscribing, reports of commands, leaving;
//! and what becomes of that which is too much.
//!
//! Why what the server does for a device is taken only if it is there: a device must not be silenced for what it was told,
//! nor may a connection not end.
//!
//! Invariants:
//! - A device that may not open a session keeps the one that it has.
//! - Below 5.0 nothing is refused that could wait; what waited for as long as may be is dropped, counted and told once.
//!
//! Source: sections 11.3 and 11.4 of the device API's vectors.

use std::sync::Arc;

use broker::{Level, NoticeKind, SessionKey};
use device::{Cost, DeviceAllowances, DeviceId, HubCall, Offer, Refusal, Short, TenantAllowances, Within};
use stdx::Instant;

use super::desk::Desk;
use super::end::{DeviceEnd, Own};
use super::patience::{Counsel, Patience};
use crate::shard::Shard;

impl Desk {
    /// From what a device takes, as far as it is limited.
    pub fn within(&mut self, own: Option<&Own>) -> Within<'_> {
        limits_of((&mut self.allowances, &mut self.spent), own)
    }

    /// Takes so many messages of a device's own, or of what it may say of its children.
    ///
    /// # Errors
    /// They are not there, and nothing was taken.
    pub fn charge(&mut self, own: &Own, about: DeviceId, messages: u64, now_ms: i64) -> Result<(), Short> {
        if own.limits.is_none() {
            return Ok(());
        }
        let cost = Cost { messages, ..Cost::default() };
        let costs = if about == own.id { (cost, Cost::default()) } else { (Cost::default(), cost) };
        self.within(Some(own)).take(costs.0, costs.1, now_ms)
    }
}

/// What is left to a device and to its tenant, if that is limited.
pub(super) fn limits_of<'a>(
    (tenants, devices): (&'a mut TenantAllowances, &'a mut DeviceAllowances),
    own: Option<&Own>,
) -> Within<'a> {
    let limited = own.and_then(|own| Some((own, own.limits.as_deref()?)));
    let Some((own, offer)) = limited else { return Within::default() };
    // No tenant is ever deleted and offers stay as they were, so no tenant's allowance is ever forgotten.
    let tenant = tenants.of(own.tenant, &offer.tenant);
    Within { tenant, device: devices.of(own.id), meets: None }
}

impl Shard {
    /// A device wants to open a session, which takes one message. From here on its connection counts.
    ///
    /// # Errors
    /// It has said too much.
    pub(crate) fn open_account(&mut self, now: Instant, end: &DeviceEnd) -> Result<(), Short> {
        let limited = end.own.as_ref().and_then(|own| Some((own, own.limits.as_ref()?)));
        let Some((own, offer)) = limited else { return Ok(()) };
        let now_ms = self.wall_ms(now);
        let desk = self.desk();
        desk.spent.open(own.id, offer);
        let charged = desk.charge(own, own.id, 1, now_ms);
        if charged.is_err() {
            desk.spent.close(own.id, now_ms);
        }
        charged
    }

    /// Its connection has ended.
    pub(crate) fn close_account(&mut self, now: Instant, end: &DeviceEnd) {
        let Some(own) = end.own.as_ref().filter(|own| own.limits.is_some()) else { return };
        let now_ms = self.wall_ms(now);
        let desk = self.desk();
        let _ends_all_the_same = desk.charge(own, own.id, 1, now_ms);
        desk.spent.close(own.id, now_ms);
    }

    /// Leaves a connection unread, because its device says too much; false if it was left unread for as long as may be, and
    /// what it says now must be done without.
    pub(crate) fn leave_unread(
        &mut self,
        now: Instant,
        key: SessionKey,
        end: &mut DeviceEnd,
        after_ms: i64,
        why: &str,
    ) -> bool {
        let wanted_ms = u64::try_from(after_ms).unwrap_or(0).max(1);
        let silence_max = self.exchange.silence_max(key);
        let patience = &mut end.seldom.get_or_insert_default().patience;
        let patience = patience.get_or_insert_with(|| Patience::new(silence_max));
        match patience.ask(now, wanted_ms) {
            Counsel::Wait(span) => {
                self.exchange.counters_mut().messages_postponed += 1;
                self.exchange.hold_for(now, key, span);
                true
            }
            Counsel::Drop { is_first } => {
                self.exchange.counters_mut().dropped_over_rate += 1;
                if is_first {
                    let text = format!(
                        "{} was left unread for as long as it may be; what it says too much is dropped: {why}",
                        end.shown()
                    );
                    self.exchange.notice(Level::Warn, NoticeKind::Quota, text);
                }
                false
            }
        }
    }

    /// What somebody says in a device's place from outside takes from the same rates as what it says itself.
    pub(crate) fn charge_call(
        &mut self,
        device: DeviceId,
        call: &HubCall,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let (HubCall::Say { uplink, .. } | HubCall::Hear { uplink, .. }) = call else { return Ok(()) };
        if !self.is_metered_by_offers {
            return Ok(());
        }
        let mut of = None;
        self.desk().registry.read(&mut |registry| {
            of = registry.device(device).map(|device| (device.tenant, device.is_gateway()));
        });
        let Some((tenant, is_gateway)) = of else { return Ok(()) };
        let Some(offer) = self.offer_outside(is_gateway) else { return Ok(()) };
        let desk = self.desk();
        desk.spent.open(device, &offer);
        let allowance = desk.allowances.of(tenant, &offer.tenant);
        let mut within = Within { tenant: allowance, device: desk.spent.of(device), meets: None };
        let taken = within.take(Cost::of(uplink), Cost::default(), now_ms);
        desk.spent.close(device, now_ms);
        taken.map_err(|_| {
            self.exchange.counters_mut().dropped_over_rate += 1;
            Refusal::TooOften
        })
    }

    /// What devices are offered that come without a listener: rates are those of all listeners.
    fn offer_outside(&self, is_gateway: bool) -> Option<Arc<Offer>> {
        let own = if is_gateway { self.settings.gateway_offers.first() } else { None };
        own.or_else(|| self.settings.offers.first()).cloned()
    }
}
