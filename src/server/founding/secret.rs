//! Secrets: random bytes, and files that only their owner can read.
//!
//! Invariants:
//! - A file appears whole or not at all, and is on the disk before it is relied on.
//! - Randomness comes from the kernel.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use thiserror::Error;
use tracing::warn;

/// Where the secret that signs tokens stands, in the data directory.
const TOKEN_FILE: &str = "token-secret";
/// Bytes of that secret: as many as the digest that signs.
const TOKEN_BYTES: usize = 64;
/// Fewer are too easy to guess.
const TOKEN_BYTES_MIN: usize = 32;
/// Numbers drawn at once; the kernel gives 256 bytes without a pause.
const LOTS: usize = 32;

/// Why a secret cannot be had: one line for whoever starts the broker.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    /// Something is wrong with a file.
    pub(super) fn of(path: &Path, what: impl std::fmt::Display) -> Self {
        Self(format!("{}: {what}", path.display()))
    }
}

impl From<io::Error> for Fault {
    fn from(failure: io::Error) -> Self {
        Self(format!("the kernel gives no random bytes: {failure}"))
    }
}

/// The secret that signs tokens: that of the data directory, made at the first start; without one, a new one each time.
///
/// # Errors
/// It cannot be read or written, or is too short.
pub(crate) fn token_secret(dir: Option<&Path>) -> Result<Vec<u8>, Fault> {
    let Some(path) = dir.map(|dir| dir.join(TOKEN_FILE)) else {
        return Ok(random_bytes::<TOKEN_BYTES>()?.to_vec());
    };
    if !path.exists() {
        let secret = random_bytes::<TOKEN_BYTES>()?;
        write_secret(&path, &secret)?;
        return Ok(secret.to_vec());
    }
    let secret = read_secret(&path)?;
    if secret.len() < TOKEN_BYTES_MIN {
        let what =
            "is too short for a secret; without it a new one is made, and everybody has to log in again";
        return Err(Fault::of(&path, what));
    }
    Ok(secret)
}

/// So many bytes that nobody can guess.
pub(super) fn random_bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

/// A number that nobody can guess.
///
/// # Panics
/// The kernel gives no random bytes any more, which it did at the start.
pub(crate) fn draw() -> u64 {
    u64::from_le_bytes(random_bytes().expect("the kernel gave random bytes at the start"))
}

/// A few numbers that nobody can guess, enough for a name or two.
pub(super) fn lots() -> io::Result<impl FnMut() -> u64> {
    let bytes = random_bytes::<{ LOTS * 8 }>()?;
    let (numbers, _no_rest) = bytes.as_chunks::<8>();
    let mut numbers = numbers.to_vec().into_iter();
    Ok(move || numbers.next().map(u64::from_le_bytes).expect("enough were drawn"))
}

/// The bytes of a secret file; warns if others can read it.
pub(super) fn read_secret(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |failure| Fault::of(path, format_args!("cannot be read: {failure}"));
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let shown = path.display();
        warn!(
            "{shown}: others on this machine can read it (mode {mode:04o}); `chmod 600 {shown}` keeps them out"
        );
    }
    fs::read(path).map_err(unreadable)
}

/// Writes a file that only its owner can read, in the place of an older one.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let new = path.with_extension("new");
    let write = || {
        match fs::remove_file(&new) {
            Err(failure) if failure.kind() != io::ErrorKind::NotFound => return Err(failure),
            Ok(()) | Err(_) => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|failure| Fault::of(path, format_args!("cannot be written: {failure}")))
}
