//! Streams: however bytes are cut, and whenever the reader waits, the same frames come out.
//!
//! Input: one byte that chooses the largest packet, one after whose bits the reader waits, one that says at which frame
//! it ends, one that counts the cuts; a byte for the length of each piece; the stream.
//!
//! Invariants:
//! - An inlet never holds more than it was given.
//!
//! Source: MQTT 5.0 section 4.2.

use mqtt::{Frame, Violation};
use wire::{Flow, Inlet};

/// How the reader behaves.
#[derive(Clone, Copy)]
struct Habit {
    packet_bytes_max: u32,
    /// Waits after frame n if bit n % 8 is set.
    waits: u8,
    /// Ends at this frame, if there are so many.
    last: usize,
}

/// What came out of a stream.
#[derive(Default, PartialEq, Debug)]
struct Outcome {
    frames: Vec<Vec<u8>>,
    violation: Option<Violation>,
    left: Vec<u8>,
}

/// A stream, whole and in pieces.
pub fn stream_splitter(bytes: &[u8]) {
    let [size, waits, last, count, rest @ ..] = bytes else { return };
    let habit = Habit { packet_bytes_max: 1 << (size % 21), waits: *waits, last: usize::from(*last).max(1) };
    let (cuts, stream) = rest.split_at(usize::from(count % 64).min(rest.len()));
    let mut pieces = Vec::new();
    let mut uncut = stream;
    for cut in cuts {
        let (piece, later) = uncut.split_at(usize::from(*cut).min(uncut.len()));
        pieces.push(piece);
        uncut = later;
    }
    pieces.push(uncut);
    let whole = read(&[stream], habit, Waiting::Resumes);
    assert_eq!(read(&pieces, habit, Waiting::Resumes), whole, "cut into {} pieces", pieces.len());
    assert_eq!(read(&pieces, habit, Waiting::Keeps), whole, "what waited came out differently");
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read(&single, habit, Waiting::Resumes), whole, "cut into single bytes");
}

/// What happens when the reader has asked to wait.
#[derive(Clone, Copy, PartialEq)]
enum Waiting {
    /// It goes on before the next piece.
    Resumes,
    /// Further pieces are kept; it goes on at the end.
    Keeps,
}

fn read(pieces: &[&[u8]], habit: Habit, waiting: Waiting) -> Outcome {
    let mut inlet = Inlet::default();
    let mut outcome = Outcome::default();
    let (mut given, mut is_waiting) = (0, false);
    for piece in pieces {
        given += piece.len();
        if is_waiting {
            inlet.keep(piece);
        } else {
            is_waiting = step(&mut inlet, Some(piece), habit, &mut outcome);
        }
        if waiting == Waiting::Resumes {
            go_on(&mut inlet, habit, &mut outcome, &mut is_waiting);
        }
        assert!(inlet.len() <= given, "more is held than came");
        if outcome.is_over(habit) {
            assert!(inlet.is_empty(), "something is left behind the end");
            return outcome;
        }
    }
    go_on(&mut inlet, habit, &mut outcome, &mut is_waiting);
    outcome.left = inlet.into_kept();
    outcome
}

fn go_on(inlet: &mut Inlet, habit: Habit, outcome: &mut Outcome, is_waiting: &mut bool) {
    while *is_waiting {
        *is_waiting = step(inlet, None, habit, outcome);
    }
}

/// Feeds a piece, or goes on without one. Returns whether the reader has asked to wait.
fn step(inlet: &mut Inlet, piece: Option<&[u8]>, habit: Habit, outcome: &mut Outcome) -> bool {
    let mut waits = false;
    let frames = &mut outcome.frames;
    let reader = |frame: Frame<'_>| {
        frames.push(frame.bytes.to_vec());
        waits = habit.waits >> (frames.len() % 8) & 1 == 1;
        match (frames.len() >= habit.last, waits) {
            (true, _) => Flow::End,
            (false, true) => Flow::Wait,
            (false, false) => Flow::More,
        }
    };
    let result = match piece {
        Some(piece) => inlet.feed(piece, habit.packet_bytes_max, reader),
        None => inlet.resume(habit.packet_bytes_max, reader),
    };
    outcome.violation = result.err();
    waits && outcome.frames.len() < habit.last && outcome.violation.is_none()
}

impl Outcome {
    fn is_over(&self, habit: Habit) -> bool {
        self.violation.is_some() || self.frames.len() >= habit.last
    }
}
