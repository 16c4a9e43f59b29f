//! What happened in a run: always as a hash, on demand as text.
//!
//! Why not always as text: thousands of seeds pass and nobody reads them; a seed that fails is run again with its text.
//!
//! Invariants:
//! - The hash covers every byte in both directions, its connection, its core and its virtual time.

use stdx::Instant;

/// The record of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

/// Offset and prime of the 64-bit FNV-1a hash.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Trace {
    /// A record that keeps its hash only.
    #[must_use]
    pub fn silent() -> Self {
        Self { hash: FNV_OFFSET, lines: None }
    }

    /// A record that keeps its text too.
    #[must_use]
    pub fn spoken() -> Self {
        Self { hash: FNV_OFFSET, lines: Some(Vec::new()) }
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last `count` lines.
    #[must_use]
    pub fn last(&self, count: usize) -> &[String] {
        let lines = self.lines.as_deref().unwrap_or_default();
        &lines[lines.len().saturating_sub(count)..]
    }

    /// Adds numbers to the hash.
    pub fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.mix_bytes(&number.to_le_bytes());
        }
    }

    /// Adds bytes to the hash.
    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// Adds a line, which is made only if somebody will read it.
    pub fn say(&mut self, now: Instant, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let seconds = now.ns() / 1_000_000_000;
            let micros = now.ns() / 1_000 % 1_000_000;
            lines.push(format!("{seconds:>5}.{micros:06} {}", line()));
        }
    }
}
