//! Changes of devices and of their profiles that running connections live to see.
//!
//! Why no connection ends for them: devices that come back all at once are a storm, and what somebody changes in a form is
//! no reason for one. What ends a connection is another credential, another transport, and becoming a gateway or none.
//!
//! Invariants:
//! - When a change is answered, what a device says from then on is understood and kept by the records as they are then.
//! - What was subscribed to, asked for and sent stays.

use device::{DeviceId, Ear, Keeping, Registry, Role};
use stdx::Instant;

use super::desk::{Place, place_of};
use super::end::{Child, DeviceEnd};
use super::letters::Letter;
use crate::shard::Shard;

impl Shard {
    /// A device of this core, or its profile, was changed: all connections that are open for it are told.
    pub(crate) fn renew(&mut self, now: Instant, device: DeviceId) {
        let desk = self.desk();
        let mut keeping = None;
        desk.registry.read(&mut |registry| keeping = keeping_of(registry, device));
        let Some(keeping) = keeping else { return };
        for ear in desk.hub.renew(device, keeping) {
            match place_of(ear) {
                // Whoever listens outside comes and goes with each request.
                Place::Outside => {}
                Place::Core(core) if core == self.core => {
                    let _is_gone = self.renew_here(now, ear, device);
                }
                Place::Core(core) => self.send_letter(core, Letter::Renewed { ear, device }, false),
            }
        }
    }

    /// A connection of this core is open for a device that was changed: its own, or that of a gateway. Whether it still is.
    pub(crate) fn renew_here(&mut self, now: Instant, ear: Ear, device: DeviceId) -> bool {
        let Some(conn) = self.desk().conn_of(ear) else { return false };
        let Some(mut end) = self.lend_end(conn) else { return false };
        let mut is_open = false;
        self.desk().registry.read(&mut |registry| {
            is_open = match end.own_id() {
                Some(own) if own == device => renew_own(&mut end, registry),
                Some(_gateway) => renew_child(&mut end, registry, device),
                None => false,
            };
        });
        let others = match end.habits.keeps_to_own_children {
            true if end.own_id() == Some(device) => self.drop_others(&mut end, None),
            true => self.drop_others(&mut end, Some(device)),
            false => Vec::new(),
        };
        let ear = end.ear;
        self.return_end(conn, end);
        for child in others {
            self.leave_child(now, child.home, child.id, ear);
        }
        is_open
    }
}

fn renew_own(end: &mut DeviceEnd, registry: &Registry) -> bool {
    let Some(own) = &mut end.own else { return false };
    let Some(device) = registry.device(own.id) else { return false };
    let records = registry.tenant(device.tenant).zip(registry.profile(device.profile));
    let Some((tenant, profile)) = records else { return false };
    own.name = device.name.clone();
    own.keeping = profile.keeping;
    own.speaks_for_all = device.role == Role::GatewayForActivity;
    own.is_gateway = device.is_gateway();
    end.interpreter.renew(device, tenant, profile);
    end.habits = end.interpreter.habits();
    true
}

/// A child that was renamed is known by its new name from here on; its gateway is told so.
fn renew_child(end: &mut DeviceEnd, registry: &Registry, id: DeviceId) -> bool {
    let known = end.name_of(id).and_then(|name| end.child(&name));
    let Some((child, device)) = known.zip(registry.device(id)) else { return false };
    let keeping = keeping_of(registry, id).unwrap_or(child.keeping);
    let terms = registry.profile(device.profile).and_then(|profile| profile.terms.clone());
    end.add_child(&device.name, Child { keeping, ..child }, terms);
    true
}

/// What is kept of a device's telemetry, if it is there.
pub(super) fn keeping_of(registry: &Registry, device: DeviceId) -> Option<Keeping> {
    let device = registry.device(device)?;
    registry.profile(device.profile).map(|profile| profile.keeping)
}
