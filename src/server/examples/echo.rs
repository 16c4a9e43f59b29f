//! A server that echoes bytes through the driver, with no broker behind it: the null relay that prices the socket path.
//!
//! Usage: `cargo run --release -p server --example echo -- [ADDRESS [CORES [SPIN_ROUNDS]]]`, for instance
//! `127.0.0.1:7000 0, 100`.
//!
//! Invariants:
//! - It uses the driver exactly as the broker does; only the mind is another.

use std::net::SocketAddr;

use broker::{Batch, CoreId};
use server::{Clock, Cores, Depth, Mind, Plan};
use shard::{Accepted, Arrival, ConnId, Effects};
use stdx::{Instant, Span};

#[derive(Default)]
struct Echo {
    connections: Vec<Connection>,
    free: Vec<u32>,
    spares: Vec<Vec<u8>>,
    effects: Effects,
    open: usize,
}

#[derive(Default)]
struct Connection {
    generation: u32,
    known: bool,
    adopted: bool,
    dirty: bool,
    out: Vec<u8>,
}

impl Echo {
    fn at(&mut self, conn: ConnId) -> &mut Connection {
        &mut self.connections[usize::try_from(conn.index).expect("usize has 64 bits")]
    }
}

impl Mind for Echo {
    fn handle_accepted(&mut self, _now: Instant, _accepted: Accepted) -> Option<ConnId> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::default());
            u32::try_from(self.connections.len() - 1).expect("few connections")
        });
        self.open += 1;
        let conn = ConnId { index, generation: self.at(ConnId { index, generation: 0 }).generation };
        self.at(conn).known = true;
        Some(conn)
    }

    fn handle_arrival(&mut self, _now: Instant, _arrival: Arrival) -> Option<ConnId> {
        None
    }

    fn handle_bytes(&mut self, _now: Instant, conn: ConnId, bytes: &[u8]) {
        let spare = if self.at(conn).out.capacity() == 0 { self.spares.pop() } else { None };
        let connection = self.at(conn);
        if let Some(spare) = spare {
            connection.out = spare;
        }
        connection.out.extend_from_slice(bytes);
        let fresh = !std::mem::replace(&mut connection.dirty, true);
        let lobby = !std::mem::replace(&mut connection.adopted, true);
        if fresh {
            self.effects.dirty.push(conn);
        }
        if lobby {
            self.effects.adopted.push(conn);
        }
    }

    fn handle_sent(&mut self, _now: Instant, _conn: ConnId, _count: usize) {}

    fn handle_gone(&mut self, _now: Instant, conn: ConnId) {
        let generation = self.at(conn).generation + 1;
        *self.at(conn) = Connection { generation, ..Connection::default() };
        self.free.push(conn.index);
        self.open -= 1;
    }

    fn handle_batch(&mut self, _now: Instant, _from: CoreId, _batch: Batch) {}

    fn handle_timers(&mut self, _now: Instant) {}

    fn handle_call(&mut self, call: shard::Call) -> shard::Reply {
        match call {
            shard::Call::Counters => shard::Reply::Counters(Box::default()),
        }
    }

    fn handle_shutdown(&mut self, _now: Instant) {
        for index in 0..self.connections.len() {
            if self.connections[index].known {
                let index = u32::try_from(index).expect("few connections");
                let conn = ConnId { index, generation: self.connections[0].generation };
                self.effects.closing.push(shard::Closing { conn, last: Vec::new() });
            }
        }
        self.open = 0;
    }

    fn end_turn(&mut self, _now: Instant) {}

    fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        if spare.capacity() > 0 {
            self.spares.push(spare);
        }
        let connection = self.at(conn);
        connection.dirty = false;
        std::mem::take(&mut connection.out)
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_congested(&self) -> bool {
        false
    }

    fn return_batch(&mut self, _to: CoreId, _batch: Batch) {}

    fn connections(&self) -> usize {
        self.open
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:7000").parse()?;
    let cores: Cores = arguments.next().as_deref().unwrap_or("1").parse()?;
    let spin_rounds = arguments.next().as_deref().unwrap_or("100").parse()?;
    let cpus = cores.resolve(&server::allowed_cpus()?)?;
    let listening = server::listen(address, cpus.len())?;
    println!("echo ready: {} ({} cores)", listening.address, cpus.len());
    let plan = Plan {
        cpus,
        listeners: vec![listening.sockets],
        clock: Clock::start(),
        depth: Depth::default(),
        spin_rounds,
        gather_us: 0,
        gather_from: 50_000,
        shutdown_grace: Span::from_s(5),
        stores: false,
        doors: None,
        platform: None,
    };
    let running = server::launch(plan, |_nothing_was_kept| Ok(()), |_, _| Echo::default())?;
    running.open();
    running.join()?;
    Ok(())
}
