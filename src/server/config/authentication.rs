//! Who is let in: the `[[authenticator]]` sections, `[access]`, and the chain of each listener.
//!
//! Why names in between: two listeners that ask one password file should say so once.
//!
//! Invariants:
//! - Every name in a chain is that of an authenticator, or the word `anonymous`; no chain is empty.
//! - An authenticator has what its kind needs and nothing that belongs to another.

use std::path::PathBuf;

use access::CertificateName;

use super::complaint::{Complaint, Place, guess};
use super::sections::{Config, Listener};
use super::transport::is_web_address;

/// The member of a chain that lets in whoever shows nothing.
pub(super) const ANONYMOUS: &str = "anonymous";

/// A way to find out who a client is.
#[derive(Clone, Debug)]
pub struct Authenticator {
    /// What listeners call it.
    pub name: String,
    /// What it asks.
    pub kind: Option<AuthenticatorKind>,
    /// Users and hashes.
    pub file: Option<PathBuf>,
    /// Which name in a certificate counts.
    pub identity: CertificateName,
    /// What that name is.
    pub identity_as: CertificateUse,
    /// The secret of HMAC tokens.
    pub secret_file: Option<PathBuf>,
    /// The public key of signed tokens, in PEM.
    pub public_key_file: Option<PathBuf>,
    /// A set of public keys.
    pub jwks_file: Option<PathBuf>,
    /// The issuer that tokens must have.
    pub issuer: Option<String>,
    /// The audience that must be among a token's.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// Where the service is.
    pub url: Option<String>,
    /// How long it may take.
    pub timeout_ms: u32,
    /// How long its answers hold.
    pub cache_s: u32,
    /// Where it was configured, for complaints.
    pub place: Place,
}

/// What an authenticator asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthenticatorKind {
    /// A file of users and hashes.
    PasswordFile,
    /// The client's certificate.
    Certificate,
    /// A token in the place of the password.
    Jwt,
    /// A service.
    Http,
    /// The registry of devices.
    Registry,
}

/// What the name in a certificate is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CertificateUse {
    /// The user name.
    #[default]
    User,
    /// The client id, whatever the CONNECT says.
    ClientId,
}

/// Who may do what on the broker itself.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Users who may read `$SYS` and use the API.
    pub admins: Names,
}

/// Names, in the order in which they were written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names(pub Vec<String>);

/// One member of a listener's chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChainMember {
    /// Whoever shows nothing is let in.
    Anonymous,
    /// The authenticator at this place of the configuration.
    Authenticator(usize),
}

impl Default for Authenticator {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: None,
            file: None,
            identity: CertificateName::default(),
            identity_as: CertificateUse::default(),
            secret_file: None,
            public_key_file: None,
            jwks_file: None,
            issuer: None,
            audience: None,
            user_claim: "sub".to_owned(),
            url: None,
            timeout_ms: 3000,
            cache_s: 60,
            place: Place::Default,
        }
    }
}

impl Listener {
    /// Whether only this machine reaches it: a proxy on this machine brings others.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.bind.is_local() && self.proxy_protocol_from.is_none()
    }

    /// Whether anonymous clients are let in at the end of its chain.
    fn ends_with_anonymous(&self) -> bool {
        match (self.allow_anonymous, &self.authentication) {
            (Some(allowed), _) => allowed,
            (None, Some(_)) => false,
            (None, None) => self.is_local(),
        }
    }
}

impl Config {
    /// Whom a listener asks, in turn. Nobody where clients are devices: their dialect knows them, and for anybody else the
    /// end of the chain refuses.
    pub(crate) fn chain_of(&self, listener: &Listener) -> Vec<ChainMember> {
        if listener.has_devices {
            return Vec::new();
        }
        let names = listener.authentication.as_ref().map_or(&[][..], |names| &names.0[..]);
        let member = |name: &String| match name.as_str() {
            ANONYMOUS => Some(ChainMember::Anonymous),
            name => {
                let place = self.authenticator.iter().position(|known| known.name == name);
                place.map(ChainMember::Authenticator)
            }
        };
        let mut chain: Vec<ChainMember> = names.iter().filter_map(member).collect();
        if listener.ends_with_anonymous() && !chain.contains(&ChainMember::Anonymous) {
            chain.push(ChainMember::Anonymous);
        }
        chain
    }
}

/// Checks everything about authentication that is more than one value.
pub(super) fn check_authentication(config: &Config, complaints: &mut Vec<Complaint>) {
    for (index, authenticator) in config.authenticator.iter().enumerate() {
        let earlier = &config.authenticator[..index];
        let texts = check_name(authenticator, earlier).into_iter().chain(check_kind(authenticator));
        complaints.extend(texts.map(|text| authenticator.place.complain(text)));
    }
    for listener in &config.listener {
        let texts = match listener.has_devices {
            true => check_no_chain(listener),
            false => check_chain(config, listener),
        };
        complaints.extend(texts.into_iter().map(|text| listener.place.complain(text)));
    }
}

fn check_name(authenticator: &Authenticator, earlier: &[Authenticator]) -> Option<String> {
    let name = authenticator.name.as_str();
    if name.is_empty() || name.contains(',') || name.trim() != name {
        return Some("an authenticator needs a `name` that is not empty and holds no comma".to_owned());
    }
    if name == ANONYMOUS {
        return Some(
            "an authenticator cannot be called `anonymous`, which means that nobody is asked".to_owned(),
        );
    }
    let is_taken = earlier.iter().any(|other| other.name == name);
    is_taken.then(|| format!("two authenticators have the name `{name}`"))
}

fn check_kind(authenticator: &Authenticator) -> Vec<String> {
    let Authenticator { name, kind, .. } = authenticator;
    let Some(kind) = kind else {
        return vec![format!(
            "authenticator `{name}` needs a `kind`: \"password-file\", \"certificate\", \"jwt\", \"http\" or \"registry\""
        )];
    };
    let keys = [
        (AuthenticatorKind::PasswordFile, "file", authenticator.file.is_some()),
        (AuthenticatorKind::Jwt, "secret_file", authenticator.secret_file.is_some()),
        (AuthenticatorKind::Jwt, "public_key_file", authenticator.public_key_file.is_some()),
        (AuthenticatorKind::Jwt, "jwks_file", authenticator.jwks_file.is_some()),
        (AuthenticatorKind::Jwt, "issuer", authenticator.issuer.is_some()),
        (AuthenticatorKind::Jwt, "audience", authenticator.audience.is_some()),
        (AuthenticatorKind::Http, "url", authenticator.url.is_some()),
    ];
    let stray = keys.iter().filter(|(of, _, is_set)| of != kind && *is_set);
    let mut texts: Vec<String> = stray
        .map(|(_, key, _)| format!("authenticator `{name}` is of another kind and has no use for `{key}`"))
        .collect();
    texts.extend(missing(authenticator, *kind));
    texts
}

/// What a kind cannot do without.
fn missing(authenticator: &Authenticator, kind: AuthenticatorKind) -> Option<String> {
    let name = &authenticator.name;
    match kind {
        AuthenticatorKind::PasswordFile => {
            authenticator.file.is_none().then(|| format!("authenticator `{name}` needs a `file`"))
        }
        AuthenticatorKind::Certificate | AuthenticatorKind::Registry => None,
        AuthenticatorKind::Jwt => {
            let keys = [&authenticator.secret_file, &authenticator.public_key_file, &authenticator.jwks_file];
            let count = keys.iter().filter(|key| key.is_some()).count();
            (count != 1).then(|| {
                format!(
                    "authenticator `{name}` needs exactly one of `secret_file`, `public_key_file` and `jwks_file`"
                )
            })
        }
        AuthenticatorKind::Http => match authenticator.url.as_deref() {
            Some(url) if is_web_address(url) => None,
            Some(_) => {
                Some(format!("the `url` of authenticator `{name}` must begin with http:// or https://"))
            }
            None => Some(format!("authenticator `{name}` needs a `url`")),
        },
    }
}

/// Whoever writes down whom to ask believes that it protects somebody.
fn check_no_chain(listener: &Listener) -> Vec<String> {
    let keys = [
        ("authentication", listener.authentication.is_some()),
        ("allow_anonymous", listener.allow_anonymous.is_some()),
        ("acl_file", listener.acl_file.is_some()),
    ];
    let set = keys.into_iter().filter_map(|(key, is_set)| is_set.then_some(key));
    set.map(|key| {
        format!(
            "`{key}` is not used with `dialect = \"{}\"`: the registry of devices says who they are, and their dialect \
             what they may do",
            listener.dialect
        )
    })
    .collect()
}

fn check_chain(config: &Config, listener: &Listener) -> Vec<String> {
    let known = || config.authenticator.iter().map(|known| known.name.as_str()).chain([ANONYMOUS]);
    let names = listener.authentication.as_ref().map_or(&[][..], |names| &names.0[..]);
    let mut texts = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if !known().any(|known| known == name) {
            let hint = guess(name, known());
            texts.push(format!(
                "`authentication` names `{name}`, and no [[authenticator]] has that name{hint}"
            ));
        } else if names[..index].contains(name) {
            texts.push(format!("`authentication` names `{name}` twice"));
        }
    }
    if names.iter().any(|name| name == ANONYMOUS) && listener.allow_anonymous == Some(false) {
        texts.push("`authentication` names anonymous, and `allow_anonymous` is false".to_owned());
    }
    if names.is_empty() {
        texts.extend(check_open_door(listener));
    }
    texts
}

/// A listener that asks nobody: whether that was meant.
fn check_open_door(listener: &Listener) -> Option<String> {
    let bind = &listener.bind;
    if listener.authentication.is_some() && listener.allow_anonymous.is_none() {
        return Some("`authentication` names nobody; without authentication, write \"anonymous\"".to_owned());
    }
    match listener.allow_anonymous {
        None if !listener.is_local() => Some(format!(
            "{bind} can be reached by others and nobody is asked who they are; set `authentication`, or, if anybody who \
             reaches it may publish and subscribe, `allow_anonymous = true` for this listener (or \
             RINGMQ_LISTENER_ALLOW_ANONYMOUS=true)"
        )),
        Some(false) => Some(format!(
            "nobody could connect to {bind}: anonymous clients may not, and `authentication` is not set"
        )),
        None | Some(true) => None,
    }
}
