//! How much may go on at once: everything that a client can pile up has a limit, a counter and a refusal with a name.
//!
//! Invariants:
//! - A place is given back when its holder goes, however that happens.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// All limits of the API.
pub(crate) struct Limits {
    /// Passwords being hashed; each takes 46 MiB.
    pub passwords: Gate,
    /// Searches through devices.
    pub searches: Gate,
    /// Readings of the archive.
    pub readings: Gate,
    /// Large bodies being received.
    pub bodies: Gate,
    /// Requests that wait for a device's answer.
    pub answers: Gate,
    /// Requests that listen in the place of a device.
    pub polls: Gate,
    /// Bodies that were kept, and that no subscriber of a canonical topic has got because no packet may be so large.
    unforwarded: AtomicU64,
    /// Requests that were refused because the disk is full.
    full: AtomicU64,
    /// Requests that were refused because their address has guessed too often.
    guesses: AtomicU64,
    /// Calls for which there was no room at the home of their device.
    crowded: AtomicU64,
}

/// One limit.
pub(crate) struct Gate {
    name: &'static str,
    text: &'static str,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    places_max: usize,
    refused: AtomicU64,
}

/// A place behind a gate.
#[must_use]
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            passwords: Gate::new("passwords", (2, 64), "Too many logins at once"),
            searches: Gate::new("searches", (2, 256), "Too many searches at once"),
            readings: Gate::new("readings", (4, 256), "Too many readings of history at once"),
            bodies: Gate::new("bodies", (8, 64), "Too many large bodies at once"),
            answers: Gate::new("answers", (10_000, 0), "Too many requests wait for devices"),
            polls: Gate::new("polls", (10_000, 0), "Too many devices wait for news"),
            unforwarded: AtomicU64::new(0),
            full: AtomicU64::new(0),
            guesses: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
        }
    }
}

impl Limits {
    /// Appends counters in Prometheus' text format.
    pub fn render(&self, text: &mut String) {
        let Self {
            passwords,
            searches,
            readings,
            bodies,
            answers,
            polls,
            unforwarded,
            full,
            guesses,
            crowded,
        } = self;
        let gates = [passwords, searches, readings, bodies, answers, polls];
        text.push_str("# TYPE ringmq_api_busy gauge\n");
        for gate in gates {
            let busy = gate.places_max - gate.places.available_permits();
            let _writing_to_a_string_cannot_fail =
                writeln!(text, "ringmq_api_busy{{what=\"{}\"}} {busy}", gate.name);
        }
        text.push_str("# TYPE ringmq_api_refused_total counter\n");
        for gate in gates {
            let refused = gate.refused.load(Ordering::Relaxed);
            let _writing_to_a_string_cannot_fail =
                writeln!(text, "ringmq_api_refused_total{{what=\"{}\"}} {refused}", gate.name);
        }
        for (name, refused) in [("full", full), ("guesses", guesses), ("crowded", crowded)] {
            let refused = refused.load(Ordering::Relaxed);
            text.push_str(&format!("ringmq_api_refused_total{{what=\"{name}\"}} {refused}\n"));
        }
        let unforwarded = unforwarded.load(Ordering::Relaxed);
        text.push_str(&format!(
            "# TYPE ringmq_api_unforwarded_total counter\nringmq_api_unforwarded_total {unforwarded}\n"
        ));
    }

    /// A request was refused because the disk is full.
    pub fn note_full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused because its address has guessed too often.
    pub fn note_guess(&self) {
        self.guesses.fetch_add(1, Ordering::Relaxed);
    }

    /// There was no room for a call at the home of its device.
    pub fn note_crowded(&self) {
        self.crowded.fetch_add(1, Ordering::Relaxed);
    }

    /// A body was kept and not forwarded.
    pub fn note_unforwarded(&self) {
        self.unforwarded.fetch_add(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// So many at once, and so many more may wait.
    pub fn new(name: &'static str, (places, waiting): (usize, usize), text: &'static str) -> Self {
        Self {
            name,
            text,
            places: Arc::new(Semaphore::new(places)),
            waiting: Arc::new(Semaphore::new(waiting)),
            places_max: places,
            refused: AtomicU64::new(0),
        }
    }

    /// Takes a place, or waits for one.
    pub async fn enter(&self) -> Result<Place, Refusal> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place { _place: place });
        }
        let Ok(_ticket) = Arc::clone(&self.waiting).try_acquire_owned() else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal::too_many(self.text));
        };
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map(|place| Place { _place: place }).map_err(|_| Refusal::too_many(self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_no_place_is_refused_and_counted_and_a_place_is_given_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let limits = Limits {
                polls: Gate::new("polls", (1, 0), "Too many devices wait for news"),
                ..Limits::default()
            };
            let place = limits.polls.enter().await.ok();
            assert!(place.is_some());
            let refused = limits.polls.enter().await.err();
            assert_eq!(refused, Some(Refusal::too_many("Too many devices wait for news")));
            let mut text = String::new();
            limits.render(&mut text);
            assert!(text.contains("ringmq_api_busy{what=\"polls\"} 1\n"));
            assert!(text.contains("ringmq_api_refused_total{what=\"polls\"} 1\n"));
            drop(place);
            assert!(limits.polls.enter().await.is_ok());
        });
    }
}
