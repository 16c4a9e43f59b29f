//! What is answered instead: one body for all errors, with the codes of the system whose API this is.
//!
//! Why a type and no responses: a handler returns early with `?`, and how an error looks on the wire is said once.
//!
//! Invariants:
//! - No refusal tells what belongs to another tenant.
//!
//! Source: section 13.1 of the vectors.

use std::borrow::Cow;
use std::fmt::Display;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use device::{Clash, NAME_CHARS_MAX};
use serde_json::json;

use super::clock::wall_ms;

/// Something is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    shape: Shape,
    text: Cow<'static, str>,
}

/// How it looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// An object with this error code.
    Coded(u8),
    /// The text alone.
    Plain,
    /// The text as JSON.
    Quoted,
}

impl Refusal {
    fn coded(status: StatusCode, code: u8, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, shape: Shape::Coded(code), text: text.into() }
    }

    /// The text alone, as some calls of this API answer.
    pub fn plain(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, shape: Shape::Plain, text: text.into() }
    }

    /// A status and nothing else.
    pub fn bare(status: StatusCode) -> Self {
        Self::plain(status, "")
    }

    /// The text as a JSON string.
    pub fn quoted(status: StatusCode, text: &'static str) -> Self {
        Self { status, shape: Shape::Quoted, text: text.into() }
    }

    /// What was asked makes no sense.
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::coded(StatusCode::BAD_REQUEST, 31, text)
    }

    /// A text that people have given something is longer than names may be.
    pub fn too_long(member: &'static str) -> Self {
        Self::bad(format!("Validation error: {member} length must be equal or less than {NAME_CHARS_MAX}"))
    }

    /// The body is not what it should be.
    pub fn bad_body(why: impl Display) -> Self {
        Self::bad(format!("Invalid request body: {why}"))
    }

    /// There is no such thing, or it belongs to somebody else.
    pub fn missing(kind: &str, id: impl Display) -> Self {
        Self::coded(StatusCode::NOT_FOUND, 32, format!("{kind} with id [{id}] is not found"))
    }

    /// What was asked for by something else than an id is not there.
    pub fn nothing() -> Self {
        Self::coded(StatusCode::NOT_FOUND, 32, "Requested item wasn't found!")
    }

    /// The path is there, and takes another method.
    pub fn method() -> Self {
        Self::coded(StatusCode::METHOD_NOT_ALLOWED, 31, "This path does not take that method")
    }

    /// Whoever asks may not.
    pub fn forbidden() -> Self {
        Self::coded(StatusCode::FORBIDDEN, 20, "You don't have permission to perform this operation!")
    }

    /// Nobody knows who asks.
    pub fn stranger(text: &'static str) -> Self {
        Self::coded(StatusCode::UNAUTHORIZED, 10, text)
    }

    /// Whoever asks was known until now.
    pub fn expired() -> Self {
        Self::coded(StatusCode::UNAUTHORIZED, 11, "Token has expired")
    }

    /// Too much at once, or too often.
    pub fn too_many(text: &'static str) -> Self {
        Self::coded(StatusCode::TOO_MANY_REQUESTS, 33, text)
    }

    /// It is larger than it may be.
    pub fn too_large() -> Self {
        Self::coded(StatusCode::PAYLOAD_TOO_LARGE, 31, "The body is too large")
    }

    /// The store has failed: nothing is kept any more.
    pub fn not_kept() -> Self {
        Self::coded(StatusCode::INTERNAL_SERVER_ERROR, 46, "The store has failed; the change may be lost")
    }

    /// The store has no space: nothing was done.
    pub fn full() -> Self {
        let text = "The disk is full: nothing new is kept until there is space, and nothing was changed";
        Self::coded(StatusCode::INSUFFICIENT_STORAGE, 46, text)
    }

    /// Too much waits at the home of a device: nothing was asked of it.
    pub fn crowded() -> Self {
        Self::coded(StatusCode::SERVICE_UNAVAILABLE, 2, "Too many calls wait at the home of the device")
    }

    /// Somebody else has changed it since whoever asks has read it.
    pub fn outdated(kind: &str) -> Self {
        Self::coded(StatusCode::CONFLICT, 35, format!("{kind} was already changed by someone else"))
    }

    /// The home of a device has not taken all of it.
    pub fn of_home(refusal: device::Refusal) -> Self {
        match refusal {
            device::Refusal::TooOften => Self::too_many("Too many requests for current device!"),
            device::Refusal::TooManyFacts
            | device::Refusal::FactsTooLarge
            | device::Refusal::TooManyDevices => Self::coded(StatusCode::FORBIDDEN, 41, refusal.text()),
        }
    }

    /// A core, the store or the archive does not answer in time.
    pub fn silence() -> Self {
        Self::coded(StatusCode::SERVICE_UNAVAILABLE, 2, "No answer in time; the change may still be made")
    }

    /// Something broke.
    pub fn fault(text: impl Into<Cow<'static, str>>) -> Self {
        Self::coded(StatusCode::INTERNAL_SERVER_ERROR, 2, text)
    }

    /// A record cannot be written; `taken` is what is said of a name that somebody else has.
    pub fn of_clash(clash: Clash, taken: &'static str) -> Self {
        match clash {
            Clash::NameTaken => Self::bad(taken),
            Clash::TooManyDevices => Self::coded(StatusCode::FORBIDDEN, 41, clash.text()),
            Clash::DeviceUnknown
            | Clash::TenantUnknown
            | Clash::ProfileUnknown
            | Clash::CustomerUnknown
            | Clash::NameEmpty
            | Clash::NameTooLong
            | Clash::TooManyProfiles
            | Clash::CredentialTaken
            | Clash::ProvisionKeyTaken
            | Clash::ProfileInUse
            | Clash::PatternInvalid
            | Clash::PackageInUse => Self::bad(clash.text()),
        }
    }
}

impl From<Clash> for Refusal {
    fn from(clash: Clash) -> Self {
        Self::of_clash(clash, clash.text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self.shape {
            Shape::Coded(code) => {
                let body = json!({
                    "status": self.status.as_u16(),
                    "message": self.text,
                    "errorCode": code,
                    "timestamp": wall_ms(),
                });
                (self.status, Json(body)).into_response()
            }
            Shape::Plain => (self.status, self.text.into_owned()).into_response(),
            Shape::Quoted => {
                let kind = [(header::CONTENT_TYPE, "application/json")];
                (self.status, kind, format!("\"{}\"", self.text)).into_response()
            }
        }
    }
}
