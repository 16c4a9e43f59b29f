//! Strangers at the doors: half-open connections, floods from one address, fights for one client id, no descriptors left.
//!
//! Invariants:
//! - Addresses of the crowd are of loopback, other than the bystander's where a limit is by address.

use std::net::IpAddr;

use crash::clock::now_ms;
use overload::bystander::Bystander;
use overload::client::{Client, Hello};
use overload::crowd::{drive, step};
use overload::stage::Stage;

use crate::{Scenario, begin, mebibytes, must_be, must_be_small, must_end, refused};

const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

pub fn trials() -> Vec<Scenario> {
    vec![
        ("connections_that_never_get_to_their_connect_are_closed_and_harm_nobody", half_open_flood),
        ("ten_thousand_announcements_of_256_mb_cost_no_memory", announced_bytes),
        ("an_address_gets_no_more_connections_than_it_may", address_flood),
        ("connections_come_no_faster_than_they_may", connect_rate),
        ("two_clients_that_fight_for_one_client_id_are_slowed", takeover_loop),
        ("a_broker_without_descriptors_waits_and_recovers_by_itself", no_descriptors),
    ]
}

fn half_open_flood() -> Result<(), String> {
    const CONNECTIONS: usize = 4_000;
    let (mut stage, mut bystander) = begin("half-open", "[limits]\nconnect_timeout_s = 1\n")?;
    let before_us = bystander.median_us();
    let before = stage.process.forget_peak();
    let hello = Hello::new("never").bytes();
    let mut crowd = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = Client::open(stage.address).map_err(refused)?;
        client.say(&hello[..number % hello.len()]);
        crowd.push(client);
        if number % 50 == 0 {
            bystander.rounds(1)?;
        }
    }
    must_end(&mut crowd, "all of them are closed")?;
    must_be("nothing was said to them", crowd.iter().any(|client| client.connack.is_some()), false)?;
    bystander.rounds(20)?;
    stage.wait_for("connections_open", |count| count == 1)?;
    let metrics = stage.metrics()?;
    let crowd_size = u64::try_from(CONNECTIONS).expect("few connections");
    must_be("connect timeouts", metrics.of("connect_timeouts_total"), crowd_size)?;
    must_be("connections on the listener", metrics.of("listener_connections"), 1)?;
    let more = must_be_small(&stage, before, crowd_size * 4096)?;
    println!(
        "half-open handshakes: {CONNECTIONS} closed, {} more memory; a bystander's round {before_us} us before, {} us \
         meanwhile",
        mebibytes(more),
        bystander.median_us()
    );
    Ok(())
}

fn announced_bytes() -> Result<(), String> {
    const CONNECTIONS: u64 = 10_000;
    let (mut stage, mut bystander) = begin("announced", "[limits]\nconnect_timeout_s = 2\n")?;
    let before = stage.process.forget_peak();
    // Half of them announce 256 MB, half of them as much as a CONNECT may have.
    let most = b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05\x02\x00\x00\x00\xff\xff";
    let much = b"\x10\xf0\xff\x07\x00\x04MQTT\x05\x02\x00\x00\x00\xff\xff";
    let mut crowd = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = Client::open(stage.address).map_err(refused)?;
        client.say(if number % 2 == 0 { most } else { much });
        crowd.push(client);
        if number % 100 == 0 {
            bystander.rounds(1)?;
        }
    }
    must_end(&mut crowd, "all of them are closed")?;
    bystander.rounds(20)?;
    let metrics = stage.metrics()?;
    must_be("too large", metrics.of("packets_too_large_total"), CONNECTIONS / 2)?;
    must_be("too late", metrics.of("connect_timeouts_total"), CONNECTIONS / 2)?;
    let more = must_be_small(&stage, before, CONNECTIONS * 4096)?;
    println!("announced bytes: {CONNECTIONS} connections, {} more memory", mebibytes(more));
    Ok(())
}

fn address_flood() -> Result<(), String> {
    const ALLOWED: usize = 50;
    const CONNECTIONS: usize = 200;
    let (mut stage, mut bystander) = begin("address", "[[listener]]\nconnections_per_address_max = 50\n")?;
    let open = || Client::open_from(ELSEWHERE, stage.address).map_err(refused);
    let mut crowd = (0..CONNECTIONS).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
    let ended = |crowd: &[Client]| crowd.iter().filter(|client| client.has_ended).count();
    drive(&mut crowd, "those above the limit are closed", |crowd| ended(crowd) >= CONNECTIONS - ALLOWED)?;
    bystander.rounds(100)?;
    step(&mut crowd, 0);
    must_be("closed", ended(&crowd), CONNECTIONS - ALLOWED)?;
    crowd.retain(|client| !client.has_ended);
    let names: Vec<String> = (0..ALLOWED).map(|number| format!("neighbour-{number}")).collect();
    crowd.iter_mut().zip(&names).for_each(|(client, name)| client.greet(&Hello::new(name)));
    drive(&mut crowd, "the others are served", |crowd| crowd.iter().all(Client::is_in))?;
    crowd.truncate(ALLOWED - 10);
    stage.wait_for("listener_connections", |count| count == 41)?;
    for name in &names[ALLOWED - 10..] {
        let mut client = Client::open_from(ELSEWHERE, stage.address).map_err(refused)?;
        client.greet(&Hello::new(name));
        crowd.push(client);
    }
    drive(&mut crowd, "who leaves makes room", |crowd| crowd.iter().all(Client::is_in))?;
    let turned = stage.metrics()?.of("connections_turned_away_total{reason=\"address_full\"}");
    must_be("turned away", turned, u64::try_from(CONNECTIONS - ALLOWED).expect("few connections"))?;
    println!("one address: {CONNECTIONS} connections, {ALLOWED} let in, {turned} turned away");
    Ok(())
}

fn connect_rate() -> Result<(), String> {
    const CONNECTIONS: usize = 400;
    const PER_S: u64 = 50;
    let (mut stage, mut bystander) = begin("connect-rate", "[[listener]]\nconnects_per_s_max = 50\n")?;
    let began_ms = now_ms();
    let names: Vec<String> = (0..CONNECTIONS).map(|number| format!("quick-{number}")).collect();
    let mut crowd = Vec::new();
    for name in &names {
        crowd.push(Client::connect(stage.address, &Hello::new(name)).map_err(refused)?);
    }
    drive(&mut crowd, "each is let in or turned away", |crowd| {
        crowd.iter().all(|client| client.is_in() || client.has_ended)
    })?;
    let span_ms = now_ms() - began_ms;
    bystander.rounds(100)?;
    let inside = u64::try_from(crowd.iter().filter(|client| client.is_in()).count()).expect("few clients");
    let turned = stage.metrics()?.of("connections_turned_away_total{reason=\"too_fast\"}");
    must_be("let in and turned away", inside + turned, u64::try_from(CONNECTIONS).expect("few clients"))?;
    let allowed = PER_S + (span_ms + 20) * PER_S / 1000 + 1;
    if inside > allowed || inside < PER_S - 1 {
        return Err(format!("{inside} let in within {span_ms} ms, at most {allowed}"));
    }
    println!(
        "connect rate: {inside} of {CONNECTIONS} let in within {span_ms} ms at {PER_S} per s, {turned} turned away"
    );
    Ok(())
}

fn takeover_loop() -> Result<(), String> {
    const TRIES: u64 = 200;
    const PER_MINUTE: u64 = 6;
    let (mut stage, mut bystander) = begin("takeover", "[limits]\ntakeovers_per_minute_max = 6\n")?;
    let began_ms = now_ms();
    let mut crowd: Vec<Client> = Vec::new();
    let (mut admitted, mut refusals) = (0, 0);
    for number in 0..TRIES {
        crowd.push(Client::connect(stage.address, &Hello::new("twins")).map_err(refused)?);
        drive(&mut crowd, "the newcomer has its answer", |crowd| {
            crowd.last().is_some_and(|client| client.connack.is_some())
        })?;
        match crowd.last().and_then(|client| client.connack) {
            Some((_, 0)) => admitted += 1,
            Some((_, 0x9f)) => refusals += 1,
            other => return Err(format!("try {number}: {other:?}")),
        }
        // All but one end: the newcomer, or the one before it.
        drive(&mut crowd, "one of them has to go", |crowd| {
            crowd.iter().filter(|client| !client.has_ended).count() == 1
        })?;
        crowd.retain(|client| !client.has_ended);
        if number % 10 == 0 {
            bystander.rounds(1)?;
        }
    }
    let span_ms = now_ms() - began_ms;
    must_be("admitted and refused", admitted + refusals, TRIES)?;
    let allowed = 1 + PER_MINUTE + span_ms * PER_MINUTE / 60_000 + 1;
    if admitted > allowed {
        return Err(format!("{admitted} admitted within {span_ms} ms, at most {allowed}"));
    }
    let metrics = stage.metrics()?;
    must_be("takeovers", metrics.of("takeovers_total"), admitted - 1)?;
    must_be("refused takeovers", metrics.of("takeovers_refused_total"), refusals)?;
    crowd[0].ping();
    drive(&mut crowd, "the holder is served", |crowd| crowd[0].pongs == 1)?;
    println!("takeover loop: {TRIES} tries, {admitted} admitted, {refusals} refused");
    Ok(())
}

fn no_descriptors() -> Result<(), String> {
    const EARLY: usize = 30;
    const LATE: usize = 60;
    const FREE: u64 = 60;
    // As many as a broker on two cores wants for 200 connections. What takes them away is the control plane.
    const DESCRIPTORS: u64 = 296;
    let mut stage = Stage::start_narrow("descriptors", "[limits]\nconnections_max = 200\n", DESCRIPTORS)?;
    let mut bystander = Bystander::new(stage.address)?;
    let occupied = stage.occupy(DESCRIPTORS - FREE)?;
    let names: Vec<String> = (0..EARLY + LATE).map(|number| format!("thirsty-{number}")).collect();
    let connect = |name: &String| Client::connect(stage.address, &Hello::new(name)).map_err(refused);
    let mut early = names[..EARLY].iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    drive(&mut early, "the first are let in", |crowd| crowd.iter().all(Client::is_in))?;
    let began_ms = now_ms();
    let mut late = names[EARLY..].iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    stage.wait_for("accept_pauses_total", |pauses| pauses >= 4)?;
    bystander.rounds(200)?;
    let pauses = stage.metrics()?.of("accept_pauses_total");
    let span_ms = now_ms() - began_ms;
    // Two doors, each of which rests for 100 ms: whoever tried again at once would be counted a thousand times.
    let pauses_max = 2 * (span_ms / 100 + 2);
    if pauses > pauses_max {
        return Err(format!("{pauses} pauses within {span_ms} ms, at most {pauses_max}"));
    }
    let inside = |crowd: &[Client]| crowd.iter().filter(|client| client.is_in()).count();
    step(&mut late, 0);
    let before = inside(&late);
    must_be("there is no room for all", before < LATE - 20, true)?;
    early.truncate(EARLY - 20);
    drive(&mut late, "who leaves makes room", |crowd| inside(crowd) >= before + 15)?;
    drop(occupied);
    drive(&mut late, "all are let in", |crowd| crowd.iter().all(Client::is_in))?;
    early.iter_mut().chain(&mut late).for_each(Client::ping);
    drive(&mut early, "the first are served", |crowd| crowd.iter().all(|client| client.pongs == 1))?;
    drive(&mut late, "the last are served", |crowd| crowd.iter().all(|client| client.pongs == 1))?;
    bystander.rounds(20)?;
    println!(
        "no descriptors: {pauses} pauses of the doors in {span_ms} ms, {before} of {LATE} let in then, all later"
    );
    Ok(())
}
