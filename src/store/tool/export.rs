//! `export`: what there is, as JSON lines.
//!
//! Why lines: a store may have millions of records, and a line is a whole value for every tool.
//!
//! Invariants:
//! - A line of a session or device comes before those of what belongs to it.
//! - No line has a secret: of credentials only the kind is told.
//! - Times are milliseconds since the Unix epoch; a payload that is no text is written in hexadecimal digits.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use broker::{MessageCopy, StoredMessage};
use serde_json::{Map, Value, json};
use stdx::{Instant, WallMs};

use crate::anchor::Anchor;
use crate::devices::is_device_key;
use crate::fault::{Fault, FaultKind};
use crate::record::{Record, judge, number_of, packet_id_of, seq_of};

use super::devices::Lines;
use super::source::Source;
use super::task::{ExportKind, ProgressLine};

/// Reads wall-clock times as if they were the process's own.
const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(0) };

pub(super) fn run(
    dir: &Path,
    kinds: &[ExportKind],
    out: &mut dyn Write,
    report: &mut dyn Write,
) -> Result<(), Fault> {
    let source = Source::open(dir)?;
    let mut clients: HashMap<u64, Arc<str>> = HashMap::new();
    let mut out = BufWriter::new(out);
    let mut progress = ProgressLine::new("exported", report);
    let unwritten = |error: std::io::Error| Fault::new(FaultKind::Io, format!("writing the result: {error}"));
    let mut devices = Lines::default();
    let mut wanted = |kind: ExportKind, line: &Value| {
        if kinds.is_empty() || kinds.contains(&kind) {
            writeln!(out, "{line}").map_err(unwritten)?;
        }
        Ok(())
    };
    source.read(&mut |key, value| {
        progress.step();
        if is_device_key(key) {
            return devices.record(key, value, &mut wanted);
        }
        let record = judge(key, value, ANCHOR)?;
        let number = number_of(key);
        if let (Some(number), Record::Session(session)) = (number, &record) {
            clients.insert(number, Arc::clone(&session.client_id));
        }
        let client_id = number.and_then(|number| clients.get(&number));
        // What belongs to an ended session is not there any more.
        if number.is_some() && client_id.is_none() {
            return Ok(());
        }
        let Some((kind, line)) = line(key, client_id.map_or("", |client_id| client_id), record)? else {
            return Ok(());
        };
        wanted(kind, &line)
    })?;
    devices.finish(&mut wanted)?;
    out.flush().map_err(unwritten)
}

fn line(key: &[u8], client_id: &str, record: Record) -> Result<Option<(ExportKind, Value)>, Fault> {
    Ok(Some(match record {
        Record::Session(session) => {
            let will = session.will.as_ref().map(|will| {
                let mut json = message(&will.message);
                json.insert("delay_s".into(), will.delay_s.into());
                json.insert("expiry_s".into(), will.expiry_s.into());
                json.insert("due_ms".into(), time(will.due_at));
                json
            });
            let mut line = json!({
                "kind": "session", "client_id": client_id, "expiry_s": session.expiry_s,
                "is_connected": session.is_connected, "ends_ms": time(session.ends_at), "will": will,
            });
            if let Some(owner) = session.owner {
                line["listener"] = owner.listener.as_deref().into();
                line["user"] = owner.user.as_deref().into();
            }
            (ExportKind::Session, line)
        }
        Record::Subscription { filter, terms } => {
            let line = json!({
                "kind": "subscription", "client_id": client_id, "filter": filter, "qos": terms.qos.bits(),
                "no_local": terms.no_local, "retain_as_published": terms.keeps_retain, "id": terms.id,
            });
            (ExportKind::Subscription, line)
        }
        Record::Received { .. } => {
            let id = packet_id_of(key)?.get();
            (ExportKind::Received, json!({ "kind": "received", "client_id": client_id, "packet_id": id }))
        }
        Record::Inflight { seq, is_released, copy: kept } => {
            let mut json = kept.map_or_else(Map::new, |kept| copy(&kept));
            let state = if is_released { "released" } else { "sent" };
            json.extend(owned("inflight", client_id, seq));
            json.insert("packet_id".into(), packet_id_of(key)?.get().into());
            json.insert("state".into(), state.into());
            (ExportKind::Message, json.into())
        }
        Record::Message(kept) => {
            let mut json = copy(&kept);
            json.extend(owned("message", client_id, seq_of(key)?));
            (ExportKind::Message, json.into())
        }
        Record::Retained { message: kept, version } => {
            let mut json = message(&kept);
            json.insert("kind".into(), "retained".into());
            json.insert("version".into(), format!("{}.{}", version.counter, version.core).into());
            (ExportKind::Retained, json.into())
        }
        Record::Handled { .. } => return Ok(None),
    }))
}

fn owned(kind: &str, client_id: &str, seq: u64) -> [(String, Value); 3] {
    [("kind".into(), kind.into()), ("client_id".into(), client_id.into()), ("seq".into(), seq.into())]
}

fn copy(copy: &MessageCopy) -> Map<String, Value> {
    let mut json = message(&copy.message);
    json.insert("qos".into(), copy.qos.bits().into());
    json.insert("retain".into(), copy.retain.into());
    if let Some(ids) = &copy.ids {
        json.insert("subscription_ids".into(), ids.to_vec().into());
    }
    json
}

fn message(message: &StoredMessage) -> Map<String, Value> {
    let mut json = Map::new();
    json.insert("topic".into(), message.topic().into());
    json.insert("qos".into(), message.qos().bits().into());
    json.insert("expires_ms".into(), time(message.expires_at()));
    if !message.forward().is_empty() {
        json.insert("properties_hex".into(), hex(message.forward()).into());
    }
    match std::str::from_utf8(message.payload()) {
        Ok(text) => json.insert("payload".into(), text.into()),
        Err(_no_text) => json.insert("payload_hex".into(), hex(message.payload()).into()),
    };
    json
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn time(at: Instant) -> Value {
    if at == Instant::NEVER { Value::Null } else { at.since(Instant::START).ms().into() }
}
