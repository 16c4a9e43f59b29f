//! Members of records that mean nothing to a broker: kept as they were sent, and shown again.
//!
//! Why kept at all: whoever reads a record, changes one member and sends it back would lose all others without a word.
//!
//! Invariants:
//! - A member is shown as the value that it was sent with; one that is not kept is shown as null.
//! - A record has at most [`BYTES_MAX`] bytes of them.
//! - Whoever sends back a version that is not the latest changes nothing.

use device::Margin;
use serde_json::{Map, Value};

use super::asked::Object;
use super::refusal::Refusal;

/// Bytes of such members of one record, as JSON.
const BYTES_MAX: usize = 262_144;

/// Picks members out of a body.
pub(super) fn picked(body: &Object, names: &[&str]) -> Map<String, Value> {
    let picked = names.iter().filter_map(|name| Some(((*name).to_owned(), body.get(name)?.clone())));
    picked.collect()
}

/// Members as they are kept; nothing if there are none.
pub(super) fn kept(members: Map<String, Value>) -> Result<Option<Box<str>>, Refusal> {
    if members.is_empty() {
        return Ok(None);
    }
    let text = Value::Object(members).to_string();
    if text.len() > BYTES_MAX {
        return Err(Refusal::bad(format!("The record has more than {BYTES_MAX} bytes of descriptions")));
    }
    Ok(Some(text.into()))
}

/// Members that were kept.
pub(super) fn members(additional: Option<&str>) -> Map<String, Value> {
    additional.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Shows members that were kept.
pub(super) fn show(json: &mut Value, names: &[&str], additional: Option<&str>) {
    let mut members = members(additional);
    for name in names {
        json[*name] = members.remove(*name).unwrap_or(Value::Null);
    }
}

/// Refuses a version that is not the latest; none is any.
pub(super) fn check_version(margin: &Margin, wanted: Option<i64>, kind: &str) -> Result<(), Refusal> {
    if wanted.is_some_and(|version| version != i64::from(margin.version())) {
        return Err(Refusal::outdated(kind));
    }
    Ok(())
}
