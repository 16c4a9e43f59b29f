//! What goes between cores and the store thread.
//!
//! Why two ways: towards the store goes one channel of all cores, so that its order is the order of arrival and one
//! `recv` waits for all. Back goes a mailbox per core, whose commonest letter, how far everything is durable, is one number
//! that replaces the one before it.
//!
//! Why the channel has no limit of its own: a full one would have to keep the errands of one core back while those of
//! another pass, and then an effect could be written down and its cause not. The limit is the mind's: it says that it is
//! congested when too much of its own is not durable, and its clients are left unread.
//!
//! Why whoever is no core holds the channel weakly: the store thread ends when the last core has, whoever else may still
//! want something.
//!
//! Invariants:
//! - Errands arrive in the order in which they were handed over, over all cores and others: if one core knows of another's
//!   errand, its own arrives later.
//! - Handing an errand over never waits.
//! - News is counted after it was put down, so a core that sees the count sees the news.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use broker::{CoreId, Fetch, Fetched, StoreHealth, Written};
use flume::{Receiver, Sender, WeakSender};
use platform::Platform;

use super::figures::Board;
use crate::bell::Bell;
use crate::launch::Stopper;
use crate::ring::{Depth, Ring, Urge};

/// What is wanted of the store.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A core's changes to be made durable, with those of devices: one turn, one commit.
    Write(CoreId, Written, Vec<device::Change>),
    /// Messages to be read back for a core.
    Fetch(CoreId, Fetch),
    /// Changes of nobody's turn. `kept` is told when they and all before them are durable.
    Keep { changes: Vec<device::Change>, kept: Option<Sender<()>> },
}

/// Letters of the store to one core. Mailboxes of other cores do not disturb it.
#[derive(Debug)]
#[repr(align(128))]
struct Mailbox {
    news: AtomicU64,
    /// One more than the last durable turn, so that zero is none.
    durable_end: AtomicU64,
    full: AtomicBool,
    fetched: (Sender<Fetched>, Receiver<Fetched>),
}

/// One core's end.
pub(crate) struct JournalEnd {
    core: CoreId,
    errands: Sender<Errand>,
    boxes: Arc<[Mailbox]>,
    seen: Seen,
}

/// The way to the store for whoever is no core.
#[derive(Clone, Debug)]
pub(crate) struct StoreJournal {
    errands: WeakSender<Errand>,
    board: Arc<Board>,
}

#[derive(Default)]
struct Seen {
    news: u64,
    durable_end: u64,
    full: bool,
}

/// What a core finds in its mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// All turns up to this one are durable, if that is new.
    pub(crate) durable: Option<u64>,
    /// How the store is, if that has changed.
    pub(crate) health: Option<StoreHealth>,
    /// Messages that were asked for.
    pub(crate) fetched: Vec<Fetched>,
}

/// The store thread's end.
pub(crate) struct Office {
    errands: Receiver<Errand>,
    journal: StoreJournal,
    platform: Option<Platform>,
    boxes: Arc<[Mailbox]>,
    bells: Arc<[Bell]>,
    stopper: Stopper,
    board: Arc<Board>,
}

/// Makes both ends, if they are wanted: one for each core, and the office.
pub(crate) fn open_office(
    bells: &Arc<[Bell]>,
    stopper: &Stopper,
    wanted: bool,
) -> (Vec<Option<JournalEnd>>, Option<Office>) {
    if !wanted {
        return (bells.iter().map(|_| None).collect(), None);
    }
    let (sender, errands) = flume::unbounded();
    let boxes: Arc<[Mailbox]> = bells.iter().map(|_| Mailbox::new()).collect();
    let board = Arc::new(Board::default());
    let end = |core: usize| JournalEnd {
        core: CoreId::new(u16::try_from(core).expect("at most CORES_MAX cores")),
        errands: sender.clone(),
        boxes: boxes.clone(),
        seen: Seen::default(),
    };
    let ends = (0..bells.len()).map(|core| Some(end(core))).collect();
    let journal = StoreJournal { errands: sender.downgrade(), board: Arc::clone(&board) };
    (
        ends,
        Some(Office {
            errands,
            journal,
            platform: None,
            boxes,
            bells: bells.clone(),
            stopper: stopper.clone(),
            board,
        }),
    )
}

impl Mailbox {
    fn new() -> Self {
        Self {
            news: AtomicU64::new(0),
            durable_end: AtomicU64::new(0),
            full: AtomicBool::new(false),
            fetched: flume::unbounded(),
        }
    }
}

impl JournalEnd {
    /// Hands a turn's changes over.
    pub(crate) fn write(&self, written: Written, device_changes: Vec<device::Change>) {
        self.send(Errand::Write(self.core, written, device_changes));
    }

    /// Asks for messages.
    pub(crate) fn fetch(&self, fetch: Fetch) {
        self.send(Errand::Fetch(self.core, fetch));
    }

    fn send(&self, errand: Errand) {
        // Nobody reads only if the store has failed, and then this core ends before it acknowledges anything.
        let _ = self.errands.send(errand);
    }

    /// Whether there is something new in the mailbox. One load.
    pub(crate) fn has_mail(&self) -> bool {
        self.mailbox().news.load(Ordering::SeqCst) != self.seen.news
    }

    /// Empties the mailbox.
    pub(crate) fn take_mail(&mut self) -> Mail {
        let mailbox = &self.boxes[self.core.index()];
        let news = mailbox.news.load(Ordering::SeqCst);
        let durable_end = mailbox.durable_end.load(Ordering::SeqCst);
        let full = mailbox.full.load(Ordering::SeqCst);
        let mail = Mail {
            durable: (durable_end > self.seen.durable_end).then(|| durable_end - 1),
            health: (full != self.seen.full).then_some(if full {
                StoreHealth::Full
            } else {
                StoreHealth::Good
            }),
            fetched: mailbox.fetched.1.try_iter().collect(),
        };
        self.seen = Seen { news, durable_end, full };
        mail
    }

    fn mailbox(&self) -> &Mailbox {
        &self.boxes[self.core.index()]
    }
}

impl Office {
    /// Where errands arrive. It is disconnected when all cores have ended.
    pub(crate) fn errands(&self) -> &Receiver<Errand> {
        &self.errands
    }

    /// The way here for whoever is no core.
    pub(crate) fn journal(&self) -> StoreJournal {
        self.journal.clone()
    }

    /// Devices are kept here, too: what is changed of their registry comes this way.
    pub(crate) fn serve_platform(&mut self, platform: &Platform) {
        platform.attach_journal(Box::new(self.journal()));
        self.platform = Some(platform.clone());
    }

    /// Where devices are, if there are any.
    pub(crate) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// What is shown of the store.
    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// How many cores there are.
    pub(crate) fn cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        (0..u16::try_from(self.boxes.len()).expect("at most CORES_MAX cores")).map(CoreId::new)
    }

    /// Ends all cores at once.
    pub(crate) fn fail(&self) {
        self.stopper.fail();
    }
}

impl platform::Journal for StoreJournal {
    fn keep(&self, changes: Vec<device::Change>, kept: Option<Sender<()>>) {
        // Without cores nothing is written any more; dropping `kept` says so.
        if let Some(errands) = self.errands.upgrade() {
            let _ = errands.send(Errand::Keep { changes, kept });
        }
    }

    fn has_space(&self) -> bool {
        !self.board.is_full()
    }
}

/// Tells cores, and wakes those that sleep. Lives on the store thread.
pub(crate) struct Postman {
    boxes: Arc<[Mailbox]>,
    bells: Arc<[Bell]>,
    ring: Ring,
}

/// A ring that only wakes others.
const WAKING_DEPTH: Depth = Depth { submissions: 128, completions: 256, buffers: 1, buffer_bytes: 64 };
/// Failed wake-ups looked at per round.
const EVENTS_MAX: usize = 256;

impl Postman {
    /// Made on the thread that will use it.
    pub(crate) fn new(office: &Office) -> io::Result<Self> {
        let ring = Ring::new(WAKING_DEPTH)?;
        Ok(Self { boxes: office.boxes.clone(), bells: office.bells.clone(), ring })
    }

    /// All turns of a core up to `turn` are durable.
    pub(crate) fn tell_durable(&mut self, core: CoreId, turn: u64) {
        self.boxes[core.index()].durable_end.fetch_max(turn + 1, Ordering::SeqCst);
        self.ring_at(core);
    }

    /// How the store is.
    pub(crate) fn tell_health(&mut self, core: CoreId, health: StoreHealth) {
        self.boxes[core.index()].full.store(health == StoreHealth::Full, Ordering::SeqCst);
        self.ring_at(core);
    }

    /// What was fetched for a core.
    pub(crate) fn tell_fetched(&mut self, core: CoreId, fetched: Fetched) {
        // The mailbox holds a receiver itself.
        let _ = self.boxes[core.index()].fetched.0.send(fetched);
        self.ring_at(core);
    }

    /// Wakes those that sleep and have mail.
    pub(crate) fn deliver(&mut self) -> io::Result<()> {
        self.ring.enter(Urge::IfNeeded, EVENTS_MAX)?;
        // Only failures are reported: a core that has ended needs no waking.
        self.ring.collect(&mut Vec::new(), EVENTS_MAX);
        Ok(())
    }

    fn ring_at(&mut self, core: CoreId) {
        self.boxes[core.index()].news.fetch_add(1, Ordering::SeqCst);
        let bell = &self.bells[core.index()];
        if bell.must_wake()
            && let Some(ring) = bell.ring_fd()
        {
            self.ring.wake(ring);
        }
    }
}
