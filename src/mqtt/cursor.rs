//! A cursor over the body of a packet: reads the primitives of the standard, one after the other.
//!
//! Why not indices: a slice that only shrinks cannot be read past its end or behind its beginning.
//!
//! Invariants:
//! - After an error nothing of the cursor is used any more.
//!
//! Source: MQTT 5.0 section 1.5.

use crate::{PacketId, Violation, text};

/// What is left of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything not yet read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if anything is left.
    pub(crate) fn end(&self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(Violation::BytesSurplus) }
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(Violation::FieldOverrun)?;
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Violation> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn two(&mut self) -> Result<u16, Violation> {
        self.chunk().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn four(&mut self) -> Result<u32, Violation> {
        self.chunk().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Violation::FieldOverrun)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Binary data: two bytes of length, then the bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let count = self.two()?;
        self.take(usize::from(count))
    }

    /// A UTF-8 string.
    pub(crate) fn text(&mut self) -> Result<&'a str, Violation> {
        text::check(self.binary()?)
    }

    /// A UTF-8 string as bytes: checked, but not needed as text.
    #[inline]
    pub(crate) fn checked(&mut self) -> Result<&'a [u8], Violation> {
        let bytes = self.binary()?;
        text::validate(bytes)?;
        Ok(bytes)
    }

    /// A variable byte integer, minimal and of at most four bytes.
    pub(crate) fn varint(&mut self) -> Result<u32, Violation> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 { Err(Violation::IntegerNotMinimal) } else { Ok(value) };
            }
        }
        Err(Violation::IntegerTooLong)
    }

    /// A packet identifier.
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::new(self.two()?).ok_or(Violation::PacketIdZero)
    }

    /// The properties: their length, then that many bytes. The bytes are not yet checked.
    #[inline]
    pub(crate) fn properties(&mut self) -> Result<&'a [u8], Violation> {
        // Most packets have none, and then their length is one zero byte.
        if let [0, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(&[]);
        }
        self.properties_present()
    }

    #[inline(never)]
    fn properties_present(&mut self) -> Result<&'a [u8], Violation> {
        let count = self.varint()?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }
}
