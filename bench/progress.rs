//! The live line on a terminal.
//!
//! Why hidden otherwise: a log file full of progress lines is a log file nobody reads.
//!
//! Invariants:
//! - Nothing is drawn when standard error is not a terminal, or when the caller asked for silence.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;

/// A line that is overwritten while a run goes on.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A line on standard error, if somebody is there to see it.
    pub(crate) fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar }
    }

    /// No line at all.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Replaces the line.
    pub(crate) fn show(&self, line: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(line());
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
