//! The way of answers back to the cores.
//!
//! Why a mailbox per core: an answer is found on some thread and belongs to one connection of one core. The core finds it
//! by one load per turn; a core that sleeps is rung awake.
//!
//! Invariants:
//! - An answer is put down before it is counted, so a core that sees the count finds the answer.
//! - As many answers lie in a mailbox as questions were asked, whose queues have limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use broker::CoreId;
use flume::{Receiver, Sender};
use shard::{Answer, ConnId, Question};

use super::desk::Desk;
use crate::bell::Bell;

/// The mailboxes of all cores.
#[derive(Debug)]
pub(super) struct Answers {
    boxes: Box<[Mailbox]>,
    bells: OnceLock<Arc<[Bell]>>,
}

/// An answer, and the connection that waits for it.
type Letter = (ConnId, Answer);

/// Mailboxes of other cores do not disturb it.
#[derive(Debug)]
#[repr(align(128))]
struct Mailbox {
    news: AtomicU64,
    letters: (Sender<Letter>, Receiver<Letter>),
}

/// One core's end: questions go out, answers come in.
#[derive(Debug)]
pub(crate) struct DoorEnd {
    core: CoreId,
    desk: Arc<Desk>,
    seen: u64,
}

impl Answers {
    /// Mailboxes for so many cores.
    pub(super) fn new(cores: usize) -> Self {
        let mailbox = |_| Mailbox { news: AtomicU64::new(0), letters: flume::unbounded() };
        Self { boxes: (0..cores).map(mailbox).collect(), bells: OnceLock::new() }
    }

    /// Tells a core.
    pub(super) fn tell(&self, core: CoreId, conn: ConnId, answer: Answer) {
        let mailbox = &self.boxes[core.index()];
        // The mailbox holds a receiver itself.
        let _ = mailbox.letters.0.send((conn, answer));
        mailbox.news.fetch_add(1, Ordering::SeqCst);
        if let Some(bells) = self.bells.get() {
            bells[core.index()].sound_alarm();
        }
    }
}

impl DoorEnd {
    /// The ends of all cores, whose bells these are.
    pub(super) fn all(desk: &Arc<Desk>, bells: &Arc<[Bell]>) -> Vec<Self> {
        // A second start of cores with one set of doors does not exist; the first bells stay.
        let _ = desk.answers().bells.set(bells.clone());
        let cores = 0..u16::try_from(desk.answers().boxes.len()).expect("at most CORES_MAX cores");
        cores.map(|core| Self { core: CoreId::new(core), desk: desk.clone(), seen: 0 }).collect()
    }

    /// Asks. The answer lies in the mailbox sooner or later, whatever happens.
    pub(crate) fn ask(&self, question: Question) {
        self.desk.ask(self.core, Box::new(question));
    }

    /// Whether there is something new in the mailbox. One load.
    pub(crate) fn has_mail(&self) -> bool {
        self.mailbox().news.load(Ordering::SeqCst) != self.seen
    }

    /// Empties the mailbox.
    pub(crate) fn take_mail(&mut self) -> Vec<Letter> {
        self.seen = self.mailbox().news.load(Ordering::SeqCst);
        self.mailbox().letters.1.try_iter().collect()
    }

    /// The next answer, as soon as it is there.
    #[cfg(test)]
    pub(super) fn wait(&self) -> Letter {
        // Not a time that a test relies on: it turns a test that would hang into one that fails.
        let long = std::time::Duration::from_secs(60);
        self.mailbox().letters.1.recv_timeout(long).expect("an answer comes")
    }

    fn mailbox(&self) -> &Mailbox {
        &self.desk.answers().boxes[self.core.index()]
    }
}
