//! The exchange of one core: sessions, subscriptions, retained messages and the routes between them.
//!
//! Why one struct with its verbs in several files: a message touches the table, the sessions and the counters at once,
//! and splitting them into objects that know each other would only hide that. The state is cut by concern (table,
//! retained, outgoing, each session's window and queues); the verbs are cut by what happens: connect, publish,
//! acknowledge, subscribe, depart, arrive from another core.
//!
//! Invariants:
//! - No verb pauses: what cannot happen now is stored as state (a held SUBSCRIBE, a queue, a timer).
//! - Whoever is in `dirty` has bytes to send and stands there once.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use mqtt::Version;
use slab::Slab;
use stdx::{Instant, Prng, Span, WallMs, Wheel};

use crate::change::{Change, Fetch, StoreHealth, Written};
use crate::core_id::{CoreId, CoreSet};
use crate::counters::Counters;
use crate::deliver::Delivery;
use crate::holders::Holders;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::link::{Hold, Link, LinkId};
use crate::message::StoredMessage;
use crate::meter::Meters;
use crate::notice::{Level, Notices};
use crate::parcel::{Batch, Outgoing};
use crate::retained::{Retained, RetainedLimits};
use crate::session::{Session, SessionKey};
use crate::spares::Spares;
use crate::subscribe::PendingSubscribe;
use crate::sys::SysState;
use crate::table::Table;
use crate::template::Templates;
use crate::timers::Timer;

/// What an exchange needs to know at its birth.
#[derive(Clone, Debug)]
pub struct ExchangeSetup {
    /// This core.
    pub core: CoreId,
    /// How many cores there are.
    pub cores: u16,
    /// Seeds map hashes and generated client ids; differs per core and, outside tests, per process.
    pub seed: u64,
    /// The limits.
    pub limits: Limits,
    /// Whether sessions have rights, and those without may do nothing.
    pub asks_rights: bool,
    /// What `$SYS/broker/version` says.
    pub version: String,
    /// What `$SYS/broker/store/durability` says.
    pub durability: String,
    /// Seconds between `$SYS` publications; 0 is never.
    pub sys_interval_s: u32,
    /// Whether changes of the durable state are written down; see [`Exchange::end_turn`].
    pub journal_is_on: bool,
    /// Notices below this level are not made.
    pub notice_level: Level,
    /// Now, on the monotonic clock.
    pub now: Instant,
    /// Now, on the wall clock.
    pub wall: WallMs,
}

/// A link that ends: the shard sends `last` and closes the connection.
#[derive(Debug)]
pub struct LinkEnd {
    /// Which.
    pub link: LinkId,
    /// The bytes not yet taken.
    pub last: Vec<u8>,
}

/// The exchange of one core.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) core: CoreId,
    pub(crate) cores: u16,
    pub(crate) limits: Limits,
    pub(crate) holders: Holders,
    /// The same moment on both clocks.
    pub(crate) born: (Instant, WallMs),
    pub(crate) hasher: RandomState,
    pub(crate) meters: Meters,
    pub(crate) prng: Prng,
    pub(crate) sessions: Slab<Session>,
    pub(crate) by_client: HashMap<Arc<str>, SessionKey, RandomState>,
    pub(crate) serial_next: u64,
    pub(crate) table: Table,
    pub(crate) retained: Retained<Arc<StoredMessage>>,
    pub(crate) retained_counter: u64,
    /// Counters above which the other cores will write.
    pub(crate) writes_above: Vec<u64>,
    pub(crate) found: Vec<Arc<StoredMessage>>,
    pub(crate) retained_expiries: BinaryHeap<crate::retain::Expiry>,
    pub(crate) timers: Wheel<Timer>,
    pub(crate) fired: Vec<Timer>,
    /// The route of the last message that came from another core.
    pub(crate) route_near: u32,
    pub(crate) outgoing: Outgoing,
    pub(crate) dirty: Vec<SessionKey>,
    pub(crate) pumping: VecDeque<SessionKey>,
    pub(crate) pending: VecDeque<PendingSubscribe>,
    /// The barrier that closes the present turn.
    pub(crate) barrier: u64,
    pub(crate) barrier_is_due: bool,
    pub(crate) barrier_acked: Vec<u64>,
    pub(crate) released: Vec<LinkId>,
    pub(crate) ended: Vec<LinkEnd>,
    pub(crate) spares: Spares,
    pub(crate) templates: Templates,
    pub(crate) forward: Vec<u8>,
    pub(crate) notices: Notices,
    pub(crate) counters: Counters,
    pub(crate) journal: Journal,
    /// Which turns of one core (the second) another one (the first) had handled when an earlier process ended.
    pub(crate) handled: BTreeMap<(CoreId, CoreId), u64>,
    pub(crate) store_health: StoreHealth,
    pub(crate) sys: SysState,
    /// Cores that have said what they brought back from an earlier process.
    pub(crate) restored_by: CoreSet,
    /// Whether this core waits until all others have.
    pub(crate) awaits_restored: bool,
    pub(crate) is_closing: bool,
}

impl Exchange {
    /// An exchange without clients.
    #[must_use]
    pub fn new(setup: ExchangeSetup) -> Self {
        let mut prng = Prng::new(setup.seed);
        let hasher =
            RandomState::with_seeds(prng.next_u64(), prng.next_u64(), prng.next_u64(), prng.next_u64());
        let retained_limits = RetainedLimits {
            messages_max: stdx::widen(setup.limits.retained_messages_max),
            bytes_max: usize::try_from(setup.limits.retained_bytes_max).unwrap_or(usize::MAX),
            owner_bytes_max: usize::try_from(setup.limits.retained_bytes_per_client_max)
                .unwrap_or(usize::MAX),
            ..RetainedLimits::default()
        };
        Self {
            core: setup.core,
            cores: setup.cores,
            holders: Holders::new(setup.asks_rights),
            born: (setup.now, setup.wall),
            sessions: Slab::with_capacity(stdx::ROOM),
            by_client: HashMap::with_hasher(hasher.clone()),
            serial_next: 1,
            table: Table::new(prng.next_u64(), hasher.clone(), setup.limits.strict_strings),
            retained: Retained::new(prng.next_u64(), retained_limits),
            retained_counter: 0,
            writes_above: vec![0; usize::from(setup.cores)],
            found: Vec::new(),
            retained_expiries: BinaryHeap::new(),
            timers: Wheel::new(setup.now),
            fired: Vec::new(),
            route_near: u32::MAX,
            outgoing: Outgoing::new(setup.core, setup.cores),
            dirty: Vec::new(),
            pumping: VecDeque::new(),
            pending: VecDeque::new(),
            barrier: 1,
            barrier_is_due: false,
            barrier_acked: vec![0; usize::from(setup.cores)],
            released: Vec::new(),
            ended: Vec::new(),
            spares: Spares::default(),
            templates: Templates::default(),
            forward: Vec::new(),
            notices: Notices::new(setup.notice_level),
            counters: Counters::default(),
            // Turns begin far above those of any earlier process, unless the clock went back: `finish_restore` sees to that.
            journal: Journal::new(setup.journal_is_on, setup.wall.0 << 16),
            handled: BTreeMap::new(),
            store_health: StoreHealth::Good,
            sys: SysState::new(&setup),
            meters: Meters::new(&setup.limits, &hasher),
            limits: shares(setup.limits, setup.cores),
            hasher,
            prng,
            restored_by: CoreSet::default(),
            awaits_restored: false,
            is_closing: false,
        }
    }

    /// This core.
    #[must_use]
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The counters of this core.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The counters, for what the shard counts itself.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// The rules have this version now; what was decided under another one is decided again.
    pub fn heed_rules(&mut self, version: u64) {
        if self.holders.renew(version) {
            self.table.renew_routes();
        }
    }

    /// The wall clock at `now`.
    #[must_use]
    pub fn wall_at(&self, now: Instant) -> WallMs {
        let (at, wall) = self.born;
        WallMs(wall.0 + now.since(at).ms())
    }

    /// When the wall clock will show `wall`; its beginning if it has shown that before.
    #[must_use]
    pub fn instant_of(&self, wall: WallMs) -> Instant {
        let (at, born) = self.born;
        at + Span::from_ms(wall.0.saturating_sub(born.0))
    }

    /// The version that a connected session speaks; `None` once it is not connected.
    #[must_use]
    #[inline]
    pub fn version_of(&self, key: SessionKey) -> Option<Version> {
        Some(self.sessions.get(key.index())?.link.as_ref()?.version)
    }

    /// Whether packets of this connection wait: behind a SUBSCRIBE, or because it has published too much.
    #[must_use]
    #[inline]
    pub fn is_held(&self, key: SessionKey) -> bool {
        self.link(key).is_some_and(|link| link.hold != Hold::None)
    }

    /// Bytes that the connection's socket has not taken yet, without one large message: that was written when there was room,
    /// and its receiver may speak while it is on its way.
    #[must_use]
    pub fn backlog(&self, key: SessionKey) -> usize {
        self.link(key).map_or(0, |link| link.backlog().saturating_sub(stdx::widen(link.large_bytes)))
    }

    #[inline]
    pub(crate) fn link(&self, key: SessionKey) -> Option<&Link> {
        self.sessions.get(key.index())?.link.as_deref()
    }

    #[inline]
    pub(crate) fn link_mut(&mut self, key: SessionKey) -> Option<&mut Link> {
        self.sessions.get_mut(key.index())?.link.as_deref_mut()
    }

    /// A packet arrived: the client is not silent. Source: [MQTT-3.1.2-22].
    #[inline]
    pub fn seen(&mut self, key: SessionKey, now: Instant) {
        if let Some(link) = self.link_mut(key) {
            link.last_seen = now;
        }
    }

    /// PINGREQ. Source: [MQTT-3.12.4-1].
    pub fn ping(&mut self, key: SessionKey) {
        self.reply(key, |out, _| mqtt::encode::pingresp(out));
    }

    /// Writes a reply into a connection's out buffer.
    #[inline]
    pub(crate) fn reply(&mut self, key: SessionKey, write: impl FnOnce(&mut Vec<u8>, Version)) {
        let Some(link) = self.sessions.get_mut(key.index()).and_then(|session| session.link.as_deref_mut())
        else {
            return;
        };
        if link.out.capacity() == 0 {
            link.out = self.spares.take();
        }
        write(&mut link.out, link.version);
        self.counters.packets_sent += 1;
        if !link.is_dirty {
            link.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// Splits the exchange into its sessions and what a delivery needs.
    #[inline]
    pub(crate) fn delivery(&mut self, now: Instant) -> (&mut Slab<Session>, &mut Table, Delivery<'_>) {
        let delivery = Delivery {
            now,
            limits: &self.limits,
            counters: &mut self.counters,
            dirty: &mut self.dirty,
            journal: &mut self.journal,
            holders: &self.holders,
            spares: &mut self.spares,
            templates: &mut self.templates,
        };
        (&mut self.sessions, &mut self.table, delivery)
    }

    /// The connections that have bytes to send, each once; forgets them.
    pub fn drain_dirty(&mut self, mut visit: impl FnMut(LinkId)) {
        for key in self.dirty.drain(..) {
            // A key may belong to a session that ended since, or that lost its connection.
            let session = self.sessions.get_mut(key.index());
            let link = session.and_then(|session| session.link.as_deref_mut());
            if let Some(link) = link.filter(|link| link.is_dirty) {
                // What waits for the store makes the connection dirty again when it may leave.
                link.is_dirty = link.has_open(self.journal.gate.safe());
                if link.is_dirty {
                    visit(link.id);
                }
            }
        }
    }

    /// Takes a connection's out buffer; the bytes count as unsent until [`Exchange::sent`] says otherwise. `spare` will
    /// be used for whoever speaks next: a link that is silent keeps no buffer.
    pub fn take_out(&mut self, key: SessionKey, mut spare: Vec<u8>) -> Vec<u8> {
        let safe = self.journal.gate.safe();
        let Some(link) = self.link_mut(key) else { return spare };
        link.is_dirty = false;
        let out = link.take_open(safe, &mut spare);
        link.taken = link.taken.saturating_add(stdx::narrow(out.len()));
        self.spares.put(spare);
        out
    }

    /// Whether a link ended, or need not be held any longer, since [`Exchange::take_ends`] was called.
    #[must_use]
    #[inline]
    pub fn has_ends(&self) -> bool {
        !self.ended.is_empty() || !self.released.is_empty()
    }

    /// The links that ended and the links that need not be held any longer, since the last call.
    pub fn take_ends(&mut self, ended: &mut Vec<LinkEnd>, released: &mut Vec<LinkId>) {
        ended.append(&mut self.ended);
        released.append(&mut self.released);
    }

    /// Notes a change in the state of a lasting session.
    #[inline]
    pub(crate) fn note(&mut self, key: SessionKey, change: impl FnOnce(Arc<str>) -> Change) {
        if !self.journal.is_on {
            return;
        }
        if let Some(session) = self.sessions.get(key.index()).filter(|session| session.is_lasting) {
            let client_id = Arc::clone(&session.client_id);
            self.journal.record(|| change(client_id));
        }
    }

    /// Closes the turn towards the other cores and moves their batches to `out`; returns what must be written down.
    pub fn end_turn(&mut self, out: &mut Vec<(CoreId, Batch)>) -> Option<Written> {
        self.send_barrier();
        if self.journal.is_on {
            self.ask_and_answer();
        }
        let before = out.len();
        self.outgoing.take(out);
        for (_, batch) in &out[before..] {
            self.counters.batches_sent += 1;
            self.counters.parcels_sent += u64::from(stdx::narrow(batch.len()));
        }
        if self.journal.is_on { self.close_turn() } else { None }
    }

    /// What must be read back from disk, behind everything that [`Exchange::end_turn`] gave; forgets it.
    pub fn take_fetches(&mut self, out: &mut Vec<Fetch>) {
        if !self.journal.fetches.is_empty() {
            out.append(&mut self.journal.fetches);
        }
    }

    /// A batch that could not be handed over.
    pub fn give_back(&mut self, core: CoreId, batch: Batch) {
        self.outgoing.give_back(core, batch);
    }

    /// Whether a client may be let in: after a restart, all other cores must have said first what their sessions want, or
    /// its messages would pass them by.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.awaits_restored || self.outgoing.others().all(|core| self.restored_by.contains(core))
    }

    /// Whether publishers should not be read for now.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        !self.is_ready()
            || self.outgoing.is_congested()
            || self.journal.gate.unsynced_bytes() > stdx::widen(self.limits.unwritten_bytes_max)
    }

    /// Whether nobody is left: no session, no subscription, nothing queued; for leak checks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.by_client.is_empty()
            && self.pending.is_empty()
            && self.table.len() == 0
    }
}

/// The limits with the share of one core where all cores share.
fn shares(mut limits: Limits, cores: u16) -> Limits {
    limits.queue_bytes_total_max /= u64::from(cores);
    limits.queue_memory_bytes_total_max /= u64::from(cores);
    limits
}
