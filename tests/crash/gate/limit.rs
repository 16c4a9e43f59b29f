//! A queue that is full says so before and after a fall: what it keeps is what it had, in order.

use crash::ground::{Ground, Plain};
use crash::probe::{Fate, Probe};
use crash::wire::Version;
use libtest_mimic::Trial;

use crate::place::{Stage, work};
use crate::trial;

const QUEUE: usize = 500;
const SENT: usize = 900;

/// Far less stays in memory than a queue may hold.
const CONFIG: &str = "[limits]\nqueue_messages_max = 500\n";

pub fn trials() -> Vec<Trial> {
    vec![trial(
        "a_full_queue_keeps_its_first_messages_in_order_and_counts_the_others_over_a_kill",
        full_queue,
    )]
}

fn full_queue() -> Result<(), String> {
    let work = work("limit");
    let ground = Plain::new(&work);
    let stage = Stage::new(&work, ground.store(), CONFIG);
    let (mut broker, ready) = stage.start()?;
    let (mut away, _) = Probe::connect(ready.address, Version::V311, "away", false)?;
    away.subscribe("q/#", 1)?;
    drop(away);
    let (mut source, _) = Probe::connect(ready.address, Version::V5, "source", true)?;
    for number in 0..SENT {
        let fate = source.publish("q/1", 1, false, number.to_string().as_bytes(), 10_000);
        if fate != Fate::Acknowledged {
            return Err(format!("message {number}: {fate:?}"));
        }
    }
    let (_, metrics) = stage.get("/metrics")?;
    let dropped = SENT - QUEUE;
    if !metrics.lines().any(|line| line.contains("dropped") && line.ends_with(&format!(" {dropped}"))) {
        return Err(format!("{dropped} drops are not counted:\n{metrics}"));
    }
    broker.kill();
    let (_broker, ready) = stage.start()?;
    let (mut away, is_present) = Probe::connect(ready.address, Version::V311, "away", false)?;
    away.receive_until(QUEUE + 1, 1000);
    let got: Vec<String> =
        away.inbox.iter().map(|(_, payload)| String::from_utf8_lossy(payload).into_owned()).collect();
    let expected: Vec<String> = (0..QUEUE).map(|number| number.to_string()).collect();
    if is_present && got == expected {
        return Ok(());
    }
    Err(format!(
        "session present {is_present}; {} messages, {:?} to {:?}",
        got.len(),
        got.first(),
        got.last()
    ))
}
