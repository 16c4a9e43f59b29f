//! Large parts of packages on their way to devices: how many bytes of them a core holds at one time, and who waits.
//!
//! Why a limit of its own: a request of a few bytes makes an image of many megabytes wait for one slow line, and what waits
//! for one device counts against no limit of others. Why those for whom there is no room wait, and are not refused: much
//! firmware asks once.
//!
//! Invariants:
//! - What was written and not sent is at most `package_bytes_max`, or one part.
//! - A device has one part on its way and one that it waits for; if it asks for more, it is refused.
//! - Those who wait are served in the order in which they began to wait for others.
//! - While others wait, a part that has been on its way for [`PATIENCE_S`] ends its connection.
//!
//! Source: sections 7.3 and 7.4 of the vectors.

use std::collections::BTreeMap;

use broker::SessionKey;
use device::{Addressed, ChunkWanted, DeviceId, Downlink, Ear, NoChunk, Outcome};
use mqtt::ReasonCode;
use stdx::{Instant, Span};

use super::desk::Desk;
use super::remarks::Heard;
use crate::connections::{State, link_of};
use crate::effects::ConnId;
use crate::shard::Shard;

/// Parts of at most so many bytes pass by: as many as the API lets a device ask for at a time.
const SMALL_BYTES: usize = 65_536;
/// How long a part may be on its way while others wait.
const PATIENCE_S: u64 = 600;
/// Up to so many parts on their way are looked at in every turn; more of them, at such times.
const FEW: usize = 64;
const LOOK_PACE: Span = Span::from_ms(20);

/// A part that a device has asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub ear: Ear,
    pub device: DeviceId,
    pub wanted: ChunkWanted,
}

/// Large parts of one core.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    under_way: BTreeMap<Ear, Load>,
    bytes: usize,
    /// Those who wait for others, by their place.
    waiting: BTreeMap<u64, Wish>,
    places: BTreeMap<Ear, u64>,
    next_place: u64,
    /// Those who wait for a part that is on its way to themselves.
    nexts: usize,
    /// When all that are on their way may be looked at again.
    look_at: Option<Instant>,
}

/// A part that was written to a connection.
#[derive(Debug)]
struct Load {
    conn: ConnId,
    bytes: usize,
    since: Instant,
    /// What its device wants next.
    next: Option<Wish>,
}

/// What becomes of a wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Now,
    Later,
    /// It waits for the same already.
    Again,
    Never,
}

impl Packages {
    /// When somebody's patience ends at the latest, or all should be looked at.
    pub fn deadline(&self) -> Option<Instant> {
        let is_waited_for = !self.waiting.is_empty();
        if self.under_way.len() > FEW {
            return self.look_at;
        }
        is_waited_for.then(|| self.under_way.values().map(Load::until).min()).flatten()
    }

    /// Nothing is on its way, so nobody waits either.
    fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.waiting.is_empty()
    }

    fn waiting_len(&self) -> usize {
        self.waiting.len() + self.nexts
    }

    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.under_way.is_empty() || self.bytes + bytes <= bytes_max
    }

    fn turn_of(&mut self, wish: Wish, bytes: usize, bytes_max: usize) -> Turn {
        if let Some(load) = self.under_way.get_mut(&wish.ear) {
            if let Some(next) = &load.next {
                return turn_beside(next, &wish);
            }
            load.next = Some(wish);
            self.nexts += 1;
            return Turn::Later;
        }
        let known = self.places.get(&wish.ear).and_then(|place| self.waiting.get(place));
        if let Some(known) = known {
            return turn_beside(known, &wish);
        }
        if self.waiting.is_empty() && self.has_room(bytes, bytes_max) {
            return Turn::Now;
        }
        self.wait(wish);
        Turn::Later
    }

    fn wait(&mut self, wish: Wish) {
        self.waiting.insert(self.next_place, wish);
        self.places.insert(wish.ear, self.next_place);
        self.next_place += 1;
    }

    fn load(&mut self, ear: Ear, load: Load) {
        self.bytes += load.bytes;
        self.under_way.insert(ear, load);
    }

    /// A part is on its way no longer; whoever wants another one waits for that from here on.
    fn unload(&mut self, ear: Ear) {
        if let Some(load) = self.under_way.remove(&ear) {
            self.bytes -= load.bytes;
            if let Some(next) = load.next {
                self.nexts -= 1;
                self.wait(next);
            }
        }
    }

    fn leave(&mut self, ear: Ear) {
        if let Some(place) = self.places.remove(&ear) {
            self.waiting.remove(&place);
        }
    }
}

impl Load {
    fn until(&self) -> Instant {
        self.since + Span::from_s(PATIENCE_S)
    }
}

/// What becomes of a wish of somebody who has another one.
fn turn_beside(known: &Wish, wish: &Wish) -> Turn {
    if known.wanted == wish.wanted { Turn::Again } else { Turn::Never }
}

impl Shard {
    /// A device asks for a part of a package: it is told at once, or when there is room for it, or that it is not.
    pub(crate) fn chunk_wanted(
        &mut self,
        now: Instant,
        conn: ConnId,
        wish: Wish,
        out: &mut Outcome,
    ) -> Heard {
        let downlink = self.chunk_of(&wish);
        let (mut why, mut heard) = (None, Heard::Well);
        match &downlink {
            Downlink::Chunk { chunk, .. } => {
                let bytes = chunk.bytes().len();
                if bytes > self.packet_bytes_max_of(conn) {
                    why = Some(NoChunk::TooLarge);
                } else if bytes > SMALL_BYTES {
                    match self.turn_of(now, wish, bytes) {
                        Turn::Now => self.load(now, conn, wish.ear, bytes),
                        Turn::Later => {
                            self.exchange.counters_mut().packages_postponed += 1;
                            return Heard::Well;
                        }
                        Turn::Again => return Heard::Well,
                        Turn::Never => why = Some(NoChunk::TooMany),
                    }
                }
            }
            _there_is_none if wish.wanted.ends => {
                heard = Heard::Breaks(ReasonCode::ImplementationSpecificError)
            }
            _there_is_none => heard = Heard::Not(ReasonCode::ImplementationSpecificError),
        }
        let downlink = match why {
            None => downlink,
            Some(why) => {
                self.exchange.counters_mut().packages_refused += 1;
                heard = match why {
                    NoChunk::TooLarge if wish.wanted.ends => {
                        Heard::Breaks(ReasonCode::ImplementationSpecificError)
                    }
                    why => Heard::NotBecause(ReasonCode::QuotaExceeded, refusal(why)),
                };
                Downlink::NoChunk { cookie: wish.wanted.cookie, why }
            }
        };
        out.downlinks.push(Addressed { ear: wish.ear, device: wish.device, downlink });
        heard
    }

    /// Sees what has left, and lets those go on who wait for room, as far as there is some. Called at the end of a turn.
    #[inline]
    pub(crate) fn bring_packages(&mut self, now: Instant) {
        if self.devices.as_ref().is_some_and(|desk| !desk.packages.is_idle()) {
            self.bring_waiting(now);
        }
    }

    /// A connection has ended: nothing is on its way to it, and it waits for nothing.
    pub(crate) fn forget_package(&mut self, ear: Ear) {
        let packages = &mut self.desk().packages;
        packages.unload(ear);
        packages.leave(ear);
        self.show_packages();
    }

    fn bring_waiting(&mut self, now: Instant) {
        let packages = &mut self.desk().packages;
        if packages.under_way.len() > FEW && packages.look_at.is_some_and(|at| now < at) {
            return;
        }
        packages.look_at = Some(now + LOOK_PACE);
        let slow = self.look_at_loads(now);
        let slow = if self.desk().packages.waiting.is_empty() { Vec::new() } else { slow };
        for key in slow {
            let why = "takes too long for a package that others wait behind";
            self.exchange.evict(now, key, ReasonCode::QuotaExceeded, why);
        }
        self.settle_ends(now);
        let bytes_max = self.settings.package_bytes_max;
        while let Some((place, wish)) = self.desk().packages.waiting.first_key_value() {
            let (place, wish) = (*place, *wish);
            let downlink = self.chunk_of(&wish);
            let bytes = match &downlink {
                Downlink::Chunk { chunk, .. } => chunk.bytes().len(),
                _there_is_none_any_more => 0,
            };
            let Desk { packages, ears, .. } = self.desk();
            if bytes > SMALL_BYTES && !packages.has_room(bytes, bytes_max) {
                break;
            }
            packages.waiting.remove(&place);
            packages.places.remove(&wish.ear);
            let conn = super::desk::number_of(wish.ear);
            let Some(conn) = ears.get(&conn).copied() else { continue };
            if bytes > SMALL_BYTES {
                self.load(now, conn, wish.ear, bytes);
            }
            self.speak(now, &Addressed { ear: wish.ear, device: wish.device, downlink });
        }
        self.show_packages();
        self.settle_ends(now);
    }

    /// What has left is on its way no longer. The sessions for which something else is, for too long.
    fn look_at_loads(&mut self, now: Instant) -> Vec<SessionKey> {
        let Self { devices, connections, exchange, .. } = self;
        let Some(desk) = devices.as_deref_mut() else { return Vec::new() };
        let (mut gone, mut slow) = (Vec::new(), Vec::new());
        for (ear, load) in &desk.packages.under_way {
            let state = connections.get_mut(load.conn).map(|connection| connection.state);
            let key = match state {
                Some(State::Home { key, .. }) if exchange.is_on(key, link_of(load.conn)) => key,
                _it_has_ended => {
                    gone.push(*ear);
                    continue;
                }
            };
            if exchange.unsent(key) < SMALL_BYTES {
                gone.push(*ear);
            } else if load.until() <= now {
                slow.push(key);
            }
        }
        gone.into_iter().for_each(|ear| desk.packages.unload(ear));
        slow
    }

    fn turn_of(&mut self, now: Instant, wish: Wish, bytes: usize) -> Turn {
        let bytes_max = self.settings.package_bytes_max;
        let packages = &self.desk().packages;
        if packages.under_way.contains_key(&wish.ear) || !packages.has_room(bytes, bytes_max) {
            // Whoever is too slow has until the end of the turn.
            let _slow = self.look_at_loads(now);
        }
        let turn = self.desk().packages.turn_of(wish, bytes, bytes_max);
        self.show_packages();
        turn
    }

    fn load(&mut self, now: Instant, conn: ConnId, ear: Ear, bytes: usize) {
        self.desk().packages.load(ear, Load { conn, bytes, since: now, next: None });
        self.show_packages();
    }

    fn show_packages(&mut self) {
        let packages = &self.desk().packages;
        let shown = (stdx::count(packages.bytes), stdx::count(packages.waiting_len()));
        let counters = self.exchange.counters_mut();
        (counters.package_bytes_under_way, counters.packages_waiting) = shown;
    }

    /// What the registry has for a wish now.
    fn chunk_of(&mut self, wish: &Wish) -> Downlink {
        let mut downlink = Downlink::NoChunk { cookie: wish.wanted.cookie, why: NoChunk::NotAssigned };
        self.desk().registry.read(&mut |registry| downlink = registry.chunk(wish.device, &wish.wanted));
        downlink
    }

    fn packet_bytes_max_of(&mut self, conn: ConnId) -> usize {
        match self.connections.get_mut(conn).map(|connection| connection.state) {
            Some(State::Home { key, .. }) => self.exchange.packet_bytes_max(key),
            _nobody_is_there => usize::MAX,
        }
    }
}

const fn refusal(why: NoChunk) -> &'static str {
    match why {
        NoChunk::TooLarge => "the part is larger than the Maximum Packet Size of the device",
        NoChunk::TooMany => "the device waits for a part already",
        NoChunk::NotAssigned | NoChunk::NotHere => "there is no such package",
    }
}
