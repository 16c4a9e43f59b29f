//! A stream in memory, for a library that wants to read and write one.
//!
//! Invariants:
//! - Reading from an empty pipe would block; writing never does.

use std::io::{ErrorKind, Read, Result, Write};

/// Both directions.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// What can be read.
    pub(super) input: Vec<u8>,
    /// What was written.
    pub(super) output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.input.len().min(out.len());
        out[..count].copy_from_slice(&self.input[..count]);
        self.input.drain(..count);
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
