//! The tasks, and how each is done.
//!
//! Why one function for all: the command line only parses, so everything that it can do can be tried without it.
//!
//! Invariants:
//! - A task that fails has said why in the report.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::backup::{self, BackupWriter, write_whole};
use crate::fault::{Fault, FaultKind};

use super::source::Source;
use super::{check, export, stats};

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Read everything and say whether it is well.
    Check,
    /// Count what there is.
    Stats,
    /// Write what there is as JSON lines.
    Export {
        /// Only these kinds of lines; all if there are none.
        kinds: Vec<ExportKind>,
    },
    /// Copy all records into a file.
    Backup {
        /// The file; replaced if it is there.
        to: PathBuf,
    },
    /// Make a store from a backup.
    Restore {
        /// The file.
        from: PathBuf,
    },
}

/// A kind of line of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportKind {
    /// Sessions with their wills.
    Session,
    /// Subscriptions.
    Subscription,
    /// Messages that wait, and messages sent and not settled.
    Message,
    /// QoS 2 messages received and not released.
    Received,
    /// Retained messages.
    Retained,
    /// Tenants.
    Tenant,
    /// Customers of tenants.
    Customer,
    /// Those who may log in, without their passwords.
    User,
    /// Device profiles, without the secrets of provisioning.
    Profile,
    /// Packages, without their bytes.
    Package,
    /// Devices, without what they are recognized by.
    Device,
    /// Attributes.
    Attribute,
    /// Latest values of telemetry.
    Latest,
    /// Persistent commands.
    Command,
    /// Claims, without their secrets.
    Claim,
    /// How devices are.
    Presence,
    /// Points of history.
    Point,
}

impl ExportKind {
    /// All kinds, as they are written.
    pub const ALL: [(&'static str, Self); 17] = [
        ("session", Self::Session),
        ("subscription", Self::Subscription),
        ("message", Self::Message),
        ("received", Self::Received),
        ("retained", Self::Retained),
        ("tenant", Self::Tenant),
        ("customer", Self::Customer),
        ("user", Self::User),
        ("profile", Self::Profile),
        ("package", Self::Package),
        ("device", Self::Device),
        ("attribute", Self::Attribute),
        ("latest", Self::Latest),
        ("command", Self::Command),
        ("claim", Self::Claim),
        ("presence", Self::Presence),
        ("point", Self::Point),
    ];
}

/// How the results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// What was wrong with the store.
pub(super) const PROBLEM: u8 = 1;
/// The task could not be done.
pub(super) const FAILED: u8 = 4;

/// How many records are read between two lines of progress.
const REPORT_RECORDS: u64 = 500_000;

/// Does a task; returns the exit code.
pub fn run(task: &Task, dir: &Path, style: Style, out: &mut dyn Write, report: &mut dyn Write) -> u8 {
    let outcome = match task {
        Task::Check => return check::run(dir, style, out, report),
        Task::Stats => stats::run(dir, style, out, report),
        Task::Export { kinds } => export::run(dir, kinds, out, report),
        Task::Backup { to } => back_up(dir, to, style, out, report),
        Task::Restore { from } => restore(from, dir, style, out, report),
    };
    match outcome {
        Ok(()) => 0,
        Err(fault) => {
            tell(report, &format!("ringmq: {fault}"));
            FAILED
        }
    }
}

fn back_up(
    dir: &Path,
    to: &Path,
    style: Style,
    out: &mut dyn Write,
    report: &mut dyn Write,
) -> Result<(), Fault> {
    let source = Source::open(dir)?;
    let records = write_whole(to, |file| {
        let failed = |error: std::io::Error| Fault::io(to, &error);
        let mut copy = BackupWriter::begin(file);
        let mut progress = ProgressLine::new("copied", report);
        let records = source.read(&mut |key, value| {
            progress.step();
            copy.record(key, value).map_err(failed)
        })?;
        copy.finish().map_err(failed)?;
        Ok(records)
    })?;
    done(
        out,
        style,
        "records",
        records,
        &format!("{records} records of {} are in {}", dir.display(), to.display()),
    )
}

fn restore(
    from: &Path,
    dir: &Path,
    style: Style,
    out: &mut dyn Write,
    report: &mut dyn Write,
) -> Result<(), Fault> {
    let mut progress = ProgressLine::new("restored", report);
    let records = backup::restore(from, dir, &mut |_| progress.step())?;
    done(
        out,
        style,
        "records",
        records,
        &format!("{records} records of {} are in {}", from.display(), dir.display()),
    )
}

fn done(out: &mut dyn Write, style: Style, name: &str, count: u64, text: &str) -> Result<(), Fault> {
    match style {
        Style::Text => say(out, text),
        Style::Json => say(out, &serde_json::json!({ name: count }).to_string()),
    }
}

/// A line of the result.
pub(super) fn say(out: &mut dyn Write, line: &str) -> Result<(), Fault> {
    writeln!(out, "{line}").map_err(|error| Fault::new(FaultKind::Io, format!("writing the result: {error}")))
}

/// A line beside the result; if nobody reads it, nothing is lost.
pub(super) fn tell(report: &mut dyn Write, line: &str) {
    let _ = writeln!(report, "{line}");
}

/// Says now and then how far it is.
pub(super) struct ProgressLine<'a> {
    what: &'static str,
    records: u64,
    report: &'a mut dyn Write,
}

impl<'a> ProgressLine<'a> {
    pub fn new(what: &'static str, report: &'a mut dyn Write) -> Self {
        Self { what, records: 0, report }
    }

    pub fn step(&mut self) {
        self.records += 1;
        if self.records.is_multiple_of(REPORT_RECORDS) {
            tell(self.report, &format!("{} {} records", self.what, self.records));
        }
    }
}
