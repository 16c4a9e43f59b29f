//! What the doors know from files: rules, passwords, keys.
//!
//! Why a recent login is kept beside the very passwords that it was checked against: when the file is read again both
//! go at once, so no login outlives its user, and a check that was under way keeps its finding where nobody looks any more.
//!
//! Invariants:
//! - What is wrong with a file leaves what was read before untouched.
//! - Whoever asks sees one whole file, the old one or the new one.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use access::{Acl, Passwords, Recent, TokenTerms, Tokens};
use arc_swap::ArcSwap;
use stdx::WallMs;

use super::files::{self, Secrecy};
use super::pass::Rules;

/// Recent logins that are kept per password file; 100 bytes each.
const LOGINS_MAX: usize = 65_536;
/// How long a login spares the next one its hash.
const LOGIN_LIFETIME_MS: u64 = 300_000;

/// Something that can be read again.
pub(super) trait Source: Send + Sync + Debug {
    /// Reads it again.
    fn reload(&self) -> Result<(), String>;
    /// Where it is.
    fn path(&self) -> &Path;
    /// Whether it says what clients may do, and not only who they are.
    fn holds_rules(&self) -> bool {
        false
    }
}

/// Rules in Mosquitto's syntax.
#[derive(Debug)]
pub(super) struct AclFile {
    path: PathBuf,
    rules: Arc<Rules>,
}

/// Users and hashes.
#[derive(Debug)]
pub(super) struct PasswordFile {
    path: PathBuf,
    held: ArcSwap<HeldPasswords>,
}

#[derive(Debug)]
struct HeldPasswords {
    passwords: Passwords,
    recent: Mutex<Recent<()>>,
}

/// Keys that verify tokens.
#[derive(Debug)]
pub(super) struct KeyFile {
    source: KeySource,
    terms: TokenTerms,
    held: ArcSwap<Tokens>,
}

/// Where keys stand.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    Secret(PathBuf),
    PublicKey(PathBuf),
    KeySet(PathBuf),
}

impl AclFile {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let acl = read_acl(path)?;
        Ok(Self { path: path.to_owned(), rules: Arc::new(Rules::new(Some(Arc::new(acl)))) })
    }

    pub(super) fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }
}

impl Source for AclFile {
    fn reload(&self) -> Result<(), String> {
        let acl = read_acl(&self.path)?;
        self.rules.store(Some(Arc::new(acl)));
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn holds_rules(&self) -> bool {
        true
    }
}

fn read_acl(path: &Path) -> Result<Acl, String> {
    let text = files::read_text(path, Secrecy::Open)?;
    Acl::parse(&text).map_err(|fault| files::acl_complaint(path, &fault))
}

impl PasswordFile {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        Ok(Self { path: path.to_owned(), held: ArcSwap::from_pointee(HeldPasswords::read(path)?) })
    }

    /// Whether somebody of that name is in it.
    pub(super) fn knows(&self, user: &str) -> bool {
        self.held.load().passwords.knows(user)
    }

    /// Whether this was the user's password a moment ago.
    pub(super) fn remembers(&self, user: &str, password: &[u8], now: WallMs) -> bool {
        let held = self.held.load();
        let recent = held.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = recent.tag(&[user.as_bytes(), password]);
        recent.find(&tag, now.0).is_some()
    }

    /// Whether this is the user's password. Costs the same for users who do not exist.
    pub(super) fn verify(&self, user: &str, password: &[u8], now: WallMs) -> bool {
        let held = self.held.load_full();
        let is_right = held.passwords.verify(user, password);
        if is_right {
            let mut recent = held.recent.lock().unwrap_or_else(PoisonError::into_inner);
            let tag = recent.tag(&[user.as_bytes(), password]);
            recent.keep(tag, (), now.0);
        }
        is_right
    }
}

impl HeldPasswords {
    fn read(path: &Path) -> Result<Self, String> {
        let text = files::read_text(path, Secrecy::Secret)?;
        let passwords = Passwords::parse(&text).map_err(|fault| files::password_complaint(path, &fault))?;
        let recent = Mutex::new(Recent::new(random_key()?, LOGINS_MAX, LOGIN_LIFETIME_MS));
        Ok(Self { passwords, recent })
    }
}

impl Source for PasswordFile {
    fn reload(&self) -> Result<(), String> {
        self.held.store(Arc::new(HeldPasswords::read(&self.path)?));
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl KeyFile {
    pub(super) fn open(source: KeySource, terms: TokenTerms) -> Result<Self, String> {
        let tokens = source.read(&terms)?;
        Ok(Self { source, terms, held: ArcSwap::from_pointee(tokens) })
    }

    /// The keys of today.
    pub(super) fn tokens(&self) -> Arc<Tokens> {
        self.held.load_full()
    }
}

impl Source for KeyFile {
    fn reload(&self) -> Result<(), String> {
        self.held.store(Arc::new(self.source.read(&self.terms)?));
        Ok(())
    }

    fn path(&self) -> &Path {
        self.source.path()
    }
}

impl KeySource {
    fn path(&self) -> &Path {
        match self {
            Self::Secret(path) | Self::PublicKey(path) | Self::KeySet(path) => path,
        }
    }

    fn read(&self, terms: &TokenTerms) -> Result<Tokens, String> {
        let complain = |fault: access::KeyFault| files::of_file(self.path(), fault);
        match self {
            Self::Secret(path) => {
                let bytes = files::read_bytes(path, Secrecy::Secret)?;
                // An editor ends the file with a line break that nobody signs with.
                let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
                if secret.len() < SECRET_BYTES_MIN {
                    let what =
                        format!("is too short: a secret for tokens has {SECRET_BYTES_MIN} bytes or more");
                    return Err(files::of_file(path, what));
                }
                Ok(Tokens::with_secret(secret, terms.clone()))
            }
            Self::PublicKey(path) => {
                let pem = files::read_bytes(path, Secrecy::Open)?;
                Tokens::with_pem(&pem, terms.clone()).map_err(complain)
            }
            Self::KeySet(path) => {
                let json = files::read_text(path, Secrecy::Open)?;
                Tokens::with_jwks(&json, terms.clone()).map_err(complain)
            }
        }
    }
}

/// Bytes of an HMAC secret: as many as the shortest hash. Source: RFC 7518 section 3.2.
const SECRET_BYTES_MIN: usize = 32;

/// A key that nobody knows.
pub(super) fn random_key() -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
        .map_err(|failure| format!("the kernel gives no random bytes: {failure}"))?;
    Ok(key)
}
