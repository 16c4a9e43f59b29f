//! `check`: is everything there and readable, and does it fit together?
//!
//! Why everything is read: a table's block is compared with its checksum only when it is read.
//!
//! Invariants:
//! - Every record is decoded, and its references are followed.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use stdx::{Instant, WallMs};

use crate::anchor::Anchor;
use crate::devices::is_device_key;
use crate::fault::{Fault, FaultKind};
use crate::fjall::{Findings, inspect};
use crate::record::{Record, judge, number_of, seq_of};

use super::devices::DeviceCheck;
use super::source::Source;
use super::task::{FAILED, PROBLEM, ProgressLine, Style, say, tell};

/// Problems that are told one by one.
const TOLD_MAX: usize = 20;

#[derive(Default)]
struct Check {
    sessions: HashSet<u64>,
    /// Queued messages that are in flight, by session, until they are found.
    sent: HashMap<u64, HashSet<u64>>,
    /// Records of sessions that have ended and wait to be removed.
    left_over: u64,
    devices: DeviceCheck,
    records: u64,
    problems: Vec<String>,
    problem_count: u64,
}

pub(super) fn run(dir: &Path, style: Style, out: &mut dyn Write, report: &mut dyn Write) -> u8 {
    let mut check = Check::default();
    let outcome = look(dir, &mut check, report);
    let (findings, source) = match outcome {
        Ok(found) => found,
        // Damage is what a check is for; anything else kept it from looking.
        Err(fault) if fault.kind == FaultKind::Damaged => {
            check.problem(fault.to_string());
            (None, "directory")
        }
        Err(fault) => {
            tell(report, &format!("ringmq: {fault}"));
            return FAILED;
        }
    };
    if show(dir, &check, findings, source, style, out).is_err() {
        return FAILED;
    }
    if check.problem_count == 0 { 0 } else { PROBLEM }
}

fn look(
    dir: &Path,
    check: &mut Check,
    report: &mut dyn Write,
) -> Result<(Option<Findings>, &'static str), Fault> {
    let findings = match inspect(dir) {
        Ok(findings) => Some(findings),
        // A running broker has looked itself; a backup file has other checks.
        Err(fault) if fault.kind == FaultKind::Locked || dir.is_file() => None,
        Err(fault) => return Err(fault),
    };
    let source = Source::open(dir)?;
    let name = source.name();
    let mut progress = ProgressLine::new("checked", report);
    source.read(&mut |key, value| {
        progress.step();
        check.record(key, value);
        Ok(())
    })?;
    check.finish();
    Ok((findings, name))
}

impl Check {
    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < TOLD_MAX {
            self.problems.push(text);
        }
    }

    fn record(&mut self, key: &[u8], value: &[u8]) {
        self.records += 1;
        if is_device_key(key) {
            let looked = self.devices.record(key, value);
            return looked.unwrap_or_else(|garbled| {
                self.problem(format!("record {}: {}", key.escape_ascii(), garbled.0));
            });
        }
        let anchor = Anchor { at: Instant::START, wall: WallMs(0) };
        let record = match judge(key, value, anchor) {
            Ok(record) => record,
            Err(garbled) => return self.problem(format!("record {}: {}", key.escape_ascii(), garbled.0)),
        };
        let Some(number) = number_of(key) else { return };
        if let Record::Session(_) = record {
            self.sessions.insert(number);
        } else if !self.sessions.contains(&number) {
            self.left_over += 1;
            return;
        }
        match record {
            Record::Inflight { seq, is_released: false, copy: None } => {
                self.sent.entry(number).or_default().insert(seq);
            }
            Record::Message(_) => {
                if let (Some(sent), Ok(seq)) = (self.sent.get_mut(&number), seq_of(key)) {
                    sent.remove(&seq);
                }
            }
            _nothing_else_refers_to_anything => {}
        }
    }

    fn finish(&mut self) {
        self.devices.finish().into_iter().for_each(|problem| self.problem(problem));
        let missing: usize = self.sent.values().map(HashSet::len).sum();
        if missing > 0 {
            self.problem(format!("{missing} messages in flight are missing"));
        }
    }
}

fn show(
    dir: &Path,
    check: &Check,
    findings: Option<Findings>,
    source: &str,
    style: Style,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    if style == Style::Json {
        let json = serde_json::json!({
            "dir": dir.display().to_string(),
            "source": source,
            "ok": check.problem_count == 0,
            "problem_count": check.problem_count,
            "problems": check.problems,
            "records": check.records,
            "left_over": check.left_over + check.devices.left_over,
            "commit_synced": findings.map(|findings| findings.synced),
            "torn_bytes": findings.map(|findings| findings.torn_bytes),
        });
        return say(out, &json.to_string());
    }
    for problem in &check.problems {
        say(out, &format!("problem: {problem}"))?;
    }
    if check.problem_count > check.problems.len() as u64 {
        say(out, &format!("problem: {} more like these", check.problem_count - check.problems.len() as u64))?;
    }
    if let Some(Findings { torn_bytes: torn_bytes @ 1.., .. }) = findings {
        say(
            out,
            &format!(
                "{torn_bytes} bytes that were never made durable are at the end of the journal; this is no problem"
            ),
        )?;
    }
    if check.left_over > 0 {
        say(
            out,
            &format!("{} records of ended sessions wait to be removed; this is no problem", check.left_over),
        )?;
    }
    if check.devices.left_over > 0 {
        say(
            out,
            &format!(
                "{} records of deleted devices wait to be removed; this is no problem",
                check.devices.left_over
            ),
        )?;
    }
    let verdict = if check.problem_count == 0 { "everything is well" } else { "not everything is well" };
    say(out, &format!("{}: {} records read from {source}; {verdict}", dir.display(), check.records))
}
