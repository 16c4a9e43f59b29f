//! Registry, hub and connections, joined as one core joins them.
//!
//! Invariants:
//! - One connection per device name in a script; a child speaks by way of its gateway.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use device::{
    Addressed, Answer, Change, Clash, CommandId, CommandKind, Content, Cookie, Cost, Credential,
    DeviceAllowances, DeviceId, Dialect, Downlink, Ear, Guest, Hello, Hub, Interpreter, Keeping, Kin,
    NewDevice, Offer, Order, Outcome, PROVISIONED_STAY_MS, Package, PackageId, PackageKind, Profile,
    ProfileId, ProvisionKey, ProvisionReply, Provisioning, Registry, Report, Role, Said, Sample, Scope,
    Short, Speech, Subject, Tenant, TenantId, Terms, Uplink, Utterance, Welcome, Within,
};
use dialect::ThingsBoard;
use mqtt::{Connect, ConnectProperties, QoS, ReasonCode, Version};
use stdx::Prng;

/// The tenant of all devices.
pub const TENANT: TenantId = TenantId::from_bytes([1; 16]);
/// The profile of all devices.
pub const PROFILE: ProfileId = ProfileId::from_bytes([2; 16]);

/// One world, in which all connections speak one version.
pub struct World {
    version: Version,
    /// Unix milliseconds.
    pub now_ms: i64,
    /// What is known of devices.
    pub registry: Registry,
    /// What devices said.
    pub hub: Hub,
    /// What devices are offered when they connect.
    pub offer: Offer,
    spent: DeviceAllowances,
    prng: Prng,
    connections: BTreeMap<u64, Connection>,
    next_ear: u64,
    commands: BTreeMap<CommandId, Option<Report>>,
    /// All that would have been written down.
    pub changes: Vec<Change>,
    seen: Vec<String>,
}

struct Connection {
    device: Option<DeviceId>,
    interpreter: Box<dyn Interpreter>,
    children: Vec<DeviceId>,
    ends_ms: Option<i64>,
    /// Calls that nobody answers, and until when each waits.
    vain_calls: Vec<(i64, Cookie)>,
}

/// The children of a gateway, as the registry knows them.
struct Children<'a> {
    registry: &'a Registry,
    gateway: DeviceId,
}

impl Kin for Children<'_> {
    fn terms_of(&self, child: &str) -> Option<Cow<'_, Terms>> {
        self.registry.terms_of_child(self.gateway, child).map(Cow::Owned)
    }
}

impl World {
    /// A world with device D (token T) and gateway G (token TG).
    pub fn new(version: Version) -> Self {
        let mut world = Self {
            version,
            now_ms: 1_760_000_000_000,
            registry: Registry::default(),
            hub: Hub::default(),
            offer: Offer::default(),
            spent: DeviceAllowances::default(),
            prng: Prng::new(1),
            connections: BTreeMap::new(),
            next_ear: 0,
            commands: BTreeMap::new(),
            changes: Vec::new(),
            seen: Vec::new(),
        };
        let tenant = Tenant::named(TENANT, "acme");
        world.registry.put_tenant(tenant, &mut world.changes);
        world.put_profile(Profile::named(PROFILE, TENANT, "default"));
        world.create("D", "T", Role::Ordinary);
        world.create("G", "TG", Role::Gateway);
        world
    }

    /// Saves a profile, as a server does: what the dialect understands of it is kept with it.
    pub fn put_profile(&mut self, mut profile: Profile) {
        profile.terms = ThingsBoard.read_settings(&profile.settings).expect("the settings are valid");
        self.registry.put_profile(profile, &mut self.changes).expect("the profile is free");
    }

    /// Makes a profile of a name, which is a type of children.
    pub fn kind(&mut self, name: &str, settings: &str) {
        let id = ProfileId::from_bytes([u8::try_from(name.len()).expect("a short name"); 16]);
        let profile = Profile::named(id, TENANT, name);
        self.put_profile(Profile { settings: Arc::from(settings), ..profile });
    }

    /// Gives the devices' profile other settings.
    pub fn settings(&mut self, settings: &str) {
        let profile = self.registry.profile(PROFILE).expect("made at the start").clone();
        self.put_profile(Profile { settings: Arc::from(settings), ..profile });
    }

    /// Lets the devices' profile create devices for those who know `k1` and `s1`.
    pub fn allow_provisioning(&mut self) {
        let profile = self.registry.profile(PROFILE).expect("made at the start").clone();
        let key = ProvisionKey { key: "k1".into(), secret: "s1".into() };
        self.put_profile(Profile { provisioning: Provisioning::AllowCreate(key), ..profile });
    }

    /// Creates a device.
    pub fn create(&mut self, name: &str, token: &str, role: Role) -> DeviceId {
        let new = NewDevice {
            tenant: TENANT,
            profile: None,
            customer: None,
            role,
            name,
            credential: Some(Credential::token(token).expect("a token")),
        };
        let prng = &mut self.prng;
        let created = self.registry.create(new, self.now_ms, &mut || prng.next_u64(), &mut self.changes);
        created.expect("the name is free")
    }

    /// Assigns firmware to a device.
    pub fn assign(&mut self, device: &str, bytes: &[u8]) {
        let id = PackageId::from_bytes([9; 16]);
        let content =
            Content::upload(Arc::from(bytes), device::Algorithm::Sha256, None).expect("no sum is asked for");
        let package = Arc::new(Package {
            created_ms: 0,
            id,
            tenant: TENANT,
            profile: PROFILE,
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1.1".into(),
            tag: None,
            content,
            label: device::Label::default(),
        });
        let assignment = package.assign(self.now_ms);
        self.registry.put_package(package, &mut self.changes);
        let mut record = self.registry.device(self.id(device)).expect("known").clone();
        record.rare_mut().firmware = Some(id);
        let id = record.id;
        self.registry.replace(record, &mut self.changes).expect("the same device");
        let mut out = Outcome::default();
        self.hub.assign(id, assignment, self.now_ms, &mut out);
        self.carry_out(out);
    }

    /// The id of a device.
    pub fn id(&self, name: &str) -> DeviceId {
        self.registry.device_named(TENANT, name).expect("a known device").id
    }

    /// Connects, and says what comes of it; the connection, if there is one.
    pub fn connect(
        &mut self,
        client_id: &str,
        user_name: Option<&str>,
        password: Option<&str>,
    ) -> (String, Option<Ear>) {
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name,
            password: password.map(str::as_bytes),
            properties: ConnectProperties::default(),
        };
        let hello = Hello { connect: &connect, certificate: None };
        let (device, interpreter) = match ThingsBoard.welcome(&hello, &self.registry) {
            Welcome::Anyone => unreachable!("this dialect has an opinion"),
            Welcome::Refused(code) => return (self.refusal(code), None),
            Welcome::Unregistered => {
                (None, ThingsBoard.registrar(self.version, self.offer.door).expect("an interpreter"))
            }
            Welcome::Device(id) => {
                let device = self.registry.device(id).expect("welcomed");
                let profile = self.registry.profile(device.profile).expect("every device has one");
                let tenant = self.registry.tenant(TENANT).expect("made at the start");
                let offer = Arc::new(self.offer.clone());
                self.spent.open(id, &offer);
                if charge(&mut self.spent, id, self.now_ms).is_err() {
                    self.spent.close(id, self.now_ms);
                    return (self.connack(ReasonCode::ConnectionRateExceeded), None);
                }
                let guest = Guest { version: self.version, device, tenant, profile, offer: &offer };
                (Some(id), ThingsBoard.interpreter(&guest).expect("an interpreter"))
            }
        };
        let ear = Ear(self.next_ear);
        self.next_ear += 1;
        self.connections.insert(
            ear.0,
            Connection { device, interpreter, children: Vec::new(), ends_ms: None, vain_calls: Vec::new() },
        );
        if let Some(device) = device {
            let mut out = Outcome::default();
            self.hub.open(device, ear, Keeping::History, self.now_ms, &mut out);
            self.carry_out(out);
        }
        (self.connack(ReasonCode::Success), Some(ear))
    }

    fn refusal(&self, code: ReasonCode) -> String {
        let connack = self.connack(code);
        if self.version != Version::V5 || !self.offer.door.refusals_disconnect {
            return connack;
        }
        format!("{connack}, DISCONNECT 0x{:02X}", ThingsBoard.farewell(code).byte())
    }

    fn connack(&self, code: ReasonCode) -> String {
        match (self.version, code.connack_return_code()) {
            (Version::V5, _) => format!("CONNACK 0x{:02X}", code.byte()),
            (_, Some(0)) => "CONNACK 0".to_owned(),
            (_, Some(number)) => format!("CONNACK {number}, close"),
            (_, None) => "close".to_owned(),
        }
    }

    /// Publishes.
    pub fn publish(&mut self, ear: Ear, topic: &str, qos: QoS, payload: &[u8]) {
        let Some(mut connection) = self.connections.remove(&ear.0) else {
            self.seen.push("gone".to_owned());
            return;
        };
        let said = Said { topic, payload, qos, now_ms: self.now_ms };
        let mut speech = Speech::default();
        let device = connection.device.and_then(|device| self.spent.of(device));
        let (registry, children) = (&self.registry, &connection.children);
        let meets = |name: &str| {
            registry.device_named(TENANT, name).is_some_and(|device| children.contains(&device.id))
        };
        let within = Within { device, meets: Some(&meets), ..Within::default() };
        let mut answer = match connection.device {
            Some(gateway) => {
                let kin = Children { registry, gateway };
                connection.interpreter.publish_among(&said, &mut speech, within, &kin)
            }
            None => connection.interpreter.publish_within(&said, &mut speech, within),
        };
        let ends = speech
            .remarks
            .iter()
            .any(|remark| matches!(&remark.uplink, Uplink::ChunkWanted(wanted) if wanted.ends));
        let (device, utterances) = (connection.device, std::mem::take(&mut speech.utterances));
        self.connections.insert(ear.0, connection);
        let mut out = Outcome::default();
        for remark in speech.remarks {
            let heard = match remark.subject {
                Subject::Own => self.hear(device, ear, remark.uplink, &mut out),
                Subject::Child(name) => self.hear_child(device, ear, &name, remark.uplink, &mut out),
            };
            if let Err(clash) = heard {
                answer = Answer::acknowledged(code_of(clash));
            }
        }
        let is_refused = |addressed: &Addressed| matches!(addressed.downlink, Downlink::NoChunk { .. });
        if out.downlinks.iter().any(is_refused) {
            let code = ReasonCode::ImplementationSpecificError;
            answer = if ends { Answer::ended(code) } else { Answer::acknowledged(code) };
        }
        self.answer(qos, &answer);
        self.utter(ear, device, utterances);
        self.carry_out(out);
        self.end(ear, &answer);
    }

    /// Hears what a device says about itself.
    fn hear(
        &mut self,
        device: Option<DeviceId>,
        ear: Ear,
        uplink: Uplink<'_>,
        out: &mut Outcome,
    ) -> Result<(), Clash> {
        match (device, uplink) {
            (_, Uplink::Provision(request)) => {
                let prng = &mut self.prng;
                let reply = self.registry.provision(
                    &request,
                    self.now_ms,
                    &mut || prng.next_u64(),
                    &mut self.changes,
                );
                let ends = (reply != ProvisionReply::Broken).then_some(self.now_ms + PROVISIONED_STAY_MS);
                self.connection(ear).ends_ms = ends.or(Some(self.now_ms));
                out.downlinks.push(Addressed {
                    ear,
                    device: DeviceId::from_bytes([0; 16]),
                    downlink: Downlink::Provisioned(reply),
                });
            }
            (Some(device), Uplink::ChunkWanted(wanted)) => {
                let downlink = self.registry.chunk(device, &wanted);
                out.downlinks.push(Addressed { ear, device, downlink });
            }
            (Some(_), Uplink::CalledInVain { cookie, wait_ms }) => {
                let until_ms = self.now_ms + i64::from(wait_ms);
                let vain_calls = &mut self.connection(ear).vain_calls;
                if !vain_calls.iter().any(|(_, waiting)| *waiting == cookie) {
                    vain_calls.push((until_ms, cookie));
                }
            }
            (Some(device), uplink) => self.hub.hear(device, ear, uplink, self.now_ms, out),
            (None, _) => {}
        }
        Ok(())
    }

    /// Hears what a gateway says about a child, for whom it speaks and listens from then on.
    fn hear_child(
        &mut self,
        gateway: Option<DeviceId>,
        ear: Ear,
        name: &str,
        uplink: Uplink<'_>,
        out: &mut Outcome,
    ) -> Result<(), Clash> {
        let gateway = gateway.expect("only devices have children");
        if uplink == Uplink::ChildGone {
            if let Some(child) = self.registry.known_child(gateway, name) {
                self.connection(ear).children.retain(|known| *known != child);
                self.hub.close(child, ear, self.now_ms, out);
            }
            return Ok(());
        }
        let kind = match &uplink {
            Uplink::ChildHere { kind } => kind.as_deref(),
            _ => None,
        };
        let prng = &mut self.prng;
        let child = self.registry.child(
            gateway,
            name,
            kind,
            self.now_ms,
            &mut || prng.next_u64(),
            &mut self.changes,
        )?;
        if !self.connection(ear).children.contains(&child) {
            self.connection(ear).children.push(child);
            self.hub.open(child, ear, Keeping::History, self.now_ms, out);
            let listens = Uplink::Listens { attributes: true, commands: Some(QoS::AtLeastOnce) };
            self.hub.hear(child, ear, listens, self.now_ms, out);
        }
        self.hub.hear(child, ear, uplink, self.now_ms, out);
        Ok(())
    }

    /// Subscribes.
    pub fn subscribe(&mut self, ear: Ear, filter: &str, qos: QoS) {
        let mut speech = Speech::default();
        let (device, is_telling) = {
            let connection = self.connection(ear);
            (connection.device, connection.interpreter.is_telling(filter))
        };
        let charged = match device.filter(|_| is_telling) {
            Some(device) => charge(&mut self.spent, device, self.now_ms),
            None => Ok(()),
        };
        let forgets = charged.is_err() && self.connection(ear).interpreter.habits().forgets_subscriptions;
        let granted = match charged {
            Err(short) if !forgets && self.version != Version::V5 => {
                return self.seen.push(format!("again after {} ms", short.after_ms));
            }
            Err(_) if !forgets => Err(ReasonCode::QuotaExceeded),
            Ok(()) | Err(_) => self.connection(ear).interpreter.subscribe(filter, qos, &mut speech),
        };
        if forgets {
            speech.clear();
        }
        let code = match (granted, self.version) {
            (Ok(granted), _) => granted.bits(),
            (Err(code), Version::V5) => code.byte(),
            (Err(_), _) => 0x80,
        };
        self.seen.push(format!("SUBACK 0x{code:02X}"));
        self.hear_own(ear, speech);
    }

    /// Unsubscribes.
    pub fn unsubscribe(&mut self, ear: Ear, filter: &str) {
        let mut speech = Speech::default();
        let code = self.connection(ear).interpreter.unsubscribe(filter, &mut speech);
        self.seen.push(match self.version {
            Version::V5 => format!("UNSUBACK 0x{:02X}", code.byte()),
            Version::V31 | Version::V311 => "UNSUBACK".to_owned(),
        });
        self.hear_own(ear, speech);
    }

    fn hear_own(&mut self, ear: Ear, speech: Speech<'_>) {
        let device = self.connection(ear).device;
        let mut out = Outcome::default();
        for remark in speech.remarks {
            self.hear(device, ear, remark.uplink, &mut out).expect("nothing is created");
        }
        self.carry_out(out);
    }

    /// Writes shared attributes.
    pub fn write(&mut self, device: &str, samples: &[Sample<'_>]) {
        let mut out = Outcome::default();
        self.hub.write(self.id(device), Scope::Shared, samples, &mut out);
        self.carry_out(out);
    }

    /// Deletes shared attributes.
    pub fn delete(&mut self, device: &str, keys: &[&str]) {
        let mut out = Outcome::default();
        self.hub.delete(self.id(device), Scope::Shared, keys, self.now_ms, &mut out);
        self.carry_out(out);
    }

    /// Asks something of a device; whoever asks waits for `timeout_ms`.
    pub fn order(
        &mut self,
        device: &str,
        kind: CommandKind,
        method: &str,
        params: &str,
        timeout_ms: i64,
    ) -> CommandId {
        let prng = &mut self.prng;
        let id = CommandId::random(&mut || prng.next_u64());
        let order = Order {
            id,
            method: method.into(),
            params: params.into(),
            kind,
            is_persistent: false,
            expires_ms: self.now_ms + timeout_ms,
            retries: None,
            additional: None,
        };
        let mut out = Outcome::default();
        self.commands.insert(id, None);
        self.hub.order(self.id(device), order, self.now_ms, &mut out).expect("few commands wait");
        self.carry_out(out);
        id
    }

    /// Deletes a device, and tells its gateway.
    pub fn delete_device(&mut self, name: &str) {
        let id = self.id(name);
        let gateway = self.registry.device(id).and_then(device::Device::gateway);
        self.registry.delete(id, &mut self.changes).expect("known");
        let mut out = Outcome::default();
        self.hub.forget(id, &mut out);
        out.evicted.clear();
        if let Some(gateway) = gateway {
            let gateway = self.registry.device(gateway).expect("known").name.to_string();
            self.order(
                &gateway,
                CommandKind::OneWay,
                "gateway_device_deleted",
                &format!("\"{name}\""),
                86_400_000,
            );
        }
        self.carry_out(out);
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
        let mut out = Outcome::default();
        self.hub.advance(self.now_ms, &mut out);
        self.carry_out(out);
        let now_ms = self.now_ms;
        let mut out = Outcome::default();
        for (ear, connection) in &mut self.connections {
            let due = connection.vain_calls.iter().take_while(|(until_ms, _)| *until_ms <= now_ms).count();
            for (_, cookie) in connection.vain_calls.drain(..due) {
                let downlink = Downlink::CallAnswered { cookie, answer: Err("timeout".into()) };
                let device = connection.device.expect("only devices call");
                out.downlinks.push(Addressed { ear: Ear(*ear), device, downlink });
            }
        }
        self.carry_out(out);
        let before = self.connections.len();
        self.connections.retain(|_, connection| connection.ends_ms.is_none_or(|ends_ms| now_ms < ends_ms));
        self.seen.extend(std::iter::repeat_n("close".to_owned(), before - self.connections.len()));
    }

    /// What was seen since the last time.
    pub fn take_seen(&mut self) -> Vec<String> {
        std::mem::take(&mut self.seen)
    }

    fn connection(&mut self, ear: Ear) -> &mut Connection {
        self.connections.get_mut(&ear.0).expect("the connection is open")
    }

    fn answer(&mut self, qos: QoS, answer: &Answer) {
        let is_v5 = self.version == Version::V5;
        if let Some(code) = answer.acknowledge
            && qos != QoS::AtMostOnce
        {
            let word = if qos == QoS::ExactlyOnce { "PUBREC" } else { "PUBACK" };
            self.seen.push(if is_v5 { format!("{word} 0x{:02X}", code.byte()) } else { word.to_owned() });
        }
        if let Some(after_ms) = answer.again_ms {
            self.seen.push(format!("again after {after_ms} ms"));
        }
    }

    fn end(&mut self, ear: Ear, answer: &Answer) {
        if let Some(code) = answer.end {
            self.seen.push(if self.version == Version::V5 {
                format!("DISCONNECT 0x{:02X}", code.byte())
            } else {
                "close".to_owned()
            });
            self.close(ear);
        }
    }

    fn close(&mut self, ear: Ear) {
        let Some(connection) = self.connections.remove(&ear.0) else { return };
        let mut out = Outcome::default();
        if let Some(device) = connection.device {
            let _ends_all_the_same = charge(&mut self.spent, device, self.now_ms);
            self.spent.close(device, self.now_ms);
        }
        for device in connection.children.into_iter().chain(connection.device) {
            self.hub.close(device, ear, self.now_ms, &mut out);
        }
        self.carry_out(out);
    }

    fn utter(&mut self, _ear: Ear, device: Option<DeviceId>, utterances: Vec<Utterance>) {
        let mut out = Outcome::default();
        for Utterance { topic, payload, qos, command } in utterances {
            let payload = String::from_utf8_lossy(&payload).into_owned();
            let line = format!("PUBLISH q{} {topic} {payload}", qos.bits());
            self.seen.push(line.trim_end().to_owned());
            if let (Some(number), Some(device)) = (command, device) {
                self.hub.command_sent(device, number, qos, self.now_ms, &mut out);
            }
        }
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Outcome) {
        self.changes.extend(out.changes);
        for (ear, device) in out.evicted {
            if self.connections.get(&ear.0).is_some_and(|connection| connection.device != Some(device)) {
                self.connection(ear).children.retain(|child| *child != device);
                continue;
            }
            self.seen.push(match self.version {
                Version::V5 => "first: DISCONNECT 0x8E".to_owned(),
                Version::V31 | Version::V311 => "first: close".to_owned(),
            });
            self.close(ear);
        }
        for Addressed { ear, device, downlink } in out.downlinks {
            let Some(mut connection) = self.connections.remove(&ear.0) else { continue };
            let is_own = connection.device.is_none_or(|own| own == device);
            let name = self.registry.device(device).map(|device| device.name.to_string());
            let child = if is_own { None } else { name.as_deref() };
            let mut utterances = Vec::new();
            let spoken = connection.interpreter.downlink(child, &downlink, &mut utterances);
            self.connections.insert(ear.0, connection);
            if let (Err(why), Downlink::Command { number, .. }) = (spoken, &downlink) {
                let mut out = Outcome::default();
                self.hub.command_failed(device, *number, &why.why, &mut out);
                self.carry_out(out);
            }
            self.utter(ear, Some(device), utterances);
        }
        for report in out.reports {
            if let Some(known) = self.commands.get_mut(&report.command) {
                *known = Some(report);
            }
        }
    }

    /// How far a command is, and what was answered.
    pub fn command(&self, id: CommandId) -> &Report {
        self.commands[&id].as_ref().expect("it was reported")
    }

    /// The latest telemetry of a device, as `key=value` words; `unknown` if there is no such device.
    pub fn latest(&self, device: &str) -> String {
        let Some(record) = self.registry.device_named(TENANT, device) else { return "unknown".to_owned() };
        let latest = self.hub.latest(record.id);
        let words: Vec<String> = latest.map(|(key, value, _)| format!("{key}={}", value.to_json())).collect();
        words.join(" ")
    }
}

/// Takes one message of what a device may say of itself.
fn charge(spent: &mut DeviceAllowances, device: DeviceId, now_ms: i64) -> Result<(), Short> {
    Within { device: spent.of(device), ..Within::default() }.take(Cost::MESSAGE, Cost::default(), now_ms)
}

fn code_of(clash: Clash) -> ReasonCode {
    match clash {
        Clash::TooManyDevices => ReasonCode::QuotaExceeded,
        _ => ReasonCode::UnspecifiedError,
    }
}
