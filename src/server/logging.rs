//! The log: lines on standard error, written by a thread of its own.
//!
//! Why a thread: standard error may be a pipe whose reader is slow, and a core that waits for a log line serves nobody.
//! Lines that do not fit into the queue are lost rather than waited for.
//!
//! Invariants:
//! - Nothing but the log goes to standard error once it is open.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use crate::config::{Log, LogFormat, LogLevel};

/// Keeps the log open; lines that still wait are written when it is dropped.
#[must_use]
pub struct LogGuard {
    _worker: WorkerGuard,
}

/// Opens the log of this process. A log that is open already stays as it is.
pub fn open_log(log: &Log) -> LogGuard {
    let (writer, worker) = NonBlocking::new(std::io::stderr());
    let lines =
        tracing_subscriber::fmt().with_writer(writer).with_target(false).with_max_level(filter(log.level));
    // Both fail only if there is a log already.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    LogGuard { _worker: worker }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}
