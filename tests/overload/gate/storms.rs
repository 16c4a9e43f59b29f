//! Crowds that come, vanish and come back: idle connections, reconnects, wills.
//!
//! Invariants:
//! - Who vanishes does so with a reset, as when the power fails.

use crash::clock::now_ms;
use crash::wire::Version;
use overload::bystander::Bystander;
use overload::client::{Client, Hello};
use overload::crowd::drive;
use overload::stage::Stage;

use crate::{Scenario, begin, mebibytes, must_be, must_be_small, refused};

const MIB: u64 = 1 << 20;

pub fn trials() -> Vec<Scenario> {
    vec![
        ("an_idle_connection_costs_less_than_a_thousand_bytes", idle_crowd),
        ("ten_thousand_clients_that_come_back_at_once_find_their_sessions", reconnect_storm),
        ("every_will_of_a_crowd_that_vanishes_is_sent_once", will_storm),
    ]
}

/// Connects a crowd while a bystander goes on, and waits until it is in.
fn gather(
    stage: &Stage,
    bystander: &mut Bystander,
    names: &[String],
    hello: impl Fn(usize, &mut Hello<'_>),
) -> Result<Vec<Client>, String> {
    let wills: Vec<String> = (0..names.len()).map(|number| format!("will/{number}")).collect();
    let mut crowd = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let mut terms = Hello::new(name);
        hello(index, &mut terms);
        if let Some((topic, _)) = &mut terms.will {
            *topic = &wills[index];
        }
        crowd.push(Client::connect(stage.address, &terms).map_err(refused)?);
        if index % 500 == 0 {
            bystander.rounds(1)?;
        }
    }
    drive(&mut crowd, "the crowd is let in", |crowd| crowd.iter().all(Client::is_in))?;
    Ok(crowd)
}

fn idle_crowd() -> Result<(), String> {
    const CLIENTS: usize = 5_000;
    // perf/README.md has what was measured; these are the floors.
    const BYTES_MAX: u64 = 1_000;
    const SUBSCRIBED_BYTES_MAX: u64 = 1_500;
    let (stage, mut bystander) = begin("idle", "")?;
    let names: Vec<String> = (0..3 * CLIENTS).map(|number| format!("idle-{number}")).collect();
    let promise_nothing = |_, hello: &mut Hello<'_>| hello.keep_alive_s = 0;
    // What serves everybody, such as buffers, exists when the first thousand are in and have subscribed.
    let mut first = gather(&stage, &mut bystander, &names[..1_000], promise_nothing)?;
    let subscribe_all = |crowd: &mut Vec<Client>| {
        for (index, client) in crowd.iter_mut().enumerate() {
            client.subscribe(&[format!("idle/{}", names[index])], 0);
        }
        drive(crowd, "all have subscribed", |crowd| crowd.iter().all(|client| client.granted == 1))
    };
    subscribe_all(&mut first)?;
    let before = stage.process.anonymous_bytes();
    let _silent = gather(&stage, &mut bystander, &names[CLIENTS..2 * CLIENTS], promise_nothing)?;
    let between = stage.process.anonymous_bytes();
    let mut subscribed = gather(&stage, &mut bystander, &names[2 * CLIENTS..], promise_nothing)?;
    subscribe_all(&mut subscribed)?;
    let after = stage.process.anonymous_bytes();
    bystander.rounds(20)?;
    let each = |more: u64| more / u64::try_from(CLIENTS).expect("thousands");
    let (plain, with_one) = (each(between.saturating_sub(before)), each(after.saturating_sub(between)));
    must_be("the memory of the process is read", before > 0, true)?;
    if plain > BYTES_MAX || with_one > SUBSCRIBED_BYTES_MAX {
        return Err(format!("{plain} bytes each, {with_one} with a subscription"));
    }
    println!(
        "idle: {CLIENTS} connections of {plain} bytes each, {CLIENTS} with a subscription of {with_one}"
    );
    Ok(())
}

fn reconnect_storm() -> Result<(), String> {
    const CLIENTS: usize = 10_000;
    let (mut stage, mut bystander) = begin("reconnect", "")?;
    let before = stage.process.forget_peak();
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("storm-{number}")).collect();
    let lasting = |_, hello: &mut Hello<'_>| (hello.version, hello.is_clean) = (Version::V311, false);
    let mut crowd = gather(&stage, &mut bystander, &names, lasting)?;
    crowd.iter_mut().for_each(|client| client.subscribe(&["storm/all".to_owned()], 1));
    drive(&mut crowd, "all have subscribed", |crowd| crowd.iter().all(|client| client.granted == 1))?;
    must_be("none was known before", crowd.iter().any(|client| client.connack == Some((true, 0))), false)?;
    crowd.into_iter().for_each(Client::reset);
    let began_ms = now_ms();
    let mut crowd = gather(&stage, &mut bystander, &names, lasting)?;
    let back_ms = now_ms() - began_ms;
    must_be("all sessions are found", crowd.iter().all(|client| client.connack == Some((true, 0))), true)?;
    let source = Client::connect(stage.address, &Hello::new("source")).map_err(refused)?;
    crowd.push(source);
    crowd[CLIENTS].publish("storm/all", 1, false, 7, 16);
    drive(&mut crowd, "all have the message", |crowd| {
        crowd[..CLIENTS].iter().all(|client| client.got.len() == 1)
    })?;
    bystander.rounds(20)?;
    must_be("once", crowd[..CLIENTS].iter().all(|client| client.got == [7]), true)?;
    let metrics = stage.metrics()?;
    let clients = u64::try_from(CLIENTS).expect("few clients");
    must_be("sessions", metrics.of("sessions"), clients + 2)?;
    must_be("clients connected", metrics.of("clients_connected"), clients + 2)?;
    let more = must_be_small(&stage, before, 96 * MIB)?;
    println!("reconnect storm: {CLIENTS} clients back in {back_ms} ms, {} more memory", mebibytes(more));
    Ok(())
}

fn will_storm() -> Result<(), String> {
    const CLIENTS: usize = 3_000;
    let (mut stage, mut bystander) = begin("wills", "")?;
    let mut watcher = [Client::connect(stage.address, &Hello::new("watcher")).map_err(refused)?];
    watcher[0].subscribe(&["will/#".to_owned()], 1);
    drive(&mut watcher, "the watcher has subscribed", |watcher| watcher[0].granted == 1)?;
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("mortal-{number}")).collect();
    let crowd = gather(&stage, &mut bystander, &names, |index, hello| {
        hello.will = Some(("", u32::try_from(index).expect("few clients")));
    })?;
    let before = stage.process.forget_peak();
    crowd.into_iter().for_each(Client::reset);
    bystander.rounds(50)?;
    drive(&mut watcher, "all wills have come", |watcher| watcher[0].got.len() >= CLIENTS)?;
    stage.wait_for("clients_connected", |count| count == 2)?;
    let published = stage.metrics()?.of("wills_published_total");
    must_be("wills published", published, u64::try_from(CLIENTS).expect("few clients"))?;
    let mut numbers = watcher[0].got.clone();
    numbers.sort_unstable();
    must_be("each will once", numbers.into_iter().eq(0..u32::try_from(CLIENTS).expect("few")), true)?;
    let more = must_be_small(&stage, before, 24 * MIB)?;
    println!("will storm: {published} wills, {} more memory", mebibytes(more));
    Ok(())
}
