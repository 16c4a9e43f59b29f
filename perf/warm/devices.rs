//! The warm path of a device's telemetry: from the payload of a PUBLISH to what is written down.
//!
//! Why without a shard: what a PUBLISH costs as a packet is measured with plain MQTT; here is what devices add to it.
//!
//! Invariants:
//! - Every device is connected and has said each of its keys before the first counted message.

use std::sync::Arc;

use device::{
    Answer, Change, Credential, DeviceId, Dialect, Ear, Guest, Hub, Interpreter, Keeping, NewDevice, Offer,
    Outcome, Profile, ProfileId, Registry, Role, Said, Speech, Subject, Tenant, TenantId,
};
use dialect::ThingsBoard;
use mqtt::{QoS, Version};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const DEVICES: u32 = 50;
/// Messages of a device in one turn.
const BATCH: usize = 16;
const TOPIC: &str = "v1/devices/me/telemetry";
/// Said in turns, so that values change.
const PAYLOADS: [&[u8]; 2] = [
    b"{\"temperature\":21.5,\"humidity\":40,\"ok\":true}",
    b"{\"temperature\":21.75,\"humidity\":41,\"ok\":false}",
];

/// Devices that speak ThingsBoard's dialect to the hub of one core.
#[derive(Debug)]
pub struct Devices {
    hub: Hub,
    out: Outcome,
    speech: Speech<'static>,
    connections: Vec<(DeviceId, Ear, Box<dyn Interpreter>)>,
    now_ms: i64,
}

impl Devices {
    /// Connects fifty devices of whose telemetry so much is kept.
    #[must_use]
    pub fn new(keeping: Keeping) -> Self {
        let registry = registry(DEVICES);
        let (tenant, offer) = (registry.tenant(TENANT).expect("made above"), Arc::new(Offer::default()));
        let mut devices = Self {
            hub: Hub::default(),
            out: Outcome::default(),
            speech: Speech::default(),
            connections: Vec::new(),
            now_ms: 1_760_000_000_000,
        };
        for (number, device) in (0..).zip(registry.devices()) {
            let profile = registry.profile(device.profile).expect("every device has one");
            let guest = Guest { version: Version::V5, device, tenant, profile, offer: &offer };
            let interpreter = ThingsBoard.interpreter(&guest).expect("it has devices");
            let ear = Ear(number);
            devices.hub.open(device.id, ear, keeping, devices.now_ms, &mut devices.out);
            devices.connections.push((device.id, ear, interpreter));
        }
        devices.run(3);
        devices
    }

    /// Lets every device speak 16 times a turn, for `rounds` turns; returns the messages.
    pub fn run(&mut self, rounds: usize) -> u64 {
        let mut messages = 0;
        for _ in 0..rounds {
            for index in 0..self.connections.len() {
                messages += self.speak(index);
            }
            self.out.changes.clear();
            self.out.turns.clear();
            self.now_ms += 1;
        }
        messages
    }

    fn speak(&mut self, index: usize) -> u64 {
        let (device, ear, interpreter) = &mut self.connections[index];
        let mut messages = 0;
        for number in 0..BATCH {
            let payload = PAYLOADS[number % 2];
            let said = Said { topic: TOPIC, payload, qos: QoS::AtMostOnce, now_ms: self.now_ms };
            let mut speech = std::mem::take(&mut self.speech);
            let answer = interpreter.publish(&said, &mut speech);
            assert_eq!(answer, Answer::accepted());
            for remark in &speech.remarks {
                assert_eq!(remark.subject, Subject::Own);
                self.hub.heed(*device, *ear, &remark.uplink, self.now_ms, &mut self.out);
            }
            messages += u64::try_from(speech.forwards.len()).expect("one");
            self.speech = speech.recycle();
        }
        messages
    }
}

/// A registry of one tenant with so many devices, each with a token.
#[must_use]
pub fn registry(devices: u32) -> Registry {
    let mut registry = Registry::default();
    for change in changes(devices) {
        registry.apply(&change);
    }
    registry
}

/// The changes that make a [`registry`], as a store would give them back.
pub fn changes(devices: u32) -> impl Iterator<Item = Change> {
    let profile = ProfileId::from_bytes([2; 16]);
    let tenant = Tenant::named(TENANT, "acme");
    let first = [
        Change::Tenant(Box::new(tenant)),
        Change::Profile(Box::new(Profile { is_default: true, ..Profile::named(profile, TENANT, "default") })),
    ];
    let mut template = Registry::default();
    first.iter().for_each(|change| template.apply(change));
    let mut seed = 0;
    let mut chance = move || {
        // The steps of a sequence without short cycles; ids need to differ and no more.
        seed += 1;
        u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15)
    };
    let created = (0..devices).map(move |number| {
        let token = format!("TOKEN{number:015}");
        let new = NewDevice {
            tenant: TENANT,
            profile: Some(profile),
            customer: None,
            role: Role::Ordinary,
            name: &format!("meter-{number:08}"),
            credential: Some(Credential::token(&token).expect("a plain word")),
        };
        let mut noted = Vec::new();
        let id = template.create(new, 0, &mut chance, &mut noted).expect("names and tokens differ");
        template.apply(&Change::DeviceGone(id));
        noted.pop().expect("a device was created")
    });
    first.into_iter().chain(created)
}
