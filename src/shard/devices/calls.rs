//! Calls from outside, in the name of applications, and what comes back from disk.
//!
//! Invariants:
//! - A reply leaves when the turn in which the call was handled is safe, and each call has one.
//! - What was said without a connection reaches the subscribers of canonical topics as what was said on one.
//! - Changes of devices that are at home elsewhere are left out.
//! - Nothing comes to life of a device that was deleted. Its deletion is seen here before its home is told to forget it, so
//!   whoever asks later asks in vain.

use broker::{Behalf, Saying};
use device::{Change, DeviceId, HubCall, HubReply};
use mqtt::QoS;
use stdx::Instant;

use super::desk::PendingReply;
use super::downlinks::Cause;
use crate::shard::Shard;

impl Shard {
    /// Handles a call for a device that is at home on this core. The reply stands in the effects under the same number,
    /// when what it tells is safe. Without devices there is none.
    pub fn handle_device_call(&mut self, now: Instant, call_id: u64, device: DeviceId, mut call: HubCall) {
        if self.devices.is_none() {
            return;
        }
        self.look_at_rules();
        let cause = match &call {
            HubCall::Forget | HubCall::Evict => Cause::Administrative,
            _others_open_at_most => Cause::TakenOver,
        };
        if matches!(call, HubCall::Renew) {
            self.renew(now, device);
        }
        let now_ms = self.wall_ms(now);
        let is_gone = call.brings_to_life() && self.is_gone(device);
        if !is_gone && let Err(refusal) = self.charge_call(device, &call, now_ms) {
            let reply = HubReply::Refused(refusal);
            let turn = self.exchange.await_turn();
            self.desk().replies.push(PendingReply { turn, call: call_id, reply });
            return;
        }
        if let Some(forward) = call.take_forward().filter(|_| !is_gone) {
            // Whoever called is told when the message is kept, as a device that publishes at QoS 1 is.
            let saying = Saying { topic: &forward.topic, payload: &forward.payload, qos: QoS::AtLeastOnce };
            self.exchange.bring(now, Behalf::Caller, saying);
        }
        let mut out = self.outcome();
        let reply = match is_gone {
            true => HubReply::Gone,
            false => self.desk().hub.call(device, call, now_ms, &mut out),
        };
        self.settle(now, out, cause);
        let turn = self.exchange.await_turn();
        self.desk().replies.push(PendingReply { turn, call: call_id, reply });
        self.settle_ends(now);
    }

    /// Whether a device of which nothing is known here was deleted. What is known of one goes with it, so the registry need
    /// not be asked about that.
    pub(crate) fn is_gone(&mut self, device: DeviceId) -> bool {
        let desk = self.desk();
        let mut is_there = desk.hub.knows(device);
        if !is_there {
            desk.registry.read(&mut |registry| is_there = registry.device(device).is_some());
        }
        !is_there
    }

    /// The devices that this core knows something of, for checks.
    #[must_use]
    pub fn known_devices(&self) -> Vec<DeviceId> {
        self.devices.as_ref().map_or_else(Vec::new, |desk| desk.hub.known().collect())
    }

    /// Gives the replies whose turns are safe to the effects.
    pub(crate) fn release_replies(&mut self) {
        let Some(desk) = self.devices.as_deref_mut().filter(|desk| !desk.replies.is_empty()) else { return };
        let exchange = &self.exchange;
        let ready = desk.replies.partition_point(|pending| exchange.is_safe(pending.turn));
        let replies = desk.replies.drain(..ready).map(|pending| (pending.call, pending.reply));
        self.effects.device_replies.extend(replies);
    }

    /// Takes over changes of devices that an earlier process wrote down, before the first event. Those of devices that are
    /// at home on another core are left out.
    pub fn restore_devices<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes {
            let is_ours = change.device().is_some_and(|device| self.home_of(device) == self.core);
            if let Some(desk) = self.devices.as_deref_mut().filter(|_| is_ours) {
                desk.hub.restore(change);
            }
        }
    }
}
