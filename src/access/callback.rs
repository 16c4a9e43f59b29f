//! What goes to an HTTP service that knows the clients, and what comes back.
//!
//! Why unknown members are refused: an answer in which `acl` is misspelt would otherwise allow everything.
//!
//! Invariants:
//! - Only an answer that is wholly understood lets anybody in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mqtt::topic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::rule::{Rule, Verdict};
use crate::token::{FILTERS_MAX, LEVELS_MAX, TokenRights};

/// What the service is told of a client that wants to come in.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Visitor<'a> {
    /// The client id in use.
    pub client_id: &'a str,
    /// The user name; null without one.
    pub user: Option<&'a str>,
    /// The password if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<&'a str>,
    /// The password in Base64 if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_base64: Option<&'a str>,
    /// The client's IP address.
    pub peer: &'a str,
    /// The listener, as the configuration names its address.
    pub listener: &'a str,
}

/// What the service says.
#[derive(Debug)]
pub enum Opinion {
    /// Let in.
    Allowed {
        /// Whether as an administrator.
        is_admin: bool,
        /// What it may do, if the answer speaks of that.
        rights: Option<TokenRights>,
    },
    /// User name or password are wrong.
    WrongCredentials,
    /// The client is known and not wanted.
    Forbidden,
    /// Somebody else must know.
    Unknown,
}

/// Why an answer lets nobody in although it is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OpinionFault {
    /// Another status than those that are agreed on.
    #[error("answered with status {0}")]
    Status(u16),
    /// The body is not what is agreed on.
    #[error("answered with something else than was agreed: {0}")]
    Body(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    allow: Option<bool>,
    known: Option<bool>,
    #[serde(default)]
    admin: bool,
    acl: Option<Filters>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
}

/// The JSON to send for a client.
#[must_use]
pub fn letter(visitor: Visitor<'_>, password: Option<&[u8]>) -> String {
    let text = password.map(std::str::from_utf8);
    let encoded = password.filter(|_| matches!(text, Some(Err(_)))).map(|bytes| STANDARD.encode(bytes));
    let visitor =
        Visitor { password: text.and_then(Result::ok), password_base64: encoded.as_deref(), ..visitor };
    serde_json::to_string(&visitor).expect("strings are JSON")
}

impl Opinion {
    /// Reads an answer.
    ///
    /// # Errors
    /// It is none: whoever asked must be refused.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, OpinionFault> {
        match status {
            200 => Self::parse(body),
            204 => Ok(Self::Allowed { is_admin: false, rights: None }),
            401 => Ok(Self::WrongCredentials),
            403 => Ok(Self::Forbidden),
            other => Err(OpinionFault::Status(other)),
        }
    }

    fn parse(body: &[u8]) -> Result<Self, OpinionFault> {
        let told = |text: String| OpinionFault::Body(text);
        let body: Body = serde_json::from_slice(body).map_err(|fault| told(fault.to_string()))?;
        match (body.known, body.allow) {
            (Some(false), None) => Ok(Self::Unknown),
            (None | Some(true), Some(false)) => Ok(Self::Forbidden),
            (None | Some(true), Some(true)) => {
                let rights = body.acl.map(rights).transpose().map_err(told)?;
                Ok(Self::Allowed { is_admin: body.admin, rights })
            }
            (Some(false), Some(_)) | (None | Some(true), None) => {
                Err(told("says neither \"allow\": true or false nor \"known\": false".to_owned()))
            }
        }
    }
}

fn rights(filters: Filters) -> Result<TokenRights, String> {
    let both = [(Verdict::Write, filters.publish), (Verdict::Read, filters.subscribe)];
    let mut rules = Vec::new();
    for (verdict, filters) in both {
        for filter in filters {
            topic::check_filter(&filter, LEVELS_MAX)
                .map_err(|violation| format!("\"{filter}\" {}", violation.facts().text))?;
            rules.push(Rule::new(verdict, &filter, true));
        }
    }
    if rules.len() > FILTERS_MAX {
        return Err(format!("more than {FILTERS_MAX} filters"));
    }
    Ok(TokenRights::new(rules))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Access, Identity};

    const VISITOR: Visitor<'_> = Visitor {
        client_id: "c\"1",
        user: Some("ann"),
        password: None,
        password_base64: None,
        peer: "127.0.0.1",
        listener: "0.0.0.0:1883",
    };

    #[test]
    fn a_letter_names_the_client_and_never_bends_a_password() {
        let plain = r#"{"client_id":"c\"1","user":"ann","password":"se\u0007cret","peer":"127.0.0.1","listener":"0.0.0.0:1883"}"#;
        assert_eq!(letter(VISITOR, Some(b"se\x07cret")), plain);
        let binary = r#"{"client_id":"c\"1","user":"ann","password_base64":"/wA=","peer":"127.0.0.1","listener":"0.0.0.0:1883"}"#;
        assert_eq!(letter(VISITOR, Some(&[0xff, 0])), binary);
        let nobody = r#"{"client_id":"c\"1","user":null,"peer":"127.0.0.1","listener":"0.0.0.0:1883"}"#;
        assert_eq!(letter(Visitor { user: None, ..VISITOR }, None), nobody);
    }

    #[test]
    fn an_answer_may_grant_rights_of_its_own() {
        let body = br#"{"allow":true,"admin":true,"acl":{"publish":["up/%c"],"subscribe":["down/%u/#"]}}"#;
        let Ok(Opinion::Allowed { is_admin: true, rights: Some(rights) }) = Opinion::read(200, body) else {
            panic!("allowed with rights");
        };
        let who = Identity { client_id: "c", user: Some("ann") };
        assert!(rights.allows(who, Access::Write, "up/c") && !rights.allows(who, Access::Read, "up/c"));
        assert!(rights.may_subscribe(who, "down/ann/x") && !rights.may_subscribe(who, "up/c"));
        // An empty list is a list: nothing is allowed.
        let Ok(Opinion::Allowed { rights: Some(rights), .. }) =
            Opinion::read(200, br#"{"allow":true,"acl":{}}"#)
        else {
            panic!("allowed with no rights");
        };
        assert!(!rights.allows(who, Access::Write, "up/c"));
    }

    #[test]
    fn status_and_body_decide() {
        assert!(matches!(Opinion::read(204, b""), Ok(Opinion::Allowed { is_admin: false, rights: None })));
        assert!(matches!(Opinion::read(401, b"x"), Ok(Opinion::WrongCredentials)));
        assert!(matches!(Opinion::read(403, b""), Ok(Opinion::Forbidden)));
        assert!(matches!(Opinion::read(200, b"{\"allow\":false}"), Ok(Opinion::Forbidden)));
        assert!(matches!(Opinion::read(200, b"{\"known\":false}"), Ok(Opinion::Unknown)));
    }

    #[test]
    fn what_is_not_wholly_understood_is_a_fault() {
        for status in [0, 199, 201, 302, 400, 404, 500, 503] {
            assert_eq!(Opinion::read(status, b"{\"allow\":true}").unwrap_err(), OpinionFault::Status(status));
        }
        for body in [
            "",
            "{}",
            "true",
            "{\"allow\":\"yes\"}",
            "{\"allow\":true,\"acI\":{}}",
            "{\"allow\":true,\"known\":false}",
            "{\"known\":true}",
            "{\"allow\":true,\"acl\":{\"pub\":[]}}",
            "{\"allow\":true,\"acl\":{\"publish\":[\"a/#/b\"]}}",
            "{\"allow\":true,\"acl\":{\"publish\":\"a\"}}",
            "{\"allow\":true",
            "{\"allow\":true}}",
        ] {
            assert!(matches!(Opinion::read(200, body.as_bytes()), Err(OpinionFault::Body(_))), "{body}");
        }
    }
}
