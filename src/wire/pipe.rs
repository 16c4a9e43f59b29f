//! A stream in memory, for libraries that want to read and write one.
//!
//! Invariants:
//! - Reading from an empty pipe would block; writing never does.

use std::io::{ErrorKind, Read, Result, Write};

#[derive(Debug, Default)]
pub(crate) struct Pipe {
    input: Vec<u8>,
    read: usize,
    /// What was written and not fetched yet.
    pub output: Vec<u8>,
}

impl Pipe {
    /// More to read.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.read == self.input.len() {
            self.input.clear();
            self.read = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Appends what was written.
    pub fn fetch(&mut self, into: &mut Vec<u8>) {
        // Not `append`, which would leave an idle connection its buffer.
        into.extend_from_slice(&std::mem::take(&mut self.output));
    }
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let unread = &self.input[self.read..];
        if unread.is_empty() {
            // An idle connection owns no buffer.
            (self.input, self.read) = (Vec::new(), 0);
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = unread.len().min(out.len());
        out[..count].copy_from_slice(&unread[..count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
