//! Crowds: many clients driven together until something has come true.
//!
//! Invariants:
//! - Whatever does not come true within [`PATIENCE_MS`] is a failure with a sentence, however slow the machine is.

use crash::clock::now_ms;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::Client;

/// How long anything may take.
pub const PATIENCE_MS: u64 = 90_000;

/// Lets clients speak and hear until `done` is true.
///
/// # Errors
/// A sentence, if it does not become true in time.
pub fn drive(
    crowd: &mut [Client],
    what: &str,
    mut done: impl FnMut(&mut [Client]) -> bool,
) -> Result<(), String> {
    let end_ms = now_ms() + PATIENCE_MS;
    crowd.iter_mut().for_each(Client::flush);
    while !done(crowd) {
        if now_ms() > end_ms {
            let inside = crowd.iter().filter(|client| client.is_in()).count();
            let ended = crowd.iter().filter(|client| client.has_ended).count();
            return Err(format!("not in time: {what} ({} clients, {inside} in, {ended} ended)", crowd.len()));
        }
        step(crowd, 20);
    }
    Ok(())
}

/// Waits at most so long for anything to happen, and takes it in.
pub fn step(crowd: &mut [Client], wait_ms: i64) {
    let flags = |client: &Client| {
        let read = if client.reads && !client.has_ended { PollFlags::IN } else { PollFlags::empty() };
        let write =
            if client.output.is_empty() || client.has_ended { PollFlags::empty() } else { PollFlags::OUT };
        read | write
    };
    let awaited: Vec<usize> = (0..crowd.len()).filter(|index| !flags(&crowd[*index]).is_empty()).collect();
    let ready: Vec<usize> = {
        let mut fds: Vec<PollFd<'_>> =
            awaited.iter().map(|index| PollFd::new(&crowd[*index].socket, flags(&crowd[*index]))).collect();
        // Interrupted or not: the caller looks again.
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: wait_ms * 1_000_000 }));
        let ready = awaited.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        ready.map(|(index, _)| *index).collect()
    };
    for index in ready {
        let client = &mut crowd[index];
        client.flush();
        if client.reads {
            client.hear();
        }
    }
}
