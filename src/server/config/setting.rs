//! Kinds of values: how each is read from a file or a variable, and written into the default file.
//!
//! Invariants:
//! - What `show` writes, `read` accepts and turns into the same value.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use access::CertificateName;
use device::{DoorQuirks, Keeping, Rate, Submit};
use shard::Durability;
use stdx::Rates;
use toml::de::DeValue;

use super::authentication::{AuthenticatorKind, CertificateUse, Names};
use super::complaint::guess;
use super::sections::{LogFormat, LogLevel};
use super::transport::{Bind, ClientCertificate, KeyPairs, Networks, Protocol, TlsMin};
use crate::cores::Cores;

/// A value as it was found.
pub(super) struct Raw {
    pub(super) form: Form,
    pub(super) text: String,
}

/// What a value looks like. A variable looks like whatever is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Text,
    Integer,
    Boolean,
    Variable,
    Other(&'static str),
}

/// A kind of value.
pub(super) trait Setting: Sized {
    /// The forms in which it may stand in a file.
    const FORMS: &'static [Form];
    /// What to write instead of nonsense.
    const WANTED: &'static str;

    /// Reads the text of a value whose form is right.
    fn read(text: &str) -> Result<Self, String>;
    /// Writes it as TOML; nothing if it is unset.
    fn show(&self) -> Option<String>;

    /// What a value may look like, where none is set.
    const EXAMPLE: &'static str = "true";

    /// As [`Setting::EXAMPLE`], for whoever has a value and not its type.
    fn example(&self) -> &'static str {
        Self::EXAMPLE
    }
}

/// Reads a value whatever its form; the error says what was wanted and what was found.
pub(super) fn read<S: Setting>(raw: &Raw) -> Result<S, String> {
    let matches = raw.form == Form::Variable || S::FORMS.contains(&raw.form);
    if matches { S::read(&raw.text) } else { Err(format!("wants {}, not {}", S::WANTED, raw.form.name())) }
}

/// Reads a number that must lie in a range.
pub(super) fn read_within<S: Setting + PartialOrd + Display>(
    raw: &Raw,
    range: RangeInclusive<S>,
) -> Result<S, String> {
    let value: S = read(raw)?;
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("wants a number from {} to {}, not {value}", range.start(), range.end()))
}

impl Raw {
    /// The value of an environment variable or a flag.
    pub(super) fn variable(text: &str) -> Self {
        Self { form: Form::Variable, text: text.to_owned() }
    }

    /// A value of a file.
    pub(super) fn toml(value: &DeValue<'_>) -> Self {
        let (form, text) = match value {
            DeValue::String(text) => (Form::Text, text.to_string()),
            DeValue::Integer(number) => (Form::Integer, decimal(number.as_str(), number.radix())),
            DeValue::Boolean(truth) => (Form::Boolean, truth.to_string()),
            DeValue::Float(_) => (Form::Other("a number with a fraction"), String::new()),
            DeValue::Datetime(_) => (Form::Other("a date"), String::new()),
            DeValue::Array(_) => (Form::Other("an array"), String::new()),
            DeValue::Table(_) => (Form::Other("a table"), String::new()),
        };
        Self { form, text }
    }
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Text => "a string",
            Form::Integer => "an integer",
            Form::Boolean => "true or false",
            Form::Variable => "a variable",
            Form::Other(name) => name,
        }
    }
}

fn decimal(digits: &str, radix: u32) -> String {
    let plain = digits.replace('_', "");
    i128::from_str_radix(&plain, radix).map_or(plain, |number| number.to_string())
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            const FORMS: &'static [Form] = &[Form::Integer];
            const WANTED: &'static str = "an integer";

            fn read(text: &str) -> Result<Self, String> {
                let plain = text.trim().replace('_', "");
                plain.parse().map_err(|_| match plain.parse::<i128>() {
                    Ok(_) => format!("wants a number from {} to {}, not {plain}", Self::MIN, Self::MAX),
                    Err(_) => format!("wants an integer, not `{text}`"),
                })
            }

            fn show(&self) -> Option<String> {
                Some(grouped(&self.to_string()))
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64);

/// Digits in groups of three, from 10,000 up.
fn grouped(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    String::from_utf8_lossy(&groups.join(&b'_')).into_owned()
}

impl Setting for bool {
    const FORMS: &'static [Form] = &[Form::Boolean];
    const WANTED: &'static str = "true or false";

    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("wants true or false, not `{text}`"))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl<T: Setting> Setting for Option<T> {
    const FORMS: &'static [Form] = T::FORMS;
    const WANTED: &'static str = T::WANTED;

    fn read(text: &str) -> Result<Self, String> {
        T::read(text).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }

    fn example(&self) -> &'static str {
        T::EXAMPLE
    }
}

impl Setting for String {
    const FORMS: &'static [Form] = &[Form::Text];
    const WANTED: &'static str = "a string";
    const EXAMPLE: &'static str = "\"...\"";

    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Setting for PathBuf {
    const FORMS: &'static [Form] = &[Form::Text];
    const WANTED: &'static str = "a path";
    const EXAMPLE: &'static str = "\"/etc/ringmq/...\"";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("wants a path, and this is none".to_owned()) } else { Ok(text.into()) }
    }

    fn show(&self) -> Option<String> {
        Some(format!("{:?}", self.display().to_string()))
    }
}

impl Setting for Names {
    const FORMS: &'static [Form] = &[Form::Text];
    const WANTED: &'static str = "a string such as \"one, two\"";
    const EXAMPLE: &'static str = "\"one, two\"";

    fn read(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Self(names.map(str::to_owned).collect()))
    }

    fn show(&self) -> Option<String> {
        Some(format!("{:?}", self.0.join(", ")))
    }
}

impl Setting for Rates {
    const FORMS: &'static [Form] = &[Form::Text];
    const WANTED: &'static str = "rates such as \"100:1,2000:60\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|refused: stdx::RatesError| refused.to_string())
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

impl Setting for Rate {
    const FORMS: &'static [Form] = &[Form::Text];
    const WANTED: &'static str = "rates such as \"100:1,2000:60\"";

    fn read(text: &str) -> Result<Self, String> {
        Rate::read(text).map_err(|_| format!("wants {}, at most 8 of them, not `{text}`", Self::WANTED))
    }

    fn show(&self) -> Option<String> {
        Some(format!("{:?}", self.text()))
    }
}

impl Setting for SocketAddr {
    const FORMS: &'static [Form] = &[Form::Text];
    const WANTED: &'static str = "a string such as \"127.0.0.1:1883\"";
    const EXAMPLE: &'static str = "\"127.0.0.1:9883\"";

    fn read(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("wants an IP address and a port such as 127.0.0.1:1883 or [::1]:1883, not `{text}`");
        text.trim().parse().map_err(|_| wanted())
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

impl Setting for Cores {
    const FORMS: &'static [Form] = &[Form::Text, Form::Integer];
    const WANTED: &'static str = "\"all\", a number, or a list such as \"0,2-3\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|refused: crate::cores::CoresError| refused.to_string())
    }

    fn show(&self) -> Option<String> {
        match self {
            Cores::Count(count) => Some(count.to_string()),
            Cores::All | Cores::List(_) => Some(format!("\"{self}\"")),
        }
    }
}

macro_rules! texts {
    ($($kind:ty, $wanted:literal, $example:literal;)*) => {$(
        impl Setting for $kind {
            const FORMS: &'static [Form] = &[Form::Text];
            const WANTED: &'static str = $wanted;
            const EXAMPLE: &'static str = $example;

            fn read(text: &str) -> Result<Self, String> {
                text.parse::<Self>().map_err(|refused| refused.to_string())
            }

            fn show(&self) -> Option<String> {
                Some(format!("{:?}", self.to_string()))
            }
        }
    )*};
}

texts! {
    Bind, "a string such as \"127.0.0.1:1883\"", "\"127.0.0.1:1883\"";
    DoorQuirks, "a string such as \"nullsRefused\"", "\"nullsRefused\"";
    KeyPairs, "a string such as \"a.pem a.key, b.pem b.key\"", "\"a.pem a.key, b.pem b.key\"";
    Networks, "a string such as \"10.0.0.0/8, 127.0.0.1\"", "\"10.0.0.0/8, 127.0.0.1\"";
}

macro_rules! words {
    ($($kind:ty { $($word:literal = $value:path),+ $(,)? })*) => {$(
        impl Setting for $kind {
            const FORMS: &'static [Form] = &[Form::Text];
            const EXAMPLE: &'static str = words!(@first $($word),+);
            const WANTED: &'static str = concat!("one of" $(, " \"", $word, "\"")+);

            fn read(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok($value),)+
                    other => {
                        Err(format!("wants {}, not `{other}`{}", Self::WANTED, guess(other, [$($word),+].into_iter())))
                    }
                }
            }

            fn show(&self) -> Option<String> {
                Some(match self { $($value => concat!("\"", $word, "\"").to_owned(),)+ })
            }
        }
    )*};
    (@first $first:literal $(, $word:literal)*) => { concat!("\"", $first, "\"") };
}

/// The name of a durability in the configuration, in the log and in metrics.
pub(crate) fn name_of(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "fsync",
        Durability::Interval => "interval",
        Durability::Memory => "memory",
    }
}

words! {
    Protocol {
        "mqtt" = Protocol::Mqtt, "mqtts" = Protocol::Mqtts, "ws" = Protocol::Ws, "wss" = Protocol::Wss,
    }
    ClientCertificate {
        "none" = ClientCertificate::None,
        "optional" = ClientCertificate::Optional,
        "required" = ClientCertificate::Required,
        "any" = ClientCertificate::Any,
    }
    TlsMin { "1.2" = TlsMin::V12, "1.3" = TlsMin::V13 }
    LogLevel {
        "error" = LogLevel::Error, "warn" = LogLevel::Warn, "info" = LogLevel::Info, "debug" = LogLevel::Debug,
    }
    Durability { "fsync" = Durability::Fsync, "interval" = Durability::Interval, "memory" = Durability::Memory }
    AuthenticatorKind {
        "password-file" = AuthenticatorKind::PasswordFile, "certificate" = AuthenticatorKind::Certificate,
        "jwt" = AuthenticatorKind::Jwt, "http" = AuthenticatorKind::Http, "registry" = AuthenticatorKind::Registry,
    }
    Submit {
        "burst" = Submit::Burst, "sequential-ack" = Submit::AfterAck, "sequential-answer" = Submit::AfterAnswer,
    }
    Keeping { "history" = Keeping::History, "latest" = Keeping::Latest, "forward" = Keeping::Forward }
    CertificateName {
        "cn" = CertificateName::Common, "san" = CertificateName::Alternative,
        "fingerprint" = CertificateName::Fingerprint,
    }
    CertificateUse { "user" = CertificateUse::User, "client-id" = CertificateUse::ClientId }
    LogFormat { "text" = LogFormat::Text, "json" = LogFormat::Json }
}
