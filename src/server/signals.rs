//! Signals: the first wish to stop is graceful, the second is not.
//!
//! Invariants:
//! - The thread lives as long as the process and holds nothing that must be given back.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use tracing::{info, warn};

use crate::launch::Stopper;

/// Exit code of a process that was told twice.
const IMPATIENT: i32 = 130;

/// Listens for signals from now on, on a thread of its own.
pub(crate) fn heed(stopper: Stopper) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let listen = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let name = signal_name(signal).unwrap_or("a signal");
            if signal == SIGHUP {
                info!("{name} is reserved for reading the configuration again and does nothing yet");
            } else if stopping {
                warn!("{name} again: ending at once");
                std::process::exit(IMPATIENT);
            } else {
                info!("{name}: saying goodbye to all clients");
                stopping = true;
                stopper.stop();
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}
