//! Descriptors over many connections. Alone in its process, because it counts the descriptors of the process.
//!
//! Invariants:
//! - After every connection has ended, as many descriptors are open as before the first.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod line;

use server::Depth;

use line::host::Host;

/// Echoes to wait for at most until descriptors are closed; each is at least one turn of the core.
const ROUNDS_MAX: usize = 10_000;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_connections_leave_no_descriptor_behind() {
    let host = Host::start(2, Depth::default());
    let mut controls = [host.connect_to(0), host.connect_to(1)];
    let before = open_files();
    for wave in 0..10u16 {
        let mut clients: Vec<_> = (0..60u16).map(|number| host.connect_to(number % 2)).collect();
        let silent: Vec<_> = (0..40).map(|_| host.connect()).collect();
        for (number, client) in (0u16..).zip(&mut clients) {
            match (number + wave) % 4 {
                0 => client.say("FLOOD 2000000\n"),
                1 => client.say("BYE bye\n"),
                2 => client.stop_talking(),
                _ => client.round(),
            }
        }
        drop(silent);
        drop(clients);
    }
    let closed = (0..ROUNDS_MAX).any(|_| {
        controls.iter_mut().for_each(line::host::Client::round);
        open_files() == before
    });
    assert!(closed, "{} descriptors were open before, {} are now", before, open_files());
}
