//! The disk as a FUSE file system: requests of the kernel, translated one to one.
//!
//! Why long times to live: nobody but the kernel changes anything between two cuts, and a cut comes with a new mount.
//!
//! Invariants:
//! - A request that the disk does not know (links, extended attributes, device nodes) is refused, so a store that needs one
//!   fails loudly.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::disk::{Disk, Status, Trouble};

const LIFE: Duration = Duration::from_secs(3600);
const BLOCK_BYTES: u32 = 4096;

/// The file system.
pub struct Fs {
    disk: Arc<Mutex<Disk>>,
    owner: (u32, u32),
}

impl Fs {
    /// A file system over this disk, whose files belong to this user and group.
    pub fn new(disk: Arc<Mutex<Disk>>, owner: (u32, u32)) -> Self {
        Self { disk, owner }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, status: Status) -> FileAttr {
        FileAttr {
            ino: INodeNo(status.inode),
            size: status.bytes,
            blocks: status.bytes.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if status.is_folder { FileType::Directory } else { FileType::RegularFile },
            perm: u16::try_from(status.mode & 0o7777).expect("twelve bits"),
            nlink: if status.is_folder { 2 } else { 1 },
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }

    fn answer_entry(&self, outcome: Result<Status, Trouble>, reply: ReplyEntry) {
        match outcome {
            Ok(status) => reply.entry(&LIFE, &self.attributes(status), Generation(0)),
            Err(trouble) => reply.error(number(trouble)),
        }
    }
}

fn number(trouble: Trouble) -> Errno {
    match trouble {
        Trouble::Missing => Errno::ENOENT,
        Trouble::Exists => Errno::EEXIST,
        Trouble::IsFolder => Errno::EISDIR,
        Trouble::IsFile => Errno::ENOTDIR,
        Trouble::NotEmpty => Errno::ENOTEMPTY,
        Trouble::Device => Errno::EIO,
        Trouble::Full => Errno::ENOSPC,
    }
}

fn answer_empty(outcome: Result<(), Trouble>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(trouble) => reply.error(number(trouble)),
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("64 bits")
}

impl Filesystem for Fs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let outcome = self.disk().look_up(parent.0, name);
        self.answer_entry(outcome, reply);
    }

    fn forget(&self, _: &Request, inode: INodeNo, _: u64) {
        self.disk().forget(inode.0);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk().status(inode.0) {
            Ok(status) => reply.attr(&LIFE, &self.attributes(status)),
            Err(trouble) => reply.error(number(trouble)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let resized = size.map_or(Ok(()), |size| disk.resize(inode.0, place(size)));
        let outcome = resized
            .and_then(|()| mode.map_or(Ok(()), |mode| disk.set_mode(inode.0, mode)))
            .and_then(|()| disk.status(inode.0));
        match outcome {
            Ok(status) => reply.attr(&LIFE, &self.attributes(status)),
            Err(trouble) => reply.error(number(trouble)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let outcome = self.disk().make_folder(parent.0, name, mode & !umask);
        self.answer_entry(outcome, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.disk().remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.disk().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags != RenameFlags::empty() {
            return reply.error(Errno::EINVAL);
        }
        answer_empty(self.disk().rename((parent.0, name), (to_parent.0, to_name)), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let outcome = self.disk().make_file(parent.0, name, mode & !umask & 0o7777);
        match outcome {
            Ok(status) => reply.created(
                &LIFE,
                &self.attributes(status),
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(trouble) => reply.error(number(trouble)),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut disk = self.disk();
        match disk.read(inode.0, place(offset), place(u64::from(size))) {
            Ok(bytes) => reply.data(bytes),
            Err(trouble) => reply.error(number(trouble)),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(inode.0, place(offset), bytes) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).expect("requests are small")),
            Err(trouble) => reply.error(number(trouble)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // close(2) promises nothing.
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer_empty(self.disk().sync_file(inode.0), reply);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer_empty(self.disk().sync_folder(inode.0), reply);
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = match self.disk().list(inode.0) {
            Ok(names) => names,
            Err(trouble) => return reply.error(number(trouble)),
        };
        for (index, (name, status)) in names.iter().enumerate().skip(place(offset)) {
            let kind = if status.is_folder { FileType::Directory } else { FileType::RegularFile };
            let next = u64::try_from(index + 1).expect("64 bits");
            if reply.add(INodeNo(status.inode), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (used, bytes_max) = self.disk().usage();
        let block = u64::from(BLOCK_BYTES);
        let free = bytes_max.saturating_sub(used) / block;
        reply.statfs(bytes_max / block, free, free, 1 << 20, 1 << 20, BLOCK_BYTES, 255, BLOCK_BYTES);
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        answer_empty(self.disk().grow(inode.0, place(offset + length)), reply);
    }
}
