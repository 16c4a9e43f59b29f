//! What is read of a request: parameters behind the question mark, bodies, and ids in paths.
//!
//! Why not one type per request: every call of this API names a few parameters, and all complaints about them have one form.
//!
//! Invariants:
//! - A large body is received only behind a gate, and nothing of it before whoever sends it is known.
//! - A large body is read on another thread.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use device::Clash;
use dialect::http::compact;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::house::Api;
use super::limits::Place;
use super::refusal::Refusal;

/// Bodies up to this size are received without a place for large ones.
const SMALL_BYTES_MAX: u64 = 65_536;

/// Parameters behind the question mark.
pub(super) struct Asked(pub(super) Vec<(String, String)>);

/// A body.
pub(super) struct Payload {
    pub bytes: Bytes,
    place: Option<Place>,
}

/// A body that is a JSON object.
pub(super) struct Object(pub Map<String, Value>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|_| Refusal::bad("Invalid parameters"))
    }
}

impl FromRequest<Api> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        let length =
            request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_small = length.is_some_and(|length: u64| length <= SMALL_BYTES_MAX);
        let place = if is_small { None } else { Some(api.limits().bodies.enter().await?) };
        let refuse = |status| match status {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(),
            _broken_off => Refusal::bad("Invalid request body"),
        };
        let bytes = Bytes::from_request(request, api).await;
        let bytes = bytes.map_err(|rejection| refuse(rejection.status()))?;
        Ok(Self { bytes, place })
    }
}

impl Payload {
    /// Reads the body; a large one on another thread, because one thread serves all requests.
    pub async fn read<R: Send + 'static>(
        self,
        read: impl FnOnce(&[u8]) -> R + Send + 'static,
    ) -> Result<R, Refusal> {
        if self.place.is_none() {
            return Ok(read(&self.bytes));
        }
        // The place is given back when the body has been read.
        let read = tokio::task::spawn_blocking(move || read(&self.bytes));
        read.await.map_err(|_| Refusal::fault("The work was broken off"))
    }

    /// Reads the body as text, in the same way.
    pub async fn read_text<R: Send + 'static>(
        self,
        read: impl FnOnce(&str) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<R, Refusal> {
        self.read(|bytes| read(std::str::from_utf8(bytes).map_err(Refusal::bad_body)?)).await?
    }
}

impl FromRequest<Api> for Object {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        Payload::from_request(request, api).await?.read(Self::read).await?
    }
}

impl Asked {
    /// A parameter; an empty one is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub fn needed(&self, name: &str) -> Result<&str, Refusal> {
        let missing = || Refusal::bad(format!("Required request parameter '{name}' is not present"));
        self.get(name).ok_or_else(missing)
    }

    /// A number, if it is there.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Refusal> {
        let wrong = |value: &str| Refusal::bad(format!("Invalid value '{value}' of parameter '{name}'"));
        self.get(name).map(|value| value.parse().map_err(|_| wrong(value))).transpose()
    }

    /// Whether something is wanted.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A list with commas, or the same parameter several times under its name for one.
    pub fn list(&self, several: &str, one: &str) -> Option<Vec<Box<str>>> {
        let mut found: Vec<Box<str>> = Vec::new();
        for (key, value) in &self.0 {
            if key == several {
                found.extend(value.split(',').filter(|part| !part.is_empty()).map(Box::from));
            } else if key == one && !value.is_empty() {
                found.push(value.as_str().into());
            }
        }
        (!found.is_empty()).then_some(found)
    }
}

impl Object {
    /// Reads an object.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(bytes).map(Self).map_err(Refusal::bad_body)
    }

    /// A member that is there and not null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let wrong = || Refusal::bad_body(format_args!("`{name}` is not a text"));
        self.get(name).map(|value| value.as_str().ok_or_else(wrong)).transpose()
    }

    /// A text that is not empty.
    pub fn needed(&self, name: &str) -> Result<&str, Refusal> {
        let missing = || Refusal::bad_body(format_args!("`{name}` is missing"));
        self.text(name)?.filter(|text| !text.trim().is_empty()).ok_or_else(missing)
    }

    /// A whole number; scripts send it as a text or with a point as well.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let wrong = || Refusal::bad_body(format_args!("`{name}` is not a whole number"));
        self.get(name).map(|value| whole(value).ok_or_else(wrong)).transpose()
    }

    /// True or false, as a text too; what is absent is false.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| *value == true || value.as_str() == Some("true"))
    }

    /// A member that is an object.
    pub fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        let wrong = || Refusal::bad_body(format_args!("`{name}` is not an object"));
        self.get(name).map(|value| value.as_object().cloned().map(Self).ok_or_else(wrong)).transpose()
    }

    /// An id, as `{"entityType":..,"id":..}`; the null id is none.
    pub fn id<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
        let Some(entity) = self.get(name) else { return Ok(None) };
        let text = entity.get("id").and_then(Value::as_str).unwrap_or_default();
        if text == super::shape::NULL_ID {
            return Ok(None);
        }
        id(text, parse).map(Some)
    }
}

/// A number of any form as a whole one, without what stands behind its point.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_i64().or_else(|| {
            let near = number.as_f64().filter(|near| near.abs() < 9.0e15)?;
            format!("{:.0}", near.trunc()).parse().ok()
        }),
    }
}

/// A member of an object that was read before, spelled as it was sent: numbers keep their form, members their order.
pub(super) fn spelled(bytes: &[u8], name: &str) -> Box<str> {
    let members = serde_json::from_slice::<HashMap<String, &RawValue>>(bytes).unwrap_or_default();
    members.get(name).map_or_else(|| "null".into(), |raw| compact(raw.get()).into())
}

/// An id as it is written.
pub(super) fn id<T>(text: &str, parse: fn(&str) -> Option<T>) -> Result<T, Refusal> {
    parse(text).ok_or_else(|| Refusal::bad(format!("Invalid UUID string: {text}")))
}

/// Whether a text is as short as names are.
pub(super) fn check_length(member: &'static str, text: &str) -> Result<(), Refusal> {
    match device::check_name(text) {
        Err(Clash::NameTooLong) => Err(Refusal::too_long(member)),
        Ok(()) | Err(_) => Ok(()),
    }
}
