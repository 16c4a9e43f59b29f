//! What a client has used of its rates: messages and bytes published, and changes of hands of its client id.
//!
//! Why beside the sessions and not in them: a broker without these limits, and a session that never reached one, must not
//! pay for them. Why clients are remembered after they have left: a client could come back for a full bucket.
//!
//! Invariants:
//! - A client that has used up what it may is left unread, and nothing that it sent is lost.
//! - At most [`REMEMBERED_MAX`] clients of either kind are remembered; one too many is forgotten, which only its own rate
//!   can tell.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use stdx::{Allowance, Bucket, Instant, Rate, Span};

use crate::exchange::Exchange;
use crate::limits::Limits;
use crate::link::{Hold, LinkId};
use crate::notice::{Level, NoticeKind, device};
use crate::session::SessionKey;
use crate::timers::Timer;

/// Clients that are remembered for what they owe, per core.
const REMEMBERED_MAX: usize = 65_536;
/// How long a full memory is not searched again for what may be forgotten.
const SEARCH_INTERVAL: Span = Span::from_s(1);

/// What all clients of a core have used.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Whether publishing has a limit at all.
    is_on: bool,
    /// By the index of the session's key.
    present: Vec<Option<Box<Meter>>>,
    absent: Memory<Box<Meter>>,
    takeovers: Memory<Bucket>,
    takeover_rate: Option<Rate>,
}

/// What one client has used.
#[derive(Debug)]
pub(crate) struct Meter {
    messages: Allowance,
    bytes: Allowance,
    is_told: bool,
}

/// Something about clients, by client id, as long as it matters.
#[derive(Debug)]
struct Memory<T> {
    by_client: HashMap<Arc<str>, T, RandomState>,
    searched_at: Option<Instant>,
}

/// Whether something about a client still matters.
trait Passing {
    fn is_over(&self, now: Instant) -> bool;
}

impl Meters {
    /// Of a core where nobody has used anything.
    pub fn new(limits: &Limits, hasher: &RandomState) -> Self {
        let per_minute = u64::from(limits.takeovers_per_minute_max);
        Self {
            is_on: !(limits.publish_rate.is_unlimited() && limits.publish_bytes_rate.is_unlimited()),
            present: Vec::new(),
            absent: Memory::new(hasher),
            takeovers: Memory::new(hasher),
            takeover_rate: (per_minute > 0).then(|| Rate::new(per_minute, Span::from_s(60))),
        }
    }
}

impl Exchange {
    /// Whether publishing has a limit: then [`Exchange::overdraws`] must be asked behind each PUBLISH.
    #[must_use]
    #[inline]
    pub fn is_metered(&self) -> bool {
        self.meters.is_on
    }

    /// Whether packets of this connection wait because it has published too much.
    #[must_use]
    pub fn is_over_quota(&self, key: SessionKey) -> bool {
        self.link(key).is_some_and(|link| link.hold == Hold::Quota)
    }

    /// Counts a PUBLISH packet of so many bytes that was just handled. If the client has used up what it may, it is held
    /// from now on, and the answer is true; a timer releases it.
    #[inline(never)]
    pub fn overdraws(&mut self, now: Instant, key: SessionKey, bytes: usize) -> bool {
        let Some(Some(meter)) = self.meters.present.get_mut(key.index()) else { return false };
        let messages_at = meter.messages.spend(&self.limits.publish_rate, now, 1);
        let bytes_at = meter.bytes.spend(&self.limits.publish_bytes_rate, now, stdx::count(bytes));
        if messages_at.max(bytes_at) <= now {
            return false;
        }
        let is_told = std::mem::replace(&mut meter.is_told, true);
        self.hold_back(now, key, messages_at, bytes_at);
        if !is_told {
            let text = "publishes more than it may and is left unread at times";
            self.notice_of(key, Level::Warn, NoticeKind::Quota, text);
        }
        true
    }

    /// Leaves a client unread until it may publish messages and bytes again.
    pub(crate) fn hold_back(
        &mut self,
        now: Instant,
        key: SessionKey,
        messages_at: Instant,
        bytes_at: Instant,
    ) {
        let Some(link) = self.link_mut(key) else { return };
        link.hold = Hold::Quota;
        let id = link.id;
        self.counters.publish_rate_waits += u64::from(messages_at > now);
        self.counters.publish_bytes_rate_waits += u64::from(bytes_at > now);
        self.counters.clients_waiting += 1;
        self.timers.insert(messages_at.max(bytes_at), Timer::Quota(key, id));
    }

    /// The time of a client that was left unread is over.
    pub(crate) fn check_quota(&mut self, now: Instant, key: SessionKey, id: LinkId) {
        let Some(link) = self.link_mut(key).filter(|link| link.id == id && link.hold == Hold::Quota) else {
            return;
        };
        link.hold = Hold::None;
        // It was we who did not listen.
        link.last_seen = now;
        self.counters.clients_waiting -= 1;
        self.released.push(id);
    }

    /// A client has connected. If it has left something unpaid, it is held at once.
    pub(crate) fn begin_metering(&mut self, now: Instant, key: SessionKey) {
        if !self.meters.is_on {
            return;
        }
        let known = self.meters.absent.by_client.remove(&self.sessions[key.index()].client_id);
        let meter = known.filter(|meter| !meter.is_over(now)).unwrap_or_else(|| {
            let messages = self.limits.publish_rate.allowance();
            Box::new(Meter { messages, bytes: self.limits.publish_bytes_rate.allowance(), is_told: false })
        });
        let messages_at = meter.messages.ready_at(&self.limits.publish_rate);
        let bytes_at = meter.bytes.ready_at(&self.limits.publish_bytes_rate);
        let present = &mut self.meters.present;
        if present.len() <= key.index() {
            present.resize_with(key.index() + 1, || None);
        }
        present[key.index()] = Some(meter);
        if messages_at.max(bytes_at) > now {
            self.hold_back(now, key, messages_at, bytes_at);
        }
    }

    /// A client has left; `hold` is what its link was held for.
    pub(crate) fn end_metering(&mut self, now: Instant, key: SessionKey, hold: Hold) {
        self.counters.clients_waiting -= u64::from(hold == Hold::Quota);
        if !self.meters.is_on {
            return;
        }
        let Some(meter) = self.meters.present.get_mut(key.index()).and_then(Option::take) else { return };
        self.meters.absent.keep(now, &self.sessions[key.index()].client_id, meter);
    }

    /// Whether a newcomer with this client id may be let in: if a connected client has it, it changes hands.
    /// `shown_as` is the name of the device that it is.
    pub(crate) fn may_take_over(&mut self, now: Instant, client_id: &str, shown_as: Option<&str>) -> bool {
        let Some(rate) = self.meters.takeover_rate else { return true };
        let Some(key) = self.by_client.get(client_id).copied().filter(|key| self.link(*key).is_some()) else {
            return true;
        };
        let mut bucket = self.meters.takeovers.by_client.get(client_id).copied().unwrap_or_default();
        if bucket.take(rate, now) {
            self.meters.takeovers.keep(now, &self.sessions[key.index()].client_id, bucket);
            return true;
        }
        self.counters.takeovers_refused += 1;
        let what = shown_as.map_or_else(|| format!("the client id {client_id:?}"), device);
        self.notice(Level::Warn, NoticeKind::Quota, format!("two clients or more fight for {what}"));
        false
    }
}

impl<T: Passing> Memory<T> {
    fn new(hasher: &RandomState) -> Self {
        Self { by_client: HashMap::with_hasher(hasher.clone()), searched_at: None }
    }

    fn keep(&mut self, now: Instant, client_id: &Arc<str>, value: T) {
        if value.is_over(now) {
            self.by_client.remove(client_id);
            return;
        }
        if self.by_client.len() >= REMEMBERED_MAX && !self.by_client.contains_key(client_id) {
            self.search(now);
            if self.by_client.len() >= REMEMBERED_MAX {
                return;
            }
        }
        self.by_client.insert(Arc::clone(client_id), value);
    }

    /// Forgets what matters no longer.
    fn search(&mut self, now: Instant) {
        if self.searched_at.is_some_and(|at| now.since(at) < SEARCH_INTERVAL) {
            return;
        }
        self.searched_at = Some(now);
        self.by_client.retain(|_, value| !value.is_over(now));
    }
}

impl Passing for Box<Meter> {
    fn is_over(&self, now: Instant) -> bool {
        self.messages.is_full(now) && self.bytes.is_full(now)
    }
}

impl Passing for Bucket {
    fn is_over(&self, now: Instant) -> bool {
        self.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    #[test]
    fn a_full_memory_forgets_what_is_over_and_takes_nothing_more_otherwise() {
        let rate = Rate::new(1, Span::from_s(60));
        let mut memory = Memory::new(&RandomState::with_seeds(1, 2, 3, 4));
        let spent = |now| {
            let mut bucket = Bucket::default();
            bucket.spend(rate, now, 1);
            bucket
        };
        let start = Instant::from_ns(1);
        for number in 0..REMEMBERED_MAX + 10 {
            memory.keep(start, &client(number), spent(start));
        }
        assert_eq!(memory.by_client.len(), REMEMBERED_MAX);
        assert!(!memory.by_client.contains_key(&client(REMEMBERED_MAX)));
        let later = start + Span::from_s(60);
        memory.keep(later, &client(REMEMBERED_MAX), spent(later));
        assert_eq!(memory.by_client.len(), 1);
        memory.keep(later, &client(REMEMBERED_MAX), Bucket::default());
        assert!(memory.by_client.is_empty());
    }
}
