//! JSON Web Tokens in place of passwords.
//!
//! Why the algorithms follow from the key and never from the token: a token that could choose would choose one that it
//! can forge.
//!
//! Invariants:
//! - A token without an expiry time is refused, unless the operator allows it.
//! - Keys of different kinds never verify for each other.
//!
//! Source: RFC 7519 (claims), RFC 7517 (key sets), RFC 8725 (practice).

use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use mqtt::topic;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::rule::{Access, Identity, Rule, Verdict};

/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 16_384;
/// Filters in a token's claim.
pub(crate) const FILTERS_MAX: usize = 256;
/// Levels of a filter in a token.
pub(crate) const LEVELS_MAX: usize = 128;

/// What the operator demands of tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenTerms {
    /// The `iss` that is accepted; any without it.
    pub issuer: Option<String>,
    /// The `aud` that must be among the token's; any without it.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// Whether tokens may never end.
    pub allow_endless: bool,
    /// Clocks may differ by so many seconds.
    pub leeway_s: u64,
}

impl Default for TokenTerms {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            user_claim: "sub".to_owned(),
            allow_endless: false,
            leeway_s: 30,
        }
    }
}

/// Keys that verify tokens, and what is demanded beside a good signature.
#[derive(Debug)]
pub struct Tokens {
    keys: Vec<Key>,
    terms: TokenTerms,
}

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// Why a key file gives no keys.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum KeyFault {
    /// Not a key of the kind that it was said to be.
    #[error("is not a usable key: {0}")]
    Unusable(String),
    /// There is no usable key in the set.
    #[error("holds no key that can verify signatures")]
    Empty,
}

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TokenFault {
    /// The text is not a token, or is too long.
    #[error("is not a token")]
    Malformed,
    /// No key fits, or the signature is wrong.
    #[error("is not signed by a known key")]
    Unsigned,
    /// Issuer, audience, user or rights are missing or wrong.
    #[error("has no acceptable {0}")]
    Claim(String),
    /// Its time is over, or has not begun.
    #[error("is not valid at this time")]
    Time,
}

/// What a good token says.
#[derive(Debug)]
pub struct Bearer {
    /// The user.
    pub user: String,
    /// When the session must end, in seconds since 1970; none if never.
    pub expires_at_s: Option<u64>,
    /// What the token itself allows; none if it does not speak of that.
    pub rights: Option<TokenRights>,
}

/// Filters from the claim `acl`, in the form in use since EMQX: `pub`, `sub` and `all`, with `%c` and `%u`.
#[derive(Debug)]
pub struct TokenRights(Vec<Rule>);

#[derive(Deserialize)]
struct Times {
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl Tokens {
    /// A secret for HMAC.
    #[must_use]
    pub fn with_secret(secret: &[u8], terms: TokenTerms) -> Self {
        let algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        Self { keys: vec![Key { id: None, algorithms, key: DecodingKey::from_secret(secret) }], terms }
    }

    /// A public key in PEM: RSA, elliptic curve or Ed25519.
    ///
    /// # Errors
    /// It is none of these.
    pub fn with_pem(pem: &[u8], terms: TokenTerms) -> Result<Self, KeyFault> {
        type Read = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;
        let kinds: [(Read, &[Algorithm]); 3] = [
            (DecodingKey::from_rsa_pem, RSA),
            (DecodingKey::from_ec_pem, &[Algorithm::ES256, Algorithm::ES384]),
            (DecodingKey::from_ed_pem, &[Algorithm::EdDSA]),
        ];
        let read = kinds.iter().find_map(|(read, algorithms)| read(pem).ok().map(|key| (key, *algorithms)));
        let (key, algorithms) =
            read.ok_or_else(|| KeyFault::Unusable("neither RSA, EC nor Ed25519 in PEM".to_owned()))?;
        Ok(Self { keys: vec![Key { id: None, algorithms: algorithms.to_vec(), key }], terms })
    }

    /// A JSON Web Key Set. Keys of other uses and kinds in it are passed over.
    ///
    /// # Errors
    /// It is not a set, or nothing in it is usable.
    pub fn with_jwks(json: &str, terms: TokenTerms) -> Result<Self, KeyFault> {
        let set: JwkSet =
            serde_json::from_str(json).map_err(|fault| KeyFault::Unusable(fault.to_string()))?;
        let usable = |jwk: &jsonwebtoken::jwk::Jwk| {
            let algorithms = match &jwk.algorithm {
                AlgorithmParameters::RSA(_) => RSA,
                AlgorithmParameters::EllipticCurve(_) => &[Algorithm::ES256, Algorithm::ES384],
                AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA][..],
                // A secret has no place in a set of public keys.
                _ => return None,
            };
            let key = DecodingKey::from_jwk(jwk).ok()?;
            Some(Key { id: jwk.common.key_id.clone(), algorithms: algorithms.to_vec(), key })
        };
        let keys: Vec<Key> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() { Err(KeyFault::Empty) } else { Ok(Self { keys, terms }) }
    }

    /// Whether a password could be a token at all: three parts that are not empty. What it says is not looked at.
    #[must_use]
    pub fn resembles(password: &[u8]) -> bool {
        let parts = password.split(|byte| *byte == b'.');
        let is_part = |part: &[u8]| {
            let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
            !part.is_empty() && part.iter().all(in_alphabet)
        };
        parts.clone().count() == 3 && parts.clone().all(is_part)
    }

    /// Judges a token at a time, in seconds since 1970.
    ///
    /// # Errors
    /// Why it is refused; the text never holds the token.
    pub fn judge(&self, token: &[u8], now_s: u64) -> Result<Bearer, TokenFault> {
        let token = std::str::from_utf8(token).ok().filter(|token| token.len() <= TOKEN_BYTES_MAX);
        let token = token.ok_or(TokenFault::Malformed)?;
        let header = decode_header(token).map_err(|_| TokenFault::Malformed)?;
        let named = |key: &&Key| match (&key.id, &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            _ => true,
        };
        let fitting = self.keys.iter().filter(named).filter(|key| key.algorithms.contains(&header.alg));
        let claims = fitting.filter_map(|key| self.claims(token, header.alg, key)).next();
        let claims = claims.ok_or(TokenFault::Unsigned)?;
        let expires_at_s = self.check_times(&claims, now_s)?;
        self.check_names(&claims)?;
        let user = claims.get(&self.terms.user_claim).and_then(Value::as_str).filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| TokenFault::Claim(self.terms.user_claim.clone()))?.to_owned();
        let rights = claims.get("acl").map(rights).transpose()?;
        Ok(Bearer { user, expires_at_s, rights })
    }

    fn claims(&self, token: &str, algorithm: Algorithm, key: &Key) -> Option<Value> {
        let mut validation = Validation::new(algorithm);
        // Times are judged by the caller's clock, names below.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        decode::<Value>(token, &key.key, &validation).ok().map(|data| data.claims)
    }

    fn check_times(&self, claims: &Value, now_s: u64) -> Result<Option<u64>, TokenFault> {
        let times = Times::deserialize(claims).map_err(|_| TokenFault::Claim("exp or nbf".to_owned()))?;
        let leeway = self.terms.leeway_s;
        if times.nbf.map(seconds).is_some_and(|nbf| nbf > now_s.saturating_add(leeway)) {
            return Err(TokenFault::Time);
        }
        match times.exp.map(seconds) {
            Some(exp) if exp.saturating_add(leeway) <= now_s => Err(TokenFault::Time),
            Some(exp) => Ok(Some(exp.saturating_add(leeway))),
            None if self.terms.allow_endless => Ok(None),
            None => Err(TokenFault::Claim("exp".to_owned())),
        }
    }

    fn check_names(&self, claims: &Value) -> Result<(), TokenFault> {
        let wanted = [("iss", &self.terms.issuer), ("aud", &self.terms.audience)];
        for (claim, wanted) in wanted {
            let Some(wanted) = wanted else { continue };
            let is_met = match claims.get(claim) {
                Some(Value::String(name)) => name == wanted,
                Some(Value::Array(names)) => names.iter().any(|name| name.as_str() == Some(wanted)),
                _ => false,
            };
            if !is_met {
                return Err(TokenFault::Claim(claim.to_owned()));
            }
        }
        Ok(())
    }
}

impl TokenRights {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Whether the token allows it.
    #[must_use]
    pub fn allows(&self, who: Identity<'_>, access: Access, topic: &str) -> bool {
        self.0.iter().any(|rule| rule.verdict.allows(access) && rule.matches(who, topic))
    }

    /// As [`crate::Acl::may_subscribe`].
    #[must_use]
    pub fn may_subscribe(&self, who: Identity<'_>, filter: &str) -> bool {
        self.0.iter().any(|rule| rule.verdict.allows(Access::Read) && rule.overlaps(who, filter))
    }
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

fn rights(claim: &Value) -> Result<TokenRights, TokenFault> {
    let fault = || TokenFault::Claim("acl".to_owned());
    let map = claim.as_object().ok_or_else(fault)?;
    let mut rules = Vec::new();
    for (word, filters) in map {
        let verdict = match word.as_str() {
            "pub" => Verdict::Write,
            "sub" => Verdict::Read,
            "all" => Verdict::ReadWrite,
            _ => return Err(fault()),
        };
        for filter in filters.as_array().ok_or_else(fault)? {
            let filter = filter.as_str().filter(|filter| topic::check_filter(filter, LEVELS_MAX).is_ok());
            rules.push(Rule::new(verdict, filter.ok_or_else(fault)?, true));
        }
    }
    if rules.len() > FILTERS_MAX { Err(fault()) } else { Ok(TokenRights(rules)) }
}

/// A NumericDate may have a fraction; what is not a time at all lies in the past.
fn seconds(date: f64) -> u64 {
    if date.is_finite() && date > 0.0 { date as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

    fn token(claims: &Value, secret: &[u8]) -> Vec<u8> {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret))
            .unwrap()
            .into_bytes()
    }

    fn judged(claims: &Value) -> Result<Bearer, TokenFault> {
        let terms =
            TokenTerms { issuer: Some("us".into()), audience: Some("mqtt".into()), ..TokenTerms::default() };
        Tokens::with_secret(SECRET, terms).judge(&token(claims, SECRET), NOW)
    }

    #[test]
    fn a_good_token_names_its_user_its_end_and_its_rights() {
        let claims = json!({
            "sub": "ann", "exp": NOW + 60, "iss": "us", "aud": ["x", "mqtt"],
            "acl": { "pub": ["up/%c"], "sub": ["down/%u/#"] },
        });
        let bearer = judged(&claims).unwrap();
        assert_eq!((bearer.user.as_str(), bearer.expires_at_s), ("ann", Some(NOW + 90)));
        let (rights, who) = (bearer.rights.unwrap(), Identity { client_id: "c", user: Some("ann") });
        assert!(rights.allows(who, Access::Write, "up/c") && !rights.allows(who, Access::Read, "up/c"));
        assert!(rights.may_subscribe(who, "down/#") && !rights.may_subscribe(who, "up/c"));
    }

    #[test]
    fn whatever_is_missing_or_wrong_is_refused() {
        let good = json!({ "sub": "ann", "exp": NOW + 60, "iss": "us", "aud": "mqtt" });
        assert!(judged(&good).is_ok());
        for (claim, value) in [
            ("exp", json!(NOW - 31)),
            ("exp", Value::Null),
            ("exp", json!("soon")),
            ("exp", json!(-1)),
            ("nbf", json!(NOW + 31)),
            ("iss", json!("them")),
            ("aud", json!(["x"])),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("acl", json!({ "pub": ["a/#/b"] })),
            ("acl", json!({ "publish": [] })),
        ] {
            let mut claims = good.clone();
            claims[claim] = value;
            assert!(judged(&claims).is_err(), "{claims}");
        }
    }

    #[test]
    fn a_token_cannot_choose_how_it_is_verified() {
        let tokens = Tokens::with_secret(SECRET, TokenTerms::default());
        let claims = json!({ "sub": "ann", "exp": NOW + 60 });
        assert!(tokens.judge(&token(&claims, SECRET), NOW).is_ok());
        assert_eq!(tokens.judge(&token(&claims, b"another"), NOW).unwrap_err(), TokenFault::Unsigned);
        // {"alg":"none"}
        let unsigned = b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwMDB9.";
        assert_eq!(tokens.judge(unsigned, NOW).unwrap_err(), TokenFault::Malformed);
        // The public key as an HMAC secret, the oldest trick of all.
        let pem = include_bytes!("testdata/ec-public.pem");
        let public = Tokens::with_pem(pem, TokenTerms::default()).unwrap();
        assert_eq!(public.judge(&token(&claims, pem), NOW).unwrap_err(), TokenFault::Unsigned);
        assert!(tokens.judge(b"", NOW).is_err() && tokens.judge(&[b'a'; 20_000], NOW).is_err());
    }

    #[test]
    fn public_keys_verify_alone_and_in_sets() {
        let private = EncodingKey::from_ec_pem(include_bytes!("testdata/ec-private.pem")).unwrap();
        let claims = json!({ "sub": "ann", "exp": NOW + 60 });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".to_owned());
        let token = encode(&header, &claims, &private).unwrap();
        let pem = include_bytes!("testdata/ec-public.pem");
        let single = Tokens::with_pem(pem, TokenTerms::default()).unwrap();
        assert_eq!(single.judge(token.as_bytes(), NOW).unwrap().user, "ann");
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap();
        for (id, is_known) in [("k1", true), ("k2", false)] {
            let mut jwk = jwk.clone();
            jwk.common.key_id = Some(id.to_owned());
            let set = serde_json::to_string(&JwkSet { keys: vec![jwk] }).unwrap();
            let tokens = Tokens::with_jwks(&set, TokenTerms::default()).unwrap();
            assert_eq!(tokens.judge(token.as_bytes(), NOW).is_ok(), is_known, "{id}");
        }
        assert!(Tokens::with_pem(b"nonsense", TokenTerms::default()).is_err());
        assert_eq!(Tokens::with_jwks("{\"keys\":[]}", TokenTerms::default()).unwrap_err(), KeyFault::Empty);
    }
}
