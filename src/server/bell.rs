//! How a core is woken, and how it learns where mail lies.
//!
//! Why flags before a descriptor: ringing costs a system call, so it is done only for a core that says that it sleeps;
//! and a core that is awake should not lock a channel per neighbour and turn only to find it empty.
//!
//! Invariants:
//! - Whoever changes what a core waits for (mail, room, stop) does so before it looks at `asleep`; a core sets `asleep`
//!   before it looks for the last time. Both with sequential consistency, so one of them sees the other.
//! - Only the one who turns `asleep` off rings, so a sleeping core is rung once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use broker::CoreId;
use rustix::event::{EventfdFlags, eventfd};

const WORDS: usize = 2;
// The counter is added in the byte order of the machine; any number but zero rings, so the order does not matter.
const ONE: [u8; 8] = 1u64.to_le_bytes();
const _: () = assert!(WORDS * 64 >= broker::CORES_MAX as usize);

/// One core's bell. Cores of other cache lines do not disturb it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Bell {
    asleep: AtomicBool,
    mail: CoreFlags,
    starved: CoreFlags,
    eventfd: OwnedFd,
}

/// One flag per core.
#[derive(Debug, Default)]
struct CoreFlags([AtomicU64; WORDS]);

impl Bell {
    /// A bell that nobody has rung.
    pub(crate) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self {
            asleep: AtomicBool::new(false),
            mail: CoreFlags::default(),
            starved: CoreFlags::default(),
            eventfd,
        })
    }

    /// The descriptor that is written to when the bell is rung.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// The core is about to sleep and will look round once more.
    pub(crate) fn lie_down(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The core is awake.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Wakes the core if it sleeps.
    pub(crate) fn ring(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // The core's ring and its bed see each write. The count is read in the bed only; it holds 2^64 of them.
            let _ = rustix::io::write(&self.eventfd, &ONE);
        }
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
    fn only_a_sleeping_core_is_rung_and_only_once() {
        let readable = |bell: &Bell| {
            let fd = bell.fd();
            let mut polled = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
                .unwrap()
                == 1
        };
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(!readable(&bell));
        bell.lie_down();
        bell.ring();
        bell.ring();
        assert!(readable(&bell));
        let mut count = [0; 8];
        rustix::io::read(bell.fd(), &mut count).unwrap();
        assert_eq!(u64::from_le_bytes(count), 1);
    }
}
