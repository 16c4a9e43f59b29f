//! Where a table of vectors can be played: in a world without a broker, and in a house of shards.
//!
//! Invariants:
//! - Both say what is seen in the same words.

use std::collections::BTreeMap;
use std::sync::Arc;

use device::{
    Algorithm, CommandId, CommandKind, Content, Dialect, HubCall, HubReply, News, Offer, Order, Package,
    PackageId, PackageKind, Profile, ProfileId, ProvisionKey, Provisioning, Report, Sample, Scope,
};
use dialect::ThingsBoard;
use mqtt::{QoS, Version};
use shard::Settings;
use stdx::Span;

use crate::client;
use crate::house::{ClientId, House};
use crate::world::{PROFILE, World};

/// One connection of a scene.
pub type Place = u64;

/// Plays what vectors say.
pub trait Scene {
    /// Connects: what is seen, and the connection if there is one.
    fn connect(
        &mut self,
        client_id: &str,
        user_name: Option<&str>,
        password: Option<&str>,
    ) -> (String, Option<Place>);
    /// Publishes.
    fn publish(&mut self, place: Place, topic: &str, qos: QoS, payload: &[u8]);
    /// Subscribes.
    fn subscribe(&mut self, place: Place, filter: &str, qos: QoS);
    /// Unsubscribes.
    fn unsubscribe(&mut self, place: Place, filter: &str);
    /// Gives the devices' profile other settings.
    fn settings(&mut self, settings: &str);
    /// Makes a profile of a name, which is a type of children.
    fn kind(&mut self, name: &str, settings: &str);
    /// Lets the devices' profile create devices for those who know `k1` and `s1`.
    fn allow_provisioning(&mut self);
    /// What devices are offered; to be changed before any of them connects.
    fn offer(&mut self) -> &mut Offer;
    /// Assigns firmware to a device.
    fn assign(&mut self, device: &str, bytes: &[u8]);
    /// Writes shared attributes.
    fn write(&mut self, device: &str, samples: Vec<Sample<'static>>);
    /// Deletes shared attributes.
    fn delete(&mut self, device: &str, key: &str);
    /// Asks something of a device.
    fn order(&mut self, device: &str, kind: CommandKind, method: &str, params: &str) -> CommandId;
    /// How far a command is.
    fn command(&mut self, id: CommandId) -> Report;
    /// Deletes a device and tells its gateway.
    fn delete_device(&mut self, device: &str);
    /// Lets time pass.
    fn wait(&mut self, ms: i64);
    /// The wall clock, in Unix milliseconds.
    fn now_ms(&self) -> i64;
    /// The latest telemetry of a device, as `key=value` words.
    fn latest(&mut self, device: &str) -> String;
    /// The name of a device's profile.
    fn kind_of(&mut self, device: &str) -> String;
    /// What was seen since the last time.
    fn take_seen(&mut self) -> Vec<String>;
}

impl Scene for World {
    fn connect(
        &mut self,
        client_id: &str,
        user_name: Option<&str>,
        password: Option<&str>,
    ) -> (String, Option<Place>) {
        let (seen, ear) = World::connect(self, client_id, user_name, password);
        (seen, ear.map(|ear| ear.0))
    }

    fn publish(&mut self, place: Place, topic: &str, qos: QoS, payload: &[u8]) {
        World::publish(self, device::Ear(place), topic, qos, payload);
    }

    fn subscribe(&mut self, place: Place, filter: &str, qos: QoS) {
        World::subscribe(self, device::Ear(place), filter, qos);
    }

    fn unsubscribe(&mut self, place: Place, filter: &str) {
        World::unsubscribe(self, device::Ear(place), filter);
    }

    fn settings(&mut self, settings: &str) {
        World::settings(self, settings);
    }

    fn kind(&mut self, name: &str, settings: &str) {
        World::kind(self, name, settings);
    }

    fn allow_provisioning(&mut self) {
        World::allow_provisioning(self);
    }

    fn offer(&mut self) -> &mut Offer {
        &mut self.offer
    }

    fn assign(&mut self, device: &str, bytes: &[u8]) {
        World::assign(self, device, bytes);
    }

    fn write(&mut self, device: &str, samples: Vec<Sample<'static>>) {
        World::write(self, device, &samples);
    }

    fn delete(&mut self, device: &str, key: &str) {
        World::delete(self, device, &[key]);
    }

    fn order(&mut self, device: &str, kind: CommandKind, method: &str, params: &str) -> CommandId {
        World::order(self, device, kind, method, params, 5_000)
    }

    fn command(&mut self, id: CommandId) -> Report {
        World::command(self, id).clone()
    }

    fn delete_device(&mut self, device: &str) {
        World::delete_device(self, device);
    }

    fn wait(&mut self, ms: i64) {
        World::wait(self, ms);
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn latest(&mut self, device: &str) -> String {
        World::latest(self, device)
    }

    fn kind_of(&mut self, device: &str) -> String {
        let device = self.registry.device(self.id(device)).expect("known");
        self.registry.profile(device.profile).expect("known").name.to_string()
    }

    fn take_seen(&mut self) -> Vec<String> {
        World::take_seen(self)
    }
}

/// A house in which all clients speak one version. It is built when the first thing happens that needs it.
pub struct Rooms {
    version: Version,
    cores: u16,
    offer: Offer,
    house: Option<House>,
    newcomer: Option<ClientId>,
    commands: BTreeMap<CommandId, Option<Report>>,
}

impl Rooms {
    /// A house of so many cores.
    #[must_use]
    pub fn new(version: Version, cores: u16) -> Self {
        Self {
            version,
            cores,
            offer: Offer::default(),
            house: None,
            newcomer: None,
            commands: BTreeMap::new(),
        }
    }

    fn house(&mut self) -> &mut House {
        let Self { cores, offer, house, .. } = self;
        house.get_or_insert_with(|| {
            let offers = vec![Arc::new(offer.clone())];
            House::with(*cores, Settings { offers, ..Settings::default() })
        })
    }

    fn put_profile(&mut self, change: impl FnOnce(&mut Profile)) {
        self.house().shelf.with(|registry, changes| {
            let mut profile = registry.profile(PROFILE).expect("made at the start").clone();
            change(&mut profile);
            profile.terms = ThingsBoard.read_settings(&profile.settings).expect("the settings are valid");
            registry.put_profile(profile, changes).expect("the same profile");
        });
    }

    fn call(&mut self, device: &str, call: HubCall) {
        let id = self.house().id(device);
        self.house().ask(id, call);
    }
}

fn client_of(place: Place) -> ClientId {
    usize::try_from(place).expect("few clients")
}

impl Scene for Rooms {
    fn connect(
        &mut self,
        client_id: &str,
        user_name: Option<&str>,
        password: Option<&str>,
    ) -> (String, Option<Place>) {
        let (version, cores) = (self.version, usize::from(self.cores));
        let connect = client::connect(version, client_id, user_name, password, None);
        let house = self.house();
        let id = house.connect(house.clients.len() % cores, 0, version, &connect);
        let mut seen = house.seen(id);
        let is_connected = house.clients[id].place.is_some();
        if version == Version::V5 {
            seen.retain(|line| line != "close");
        }
        self.newcomer = Some(id);
        (seen.join(", "), is_connected.then(|| stdx::count(id)))
    }

    fn publish(&mut self, place: Place, topic: &str, qos: QoS, payload: &[u8]) {
        self.house().publish(client_of(place), topic, qos, payload);
    }

    fn subscribe(&mut self, place: Place, filter: &str, qos: QoS) {
        let packet = client::subscribe(self.version, 3, filter, qos);
        self.house().send(client_of(place), &packet);
    }

    fn unsubscribe(&mut self, place: Place, filter: &str) {
        let packet = client::unsubscribe(self.version, 4, filter);
        self.house().send(client_of(place), &packet);
    }

    fn settings(&mut self, settings: &str) {
        self.put_profile(|profile| profile.settings = Arc::from(settings));
    }

    fn kind(&mut self, name: &str, settings: &str) {
        self.house().shelf.with(|registry, changes| {
            let id = ProfileId::from_bytes([u8::try_from(name.len()).expect("a short name"); 16]);
            let terms = ThingsBoard.read_settings(settings).expect("the settings are valid");
            let profile = Profile::named(id, crate::world::TENANT, name);
            let profile = Profile { settings: Arc::from(settings), terms, ..profile };
            registry.put_profile(profile, changes).expect("the name is free");
        });
    }

    fn allow_provisioning(&mut self) {
        let key = ProvisionKey { key: "k1".into(), secret: "s1".into() };
        self.put_profile(|profile| profile.provisioning = Provisioning::AllowCreate(key));
    }

    fn offer(&mut self) -> &mut Offer {
        assert!(self.house.is_none(), "the house stands already");
        &mut self.offer
    }

    fn assign(&mut self, device: &str, bytes: &[u8]) {
        let content =
            Content::upload(Arc::from(bytes), Algorithm::Sha256, None).expect("no sum is asked for");
        let package = Arc::new(Package {
            created_ms: 0,
            id: PackageId::from_bytes([9; 16]),
            tenant: crate::world::TENANT,
            profile: PROFILE,
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1.1".into(),
            tag: None,
            content,
            label: device::Label::default(),
        });
        let now_ms = self.house().now_ms();
        let assignment = package.assign(now_ms);
        let id = self.house().id(device);
        self.house().shelf.with(|registry, changes| {
            let mut record = registry.device(id).expect("known").clone();
            record.rare_mut().firmware = Some(package.id);
            registry.put_package(package, changes);
            registry.replace(record, changes).expect("the same device");
        });
        self.call(device, HubCall::Assign(assignment));
    }

    fn write(&mut self, device: &str, samples: Vec<Sample<'static>>) {
        self.call(device, HubCall::WriteAttributes { scope: Scope::Shared, samples });
    }

    fn delete(&mut self, device: &str, key: &str) {
        self.call(device, HubCall::DeleteAttributes { scope: Scope::Shared, keys: vec![key.into()] });
    }

    fn order(&mut self, device: &str, kind: CommandKind, method: &str, params: &str) -> CommandId {
        let number = u8::try_from(self.commands.len()).expect("few commands");
        let id = CommandId::from_bytes([number; 16]);
        let order = Order {
            id,
            method: method.into(),
            params: params.into(),
            kind,
            is_persistent: false,
            expires_ms: self.house().now_ms() + 5_000,
            retries: None,
            additional: None,
        };
        self.commands.insert(id, None);
        self.call(device, HubCall::Order(order));
        id
    }

    fn command(&mut self, id: CommandId) -> Report {
        for news in std::mem::take(&mut self.house().news) {
            if let News::Report(report) = news {
                self.commands.insert(report.command, Some(report));
            }
        }
        self.commands[&id].clone().expect("it was reported")
    }

    fn delete_device(&mut self, device: &str) {
        let id = self.house().id(device);
        let gateway = self.house().shelf.with(|registry, changes| {
            let gateway = registry.device(id).and_then(device::Device::gateway);
            registry.delete(id, changes).expect("known");
            gateway.and_then(|gateway| registry.device(gateway)).map(|gateway| gateway.name.to_string())
        });
        self.house().ask(id, HubCall::Forget);
        if let Some(gateway) = gateway {
            let params = format!("\"{device}\"");
            self.order(&gateway, CommandKind::OneWay, "gateway_device_deleted", &params);
        }
    }

    fn wait(&mut self, ms: i64) {
        self.house().wait(Span::from_ms(ms.unsigned_abs()));
    }

    fn now_ms(&self) -> i64 {
        self.house.as_ref().map_or(crate::house::BEGAN_MS, House::now_ms)
    }

    fn latest(&mut self, device: &str) -> String {
        let Some(id) = self.house().find(device) else { return "unknown".to_owned() };
        let HubReply::Facts(facts) = self.house().ask(id, HubCall::Latest { keys: None }) else {
            unreachable!("that is how it is answered")
        };
        let words: Vec<_> =
            facts.iter().map(|fact| format!("{}={}", fact.key, fact.value.to_json())).collect();
        words.join(" ")
    }

    fn kind_of(&mut self, device: &str) -> String {
        let id = self.house().id(device);
        self.house().shelf.with(|registry, _| {
            let device = registry.device(id).expect("known");
            registry.profile(device.profile).expect("known").name.to_string()
        })
    }

    fn take_seen(&mut self) -> Vec<String> {
        let newcomer = self.newcomer.take();
        let Some(house) = &mut self.house else { return Vec::new() };
        let mut all = Vec::new();
        for id in 0..house.clients.len() {
            let mut seen = house.seen(id);
            // A client of 5.0 that was told so is closed as well.
            if seen.iter().any(|line| line.starts_with("DISCONNECT")) {
                seen.retain(|line| line != "close");
            }
            let is_older = newcomer.is_some_and(|newcomer| id < newcomer);
            all.extend(seen.into_iter().map(|line| if is_older { format!("first: {line}") } else { line }));
        }
        all
    }
}
