//! Listening sockets: bound before any core starts, one per listener and core.
//!
//! Why bound at once: a wrong address must end the program with one clear line before it has told anybody that it is
//! ready, and before a recovery that may take a while. Why they listen later: a client that is refused tries again
//! elsewhere or later; one that is accepted and not served waits. Why tried alone first: sockets that share a port
//! (SO_REUSEPORT) would also share it with another broker that is already running for the same user, and each would get
//! half of the clients. A socket file cannot be shared in this way, so all cores accept from one socket; and it listens at
//! once, because only then can another broker see that the file is not a stale one.
//!
//! Invariants:
//! - All sockets of one listener have the same address, also when its port was 0.
//! - Accepted sockets inherit TCP_NODELAY from their listener.
//! - A file is replaced only if it is a socket to which nobody listens, and removed only while it is ours.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;

use crate::config::Bind;

/// Connections that wait for a core to accept them, at most.
const BACKLOG_MAX: i32 = 4096;
/// How long to wait before asking again whether somebody else has an address.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(300),
    Duration::from_millis(600),
];
/// Who may connect to a socket file: the user and the group of the broker.
const FILE_MODE: u32 = 0o660;

/// The sockets of one listener.
#[derive(Debug)]
pub struct Listening {
    /// The address, with the port that the kernel has chosen if it was asked to.
    pub address: Bind,
    /// One socket per core.
    pub sockets: Vec<OwnedFd>,
    /// The file that clients connect to, if there is one; dropping it removes it.
    pub file: Option<SocketFile>,
}

/// A socket file of ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    birth: Birth,
}

/// Which file it is. The number alone may soon be that of another one.
#[derive(PartialEq, Eq, Debug)]
struct Birth {
    device: u64,
    inode: u64,
    made_at: (i64, i64),
}

impl Birth {
    fn of(path: &Path) -> io::Result<Self> {
        // The time of a socket's last change of contents is that of its making, whoever may change its rights later.
        let file = fs::symlink_metadata(path)?;
        Ok(Self { device: file.dev(), inode: file.ino(), made_at: (file.mtime(), file.mtime_nsec()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Birth::of(&self.path).is_ok_and(|birth| birth == self.birth) {
            // It may be in a directory that is not ours any more; then it is stale, which the next start sees.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct ListenError {
    address: Bind,
    reason: String,
}

/// Binds one address for `cores` cores. Nobody can connect to a port before [`Listening::open`].
pub fn bind(address: &Bind, cores: usize) -> Result<Listening, ListenError> {
    let outcome = match address {
        Bind::Tcp(address) => bind_all(*address, cores).map_err(|failure| explain(*address, &failure)),
        Bind::Unix(path) => bind_file(path, cores).map_err(|failure| explain_file(path, &failure)),
    };
    outcome.map_err(|reason| ListenError { address: address.clone(), reason })
}

/// Binds one address for `cores` cores and lets clients connect.
pub fn listen(address: SocketAddr, cores: usize) -> Result<Listening, ListenError> {
    let listening = bind(&Bind::Tcp(address), cores)?;
    listening.open()?;
    Ok(listening)
}

impl Listening {
    /// Lets clients connect.
    pub fn open(&self) -> Result<(), ListenError> {
        let opened = self.sockets.iter().try_for_each(|socket| rustix::net::listen(socket, BACKLOG_MAX));
        opened.map_err(|failure| {
            let reason = match &self.address {
                Bind::Tcp(address) => explain(*address, &failure.into()),
                Bind::Unix(path) => explain_file(path, &failure.into()),
            };
            ListenError { address: self.address.clone(), reason }
        })
    }

    /// Another handle to each of the sockets.
    pub fn try_clone_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(OwnedFd::try_clone).collect()
    }
}

fn bind_all(address: SocketAddr, cores: usize) -> io::Result<Listening> {
    if address.port() != 0 {
        try_alone(address, std::thread::sleep)?;
    }
    let first = bind_one(address, Sharing::AmongCores)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(bind_one(address, Sharing::AmongCores)?);
    }
    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
    Ok(Listening { address: Bind::Tcp(address), sockets, file: None })
}

/// Whether nobody else has this address; `pause` waits. The kernel takes the rings of a process that was killed apart after the
/// process is gone, and until then they hold its sockets: whoever starts a broker again at once would be refused by its own
/// past.
fn try_alone(address: SocketAddr, mut pause: impl FnMut(Duration)) -> io::Result<()> {
    for patience in PATIENCE {
        match bind_one(address, Sharing::Alone) {
            Err(failure) if failure.kind() == io::ErrorKind::AddrInUse => pause(patience),
            outcome => return outcome.map(drop),
        }
    }
    bind_one(address, Sharing::Alone).map(drop)
}

fn bind_file(path: &Path, cores: usize) -> io::Result<Listening> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), birth: Birth::of(path)? };
    // Between bind and listen nobody can connect, so nobody gets in before the file has its mode.
    fs::set_permissions(path, fs::Permissions::from_mode(FILE_MODE))?;
    socket.listen(BACKLOG_MAX)?;
    let socket = OwnedFd::from(socket);
    let sockets = (0..cores).map(|_| socket.try_clone()).collect::<io::Result<_>>()?;
    Ok(Listening { address: Bind::Unix(path.to_owned()), sockets, file: Some(file) })
}

/// Removes what an earlier process has left at `path`.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(failure) => return Err(failure),
        Ok(file) if !file.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    let mut patience = PATIENCE.into_iter();
    while is_heard(path)? {
        // The kernel lets go of a killed broker's ring, and so of its socket, a moment after the process has ended.
        let Some(pause) = patience.next() else { return Err(io::ErrorKind::AddrInUse.into()) };
        std::thread::sleep(pause);
    }
    fs::remove_file(path)
}

/// Whether somebody listens there. Asks without blocking: a broker that hangs does not accept either.
fn is_heard(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(failure) if failure.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(failure) if failure.kind() != io::ErrorKind::WouldBlock => Err(failure),
        Ok(()) | Err(_) => Ok(true),
    }
}

fn explain_file(path: &Path, failure: &io::Error) -> String {
    match failure.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another process already listens there; `ss -lxp src {}` shows which", path.display())
        }
        io::ErrorKind::AlreadyExists => "there is a file that is no socket; it is left alone".to_owned(),
        io::ErrorKind::NotFound => "its directory does not exist".to_owned(),
        _ => failure.to_string(),
    }
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
    use std::os::unix::net::UnixStream;

    use super::*;

    const ANY: &str = "127.0.0.1:0";

    #[test]
    fn all_cores_listen_on_the_port_that_the_kernel_chose() {
        let listening = listen(ANY.parse().unwrap(), 3).unwrap();
        assert_eq!(listening.sockets.len(), 3);
        assert_ne!(listening.address.tcp().unwrap().port(), 0);
        std::net::TcpStream::connect(listening.address.tcp().unwrap()).unwrap();
    }

    #[test]
    fn nobody_can_connect_before_the_sockets_are_opened() {
        let bound = bind(&ANY.parse().unwrap(), 2).unwrap();
        let address = bound.address.tcp().unwrap();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        bound.open().unwrap();
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn an_address_that_a_process_leaves_behind_is_waited_for() {
        let mut earlier = Some(listen(ANY.parse().unwrap(), 1).unwrap());
        let address = earlier.as_ref().unwrap().address.tcp().unwrap();
        let mut waited = Vec::new();
        try_alone(address, |patience| {
            waited.push(patience);
            if waited.len() == 2 {
                earlier = None;
            }
        })
        .unwrap();
        assert_eq!(waited, PATIENCE[..2]);
    }

    #[test]
    fn a_second_broker_on_the_same_address_is_refused_although_cores_share_it() {
        let first = listen(ANY.parse().unwrap(), 2).unwrap();
        let address = first.address.tcp().unwrap();
        let refused = listen(address, 2).unwrap_err().to_string();
        let port = address.port();
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

    fn socket_file() -> (tempfile::TempDir, Bind, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mqtt.sock");
        (dir, Bind::Unix(path.clone()), path)
    }

    #[test]
    fn a_socket_file_is_for_user_and_group_and_goes_with_its_owner() {
        let (_dir, address, path) = socket_file();
        let listening = bind(&address, 3).unwrap();
        assert_eq!(listening.sockets.len(), 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(listening);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_one_with_a_listener_is_not() {
        let (_dir, address, path) = socket_file();
        let Listening { file, sockets, .. } = bind(&address, 1).unwrap();
        let refused = bind(&address, 1).unwrap_err().to_string();
        assert!(refused.contains("another process already listens there"), "{refused}");
        UnixStream::connect(&path).unwrap();
        drop(sockets);
        let successor = bind(&address, 1).unwrap();
        drop(file);
        assert!(path.exists(), "only its owner removes a file");
        UnixStream::connect(&path).unwrap();
        drop(successor);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let (dir, address, path) = socket_file();
        fs::write(&path, "precious").unwrap();
        let refused = bind(&address, 1).unwrap_err().to_string();
        assert!(refused.ends_with("there is a file that is no socket; it is left alone"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let nowhere = Bind::Unix(dir.path().join("none/mqtt.sock"));
        assert!(bind(&nowhere, 1).unwrap_err().to_string().ends_with("its directory does not exist"));
    }
}
