//! Where records come from: a directory that nobody uses, a running broker, or a backup file.
//!
//! Why the directory is opened as the broker would open it: then it is known that the broker could.
//!
//! Invariants:
//! - Records come sessions first, and are of one moment.

use std::fs;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::backup::{Each, read_backup, read_file};
use crate::desk;
use crate::fault::{Fault, FaultKind};
use crate::fjall::FjallEngine;

pub(super) enum Source {
    Directory(Box<FjallEngine>),
    Broker(PathBuf, UnixStream),
    Backup(PathBuf),
}

impl Source {
    /// A file is a backup, a directory a store.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        if fs::metadata(path).is_ok_and(|found| found.is_file()) {
            return Ok(Self::Backup(path.to_owned()));
        }
        match FjallEngine::open_existing(path) {
            Ok(engine) => Ok(Self::Directory(Box::new(engine))),
            Err(fault) if fault.kind == FaultKind::Locked => {
                Ok(Self::Broker(path.to_owned(), desk::visit(path)?))
            }
            Err(fault) => Err(fault),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::Broker(..) => "running broker",
            Self::Backup(_) => "backup",
        }
    }

    /// Visits all records; returns how many there were.
    pub fn read(self, visit: &mut Each<'_>) -> Result<u64, Fault> {
        match self {
            Self::Directory(engine) => {
                let mut records = 0;
                engine.shared().scan_snapshot(&mut |key, value| {
                    records += 1;
                    visit(key, value)?;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(records)
            }
            Self::Broker(path, stream) => {
                read_backup(&path, &mut BufReader::with_capacity(65_536, stream), visit).map_err(|fault| {
                    // It is the copy that ended too early, not the store.
                    if fault.kind == FaultKind::Damaged {
                        Fault { kind: FaultKind::Io, ..fault }
                    } else {
                        fault
                    }
                })
            }
            Self::Backup(path) => read_file(&path, visit),
        }
    }
}
