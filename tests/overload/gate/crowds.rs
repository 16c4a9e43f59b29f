//! Receivers: one that does not read, many that read everything, and one who wants too much.
//!
//! Invariants:
//! - What must arrive is counted message by message.

use crash::wire::Version;
use overload::client::{Client, Hello};
use overload::crowd::{drive, step};

use crate::{Scenario, begin, mebibytes, must_be, must_be_small, refused};

const MIB: u64 = 1 << 20;

pub fn trials() -> Vec<Scenario> {
    vec![
        ("a_client_that_does_not_read_costs_the_others_nothing_and_little_memory", slow_consumer),
        ("fifty_subscriptions_to_everything_get_everything_in_order", amplification),
        ("a_flood_of_subscribes_ends_at_the_limit_of_each_client", subscribe_flood),
        ("a_retained_storm_is_complete_also_for_those_who_read_late", retained_storm),
    ]
}

/// Connects some clients with names of their own and waits until they are in.
fn connect_all(
    to: std::net::SocketAddr,
    names: &[String],
    hello: impl Fn(usize, &mut Hello<'_>),
) -> Result<Vec<Client>, String> {
    let mut crowd = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mut terms = Hello::new(name);
        hello(index, &mut terms);
        crowd.push(Client::connect(to, &terms).map_err(refused)?);
    }
    drive(&mut crowd, "the crowd is let in", |crowd| crowd.iter().all(Client::is_in))?;
    Ok(crowd)
}

fn slow_consumer() -> Result<(), String> {
    const ROUNDS: u32 = 300;
    const BATCH: u32 = 100;
    let (mut stage, mut bystander) = begin("slow", "")?;
    let before_us = bystander.median_us();
    let names = ["source", "fast", "slow"].map(str::to_owned);
    let mut crowd = connect_all(stage.address, &names, |_, _| {})?;
    crowd[1].subscribe(&["flood/#".to_owned()], 1);
    crowd[2].subscribe(&["flood/#".to_owned()], 0);
    drive(&mut crowd, "both have subscribed", |crowd| crowd[1..].iter().all(|client| client.granted == 1))?;
    crowd[2].reads = false;
    let before = stage.process.forget_peak();
    for round in 1..=ROUNDS {
        for number in (round - 1) * BATCH..round * BATCH {
            crowd[0].publish("flood/x", 1, false, number, 2048);
        }
        let due = usize::try_from(round * BATCH).expect("few messages");
        drive(&mut crowd, "the fast one has its batch", |crowd| {
            crowd[0].acked == due && crowd[1].got.len() == due
        })?;
        bystander.rounds(u32::from(round % 3 == 0))?;
    }
    let in_order = crowd[1].got.iter().copied().eq(0..ROUNDS * BATCH);
    must_be("the fast one has everything in order", in_order, true)?;
    let more = must_be_small(&stage, before, 24 * MIB)?;
    crowd[2].reads = true;
    // The newest is never dropped.
    drive(&mut crowd, "the slow one reads what is left", |crowd| {
        crowd[2].got.last() == Some(&(ROUNDS * BATCH - 1))
    })?;
    let dropped = stage.metrics()?.of("dropped_slow_consumer_total");
    let got = u64::try_from(crowd[2].got.len()).expect("64 bits");
    must_be("received and dropped of the slow one", got + dropped, u64::from(ROUNDS * BATCH))?;
    must_be("most of it was dropped", dropped > u64::from(ROUNDS * BATCH / 3), true)?;
    println!(
        "slow consumer: {} MB past it, {dropped} dropped, {} more memory; a bystander's round {before_us} us before, \
         {} us meanwhile",
        ROUNDS * BATCH * 2048 / 1_000_000,
        mebibytes(more),
        bystander.median_us()
    );
    Ok(())
}

fn amplification() -> Result<(), String> {
    const RECEIVERS: usize = 50;
    const ROUNDS: u32 = 40;
    const BATCH: u32 = 50;
    /// Far above the numbers of the bystander.
    const FIRST: u32 = 1_000_000;
    let (stage, mut bystander) = begin("amplification", "")?;
    let before_us = bystander.median_us();
    let names: Vec<String> = (0..=RECEIVERS).map(|number| format!("wide-{number}")).collect();
    let mut crowd = connect_all(stage.address, &names, |_, _| {})?;
    crowd[1..].iter_mut().for_each(|client| client.subscribe(&["#".to_owned()], 1));
    drive(&mut crowd, "all have subscribed", |crowd| crowd[1..].iter().all(|client| client.granted == 1))?;
    let before = stage.process.forget_peak();
    let mut due = 0;
    for round in 1..=ROUNDS {
        for number in (round - 1) * BATCH..round * BATCH {
            crowd[0].publish("amplified/x", 1, false, FIRST + number, 256);
        }
        // The bystander's messages reach those who want everything, too.
        bystander.rounds(1)?;
        due += usize::try_from(BATCH + 1).expect("few messages");
        drive(&mut crowd, "all have the batch", |crowd| {
            crowd[1..].iter().all(|client| client.got.len() == due)
        })?;
    }
    for client in &crowd[1..] {
        let (source, own): (Vec<u32>, Vec<u32>) =
            client.got.iter().copied().partition(|number| *number >= FIRST);
        must_be("all of the source in order", source.into_iter().eq(FIRST..FIRST + ROUNDS * BATCH), true)?;
        must_be("all of the bystander in order", own.into_iter().eq(101..=100 + ROUNDS), true)?;
    }
    let more = must_be_small(&stage, before, 24 * MIB)?;
    println!(
        "`#` amplification: {} messages in, {} out, {} more memory; a bystander's round {before_us} us before, {} us \
         meanwhile",
        ROUNDS * (BATCH + 1),
        due * RECEIVERS,
        mebibytes(more),
        bystander.median_us()
    );
    Ok(())
}

fn subscribe_flood() -> Result<(), String> {
    const CLIENTS: usize = 20;
    const FILTERS: usize = 5_000;
    const ALLOWED: usize = 1_000;
    let (mut stage, mut bystander) = begin("subscribe", "[limits]\nsubscriptions_per_client_max = 1000\n")?;
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("greedy-{number}")).collect();
    let mut crowd = connect_all(stage.address, &names, |_, _| {})?;
    let before = stage.process.forget_peak();
    for packet in 0..FILTERS / 10 {
        for (number, client) in crowd.iter_mut().enumerate() {
            let filters: Vec<String> =
                (0..10).map(|index| format!("greed/{number}/+/{}", packet * 10 + index)).collect();
            client.subscribe(&filters, 0);
        }
        if packet % 10 == 0 {
            bystander.rounds(1)?;
            step(&mut crowd, 0);
        }
    }
    drive(&mut crowd, "all have their answers", |crowd| {
        crowd.iter().all(|client| client.granted + client.refused == FILTERS)
    })?;
    must_be("granted to each", crowd.iter().all(|client| client.granted == ALLOWED), true)?;
    let granted = u64::try_from(CLIENTS * ALLOWED).expect("few subscriptions") + 1;
    let metrics = stage.metrics()?;
    must_be("subscriptions", metrics.of("subscriptions"), granted)?;
    let refused = u64::try_from(CLIENTS * (FILTERS - ALLOWED)).expect("few subscriptions");
    must_be("refused with 0x97", metrics.of("subscriptions_refused_total"), refused)?;
    let more = must_be_small(&stage, before, 32 * MIB)?;
    drop(crowd);
    stage.wait_for("subscriptions", |count| count == 1)?;
    bystander.rounds(10)?;
    println!("SUBSCRIBE flood: {granted} granted, {refused} refused, {} more memory", mebibytes(more));
    Ok(())
}

fn retained_storm() -> Result<(), String> {
    const TOPICS: u32 = 20_000;
    const RECEIVERS: usize = 12;
    let (stage, mut bystander) = begin("retained", "")?;
    let mut source = [Client::connect(stage.address, &Hello::new("source")).map_err(refused)?];
    for number in 0..TOPICS {
        source[0].publish(&format!("kept/{number}"), 1, true, number, 32);
        if number % 1000 == 999 {
            let due = usize::try_from(number + 1).expect("few topics");
            drive(&mut source, "the topics are kept", |source| source[0].acked == due)?;
        }
    }
    let names: Vec<String> = (0..RECEIVERS).map(|number| format!("late-{number}")).collect();
    let mut crowd = connect_all(stage.address, &names, |index, hello| {
        hello.version = if index % 4 == 0 { Version::V311 } else { Version::V5 };
        hello.receive_maximum = 20;
    })?;
    let before = stage.process.forget_peak();
    for (index, client) in crowd.iter_mut().enumerate() {
        client.acknowledges = index % 2 == 0;
        client.subscribe(&["kept/#".to_owned()], u8::from(index >= RECEIVERS / 2));
        if index % 3 == 0 {
            client.reads = false;
        }
    }
    let due = usize::try_from(TOPICS).expect("few topics");
    for phase in ["those who read have all", "those who read late have all"] {
        let mut turns = 0;
        drive(&mut crowd, phase, |crowd| {
            turns += 1;
            if turns % 50 == 0 {
                // Its own failure ends the scenario below.
                let _ = bystander.rounds(1);
            }
            crowd.iter_mut().for_each(Client::pay);
            crowd.iter().all(|client| !client.reads || client.got.len() >= due)
        })?;
        crowd.iter_mut().for_each(|client| client.reads = true);
    }
    for client in &crowd {
        let mut numbers = client.got.clone();
        numbers.sort_unstable();
        must_be("each topic once", numbers.into_iter().eq(0..TOPICS), true)?;
        must_be("no more than 20 unacknowledged", client.owed_max <= 20, true)?;
    }
    bystander.rounds(20)?;
    let more = must_be_small(&stage, before, 24 * MIB)?;
    println!(
        "retained storm: {TOPICS} topics to {RECEIVERS} clients, {} more memory, {} rounds of a bystander meanwhile",
        mebibytes(more),
        bystander.completed()
    );
    Ok(())
}
