//! Gateways that open and leave children as they like, while people delete, rename and move those children, and ask things of
//! them.
//!
//! Why people are told late: between a change of the registry and the call that tells a home of it anything may happen, and
//! whatever is on its way between cores may come before or after it.
//!
//! Invariants:
//! - When all has come to rest, cores know of devices that are there, each at its home, and of no others.
//! - What is written down is about devices that are there or were when the chapter began.
//! - What a tenant's devices say is seen under its root and told to its devices.
//! - Every command of a device that is there ends.

use std::collections::BTreeMap;

use device::{
    CommandId, CommandKind, CommandState, DeviceId, Ear, HubCall, HubReply, Keeping, News, Order, Profile,
    ProfileId, Role, Sample, Scope, Tenant, TenantId, Uplink, Value,
};
use dialects::client;
use dialects::house::{ClientId, House};
use dialects::world::{PROFILE, TENANT};
use mqtt::{QoS, Version};
use shard::Settings;
use stdx::{Prng, Span};

use super::Trick;
use super::actor::pick;
use super::ledger::{Kind, Ledger, word};
use super::stage::Ending;

const RIVAL: TenantId = TenantId::from_bytes([8; 16]);
const OTHER_PROFILE: ProfileId = ProfileId::from_bytes([7; 16]);
/// Names of children, of which every gateway speaks.
const CHILDREN: [&str; 6] = ["C0", "C1", "C2", "C3", "C4", "C5"];
const CHAPTERS: usize = 4;
const ACTIONS: usize = 60;
/// How long a command is worth something.
const COMMAND_MS: i64 = 5_000;
/// By then every command has ended.
const ALL_ENDED_MS: u64 = 120_000;

/// Somebody with a token.
struct Client {
    tenant: &'static str,
    token: &'static str,
    is_gateway: bool,
    id: Option<ClientId>,
    next_packet: u16,
}

/// A command that was asked for.
struct Asked {
    device: DeviceId,
    kind: CommandKind,
    call: u64,
    state: Option<CommandState>,
    is_ordered: bool,
}

struct Hostile {
    house: House,
    clients: Vec<Client>,
    subscriber: ClientId,
    ledger: Ledger,
    prng: Prng,
    /// What homes are to be told.
    owed: Vec<(DeviceId, HubCall)>,
    commands: BTreeMap<CommandId, Asked>,
    names: u32,
    is_forgetful: bool,
    kept: usize,
    seen: usize,
}

/// Runs a seed, perhaps with a trick. `kept` of its ending counts devices that cores knew of at a rest.
#[must_use]
pub fn run_hostile(seed: u64, trick: Option<Trick>) -> Ending {
    let mut hostile = Hostile::new(seed, trick);
    let complaint = hostile.play().err();
    Ending { complaint, values: hostile.ledger.len(), kept: hostile.kept, seen: hostile.seen }
}

impl Hostile {
    fn new(seed: u64, trick: Option<Trick>) -> Self {
        let mut prng = Prng::new(seed);
        let cores = u16::try_from(1 + prng.below(3)).expect("few");
        let settings = Settings { journal_is_on: true, gateway_children_max: 5, ..Settings::default() };
        let mut house = House::with(cores, settings);
        house.shelf.with(|registry, changes| {
            registry.put_tenant(Tenant::named(RIVAL, "rival"), changes);
            for (id, tenant, name) in
                [(ProfileId::from_bytes([9; 16]), RIVAL, "default"), (OTHER_PROFILE, TENANT, "other")]
            {
                registry.put_profile(Profile::named(id, tenant, name), changes).expect("it is free");
            }
        });
        house.create("H", "TH", Role::GatewayForActivity);
        house.create("C0", "T0", Role::Ordinary);
        house.create("C1", "T1", Role::Ordinary);
        house.create_in(RIVAL, "G", "RG", Role::Gateway);
        let client =
            |tenant, token, is_gateway| Client { tenant, token, is_gateway, id: None, next_packet: 1 };
        let clients = vec![
            client("acme", "TG", true),
            client("acme", "TH", true),
            client("acme", "T0", false),
            client("acme", "T1", false),
            client("rival", "RG", true),
        ];
        house.sync();
        let subscriber = house.subscriber("s", "#");
        house.slow_down_disk();
        Self {
            house,
            clients,
            subscriber,
            ledger: Ledger::default(),
            prng,
            owed: Vec::new(),
            commands: BTreeMap::new(),
            names: 0,
            is_forgetful: trick == Some(Trick::Forgetful),
            kept: 0,
            seen: 0,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _chapter in 0..CHAPTERS {
            let (written, gone) = (self.house.synced().len(), self.gone());
            for _action in 0..ACTIONS {
                self.act();
                for _step in 0..self.prng.below(12) {
                    self.house.stumble(&mut self.prng);
                }
                self.look()?;
            }
            self.rest()?;
            self.judge_known()?;
            self.judge_written(written, &gone)?;
            self.house.wait(Span::from_ms(ALL_ENDED_MS));
            self.rest()?;
            self.judge_commands()?;
        }
        Ok(())
    }

    fn act(&mut self) {
        match self.prng.below(16) {
            0..=8 => {
                let client = pick(&mut self.prng, self.clients.len());
                self.act_as(client);
            }
            9 | 10 => self.change_something(),
            11 | 12 => self.ask_something(),
            _tell => {
                if !self.owed.is_empty() {
                    let (device, call) = self.owed.remove(0);
                    self.tell(device, call);
                }
            }
        }
    }

    fn act_as(&mut self, index: usize) {
        let Client { tenant, token, is_gateway, id, .. } = self.clients[index];
        let Some(id) = id.filter(|id| self.house.clients[*id].place.is_some()) else {
            let core = pick(&mut self.prng, self.house.shards().len());
            let connect = client::connect(Version::V5, "", Some(token), None, None);
            self.clients[index].id = Some(self.house.knock(core, 0, Version::V5, &connect));
            return;
        };
        let child = CHILDREN[pick(&mut self.prng, CHILDREN.len())];
        let number = self.ledger.say((tenant, child.to_owned(), "t".to_owned()), Kind::Telemetry);
        let value = word(number);
        let (topic, payload) = match (is_gateway, self.prng.below(10)) {
            (_any, 0) => return self.house.lose(id),
            (false, _telemetry) => ("v1/devices/me/telemetry", format!("{{\"t\":\"{value}\"}}")),
            (true, 1 | 2) => ("v1/gateway/connect", format!("{{\"device\":\"{child}\"}}")),
            (true, 3 | 4) => ("v1/gateway/disconnect", format!("{{\"device\":\"{child}\"}}")),
            (true, 5) => ("v1/gateway/attributes", format!("{{\"{child}\":{{\"a\":\"{value}\"}}}}")),
            (true, 6) => (
                "v1/gateway/attributes/request",
                format!("{{\"id\":1,\"device\":\"{child}\",\"client\":true,\"key\":\"a\"}}"),
            ),
            (true, 7) => {
                let number = self.prng.below(4);
                ("v1/gateway/rpc", format!("{{\"device\":\"{child}\",\"id\":{number},\"data\":1}}"))
            }
            (true, _telemetry) => {
                ("v1/gateway/telemetry", format!("{{\"{child}\":[{{\"t\":\"{value}\"}}]}}"))
            }
        };
        let packet = self.clients[index].next_packet;
        self.clients[index].next_packet = packet.checked_add(1).unwrap_or(1);
        let publish = client::publish(Version::V5, packet, topic, QoS::AtLeastOnce, payload.as_bytes());
        self.house.clients[id].unread.extend_from_slice(&publish);
    }

    /// A device of the first tenant, by chance.
    fn somebody(&mut self) -> Option<DeviceId> {
        let all: Vec<DeviceId> = self.house.shelf.with(|registry, _| {
            let devices = registry.devices_in(0, 1_000).into_iter().flatten();
            let is_meant = |device: &&device::Device| device.tenant == TENANT && &*device.name != "G";
            devices.filter(is_meant).map(|device| device.id).collect()
        });
        (!all.is_empty()).then(|| all[pick(&mut self.prng, all.len())])
    }

    /// A person changes the registry; the home is told later.
    fn change_something(&mut self) {
        let Some(id) = self.somebody() else { return };
        let what = self.prng.below(6);
        self.names += 1;
        let other_name = match self.prng.below(2) {
            0 => CHILDREN[pick(&mut self.prng, CHILDREN.len())].to_owned(),
            _new => format!("R{}", self.names),
        };
        let call = self.house.shelf.with(|registry, changes| {
            let device = registry.device(id).expect("it was there").clone();
            let (device, call) = match what {
                0..=2 => {
                    registry.delete(id, changes).expect("it was there");
                    return Some(HubCall::Forget);
                }
                3 => (device::Device { name: other_name.into(), ..device }, HubCall::Renew),
                4 => {
                    let profile = if device.profile == PROFILE { OTHER_PROFILE } else { PROFILE };
                    (device::Device { profile, ..device }, HubCall::Renew)
                }
                _as_if_its_credential_was => (device, HubCall::Evict),
            };
            registry.replace(device, changes).is_ok().then_some(call)
        });
        self.owed.extend(call.map(|call| (id, call)));
    }

    /// A person, or somebody in the place of a device, asks its home.
    fn ask_something(&mut self) {
        let Some(id) = self.somebody() else { return };
        let ear = Ear(0xFFFF << 48 | self.prng.below(3));
        let samples = || vec![Sample { key: "k".into(), value: Value::Long(1), at_ms: 1 }];
        let call = match self.prng.below(8) {
            0 => HubCall::Open { ear, keeping: Keeping::Latest },
            1 => HubCall::Hear { ear, uplink: Uplink::Telemetry(samples()) },
            2 => HubCall::Close { ear },
            3 => HubCall::Say {
                keeping: Keeping::Latest,
                uplink: Uplink::Attributes(samples()),
                forward: None,
            },
            4 => HubCall::WriteAttributes { scope: Scope::Shared, samples: samples() },
            _command => return self.order(id),
        };
        // What is asked may come to a home that has forgotten the device meanwhile.
        if self.prng.below(2) == 0 {
            self.owed.push((id, call));
        } else {
            self.tell(id, call);
        }
    }

    fn order(&mut self, device: DeviceId) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&stdx::count(self.commands.len()).to_le_bytes());
        let id = CommandId::from_bytes(bytes);
        let kind = if self.prng.below(2) == 0 { CommandKind::OneWay } else { CommandKind::TwoWay };
        let order = Order {
            id,
            method: "m".into(),
            params: "1".into(),
            kind,
            is_persistent: self.prng.below(2) == 0,
            expires_ms: self.house.now_ms() + COMMAND_MS,
            retries: None,
            additional: None,
        };
        let call = self.house.post(device, HubCall::Order(order));
        self.commands.insert(id, Asked { device, kind, call, state: None, is_ordered: false });
    }

    fn tell(&mut self, device: DeviceId, call: HubCall) {
        if !(self.is_forgetful && matches!(call, HubCall::Forget)) {
            self.house.post(device, call);
        }
    }

    fn look(&mut self) -> Result<(), String> {
        for news in std::mem::take(&mut self.house.news) {
            if let News::Report(report) = news
                && let Some(asked) = self.commands.get_mut(&report.command)
            {
                asked.state = Some(report.state);
            }
        }
        for asked in self.commands.values_mut() {
            if let Some(reply) = self.house.take_reply(asked.call) {
                asked.is_ordered = matches!(reply, HubReply::Ordered(_));
            }
        }
        for client in &self.clients {
            let Some(id) = client.id else { continue };
            for line in self.house.seen(id) {
                self.ledger.judge_told(client.tenant, &line)?;
            }
            // Some acknowledge nothing.
            let owed = std::mem::take(&mut self.house.clients[id].owed);
            if self.prng.below(3) > 0 {
                owed.iter().for_each(|packet| {
                    self.house.clients[id].unread.extend_from_slice(&client::puback(*packet));
                });
            }
        }
        for line in self.house.seen(self.subscriber) {
            let mut words = line.splitn(4, ' ').skip(2);
            let topic = words.next().unwrap_or_default();
            self.ledger.judge_root(topic, words.next().unwrap_or_default())?;
            self.seen += 1;
        }
        let owed = std::mem::take(&mut self.house.clients[self.subscriber].owed);
        for packet in owed {
            self.house.clients[self.subscriber].unread.extend_from_slice(&client::puback(packet));
        }
        Ok(())
    }

    /// Homes hear of everything, and everything that is under way arrives.
    fn rest(&mut self) -> Result<(), String> {
        for (device, call) in std::mem::take(&mut self.owed) {
            self.tell(device, call);
        }
        for _round in 0..4 {
            self.house.run();
            self.house.sync();
            self.look()?;
        }
        Ok(())
    }

    fn is_there(&self, device: DeviceId) -> bool {
        self.house.shelf.with(|registry, _| registry.device(device).is_some())
    }

    /// Devices of which something was said once and that are not there.
    fn gone(&self) -> Vec<DeviceId> {
        let mut all: Vec<DeviceId> = self.house.synced().iter().filter_map(device::Change::device).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|device| !self.is_there(*device));
        all
    }

    fn judge_known(&mut self) -> Result<(), String> {
        for (core, shard) in self.house.shards().iter().enumerate() {
            for device in shard.known_devices() {
                self.kept += 1;
                if !self.is_there(device) {
                    return Err(format!("core {core} knows of a device that was deleted: {device}"));
                }
                if self.house.home_of(device) != core {
                    return Err(format!("core {core} knows of a device of another core: {device}"));
                }
            }
        }
        Ok(())
    }

    fn judge_written(&self, from: usize, gone: &[DeviceId]) -> Result<(), String> {
        for change in &self.house.synced()[from..] {
            let of_gone = change.device().filter(|device| gone.contains(device));
            if let Some(device) = of_gone {
                return Err(format!("{change:?} was written down after {device} was deleted"));
            }
        }
        Ok(())
    }

    fn judge_commands(&self) -> Result<(), String> {
        for (id, asked) in &self.commands {
            let has_ended = match asked.state {
                None | Some(CommandState::Queued | CommandState::Sent | CommandState::Timeout) => false,
                Some(CommandState::Delivered) => asked.kind == CommandKind::OneWay,
                Some(
                    CommandState::Successful
                    | CommandState::Expired
                    | CommandState::Failed
                    | CommandState::Deleted,
                ) => true,
            };
            if asked.is_ordered && !has_ended && self.is_there(asked.device) {
                return Err(format!("command {id} of {} stays {:?}", asked.device, asked.state));
            }
        }
        Ok(())
    }
}
