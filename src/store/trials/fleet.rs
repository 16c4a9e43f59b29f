//! What is known of devices, as plain maps, and random changes of it.
//!
//! Why devices come back under the ids of deleted ones: nothing of the old ones may be seen on the new.
//!
//! Invariants:
//! - Changes are such as a registry and hubs would make: nothing is said of a device that is not there, but for a word that
//!   comes too late.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use device::Untold;
use device::{
    Algorithm, Authority, ChainRule, Change, Claim, Command, CommandId, CommandKind, Content, Credential,
    Customer, CustomerId, Device, DeviceId, Keeping, Label, Margin, Order, Package, PackageId, PackageKind,
    Presence, Profile, ProfileId, ProvisionKey, Provisioning, Rare, Role, Sample, Scope, Tenant, TenantId,
    User, UserId, Value,
};
use stdx::Prng;

use crate::{History, Order as PointOrder, Span};

const KEYS: [&str; 3] = ["t", "tt", "\u{e9}"];

/// What a change is about: its kind and ids.
type Place = (u8, Vec<u8>);

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    things: BTreeMap<Place, Change>,
    points: BTreeMap<(DeviceId, String, i64), Value<'static>>,
}

impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        let are_same = |((one_place, one), (place, other))| one_place == place && is_same(one, other);
        self.points == other.points
            && self.things.len() == other.things.len()
            && self.things.iter().zip(&other.things).all(are_same)
    }
}

/// Whether two changes of one kind say the same.
fn is_same(one: &Change, other: &Change) -> bool {
    match (one, other) {
        (Change::Tenant(one), Change::Tenant(other)) => one == other,
        (Change::Customer(one), Change::Customer(other)) => one == other,
        (Change::User(one), Change::User(other)) => one == other,
        (Change::Device(one), Change::Device(other)) => one == other,
        (Change::Package(one), Change::Package(other)) => one == other,
        (Change::Command { command: one, .. }, Change::Command { command: other, .. }) => one == other,
        (Change::Claim { claim: one, .. }, Change::Claim { claim: other, .. }) => one == other,
        (Change::Presence { presence: one, .. }, Change::Presence { presence: other, .. }) => one == other,
        (Change::Telemetry { samples: one, .. }, Change::Telemetry { samples: other, .. }) => one == other,
        (
            Change::Attribute { value: one, at_ms: one_ms, .. },
            Change::Attribute { value: other, at_ms: other_ms, .. },
        ) => one == other && one_ms == other_ms,
        (Change::Profile(one), Change::Profile(other)) => {
            // Provisioning hides its secrets from `Debug`, so it is compared by itself.
            format!("{one:?}") == format!("{other:?}") && one.provisioning == other.provisioning
        }
        _of_two_kinds => false,
    }
}

fn place(kind: u8, parts: &[&[u8]]) -> Place {
    (kind, parts.join(&b'/'))
}

impl Fleet {
    /// What a recovery gave back, and what history can be read; `of` has the commands to be asked for.
    ///
    /// # Errors
    /// History and recovery do not agree.
    pub fn of(changes: &[Change], history: &History, of: &Self) -> Result<Self, String> {
        let mut fleet = Self::default();
        changes.iter().for_each(|change| fleet.apply(change));
        for device in DEVICES {
            for key in KEYS {
                let points = read(history, device, key, PointOrder::OldestFirst);
                let mut backwards = read(history, device, key, PointOrder::NewestFirst);
                backwards.reverse();
                if points != backwards {
                    return Err(format!("{points:?} from the other end are {backwards:?}"));
                }
                fleet.points.extend(
                    points.into_iter().map(|(at_ms, value)| ((device, key.to_owned(), at_ms), value)),
                );
            }
            let commands = history.commands(device).unwrap();
            let expected = fleet.commands_of(device);
            if commands != expected {
                return Err(format!("{commands:?} are recovered as {expected:?}"));
            }
        }
        for change in of.things.values() {
            if let Change::Command { command, .. } = change {
                let found = history.command(command.order.id).unwrap();
                let kept = fleet.things.values().any(|kept| {
                    matches!((kept, &found), (Change::Command { device, command }, Some((of, one)))
                        if device == of && **command == *one)
                });
                if kept != found.is_some() {
                    return Err(format!("{} is found as {found:?}", command.order.id));
                }
            }
        }
        Ok(fleet)
    }

    fn commands_of(&self, of: DeviceId) -> Vec<Command> {
        let commands = self.things.values().filter_map(|change| match change {
            Change::Command { device, command } if *device == of => Some((**command).clone()),
            _something_else => None,
        });
        commands.collect()
    }

    fn has(&self, device: DeviceId) -> bool {
        self.things.contains_key(&place(b'D', &[device.bytes()]))
    }

    pub fn apply(&mut self, change: &Change) {
        let whole = change.clone();
        match change {
            Change::Tenant(tenant) => drop(self.things.insert(place(b'T', &[tenant.id.bytes()]), whole)),
            Change::Customer(one) => drop(self.things.insert(place(b'C', &[one.id.bytes()]), whole)),
            Change::CustomerGone(id) => drop(self.things.remove(&place(b'C', &[id.bytes()]))),
            Change::User(user) => drop(self.things.insert(place(b'U', &[user.id.bytes()]), whole)),
            Change::UserGone(id) => drop(self.things.remove(&place(b'U', &[id.bytes()]))),
            Change::Profile(one) => drop(self.things.insert(place(b'P', &[one.id.bytes()]), whole)),
            Change::ProfileGone(id) => drop(self.things.remove(&place(b'P', &[id.bytes()]))),
            Change::Package(one) => drop(self.things.insert(place(b'K', &[one.id.bytes()]), whole)),
            Change::PackageGone(id) => drop(self.things.remove(&place(b'K', &[id.bytes()]))),
            Change::Device(one) => drop(self.things.insert(place(b'D', &[one.id.bytes()]), whole)),
            Change::DeviceGone(id) => {
                self.things.retain(|_, change| change.device() != Some(*id));
                self.points.retain(|(device, ..), _| device != id);
            }
            of_a_device => {
                let device = of_a_device.device().expect("all others name one");
                if self.has(device) {
                    self.apply_fact(device, of_a_device);
                }
            }
        }
    }

    fn apply_fact(&mut self, device: DeviceId, change: &Change) {
        let id = device.bytes();
        let whole = change.clone();
        match change {
            Change::Attribute { scope, key, value, .. } => {
                let place = place(b'A', &[id, format!("{scope:?}").as_bytes(), key.as_bytes()]);
                match value {
                    Some(_) => drop(self.things.insert(place, whole)),
                    None => drop(self.things.remove(&place)),
                }
            }
            Change::Telemetry { samples, keeping, .. } => {
                for sample in samples {
                    let latest =
                        Change::Telemetry { device, samples: vec![sample.clone()], keeping: Keeping::Latest };
                    self.things.insert(place(b'L', &[id, sample.key.as_bytes()]), latest);
                    if *keeping == Keeping::History {
                        self.put_point(device, sample);
                    }
                }
            }
            Change::Late { samples, .. } => samples.iter().for_each(|one| self.put_point(device, one)),
            Change::HistoryGone { key, from_ms, to_ms, .. } => self.points.retain(|(of, name, at_ms), _| {
                *of != device || **name != **key || !(*from_ms..*to_ms).contains(at_ms)
            }),
            Change::LatestGone { key, .. } => drop(self.things.remove(&place(b'L', &[id, key.as_bytes()]))),
            Change::Command { command, .. } => {
                self.things.insert(place(b'O', &[id, command.order.id.bytes()]), whole);
            }
            Change::CommandGone { command, .. } => {
                self.things.remove(&place(b'O', &[id, command.bytes()]));
            }
            Change::Claim { claim: Some(_), .. } => drop(self.things.insert(place(b'Q', &[id]), whole)),
            Change::Claim { claim: None, .. } => drop(self.things.remove(&place(b'Q', &[id]))),
            Change::Presence { .. } => drop(self.things.insert(place(b'E', &[id]), whole)),
            of_the_registry => panic!("{of_the_registry:?}"),
        }
    }

    fn put_point(&mut self, device: DeviceId, sample: &Sample<'static>) {
        self.points.insert((device, sample.key.to_string(), sample.at_ms), sample.value.clone());
    }
}

fn read(history: &History, device: DeviceId, key: &str, order: PointOrder) -> Vec<(i64, Value<'static>)> {
    let mut points = Vec::new();
    let span = Span { from_ms: i64::MIN, to_ms: i64::MAX, order };
    let mut visit = |at_ms: i64, value: Value<'_>| {
        points.push((at_ms, value.into_owned()));
        ControlFlow::Continue(())
    };
    history.points(device, key, span, &mut visit).unwrap();
    points
}

pub const DEVICES: [DeviceId; 4] = [
    DeviceId::from_bytes([0; 16]),
    DeviceId::from_bytes([0x62; 16]),
    DeviceId::from_bytes([0x63; 16]),
    DeviceId::from_bytes([0xff; 16]),
];

const TENANT: TenantId = TenantId::from_bytes([1; 16]);

/// Makes changes.
pub struct Yard {
    pub prng: Prng,
    pub fleet: Fleet,
    /// Devices that this process has deleted, of which its cores may still say something.
    late: BTreeSet<DeviceId>,
}

impl Yard {
    pub fn new(seed: u64) -> Self {
        Self { prng: Prng::new(seed), fleet: Fleet::default(), late: BTreeSet::new() }
    }

    pub fn change(&mut self) -> Change {
        let change = self.draw();
        self.fleet.apply(&change);
        match &change {
            Change::DeviceGone(device) => {
                self.late.insert(*device);
            }
            Change::Device(device) => {
                self.late.remove(&device.id);
            }
            _neither_comes_nor_goes => {}
        }
        change
    }

    /// A process ended: the model is what the next one found.
    pub fn restart(&mut self, fleet: Fleet) {
        self.fleet = fleet;
        self.late.clear();
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.prng.next_u64() % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn id(&mut self, bound: u64) -> [u8; 16] {
        [u8::try_from(self.below(bound)).unwrap(); 16]
    }

    fn word(&mut self) -> Box<str> {
        let len = self.below(6);
        (0..len).map(|_| ['a', '"', '\u{e9}', '\0'][usize::try_from(self.below(4)).unwrap()]).collect()
    }

    fn time(&mut self) -> i64 {
        match self.below(8) {
            0 => [i64::MIN, -1, 0, i64::MAX - 1][usize::try_from(self.below(4)).unwrap()],
            _mostly => i64::try_from(self.below(40)).unwrap(),
        }
    }

    fn value(&mut self) -> Value<'static> {
        match self.below(5) {
            0 => Value::Bool(self.coin()),
            1 => Value::Long(self.prng.next_u64().cast_signed()),
            2 => Value::Double(0.5),
            3 => Value::Text(String::from(self.word()).into()),
            _json => Value::Json("{\"a\":[1]}".into()),
        }
    }

    fn samples(&mut self) -> Vec<Sample<'static>> {
        let count = 1 + self.below(4);
        // Mostly at once, as one message brings them.
        let together = (self.below(4) > 0).then(|| self.time());
        (0..count)
            .map(|_| {
                let key = KEYS[usize::try_from(self.below(3)).unwrap()];
                let at_ms = together.unwrap_or_else(|| self.time());
                Sample { key: key.into(), value: self.value(), at_ms }
            })
            .collect()
    }

    fn draw(&mut self) -> Change {
        let device = DEVICES[usize::try_from(self.below(4)).unwrap()];
        if !self.fleet.has(device) {
            return match self.below(3) {
                0 => self.registry(),
                // Said before its core knew that the device is gone.
                1 if self.late.contains(&device) => self.fact(device),
                _mostly => Change::Device(Box::new(self.device(device))),
            };
        }
        match self.below(20) {
            0 => Change::DeviceGone(device),
            1 => Change::Device(Box::new(self.device(device))),
            2 | 3 => self.registry(),
            _mostly => self.fact(device),
        }
    }

    fn device(&mut self, id: DeviceId) -> Device {
        let credential = match self.below(3) {
            0 => Credential::Token("token".into()),
            1 => Credential::basic("", "user", ["", "secret"][usize::from(self.coin())]).unwrap(),
            _certificate => Credential::certificate("-----BEGIN CERT\nIFICATE-----").unwrap(),
        };
        let rare = Rare {
            label: self.coin().then(|| "label".into()),
            additional: self.coin().then(|| "{}".into()),
            firmware: self.coin().then(|| PackageId::from_bytes([4; 16])),
            software: self.coin().then(|| PackageId::from_bytes([5; 16])),
            gateway: self.coin().then(|| DEVICES[0]),
            creator: self.coin().then(|| DEVICES[1]),
            is_provisioned: self.coin(),
            changes: 7,
            credential_changes: 9,
        };
        Device {
            id,
            tenant: TENANT,
            profile: ProfileId::from_bytes(self.id(2)),
            customer: self.coin().then(|| CustomerId::from_bytes([9; 16])),
            role: [Role::Ordinary, Role::Gateway, Role::GatewayForActivity]
                [usize::try_from(self.below(3)).unwrap()],
            created_ms: self.time(),
            name: self.word(),
            credential,
            rare: self.coin().then(|| Box::new(rare)),
        }
    }

    fn registry(&mut self) -> Change {
        match self.below(12) {
            0 => Change::Tenant(Box::new(Tenant {
                id: TENANT,
                name: self.word(),
                devices_max: self.coin().then_some(7),
                margin: self.margin(),
            })),
            1 => Change::Customer(Box::new(Customer {
                id: CustomerId::from_bytes(self.id(2)),
                tenant: TENANT,
                created_ms: self.time(),
                title: self.word(),
                margin: self.margin(),
            })),
            2 => Change::CustomerGone(CustomerId::from_bytes(self.id(2))),
            3 => Change::User(Box::new(User {
                id: UserId::from_bytes(self.id(2)),
                tenant: self.coin().then_some(TENANT),
                customer: self.coin().then(|| CustomerId::from_bytes([1; 16])),
                authority: [Authority::SystemAdmin, Authority::TenantAdmin, Authority::CustomerUser]
                    [usize::try_from(self.below(3)).unwrap()],
                created_ms: self.time(),
                name: self.word(),
                password_hash: self.word(),
                margin: self.margin(),
            })),
            4 => Change::UserGone(UserId::from_bytes(self.id(2))),
            5 | 6 => Change::Profile(Box::new(self.profile())),
            7 => Change::ProfileGone(ProfileId::from_bytes(self.id(2))),
            8 => Change::PackageGone(PackageId::from_bytes(self.id(2))),
            _package => Change::Package(Arc::new(self.package())),
        }
    }

    fn profile(&mut self) -> Profile {
        let key = ProvisionKey { key: self.word(), secret: self.word() };
        let provisioning = match self.below(4) {
            0 => Provisioning::Disabled,
            1 => Provisioning::AllowCreate(key),
            2 => Provisioning::CheckPreProvisioned(key),
            _chain => Provisioning::CertificateChain(Box::new(ChainRule {
                authority: [3; 32],
                name_pattern: self.word(),
                allows_create: self.coin(),
            })),
        };
        Profile {
            is_default: self.coin(),
            settings: Arc::from(&*self.word()),
            provisioning,
            keeping: [Keeping::History, Keeping::Latest, Keeping::Forward]
                [usize::try_from(self.below(3)).unwrap()],
            retention_ms: self.coin().then_some(1_000),
            firmware: self.coin().then(|| PackageId::from_bytes([4; 16])),
            untold: Untold { firmware: self.coin(), software: self.coin() },
            created_ms: 3,
            version: 5,
            additional: self.coin().then(|| Arc::from("{}")),
            ..Profile::named(ProfileId::from_bytes(self.id(2)), TENANT, &self.word())
        }
    }

    fn package(&mut self) -> Package {
        let content = match self.below(4) {
            0 => Content::Missing,
            1 => Content::At {
                url: self.word(),
                bytes_len: self.coin().then_some(9),
                checksum: self.coin().then(|| (Algorithm::Sha256, self.word())),
            },
            _here => {
                let len = usize::try_from(self.below(3)).unwrap() * 40;
                let bytes = vec![u8::try_from(self.below(2)).unwrap(); len];
                Content::upload(bytes.into(), Algorithm::Crc32, None).unwrap()
            }
        };
        Package {
            created_ms: 0,
            id: PackageId::from_bytes(self.id(2)),
            tenant: TENANT,
            profile: ProfileId::from_bytes([0; 16]),
            kind: [PackageKind::Firmware, PackageKind::Software][usize::from(self.coin())],
            title: self.word(),
            version: self.word(),
            tag: self.coin().then(|| self.word()),
            content,
            label: Label {
                file_name: self.coin().then(|| self.word()),
                content_type: self.coin().then(|| self.word()),
                additional: self.coin().then(|| "{}".into()),
            },
        }
    }

    fn margin(&mut self) -> Margin {
        Margin { changes: self.coin().into(), additional: self.coin().then(|| "{}".into()) }
    }

    fn command(&mut self) -> Command {
        let order = Order {
            id: CommandId::from_bytes([0; 16]),
            method: self.word(),
            params: self.word(),
            kind: [CommandKind::OneWay, CommandKind::TwoWay][usize::from(self.coin())],
            is_persistent: true,
            expires_ms: 1 << 40,
            retries: self.coin().then_some(3),
            additional: self.coin().then(|| self.word()),
        };
        let mut command = Command::new(order, -7, self.time());
        if self.coin() {
            command.sent(mqtt::QoS::AtLeastOnce, 5, &device::CommandTerms::default());
        }
        if self.coin() {
            command.answered(b"no json");
        }
        command
    }

    fn fact(&mut self, device: DeviceId) -> Change {
        let key: Box<str> = KEYS[usize::try_from(self.below(3)).unwrap()].into();
        // A command's id is of one device.
        let place = u8::try_from(DEVICES.iter().position(|one| *one == device).unwrap()).unwrap();
        let command_id = CommandId::from_bytes([place * 3 + u8::try_from(self.below(3)).unwrap(); 16]);
        match self.below(14) {
            0 | 1 => Change::Attribute {
                device,
                scope: [Scope::Client, Scope::Shared, Scope::Server][usize::try_from(self.below(3)).unwrap()],
                key,
                value: (self.below(3) > 0).then(|| self.value()),
                at_ms: self.time(),
            },
            2 => Change::Late { device, samples: self.samples() },
            3 | 4 => {
                let (one, other) = (self.time(), self.time());
                Change::HistoryGone { device, key, from_ms: one.min(other), to_ms: one.max(other) }
            }
            5 => Change::LatestGone { device, key },
            6 | 7 => {
                let mut command = self.command();
                command.order.id = command_id;
                Change::Command { device, command: Box::new(command) }
            }
            8 => Change::CommandGone { device, command: command_id },
            9 => Change::Claim {
                device,
                claim: self.coin().then(|| Claim { secret: self.word(), expires_ms: self.time() }),
            },
            10 => Change::Presence {
                device,
                presence: Presence {
                    connections: 2,
                    is_active: self.coin(),
                    connected_ms: self.time(),
                    disconnected_ms: self.time(),
                    heard_ms: self.time(),
                    alarmed_ms: self.time(),
                },
            },
            _telemetry => Change::Telemetry {
                device,
                samples: self.samples(),
                keeping: [Keeping::History, Keeping::History, Keeping::Latest]
                    [usize::try_from(self.below(3)).unwrap()],
            },
        }
    }
}
