//! Credentials: by what a device is recognized.
//!
//! Why one id for every kind: whatever a device shows is turned into one text, and one look-up of that text says whose it
//! is. For a token the text is the token; for a certificate, and where a client id takes part, it is a digest.
//!
//! Invariants:
//! - The id of a credential follows from the credential and never changes while that stays the same.
//! - Passwords are compared in a time that does not depend on where they differ.
//!
//! Source: the credential rules of the device API; FIPS 202 for SHA3-256.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha3::{Digest, Sha3_256};
use subtle::ConstantTimeEq;

use crate::ids::{Chance, random_word};

/// Letters of a token that is made here.
const TOKEN_LETTERS: usize = 20;

/// A digest: SHA3-256, 32 bytes.
pub type Fingerprint = [u8; 32];

/// What a device shows when it connects.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A secret word, shown as the user name.
    Token(Box<str>),
    /// Any of client id, user name and password.
    Basic(Box<BasicCredential>),
    /// A certificate.
    Certificate(Box<CertificateCredential>),
}

/// Client id, user name and password; what is absent is not asked for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct BasicCredential {
    client_id: Option<Box<str>>,
    user_name: Option<Box<str>>,
    password: Option<Box<str>>,
    digest: Option<Fingerprint>,
}

/// A certificate by its text.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateCredential {
    /// Base64 on one line.
    text: Box<str>,
    digest: Fingerprint,
}

/// What the id of a credential looks like: what it is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Probe<'a> {
    /// A word.
    Word(&'a str),
    /// A digest.
    Digest(Fingerprint),
}

/// How what a client shows compares with a [`BasicCredential`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// It is that.
    Valid,
    /// Client id or user name differ.
    Other,
    /// Only the password differs.
    WrongPassword,
}

/// Why something is no credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoCredential {
    /// Neither client id nor user name.
    Nameless,
    /// A password goes with a user name.
    PasswordWithoutUserName,
    /// Control characters.
    ControlCharacter,
    /// A token or certificate without a character.
    Empty,
}

impl NoCredential {
    /// In words, for the answer to whoever tries to save it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nameless => "Both mqtt client id and user name are empty!",
            Self::PasswordWithoutUserName => "Password requires a user name!",
            Self::ControlCharacter => "Credentials must not have control characters!",
            Self::Empty => "Credentials must not be empty!",
        }
    }
}

impl Credential {
    /// A token of somebody's choice.
    ///
    /// # Errors
    /// It is empty or has control characters.
    pub fn token(token: &str) -> Result<Self, NoCredential> {
        if token.is_empty() {
            return Err(NoCredential::Empty);
        }
        plain(token).map(|token| Self::Token(token.into()))
    }

    /// A new token.
    #[must_use]
    pub fn random_token(chance: Chance<'_>) -> Self {
        Self::Token(random_word(TOKEN_LETTERS, chance).into())
    }

    /// Client id, user name and password; empty is absent.
    ///
    /// # Errors
    /// There is nothing to find it by, or a password without a user name, or control characters.
    pub fn basic(client_id: &str, user_name: &str, password: &str) -> Result<Self, NoCredential> {
        let some = |text: &str| -> Result<Option<Box<str>>, NoCredential> {
            plain(text).map(|text| (!text.is_empty()).then(|| text.into()))
        };
        let (client_id, user_name, password) = (some(client_id)?, some(user_name)?, some(password)?);
        let digest = match (&client_id, &user_name, &password) {
            (None, None, _) => return Err(NoCredential::Nameless),
            (Some(_), None, Some(_)) => return Err(NoCredential::PasswordWithoutUserName),
            (None, Some(_), _) => None,
            (Some(client_id), user_name, _) => {
                Some(digest_of_names(client_id, user_name.as_deref().unwrap_or_default()))
            }
        };
        Ok(Self::Basic(Box::new(BasicCredential { client_id, user_name, password, digest })))
    }

    /// A certificate, as PEM or as base64.
    ///
    /// # Errors
    /// Nothing is left without the frame of the PEM text.
    pub fn certificate(text: &str) -> Result<Self, NoCredential> {
        let text = bare_certificate(text);
        if text.is_empty() {
            return Err(NoCredential::Empty);
        }
        Ok(Self::bare_certificate(&text))
    }

    /// A certificate that was written down: what [`CertificateCredential::text`] gives, as it is.
    #[must_use]
    pub fn bare_certificate(text: &str) -> Self {
        Self::Certificate(Box::new(CertificateCredential { text: text.into(), digest: sha3(text) }))
    }

    /// What it is found by.
    #[must_use]
    pub fn probe(&self) -> Probe<'_> {
        match self {
            Self::Token(token) => Probe::of(token),
            Self::Basic(basic) => match (&basic.digest, &basic.user_name) {
                (Some(digest), _) => Probe::Digest(*digest),
                (None, user_name) => Probe::of(user_name.as_deref().unwrap_or_default()),
            },
            Self::Certificate(certificate) => Probe::Digest(certificate.digest),
        }
    }

    /// Its id as text.
    #[must_use]
    pub fn id(&self) -> String {
        match self.probe() {
            Probe::Word(word) => word.to_owned(),
            Probe::Digest(digest) => hex(&digest),
        }
    }

    /// Bytes on the heap, for accounts of memory.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let some = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        match self {
            Self::Token(token) => token.len(),
            Self::Basic(basic) => {
                let texts = some(&basic.client_id) + some(&basic.user_name) + some(&basic.password);
                size_of::<BasicCredential>() + texts
            }
            Self::Certificate(certificate) => size_of::<CertificateCredential>() + certificate.text.len(),
        }
    }
}

impl std::fmt::Debug for Credential {
    // Secrets stay out of logs and of failing tests' output.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(..)",
            Self::Basic(_) => "Basic(..)",
            Self::Certificate(_) => "Certificate(..)",
        })
    }
}

impl BasicCredential {
    /// The client id that is asked for.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The user name that is asked for.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// The password that is asked for.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Compares it with what a client shows.
    #[must_use]
    pub fn matches(&self, client_id: &str, user_name: &str, password: &[u8]) -> Match {
        let differs =
            |wanted: &Option<Box<str>>, shown: &str| wanted.as_deref().is_some_and(|wanted| wanted != shown);
        if differs(&self.client_id, client_id) || differs(&self.user_name, user_name) {
            return Match::Other;
        }
        match &self.password {
            Some(wanted) if !bool::from(wanted.as_bytes().ct_eq(password)) => Match::WrongPassword,
            Some(_) | None => Match::Valid,
        }
    }
}

impl CertificateCredential {
    /// The certificate as base64 on one line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<'a> Probe<'a> {
    /// What a word looks for. A word that is written like a digest is one, so that each id has one form.
    #[must_use]
    pub fn of(word: &'a str) -> Self {
        digest_of_hex(word).map_or(Self::Word(word), Self::Digest)
    }

    /// What a client id and a user name look for together; an empty one takes no part.
    #[must_use]
    pub fn of_names(client_id: &str, user_name: &str) -> Self {
        Self::Digest(digest_of_names(client_id, user_name))
    }
}

/// The fingerprint of a certificate: the digest of the base64 text of its DER form.
#[must_use]
pub fn fingerprint(der: &[u8]) -> Fingerprint {
    sha3(&STANDARD.encode(der))
}

/// A digest in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes all text");
        out
    })
}

/// The digest that a text of lower-case hexadecimal digits means: the inverse of [`hex`].
#[must_use]
pub(crate) fn of_hex(text: &str) -> Option<Fingerprint> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _no_digit => None,
    };
    let mut bytes = Fingerprint::default();
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digest_of_names(client_id: &str, user_name: &str) -> Fingerprint {
    match (client_id, user_name) {
        ("", name) | (name, "") => sha3(name),
        (client_id, user_name) => sha3(&[client_id, "|", user_name].concat()),
    }
}

fn sha3(text: &str) -> Fingerprint {
    Sha3_256::digest(text.as_bytes()).into()
}

fn digest_of_hex(word: &str) -> Option<Fingerprint> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if word.len() != 64 || !word.bytes().all(is_hex) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(word.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// The text of a certificate without the frame and the line ends of PEM.
fn bare_certificate(text: &str) -> String {
    text.replace("-----BEGIN CERTIFICATE-----", "")
        .replace("-----END CERTIFICATE-----", "")
        .replace(['\r', '\n'], "")
}

fn plain(text: &str) -> Result<&str, NoCredential> {
    if text.chars().any(char::is_control) { Err(NoCredential::ControlCharacter) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_word_or_the_digest_of_what_is_shown() {
        // printf abc | openssl dgst -sha3-256
        let abc = "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532";
        assert_eq!(hex(&sha3("abc")), abc);
        let id = |client_id, user_name, password| {
            Credential::basic(client_id, user_name, password).map(|credential| credential.id())
        };
        assert_eq!(id("abc", "", ""), Ok(abc.to_owned()));
        assert_eq!(id("", "abc", "secret"), Ok("abc".to_owned()));
        assert_eq!(id("c", "u", ""), Ok(hex(&sha3("c|u"))));
        assert_eq!(id("c", "u", "p"), id("c", "u", ""));
        assert_eq!(Credential::token("abc").map(|token| token.id()), Ok("abc".to_owned()));
        assert_eq!(Credential::token(abc).map(|token| token.id()), Ok(abc.to_owned()));
    }

    #[test]
    fn what_nobody_could_be_found_by_is_no_credential() {
        assert_eq!(Credential::basic("", "", "p"), Err(NoCredential::Nameless));
        assert_eq!(Credential::basic("c", "", "p"), Err(NoCredential::PasswordWithoutUserName));
        assert_eq!(Credential::basic("c\n", "", ""), Err(NoCredential::ControlCharacter));
        assert_eq!(Credential::token(""), Err(NoCredential::Empty));
        assert_eq!(Credential::token("a\u{7f}"), Err(NoCredential::ControlCharacter));
        assert_eq!(Credential::certificate("-----BEGIN CERTIFICATE-----\n"), Err(NoCredential::Empty));
    }

    #[test]
    fn a_certificate_has_one_fingerprint_as_pem_base64_and_der() {
        let der = [0x30, 0x03, 0x02, 0x01, 0xff];
        let base64 = "MAMCAf8=";
        let pem = "-----BEGIN CERTIFICATE-----\r\nMAMC\nAf8=\r\n-----END CERTIFICATE-----\n";
        let digest = Probe::Digest(fingerprint(&der));
        for text in [base64, pem] {
            let credential = Credential::certificate(text).unwrap();
            assert!(credential.probe() == digest, "{text}");
            let Credential::Certificate(certificate) = credential else { panic!("a certificate") };
            assert_eq!(certificate.text(), base64);
        }
        assert!(digest != Probe::Digest(Sha3_256::digest(der).into()), "not the digest of the bytes");
    }

    #[test]
    fn a_basic_credential_asks_only_for_what_it_has() {
        let matches = |stored: (&str, &str, &str), shown: (&str, &str, &str)| {
            let Ok(Credential::Basic(basic)) = Credential::basic(stored.0, stored.1, stored.2) else {
                panic!("basic")
            };
            basic.matches(shown.0, shown.1, shown.2.as_bytes())
        };
        assert_eq!(matches(("C", "", ""), ("C", "x", "y")), Match::Valid);
        assert_eq!(matches(("C", "", ""), ("D", "", "")), Match::Other);
        assert_eq!(matches(("", "U", ""), ("any", "U", "any")), Match::Valid);
        assert_eq!(matches(("", "U", "P"), ("any", "U", "P")), Match::Valid);
        assert_eq!(matches(("", "U", "P"), ("any", "U", "")), Match::WrongPassword);
        assert_eq!(matches(("", "U", "P"), ("any", "V", "P")), Match::Other);
        assert_eq!(matches(("C", "U", "P"), ("C", "U", "Q")), Match::WrongPassword);
        assert_eq!(matches(("C", "U", "P"), ("D", "U", "P")), Match::Other);
        assert_eq!(matches(("C", "U", "P"), ("C", "U", "P")), Match::Valid);
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", Credential::token("secret").unwrap()), "Token(..)");
    }
}
