//! A whole run: the world's actions, rests in between, the return of everybody, the last look, the clean-up.
//!
//! Why it ends in steps: first everything must be delivered while clients are as they are; then, in some runs, another
//! broker takes over from what this one wrote down, perhaps with another number of cores; then everybody comes back and
//! must find what was kept for them; then every core must hold the same retained messages; then nothing may be left.
//!
//! Invariants:
//! - A run stops at the first broken rule.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use broker::CoreId;
use stdx::Span;

use crate::client::{Client, Deed};
use crate::mutant::Mutant;
use crate::oracle::{Rule, Violation};
use crate::plan::Restart;
use crate::rig::ClientEnd;
use crate::trace::Trace;
use crate::wire::{ClientPacket, Connect, Meta, Publish, Request, Subscribe, Version};
use crate::world::World;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Messages that were routed.
    pub messages: usize,
    /// How often the mutant lied.
    pub lies: usize,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    run_with(seed, Mutant::default(), Trace::silent()).0
}

/// Runs a seed with its whole text.
#[must_use]
pub fn run_spoken(seed: u64) -> (Outcome, Trace) {
    run_with(seed, Mutant::default(), Trace::spoken())
}

/// Runs a seed with a mutant between clients and shards.
#[must_use]
pub fn run_with(seed: u64, mutant: Mutant, trace: Trace) -> (Outcome, Trace) {
    let mut world = World::new(seed, trace, mutant);
    let result = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        world.oracle.accuse(Rule::Panic, text.unwrap_or_else(|| "a panic without words".into()));
    }
    let outcome = Outcome {
        seed,
        violation: world.oracle.violation().cloned(),
        hash: world.trace.hash(),
        messages: world.oracle.messages(),
        lies: world.mutant.lies(),
    };
    (outcome, world.trace)
}

fn live(world: &mut World) {
    let (actions, rests) = (world.plan.actions, world.plan.rests);
    for action in 0..actions {
        world.act();
        if rests > 0 && (action + 1) % (actions / (rests + 1) + 1) == 0 {
            world.come_to_rest();
        }
        if world.is_over() {
            return;
        }
    }
    match world.plan.restart {
        Some(Restart { cores, is_sudden, .. }) => start_again(world, cores, is_sudden),
        None => world.come_to_rest(),
    }
    let phases = [return_of_all, last_look, clean_up];
    for phase in phases {
        if world.is_over() {
            return;
        }
        phase(world);
    }
}

/// The broker ends and another one, perhaps with other cores, goes on with what was written down.
fn start_again(world: &mut World, cores: usize, is_sudden: bool) {
    if !is_sudden {
        world.everybody_leaves();
    }
    world.come_to_rest();
    if !world.is_over() {
        world.start_again(cores);
        world.come_to_rest();
    }
}

/// Everybody comes back to whatever session they left.
fn return_of_all(world: &mut World) {
    for client in 0..world.clients.len() {
        let deed = world.clients[client].come_back(&mut world.desk);
        world.carry_out(client, deed);
    }
    world.come_to_rest();
}

/// A fresh subscriber to everything on every core.
fn last_look(world: &mut World) {
    let count = u16::try_from(world.plan.cores).expect("a few cores");
    let first = world.clients.len();
    for core in 0..count {
        let at_home = |name: &String| CoreId::home_of(name.as_bytes(), count) == CoreId::new(core);
        let name = (0..1000).map(|number| format!("probe-{number}")).find(at_home);
        let name = name.expect("a thousand names fall on every core");
        let probe = Client::new(name.clone(), &mut world.desk);
        world.clients.push(probe);
        let connect = plain_connect(name);
        let deed = world.clients[first + usize::from(core)].begin(connect, &world.desk);
        world.carry_out(first + usize::from(core), deed);
        let requests = ["#", "$x/#"].map(request).to_vec();
        let subscribe = ClientPacket::Subscribe(Subscribe { id: 1, subscription_id: None, requests });
        world.carry_out(first + usize::from(core), Deed::Write(vec![subscribe]));
    }
    let probes: Vec<usize> = world.clients[first..].iter().filter_map(Client::socket).collect();
    world.come_to_rest();
    if !world.is_over() {
        world.oracle.compare_probes(&probes);
    }
}

/// Everybody leaves for good, retained messages are cleared, and time passes.
fn clean_up(world: &mut World) {
    for client in 0..world.clients.len() {
        let connect = plain_connect(world.clients[client].name.clone());
        let deed = world.clients[client].begin(connect, &world.desk);
        world.carry_out(client, deed);
    }
    world.come_to_rest();
    if world.plan.restart.is_some() {
        // Wills of those who can never come back wait for a second, and may be retained.
        world.skip(Span::from_s(2));
        world.come_to_rest();
    }
    for topic in world.oracle.retained_topics() {
        let message = world.desk.messages;
        world.desk.messages += 1;
        let clear = Publish {
            message,
            topic,
            is_topic_omitted: false,
            alias: None,
            qos: 0,
            is_retained: true,
            is_dup: false,
            id: 0,
            expiry_s: None,
            meta: Rc::new(Meta::default()),
            payload: Rc::from(&[][..]),
        };
        world.carry_out(0, Deed::Write(vec![ClientPacket::Publish(Box::new(clear))]));
    }
    world.come_to_rest();
    for client in 0..world.clients.len() {
        let goodbye = vec![ClientPacket::Disconnect(0, None)];
        world.carry_out(client, Deed::Leave(goodbye, ClientEnd::Fin));
        world.clients[client].drop_line();
    }
    world.come_to_rest();
    world.skip(Span::from_s(3600));
    world.come_to_rest();
    if !world.is_over() {
        expect_nothing_left(world);
    }
}

fn expect_nothing_left(world: &mut World) {
    for core in 0..world.plan.cores {
        let counters = world.rig.counters(core);
        let gauges = counters.each().filter(|(_, kind, _)| *kind == broker::CounterKind::Gauge);
        let left: Vec<_> =
            gauges.filter(|(_, _, value)| *value != 0).map(|(name, _, value)| (name, value)).collect();
        if !left.is_empty() || !world.rig.is_vacant(core) {
            let is_vacant = world.rig.is_vacant(core);
            world
                .oracle
                .accuse(Rule::Leak, format!("core {core} still counts {left:?}, vacant: {is_vacant}"));
        }
    }
}

fn plain_connect(client_id: String) -> Connect {
    Connect {
        version: Version::V5,
        client_id,
        is_clean: true,
        keep_alive_s: 0,
        expiry_s: None,
        receive_maximum: None,
        packet_bytes_max: None,
        alias_max: None,
        will: None,
    }
}

fn request(filter: &str) -> Request {
    Request { filter: filter.into(), qos: 2, is_no_local: false, keeps_retain: false, retain_handling: 0 }
}
