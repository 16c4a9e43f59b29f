//! Ports for what must be named before the broker starts.
//!
//! Why not port 0: the kernel lends ports from 32768 on to outgoing connections, and with thousands of clients about one of
//! them takes the port between the probe and the broker. Below that nobody takes any by chance.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u16 = 10_000;
const PORTS: u16 = 22_000;

/// An address on loopback that nobody listens on at this moment, another one at each call.
///
/// # Panics
/// If all of them are taken.
#[must_use]
pub fn free_address() -> SocketAddr {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side look in different places.
    let start = std::process::id().wrapping_mul(97);
    let free = (0..PORTS).find_map(|_| {
        let place = start.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % u32::from(PORTS);
        let port = FIRST + u16::try_from(place).expect("less than the number of ports");
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?.local_addr().ok()
    });
    free.expect("loopback has a free port")
}
