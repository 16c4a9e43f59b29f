//! Doors: the listening sockets of one core, and the connections that come through them.
//!
//! Why every core has its own: SO_REUSEPORT spreads connections over the cores before any of them has to do anything,
//! and a storm of reconnects fills one queue per core rather than one for all.
//!
//! Invariants:
//! - A door that fails for want of descriptors or memory rests for [`REST_SPAN`]; otherwise it would fail again at once.
//! - A peer that vanishes without a word is noticed by the kernel, also if neither it nor we have anything to say.
//! - A connection that the mind refuses is closed in the same turn.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, sockopt};
use shard::{Accepted, Arrival, ListenerId};
use stdx::{Instant, Span};

use super::turn::Driver;
use crate::mind::Mind;

/// How long doors stay closed after a failure.
const REST_SPAN: Span = Span::from_ms(100);
/// Silence after which the kernel asks a peer whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(60);
/// How long it waits for an answer before it asks again.
const ASK_INTERVAL: Duration = Duration::from_secs(15);
/// How often it asks before the peer counts as gone.
const ASK_COUNT: u32 = 4;
/// How long what was sent may stay unacknowledged.
const UNACKED_MS_MAX: u32 = 120_000;
/// What clients of a socket file count as: they are on this machine and have no address.
const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// The doors of one core.
#[derive(Default)]
pub(crate) struct Doors {
    listeners: Vec<OwnedFd>,
    resting: Vec<u32>,
    reopen_at: Option<Instant>,
    /// Times that one of them rested.
    pauses: u64,
    closed: bool,
}

impl Doors {
    /// One door per listener of the configuration, in its order.
    pub(crate) fn new(listeners: Vec<OwnedFd>) -> Self {
        listeners.iter().for_each(watch_peers);
        Self { listeners, ..Self::default() }
    }

    /// Times that one of them rested for want of descriptors or memory.
    pub(super) fn pauses(&self) -> u64 {
        self.pauses
    }

    /// When resting doors open again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.reopen_at
    }
}

impl<M: Mind> Driver<M> {
    pub(super) fn open_doors(&mut self) {
        if self.doors.closed {
            return;
        }
        for (door, listener) in (0u32..).zip(&self.doors.listeners) {
            self.ring.accept(door, listener.as_fd());
        }
    }

    pub(super) fn reopen_doors(&mut self, now: Instant) {
        if self.doors.reopen_at.is_none_or(|reopen_at| now < reopen_at) {
            return;
        }
        self.doors.reopen_at = None;
        for door in std::mem::take(&mut self.doors.resting) {
            self.open_door(door);
        }
    }

    /// Accepts no more. Connections that nobody has accepted yet are reset by the kernel when the process ends.
    pub(super) fn close_doors(&mut self) {
        self.doors.closed = true;
        self.doors.reopen_at = None;
        for (door, _) in (0u32..).zip(&self.doors.listeners) {
            self.ring.cancel_accept(door);
        }
    }

    pub(super) fn on_accepted(&mut self, now: Instant, door: u32, outcome: io::Result<OwnedFd>, armed: bool) {
        match outcome {
            Ok(fd) => {
                self.admit(now, door, fd);
                if !armed {
                    self.open_door(door);
                }
            }
            Err(failure) if !self.doors.closed => self.rest(now, door, &failure, armed),
            Err(_) => {}
        }
    }

    /// A connection came from another core.
    pub(super) fn on_arrival(&mut self, now: Instant, fd: OwnedFd, arrival: Arrival) {
        if let Some(conn) = self.mind.handle_arrival(now, arrival) {
            self.sockets.insert(fd, conn);
        }
    }

    fn admit(&mut self, now: Instant, door: u32, fd: OwnedFd) {
        // A peer that is gone already has no name; there is nothing to say to it.
        let Some(peer) = peer_of(&fd) else { return };
        let listener = ListenerId(u16::try_from(door).expect("listeners are counted in 16 bits"));
        let Some(conn) = self.mind.handle_accepted(now, Accepted { listener, peer }) else { return };
        let slot = self.sockets.insert(fd, conn);
        self.desk.listening.push(slot);
    }

    fn rest(&mut self, now: Instant, door: u32, failure: &io::Error, armed: bool) {
        if armed {
            return;
        }
        if failure.raw_os_error() == Some(libc::ECONNABORTED) {
            return self.open_door(door);
        }
        self.notices.fault(
            now,
            format_args!("cannot accept connections: {failure}; trying again in {} ms", REST_SPAN.ms()),
        );
        self.doors.pauses += 1;
        self.doors.resting.push(door);
        self.doors.reopen_at.get_or_insert(now + REST_SPAN);
    }

    fn open_door(&mut self, door: u32) {
        if self.doors.closed {
            return;
        }
        let listener = &self.doors.listeners[usize::try_from(door).expect("usize has 64 bits")];
        self.ring.accept(door, listener.as_fd());
    }
}

/// Lets the kernel find out which peers have vanished. Accepted sockets inherit this from their listener.
fn watch_peers(listener: &OwnedFd) {
    // A socket that knows no such option is not TCP, and its peers cannot vanish without a word.
    let _ = sockopt::set_socket_keepalive(listener, true)
        .and_then(|()| sockopt::set_tcp_keepidle(listener, ASK_AFTER))
        .and_then(|()| sockopt::set_tcp_keepintvl(listener, ASK_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepcnt(listener, ASK_COUNT))
        .and_then(|()| sockopt::set_tcp_user_timeout(listener, UNACKED_MS_MAX));
}

fn peer_of(fd: &OwnedFd) -> Option<SocketAddr> {
    // A client of a socket file has no name, for which `getpeername` may give nothing at all.
    match rustix::net::getpeername(fd).ok()? {
        Some(address) if address.address_family() != AddressFamily::UNIX => {
            SocketAddr::try_from(address).ok()
        }
        Some(_) | None => Some(SocketAddr::from(LOCAL)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_watches_the_peers_of_accepted_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let doors = Doors::new(vec![OwnedFd::from(listener)]);
        let listener = TcpListener::from(doors.listeners[0].try_clone().unwrap());
        let _peer = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), ASK_AFTER);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), ASK_COUNT);
        assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), UNACKED_MS_MAX);
    }
}
