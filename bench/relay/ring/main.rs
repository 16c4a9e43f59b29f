//! The null relay on RingMQ's own ring: the broker's driver, with a mind that only copies packets.
//!
//! Why a program of its own: the load generator must not hold a line of the broker, and this holds its driver. What it
//! decides stands in the same file as for the relays of `ringmq-bench`.
//!
//! Usage: `ring-relay [ADDRESS [SPIN_ROUNDS [GATHER_US]]]`, for instance `ring-relay 127.0.0.1:1883 50 1000`.
//!
//! Invariants:
//! - It drives the ring exactly as the broker does, on one core and with the broker's depths and defaults; only the mind is another.

mod mind;
#[path = "../switch.rs"]
mod switch;

use std::net::SocketAddr;

use server::{Clock, Cores, Depth, Plan};
use stdx::Span;

use crate::mind::Relay;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:1883").parse()?;
    let spin_rounds = arguments.next().as_deref().unwrap_or("50").parse()?;
    let gather_us = arguments.next().as_deref().unwrap_or("1000").parse()?;
    let cores: Cores = "1".parse()?;
    let cpus = cores.resolve(&server::allowed_cpus()?)?;
    let listening = server::listen(address, cpus.len())?;
    let plan = Plan {
        cpus,
        listeners: vec![listening.try_clone_sockets()?],
        clock: Clock::start(),
        depth: Depth::default(),
        spin_rounds,
        gather_us,
        gather_from: 50_000,
        stores: false,
        doors: None,
        platform: None,
        shutdown_grace: Span::from_s(1),
    };
    let running = server::launch(plan, |_| Ok(()), |_, _| Relay::default())?;
    listening.open()?;
    running.open();
    println!("listening on {}", listening.address);
    running.join()?;
    Ok(())
}
