//! A disk in memory that knows what of it would survive a power cut, and forgets the rest.
//!
//! Why as strict as the standard allows: a file's bytes and length survive only after fsync or fdatasync of that file, and
//! a name survives only after fsync of its directory. Real file systems often keep more, so what holds here holds there.
//! In a torn cut some of what was not synced survives all the same: any page of a file by itself, the new length or the
//! old one, and of each directory's changes of names the first few. That too is what a disk may do.
//!
//! Invariants:
//! - A renaming within one directory is one change; it survives whole or not at all.
//! - After a sync that failed, what it should have written counts as written to everyone but the power cut: the kernel
//!   forgets that those pages were dirty.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use stdx::Prng;

/// A file or directory.
pub type Inode = u64;

/// The directory that holds all.
pub const ROOT: Inode = 1;

/// What a cut tears at.
const PAGE_BYTES: usize = 4096;

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing of this name or number.
    Missing,
    /// Something of this name is there.
    Exists,
    /// A directory where a file was meant.
    IsFolder,
    /// A file where a directory was meant.
    IsFile,
    /// The directory holds something.
    NotEmpty,
    /// The device failed.
    Device,
    /// The disk is full.
    Full,
}

/// Bytes, as everybody sees them and as they would survive.
#[derive(Clone, Debug, Default)]
struct Body {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// A change of names in one directory.
#[derive(Clone, Debug)]
enum Naming {
    Set(OsString, Inode),
    Unset(OsString),
    Move(OsString, OsString, Inode),
}

/// Names, as everybody sees them and as they would survive.
#[derive(Clone, Debug, Default)]
struct Names {
    live: BTreeMap<OsString, Inode>,
    durable: BTreeMap<OsString, Inode>,
    unsynced: Vec<Naming>,
}

#[derive(Clone, Debug)]
enum Content {
    File(Body),
    Folder(Names),
}

#[derive(Clone, Debug)]
struct Node {
    mode: u32,
    content: Content,
}

/// What stat tells.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Which.
    pub inode: Inode,
    /// Bytes; zero for directories.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Whether it is a directory.
    pub is_folder: bool,
}

/// How a cut treats what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// All of it is gone.
    Clean,
    /// Any part of it is gone.
    Torn,
}

/// The disk.
#[derive(Debug)]
pub struct Disk {
    nodes: BTreeMap<Inode, Node>,
    next: Inode,
    bytes_max: u64,
    /// Syncs of files until one fails.
    fails_in: Option<u64>,
    /// Syncs of files that say yes and do nothing: one in so many. Zero is none.
    lies_in: u64,
    /// Syncs so far, of files and directories.
    pub syncs: u64,
    /// Syncs that failed.
    pub failed: u64,
}

impl Disk {
    /// An empty disk of so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let root = Node { mode: 0o755, content: Content::Folder(Names::default()) };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            bytes_max,
            fails_in: None,
            lies_in: 0,
            syncs: 0,
            failed: 0,
        }
    }

    /// The sync of a file that comes after so many others fails.
    pub fn fail_sync_after(&mut self, syncs: u64) {
        self.fails_in = Some(syncs);
    }

    /// From now on every `nth` sync of a file says yes and does nothing; a later one makes up for it.
    pub fn lie_about_every(&mut self, nth: u64) {
        self.lies_in = nth;
    }

    /// How much is used and how much there is, in bytes.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        let bodies = self.nodes.values().filter_map(|node| match &node.content {
            Content::File(body) => Some(body.live.len()),
            Content::Folder(_) => None,
        });
        (u64::try_from(bodies.sum::<usize>()).expect("64 bits"), self.bytes_max)
    }

    /// What a clean cut would take now: names, and bytes of files; for people.
    #[must_use]
    pub fn at_stake(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![(ROOT, String::new())];
        while let Some((inode, path)) = open.pop() {
            match self.nodes.get(&inode).map(|node| &node.content) {
                Some(Content::Folder(names)) => {
                    found.extend(names.unsynced.iter().map(|naming| format!("{path}/: {naming:?}")));
                    let inner = names.live.iter();
                    open.extend(inner.map(|(name, inode)| (*inode, format!("{path}/{}", name.display()))));
                }
                Some(Content::File(body)) if body.live != body.durable => {
                    let pages = body.dirty.len();
                    found.push(format!(
                        "{path}: {pages} pages, {} of {} bytes",
                        body.durable.len(),
                        body.live.len()
                    ));
                }
                Some(Content::File(_)) | None => {}
            }
        }
        found
    }

    /// Takes away everything that was not synced, or, in a torn cut, some of it.
    pub fn cut(&mut self, cut: Cut, dice: &mut Prng) {
        for node in self.nodes.values_mut() {
            match &mut node.content {
                Content::File(body) => body.cut(cut, dice),
                Content::Folder(names) => names.cut(cut, dice),
            }
        }
        self.forget_unreachable();
        self.fails_in = None;
    }

    /// The kernel has let go of this inode: if no name leads to it, now or after a cut, it is gone.
    pub fn forget(&mut self, inode: Inode) {
        if !self.reachable().contains(&inode) {
            self.nodes.remove(&inode);
        }
    }

    fn forget_unreachable(&mut self) {
        let reached = self.reachable();
        self.nodes.retain(|inode, _| reached.contains(inode));
    }

    /// Everything that a name leads to, now, after a clean cut, or after one that tears.
    fn reachable(&self) -> BTreeSet<Inode> {
        let mut reached = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(inode) = open.pop() {
            if let Some(Node { content: Content::Folder(names), .. }) = self.nodes.get(&inode) {
                open.extend(names.inodes().filter(|inode| reached.insert(*inode)));
            }
        }
        reached
    }

    fn names(&self, folder: Inode) -> Result<&Names, Trouble> {
        match &self.nodes.get(&folder).ok_or(Trouble::Missing)?.content {
            Content::Folder(names) => Ok(names),
            Content::File(_) => Err(Trouble::IsFile),
        }
    }

    fn names_mut(&mut self, folder: Inode) -> Result<&mut Names, Trouble> {
        match &mut self.nodes.get_mut(&folder).ok_or(Trouble::Missing)?.content {
            Content::Folder(names) => Ok(names),
            Content::File(_) => Err(Trouble::IsFile),
        }
    }

    fn body_mut(&mut self, file: Inode) -> Result<&mut Body, Trouble> {
        match &mut self.nodes.get_mut(&file).ok_or(Trouble::Missing)?.content {
            Content::File(body) => Ok(body),
            Content::Folder(_) => Err(Trouble::IsFolder),
        }
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// If there is no such name.
    pub fn look_up(&self, folder: Inode, name: &OsStr) -> Result<Status, Trouble> {
        self.status(*self.names(folder)?.live.get(name).ok_or(Trouble::Missing)?)
    }

    /// What stat tells.
    ///
    /// # Errors
    /// If there is no such inode.
    pub fn status(&self, inode: Inode) -> Result<Status, Trouble> {
        let node = self.nodes.get(&inode).ok_or(Trouble::Missing)?;
        let (bytes, is_folder) = match &node.content {
            Content::File(body) => (u64::try_from(body.live.len()).expect("64 bits"), false),
            Content::Folder(_) => (0, true),
        };
        Ok(Status { inode, bytes, mode: node.mode, is_folder })
    }

    /// All names of a directory.
    ///
    /// # Errors
    /// If it is none.
    pub fn list(&self, folder: Inode) -> Result<Vec<(OsString, Status)>, Trouble> {
        let names = &self.names(folder)?.live;
        names.iter().map(|(name, inode)| Ok((name.clone(), self.status(*inode)?))).collect()
    }

    /// Makes a file.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn make_file(&mut self, folder: Inode, name: &OsStr, mode: u32) -> Result<Status, Trouble> {
        self.make(folder, name, Node { mode, content: Content::File(Body::default()) })
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn make_folder(&mut self, folder: Inode, name: &OsStr, mode: u32) -> Result<Status, Trouble> {
        self.make(folder, name, Node { mode, content: Content::Folder(Names::default()) })
    }

    fn make(&mut self, folder: Inode, name: &OsStr, node: Node) -> Result<Status, Trouble> {
        let inode = self.next;
        let names = self.names_mut(folder)?;
        if names.live.contains_key(name) {
            return Err(Trouble::Exists);
        }
        names.change(Naming::Set(name.to_owned(), inode));
        self.nodes.insert(inode, node);
        self.next += 1;
        self.status(inode)
    }

    /// Takes a name away; what it stood for lives on for those who have it open.
    ///
    /// # Errors
    /// If there is no such name, or it is a directory that holds something.
    pub fn remove(&mut self, folder: Inode, name: &OsStr) -> Result<(), Trouble> {
        let status = self.look_up(folder, name)?;
        if status.is_folder && !self.names(status.inode)?.live.is_empty() {
            return Err(Trouble::NotEmpty);
        }
        self.names_mut(folder)?.change(Naming::Unset(name.to_owned()));
        Ok(())
    }

    /// Gives something another name, in place of what had it.
    ///
    /// # Errors
    /// If there is nothing to rename.
    pub fn rename(&mut self, from: (Inode, &OsStr), to: (Inode, &OsStr)) -> Result<(), Trouble> {
        let inode = self.look_up(from.0, from.1)?.inode;
        if from.0 == to.0 {
            let naming = Naming::Move(from.1.to_owned(), to.1.to_owned(), inode);
            self.names_mut(from.0)?.change(naming);
            return Ok(());
        }
        self.names_mut(to.0)?.change(Naming::Set(to.1.to_owned(), inode));
        self.names_mut(from.0)?.change(Naming::Unset(from.1.to_owned()));
        Ok(())
    }

    /// Bytes of a file.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(&mut self, file: Inode, offset: usize, bytes: usize) -> Result<&[u8], Trouble> {
        let live = &self.body_mut(file)?.live;
        let start = offset.min(live.len());
        let end = offset.saturating_add(bytes).min(live.len());
        Ok(&live[start..end])
    }

    /// Changes bytes of a file.
    ///
    /// # Errors
    /// If it is none, or the disk is full.
    pub fn write(&mut self, file: Inode, offset: usize, bytes: &[u8]) -> Result<(), Trouble> {
        self.grow(file, offset + bytes.len())?;
        let body = self.body_mut(file)?;
        body.live[offset..offset + bytes.len()].copy_from_slice(bytes);
        body.dirty.extend(offset / PAGE_BYTES..(offset + bytes.len()).div_ceil(PAGE_BYTES));
        Ok(())
    }

    /// Makes a file at least so long.
    ///
    /// # Errors
    /// If it is none, or the disk is full.
    pub fn grow(&mut self, file: Inode, length: usize) -> Result<(), Trouble> {
        let old = self.body_mut(file)?.live.len();
        if length > old { self.resize(file, length) } else { Ok(()) }
    }

    /// Makes a file so long.
    ///
    /// # Errors
    /// If it is none, or the disk is full.
    pub fn resize(&mut self, file: Inode, length: usize) -> Result<(), Trouble> {
        let old = self.body_mut(file)?.live.len();
        let (used, bytes_max) = self.usage();
        let more = u64::try_from(length.saturating_sub(old)).expect("64 bits");
        if more > 0 && used + more > bytes_max {
            return Err(Trouble::Full);
        }
        let body = self.body_mut(file)?;
        body.live.resize(length, 0);
        let touched = old.min(length) / PAGE_BYTES..old.max(length).div_ceil(PAGE_BYTES);
        body.dirty.extend(touched);
        Ok(())
    }

    /// Changes permissions.
    ///
    /// # Errors
    /// If there is no such inode.
    pub fn set_mode(&mut self, inode: Inode, mode: u32) -> Result<(), Trouble> {
        self.nodes.get_mut(&inode).ok_or(Trouble::Missing)?.mode = mode & 0o7777;
        Ok(())
    }

    /// Makes a file's bytes and length survive.
    ///
    /// # Errors
    /// If it is none, or the device fails as it was told to.
    pub fn sync_file(&mut self, file: Inode) -> Result<(), Trouble> {
        self.syncs += 1;
        if self.lies_in > 0 && self.syncs.is_multiple_of(self.lies_in) {
            return Ok(());
        }
        let is_failing = self.fails_in == Some(0);
        self.fails_in = self.fails_in.and_then(|left| left.checked_sub(1));
        let body = self.body_mut(file)?;
        if is_failing {
            body.dirty.clear();
            self.failed += 1;
            return Err(Trouble::Device);
        }
        body.sync();
        Ok(())
    }

    /// Makes a directory's names survive.
    ///
    /// # Errors
    /// If it is none.
    pub fn sync_folder(&mut self, folder: Inode) -> Result<(), Trouble> {
        self.syncs += 1;
        let names = self.names_mut(folder)?;
        names.durable.clone_from(&names.live);
        names.unsynced.clear();
        Ok(())
    }
}

impl Body {
    fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            self.keep(page);
        }
    }

    /// Copies one page, as far as both sides have it.
    fn keep(&mut self, page: usize) {
        let start = page * PAGE_BYTES;
        let end = (start + PAGE_BYTES).min(self.live.len()).min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.live[start..end]);
        }
    }

    fn cut(&mut self, cut: Cut, dice: &mut Prng) {
        if cut == Cut::Torn {
            if dice.one_in(2) {
                self.durable.resize(self.live.len(), 0);
            }
            for page in std::mem::take(&mut self.dirty) {
                if dice.one_in(2) {
                    self.keep(page);
                }
            }
        }
        self.dirty.clear();
        self.live.clone_from(&self.durable);
    }
}

impl Names {
    fn inodes(&self) -> impl Iterator<Item = Inode> {
        let unsynced = self.unsynced.iter().filter_map(|naming| match naming {
            Naming::Set(_, inode) | Naming::Move(_, _, inode) => Some(*inode),
            Naming::Unset(_) => None,
        });
        self.live.values().chain(self.durable.values()).copied().chain(unsynced)
    }

    fn change(&mut self, naming: Naming) {
        naming.apply(&mut self.live);
        self.unsynced.push(naming);
    }

    fn cut(&mut self, cut: Cut, dice: &mut Prng) {
        let unsynced = std::mem::take(&mut self.unsynced);
        if cut == Cut::Torn {
            let kept = dice.below(u64::try_from(unsynced.len() + 1).expect("64 bits"));
            for naming in unsynced.iter().take(usize::try_from(kept).expect("an index")) {
                naming.apply(&mut self.durable);
            }
        }
        self.live.clone_from(&self.durable);
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<OsString, Inode>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unset(name) => {
                names.remove(name);
            }
            Self::Move(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn cut(disk: &mut Disk, cut: Cut, seed: u64) {
        disk.cut(cut, &mut Prng::new(seed));
    }

    fn content(disk: &mut Disk, file: &str) -> Option<Vec<u8>> {
        let inode = disk.look_up(ROOT, name(file)).ok()?.inode;
        Some(disk.read(inode, 0, 1 << 20).unwrap().to_vec())
    }

    #[test]
    fn bytes_survive_from_their_sync_on() {
        let mut disk = Disk::new(1 << 20);
        let file = disk.make_file(ROOT, name("a"), 0o600).unwrap().inode;
        disk.sync_folder(ROOT).unwrap();
        disk.write(file, 0, b"first").unwrap();
        disk.sync_file(file).unwrap();
        disk.write(file, 5, b" second").unwrap();
        assert_eq!(content(&mut disk, "a").unwrap(), b"first second");
        cut(&mut disk, Cut::Clean, 0);
        assert_eq!(content(&mut disk, "a").unwrap(), b"first");
    }

    #[test]
    fn a_name_survives_from_the_sync_of_its_directory_on() {
        let mut disk = Disk::new(1 << 20);
        let file = disk.make_file(ROOT, name("a"), 0o600).unwrap().inode;
        disk.write(file, 0, b"x").unwrap();
        disk.sync_file(file).unwrap();
        cut(&mut disk, Cut::Clean, 0);
        assert_eq!(content(&mut disk, "a"), None);
    }

    #[test]
    fn a_renaming_survives_whole_or_not_at_all() {
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let mut disk = Disk::new(1 << 20);
            for (file, bytes) in [("a", b"old"), ("b", b"new")] {
                let inode = disk.make_file(ROOT, name(file), 0o600).unwrap().inode;
                disk.write(inode, 0, bytes).unwrap();
                disk.sync_file(inode).unwrap();
            }
            disk.sync_folder(ROOT).unwrap();
            disk.rename((ROOT, name("b")), (ROOT, name("a"))).unwrap();
            cut(&mut disk, Cut::Torn, seed);
            seen.insert((content(&mut disk, "a").unwrap(), content(&mut disk, "b")));
        }
        let old = (b"old".to_vec(), Some(b"new".to_vec()));
        assert_eq!(seen, BTreeSet::from([old, (b"new".to_vec(), None)]));
    }

    #[test]
    fn a_torn_cut_may_keep_a_later_page_and_lose_an_earlier_one() {
        let mut kept = BTreeSet::new();
        for seed in 0..64 {
            let mut disk = Disk::new(1 << 20);
            let file = disk.make_file(ROOT, name("a"), 0o600).unwrap().inode;
            disk.sync_folder(ROOT).unwrap();
            disk.write(file, 0, &[1; 2 * PAGE_BYTES]).unwrap();
            cut(&mut disk, Cut::Torn, seed);
            let bytes = content(&mut disk, "a").unwrap();
            kept.insert([0, PAGE_BYTES].map(|at| bytes.get(at).copied()));
        }
        for state in [[None, None], [Some(0), Some(1)], [Some(1), Some(0)], [Some(1), Some(1)]] {
            assert!(kept.contains(&state), "{state:?} of {kept:?}");
        }
    }

    #[test]
    fn a_failed_sync_is_never_made_good() {
        let mut disk = Disk::new(1 << 20);
        let file = disk.make_file(ROOT, name("a"), 0o600).unwrap().inode;
        disk.sync_folder(ROOT).unwrap();
        disk.write(file, 0, b"lost").unwrap();
        disk.fail_sync_after(0);
        assert_eq!(disk.sync_file(file), Err(Trouble::Device));
        assert_eq!(disk.sync_file(file), Ok(()));
        assert_eq!(content(&mut disk, "a").unwrap(), b"lost");
        cut(&mut disk, Cut::Clean, 0);
        assert_eq!(content(&mut disk, "a").unwrap(), [0; 4]);
    }

    #[test]
    fn a_lie_lasts_until_the_next_sync() {
        let mut disk = Disk::new(1 << 20);
        let file = disk.make_file(ROOT, name("a"), 0o600).unwrap().inode;
        disk.sync_folder(ROOT).unwrap();
        disk.lie_about_every(2);
        // The directory's sync was the first, so the second is a lie.
        for (kept, text) in [("", "1"), ("12", "2"), ("12", "3")] {
            let end = disk.read(file, 0, 9).unwrap().len();
            disk.write(file, end, text.as_bytes()).unwrap();
            disk.sync_file(file).unwrap();
            let survives = match &disk.nodes[&file].content {
                Content::File(body) => body.durable.clone(),
                Content::Folder(_) => panic!("a file"),
            };
            assert_eq!(String::from_utf8(survives).unwrap(), kept, "after {text}");
        }
    }

    #[test]
    fn a_full_disk_says_so() {
        let mut disk = Disk::new(10);
        let file = disk.make_file(ROOT, name("a"), 0o600).unwrap().inode;
        assert_eq!(disk.write(file, 0, &[0; 10]), Ok(()));
        assert_eq!(disk.write(file, 10, &[0]), Err(Trouble::Full));
        disk.resize(file, 0).unwrap();
        assert_eq!(disk.write(file, 0, &[0; 10]), Ok(()));
    }
}
