//! How a core is woken, and how it learns where mail lies.
//!
//! Why flags first: waking costs, so it is done only for a core that says that it sleeps; and a core that is awake
//! should not lock a channel per neighbour and turn only to find it empty.
//!
//! Why two ways to wake: a neighbour posts a completion from its own ring into the sleeper's, which wakes it wherever it
//! sleeps and costs no system call of its own. Whoever has no ring (the thread for signals) writes to the alarm, which
//! wakes a core that sleeps through glommio; one that naps in its ring wakes by itself soon enough. Letting the ring poll
//! an eventfd that neighbours write to would be simpler, but Linux 6.12 and later pass only the first such write on to
//! the ring's own eventfd.
//!
//! Invariants:
//! - Whoever changes what a core waits for (mail, room, stop) does so before it looks at `asleep`; a core sets `asleep`
//!   before it looks for the last time. Both with sequential consistency, so one of them sees the other.
//! - Only the one who turns `asleep` off wakes, so a sleeping core is woken once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use broker::CoreId;
use rustix::event::{EventfdFlags, eventfd};

const WORDS: usize = 2;
// The count is added in the byte order of the machine; any number but zero wakes, so the order does not matter.
const ONE: [u8; 8] = 1u64.to_le_bytes();
const _: () = assert!(WORDS * 64 >= broker::CORES_MAX as usize);

/// One core's bell. Cores of other cache lines do not disturb it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Bell {
    asleep: AtomicBool,
    mail: CoreFlags,
    starved: CoreFlags,
    alarm: OwnedFd,
    ring: OnceLock<OwnedFd>,
}

/// One flag per core.
#[derive(Debug, Default)]
struct CoreFlags([AtomicU64; WORDS]);

impl Bell {
    /// A bell that nobody has rung.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            asleep: AtomicBool::new(false),
            mail: CoreFlags::default(),
            starved: CoreFlags::default(),
            alarm: eventfd(0, EventfdFlags::CLOEXEC)?,
            ring: OnceLock::new(),
        })
    }

    /// The eventfd that wakes the core when it sleeps through glommio.
    pub(crate) fn alarm(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }

    /// Tells the neighbours which ring is this core's.
    pub(crate) fn publish_ring(&self, ring: OwnedFd) {
        assert!(self.ring.set(ring).is_ok());
    }

    /// The core's ring, unless it has not started yet.
    pub(crate) fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        self.ring.get().map(AsFd::as_fd)
    }

    /// The core is about to sleep and will look round once more.
    pub(crate) fn lie_down(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The core is awake.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Whether the core sleeps and the caller must wake it; nobody else will.
    #[must_use]
    pub(crate) fn must_wake(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst)
    }

    /// Sounds the alarm, whether the core sleeps or not.
    pub(crate) fn sound_alarm(&self) {
        // The count would have to reach 2^64 for the write to fail.
        let _ = rustix::io::write(&self.alarm, &ONE);
    }

    /// `from` has put something into its channel towards this core.
    pub(crate) fn mark_mail(&self, from: CoreId) {
        self.mail.set(from);
    }

    /// Takes the note of who has sent something since the last time.
    pub(crate) fn take_mail(&self) -> CoreMask {
        self.mail.take()
    }

    /// Whether somebody has sent something.
    pub(crate) fn has_mail(&self) -> bool {
        self.mail.any()
    }

    /// `from` found its channel towards this core full and waits for room.
    pub(crate) fn mark_starved(&self, from: CoreId) {
        self.starved.set(from);
    }

    /// Takes the note of who waits for room.
    pub(crate) fn take_starved(&self) -> CoreMask {
        self.starved.take()
    }
}

/// A snapshot of flags.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreMask([u64; WORDS]);

impl CoreMask {
    /// The cores whose flags were set, lowest first.
    pub(crate) fn iter(self) -> impl Iterator<Item = CoreId> {
        let words = (0u16..).step_by(64).zip(self.0);
        words.flat_map(|(first, word)| bits(word).map(move |bit| CoreId::new(first + bit)))
    }
}

/// The places of the ones in a word, lowest first.
fn bits(word: u64) -> impl Iterator<Item = u16> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let lowest = u16::try_from(rest.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
        rest &= rest - 1;
        Some(lowest)
    })
}

impl CoreFlags {
    fn set(&self, core: CoreId) {
        self.0[usize::from(core.get() / 64)].fetch_or(1 << (core.get() % 64), Ordering::SeqCst);
    }

    fn any(&self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    fn take(&self) -> CoreMask {
        // Read before writing: a swap would pull the line away from the writers in every turn.
        let take = |word: &AtomicU64| match word.load(Ordering::SeqCst) {
            0 => 0,
            _ => word.swap(0, Ordering::SeqCst),
        };
        CoreMask([take(&self.0[0]), take(&self.0[1])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_of_every_core_is_noted_once() {
        let bell = Bell::new().unwrap();
        let cores = [0, 1, 63, 64, 127].map(CoreId::new);
        cores.iter().for_each(|core| bell.mark_mail(*core));
        assert!(bell.has_mail());
        assert_eq!(bell.take_mail().iter().collect::<Vec<_>>(), cores);
        assert_eq!(bell.take_mail().iter().count(), 0);
        assert!(!bell.has_mail());
    }

    #[test]
    fn only_a_sleeping_core_must_be_woken_and_only_by_one() {
        let bell = Bell::new().unwrap();
        assert!(!bell.must_wake());
        bell.lie_down();
        assert!(bell.must_wake());
        assert!(!bell.must_wake());
        bell.lie_down();
        bell.get_up();
        assert!(!bell.must_wake());
    }
}
