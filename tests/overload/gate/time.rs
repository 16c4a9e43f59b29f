//! Time: peers that vanish without a word, and a broker that stood still while its clock went on.
//!
//! Invariants:
//! - Who spoke in time stays, however late that is read.

use crash::clock::now_ms;
use overload::client::{Client, Hello};
use overload::crowd::{drive, step};

use crate::{Scenario, begin, must_be, must_end, refused};

pub fn trials() -> Vec<Scenario> {
    vec![
        ("peers_that_vanish_without_a_word_are_let_go_by_their_keep_alive", half_open_peers),
        ("a_clock_that_leaps_while_the_broker_stands_still_ends_nobody_who_spoke", leap),
    ]
}

fn half_open_peers() -> Result<(), String> {
    const SILENT: usize = 200;
    let (mut stage, mut bystander) = begin("half-open-peers", "")?;
    let connect = |name: &str, keep_alive_s| {
        let hello = Hello { keep_alive_s, ..Hello::new(name) };
        Client::connect(stage.address, &hello).map_err(refused)
    };
    // One that is in the middle of a flood neither reads nor answers; one never promised to speak.
    let mut others = vec![connect("source", 0)?, connect("deaf", 1)?, connect("quiet", 0)?];
    drive(&mut others, "the others are let in", |crowd| crowd.iter().all(Client::is_in))?;
    others[1].subscribe(&["deaf/#".to_owned()], 1);
    others[1].reads = false;
    for number in 0..2_000 {
        others[0].publish("deaf/x", 1, false, number, 4096);
    }
    let mut silent =
        (0..SILENT).map(|number| connect(&format!("silent-{number}"), 1)).collect::<Result<Vec<_>, _>>()?;
    drive(&mut others[..1], "the flood is published", |crowd| crowd[0].acked == 2_000)?;
    must_end(&mut silent, "the silent ones are let go")?;
    bystander.rounds(100)?;
    let told = silent.iter().all(|client| client.connack == Some((false, 0)) && client.goodbye == Some(0x8d));
    must_be("they are told why", told, true)?;
    stage.wait_for("clients_connected", |count| count == 3)?;
    stage.wait_for("connections_open", |count| count == 3)?;
    let metrics = stage.metrics()?;
    let ended = u64::try_from(SILENT + 1).expect("few clients");
    must_be("ended by keep alive", metrics.of("keep_alive_timeouts_total"), ended)?;
    must_be("nothing waits for them", metrics.of("queued_messages"), 0)?;
    stage.wait_for("inflight_messages", |count| count == 0)?;
    others[2].ping();
    drive(&mut others[2..], "who never promised to speak is served", |crowd| crowd[0].pongs == 1)?;
    println!("half-open peers: {ended} let go by their keep alive");
    Ok(())
}

fn leap() -> Result<(), String> {
    const CLIENTS: usize = 2_000;
    const KEEP_ALIVE_S: u16 = 3;
    const LEAP_MS: u64 = 5_500;
    let (mut stage, mut bystander) = begin("leap", "")?;
    let mut crowd = Vec::new();
    for number in 0..CLIENTS {
        let name = format!("steady-{number}");
        let hello = Hello { keep_alive_s: KEEP_ALIVE_S, ..Hello::new(&name) };
        crowd.push(Client::connect(stage.address, &hello).map_err(refused)?);
        if number % 100 == 0 {
            // On a slow machine the first must not fall silent before the last has come.
            crowd.iter_mut().for_each(Client::ping);
            step(&mut crowd, 0);
        }
    }
    crowd.iter_mut().for_each(Client::ping);
    drive(&mut crowd, "all are in", |crowd| {
        crowd.iter().all(|client| client.is_in() && client.pongs == client.pings)
    })?;
    stage.process.freeze();
    crowd.iter_mut().for_each(Client::ping);
    let thaw_ms = now_ms() + LEAP_MS;
    drive(&mut crowd, "the broker's clock has gone on", |_| now_ms() >= thaw_ms)?;
    stage.process.thaw();
    drive(&mut crowd, "all have their answers", |crowd| {
        crowd.iter().all(|client| client.pongs == client.pings || client.has_ended)
    })?;
    let lost = crowd.iter().filter(|client| client.has_ended).count();
    must_be("who spoke and was ended all the same", lost, 0)?;
    must_be("ended by keep alive", stage.metrics()?.of("keep_alive_timeouts_total"), 0)?;
    bystander.rounds(100)?;
    println!(
        "leap: {CLIENTS} clients with keep alives of {KEEP_ALIVE_S} s, stopped for {LEAP_MS} ms, none lost"
    );
    Ok(())
}
