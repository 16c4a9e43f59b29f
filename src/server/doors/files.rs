//! Reading the files that decide who may come in.
//!
//! Why so wary: a file that is empty, cut or of the wrong kind has opened the door to everybody in other brokers.
//!
//! Invariants:
//! - A complaint is one line that names the file, and the line in it where there is one.
//! - A file that is no plain file, or that is too large, is not read.

use std::fmt::Display;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use access::{AclFault, PasswordFault};
use tracing::warn;

/// Bytes that a file may have.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// Whether the file holds something that others must not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Secrecy {
    Open,
    Secret,
}

/// The bytes of a file.
pub(super) fn read_bytes(path: &Path, secrecy: Secrecy) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let refused = |failure: std::io::Error| format!("{shown}: cannot be read: {failure}");
    // Without waiting: a named pipe would keep the broker until somebody writes into it.
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(refused)?;
    let facts = file.metadata().map_err(refused)?;
    if !facts.is_file() {
        return Err(format!("{shown}: is not a plain file"));
    }
    if facts.len() > FILE_BYTES_MAX {
        return Err(format!("{shown}: has more than {FILE_BYTES_MAX} bytes"));
    }
    let mode = facts.permissions().mode() & 0o777;
    if secrecy == Secrecy::Secret && mode & OTHERS != 0 {
        warn!(
            "{shown}: others on this machine can read it (mode {mode:04o}); `chmod 600 {shown}` keeps them out"
        );
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

/// The text of a file.
pub(super) fn read_text(path: &Path, secrecy: Secrecy) -> Result<String, String> {
    String::from_utf8(read_bytes(path, secrecy)?).map_err(|fault| {
        let good = &fault.as_bytes()[..fault.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        at_line(path, line, "is not UTF-8 text")
    })
}

/// A complaint about a line.
pub(super) fn at_line(path: &Path, line: usize, what: impl Display) -> String {
    format!("{}:{line}: {what}", path.display())
}

/// A complaint about a file as a whole.
pub(super) fn of_file(path: &Path, what: impl Display) -> String {
    format!("{}: {what}", path.display())
}

/// What is wrong with a file of rules.
pub(super) fn acl_complaint(path: &Path, fault: &AclFault) -> String {
    match fault {
        AclFault::Line { line, what } => at_line(path, *line, what),
        AclFault::Empty | AclFault::Cut => of_file(path, fault),
    }
}

/// What is wrong with a file of passwords.
pub(super) fn password_complaint(path: &Path, fault: &PasswordFault) -> String {
    match fault {
        PasswordFault::Line { line, what } => at_line(path, *line, what),
        PasswordFault::Empty | PasswordFault::Cut => of_file(path, fault),
    }
}
