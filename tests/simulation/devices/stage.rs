//! One run: actors act, cores stumble, the power fails now and then, and the ledger is compared with what is left.
//!
//! Invariants:
//! - Time moves only between one rest and the next.

use device::{HubCall, HubReply, Profile, ProfileId, Role, Scope, Tenant, TenantId};
use dialects::client;
use dialects::house::{ClientId, House};
use dialects::world::TENANT;
use mqtt::{QoS, Version};
use shard::{Durability, Settings};
use stdx::{Prng, Span};

use super::Trick;
use super::actor::{Actor, pick};
use super::leaky::Leaky;
use super::ledger::{Kind, Ledger, number};

/// The second tenant.
const RIVAL: TenantId = TenantId::from_bytes([8; 16]);

/// How a run ended.
#[derive(Debug)]
pub struct Ending {
    /// The promise that was broken, if one was.
    pub complaint: Option<String>,
    /// Values that were said.
    pub values: usize,
    /// Values of which it was checked that they were kept.
    pub kept: usize,
    /// Messages that subscribers saw.
    pub seen: usize,
}

struct Stage {
    house: House,
    actors: Vec<Actor>,
    subscribers: Vec<ClientId>,
    ledger: Ledger,
    prng: Prng,
    kept: usize,
    seen: usize,
}

/// Runs a seed, perhaps with a trick.
#[must_use]
pub fn run_devices(seed: u64, trick: Option<Trick>) -> Ending {
    let mut stage = Stage::new(seed, trick);
    let complaint = stage.play(trick).err();
    Ending { complaint, values: stage.ledger.len(), kept: stage.kept, seen: stage.seen }
}

impl Stage {
    fn new(seed: u64, trick: Option<Trick>) -> Self {
        let mut prng = Prng::new(seed);
        let mut settings = Settings { journal_is_on: true, ..Settings::default() };
        match trick {
            Some(Trick::Hurry) => settings.durabilities = vec![Durability::Interval],
            Some(Trick::Leak) => settings.dialects = vec![&Leaky::ByTopic],
            Some(Trick::Confuse) => settings.dialects = vec![&Leaky::ByTenant],
            Some(Trick::LoseChange | Trick::Forgetful) | None => {}
        }
        let cores = u16::try_from(1 + prng.below(4)).expect("few");
        let mut house = House::with(cores, settings);
        house.shelf.with(|registry, changes| {
            registry.put_tenant(Tenant::named(RIVAL, "rival"), changes);
            let profile = Profile::named(ProfileId::from_bytes([9; 16]), RIVAL, "default");
            registry.put_profile(profile, changes).expect("the profile is free");
        });
        house.create("E", "E", Role::Ordinary);
        house.create("H", "H", Role::Gateway);
        house.create_in(RIVAL, "D", "RD", Role::Ordinary);
        house.create_in(RIVAL, "G", "RG", Role::Gateway);
        let actors = vec![
            Actor::new("acme", "D", "T", false),
            Actor::new("acme", "E", "E", false),
            Actor::new("acme", "G", "TG", true),
            Actor::new("acme", "H", "H", true),
            Actor::new("rival", "D", "RD", false),
            Actor::new("rival", "G", "RG", true),
        ];
        house.sync();
        house.slow_down_disk();
        let (subscribers, ledger) = (Vec::new(), Ledger::default());
        let mut stage = Self { house, actors, subscribers, ledger, prng, kept: 0, seen: 0 };
        stage.subscribe();
        stage
    }

    /// Somebody on every core who wants to see everything.
    fn subscribe(&mut self) {
        self.subscribers.clear();
        for (client_id, filter) in [("s", "#"), ("t", "thingsboard/#"), ("u", "+/+/+/+"), ("v", "$SYS/#")] {
            let connect = client::connect(Version::V5, client_id, None, None, None);
            let id = self.house.connect(0, 1, Version::V5, &connect);
            self.house.send(id, &client::subscribe(Version::V5, 1, filter, QoS::AtMostOnce));
            assert_eq!(self.house.seen(id), ["CONNACK 0x00", "SUBACK 0x00"]);
            self.subscribers.push(id);
        }
    }

    fn play(&mut self, trick: Option<Trick>) -> Result<(), String> {
        if trick == Some(Trick::LoseChange) {
            self.house.lose_one_change(pick(&mut self.prng, 30));
        }
        for _chapter in 0..6 {
            for _action in 0..40 {
                let actor = pick(&mut self.prng, self.actors.len());
                self.actors[actor].act(&mut self.house, &mut self.ledger, &mut self.prng);
                for _step in 0..self.prng.below(30) {
                    self.house.stumble(&mut self.prng);
                }
                self.look()?;
            }
            match self.prng.below(3) {
                0 => self.rest()?,
                _power_fails => self.crash(),
            }
            self.compare()?;
            let pause_ms = self.prng.below(3_000);
            self.house.wait(Span::from_ms(pause_ms));
            self.look()?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        for actor in &mut self.actors {
            actor.look(&mut self.house, &mut self.ledger)?;
        }
        for subscriber in &self.subscribers {
            for line in self.house.seen(*subscriber) {
                let mut words = line.splitn(4, ' ');
                let (_publish, _qos) = (words.next(), words.next());
                let topic = words.next().unwrap_or_default();
                self.ledger.judge_seen(topic, words.next().unwrap_or_default())?;
                self.seen += 1;
            }
        }
        Ok(())
    }

    /// Everything that is under way arrives.
    fn rest(&mut self) -> Result<(), String> {
        for _round in 0..4 {
            self.house.run();
            self.house.sync();
            self.look()?;
        }
        Ok(())
    }

    /// The power fails, and another broker goes on with what was synced, perhaps on other cores.
    fn crash(&mut self) {
        let cores = u16::try_from(1 + self.prng.below(4)).expect("few");
        let empty = House::new(1);
        self.house = std::mem::replace(&mut self.house, empty).restart(cores);
        self.house.slow_down_disk();
        self.actors.iter_mut().for_each(Actor::forget);
        self.subscribe();
    }

    /// What was acknowledged is there.
    fn compare(&mut self) -> Result<(), String> {
        for (owner, kind, last) in self.ledger.acknowledged() {
            let (tenant, device, key) = &owner;
            let tenant = if *tenant == "acme" { TENANT } else { RIVAL };
            let id = self
                .house
                .shelf
                .with(|registry, _| registry.device_named(tenant, device).map(|known| known.id));
            let id = id.ok_or_else(|| format!("device {device:?} is lost"))?;
            let keys = Some(vec![key.as_str().into()]);
            let call = match kind {
                Kind::Attribute => HubCall::Attributes { scope: Scope::Client, keys },
                Kind::Telemetry | Kind::Nothing => HubCall::Latest { keys },
            };
            let call = self.house.call(id, call);
            self.house.sync();
            let Some(HubReply::Facts(facts)) = self.house.take_reply(call) else {
                return Err(format!("nobody answers for device {device:?}"));
            };
            let found = facts.first().and_then(|fact| number(&fact.value.to_json()));
            self.ledger.judge_kept(&owner, last, found)?;
            self.kept += 1;
        }
        Ok(())
    }
}
