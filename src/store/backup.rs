//! A copy of all records in one stream: the format of backups, and what a running broker answers.
//!
//! Why not the engine's files: they mean something only together and in one version of the engine. A stream of records is
//! one consistent state, carries its own checksum and can be restored by every later version.
//!
//! ```text
//! "ringmq backup 1\n", or 4 with records of devices (2 by versions that knew no rows of telemetry)
//! for each record:  key length (2 bytes, not zero)  value length (4)  key  value
//! at the end:       0 (2 bytes)  count of records (8)  XXH3-64 of everything between head and here (8)
//! ```
//! Integers are little-endian. Records of devices come first; whoever owns comes before what is owned.
//!
//! Invariants:
//! - A stream that was cut, changed or continued does not pass as whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::devices::is_device_key;
use crate::engine::{Batch, Engine};
use crate::fault::{Fault, FaultKind};
use crate::fjall::{FjallEngine, sync_folder};

const HEAD: &[u8; 16] = b"ringmq backup 1\n";
/// Earlier versions, which know no devices or no rows of telemetry, refuse it. There is no 3: one changed bit must not make one
/// head another.
const HEAD_OF_DEVICES: &[u8; 16] = b"ringmq backup 4\n";
/// What a version wrote that knew no rows.
const HEAD_WITHOUT_ROWS: &[u8; 16] = b"ringmq backup 2\n";

/// Records restored in one commit.
const RESTORE_BYTES: usize = 4_194_304;

/// Called for each key and value.
pub(crate) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Fault> + 'a;

/// Writes a stream.
pub(crate) struct BackupWriter<W> {
    out: W,
    sum: Xxh3,
    records: u64,
    has_head: bool,
}

impl<W: Write> BackupWriter<W> {
    pub fn begin(out: W) -> Self {
        Self { out, sum: Xxh3::new(), records: 0, has_head: false }
    }

    /// The head depends on the first record: those of devices come before all others.
    fn head(&mut self, first: &[u8]) -> std::io::Result<()> {
        if std::mem::replace(&mut self.has_head, true) {
            return Ok(());
        }
        self.out.write_all(if is_device_key(first) { HEAD_OF_DEVICES } else { HEAD })
    }

    pub fn record(&mut self, key: &[u8], value: &[u8]) -> std::io::Result<()> {
        let key_len = u16::try_from(key.len()).expect("keys have at most 65,535 bytes");
        let value_len = u32::try_from(value.len()).expect("values have less than 4 GiB");
        self.head(key)?;
        self.records += 1;
        for part in [&key_len.to_le_bytes()[..], &value_len.to_le_bytes(), key, value] {
            self.sum.update(part);
            self.out.write_all(part)?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> std::io::Result<W> {
        self.head(&[])?;
        let records = self.records.to_le_bytes();
        for part in [&[0, 0][..], &records] {
            self.sum.update(part);
            self.out.write_all(part)?;
        }
        self.out.write_all(&self.sum.digest().to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads a stream to its end and calls `visit` for each record. What was visited counts only if this returns `Ok`.
pub(crate) fn read_backup(name: &Path, input: &mut dyn Read, visit: &mut Each<'_>) -> Result<u64, Fault> {
    let mut reading = Reading { name, input, sum: Xxh3::new(), at: 0 };
    let mut head = [0; HEAD.len()];
    reading.fill(&mut head)?;
    if ![HEAD, HEAD_OF_DEVICES, HEAD_WITHOUT_ROWS].contains(&&head) {
        return Err(Fault::damage(name, "this is no backup of a kind that this program knows"));
    }
    reading.sum = Xxh3::new();
    let (mut key, mut value, mut records) = (Vec::new(), Vec::new(), 0u64);
    loop {
        let key_len = u16::from_le_bytes(reading.array()?);
        if key_len == 0 {
            break;
        }
        let value_len = u32::from_le_bytes(reading.array()?);
        key.resize(usize::from(key_len), 0);
        reading.fill(&mut key)?;
        reading.fill_long(&mut value, stdx::widen(value_len))?;
        visit(&key, &value)?;
        records += 1;
    }
    let counted = u64::from_le_bytes(reading.array()?);
    let expected = reading.sum.digest();
    if counted != records || u64::from_le_bytes(reading.array()?) != expected {
        return Err(Fault::damage(name, "it does not match its checksum").at(reading.at));
    }
    match reading.input.read(&mut [0]) {
        Ok(0) => Ok(records),
        Ok(_more) => Err(Fault::damage(name, "something follows its end").at(reading.at)),
        Err(error) => Err(Fault::io(name, &error)),
    }
}

/// How many records a whole backup has; nothing if it is none. For fuzzing.
#[must_use]
pub fn count_backup(bytes: &[u8]) -> Option<u64> {
    read_backup(Path::new("-"), &mut &*bytes, &mut |_, _| Ok(())).ok()
}

struct Reading<'a> {
    name: &'a Path,
    input: &'a mut dyn Read,
    sum: Xxh3,
    at: u64,
}

impl Reading<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Fault::damage(self.name, "it ends too early").at(self.at),
            _any_other => Fault::io(self.name, &error),
        })?;
        self.sum.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Believes a length only as far as bytes come.
    fn fill_long(&mut self, bytes: &mut Vec<u8>, len: usize) -> Result<(), Fault> {
        const STEP: usize = 1_048_576;
        bytes.clear();
        while bytes.len() < len {
            let start = bytes.len();
            bytes.resize(len.min(start + STEP), 0);
            self.fill(&mut bytes[start..])?;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<u64, Fault>,
) -> Result<u64, Fault> {
    let aside = beside(path, "partial");
    let made = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside);
    let mut out = BufWriter::new(made.map_err(|error| Fault::io(&aside, &error))?);
    let written = write(&mut out).and_then(|records| {
        let file = out.into_inner().map_err(|error| Fault::io(&aside, error.error()))?;
        file.sync_all().map_err(|error| Fault::io(&aside, &error))?;
        fs::rename(&aside, path).map_err(|error| Fault::io(path, &error))?;
        sync_folder(parent(path))?;
        Ok(records)
    });
    if written.is_err() {
        // What is left of it is of no use to anyone; the fault says why.
        let _ = fs::remove_file(&aside);
    }
    written
}

/// Makes a store in an empty or missing directory from a backup; returns how many records it has.
pub(crate) fn restore(from: &Path, dir: &Path, visited: &mut dyn FnMut(u64)) -> Result<u64, Fault> {
    let is_taken = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken || dir.is_file() {
        return Err(Fault::new(FaultKind::Io, "it is not empty").in_file(dir));
    }
    // Once to see that it is whole, before anything is made of it.
    read_file(from, &mut |_, _| Ok(()))?;
    let aside = beside(dir, "restoring");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|error| Fault::io(&aside, &error))?;
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&aside)
        .map_err(|error| Fault::io(&aside, &error))?;
    let records = fill(from, &aside, visited)?;
    fs::rename(&aside, dir).map_err(|error| Fault::io(dir, &error))?;
    sync_folder(parent(dir))?;
    Ok(records)
}

fn fill(from: &Path, dir: &Path, visited: &mut dyn FnMut(u64)) -> Result<u64, Fault> {
    let mut engine = FjallEngine::make_new(dir)?;
    let (mut batch, mut records) = (Batch::default(), 0);
    read_file(from, &mut |key, value| {
        batch.put(key, |out| out.extend_from_slice(value));
        records += 1;
        visited(records);
        if batch.bytes() < RESTORE_BYTES {
            return Ok(());
        }
        engine.commit(&batch)?;
        batch.clear();
        Ok(())
    })?;
    engine.commit(&batch)?;
    engine.sync()?;
    Ok(records)
}

pub(crate) fn read_file(path: &Path, visit: &mut Each<'_>) -> Result<u64, Fault> {
    let file = File::open(path).map_err(|error| Fault::io(path, &error))?;
    read_backup(path, &mut BufReader::with_capacity(65_536, file), visit)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _none => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut writer = BackupWriter::begin(Vec::new());
        writer.record(b"a", b"one").unwrap();
        writer.record(b"bb", b"").unwrap();
        writer.finish().unwrap()
    }

    type Records = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(bytes: &[u8]) -> Result<Records, Fault> {
        let mut records = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            records.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        read_backup(Path::new("x"), &mut &*bytes, &mut visit)?;
        Ok(records)
    }

    #[test]
    fn a_stream_gives_back_its_records() {
        let expected = [(b"a".to_vec(), b"one".to_vec()), (b"bb".to_vec(), Vec::new())];
        assert_eq!(read(&stream()).unwrap(), expected);
    }

    #[test]
    fn a_stream_cut_or_changed_anywhere_is_damaged() {
        let whole = stream();
        for at in 0..whole.len() {
            assert_eq!(read(&whole[..at]).unwrap_err().kind, FaultKind::Damaged, "cut at {at}");
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(read(&changed).unwrap_err().kind, FaultKind::Damaged, "bit {bit} of byte {at}");
            }
        }
        assert_eq!(read(&[&whole[..], b"x"].concat()).unwrap_err().kind, FaultKind::Damaged);
    }
}
