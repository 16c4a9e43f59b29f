//! The engine on disk: fjall, guarded where it would lose something silently.
//!
//! Why the guards: fjall keeps what it is given, but it cuts a journal at the first thing that it cannot read, removes
//! folders that it does not know, and, when its disk is full, refuses everything until it is opened anew. Here journals
//! and manifests are looked at before it may touch them, each commit is sealed, and a full disk is met before fjall
//! meets it, or else by opening it again.
//!
//! Invariants:
//! - `commit` is the number of the last commit; `mark.synced()` that of the last one synced.
//! - Nothing is written while the engine is closed; it is closed only while it is opened again.

use std::fs;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use fjall::{
    AbstractTree, Database, Guard, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable,
    Slice,
};

use crate::desk::Desk;
use crate::devices::{DEVICE_KINDS, is_device_key};
use crate::engine::{Batch, Engine, Op, Visit};
use crate::fault::{Fault, FaultKind, kind_of};
use crate::history::{History, Order, Walks};
use crate::record::{KINDS, range_of};

use super::folder::{FORMAT_OF_DEVICES, Folder, sync_folder, sync_folders};
use super::journal::{self, Journals, SEAL_KEY, Seal, Torn};
use super::mark::Mark;

const RECORDS: &str = "records";

/// Read caches of tables.
const CACHE_BYTES: u64 = 33_554_432;

/// Commits gather in memory up to here before they become a table.
const MEMTABLE_BYTES: u64 = 33_554_432;

/// Above this, the oldest journal is made superfluous by writing tables.
const JOURNALS_BYTES_MAX: u64 = 268_435_456;

/// Space that must be left besides what a commit needs.
const SPARE_BYTES: u64 = 4_194_304;

/// With so many memtables waiting to become tables, a commit waits; fjall itself would wait at four, and in long steps.
const SEALED_MAX: usize = 3;

/// The store's directory, open for this process alone.
pub struct FjallEngine {
    // Closed first: it reads.
    desk: Option<Desk>,
    shared: Shared,
    mark: Mark,
    commit: u64,
    /// Since the last sync with plenty of space, the disk was so full that fjall's own work may have failed.
    was_short: bool,
    cut_bytes: u64,
    /// Whether the directory says that it has records of devices.
    knows_devices: bool,
    // Dropped last: the directory is ours until everything in it is closed.
    folder: Folder,
}

/// What another thread may read while the store runs.
#[derive(Clone)]
pub(crate) struct Shared {
    open: Arc<RwLock<Option<Open>>>,
    /// Whoever reads must stop now.
    wanted_back: Arc<AtomicBool>,
}

struct Open {
    records: Keyspace,
    database: Database,
}

impl FjallEngine {
    /// Opens the store in a directory, which is made if it is not there, and the desk for the tools.
    ///
    /// # Errors
    /// `Locked`, `Newer`, `Damaged` with file and place, `Full`, `Io`.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let mut engine = Self::make_new(path)?;
        engine.desk = Desk::open(path, engine.shared.clone());
        Ok(engine)
    }

    /// Opens the store in a directory, which is made if it is not there.
    pub(crate) fn make_new(path: &Path) -> Result<Self, Fault> {
        // fjall makes files as the process's mask says, at any time.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        Self::open_folder(Folder::make(path)?)
    }

    /// Opens a store that must be there.
    ///
    /// # Errors
    /// `Missing`, and those of [`FjallEngine::open`].
    pub fn open_existing(path: &Path) -> Result<Self, Fault> {
        let folder = Folder::lock(path)?;
        if !folder.is_made()? {
            return Err(Fault::new(FaultKind::Missing, "").in_file(path));
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        Self::open_folder(folder)
    }

    fn open_folder(folder: Folder) -> Result<Self, Fault> {
        if !folder.is_made()? {
            make(&folder)?;
        }
        let knows_devices = folder.format()? >= Some(FORMAT_OF_DEVICES);
        let mark = Mark::open(&folder.mark())?;
        let (open, seal, journals) = open_guarded(&folder, mark.synced())?;
        let shared =
            Shared { open: Arc::new(RwLock::new(Some(open))), wanted_back: Arc::new(AtomicBool::new(false)) };
        let (commit, cut_bytes) = (seal.commit, journals.torn.map_or(0, |torn| torn.len()));
        let mut engine =
            Self { desk: None, shared, mark, commit, was_short: false, cut_bytes, knows_devices, folder };
        // What recovery found may have been written and not synced: it counts from here on.
        engine.sync()?;
        engine.mark.persist()?;
        Ok(engine)
    }

    /// The store's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes at the end of the journal that had not been synced when the last process ended, and were cut off.
    #[must_use]
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// Bytes that the store has on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(self.folder.path())
    }

    /// Bytes that are free on the disk of the directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn free_bytes(&self) -> Result<u64, Fault> {
        let path = self.folder.path();
        let stat = rustix::fs::statvfs(path).map_err(|error| Fault::io(path, &io::Error::from(error)))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Makes a table of what is in memory.
    #[cfg(test)]
    pub(crate) fn write_table(&self) {
        let open = self.shared.read().expect("the engine is open");
        open.records.rotate_memtable_and_wait().expect("a table can be written");
    }

    /// Reads history while the store goes on.
    #[must_use]
    pub fn history(&self) -> History {
        History::on_disk(self.shared())
    }

    /// Reads beside the running store.
    pub(crate) fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// A fault with the name of the directory, because fjall does not name files.
    fn fault(&self, error: &fjall::Error) -> Fault {
        fault_of(&self.folder.engine(), error)
    }

    /// Refuses early what fjall could not finish: its own answer to a full disk is to refuse everything.
    fn look_for_room(&mut self, batch: &Batch) -> Result<(), Fault> {
        let needed = 2 * batch.bytes() as u64 + SPARE_BYTES;
        let free = self.free_bytes()?;
        if free < needed.saturating_add(4 * MEMTABLE_BYTES) {
            self.was_short = true;
        }
        if free >= needed {
            return Ok(());
        }
        let what = format!("{free} bytes are free, {needed} are needed");
        Err(Fault::new(FaultKind::Full, what).in_file(self.folder.path()))
    }

    /// Waits while tables are written slower than they are filled.
    fn wait_for_tables(&self) -> Result<(), Trouble> {
        let open = self.shared.read()?;
        while open.records.sealed_memtable_count() >= SEALED_MAX {
            // Fails if fjall has given up; then it would never get better.
            open.database.persist(PersistMode::Buffer).map_err(|error| self.trouble(&error))?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// After a failed write: a full disk is survived by opening the engine again, anything else is not.
    fn after(&mut self, trouble: Trouble) -> Fault {
        let fault = match trouble {
            Trouble::Fault(fault) if fault.is_full() => fault,
            Trouble::GivenUp(fault) if self.was_short => fault,
            Trouble::Fault(fault) | Trouble::GivenUp(fault) => return fault,
        };
        match self.reopen() {
            Ok(()) => Fault { kind: FaultKind::Full, ..fault },
            Err(worse) => worse,
        }
    }

    fn visit(&self, entries: impl Iterator<Item = Guard>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        for entry in entries {
            let (key, value) = entry.into_inner().map_err(|error| self.fault(&error))?;
            if visit(&key, &value)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn trouble(&self, error: &fjall::Error) -> Trouble {
        match error {
            fjall::Error::Poisoned => Trouble::GivenUp(self.fault(error)),
            _any_other => Trouble::Fault(self.fault(error)),
        }
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        self.shared.wanted_back.store(true, Ordering::SeqCst);
        let mut open = self.shared.open.write().unwrap_or_else(PoisonError::into_inner);
        self.shared.wanted_back.store(false, Ordering::SeqCst);
        // Closed before it is opened.
        *open = None;
        let (opened, seal, _journals) = open_guarded(&self.folder, self.mark.synced())?;
        *open = Some(opened);
        self.commit = seal.commit;
        Ok(())
    }

    fn try_commit(&mut self, batch: &Batch) -> Result<(), Trouble> {
        let open = self.shared.read()?;
        let seal = Seal { commit: self.commit + 1, synced: self.mark.synced(), seqno: open.database.seqno() };
        let mut writes = OwnedWriteBatch::with_capacity(open.database.clone(), batch.len() + 1);
        writes.insert(&open.records, SEAL_KEY, seal.encode());
        for op in batch.iter() {
            match op {
                Op::Put { key, value } => writes.insert(&open.records, key, value),
                Op::Remove { key } => writes.remove(&open.records, key),
            }
        }
        writes.commit().map_err(|error| self.trouble(&error))?;
        drop(open);
        self.commit = seal.commit;
        Ok(())
    }

    fn try_sync(&mut self) -> Result<(), Trouble> {
        let synced = self.shared.read()?.database.persist(PersistMode::SyncData);
        synced.map_err(|error| match self.trouble(&error) {
            Trouble::Fault(fault) if !fault.is_full() => {
                Trouble::Fault(Fault { kind: FaultKind::Sync, ..fault })
            }
            survivable => survivable,
        })?;
        self.mark.set(self.commit)?;
        Ok(())
    }
}

/// Why a write failed.
enum Trouble {
    Fault(Fault),
    /// fjall had given up earlier, in the background, and does not say why.
    GivenUp(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Engine for FjallEngine {
    fn commit(&mut self, batch: &Batch) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        self.look_for_room(batch)?;
        // Before the first of them is there: an earlier version would not know what to do with it.
        if !self.knows_devices && batch.iter().any(|op| is_device_key(op.key())) {
            self.folder.raise_format(FORMAT_OF_DEVICES)?;
            self.knows_devices = true;
        }
        let written = self.wait_for_tables().and_then(|()| self.try_commit(batch));
        written.map_err(|trouble| self.after(trouble))
    }

    fn sync(&mut self) -> Result<(), Fault> {
        // Not being able to sync is the end, unless fjall had given up before because of a full disk.
        self.try_sync().map_err(|trouble| self.after(trouble))?;
        self.was_short &= self.free_bytes().is_ok_and(|free| free < 8 * MEMTABLE_BYTES);
        Ok(())
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let open = self.shared.read()?;
        let value = open.records.get(key).map_err(|error| self.fault(&error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        if range.start >= range.end {
            return Ok(());
        }
        let open = self.shared.read()?;
        self.visit(open.records.range::<&[u8], _>(range), visit)
    }

    fn scan_back(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        if range.start >= range.end {
            return Ok(());
        }
        let open = self.shared.read()?;
        self.visit(open.records.range::<&[u8], _>(range).rev(), visit)
    }

    fn records_about(&self) -> u64 {
        self.shared.read().map_or(0, |open| open.records.approximate_len() as u64)
    }
}

impl Drop for FjallEngine {
    fn drop(&mut self) {
        self.shared.wanted_back.store(true, Ordering::SeqCst);
        self.desk = None;
        let mut open = self.shared.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = None;
        // The mark is as good as it was; this only makes it so after a power cut, too.
        let _ = self.mark.persist();
    }
}

impl Shared {
    fn read(&self) -> Result<OpenGuard<'_>, Fault> {
        OpenGuard::new(self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether whoever reads must stop.
    pub fn is_wanted_back(&self) -> bool {
        self.wanted_back.load(Ordering::Relaxed)
    }

    /// The value of a key.
    pub fn read_one(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.read()?.records.get(key).map_err(|error| fault_of(Path::new(RECORDS), &error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// Visits keys of a range as they are at one moment between two commits.
    ///
    /// # Errors
    /// `Io` if the store closes meanwhile; else as [`Engine::scan`].
    pub fn scan_beside(&self, range: Range<&[u8]>, order: Order, visit: &mut Visit<'_>) -> Result<(), Fault> {
        if range.start >= range.end {
            return Ok(());
        }
        let open = self.read()?;
        let mut entries = open.records.range::<&[u8], _>(range);
        loop {
            let entry = match order {
                Order::OldestFirst => entries.next(),
                Order::NewestFirst => entries.next_back(),
            };
            let Some(entry) = entry else { return Ok(()) };
            self.stay_or_leave()?;
            let (key, value) = entry.into_inner().map_err(|error| fault_of(Path::new(RECORDS), &error))?;
            if visit(&key, &value)? == ControlFlow::Break(()) {
                return Ok(());
            }
        }
    }

    /// Calls `read` with a way to walk through ranges, all of them as they are at one moment between two commits.
    ///
    /// # Errors
    /// `Io` if the store is closed; what `read` returned. A walk gives `Io` if the store closes meanwhile.
    pub fn at_one_moment<T>(
        &self,
        read: impl FnOnce(&Walks<'_, Slice, Slice>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let open = self.read()?;
        let snapshot = open.database.snapshot();
        read(&|range, order| {
            if range.start >= range.end {
                return Box::new(std::iter::empty());
            }
            let mut entries = snapshot.range(&open.records, range);
            Box::new(std::iter::from_fn(move || {
                let entry = match order {
                    Order::OldestFirst => entries.next(),
                    Order::NewestFirst => entries.next_back(),
                }?;
                let read = || entry.into_inner().map_err(|error| fault_of(Path::new(RECORDS), &error));
                Some(self.stay_or_leave().and_then(|()| read()))
            }))
        })
    }

    /// A fault if whoever reads must stop.
    fn stay_or_leave(&self) -> Result<(), Fault> {
        if self.is_wanted_back() {
            Err(Fault::new(FaultKind::Io, "the store is being closed"))
        } else {
            Ok(())
        }
    }

    /// Visits all records as they are at one moment between two commits, whoever owns before what is owned, while the store
    /// goes on.
    ///
    /// # Errors
    /// `Io` if the store closes meanwhile; else as [`Engine::scan`].
    pub fn scan_snapshot(&self, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let open = self.read()?;
        let snapshot = open.database.snapshot();
        for kind in DEVICE_KINDS.into_iter().chain(KINDS) {
            let range = range_of(kind);
            for entry in snapshot.range(&open.records, range) {
                self.stay_or_leave()?;
                let (key, value) =
                    entry.into_inner().map_err(|error| fault_of(Path::new(RECORDS), &error))?;
                if visit(&key, &value)? == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The open engine, held so that it stays open.
struct OpenGuard<'a>(RwLockReadGuard<'a, Option<Open>>);

impl<'a> OpenGuard<'a> {
    fn new(guard: RwLockReadGuard<'a, Option<Open>>) -> Result<Self, Fault> {
        if guard.is_none() {
            return Err(Fault::new(FaultKind::Io, "the store is closed"));
        }
        Ok(Self(guard))
    }
}

impl std::ops::Deref for OpenGuard<'_> {
    type Target = Open;

    fn deref(&self) -> &Open {
        self.0.as_ref().expect("looked at when the guard was made")
    }
}

/// Makes the engine beside its place and moves it there whole, so that half an engine is never taken for one.
fn make(folder: &Folder) -> Result<(), Fault> {
    let aside = folder.path().join("engine.new");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|error| Fault::io(&aside, &error))?;
    }
    let made = open_database(&aside).and_then(|database| {
        database.keyspace(RECORDS, options)?;
        database.persist(PersistMode::SyncAll)
    });
    made.map_err(|error| fault_of(&aside, &error))?;
    // fjall syncs what is in the folders of its keyspaces, and not the folder that holds those.
    sync_folders(&aside)?;
    let engine = folder.engine();
    fs::rename(&aside, &engine).map_err(|error| Fault::io(&engine, &error))?;
    sync_folder(folder.path())?;
    folder.finish()
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(MEMTABLE_BYTES)
}

fn open_database(path: &Path) -> Result<Database, fjall::Error> {
    Database::builder(path)
        .manual_journal_persist(true)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNALS_BYTES_MAX)
        .worker_threads(2)
        .open()
}

/// Opens the engine, but only if nothing durable is missing before, and finds all of it after.
fn open_guarded(folder: &Folder, synced: u64) -> Result<(Open, Seal, Journals), Fault> {
    let path = folder.engine();
    folder.inspect_trees()?;
    let journals = journal::inspect(&path, synced, Torn::Cut)?;
    open_compared(&path, synced, &journals).map(|(open, seal)| (open, seal, journals.clone())).map_err(
        |fault| {
            // The end that was cut off may be what is missing.
            match &journals.torn {
                Some(torn) if fault.kind == FaultKind::Damaged => torn.put_back(),
                _nothing_was_cut => fault,
            }
        },
    )
}

/// Opens the engine and compares it with what its journals and the mark promise.
fn open_compared(path: &Path, synced: u64, journals: &Journals) -> Result<(Open, Seal), Fault> {
    let database = open_database(path).map_err(|error| fault_of(path, &error))?;
    if !database.keyspace_exists(RECORDS) {
        return Err(Fault::damage(path, "the records are missing"));
    }
    let records = database.keyspace(RECORDS, options).map_err(|error| fault_of(path, &error))?;
    let open = Open { records, database };
    let in_tables = seal_in_tables(&open).map_err(|error| fault_of(path, &error))?;
    let seal = open.records.get(SEAL_KEY).map_err(|error| fault_of(path, &error))?;
    let seal = match seal {
        Some(bytes) => Seal::decode(&bytes).ok_or_else(|| Fault::damage(path, "the seal cannot be read"))?,
        None => Seal::default(),
    };
    compare(path, synced, journals.commits, in_tables, seal)?;
    Ok((open, seal))
}

/// The seal as it was when the newest table was written. Nothing if there is none, or it was merged away meanwhile.
fn seal_in_tables(open: &Open) -> Result<Option<Seal>, fjall::Error> {
    let Some(seqno) = open.records.tree.get_highest_persisted_seqno() else {
        return Ok(Some(Seal::default()));
    };
    let seal = open.records.tree.get(SEAL_KEY, seqno + 1)?;
    Ok(seal.and_then(|bytes| Seal::decode(&bytes)))
}

/// Whether journals, tables and mark agree that nothing is missing.
fn compare(
    path: &Path,
    synced: u64,
    commits: Option<(u64, u64)>,
    in_tables: Option<Seal>,
    seal: Seal,
) -> Result<(), Fault> {
    if seal.commit < synced {
        let what = format!("its last commit is {}, but commit {synced} was durable", seal.commit);
        return Err(Fault::damage(path, what));
    }
    let Some((first, last)) = commits else { return Ok(()) };
    if seal.commit != last {
        let what = format!("its last commit is {}, but its journals end with commit {last}", seal.commit);
        return Err(Fault::damage(path, what));
    }
    if let Some(in_tables) = in_tables
        && in_tables.commit + 1 < first
    {
        let what =
            format!("its tables end with commit {}, but its journals begin with {first}", in_tables.commit);
        return Err(Fault::damage(path, what));
    }
    Ok(())
}

fn fault_of(path: &Path, error: &fjall::Error) -> Fault {
    let kind = match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => FaultKind::Damaged,
            _any_other => kind_of(error),
        },
        fjall::Error::Locked => FaultKind::Locked,
        fjall::Error::Poisoned => FaultKind::Io,
        // Checksums, tags, lengths: what was read is not what was written.
        _any_other => FaultKind::Damaged,
    };
    Fault::new(kind, error.to_string()).in_file(path)
}

/// Bytes that a store has on disk, or a backup.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => found.len(),
        _directory => folder_bytes(&path.join("engine")),
    }
}

fn folder_bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        // Journals have holes: what is not written takes no space.
        Ok(found) => found.blocks() * 512,
        Err(_gone) => 0,
    });
    bytes.sum()
}
