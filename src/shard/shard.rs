//! The shard: what the world does goes in, effects come out, turn by turn.
//!
//! Invariants:
//! - The exchange and the connection table agree: a session's link names a connection that lives here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker::{
    Batch, Change, CoreId, Counters, Exchange, ExchangeSetup, Fetched, LinkEnd, LinkId, StoreHealth,
};
use stdx::{Instant, Prng, Wheel};
use wire::Wardrobe;

use crate::connections::{Connections, State, conn_of};
use crate::devices::Desk;
use crate::effects::{Call, ConnId, Effects, Reply};
use crate::settings::{Settings, Setup};

/// One core's whole mind.
#[derive(Debug)]
pub struct Shard {
    pub(crate) core: CoreId,
    pub(crate) cores: u16,
    pub(crate) settings: Arc<Settings>,
    pub(crate) exchange: Exchange,
    pub(crate) connections: Connections,
    pub(crate) lobby_timers: Wheel<ConnId>,
    pub(crate) effects: Effects,
    pub(crate) is_closing: bool,
    /// MQTT of the bytes in hand, of a connection with coats.
    pub(crate) plain: Vec<u8>,
    /// A spare out buffer for the exchange, whose bytes are dressed before they leave.
    pub(crate) plain_out: Vec<u8>,
    pub(crate) wardrobes: Arc<[Wardrobe]>,
    pub(crate) handshake_steps: u32,
    pub(crate) postponed: VecDeque<ConnId>,
    /// Connections that stand in the effects because of their coats.
    pub(crate) dirty_coats: usize,
    /// Connections that wait for an answer about their client, and the client id in use.
    pub(crate) asked: BTreeMap<ConnId, Box<str>>,
    /// Whether the version of the rules must be looked at before anything is decided in this turn.
    are_rules_due: bool,
    /// Connections that came from other cores before this one could let anybody in.
    pub(crate) early: Vec<ConnId>,
    /// None where no devices are known.
    pub(crate) devices: Option<Box<Desk>>,
    /// Whether a listener limits what devices may say.
    pub(crate) is_metered_by_offers: bool,
    pub(crate) prng: Prng,
    ended: Vec<LinkEnd>,
    released: Vec<LinkId>,
}

impl Shard {
    /// A shard without connections that begins at `now`.
    #[must_use]
    pub fn new(setup: Setup, now: Instant) -> Self {
        let settings = setup.settings;
        let mut exchange = Exchange::new(ExchangeSetup {
            core: setup.core,
            cores: setup.cores,
            seed: setup.seed,
            limits: settings.limits.clone(),
            asks_rights: settings.doorkeeper.is_some(),
            version: settings.version.clone(),
            durability: settings.durability_shown.clone(),
            sys_interval_s: settings.sys_interval_s,
            journal_is_on: settings.journal_is_on,
            notice_level: settings.notice_level,
            now,
            wall: setup.wall,
        });
        exchange.start_sys(now);
        Self {
            core: setup.core,
            cores: setup.cores,
            exchange,
            connections: Connections::new(),
            lobby_timers: Wheel::new(now),
            effects: Effects::default(),
            is_closing: false,
            plain: Vec::new(),
            plain_out: Vec::new(),
            wardrobes: Arc::clone(&settings.wardrobes),
            handshake_steps: 0,
            postponed: VecDeque::new(),
            dirty_coats: 0,
            asked: BTreeMap::new(),
            are_rules_due: settings.doorkeeper.is_some(),
            early: Vec::new(),
            devices: settings
                .registry
                .as_ref()
                .map(|registry| Box::new(Desk::new(Arc::clone(registry), settings.hub, setup.cores, now))),
            is_metered_by_offers: settings
                .offers
                .iter()
                .chain(&settings.gateway_offers)
                .any(|offer| offer.limits_anything()),
            prng: Prng::new(setup.seed),
            ended: Vec::new(),
            released: Vec::new(),
            settings,
        }
    }

    /// The socket took `count` of the bytes fetched with [`Shard::take_out`].
    #[inline]
    pub fn handle_sent(&mut self, now: Instant, conn: ConnId, count: usize) {
        self.look_at_rules();
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.coating.is_some() {
            return self.sent_coated(now, conn, count);
        }
        if let State::Home { key, .. } = connection.state {
            self.exchange.sent(now, key, count);
        }
    }

    /// The peer is gone without a word: end of stream, reset or error. The driver closes the socket itself.
    pub fn handle_gone(&mut self, now: Instant, conn: ConnId) {
        self.look_at_rules();
        let Some(connection) = self.dismiss(conn) else { return self.stop_moving(conn) };
        if let State::Home { key, .. } = connection.state {
            self.exchange.gone(now, key);
        }
        self.settle_ends(now);
    }

    /// A batch from another core; batches of one core must come in the order in which they left.
    pub fn handle_batch(&mut self, now: Instant, from: CoreId, mut batch: Batch) {
        self.look_at_rules();
        let before = self.exchange.written();
        let beside = batch.take_beside();
        if !beside.is_empty() {
            self.read_letters(now, beside);
        }
        self.exchange.handle_batch(now, from, batch, before);
        if !self.early.is_empty() && self.exchange.is_ready() {
            self.let_in(now);
        }
        self.settle_ends(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timers(&mut self, now: Instant) {
        self.look_at_rules();
        self.lobby_timeouts(now);
        self.exchange.handle_timers(now);
        self.device_timers(now);
        self.settle_ends(now);
    }

    /// Answers the control plane.
    #[must_use]
    pub fn handle_call(&self, call: Call) -> Reply {
        match call {
            Call::Counters => {
                let unsynced_bytes = self.exchange.unsynced_bytes();
                Reply::Counters(Box::new(Counters { unsynced_bytes, ..self.counters().clone() }))
            }
        }
    }

    /// What new connections wear from now on, by [`crate::ListenerId`]. Those that are here keep what they have on.
    pub fn handle_wardrobes(&mut self, _now: Instant, wardrobes: Arc<[Wardrobe]>) {
        self.wardrobes = wardrobes;
    }

    /// Begins the graceful end: no new connections, DISCONNECT 0x8B to 5.0 clients, everything closed behind what was
    /// written already.
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.look_at_rules();
        self.is_closing = true;
        self.say_last_words(now);
        self.note_last_words(now);
        self.exchange.shut_down(now);
        let lobby: Vec<ConnId> = self
            .connections
            .iter()
            .filter(|(_, connection)| matches!(connection.state, State::Lobby { .. }))
            .map(|(conn, _)| conn)
            .collect();
        for conn in lobby {
            self.close(conn, Vec::new());
        }
        self.settle_ends(now);
    }

    /// Closes the turn: completes [`Shard::effects`].
    pub fn end_turn(&mut self, now: Instant) {
        self.look_at_rules();
        self.shake_hands(now);
        self.exchange.work(now);
        self.settle_ends(now);
        self.bring_packages(now);
        self.hand_over_changes();
        self.name_notices();
        let (effects, exchange) = (&mut self.effects, &mut self.exchange);
        exchange.take_notices(&mut effects.notices);
        effects.written = exchange.end_turn(&mut effects.batches);
        exchange.take_fetches(&mut effects.fetches);
        self.release_replies();
        let (effects, exchange) = (&mut self.effects, &mut self.exchange);
        let (connections, any_coats) = (&mut self.connections, self.dirty_coats > 0);
        exchange.drain_dirty(|link| {
            let conn = conn_of(link);
            let stands_there = any_coats && connections.get_mut(conn).is_some_and(|c| c.is_dirty_by_coats());
            if !stands_there {
                effects.dirty.push(conn);
            }
        });
        self.are_rules_due = self.settings.doorkeeper.is_some();
    }

    /// Asks once a turn whether the rules have changed, before anything is decided by them.
    #[inline]
    pub(crate) fn look_at_rules(&mut self) {
        if self.are_rules_due {
            self.are_rules_due = false;
            self.heed_rules();
        }
    }

    /// Closes what ended and goes on with what was held, until nothing more follows from it. Called before the next
    /// event: a connection whose session ended must not act on that session's successor.
    #[inline]
    pub(crate) fn settle_ends(&mut self, now: Instant) {
        while self.exchange.has_ends() || self.has_parted() {
            let (mut ended, mut released) =
                (std::mem::take(&mut self.ended), std::mem::take(&mut self.released));
            self.exchange.take_ends(&mut ended, &mut released);
            for end in ended.drain(..) {
                self.close(conn_of(end.link), end.last);
            }
            self.part(now);
            for link in released.drain(..) {
                self.resume(now, link);
            }
            (self.ended, self.released) = (ended, released);
        }
    }

    /// What must be done now; drain it after [`Shard::end_turn`].
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    /// Swaps a connection's out buffer for `spare`, an empty buffer whose capacity is used again. The bytes count as
    /// unsent until [`Shard::handle_sent`] accounts for them.
    #[inline]
    pub fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        debug_assert!(spare.is_empty());
        let Some(connection) = self.connections.get_mut(conn) else { return spare };
        match connection.state {
            _ if connection.coating.is_some() => self.take_out_coated(conn, spare),
            State::Home { key, .. } => self.exchange.take_out(key, spare),
            State::Lobby { .. } => spare,
        }
    }

    /// When [`Shard::handle_timers`] should be called at the latest; in the past if there is work left for another turn.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.exchange.has_work() || !self.postponed.is_empty() {
            return Some(Instant::START);
        }
        let deadlines =
            [self.lobby_timers.next_deadline(), self.exchange.next_deadline(), self.device_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Whether received bytes should be left unread for now: too much waits for other cores or for the store, or after a
    /// restart other cores have not said yet what their sessions want.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.exchange.is_congested()
    }

    /// Takes back a batch that could not be handed over; it leads the next one for that core.
    pub fn return_batch(&mut self, to: CoreId, batch: Batch) {
        self.exchange.give_back(to, batch);
    }

    /// Connections that live here, in the lobby or at home.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The counters of this core.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.exchange.counters()
    }

    /// Everything that this core wanted written up to `turn` is synced.
    pub fn handle_durable(&mut self, _now: Instant, turn: u64) {
        self.exchange.durable(turn);
    }

    /// Queued messages came back from disk.
    pub fn handle_fetched(&mut self, now: Instant, fetched: Fetched) {
        self.look_at_rules();
        self.exchange.fetched(now, fetched);
        self.settle_ends(now);
    }

    /// The store has no space, or has it again.
    pub fn handle_store_health(&mut self, _now: Instant, health: StoreHealth) {
        self.exchange.store_is(health);
    }

    /// Takes over changes that an earlier process wrote down, in order, before the first event; may be called with any
    /// number of pieces. Changes of clients that are at home on another core are left out.
    pub fn restore<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes {
            self.exchange.restore(change);
            if let Change::Session { client_id, owner, .. } = change {
                self.remember(client_id, owner.as_ref());
            }
        }
    }

    /// All changes were taken over: the life of what they brought back begins.
    pub fn finish_restore(&mut self, now: Instant) {
        self.exchange.finish_restore(now);
        let now_ms = self.wall_ms(now);
        if let Some(desk) = self.devices.as_deref_mut() {
            desk.hub.begin(now_ms);
        }
    }

    /// The exchange, for checks.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }
}
