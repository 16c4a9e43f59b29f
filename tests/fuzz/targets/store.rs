//! Records of the store and backups: whatever stands on a disk, reading it is safe and settles after one round.
//!
//! Input: one byte that chooses; 0: a backup; else a record, whose key has as many bytes as the byte after it says.
//!
//! Invariants:
//! - What was read and written anew is read again as the same.
//! - A backup that was changed in any byte is none.

use store::{count_backup, rewrite_record};

/// A record or a backup.
pub fn store(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, backup)) => a_backup(backup),
        Some((_, record)) => a_record(record),
        None => {}
    }
}

fn a_record(bytes: &[u8]) {
    let Some((len, rest)) = bytes.split_first() else { return };
    let Some((key, value)) = rest.split_at_checked(usize::from(*len)) else { return };
    if let Some(first) = rewrite_record(key, value) {
        let second = rewrite_record(key, &first);
        assert_eq!(second.as_ref(), Some(&first), "a record that was read and written cannot be read again");
    }
}

fn a_backup(bytes: &[u8]) {
    if count_backup(bytes).is_none() {
        return;
    }
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert_eq!(count_backup(&changed), None, "byte {at} was changed");
    }
}
