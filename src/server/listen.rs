//! Listening sockets: bound before any core starts, one per listener and core.
//!
//! Why bound at once: a wrong address must end the program with one clear line before it has told anybody that it is
//! ready, and before a recovery that may take a while. Why they listen later: a client that is refused tries again
//! elsewhere or later; one that is accepted and not served waits. Why tried alone first: sockets that share a port (SO_REUSEPORT) would also share it with another broker that
//! is already running for the same user, and each would get half of the clients.
//!
//! Invariants:
//! - All sockets of one listener have the same address, also when its port was 0.
//! - Accepted sockets inherit TCP_NODELAY from their listener.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Connections that wait for a core to accept them, at most.
const BACKLOG_MAX: i32 = 4096;

/// The sockets of one listener.
#[derive(Debug)]
pub struct Listening {
    /// The address, with the port that the kernel has chosen if it was asked to.
    pub address: SocketAddr,
    /// One socket per core.
    pub sockets: Vec<OwnedFd>,
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct ListenError {
    address: SocketAddr,
    reason: String,
}

/// Binds one address for `cores` cores. Nobody can connect before [`Listening::open`].
pub fn bind(address: SocketAddr, cores: usize) -> Result<Listening, ListenError> {
    bind_all(address, cores).map_err(|failure| ListenError { address, reason: explain(address, &failure) })
}

/// Binds one address for `cores` cores and lets clients connect.
pub fn listen(address: SocketAddr, cores: usize) -> Result<Listening, ListenError> {
    let listening = bind(address, cores)?;
    listening.open()?;
    Ok(listening)
}

impl Listening {
    /// Lets clients connect.
    pub fn open(&self) -> Result<(), ListenError> {
        let opened = self.sockets.iter().try_for_each(|socket| rustix::net::listen(socket, BACKLOG_MAX));
        let refused = |failure: rustix::io::Errno| explain(self.address, &failure.into());
        opened.map_err(|failure| ListenError { address: self.address, reason: refused(failure) })
    }

    /// Another handle to each of the sockets.
    pub fn try_clone_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(OwnedFd::try_clone).collect()
    }
}

fn bind_all(address: SocketAddr, cores: usize) -> io::Result<Listening> {
    if address.port() != 0 {
        drop(bind_one(address, Sharing::Alone)?);
    }
    let first = bind_one(address, Sharing::AmongCores)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(bind_one(address, Sharing::AmongCores)?);
    }
    Ok(Listening { address, sockets: sockets.into_iter().map(OwnedFd::from).collect() })
}

/// Who else may bind the address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    AmongCores,
}

fn bind_one(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if sharing == Sharing::AmongCores {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn explain(address: SocketAddr, failure: &io::Error) -> String {
    match failure.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another process already uses this address; `ss -ltnp 'sport = :{}'` shows which",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => "no network interface of this machine has this address".to_owned(),
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need the right CAP_NET_BIND_SERVICE; choose a higher port than {} or grant it",
            address.port()
        ),
        _ => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    #[test]
    fn all_cores_listen_on_the_port_that_the_kernel_chose() {
        let listening = listen(ANY.parse().unwrap(), 3).unwrap();
        assert_eq!(listening.sockets.len(), 3);
        assert_ne!(listening.address.port(), 0);
        std::net::TcpStream::connect(listening.address).unwrap();
    }

    #[test]
    fn nobody_can_connect_before_the_sockets_are_opened() {
        let bound = bind(ANY.parse().unwrap(), 2).unwrap();
        let refused = std::net::TcpStream::connect(bound.address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        bound.open().unwrap();
        std::net::TcpStream::connect(bound.address).unwrap();
    }

    #[test]
    fn a_second_broker_on_the_same_address_is_refused_although_cores_share_it() {
        let first = listen(ANY.parse().unwrap(), 2).unwrap();
        let refused = listen(first.address, 2).unwrap_err().to_string();
        let port = first.address.port();
        assert!(
            refused.starts_with(&format!("cannot listen on 127.0.0.1:{port}: another process")),
            "{refused}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_its_reason() {
        let refused = listen("192.0.2.1:1883".parse().unwrap(), 1).unwrap_err().to_string();
        assert_eq!(
            refused,
            "cannot listen on 192.0.2.1:1883: no network interface of this machine has this address"
        );
    }
}
