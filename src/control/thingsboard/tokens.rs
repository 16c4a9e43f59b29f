//! Tokens: who somebody is, signed by this broker.
//!
//! Why a seal in every token: it is a digest of the password's hash, so a new password ends all tokens of the old one, also
//! after a restart and without a list.
//!
//! Invariants:
//! - One algorithm, HS512; a token cannot choose another.
//! - A token of one use is refused in every other.
//!
//! Source: RFC 7519; section 13.1 of the vectors for lifetimes and scopes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use device::{User, fingerprint};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use super::clock::chance;
use super::refusal::Refusal;
use super::settings::ApiSettings;
use super::shape::{NULL_ID, authority_name};

/// Who issues tokens.
const ISSUER: &str = "ringmq";
/// Bytes below which a secret is no secret.
const SECRET_BYTES_MIN: usize = 32;
/// How long somebody has to choose a first password, in seconds.
const ACTIVATION_S: u64 = 86_400;
/// Sessions that ended before their tokens did.
const ENDED_MAX: usize = 10_000;

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// To ask for something.
    Access,
    /// To fetch new tokens.
    Refresh,
    /// To choose a first password.
    Activate,
}

/// Makes and reads tokens.
pub(crate) struct Tokens {
    signs: EncodingKey,
    reads: DecodingKey,
    token_s: u64,
    refresh_s: u64,
    /// Sessions that were logged out, and when the last of their tokens ends.
    ended: Mutex<BTreeMap<String, u64>>,
}

/// What a token says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Claims {
    /// The name of the user.
    pub sub: String,
    /// Their id.
    pub user_id: String,
    /// What they may do, or what the token is for.
    pub scopes: Vec<String>,
    /// Tokens of one login have one.
    pub session_id: String,
    iss: String,
    iat: u64,
    exp: u64,
    enabled: bool,
    tenant_id: String,
    customer_id: String,
    seal: String,
}

impl Tokens {
    /// With the operator's secret, or with a new one if that is too short: then tokens end with the process.
    pub fn new(settings: &ApiSettings) -> Self {
        let mut secret = settings.jwt_secret.clone();
        if secret.len() < SECRET_BYTES_MIN {
            secret = (0..8).flat_map(|_| chance().to_be_bytes()).collect();
        }
        Self {
            signs: EncodingKey::from_secret(&secret),
            reads: DecodingKey::from_secret(&secret),
            token_s: settings.token_s,
            refresh_s: settings.refresh_s,
            ended: Mutex::default(),
        }
    }

    /// A token for a user.
    pub fn make(&self, user: &User, purpose: Use, session: &str, now_ms: i64) -> Result<String, Refusal> {
        let now_s = seconds(now_ms);
        let (scope, lasts_s) = match purpose {
            Use::Access => (authority_name(user.authority), self.token_s),
            Use::Refresh => ("REFRESH_TOKEN", self.refresh_s),
            Use::Activate => ("ACTIVATE", ACTIVATION_S),
        };
        let or_null = |id: Option<String>| id.unwrap_or_else(|| NULL_ID.to_owned());
        let claims = Claims {
            sub: user.name.to_string(),
            user_id: user.id.to_string(),
            scopes: vec![scope.to_owned()],
            session_id: session.to_owned(),
            iss: ISSUER.to_owned(),
            iat: now_s,
            exp: now_s.saturating_add(lasts_s),
            enabled: true,
            tenant_id: or_null(user.tenant.map(|tenant| tenant.to_string())),
            customer_id: or_null(user.customer.map(|customer| customer.to_string())),
            seal: seal(user),
        };
        let token = encode(&Header::new(Algorithm::HS512), &claims, &self.signs);
        token.map_err(|_| Refusal::fault("The token cannot be signed"))
    }

    /// Reads a token that is meant for a use.
    pub fn read(&self, token: &str, purpose: Use, now_ms: i64) -> Result<Claims, Refusal> {
        let mut validation = Validation::new(Algorithm::HS512);
        // The time is compared below, with the clock of this room.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        let invalid = Refusal::stranger("Invalid token");
        let claims = decode::<Claims>(token, &self.reads, &validation).map_err(|_| invalid.clone())?.claims;
        let is_for = match claims.scopes.first().map(String::as_str) {
            Some("REFRESH_TOKEN") => Use::Refresh,
            Some("ACTIVATE") => Use::Activate,
            Some(_) => Use::Access,
            None => return Err(invalid),
        };
        if is_for != purpose {
            return Err(invalid);
        }
        if claims.exp <= seconds(now_ms) || self.ended().contains_key(&claims.session_id) {
            return Err(Refusal::expired());
        }
        Ok(claims)
    }

    /// Ends a session: its tokens are refused from now on.
    pub fn end(&self, claims: &Claims, now_ms: i64) {
        let now_s = seconds(now_ms);
        let mut ended = self.ended();
        ended.retain(|_, until_s| *until_s > now_s);
        if ended.len() >= ENDED_MAX {
            let first = ended.iter().min_by_key(|(_, until_s)| **until_s).map(|(session, _)| session.clone());
            first.map(|first| ended.remove(&first));
        }
        ended.insert(claims.session_id.clone(), claims.iat.saturating_add(self.refresh_s));
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claims {
    /// Whether the user still has the password with which the token was made.
    pub fn fits(&self, user: &User) -> bool {
        self.seal == seal(user)
    }
}

fn seal(user: &User) -> String {
    let digest = fingerprint(user.password_hash.as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seconds(ms: i64) -> u64 {
    u64::try_from(ms / 1000).unwrap_or_default()
}
