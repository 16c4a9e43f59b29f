//! SIGINT and SIGTERM: a run ends early and says so in its report.
//!
//! Why a flag that is looked at: ten minutes of figures are worth more than a quick death, and everything that waits in
//! this program waits in short steps anyway. Whoever is impatient sends the signal twice.
//!
//! Invariants:
//! - The flag is never cleared: what follows an interrupted run must not begin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::Failure;

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes both signals from now on; a second one ends the process at once, with the shell's code for a signal.
pub(crate) fn listen() -> Result<(), Failure> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second signal finds the flag that the first one has set.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(flag))
            .and_then(|_| flag::register(signal, Arc::clone(flag)))
            .map_err(|source| Failure::os("listening to signals", source))?;
    }
    Ok(())
}

/// Whether a signal has come.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}
