//! From what was kept to the minds that it belongs to.
//!
//! Why by the home of each client: the number of cores may differ from last time, and a client's connection will come to
//! the core that the hash of its client id names now. Retained messages go to every core.
//!
//! What is known of devices goes to the core where the device is at home; the registry is one for all, and it is complete
//! before any core hears of a device.
//!
//! Invariants:
//! - Changes of one client or device reach its home in the order in which they were read; so do retained messages every core.
//! - What is on its way between reader and cores is bounded; a reader that is too fast waits.
//! - A core whose reader vanished before the end accepts nothing.

use broker::{Change, CoreId};
use flume::{Receiver, Sender};
use platform::Platform;

use crate::clock::Clock;
use crate::mind::Mind;

/// Changes that travel together.
const PIECE_CHANGES: usize = 256;
/// Pieces on their way to one core.
const PIECES_MAX: usize = 16;

/// What goes to one core.
pub(crate) enum Piece {
    /// Changes, oldest first.
    Changes(Vec<Change>),
    /// Changes of devices, oldest first.
    Devices(Vec<device::Change>),
    /// There are no more.
    End,
}

/// The way to all cores.
pub struct Homes {
    cores: Vec<Home>,
    /// Where the registry is, until it is complete.
    registry: Option<Platform>,
    has_devices: bool,
}

struct Home {
    changes: Vec<Change>,
    device_changes: Vec<device::Change>,
    pieces: Sender<Piece>,
}

impl Homes {
    /// The way to so many cores, and to the registry if there are devices.
    pub(crate) fn new(
        cores: usize,
        platform: Option<Platform>,
    ) -> (Self, impl Iterator<Item = Receiver<Piece>>) {
        let (cores, receivers): (Vec<_>, Vec<_>) = (0..cores)
            .map(|_| {
                let (pieces, receiver) = flume::bounded(PIECES_MAX);
                (Home { changes: Vec::new(), device_changes: Vec::new(), pieces }, receiver)
            })
            .unzip();
        let has_devices = platform.is_some();
        (Self { cores, registry: platform, has_devices }, receivers.into_iter())
    }

    /// Sends a change to where it belongs.
    pub fn give(&mut self, change: Change) {
        let count = u16::try_from(self.cores.len()).expect("at most CORES_MAX cores");
        match change.client_id().map(|client_id| CoreId::home_of(client_id.as_bytes(), count)) {
            Some(home) => self.cores[home.index()].give(change),
            None => {
                let (last, others) = self.cores.split_last_mut().expect("at least one core");
                others.iter_mut().for_each(|home| home.give(change.clone()));
                last.give(change);
            }
        }
    }

    /// Sends a change of devices to where it belongs: those of the registry come first. Without devices it is left where it
    /// is, on disk.
    pub fn give_device(&mut self, change: device::Change) {
        if !self.has_devices {
            return;
        }
        match home_of(&change, self.cores.len()) {
            Some(home) => {
                self.finish_registry();
                self.cores[home.index()].give_device(change);
            }
            None => {
                let registry = self.registry.as_ref();
                registry.expect("changes of the registry come before all others").restore(&change);
            }
        }
    }

    /// The registry is complete.
    fn finish_registry(&mut self) {
        if let Some(registry) = self.registry.take() {
            registry.finish_restore();
        }
    }

    pub(crate) fn finish(mut self) {
        self.finish_registry();
        for home in &mut self.cores {
            home.send();
            home.send_devices();
            let _ = home.pieces.send(Piece::End);
        }
    }
}

/// The core that must know of a change; none if it is the registry's.
fn home_of(change: &device::Change, cores: usize) -> Option<CoreId> {
    if change.is_of_registry() {
        return None;
    }
    let count = u16::try_from(cores).expect("at most CORES_MAX cores");
    Some(CoreId::home_of(change.device()?.bytes(), count))
}

impl Home {
    fn give(&mut self, change: Change) {
        self.changes.push(change);
        if self.changes.len() >= PIECE_CHANGES {
            self.send();
        }
    }

    fn give_device(&mut self, change: device::Change) {
        self.device_changes.push(change);
        if self.device_changes.len() >= PIECE_CHANGES {
            self.send_devices();
        }
    }

    fn send_devices(&mut self) {
        // As below.
        let _ = self.pieces.send(Piece::Devices(std::mem::take(&mut self.device_changes)));
    }

    fn send(&mut self) {
        // A core that has ended has failed; whoever waits for it to be ready hears that.
        let _ = self.pieces.send(Piece::Changes(std::mem::take(&mut self.changes)));
    }
}

/// Gives a mind what comes; returns whether the end did.
pub(crate) fn take_home<M: Mind>(mind: &mut M, pieces: &Receiver<Piece>, clock: Clock) -> bool {
    for piece in pieces {
        match piece {
            Piece::Changes(changes) => mind.restore(&changes),
            Piece::Devices(changes) => mind.restore_devices(&changes),
            Piece::End => {
                mind.finish_restore(clock.now());
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use device::{Credential, Device, DeviceId, Profile, ProfileId, Role, Tenant, TenantId};

    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const PROFILE: ProfileId = ProfileId::from_bytes([2; 16]);

    fn device(id: DeviceId) -> device::Change {
        device::Change::Device(Box::new(Device {
            id,
            tenant: TENANT,
            profile: PROFILE,
            customer: None,
            role: Role::Ordinary,
            created_ms: 0,
            name: id.to_string().into(),
            credential: Credential::Token(id.to_string().into()),
            rare: None,
        }))
    }

    fn presence(id: DeviceId) -> device::Change {
        device::Change::Presence { device: id, presence: device::Presence::default() }
    }

    #[test]
    fn what_is_known_of_a_device_comes_to_its_home_when_the_registry_is_complete() {
        let read = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let was_read = read.clone();
        let platform = Platform::new(Box::new(move |_settings| {
            read.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok(None)
        }));
        let (mut homes, pieces) = Homes::new(2, Some(platform.clone()));
        let pieces: Vec<_> = pieces.collect();
        let ids: Vec<_> = (0..40u8).map(|number| DeviceId::from_bytes([number; 16])).collect();
        let tenant = Tenant::named(TENANT, "acme");
        homes.give_device(device::Change::Tenant(Box::new(tenant)));
        homes.give_device(device::Change::Profile(Box::new(Profile::named(PROFILE, TENANT, "meter"))));
        ids.iter().for_each(|id| homes.give_device(device(*id)));
        assert!(!was_read.load(std::sync::atomic::Ordering::SeqCst));
        homes.give_device(presence(ids[0]));
        assert!(was_read.load(std::sync::atomic::Ordering::SeqCst), "settings are read before hubs hear");
        assert_eq!(platform.read(device::Registry::len), 40);
        ids[1..].iter().for_each(|id| homes.give_device(presence(*id)));
        homes.finish();
        for (core, pieces) in pieces.into_iter().enumerate() {
            let changes: Vec<_> = pieces
                .try_iter()
                .filter_map(|piece| match piece {
                    Piece::Devices(changes) => Some(changes),
                    Piece::Changes(_) | Piece::End => None,
                })
                .collect();
            let found: Vec<_> = changes.into_iter().flatten().filter_map(|change| change.device()).collect();
            let expected = ids.iter().filter(|id| CoreId::home_of(id.bytes(), 2).index() == core).copied();
            assert_eq!(found, expected.collect::<Vec<_>>());
            assert!(!found.is_empty());
        }
    }

    #[test]
    fn without_devices_what_is_kept_of_them_stays_on_disk() {
        let (mut homes, pieces) = Homes::new(1, None);
        homes.give_device(device(DeviceId::from_bytes([1; 16])));
        homes.give_device(presence(DeviceId::from_bytes([1; 16])));
        homes.finish();
        let told = pieces.flat_map(|pieces| pieces.try_iter().collect::<Vec<_>>());
        let devices = told.filter(|piece| matches!(piece, Piece::Devices(changes) if !changes.is_empty()));
        assert_eq!(devices.count(), 0);
    }
}
