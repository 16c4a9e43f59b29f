//! Reads the engine's journals before the engine does, and tells a torn end from damage.
//!
//! Why: the engine takes the first thing that it cannot read for the end of a journal and cuts the file there. That is
//! right for what a power cut left half written, and silent loss for anything else: a flipped bit in the middle, a file
//! cut short, a journal that is missing. Every commit of ours carries a [`Seal`]; with the seals and the mark of the last
//! sync (`mark.rs`) we know what must be there. The opposite happens too: after a power cut the engine may refuse an end
//! whose length is right and whose content is not; such an end is cut off here.
//!
//! Invariants:
//! - A journal is only ever cut behind the last commit that was synced.
//! - Commits in the journals follow each other without a gap, and their sequence numbers rise.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::fault::Fault;

/// The key of the seal: the first key of all, in no record's range.
pub(super) const SEAL_KEY: &[u8] = b"\0ringmq seal\0";

const SEAL_LEN: usize = 32;

/// A sequence number is given to a commit when it is written; others may be given in between to housekeeping.
const SEQNO_SLACK: u64 = 1_000_000;

/// Bytes of a journal that are read at once.
const PIECE_BYTES: usize = 262_144;

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TRAILER: &[u8] = b"FJL\x03";

/// What each commit says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Seal {
    /// Counts commits, from one.
    pub commit: u64,
    /// The last commit that was synced when this one was written.
    pub synced: u64,
    /// The engine's sequence number was at least this.
    pub seqno: u64,
}

impl Seal {
    pub fn encode(self) -> [u8; SEAL_LEN] {
        let mut bytes = [0; SEAL_LEN];
        for (place, value) in bytes.chunks_exact_mut(8).zip([self.commit, self.synced, self.seqno]) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        let sum = xxh3_64(&bytes[..24]);
        bytes[24..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Nothing if it is not a seal or was damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.get(..SEAL_LEN)?.split_at(24);
        let word = |index: usize| Some(u64::from_le_bytes(body.get(index..index + 8)?.try_into().ok()?));
        (xxh3_64(body).to_le_bytes() == sum).then_some(())?;
        Some(Self { commit: word(0)?, synced: word(8)?, seqno: word(16)? })
    }
}

/// What the journals hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Journals {
    /// First and last commit in them; none if there is none.
    pub commits: Option<(u64, u64)>,
    /// What stands at the end and was not synced, as far as can be told from the journals.
    pub torn: Option<TornEnd>,
}

/// An end that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TornEnd {
    path: PathBuf,
    at: u64,
    /// Without the zeros at its end.
    bytes: Vec<u8>,
    /// How long the file was, with them.
    file_len: u64,
    what: String,
}

impl TornEnd {
    /// How long it is, without the zeros at its end.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Puts it back where it was, because it turned out to be damage. Says so.
    pub fn put_back(&self) -> Fault {
        let written = OpenOptions::new().write(true).open(&self.path).and_then(|file| {
            file.write_all_at(&self.bytes, self.at)?;
            file.set_len(self.file_len)?;
            file.sync_all()
        });
        let fault = Fault::damage(&self.path, self.what.clone()).at(self.at);
        match written {
            Ok(()) => fault,
            Err(error) => {
                Fault { what: format!("{}; it could not be left as it was: {error}", fault.what), ..fault }
            }
        }
    }
}

/// What to do with an end that was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Torn {
    /// Cut it off, as recovery must.
    Cut,
    /// Leave the file alone, as a check must.
    Leave,
}

/// Reads all journals of an engine's folder. `synced` is the last commit that was synced for certain.
pub(super) fn inspect(folder: &Path, synced: u64, torn: Torn) -> Result<Journals, Fault> {
    let paths = journal_paths(folder)?;
    let mut reading = Reading { synced, last: None, first: None };
    let mut torn_end = None;
    for (index, path) in paths.iter().enumerate() {
        let (bytes, file_len) = read_up_to_zeros(path)?;
        match reading.journal(path, &bytes)? {
            End::Clean => {}
            End::Torn(at, what) => {
                if index + 1 < paths.len() {
                    return Err(Fault::damage(path, format!("{what}; a younger journal follows")).at(at));
                }
                reading.excuse(path, &bytes, at, &what)?;
                if torn == Torn::Cut {
                    cut(path, at)?;
                }
                let start = usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
                let bytes = bytes[start..].to_vec();
                torn_end = Some(TornEnd { path: path.clone(), at, bytes, file_len, what });
            }
        }
    }
    let last = reading.last.map_or(0, |seal| seal.commit);
    // No commit at all: they may all be in tables; the engine's own seal is compared later.
    if reading.last.is_some() && last < synced {
        let what = format!("the journals end with commit {last}, but commit {synced} was durable");
        return Err(Fault::damage(paths.last().map_or(folder, PathBuf::as_path), what));
    }
    Ok(Journals { commits: reading.first.map(|first| (first, last)), torn: torn_end })
}

fn journal_paths(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| Fault::io(folder, &error))? {
        let path = entry.map_err(|error| Fault::io(folder, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let Some(number) = number else {
            return Err(Fault::damage(&path, "a journal's name must be a number"));
        };
        found.push((number, path));
    }
    found.sort();
    if found.is_empty() {
        return Err(Fault::damage(folder, "there is no journal"));
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// A file without the zeros at its end, and its length with them. A new journal is 64 MiB of them, which would stay with
/// the process for a while.
fn read_up_to_zeros(path: &Path) -> Result<(Vec<u8>, u64), Fault> {
    let mut bytes = Vec::new();
    let mut len = 0;
    let mut piece = vec![0; PIECE_BYTES];
    let mut file = File::open(path).map_err(|error| Fault::io(path, &error))?;
    loop {
        let count = file.read(&mut piece).map_err(|error| Fault::io(path, &error))?;
        if count == 0 {
            return Ok((bytes, len as u64));
        }
        if let Some(last) = piece[..count].iter().rposition(|byte| *byte != 0) {
            bytes.resize(len, 0);
            bytes.extend_from_slice(&piece[..=last]);
        }
        len += count;
    }
}

fn cut(path: &Path, at: u64) -> Result<(), Fault> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(at).and_then(|()| file.sync_all()))
        .map_err(|error| Fault::io(path, &error))
}

enum End {
    /// Nothing but zeros behind the last commit.
    Clean,
    /// From here on it cannot be read, and why.
    Torn(u64, String),
}

struct Reading {
    synced: u64,
    first: Option<u64>,
    last: Option<Seal>,
}

impl Reading {
    fn journal(&mut self, path: &Path, bytes: &[u8]) -> Result<End, Fault> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            // A journal is made longer than needed, with zeros.
            if rest[0] == 0 && rest.iter().all(|byte| *byte == 0) {
                return Ok(End::Clean);
            }
            match commit(rest) {
                Ok(read) => {
                    self.follow(read.seal, read.seqno)
                        .map_err(|what| Fault::damage(path, what).at(at as u64))?;
                    at += read.len;
                }
                Err(what) => return Ok(End::Torn(at as u64, what.to_owned())),
            }
        }
        Ok(End::Clean)
    }

    /// Whether this commit may follow the last one.
    fn follow(&mut self, seal: Seal, seqno: u64) -> Result<(), String> {
        if !(seal.seqno..seal.seqno.saturating_add(SEQNO_SLACK)).contains(&seqno) {
            return Err(format!("commit {} has the impossible sequence number {seqno}", seal.commit));
        }
        if let Some(last) = self.last
            && (seal.commit != last.commit + 1 || seal.seqno <= last.seqno)
        {
            return Err(format!("commit {} follows commit {}", seal.commit, last.commit));
        }
        self.first.get_or_insert(seal.commit);
        self.last = Some(Seal { seqno, ..seal });
        Ok(())
    }

    /// Whether what cannot be read may be missing: only if it was never synced.
    fn excuse(&self, path: &Path, bytes: &[u8], at: u64, what: &str) -> Result<(), Fault> {
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let found: Vec<Seal> = seals(rest).collect();
        let proven = found.iter().map(|seal| seal.synced).max().unwrap_or(0).max(self.synced);
        let lost = match self.last {
            Some(last) => last.commit + 1,
            // Without any commit that can be read, the engine's own seal has the last word, after opening.
            None => found.iter().map(|seal| seal.commit).min().unwrap_or(u64::MAX),
        };
        if lost <= proven {
            let what = format!("{what}; this was commit {lost}, and commit {proven} was durable");
            return Err(Fault::damage(path, what).at(at));
        }
        Ok(())
    }
}

/// All seals in bytes that cannot be read as commits.
fn seals(bytes: &[u8]) -> impl Iterator<Item = Seal> + '_ {
    let starts = bytes.windows(SEAL_KEY.len()).enumerate().filter(|(_, window)| *window == SEAL_KEY);
    starts.filter_map(|(at, _)| Seal::decode(bytes.get(at + SEAL_KEY.len()..)?))
}

struct ReadCommit {
    seal: Seal,
    seqno: u64,
    len: usize,
}

/// Reads one commit: a start, items, an end with a checksum over the items.
fn commit(bytes: &[u8]) -> Result<ReadCommit, &'static str> {
    let mut input = Input { bytes, at: 0 };
    if input.byte()? != TAG_START {
        return Err("no commit begins here");
    }
    let items = input.u32()?;
    let seqno = input.u64()?;
    let mut sum = Xxh3::default();
    let mut seal = None;
    for _ in 0..items {
        let start = input.at;
        let (key, value) = item(&mut input)?;
        sum.update(&bytes[start..input.at]);
        if key == SEAL_KEY {
            seal = Seal::decode(value);
        }
    }
    if input.byte()? != TAG_END {
        return Err("a commit has no end");
    }
    if input.u64()? != sum.digest() {
        return Err("a commit does not match its checksum");
    }
    if input.take(TRAILER.len())? != TRAILER {
        return Err("a commit does not end as it should");
    }
    let seal = seal.ok_or("a commit has no seal")?;
    Ok(ReadCommit { seal, seqno, len: input.at })
}

fn item<'a>(input: &mut Input<'a>) -> Result<(&'a [u8], &'a [u8]), &'static str> {
    if input.byte()? != TAG_ITEM {
        return Err("a commit has fewer items than it says");
    }
    // Removed, weakly removed or set; 4 would point into a file of values, which we have none of.
    if input.byte()? > 2 {
        return Err("an item is of no known kind");
    }
    if input.byte()? != 0 {
        return Err("an item is compressed, which this store never does");
    }
    let _keyspace = input.u64()?;
    let key_len = usize::from(input.u16()?);
    let value_len = input.u32()?;
    if input.u32()? != value_len {
        return Err("an item has two lengths");
    }
    let key = input.take(key_len)?;
    Ok((key, input.take(stdx::widen(value_len))?))
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let taken =
            self.bytes.get(self.at..).and_then(|rest| rest.get(..len)).ok_or("the file ends in a commit")?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        Ok(self.take(N)?.try_into().expect("as long as asked for"))
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}
