//! The inlet of one plain stream.
//!
//! Invariants:
//! - Frames are handed out in order, each once, in place where the received bytes allow it.

use mqtt::{Frame, Framing, Violation, frame};

/// What the reader of a frame wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The next frame.
    More,
    /// Nothing for now: keep what is left until [`Inlet::resume`].
    Wait,
    /// Nothing for now, and this frame once more at [`Inlet::resume`].
    Again,
    /// Nothing any more: forget what is left.
    End,
}

/// Bytes of a stream that are not a whole packet yet, or that wait.
#[derive(Debug, Default)]
pub struct Inlet {
    kept: Vec<u8>,
}

impl Inlet {
    /// An inlet that begins with bytes received before.
    #[must_use]
    pub fn with(kept: Vec<u8>) -> Self {
        Self { kept }
    }

    /// Bytes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Keeps bytes without looking at them.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// Everything held.
    #[must_use]
    pub fn into_kept(self) -> Vec<u8> {
        self.kept
    }

    /// The bytes held, for a look.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Takes `bytes` and hands every whole frame to `read`, which says how to go on.
    ///
    /// # Errors
    /// The framing statement that the stream breaks; what is left is forgotten.
    #[inline]
    pub fn feed(
        &mut self,
        bytes: &[u8],
        packet_bytes_max: u32,
        read: impl FnMut(Frame<'_>) -> Flow,
    ) -> Result<(), Violation> {
        if self.kept.is_empty() {
            let rest = frames(bytes, packet_bytes_max, read)?;
            if !rest.is_empty() {
                self.kept.extend_from_slice(rest);
            }
            return Ok(());
        }
        self.kept.extend_from_slice(bytes);
        self.resume(packet_bytes_max, read)
    }

    /// Hands out the whole frames among the bytes held.
    ///
    /// # Errors
    /// As [`Inlet::feed`].
    pub fn resume(
        &mut self,
        packet_bytes_max: u32,
        read: impl FnMut(Frame<'_>) -> Flow,
    ) -> Result<(), Violation> {
        let mut kept = std::mem::take(&mut self.kept);
        let left = frames(&kept, packet_bytes_max, read)?.len();
        if left > 0 {
            kept.drain(..kept.len() - left);
            self.kept = kept;
        }
        Ok(())
    }
}

/// Hands out frames from the front of `bytes`; returns what is left to keep.
#[inline]
fn frames(
    bytes: &[u8],
    packet_bytes_max: u32,
    mut read: impl FnMut(Frame<'_>) -> Flow,
) -> Result<&[u8], Violation> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Framing::Whole(whole) = frame(rest, packet_bytes_max)? else { break };
        let behind = &rest[whole.bytes.len()..];
        match read(whole) {
            Flow::More => rest = behind,
            Flow::Wait => return Ok(behind),
            Flow::Again => break,
            Flow::End => return Ok(&[]),
        }
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PINGREQ, a QoS 0 PUBLISH, PINGREQ.
    const STREAM: &[u8] = b"\xc0\x00\x30\x05\x00\x01ahi\xc0\x00";

    fn read_in_pieces(piece_len: usize) -> Vec<Vec<u8>> {
        let mut inlet = Inlet::default();
        let mut frames = Vec::new();
        for piece in STREAM.chunks(piece_len) {
            let read = |frame: Frame<'_>| {
                frames.push(frame.bytes.to_vec());
                Flow::More
            };
            inlet.feed(piece, 100, read).unwrap();
        }
        assert!(inlet.is_empty(), "nothing may be left of whole packets");
        frames
    }

    #[test]
    fn however_a_stream_is_cut_the_same_frames_come_out() {
        let whole = read_in_pieces(STREAM.len());
        assert_eq!(whole, [&STREAM[..2], &STREAM[2..9], &STREAM[9..]]);
        for piece_len in 1..STREAM.len() {
            assert_eq!(read_in_pieces(piece_len), whole);
        }
    }

    #[test]
    fn a_reader_that_waits_finds_the_rest_later_and_one_that_ends_finds_nothing() {
        let mut inlet = Inlet::default();
        inlet.feed(STREAM, 100, |_| Flow::Wait).unwrap();
        assert_eq!(inlet.kept(), &STREAM[2..]);
        let mut seen = 0;
        let read = |_: Frame<'_>| {
            seen += 1;
            Flow::End
        };
        inlet.resume(100, read).unwrap();
        assert_eq!((seen, inlet.len()), (1, 0));
    }

    #[test]
    fn a_packet_above_the_maximum_is_refused_from_its_header() {
        let mut inlet = Inlet::default();
        let result = inlet.feed(&[0x30, 0xff, 0x01], 100, |_| Flow::More);
        assert_eq!(result, Err(Violation::PacketTooLarge));
    }
}
