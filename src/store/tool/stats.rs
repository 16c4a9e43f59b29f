//! `stats`: how much of what.
//!
//! Why counted and not estimated: the engine's estimates count what was removed, too.
//!
//! Invariants:
//! - Records of ended sessions and deleted devices are counted apart.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use stdx::{Instant, WallMs};

use crate::anchor::Anchor;
use crate::devices::is_device_key;
use crate::fault::Fault;
use crate::fjall::{FORMAT_VERSION, disk_bytes, format_of};
use crate::record::{Record, judge, number_of};

use super::devices::DeviceStats;
use super::source::Source;
use super::task::{ProgressLine, Style, say};

#[derive(Default)]
struct Stats {
    sessions: HashMap<u64, u64>,
    connected: u64,
    wills: u64,
    subscriptions: u64,
    messages: u64,
    message_bytes: u64,
    inflight: u64,
    received: u64,
    retained: u64,
    retained_bytes: u64,
    left_over: u64,
}

pub(super) fn run(
    dir: &Path,
    style: Style,
    out: &mut dyn Write,
    report: &mut dyn Write,
) -> Result<(), Fault> {
    let source = Source::open(dir)?;
    let name = source.name();
    let (mut stats, mut devices) = (Stats::default(), DeviceStats::default());
    let mut progress = ProgressLine::new("counted", report);
    let anchor = Anchor { at: Instant::START, wall: WallMs(0) };
    source.read(&mut |key, value| {
        progress.step();
        if is_device_key(key) {
            devices.record(key, value)?;
            return Ok(());
        }
        let number = number_of(key);
        stats.record(number, judge(key, value, anchor)?, value.len() as u64);
        Ok(())
    })?;
    devices.finish();
    let left_over = stats.left_over + devices.left_over;
    let totals =
        [("left_over", "records to be removed", left_over), ("disk_bytes", "bytes on disk", disk_bytes(dir))];
    let rows: Vec<_> = stats.rows().into_iter().chain(devices.rows()).chain(totals).collect();
    let format = format_of(dir).unwrap_or(FORMAT_VERSION);
    match style {
        Style::Json => {
            let mut json = serde_json::Map::new();
            json.insert("source".into(), name.into());
            json.insert("format".into(), format.into());
            json.extend(rows.iter().map(|(name, _, count)| ((*name).to_owned(), (*count).into())));
            say(out, &serde_json::Value::Object(json).to_string())
        }
        Style::Text => {
            say(out, &format!("{} ({name}, format {format})", dir.display()))?;
            rows.iter().try_for_each(|(_, label, count)| say(out, &format!("{label:<34}{count:>16}")))
        }
    }
}

impl Stats {
    fn record(&mut self, number: Option<u64>, record: Record, bytes: u64) {
        if let (Some(number), Record::Session(session)) = (number, &record) {
            self.sessions.insert(number, 0);
            self.connected += u64::from(session.is_connected);
            self.wills += u64::from(session.will.is_some());
            return;
        }
        if number.is_some_and(|number| !self.sessions.contains_key(&number)) {
            self.left_over += 1;
            return;
        }
        match record {
            Record::Message(_) => {
                self.messages += 1;
                self.message_bytes += bytes;
                *self.sessions.entry(number.unwrap_or_default()).or_default() += 1;
            }
            Record::Inflight { .. } => self.inflight += 1,
            Record::Received { .. } => self.received += 1,
            Record::Subscription { .. } => self.subscriptions += 1,
            Record::Retained { .. } => {
                self.retained += 1;
                self.retained_bytes += bytes;
            }
            Record::Handled { .. } | Record::Session(_) => {}
        }
    }

    fn rows(&self) -> [(&'static str, &'static str, u64); 12] {
        let queues = self.sessions.values().filter(|messages| **messages > 0).count() as u64;
        let longest = self.sessions.values().copied().max().unwrap_or(0);
        [
            ("sessions", "sessions", self.sessions.len() as u64),
            ("connected", "  connected when last written", self.connected),
            ("wills", "  with a will", self.wills),
            ("subscriptions", "subscriptions", self.subscriptions),
            ("messages", "messages kept for sessions", self.messages),
            ("message_bytes", "  bytes", self.message_bytes),
            ("queues", "  sessions that have some", queues),
            ("queue_longest", "  most of one session", longest),
            ("inflight", "messages in flight", self.inflight),
            ("received", "QoS 2 messages not released", self.received),
            ("retained", "retained messages", self.retained),
            ("retained_bytes", "  bytes", self.retained_bytes),
        ]
    }
}
