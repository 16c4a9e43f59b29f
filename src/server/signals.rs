//! Signals: the first wish to stop is graceful, the second is not; SIGHUP reads the files of the doors again.
//!
//! Invariants:
//! - The thread lives as long as the process and holds nothing that must be given back.

use std::io;
use std::thread;

use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use tracing::info;

use crate::launch::Stopper;
use crate::reload::Reloader;

/// Exit code of a process that was told twice.
const IMPATIENT: i32 = 130;

/// Tells systemd how far we are, if it has started us and wants to know.
pub(crate) fn tell_supervisor(state: NotifyState<'_>) {
    // Without a supervisor there is nobody to tell, and one that does not listen is no reason to fail.
    let _ = sd_notify::notify(&[state]);
}

/// Listens for signals from now on, on a thread of its own.
pub(crate) fn heed(stopper: Stopper, reloader: Reloader) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let listen = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let name = signal_name(signal).unwrap_or("a signal");
            if signal == SIGHUP {
                reloader.reload(name);
            } else if stopping {
                // Not through the log, whose queue dies with the process.
                eprintln!("ringmq: {name} again: ending at once");
                std::process::exit(IMPATIENT);
            } else {
                info!("{name}: saying goodbye to all clients");
                stopping = true;
                tell_supervisor(NotifyState::Stopping);
                stopper.stop();
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}
