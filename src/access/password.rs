//! Passwords in Mosquitto's file format: `user:hash`, where a hash is argon2id, PBKDF2-SHA512 (`$7$`) or the older salted
//! SHA-512 (`$6$`).
//!
//! Why checking is a call of its own: it costs milliseconds on purpose, so whoever calls it chooses where.
//!
//! Invariants:
//! - An unknown user costs the same as a wrong password.
//! - Hashes are compared in constant time.
//! - A file that is not wholly understood gives no passwords.

use ahash::RandomState;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Cost of new hashes: memory in KiB, passes, lanes. Source: OWASP Password Storage Cheat Sheet, argon2id with 46 MiB.
const ARGON2: (u32, u32, u32) = (47_104, 1, 1);
/// Most memory that a hash in a file may demand, in KiB.
const ARGON2_KIB_MAX: u32 = 1_048_576;
/// Most iterations that a `$7$` hash may demand.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Bytes of a SHA-512.
const SHA512_BYTES: usize = 64;

/// The users of a file.
#[derive(Debug)]
pub struct Passwords {
    users: HashMap<Box<str>, Hash, RandomState>,
    /// What is checked for a user who does not exist.
    decoy: Hash,
}

/// Why a file gives no passwords.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PasswordFault {
    /// A line is not `user:hash`.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// There is nobody in it.
    #[error("holds no user")]
    Empty,
    /// It does not end with a line break: perhaps it was cut.
    #[error("does not end with a line break: it may have been cut short")]
    Cut,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Hash {
    Argon2(Box<str>),
    Pbkdf2 { iterations: u32, salt: Box<[u8]>, hash: Box<[u8]> },
    Sha512 { salt: Box<[u8]>, hash: Box<[u8]> },
}

impl Passwords {
    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it; hashes are never shown.
    pub fn parse(text: &str) -> Result<Self, PasswordFault> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(PasswordFault::Cut);
        }
        // The names come from the operator; a fixed seed keeps the room free of hidden inputs.
        let mut users = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        let mut decoy = None;
        for (number, line) in (1..).zip(text.lines()) {
            let fault = |what: &str| PasswordFault::Line { line: number, what: what.to_owned() };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or_else(|| fault("is not user:hash"))?;
            if user.is_empty() || user.contains(['+', '#', '\0']) {
                return Err(fault("the user name is empty or holds a wildcard"));
            }
            let hash = Hash::parse(hash.trim_end()).map_err(fault)?;
            // The dearest, so that the answer for a stranger is not the quickest.
            if decoy.as_ref().is_none_or(|decoy: &Hash| decoy.cost() < hash.cost()) {
                decoy = Some(hash.decoy());
            }
            if users.insert(user.into(), hash).is_some() {
                return Err(fault("the user stands in the file twice"));
            }
        }
        decoy.map(|decoy| Self { users, decoy }).ok_or(PasswordFault::Empty)
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Never: a file without users is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether somebody of that name is in the file. Quick, so never let this alone decide how long an answer takes.
    #[must_use]
    pub fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Whether this is the user's password. Slow on purpose.
    #[must_use]
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        match self.users.get(user) {
            Some(hash) => hash.verify(password),
            None => {
                // The outcome does not matter, only the time.
                let _ = self.decoy.verify(password);
                false
            }
        }
    }
}

/// A line's hash for a new password; `salt` must be 16 random bytes.
///
/// # Panics
/// Never with 16 bytes of salt.
#[must_use]
pub fn hash(password: &[u8], salt: [u8; 16]) -> String {
    let (memory, passes, lanes) = ARGON2;
    let params = Params::new(memory, passes, lanes, None).expect("constants within the limits");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_with_salt(password, &salt).expect("16 bytes are a good salt").to_string()
}

impl Hash {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let decoded = |part: Option<&str>| {
            part.and_then(|part| STANDARD.decode(part).ok()).filter(|part| !part.is_empty())
        };
        if text.starts_with("$argon2") {
            let parsed = PasswordHash::new(text).map_err(|_| "is not a valid argon2 hash")?;
            let memory = parsed.params.get_decimal("m").ok_or("its argon2 hash names no memory")?;
            if memory > ARGON2_KIB_MAX || parsed.hash.is_none() || parsed.salt.is_none() {
                return Err("its argon2 hash is incomplete or demands more than 1 GiB");
            }
            return Ok(Self::Argon2(text.into()));
        }
        let mut parts = text.split('$');
        match (parts.next(), parts.next()) {
            (Some(""), Some("7")) => {
                let iterations = parts.next().and_then(|part| part.parse().ok()).filter(|count| *count > 0);
                let iterations: u32 = iterations.ok_or("its $7$ hash names no iterations")?;
                let (salt, hash) = (decoded(parts.next()), decoded(parts.next()));
                let (Some(salt), Some(hash), None) = (salt, hash, parts.next()) else {
                    return Err("its $7$ hash is not $7$iterations$salt$hash");
                };
                if iterations > ITERATIONS_MAX || hash.len() != SHA512_BYTES {
                    return Err("its $7$ hash has too many iterations or the wrong length");
                }
                Ok(Self::Pbkdf2 { iterations, salt: salt.into(), hash: hash.into() })
            }
            (Some(""), Some("6")) => {
                let (salt, hash) = (decoded(parts.next()), decoded(parts.next()));
                let (Some(salt), Some(hash), None) = (salt, hash, parts.next()) else {
                    return Err("its $6$ hash is not $6$salt$hash");
                };
                if hash.len() != SHA512_BYTES {
                    return Err("its $6$ hash has the wrong length");
                }
                Ok(Self::Sha512 { salt: salt.into(), hash: hash.into() })
            }
            _ => Err("has no hash that is known ($argon2id$, $7$, $6$); a plain password is never accepted"),
        }
    }

    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(text) => PasswordHash::new(text)
                .is_ok_and(|parsed| Argon2::default().verify_password(password, &parsed).is_ok()),
            Self::Pbkdf2 { iterations, salt, hash } => {
                let mut made = [0; SHA512_BYTES];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut made);
                made.ct_eq(hash).into()
            }
            Self::Sha512 { salt, hash } => {
                let made = Sha512::new().chain_update(password).chain_update(salt).finalize();
                made.ct_eq(hash).into()
            }
        }
    }

    /// Roughly how dear a check is; comparable among hashes.
    fn cost(&self) -> u64 {
        match self {
            Self::Argon2(_) => u64::MAX,
            Self::Pbkdf2 { iterations, .. } => u64::from(*iterations),
            Self::Sha512 { .. } => 0,
        }
    }

    /// A hash of the same cost that no password fits.
    fn decoy(&self) -> Self {
        let no_hash: Box<[u8]> = Box::new([0; SHA512_BYTES]);
        match self {
            Self::Argon2(text) => Self::Argon2(text.clone()),
            Self::Pbkdf2 { iterations, salt, .. } => {
                Self::Pbkdf2 { iterations: *iterations, salt: salt.clone(), hash: no_hash }
            }
            Self::Sha512 { salt, .. } => Self::Sha512 { salt: salt.clone(), hash: no_hash },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by mosquitto_passwd 2.0.11 (`-H sha512-pbkdf2` and `-H sha512`) with the password "secret".
    const PBKDF2: &str = include_str!("testdata/mosquitto-7.passwd");
    const SHA512: &str = include_str!("testdata/mosquitto-6.passwd");

    #[test]
    fn files_of_mosquitto_are_read_as_they_are() {
        for file in [PBKDF2, SHA512] {
            let passwords = Passwords::parse(file).unwrap();
            assert!(passwords.verify("ann", b"secret"));
            assert!(!passwords.verify("ann", b"Secret") && !passwords.verify("ann", b""));
            assert!(!passwords.verify("bob", b"secret"));
        }
    }

    #[test]
    fn a_new_hash_is_argon2id_and_opens_with_its_password_only() {
        let line = format!("ann:{}\n", hash(b"secret", *b"0123456789abcdef"));
        assert!(line.starts_with("ann:$argon2id$v=19$m=47104,t=1,p=1$"), "{line}");
        let passwords = Passwords::parse(&line).unwrap();
        assert!(passwords.verify("ann", b"secret"));
        assert!(!passwords.verify("ann", b"secre") && !passwords.verify("eve", b"secret"));
    }

    #[test]
    fn a_file_that_is_not_wholly_understood_gives_nobody() {
        for (text, expected) in [
            ("", "holds no user"),
            ("ann:secret\n", "line 1: has no hash that is known"),
            ("ann\n", "line 1: is not user:hash"),
            (":$6$YQ==$YQ==\n", "line 1: the user name"),
            ("ann:$7$0$YQ==$YQ==\n", "names no iterations"),
            ("ann:$7$101$YQ==$YQ==\n", "wrong length"),
            ("ann:$argon2id$v=19$m=9999999,t=1,p=1$MDEyMzQ1Njc$MDEyMzQ1Njc4OWFi\n", "more than 1 GiB"),
        ] {
            let fault = Passwords::parse(text).unwrap_err().to_string();
            assert!(fault.contains(expected), "{text:?}: {fault}");
        }
        let twice = format!("{PBKDF2}{PBKDF2}");
        assert!(Passwords::parse(&twice).unwrap_err().to_string().contains("twice"));
        for end in 1..PBKDF2.len() {
            assert!(Passwords::parse(&PBKDF2[..end]).is_err(), "{end}");
        }
    }
}
