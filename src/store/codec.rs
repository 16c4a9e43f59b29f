//! Fields of records as bytes, and back without trust.
//!
//! Why our own and so plain: a record is read by every later version of this program, so its layout is written down in
//! docs/STORE.md and depends on no library. Integers are little-endian; whatever does not fit is an error, never a panic.
//!
//! Invariants:
//! - [`Input`] reads nothing twice and never past the end.

use crate::fault::{Fault, FaultKind};

/// Appends fields.
pub(crate) trait Output {
    fn push_u16(&mut self, value: u16);
    fn push_u32(&mut self, value: u32);
    fn push_u64(&mut self, value: u64);
    /// A length in four bytes, then the bytes.
    fn push_bytes(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    fn push_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn push_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn push_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_u32(u32::try_from(bytes.len()).expect("no field of ours has 4 GiB"));
        self.extend_from_slice(bytes);
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Garbled(pub &'static str);

impl From<Garbled> for Fault {
    fn from(garbled: Garbled) -> Self {
        Self::new(FaultKind::Damaged, garbled.0)
    }
}

/// Takes fields off.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Garbled("a record is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        Ok(self.take(N)?.try_into().expect("as long as asked for"))
    }

    pub fn u8(&mut self) -> Result<u8, Garbled> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Garbled> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Garbled> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Garbled> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn u128(&mut self) -> Result<u128, Garbled> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Garbled> {
        let len = self.u32()?;
        self.take(stdx::widen(len))
    }

    pub fn text(&mut self) -> Result<&'a str, Garbled> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Garbled("a text is not UTF-8"))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn end(&self) -> Result<(), Garbled> {
        if self.0.is_empty() { Ok(()) } else { Err(Garbled("a record is too long")) }
    }
}
