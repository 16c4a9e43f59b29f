//! The desk: where a running broker gives out a copy of its records, so that the tools work while it runs.
//!
//! Why a socket in the directory: whoever may read the directory may have the records, and nobody else; no other part of
//! the broker need know. The copy is made from a snapshot, on a thread of its own, while the store goes on.
//!
//! Invariants:
//! - A visitor that reads slowly or not at all never keeps the store from closing or opening again.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::backup::BackupWriter;
use crate::fault::{Fault, FaultKind};
use crate::fjall::Shared;

const NAME: &str = "desk";

/// How often a visitor that does not read is waited for before it is asked whether the store is wanted back.
const PATIENCE: Duration = Duration::from_millis(100);

pub(crate) struct Desk {
    folder: PathBuf,
    is_closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// Opens the desk. Without one, a broker works as well, so a failure is no fault.
    pub fn open(folder: &Path, shared: Shared) -> Option<Self> {
        // The directory is locked: what is there is left from a process that has ended.
        let _ = fs::remove_file(folder.join(NAME));
        let listener = with_short_path(folder, |path| UnixListener::bind(path)).ok()?;
        let is_closing = Arc::new(AtomicBool::new(false));
        let closing = Arc::clone(&is_closing);
        let thread = thread::Builder::new()
            .name("ringmq-desk".to_owned())
            .spawn(move || serve(&listener, &shared, &closing))
            .ok()?;
        Some(Self { folder: folder.to_owned(), is_closing, thread: Some(thread) })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let is_woken = connect(&self.folder).is_ok();
        let _ = fs::remove_file(self.folder.join(NAME));
        if let Some(thread) = self.thread.take()
            && is_woken
        {
            let _ = thread.join();
        }
    }
}

/// Goes to the desk of a running broker.
pub(crate) fn visit(folder: &Path) -> Result<UnixStream, Fault> {
    connect(folder).map_err(|error| {
        let what = format!("and its process does not answer at {NAME} ({error})");
        Fault::new(FaultKind::Locked, what).in_file(folder)
    })
}

fn connect(folder: &Path) -> io::Result<UnixStream> {
    with_short_path(folder, |path| UnixStream::connect(path))
}

/// The address of a socket holds about a hundred bytes, a path may have more.
fn with_short_path<T>(folder: &Path, open: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let handle = File::open(folder)?;
    open(&PathBuf::from(format!("/proc/self/fd/{}/{NAME}", handle.as_raw_fd())))
}

fn serve(listener: &UnixListener, shared: &Shared, closing: &AtomicBool) {
    for visitor in listener.incoming() {
        if closing.load(Ordering::SeqCst) {
            return;
        }
        match visitor {
            // A visitor that went away, or whose copy was broken off, sees that by itself.
            Ok(visitor) => drop(give_copy(visitor, shared)),
            // No descriptors, mostly; the next one may fare better.
            Err(_refused) => thread::sleep(PATIENCE),
        }
    }
}

fn give_copy(visitor: UnixStream, shared: &Shared) -> Result<(), Fault> {
    let gone = |error: io::Error| Fault::new(FaultKind::Io, error.to_string());
    visitor.set_write_timeout(Some(PATIENCE)).map_err(gone)?;
    let out = BufWriter::with_capacity(65_536, Patient { visitor, shared });
    let mut copy = BackupWriter::begin(out);
    shared.scan_snapshot(&mut |key, value| {
        copy.record(key, value).map_err(gone)?;
        Ok(ControlFlow::Continue(()))
    })?;
    copy.finish().map_err(gone).map(drop)
}

/// Waits for a visitor for as long as the store is not wanted back.
struct Patient<'a> {
    visitor: UnixStream,
    shared: &'a Shared,
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.visitor.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.shared.is_wanted_back() => {}
                outcome => return outcome,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
