//! Publishers that exceed their rates.
//!
//! Invariants:
//! - A rate is judged by how long the client's own clock says that it took: a slow machine makes it slower only.

use crash::clock::now_ms;
use overload::client::{Client, Hello};
use overload::crowd::{drive, step};

use crate::{Scenario, begin, mebibytes, must_be, must_be_small, refused};

const MIB: u64 = 1 << 20;

pub fn trials() -> Vec<Scenario> {
    vec![
        ("a_client_that_publishes_too_often_is_slowed_and_loses_nothing", message_rate),
        ("a_client_that_publishes_too_much_fills_no_memory", bytes_rate),
    ]
}

fn message_rate() -> Result<(), String> {
    const MESSAGES: u32 = 800;
    const RATE: u64 = 200;
    let (mut stage, mut bystander) = begin("message-rate", "[limits]\npublish_rate = \"200:1,100000:60\"\n")?;
    let connect = |name| Client::connect(stage.address, &Hello::new(name)).map_err(refused);
    let mut crowd = [connect("hasty")?, connect("reader")?];
    crowd[1].subscribe(&["hasty/#".to_owned()], 1);
    drive(&mut crowd, "the reader has subscribed", |crowd| crowd[0].is_in() && crowd[1].granted == 1)?;
    let began_ms = now_ms();
    (0..MESSAGES).for_each(|number| crowd[0].publish("hasty/x", 1, false, number, 16));
    let mut turns = 0;
    drive(&mut crowd, "everything has arrived", |crowd| {
        turns += 1;
        if turns % 20 == 0 {
            // Its own failure ends the scenario below.
            let _ = bystander.rounds(1);
        }
        crowd[1].got.len() == usize::try_from(MESSAGES).expect("few messages")
    })?;
    let span_ms = now_ms() - began_ms;
    must_be("everything in order", crowd[1].got.iter().copied().eq(0..MESSAGES), true)?;
    let allowed = RATE + (span_ms + 20) * RATE / 1000 + 1;
    must_be("no faster than it may", u64::from(MESSAGES) <= allowed, true)?;
    let waits = stage.wait_for("clients_waiting", |count| count == 0).and_then(|_| stage.metrics())?;
    let waits = waits.of("publish_rate_waits_total");
    must_be("it was left unread", waits > 0, true)?;
    bystander.rounds(50)?;
    println!("message rate: {MESSAGES} messages in {span_ms} ms at {RATE} per s, left unread {waits} times");
    Ok(())
}

fn bytes_rate() -> Result<(), String> {
    const PAYLOAD_BYTES: usize = 16_384;
    const WANTED_BYTES: usize = 64 << 20;
    /// More than any kernel holds for one connection.
    const BUFFERS_BYTES: usize = 24 << 20;
    let (mut stage, mut bystander) = begin("bytes-rate", "[limits]\npublish_bytes_rate = \"1000000:1\"\n")?;
    let mut crowd = vec![Client::connect(stage.address, &Hello::new("torrent")).map_err(refused)?];
    drive(&mut crowd, "it is let in", |crowd| crowd[0].is_in())?;
    let before = stage.process.forget_peak();
    let began_ms = now_ms();
    for number in 0..u32::try_from(WANTED_BYTES / PAYLOAD_BYTES).expect("few messages") {
        crowd[0].publish("torrent/x", 0, false, number, PAYLOAD_BYTES);
    }
    for _ in 0..100 {
        step(&mut crowd, 0);
        bystander.rounds(2)?;
    }
    // What is not with the client any more lies in the kernel's buffers or was published at the rate.
    let taken = WANTED_BYTES - crowd[0].output.len().min(WANTED_BYTES);
    let span_s = usize::try_from((now_ms() - began_ms) / 1000).expect("a short test");
    must_be("the rest is still with the client", taken < BUFFERS_BYTES + (2 + span_s) * 1_000_000, true)?;
    let more = must_be_small(&stage, before, 8 * MIB)?;
    let waits = stage.wait_for("publish_bytes_rate_waits_total", |waits| waits > 0)?;
    crowd[0].socket.shutdown(std::net::Shutdown::Both).map_err(refused)?;
    println!(
        "bytes rate: {} of {} taken, {} more memory, left unread {waits} times",
        mebibytes(u64::try_from(taken).expect("64 bits")),
        mebibytes(u64::try_from(WANTED_BYTES).expect("64 bits")),
        mebibytes(more)
    );
    Ok(())
}
